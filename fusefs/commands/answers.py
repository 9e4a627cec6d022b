"""Answers of many files under many eras, by any executor of concurrent.futures.

    Cell       one file under one era
    answers()  each cell with its answer and the seconds that it took, in order
    Line       says how far a search is, in a line that is written again and again

An executor on another machine needs this package there, and nothing else: what is sent is the text
of the file, the names of orders, and which piece of the search it is; what comes back is a Finding.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

from fusefs.explore.answer import COUNTED_MAX, Answer, ask
from fusefs.explore.pieces import Division, Finding, Piece, explored
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.parse import parse

WATCH_S = 0.2

PIECE_RUNS = 1000
"""Classes after which a piece of a search comes back: less than a second."""


@dataclass(frozen=True, slots=True)
class Cell:
    """text and file are the litmus file's; era is what the orders are called."""

    file: str
    text: str
    era: str
    orders: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """seconds are from when somebody began with the cell until it was answered."""

    cell: Cell
    answer: Answer
    seconds: float


def answers(
    cells: Sequence[Cell],
    runs_max: int,
    executor: Executor | None,
    *,
    jobs: int = 1,
    is_watched: bool,
) -> Iterator[Answered]:
    """In the order of cells.  Without an executor, here; jobs is how many run at once in one."""
    line = Line(len(cells)) if is_watched else None
    try:
        if executor is None:
            for number, cell in enumerate(cells):
                yield answered(cell, runs_max, None if line is None else line.of(number, cell))
        else:
            yield from _Sharing(cells, runs_max, executor, jobs, line).answered()
    finally:
        if is_watched:
            _write("")


def answered(
    cell: Cell, runs_max: int, progress: Callable[[Reduction], None] | None = None
) -> Answered:
    """One cell, here."""
    began = time.perf_counter()
    answer = ask(parse(cell.text, cell.file), cell.orders, runs_max=runs_max, progress=progress)
    return Answered(cell, answer, time.perf_counter() - began)


# -- by several --------------------------------------------------------------------------


_ONE_AT_A_TIME = Lock()


@lru_cache(maxsize=16)
def _case(cell: Cell) -> LitmusCase:
    return LitmusCase(parse(cell.text, cell.file), cell.orders)


def explored_there(cell: Cell, piece: Piece) -> Finding:
    """Wherever this runs: in one of several threads, too, of which the model knows nothing."""
    with _ONE_AT_A_TIME:
        return explored(_case(cell), cell.orders, piece)


class _Asked:
    """A cell that was begun.  bound is how many classes may still be given away."""

    def __init__(self, cell: Cell, runs_max: int) -> None:
        self.cell = cell
        self.division = Division(parse(cell.text, cell.file), cell.orders)
        self.began = time.perf_counter()
        self.bound = runs_max
        self.given_count = 0

    def give(self, *, begun: bool) -> Piece | None:
        """A piece that was begun already, or one that nobody had."""
        bound, waiting = min(PIECE_RUNS, self.bound), self.division.waiting
        if not bound:
            return None
        piece = (waiting.pop(0) if waiting else None) if begun else self.division.give()
        if piece is None:
            return None
        self.bound -= bound
        self.given_count += 1
        left = COUNTED_MAX - self.division.answer.class_count
        return replace(piece, bound=bound, counted_max=max(left, 0))

    def take(self, piece: Piece, finding: Finding) -> None:
        self.division.take(piece, finding)
        self.bound += piece.bound - finding.answer.class_count
        self.given_count -= 1

    @property
    def progress(self) -> "Progress":
        division, answer = self.division, self.division.answer
        counts = answer.run_count, division.planned_count, answer.turn_count
        seconds = time.perf_counter() - self.began
        return Progress(self.cell, *counts, division.part_done, seconds)

    @property
    def is_done(self) -> bool:
        return self.division.is_done or not (self.given_count or self.bound)

    def answered(self) -> Answered:
        answer = self.division.answer
        answer.exhausted &= self.division.is_done
        return Answered(self.cell, answer, time.perf_counter() - self.began)


class _Sharing:
    """Cells whose searches several share: each is one piece, until somebody has nothing to do."""

    def __init__(
        self,
        cells: Sequence[Cell],
        runs_max: int,
        executor: Executor,
        jobs: int,
        line: "Line | None",
    ) -> None:
        self._cells = cells
        self._runs_max = runs_max
        self._executor = executor
        self._jobs = jobs
        self._line = line
        self._active: dict[int, _Asked] = {}
        self._begun_count = 0
        self._answered: dict[int, Answered] = {}
        self._given: dict[Future[Finding], tuple[_Asked, Piece]] = {}

    def answered(self) -> Iterator[Answered]:
        for number in range(len(self._cells)):
            while number not in self._answered:
                self._give_all()
                self._take()
            yield self._answered.pop(number)

    def _give_all(self) -> None:
        """Have a piece under way for each job, and of new cells one more: nobody is to wait."""
        if self._waiting_count < self._jobs - len(self._given) - self._new_count:
            for asked in self._all:
                asked.division.split()
        while len(self._given) < self._jobs and self._given_one(begun=False):
            pass
        while self._given_one(begun=True):
            pass
        while len(self._given) < 2 * self._jobs and self._new_count:
            cell = self._cells[self._begun_count]
            self._active[self._begun_count] = _Asked(cell, self._runs_max)
            self._begun_count += 1
            self._given_one(begun=True)

    def _given_one(self, *, begun: bool) -> bool:
        """Give a piece to somebody; false if there is none."""
        for asked in self._all:
            piece = asked.give(begun=begun)
            if piece is not None:
                future = self._executor.submit(explored_there, asked.cell, piece)
                self._given[future] = asked, piece
                return True
        return False

    @property
    def _all(self) -> list[_Asked]:
        return list(self._active.values())

    @property
    def _new_count(self) -> int:
        return len(self._cells) - self._begun_count

    @property
    def _waiting_count(self) -> int:
        return sum(len(asked.division.waiting) for asked in self._all)

    def _take(self) -> None:
        """Wait for whoever comes back first."""
        done, _ = wait(self._given, return_when=FIRST_COMPLETED)
        for future in done:
            asked, piece = self._given.pop(future)
            asked.take(piece, future.result())
        for number, asked in [*self._active.items()]:
            if asked.is_done:
                self._answered[number] = asked.answered()
                del self._active[number]
        if self._line is not None:
            done_count = self._begun_count - len(self._active)
            self._line.tell(done_count, [asked.progress for asked in self._all])


# -- how far it is -----------------------------------------------------------------------


class Progress(NamedTuple):
    """Of one cell.  part_done is from 0 to 1."""

    cell: Cell
    run_count: int
    planned_count: int
    turn_count: int
    part_done: float
    seconds: float


class Line:
    """On stderr: how many of all cells are done; of those under way, what was explored, what is
    planned, how fast, and an estimate of all."""

    def __init__(self, cell_count: int) -> None:
        self._cell_count = cell_count
        self._shown = 0.0

    def of(self, number: int, cell: Cell) -> Callable[[Reduction], None]:
        """What is told after each run of a cell that is searched here."""
        began = time.perf_counter()

        def progress(reduction: Reduction) -> None:
            counts = reduction.run_count, reduction.planned_count, reduction.turn_count
            seconds = time.perf_counter() - began
            self.tell(number, [Progress(cell, *counts, reduction.part_done(), seconds)])

        return progress

    def tell(self, done_count: int, under_way: Sequence[Progress]) -> None:
        now = time.monotonic()
        if not under_way or now - self._shown < WATCH_S:
            return
        self._shown = now
        _write(line_text(done_count, self._cell_count, under_way))


def line_text(done_count: int, cell_count: int, under_way: Sequence[Progress]) -> str:
    """Of at least one that is under way."""
    run_count = sum(each.run_count for each in under_way)
    planned = sum(max(each.planned_count + 1 - each.run_count, 0) for each in under_way)
    rate = sum(each.turn_count for each in under_way) / max(each.seconds for each in under_way)
    done = f"{done_count} of {cell_count} done; " if cell_count > 1 else ""
    cell = under_way[0].cell
    said = f"{cell.file} {cell.era}" if len(under_way) == 1 else f"{len(under_way)} under way"
    total = ""
    if all(each.part_done > 0.01 for each in under_way):
        estimate = sum(each.run_count / each.part_done for each in under_way)
        total = f", about {estimate:,.0f} in all"
    return (
        f"{done}{said}: {run_count:,} classes run, {planned:,} planned{total}; {rate:,.0f} turns/s"
    )


def _write(line: str) -> None:
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
