"""What must still be there at the end: the rule "lost", and which bytes it is about.

    Changes        the operations of a litmus file that change a file's bytes
    Promise        a range, and the bytes that each byte of it may have
    gone()         where a promise was not kept

An operation is over another one if that had come to its end before it began in every run: as the
earlier of one task, or by a wait for a task, or by a reap.  Each byte that some write has changed
then must have what one of the last changes gave it: those that no complete one is over.  Where two
ran beside each other both are allowed; where a copy may be the last, everything is, and so it is
after a store through a mapping, which counts only where the file had not ended by then.

The order of two operations is so one of the file, not of a run, and no verdict depends on which of
two that do not meet came first.

"There" is on the disk or in the cache, as either can be read; where the cache is dirty, in the
cache, as the disk will get what that holds.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from fusefs.explore.values import CachedBlock, FileEnd
from fusefs.litmus.test import Litmus, Operation, TaskText
from fusefs.model.geometry import FILE_SIZE_MAX

Place = tuple[int, int]
"""An operation: the number of its task, and its own within that; both from 0."""


@dataclass(frozen=True, slots=True)
class Change:
    """A range that an operation changes.

    value     the byte that it gives; None for what may give any
    cuts      it is a truncate: what is behind its start may be gone altogether
    extends   the file is as long as its end, afterwards
    """

    place: Place
    start: int
    end: int
    value: int | None
    cuts: bool = False
    extends: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """Bytes from start to end are among allowed; may_be_cut: or behind the end of the file.

    by are the operations whose bytes these are.
    """

    start: int
    end: int
    allowed: bytes
    may_be_cut: bool
    by: tuple[Place, ...]


# -- which operation is over which -------------------------------------------------------


def all_before(tasks: tuple[TaskText, ...]) -> dict[Place, frozenset[Place]]:
    """For each operation, those that have ended when it begins, whatever the run."""
    numbers = {task.name: number for number, task in enumerate(tasks)}
    before: dict[Place, frozenset[Place]] = {}

    def ended(number: int) -> set[Place]:
        """What is over when a task has ended: all of it, and all that it waited for."""
        found = {(number, place) for place in range(len(tasks[number].operations))}
        for each in tasks[number].operations:
            if each.word == "wait":
                found |= ended(numbers[each.other])
        return found

    for number, task in enumerate(tasks):
        over: set[Place] = set()
        in_flight: dict[str, Place] = {}
        for place, each in enumerate(task.operations):
            before[number, place] = frozenset(over)
            if each.word == "wait":
                over |= ended(numbers[each.other])
            if each.word == "reap":
                over.add(in_flight[each.other])
            if each.handle:
                in_flight[each.handle] = (number, place)
            else:
                over.add((number, place))
    return before


# -- what changes a file -----------------------------------------------------------------


class Changes:
    """Of one file; appends are those whose place is known only at the end of a run."""

    def __init__(self, litmus: Litmus, name: str, before: dict[Place, frozenset[Place]]) -> None:
        self._before = before
        self._fixed: list[Change] = []
        self.appends: dict[Place, Operation] = {}
        self._promises: dict[object, list[Promise]] = {}
        for number, task in enumerate(litmus.tasks):
            for index, each in enumerate(task.operations):
                place = (number, index)
                if each.word == "pwrite" and each.file == name and "append" in each.flags:
                    self.appends[place] = each
                elif (change := _change(name, each, place)) is not None:
                    self._fixed.append(change)

    @property
    def places(self) -> list[Place]:
        """The operations."""
        return [*(each.place for each in self._fixed), *self.appends]

    def promises(self, complete: frozenset[Place], positions: Mapping[Place, int]) -> list[Promise]:
        """What must be there once these operations have changed all that they could.

        positions are where appends began to write; one that has none has changed nothing.
        """
        mine = tuple((place, positions[place]) for place in self.appends if place in positions)
        known = (complete, mine)
        if known not in self._promises:
            self._promises[known] = list(self._made(self.all(positions), complete))
        return self._promises[known]

    def all(self, positions: Mapping[Place, int]) -> list[Change]:
        """The operations with their places; appends only where it is known where they began."""
        appended = [
            Change(place, pos, pos + each.length, ord(each.value), extends=True)
            for place, each in self.appends.items()
            for pos in [positions.get(place, -1)]
            if pos >= 0
        ]
        return [*self._fixed, *appended]

    def durable(
        self, synced: Collection[Place], begun: Collection[Place], positions: Mapping[Place, int]
    ) -> list[Promise]:
        """What must be there after a crash when these operations were synced once they had ended,
        and these had begun; zeros are promised as well, as far as the file reaches."""
        changes = [each for each in self.all(positions) if each.place in begun]
        return list(self._made(changes, synced, zeros_count=True))

    def _made(
        self, changes: list[Change], complete: Collection[Place], *, zeros_count: bool = False
    ) -> Iterator[Promise]:
        edges = sorted({edge for each in changes for edge in (each.start, each.end)})
        for start, end in pairwise(edges):
            here = [each for each in changes if each.start <= start and end <= each.end]
            done = [each for each in here if each.place in complete]
            last = [each for each in here if not self._is_over(done, each)]
            written = [
                each for each in last if each.place in complete and (each.value or zeros_count)
            ]
            if not written or any(each.value is None for each in last):
                continue
            allowed = bytes({each.value for each in last if each.value is not None})
            longer = [each for each in done if each.extends]
            cut = any(each.cuts and not self._is_over(longer, each) for each in here)
            cut = cut or not any(each.value for each in written)
            yield Promise(start, end, allowed, cut, tuple(each.place for each in written))

    def _is_over(self, others: list[Change], change: Change) -> bool:
        """Whether one of others comes after it in every run."""
        return any(change.place in self._before[other.place] for other in others)


def _change(name: str, operation: Operation, place: Place) -> Change | None:
    """What an operation, no append, changes of a file; None if nothing."""
    word, start = operation.word, operation.pos
    if word == "copy_range" and operation.other == name:
        start = operation.other_pos
        return Change(place, start, start + operation.length, None)
    if operation.file != name:
        return None
    if word == "truncate":
        return Change(place, start, FILE_SIZE_MAX, 0, cuts=True)
    if word == "mwrite":
        return Change(place, start, start + operation.length, None)
    if word in ("pwrite", "fpunch", "fzero"):
        value = ord(operation.value) if operation.value else 0
        extends = word != "fpunch" and "keep_size" not in operation.flags
        return Change(place, start, start + operation.length, value, extends=extends)
    return None


# -- whether it was kept -----------------------------------------------------------------


def gone(promise: Promise, end: FileEnd) -> list[tuple[int, int]]:
    """Where it was not kept: ranges from start to end, one for each block."""
    size, found = end.block, []
    at, last = promise.start, promise.end
    if promise.may_be_cut:
        last = min(last, -(-end.size // size) * size)
    while at < last:
        stop = min(at - at % size + size, last)
        below = min(stop, end.size)
        there = at < below and _is_there(promise.allowed, end, at, below)
        if not there and (at < below or not promise.may_be_cut):
            found.append((at, stop))
        elif below < stop and not promise.may_be_cut:
            found.append((below, stop))
        at = stop
    return found


def _is_there(allowed: bytes, end: FileEnd, start: int, stop: int) -> bool:
    """Within one block: on the disk or in the cache; where that is dirty, in the cache."""
    block = start // end.block
    disk = end.disk[start:stop]
    cached: CachedBlock | None = end.cached.get(block)
    if cached is None:
        return not disk.translate(None, allowed)
    in_cache = cached.data[start - block * end.block : stop - block * end.block]
    if cached.dirty or in_cache == disk:
        return not in_cache.translate(None, allowed)
    return all(
        one in allowed or other in allowed for one, other in zip(disk, in_cache, strict=True)
    )
