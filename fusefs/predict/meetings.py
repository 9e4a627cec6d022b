"""Which calls of a recording may overlap, and on which page they meet.

Of one thread each call comes after the one before it, unless that was asynchronous.  Nothing else
orders calls that a mount can see: that one process waited for another, through a pipe or by
wait(2), it is not told.  So calls of several threads count as unordered if they are near: each
begins at most Bounds.window_ns after another's end.  Far ones do not: a program that has done
something else for so long has most often waited for it.

    Bounds       what is looked at, and what is not
    Meeting      calls, in the order in which they began, and a page that all of them touch
    meetings()   each call with those before it

Units: times are nanoseconds; page is a page's number in the file.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from fusefs.predict.calls import Call

NEIGHBOURS_MAX = 64
"""Calls to one file before each that are looked at: the last ones."""

PARTNERS_MAX = 8
"""Of those that touch a page of it: the last ones; of meetings of three, half as many."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """alone: what one thread does by itself counts, too; pages_max is 1 or 2."""

    window_ns: int = 100_000_000
    calls_max: int = 2
    alone: bool = False
    pages_max: int = 1


class Meeting(NamedTuple):
    """page_count pages from page on, of which each call touches one at least."""

    calls: tuple[Call, ...]
    page: int
    page_count: int = 1

    def met(self, page: int, block: int) -> tuple[int, tuple[str, ...]] | None:
        """The file's size and the pages' blocks, as the first that was told of each met them."""
        found: list[str] = []
        size: int | None = None
        for index in range(self.page, self.page + self.page_count):
            told = ((call, call.met(index * page, page, block)) for call in self.calls)
            first = next(((call, blocks) for call, blocks in told if blocks is not None), None)
            if first is None:
                return None
            size = first[0].size if size is None else size
            found += first[1]
        assert size is not None
        return size, tuple(found)

    @property
    def overlapped(self) -> bool:
        """Some two of different threads were under way at the same time."""
        pairs = combinations(self.calls, 2)
        return any(one.overlaps(other) for one, other in pairs if one.pid != other.pid)

    @property
    def gap_ns(self) -> int:
        """The longest time between the end of one and the beginning of the next."""
        gap, end_ns = 0, self.calls[0].ended_ns
        for call in self.calls[1:]:
            gap = max(gap, call.began_ns - end_ns)
            end_ns = max(end_ns, call.ended_ns)
        return gap


def meetings(calls: Iterable[Call], bounds: Bounds) -> Iterator[Meeting]:
    """calls are in the order in which they began."""
    files: dict[int, deque[Call]] = {}
    beside = bounds.pages_max - 1
    for call in calls:
        recent = files.setdefault(call.ino, deque(maxlen=NEIGHBOURS_MAX))
        near = [
            other
            for other in recent
            if other.ended_ns >= call.began_ns - bounds.window_ns
            and other.first < call.last + beside
            and call.first < other.last + beside
        ]
        for others in _choices(near[-PARTNERS_MAX:], bounds):
            chosen = (*others, call)
            if _is_asked(chosen, bounds):
                yield from (Meeting(chosen, page) for page in _pages(chosen))
                if beside:
                    yield from (Meeting(chosen, page, 2) for page in _pairs(chosen))
        recent.append(call)


def _choices(near: list[Call], bounds: Bounds) -> Iterator[tuple[Call, ...]]:
    """Whom a call is looked at with, nearest first."""
    if bounds.alone:
        yield ()
    backwards = near[::-1]
    for count in range(1, bounds.calls_max):
        some = backwards if count == 1 else backwards[: PARTNERS_MAX // 2]
        for others in combinations(some, count):
            yield others[::-1]


def _is_asked(calls: tuple[Call, ...], bounds: Bounds) -> bool:
    """Something changes, and somebody else is there who could see it."""
    if not any(call.changes or call.word == "fsync" for call in calls):
        return False
    if all(call.word == "fsync" for call in calls):
        return False
    return bounds.alone or len({call.pid for call in calls}) > 1


def _pages(calls: tuple[Call, ...]) -> Iterator[int]:
    """Pages that all touch: the first, the last, and one in the middle: the others are alike."""
    first, last = max(call.first for call in calls), min(call.last for call in calls)
    for page in sorted({first, first + 1, last - 1}):
        if first <= page < last:
            yield page


def _pairs(calls: tuple[Call, ...]) -> Iterator[int]:
    """The first of two neighbouring pages, of which each is touched, and all touch one."""
    first, last = max(call.first for call in calls), min(call.last for call in calls)
    for page in sorted({first - 1, first, last - 2, last - 1}):
        pages = (page, page + 1)
        if (
            page >= 0
            and all(call.first <= page + 1 and page < call.last for call in calls)
            and all(any(call.first <= each < call.last for call in calls) for each in pages)
        ):
            yield page
