"""Answers of many files under many eras, by any executor of concurrent.futures.

    Cell       one file under one era
    answers()  each cell with its answer and the seconds that it took, in order
    watch()    says how far a search is, in a line that is written again and again

An executor on another machine needs this package there, and nothing else: what is sent is the text
of the file and the names of orders, what comes back is an Answer.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from fusefs.explore.answer import Answer, ask
from fusefs.explore.reduction import Reduction
from fusefs.litmus.parse import parse

WATCH_S = 0.2


@dataclass(frozen=True, slots=True)
class Cell:
    """text and file are the litmus file's; era is what the orders are called."""

    file: str
    text: str
    era: str
    orders: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answered:
    cell: Cell
    answer: Answer
    seconds: float


def answers(
    cells: Sequence[Cell], runs_max: int, executor: Executor | None, *, is_watched: bool
) -> Iterator[Answered]:
    """In the order of cells.  Without an executor, here."""
    said = [f"{cell.file} {cell.era}" if is_watched else "" for cell in cells]
    try:
        if executor is None:
            for cell, line in zip(cells, said, strict=True):
                yield answered(cell, runs_max, line)
        else:
            bounds = [runs_max] * len(cells)
            yield from executor.map(answered, cells, bounds, said)
    finally:
        if is_watched:
            _write("")


def answered(cell: Cell, runs_max: int, said: str = "") -> Answered:
    """One cell, wherever this runs; said is what its progress is told under, on stderr."""
    began = time.perf_counter()
    progress = watch(said) if said else None
    answer = ask(parse(cell.text, cell.file), cell.orders, runs_max=runs_max, progress=progress)
    return Answered(cell, answer, time.perf_counter() - began)


def watch(said: str) -> Callable[[Reduction], None]:
    """Explored, planned, rate, and an estimate of all, on stderr."""
    began = shown = time.monotonic()

    def progress(reduction: Reduction) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < WATCH_S:
            return
        shown = now
        done = reduction.part_done()
        total = f", about {reduction.run_count / done:,.0f} in all" if done > 0.01 else ""
        rate = reduction.turn_count / (now - began)
        planned = max(reduction.planned_count + 1 - reduction.run_count, 0)
        _write(
            f"{said}: {reduction.run_count:,} classes run, {planned:,} planned{total};"
            f" {rate:,.0f} turns/s"
        )

    return progress


def _write(line: str) -> None:
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
