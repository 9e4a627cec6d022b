"""Meetings that come out as the same litmus file, counted: each is searched once.

    Shape       a litmus file, and where in the recording it came up
    Shapes      all of a recording

Units: times are nanoseconds.
"""

from dataclasses import dataclass, field

from fusefs.litmus.test import Litmus
from fusefs.litmus.text import setting
from fusefs.predict.calls import Call, Calls
from fusefs.predict.meetings import Bounds, Meeting, meetings
from fusefs.predict.scenario import Scenario, is_ahead, scenario

PLACES_MAX = 3
"""Of each shape that are kept; the others are counted."""


@dataclass(slots=True)
class Place:
    meeting: Meeting
    scenario: Scenario


@dataclass(slots=True)
class Shape:
    """count is how often it came up, overlapped_count how often some of it ran beside each other.

    nearest_ns is the shortest gap among those that did not.
    """

    text: str
    places: list[Place] = field(default_factory=list)
    count: int = 0
    overlapped_count: int = 0
    nearest_ns: int | None = None

    @property
    def litmus(self) -> Litmus:
        return self.places[0].scenario.litmus

    @property
    def call_count(self) -> int:
        return len(self.places[0].meeting.calls)

    @property
    def page_count(self) -> int:
        return self.places[0].meeting.page_count

    def add(self, meeting: Meeting, found: Scenario) -> None:
        self.count += 1
        if meeting.overlapped:
            self.overlapped_count += 1
        else:
            gap = meeting.gap_ns
            self.nearest_ns = gap if self.nearest_ns is None else min(self.nearest_ns, gap)
        if len(self.places) < PLACES_MAX:
            self.places.append(Place(meeting, found))


class Shapes:
    """Of all calls, which are read to their end.

    meeting_count counts all meetings, left_count those that became no litmus file.
    """

    def __init__(self, calls: Calls, bounds: Bounds) -> None:
        self.meeting_count = 0
        self.left_count = 0
        self._known: dict[object, Shape | None] = {}
        self._by_text: dict[str, Shape] = {}
        for meeting in meetings(calls, bounds):
            self.meeting_count += 1
            assert calls.machine is not None
            self._page, self._block = calls.machine.page, calls.machine.block
            self._add(meeting)

    def _add(self, meeting: Meeting) -> None:
        key = self._key(meeting)
        if key in self._known:
            shape = self._known[key]
            if shape is None:
                self.left_count += 1
                return
            if len(shape.places) >= PLACES_MAX:
                shape.add(meeting, shape.places[0].scenario)
                return
        found = scenario(meeting, self._page, self._block)
        if found is None:
            self._known[key] = None
            self.left_count += 1
            return
        text = setting(found.litmus)
        shape = self._by_text.setdefault(text, Shape(text))
        self._known[key] = shape
        shape.add(meeting, found)

    def _key(self, meeting: Meeting) -> object:
        """Meetings of which it is equal come out alike; cheaper than to find out how."""
        base = meeting.page * self._page
        met = meeting.met(self._page, self._block)
        threads = {call.pid: n for n, call in enumerate(reversed(meeting.calls))}
        length = meeting.page_count * self._page
        return (
            meeting.page_count,
            None if met is None else (min(max(met[0] - base, 0), length), met[1]),
            *(self._call_key(call, threads[call.pid], base, length) for call in meeting.calls),
        )

    def _call_key(self, call: Call, thread: int, base: int, length: int) -> object:
        start, end = max(call.pos - base, -1), min(call.end - base, length + 1)
        ahead = (call.first * self._page - base, call.last * self._page - base)
        appends = call.pos == call.size
        by_readahead = is_ahead(call, base, length)
        where = ahead if by_readahead else (start, end)
        if call.word == "truncate":  # which has no length; what counts is the new size
            where = min(max(start, 0), length), 0
        return thread, call.word, call.flags, where, by_readahead, appends, call.is_async

    def by_size(self) -> list[Shape]:
        """The smallest first, and of these the most frequent."""
        return sorted(
            self._by_text.values(), key=lambda each: (each.call_count, each.page_count, -each.count)
        )
