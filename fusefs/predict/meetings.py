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
PARTNERS_OF_MORE_MAX = 4
"""Of those, for each page, the last that touch it: for meetings of two, and of three or more."""


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
        for page_count in range(1, bounds.pages_max + 1):
            yield from _meetings_of(call, near, bounds, page_count)
        recent.append(call)


def _meetings_of(
    call: Call, near: list[Call], bounds: Bounds, page_count: int
) -> Iterator[Meeting]:
    """Page by page, as calls to other pages may not take the place of a partner."""
    pages = {page for other in (call, *near) for page in _edges((other, call), page_count)}
    for page in sorted(pages):
        partners = [each for each in near if each.first < page + page_count and page < each.last]
        for others in _choices(partners[-PARTNERS_MAX:], bounds):
            chosen = (*others, call)
            if _is_asked(chosen, bounds) and _is_looked_at(chosen, page, page_count):
                yield Meeting(chosen, page, page_count)


def _choices(near: list[Call], bounds: Bounds) -> Iterator[tuple[Call, ...]]:
    """Whom a call is looked at with, nearest first."""
    if bounds.alone:
        yield ()
    backwards = near[::-1]
    for count in range(1, bounds.calls_max):
        some = backwards if count == 1 else backwards[:PARTNERS_OF_MORE_MAX]
        for others in combinations(some, count):
            yield others[::-1]


def _is_asked(calls: tuple[Call, ...], bounds: Bounds) -> bool:
    """Something changes, and somebody else is there who could see it."""
    if not any(call.changes or call.word == "fsync" for call in calls):
        return False
    if all(call.word == "fsync" for call in calls):
        return False
    return bounds.alone or len({call.pid for call in calls}) > 1


def _edges(calls: tuple[Call, ...], page_count: int) -> set[int]:
    """Pages to look at: the first that all touch, the last, and one between: the others are alike.

    Of two neighbours the first, of which one reaches over the edge.
    """
    first, last = max(call.first for call in calls), min(call.last for call in calls)
    if page_count == 1:
        return {first, first + 1, last - 1}
    return {first - 1, first, last - 2, last - 1}


def _is_looked_at(calls: tuple[Call, ...], page: int, page_count: int) -> bool:
    """Each of these pages is touched, and all calls touch one."""
    return (
        page >= 0
        and page in _edges(calls, page_count)
        and all(call.first < page + page_count and page < call.last for call in calls)
        and all(
            any(call.first <= each < call.last for call in calls)
            for each in range(page, page + page_count)
        )
    )
