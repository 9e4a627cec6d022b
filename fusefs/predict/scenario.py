"""A meeting as a litmus file: the page where it is, cut out, and as few blocks of it as it takes.

What happens in a page depends on which blocks the operations and the file's end divide, and on what
each block was before, not on how long it is.  So alike neighbours become one block; a block that
something ends within has sectors.  Two meetings that come out the same are the same question.

    Scenario    the file without a name, and where its blocks are in the page
    scenario()  of a meeting; None if what it met was not told, or is too finely divided

What was cached or dirty before is made so by a task S, for which the others wait: `cached` of a
file is all of it, clean.  A page of which a part was cached is taken to be cached whole.

Units: positions are bytes in the page, or in the litmus file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from fusefs.engine.recording import CACHED, DIRTY, HOLE, UNWRITTEN
from fusefs.explore.values import ZEROS
from fusefs.litmus import test as words
from fusefs.litmus.test import (
    EXISTS,
    SIZE,
    And,
    Atom,
    Condition,
    FileText,
    Litmus,
    Machine,
    Not,
    Operation,
    Question,
    Run,
    TaskText,
)
from fusefs.predict.calls import Call
from fusefs.predict.meetings import Meeting

SECTOR = 512
BLOCKS_MAX = 8
SECTORS_MAX = 4
"""Of a page, and of a block: what is divided more finely is not searched."""

FILE = "f"
BEFORE, DIRTIED = "z", "y"
"""The letters of what was written at first, and of what was dirty then."""

SETUP = "S"
TASKS = "ABCDEFGH"


class _Placed(NamedTuple):
    """A call, and where its operation begins and ends in the litmus file.

    by_readahead: a read that touches these pages by that alone: nobody gets what it finds.
    """

    call: Call
    start: int
    end: int
    by_readahead: bool


_ATOM = Atom(SIZE, FILE, ZEROS)
NOTHING: Condition = And(_ATOM, Not(_ATOM))
"""Holds of no outcome: what is asked for at first is whether a rule is broken."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """litmus has the name "shape".

    tasks   the thread of each task, without S
    blocks  where each block of the litmus file begins in the meeting's pages, and their end
    """

    litmus: Litmus
    tasks: tuple[int, ...]
    blocks: tuple[int, ...]


class _Region:
    """Pages divided: to() gives a position in the litmus file for one in them."""

    def __init__(self, page: int, block: int, states: Sequence[str], points: Iterable[int]) -> None:
        edges, per_page = {*points}, page // block
        inside: list[list[int]] = [[] for _ in states]
        for point in sorted(edges):
            if point % block and point < len(states) * block:
                inside[point // block].append(point)
        starts = [
            at
            for at in range(len(states))
            if at % per_page == 0
            or states[at] != states[at - 1]
            or at * block in edges
            or inside[at]
            or inside[at - 1]
        ]
        in_pages = [[*some] for _, some in groupby(starts, key=lambda at: at // per_page)]
        count, sectors = _power(max(map(len, in_pages))), _power(max(map(len, inside)) + 1)
        self.is_too_fine = count > BLOCKS_MAX or sectors > SECTORS_MAX
        self.page, self.block = count * sectors * SECTOR, sectors * SECTOR
        self.states: list[str] = []
        self.blocks: list[int] = []
        self._to: dict[int, int] = {}
        for some in in_pages:
            plain = [at for at in some if not inside[at]]  # one of these is as long as it takes
            self.is_too_fine |= len(some) < count and not plain
            for at in some:
                width = 1 + (count - len(some)) * (plain[-1:] == [at])
                self._add(at * block, states[at], width, inside[at])
        self._to[len(states) * block] = len(in_pages) * self.page
        self.blocks.append(len(states) * block)

    def _add(self, pos: int, state: str, width: int, inside: Sequence[int]) -> None:
        """What begins at pos, as so many blocks; inside are positions within it."""
        base = len(self.states) * self.block
        self._to[pos] = base
        for number, point in enumerate(inside, 1):
            self._to[point] = base + number * SECTOR
        self.states += [state] * width
        self.blocks += [pos] * width

    def to(self, point: int) -> int:
        return self._to[point]


def _power(number: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << (number - 1).bit_length()


def scenario(meeting: Meeting, page: int, block: int) -> Scenario | None:
    """page and block are the mount's."""
    base, length = meeting.page * page, meeting.page_count * page
    met = meeting.met(page, block)
    if met is None:
        return None
    size, states = _within(met[0] - base, length), met[1]
    ranges = [_range(call, base, length, page) for call in meeting.calls]
    divided = _Region(page, block, states, [size, *(at for each in ranges for at in each)])
    if divided.is_too_fine:
        return None
    file, setup = _file(divided, divided.to(size))
    by_thread: dict[int, list[_Placed]] = {}
    for call, (start, end) in zip(meeting.calls, ranges, strict=True):
        by_readahead = is_ahead(call, base, length)
        placed = _Placed(call, divided.to(start), divided.to(end), by_readahead)
        by_thread.setdefault(call.pid, []).append(placed)
    threads = tuple(sorted(by_thread, key=lambda pid: [*map(_order, by_thread[pid])]))
    letters = iter("abcdefgh")
    tasks = [_task(number, by_thread[pid], letters) for number, pid in enumerate(threads)]
    if setup:
        wait = Operation("wait", other=SETUP)
        tasks = [TaskText(task.name, (wait, *task.operations)) for task in tasks]
        tasks.insert(0, TaskText(SETUP, setup))
    machine = Machine(divided.page, divided.block, 0, None, (file,))
    litmus = Litmus("shape", (), machine, tuple(tasks), Question(EXISTS, NOTHING))
    return Scenario(litmus, threads, tuple(divided.blocks))


def _within(pos: int, length: int) -> int:
    return min(max(pos, 0), length)


def is_ahead(call: Call, base: int, length: int) -> bool:
    """A call touches so many bytes from base on, but asks for none of them."""
    return _within(call.pos - base, length) >= _within(call.end - base, length)


def _range(call: Call, base: int, length: int, page: int) -> tuple[int, int]:
    """What a call's operation is about, within so many bytes from base on."""
    if call.word == "truncate":
        new = _within(call.pos - base, length)
        return new, new
    if call.word == "fsync":
        return 0, 0
    if not is_ahead(call, base, length):
        return _within(call.pos - base, length), _within(call.end - base, length)
    # readahead reads pages whole
    return _within(call.first * page - base, length), _within(call.last * page - base, length)


def _order(placed: _Placed) -> tuple[bool, str, list[str], int, int, bool]:
    """Of tasks: who began first is no part of the question."""
    call, start, end, by_readahead = placed
    return not call.changes, call.word, sorted(call.flags), start, end, by_readahead


# -- the file before anybody runs ----------------------------------------------------------


def _file(divided: _Region, size: int) -> tuple[FileText, tuple[Operation, ...]]:
    """The file, and what S has to do to it first."""
    below = -(-size // divided.block)
    runs: list[Run] = []
    for at, state in enumerate(divided.states):
        name = {HOLE: words.HOLE, UNWRITTEN: words.UNWRITTEN}.get(state[0], BEFORE)
        if at >= below:
            if name == words.HOLE:
                break
            name = words.UNWRITTEN
        if runs and runs[-1].state == name:
            runs[-1] = Run(name, runs[-1].count + 1)
        else:
            runs.append(Run(name, 1))
    held = [state[1] for state in divided.states[:below]]
    per_page = divided.page // divided.block
    pages = [CACHED in held[at : at + per_page] for at in range(0, below, per_page)]
    file = FileText(FILE, size, tuple(runs), cached=bool(pages) and all(pages))
    setup = [
        Operation("pread", FILE, number * divided.page, divided.page)
        for number, cached in enumerate(pages)
        if cached and not file.cached
    ]
    at = 0
    for cached, alike in groupby(held):
        start, at = at, at + len(list(alike))
        if cached == DIRTY:
            pos, end = start * divided.block, min(at * divided.block, size)
            setup.append(Operation("pwrite", FILE, pos, end - pos, DIRTIED))
    return file, tuple(setup)


# -- the tasks -----------------------------------------------------------------------------


def _task(thread: int, calls: Sequence[_Placed], letters: Iterator[str]) -> TaskText:
    """What one thread does."""
    results, handles = iter("rstuv"), iter("hijkl")
    operations = []
    for call, start, end, by_readahead in calls:
        operation = Operation(call.word, FILE, start, end - start, flags=call.flags)
        if call.word == "pwrite":
            handle = next(handles) if call.is_async else ""
            operation = replace(operation, value=next(letters), handle=handle)
            if "append" in call.flags and call.pos == call.size:
                operation = replace(operation, pos=0)
            else:
                operation = replace(operation, flags=call.flags - {"append"})
        elif call.word == "fsync" or (call.word == "pread" and not by_readahead):
            operation = replace(operation, result=next(results))
        operations.append(operation)
    return TaskText(TASKS[thread], tuple(operations))
