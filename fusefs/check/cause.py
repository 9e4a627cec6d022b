"""Which request changed the bytes, which filled the page, and between which two steps it did.

A page holds what its fill found: zeros if the map said so, else what was on the image.  So where
the fill stands among the steps of the change is what decides, and it is told as these two steps:

    before    the last step of the change that was granted by then; "began" if none was
    after     the first one that came later; "reply" if there is none

Units: start, stop are bytes in the file; times are ns of the events.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from fusefs.check.compare import Difference
from fusefs.check.history import Story, Taken
from fusefs.engine.task import REPLY

MAP: Final = "buffered.read.map"
FILL: Final = "buffered.read.fill"
COPY: Final = "buffered.write.copy"
SUBMIT: Final = "dio.write.submit"
CONVERT: Final = "dio.write.convert"
ISIZE: Final = "dio.write.isize"
POST: Final = "dio.write.invalidate_post"

DIRECT: Final = (SUBMIT, CONVERT, ISIZE, POST)
"""The steps of a direct write from where it has changed something to its end."""

FALLOCATE: Final = "fallocate"
TRUNCATE: Final = "truncate"
COPY_RANGE: Final = "copy_file_range"
"""Operations.  Of a copy the steps of its reads are of another file."""

BEGAN: Final = "began"
UNKNOWN: Final = "?"


class Cause(NamedTuple):
    """As far as it is remembered.  store is a buffered write of the page, later than its fill."""

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
    fill = _latest_with(known, MAP, page_start, page_stop)
    filled = _decided(fill, difference, page_start, page_stop)
    store = _latest_with(known, COPY, page_start, page_stop)
    if store is not None and store.steps[-1].time_ns < filled:
        store = None
    changes = [each for each in known if _changes(each, difference.start, difference.stop)]
    change = next((each for each in changes if each.steps[-1].time_ns >= filled), None)
    if change is None and changes:
        change = changes[0]
    if change is None or fill is None:
        return Cause(change, fill, store, UNKNOWN, UNKNOWN)
    if not (change.has(CONVERT) or change.has(ISIZE)):
        filled = _time_of(fill, FILL, page_start, page_stop) or filled
    return Cause(change, fill, store, *_between(change, filled))


def _latest_with(stories: list[Story], step: str, start: int, stop: int) -> Story | None:
    for story in stories:
        if story.request.operation != COPY_RANGE and _time_of(story, step, start, stop):
            return story
    return None


def _time_of(story: Story, step: str, start: int, stop: int) -> int:
    """When a story took a step over a range last; 0 if it did not."""
    times = [each.time_ns for each in story.steps if each.step == step and each.meets(start, stop)]
    return times[-1] if times else 0


def _decided(fill: Story | None, difference: Difference, start: int, stop: int) -> int:
    """When it was decided what a page holds: zeros with the map, other bytes with the fill."""
    if fill is None:
        return 0
    mapped = _time_of(fill, MAP, start, stop)
    return max(mapped, 0 if not any(difference.got) else _time_of(fill, FILL, start, stop))


def _changes(story: Story, start: int, stop: int) -> bool:
    """Whether a request has changed, or taken away, bytes of a range."""
    request = story.request
    if not story.steps:
        return False
    if request.operation == FALLOCATE:
        return request.pos < stop and start < request.pos + request.length
    if request.operation == TRUNCATE:
        return request.pos < stop and request.pos < story.size
    return any(each.step in DIRECT and each.meets(start, stop) for each in story.steps)


def _between(change: Story, time_ns: int) -> tuple[str, str]:
    before, after = BEGAN, REPLY.name
    for taken in change.steps:
        if taken.time_ns <= time_ns:
            before = taken.step
        else:
            return before, taken.step
    return before, after


def steps_from(story: Story, start: int, stop: int) -> list[Taken]:
    """Those steps of a story that a ladder shows: its last ones that meet a range."""
    return [each for each in story.steps if not each.length or each.meets(start, stop)]
