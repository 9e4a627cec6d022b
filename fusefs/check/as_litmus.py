"""A report as a litmus file: two tasks on one page, and whether the first can read what was found.

The geometry is the mount's, and so is where in the page the bytes are, up to RATIO_MAX blocks in
a page; of more the page is taken smaller, and everything in it moves in proportion.  A search of
the file under the orders of the mount says Sometimes, under today's Never.

Units: sizes, pos, start, stop are bytes; those of the litmus file count from the page's first byte.
"""

from dataclasses import dataclass
from typing import Final

from fusefs.check.cause import CONVERT, FALLOCATE, STORES, TRUNCATE, UNKNOWN, Cause, last_of
from fusefs.check.compare import Difference
from fusefs.check.history import Story
from fusefs.litmus.test import (
    ALWAYS,
    EXISTS,
    RESULT,
    SOMETIMES,
    UNWRITTEN,
    Atom,
    FileText,
    Litmus,
    Machine,
    Operation,
    Question,
    Run,
    TaskText,
)
from fusefs.model.geometry import SECTOR_SIZE, Geometry

RATIO_MAX: Final = 8
"""Blocks in a page of a litmus file."""

FILE, RESULT_NAME = "f", "r"
BEFORE, BESIDE, WRITTEN, STORED = "z", "y", "a", "b"
"""Letters: what the file held, in the changed range and beside it; what A and B write."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A page of the mount, from base on, as a page of a litmus file."""

    geometry: Geometry
    base: int

    @property
    def block(self) -> int:
        return self.geometry.block_size

    @property
    def page(self) -> int:
        return min(self.geometry.page_size, RATIO_MAX * self.block)

    def range(self, start: int, stop: int) -> tuple[int, int]:
        """What of a range of the file is in the page, a block at least; (0, 0) if nothing is."""
        low = max(start - self.base, 0)
        high = min(stop - self.base, self.geometry.page_size)
        if low >= high:
            return 0, 0
        factor = self.geometry.page_size // self.page
        if factor > 1:
            unit = factor * self.block
            low, high = low // unit * self.block, -(-high // unit) * self.block
        return low, high


def as_litmus(
    name: str,
    prose: tuple[str, ...],
    era: str,
    geometry: Geometry,
    difference: Difference,
    cause: Cause,
) -> Litmus | None:
    """None if it is not known how the page came about.  era is the name of the orders in force."""
    change = cause.change
    if change is None or cause.before == UNKNOWN:
        return None
    scale = Scale(geometry, difference.start // geometry.page_size * geometry.page_size)
    changed, size = _changed(scale, change), scale.range(scale.base, change.size)[1]
    is_partial = (changed[0] | changed[1]) % scale.block != 0
    if is_partial and change.size > scale.base + geometry.page_size:
        size += scale.block  # parts of blocks share the lock within i_size alone
    shown, _ = scale.range(difference.start, difference.stop)
    shown -= shown % scale.block
    file, found = _file(scale, change, size, changed, shown, difference, cause)
    first = _change(change, changed, size)
    read = Operation("pread", FILE, shown, scale.block, result=RESULT_NAME)
    tasks = [TaskText("A", (*first, read))]
    second = _second(scale, cause, max(size, changed[1] if not size else 0))
    is_alone = second is None or cause.store is change
    if second is not None and not is_alone:
        tasks.append(TaskText("B", (second,)))
    question = Question(EXISTS, Atom(RESULT, f"A.{RESULT_NAME}", found))
    expected = {era: ALWAYS if is_alone else SOMETIMES} if era else {}
    machine = Machine(scale.page, scale.block, 0, None, (file,))
    return Litmus(name, prose, machine, tuple(tasks), question, expected, ("coherence",))


def _changed(scale: Scale, change: Story) -> tuple[int, int]:
    """The range that a change is about, in the page."""
    request = change.request
    if request.operation == TRUNCATE:
        return scale.range(request.pos, change.size)
    if request.operation == FALLOCATE:
        return scale.range(request.pos, request.pos + request.length)
    ranges = [each for each in change.steps if each.step.startswith("dio.write.") and each.length]
    start, stop = scale.range(
        min(each.pos for each in ranges), max(each.pos + each.length for each in ranges)
    )
    return start // SECTOR_SIZE * SECTOR_SIZE, -(-stop // SECTOR_SIZE) * SECTOR_SIZE


def _file(
    scale: Scale,
    change: Story,
    size: int,
    changed: tuple[int, int],
    shown: int,
    difference: Difference,
    cause: Cause,
) -> tuple[FileText, str]:
    """The file as it was at first, and the value that A reads if the page is stale."""
    first, end = changed[0] // scale.block, -(-changed[1] // scale.block)
    blocks = -(-size // scale.block)
    is_new = change.has(CONVERT) and not any(difference.got)
    states = [
        (UNWRITTEN if is_new else BEFORE) if first <= block < end else BESIDE
        for block in range(blocks)
    ]
    runs: list[Run] = []
    for state in states:
        count = runs.pop().count if runs and runs[-1].state == state else 0
        runs.append(Run(state, count + 1))
    is_zero = not any(difference.got) and (is_new or shown >= size)
    cached = cause.store is not None and size > 0
    return FileText(FILE, size, tuple(runs), cached), "0" if is_zero else BEFORE


def _change(change: Story, changed: tuple[int, int], size: int) -> list[Operation]:
    """What A does first."""
    pos, length = changed[0], changed[1] - changed[0]
    if change.request.operation == FALLOCATE:
        return [Operation("fpunch", FILE, pos, length)]
    if change.request.operation == TRUNCATE:
        return [Operation("truncate", FILE, pos), Operation("truncate", FILE, size)]
    return [Operation("pwrite", FILE, pos, length, WRITTEN, frozenset(["direct"]))]


def _second(scale: Scale, cause: Cause, readable: int) -> Operation | None:
    """What B does: read somewhere in the page, or store there."""
    page_stop = scale.base + scale.geometry.page_size
    stored = cause.store and last_of(cause.store, STORES, scale.base, page_stop)
    if stored:
        start, stop = scale.range(stored.pos, stored.pos + stored.length)
        return Operation("pwrite", FILE, start, stop - start, STORED)
    if readable <= 0:
        return None
    start, stop = 0, scale.page
    if cause.fill is not None:
        request = cause.fill.request
        start, stop = scale.range(request.pos, request.pos + request.length)
    if start >= min(stop, readable):
        start, stop = 0, scale.page
    return Operation("pread", FILE, start, min(stop, readable) - start)
