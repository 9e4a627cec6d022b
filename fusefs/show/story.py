"""What is drawn: some events in order, and what each of them did.

    Story     events, the names of who and what they are about, lanes, what is critical
    Lane      one thing that requests share: a page, a range of blocks, a lock
    State     what it is in, after an event: a kind, which has a colour, and words
    select()  the events of a file, a process, a range

Where nothing is known of a lane its state is UNKNOWN: nothing is guessed.

Units: pos and length are bytes in the file; times are ns, of a made-up clock in a witness, where
a turn takes TURN_NS.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from fusefs.engine.events import ASKED, BEGAN, ENDED, NOTHING, Event

TURN_NS: Final = 1000
"""A turn of a witness: 1 us in a viewer of traces."""

ENDLESS: Final = 1 << 60
"""Bytes; a longer range goes up to where any file ends."""

PAGE: Final = "page"
BLOCKS: Final = "blocks"
LOCK: Final = "lock"
"""The kinds of lanes."""

UNKNOWN: Final = "unknown"
ABSENT: Final = "absent"
LOCKED: Final = "locked"
CLEAN: Final = "clean"
ZEROS: Final = "zeros"
DIRTY: Final = "dirty"
WRITEBACK: Final = "writeback"
STALE: Final = "stale"
HOLE: Final = "hole"
UNWRITTEN: Final = "unwritten"
WRITTEN: Final = "written"
FREE: Final = "free"
HELD: Final = "held"
"""The kinds of states: of pages up to STALE, then of blocks, then of locks."""

KINDS: Final[Mapping[str, str]] = {
    UNKNOWN: "the events do not say",
    ABSENT: "not in the cache",
    LOCKED: "in the cache, locked, not filled",
    CLEAN: "holds what the disk holds",
    ZEROS: "holds zeros, as the blocks read",
    DIRTY: "newer than the disk",
    WRITEBACK: "on its way to the disk",
    STALE: "clean, and not what the disk holds",
    HOLE: "no block",
    UNWRITTEN: "a block that reads as zeros",
    WRITTEN: "a block that holds the data",
    FREE: "held by nobody",
    HELD: "somebody has it",
}


class State(NamedTuple):
    """What a lane is in; text is short enough for a lane, and may say whose bytes there are."""

    kind: str
    text: str


NOT_KNOWN: Final = State(UNKNOWN, "?")


@dataclass(frozen=True, slots=True)
class Lane:
    """kind is PAGE, BLOCKS or LOCK; of is the file, what the page, the range or the lock."""

    kind: str
    of: str
    what: str

    @property
    def name(self) -> str:
        return f"{self.kind} {self.what} of {self.of}" if self.of else f"{self.kind} {self.what}"


States = tuple[State, ...]
"""Of each lane of a story, in order."""


class Change(NamedTuple):
    """lane is its place among the story's."""

    lane: int
    before: State
    after: State


@dataclass(frozen=True, slots=True)
class Story:
    """Events in order; everything else is about these.

    title, notes  what it is called, and lines that belong to it
    actors        what a process or task is called, by the pid of its events
    requests      what a request is, in words, by its number
    files         what an inode is called
    first, after  the states before the first event, and after each
    before        the states before each, if something that is not shown may have changed them
    critical      the event from which on nothing can avoid what went wrong, or with which a page
                  became stale for good; None if there is none
    why           what to say of that
    in_turns      times are turns of a witness, and not of a clock
    """

    title: str
    events: tuple[Event, ...]
    actors: Mapping[int, str]
    requests: Mapping[int, str]
    files: Mapping[int, str]
    lanes: tuple[Lane, ...] = ()
    first: States = ()
    after: tuple[States, ...] = ()
    critical: int | None = None
    why: str = ""
    notes: tuple[str, ...] = ()
    in_turns: bool = False
    before: tuple[States, ...] = ()

    def changes(self, index: int) -> list[Change]:
        """What one event did to the lanes."""
        if not self.lanes:
            return []
        pairs = enumerate(zip(self.states_before(index), self.after[index], strict=True))
        return [Change(lane, old, new) for lane, (old, new) in pairs if old != new]

    def states_before(self, index: int) -> States:
        if self.before:
            return self.before[index]
        return self.after[index - 1] if index else self.first

    def time(self, event: Event) -> str:
        """Since the first: the turn, counted from 1, or microseconds."""
        passed = event.time_ns - self.events[0].time_ns
        return str(passed // TURN_NS + 1) if self.in_turns else f"{passed / 1000:.0f}"

    @property
    def unit(self) -> str:
        return "turn" if self.in_turns else "us"

    def actor(self, pid: int) -> str:
        return self.actors.get(pid) or process_name(pid)

    def request(self, number: int) -> str:
        return self.requests.get(number, f"request {number}")

    def said(self, event: Event) -> str:
        """An event in a few words: a request where it begins, its step, its result."""
        if event.event == BEGAN:
            return self.request(event.request)
        if event.event == ENDED:
            return f"returns {event.detail}" if event.detail != NOTHING else "returns"
        words = f"{event.step} {extent(event)}" if event.length else event.step
        return f"{words}: waits" if event.event == ASKED else words

    def waits_for(self, event: Event) -> str:
        """Whom an asked step waits for, in words; "" if for nobody that is known."""
        if event.event != ASKED or event.detail in (NOTHING, "0"):
            return ""
        number = int(event.detail)
        owner = next((each for each in self.events if each.request == number), None)
        if owner is None:
            return f"request {number}"
        return f"{self.actor(owner.pid)}: {self.request(number)}"


def extent(event: Event) -> str:
    """The range of an event, as its line has it; without a length if it has no end."""
    return f"{event.pos}+{event.length if event.length < ENDLESS else ''}"


def process_name(pid: int) -> str:
    """Of a thread; 0 is the kernel, or the daemon itself."""
    return f"process {pid}" if pid else "kernel"


def request_words(event: Event) -> str:
    """What a request of a mount is; event is any of its own that has its operation."""
    if event.event != BEGAN:
        return event.operation
    flags = "" if event.detail == NOTHING else f" {event.detail.replace(',', ' ')}"
    return f"{event.operation} {extent(event)}{flags}"


def select(
    events: Iterable[Event],
    *,
    inos: Sequence[int] = (),
    pids: Sequence[int] = (),
    ranges: Sequence[tuple[int, int]] = (),
) -> list[Event]:
    """The events of all requests that fit: of one of these files, and processes, and that touch
    one of these ranges (pos, length) with an event.  What is empty does not choose.
    """
    events = list(events)
    fitting = {
        event.request
        for event in events
        if (not inos or event.ino in inos)
        and (not pids or event.pid in pids)
        and (not ranges or any(_meet(event, *each) for each in ranges))
    }
    return [event for event in events if event.request in fitting]


def _meet(event: Event, pos: int, length: int) -> bool:
    return event.pos < pos + length and pos < event.pos + event.length


def whole(events: Sequence[Event], last: int) -> list[Event]:
    """At least the last so many, from where one of their requests begins; all, if there are fewer.

    At most twice as many: of a request that began earlier, the beginning is missing.
    """
    if len(events) <= last:
        return list(events)
    start = len(events) - last
    shown = {event.request for event in events[start:]}
    for at in range(start, max(start - last, 0) - 1, -1):
        if events[at].event == BEGAN and events[at].request in shown:
            start = at
    return list(events[start:])


def joined(
    lanes: Sequence[Lane], histories: Sequence[tuple[State, ...]]
) -> tuple[list[int], list[Lane]]:
    """Lanes, neighbours among ranges of blocks to which the same happened made one.

    histories has the states of each lane; returns the places of those that are left, too.
    """
    places: list[int] = []
    found: list[Lane] = []
    for at, lane in enumerate(lanes):
        if lane.kind == BLOCKS and found and found[-1].kind == BLOCKS and found[-1].of == lane.of:
            start, length = map(int, found[-1].what.split("+"))
            own, own_length = map(int, lane.what.split("+"))
            if start + length == own and histories[places[-1]] == histories[at]:
                found[-1] = Lane(BLOCKS, lane.of, f"{start}+{length + own_length}")
                continue
        places.append(at)
        found.append(lane)
    return places, found
