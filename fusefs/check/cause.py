"""Which request changed the bytes, which filled the page, and between which two steps it did.

A page holds what its fill found: zeros if the map said so, else what was on the image.  So where
the fill stands among the steps of the change is what decides, and it is told as these two steps:

    before    the last step of the change that was granted by then; "began" if none was
    after     the first one that came later; "reply" if there is none

Units: start, stop are bytes in the file; times are ns of the events.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fusefs.check.compare import Difference
from fusefs.check.history import Story, Taken
from fusefs.engine.task import REPLY

MAP: Final = "buffered.read.map"
FILL: Final = "buffered.read.fill"
STORES: Final = ("buffered.write.copy", "zero.map")
"""Where a request makes a page dirty: a write through the cache, and zeroing of an edge."""

SUBMIT: Final = "dio.write.submit"
CONVERT: Final = "dio.write.convert"
ISIZE: Final = "dio.write.isize"
PRE: Final = "dio.write.invalidate_pre"
POST: Final = "dio.write.invalidate_post"

DIRECT: Final = (SUBMIT, CONVERT, ISIZE, POST)
"""The steps of a direct write from where it has changed something to its end."""

WRITEBACK: Final = "writeback.map"
INSERT: Final = "buffered.read.page_lock"
"""After these a page is clean."""

FALLOCATE: Final = "fallocate"
TRUNCATE: Final = "truncate"
"""Operations."""

BEGAN: Final = "began"
UNKNOWN: Final = "?"


class Cause(NamedTuple):
    """As far as it is remembered.

    store is what made the page dirty, if it was at the end of the change: then that is why the
    change did not drop it.
    """

    change: Story | None
    fill: Story | None
    store: Story | None
    before: str
    after: str


def cause(
    stories: Iterable[Story], difference: Difference, page_start: int, page_stop: int
) -> Cause:
    """Of a page that differs; stories are those of its file, the latest first."""
    known = list(stories)
    fill = _latest_with(known, (MAP,), page_start, page_stop)
    filled = _decided(fill, difference, page_start, page_stop)
    changes = [each for each in known if _changes(each, difference)]
    change = next((each for each in changes if each.steps[-1].time_ns >= filled), None)
    store = _store(known, change, page_start, page_stop)
    if change is None or fill is None:
        return Cause(change, fill, store, UNKNOWN, UNKNOWN)
    inserted = _time_of(fill, (INSERT,), page_start, page_stop) or filled
    dropped = _time_of(change, (PRE, POST), page_start, page_stop)
    if store is None and inserted < dropped:
        return Cause(change, None, store, UNKNOWN, UNKNOWN)  # a later one, which is forgotten
    if fill.lacks_beginning or filled < change.request.began_ns:
        return Cause(change, fill, store, UNKNOWN, UNKNOWN)
    if not (change.has(CONVERT) or change.has(ISIZE)):
        filled = _time_of(fill, (FILL,), page_start, page_stop) or filled
    if change.forgot(filled):
        return Cause(change, fill, store, UNKNOWN, UNKNOWN)
    return Cause(change, fill, store, *_between(change, filled))


def _store(stories: list[Story], change: Story | None, start: int, stop: int) -> Story | None:
    """Of a direct write: who made the page dirty, so that it could not be dropped."""
    if change is None or change.request.operation in (FALLOCATE, TRUNCATE):
        return None
    store = _latest_with(stories, STORES, start, stop)
    if store is None:
        return None
    stored = _time_of(store, STORES, start, stop)
    clean = max(_time_of(each, (WRITEBACK, INSERT), start, stop) for each in stories)
    return store if clean < stored < change.steps[-1].time_ns else None


def _latest_with(
    stories: Iterable[Story], steps: Sequence[str], start: int, stop: int
) -> Story | None:
    return next((each for each in stories if _time_of(each, steps, start, stop)), None)


def _time_of(story: Story, steps: Sequence[str], start: int, stop: int) -> int:
    """When a story took one of these steps over a range last; 0 if it did not."""
    taken = last_of(story, steps, start, stop)
    return 0 if taken is None else taken.time_ns


def last_of(story: Story, steps: Sequence[str], start: int, stop: int) -> Taken | None:
    """The last of these steps that a story took over a range."""
    for each in reversed(story.steps):
        if each.step in steps and each.meets(start, stop):
            return each
    return None


def _decided(fill: Story | None, difference: Difference, start: int, stop: int) -> int:
    """When it was decided what a page holds: zeros with the map, other bytes with the fill."""
    if fill is None:
        return 0
    mapped = _time_of(fill, (MAP,), start, stop)
    return max(mapped, _time_of(fill, (FILL,), start, stop)) if any(difference.got) else mapped


def _changes(story: Story, difference: Difference) -> bool:
    """Whether a request has changed, or taken away, the bytes that differ."""
    request, start, stop = story.request, difference.start, difference.stop
    if not story.steps:
        return False
    if request.operation in (FALLOCATE, TRUNCATE):
        if any(difference.expected):
            return False
        if request.operation == FALLOCATE:
            return request.pos < stop and start < request.pos + request.length
        return request.pos < stop and request.pos < story.size
    return any(each.step in DIRECT and each.meets(start, stop) for each in story.steps)


def _between(change: Story, time_ns: int) -> tuple[str, str]:
    """Waits for locks left out: they are there or not, whatever else happens."""
    before, after = BEGAN, REPLY.name
    for taken in change.steps:
        if taken.step.startswith("lock."):
            continue
        if taken.time_ns <= time_ns:
            before = taken.step
        else:
            return before, taken.step
    return before, after


def steps_shown(story: Story, start: int, stop: int) -> list[Taken]:
    """Those that a ladder shows: which meet a range, and the fill after a look at its map."""
    shown, fills = [], False
    for each in story.steps:
        if each.step != FILL:
            fills = each.step == MAP and each.meets(start, stop)
        if not each.length or each.meets(start, stop) or (fills and each.step == FILL):
            shown.append(each)
    return shown
