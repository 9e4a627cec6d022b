"""Events of a mount as a story: of those that it still has, or of a file of them.

    mount_story()   with lanes, if the sizes of pages and blocks are known
    of_stale_page() the requests that made a page stale
    file_lines()    a file of events, line by line; EventsError

Errors: EventsError, with the file, the line's number, and what is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fusefs.engine.events import BEGAN, ENDED, GRANTED, Event, parse
from fusefs.show.flows import FILLED, flows
from fusefs.show.follow import Follower
from fusefs.show.story import Lane, States, Story, joined, request_words

WRITES: Final = frozenset({"write", "work", "pwrite"})
"""Operations that a direct write may be; "work" is the end of an asynchronous one."""

STALE: Final = "stale from here on: not what the disk holds"


class EventsError(ValueError):
    """A file that is none of events; one line."""


class Stale(NamedTuple):
    """since is the event with which a page became stale, until the one after which it was so still:
    the end of a direct write.  filler brought the page; writer's bytes are not in it.
    """

    since: int
    until: int
    filler: int
    writer: int


def first_stale(
    follower: Follower, stale_since: dict[tuple[int, int], int], at: int
) -> Stale | None:
    """After an event was taken: whether it left a page stale for good.  stale_since is kept."""
    event = follower.events[at]
    touched = [*stale_since, *(follower.places(event) if event.event == GRANTED else ())]
    for place in touched:
        if follower.is_stale(follower.pages[place]):
            stale_since.setdefault(place, at)
        else:
            stale_since.pop(place, None)
    if event.event != ENDED or event.operation not in WRITES:
        return None
    mine = ((since, place) for place, since in stale_since.items() if place[0] == event.ino)
    since, place = min(mine, default=(at, None))
    if place is None:
        return None
    return Stale(since, at, follower.pages[place].owner, event.request)


LANES_MAX: Final = 24
"""Pages, and ranges of blocks, that a picture has room for: those that come first in the files."""

BLOCKS_MAX: Final = 128
"""Ranges of blocks that are looked at for that: neighbours that are alike become one."""


class Followed(NamedTuple):
    """Of some events: lanes, their states before and after each, and the critical one's place."""

    lanes: tuple[Lane, ...]
    before: tuple[States, ...]
    after: tuple[States, ...]
    critical: int | None


def follow(
    shown: Sequence[Event],
    among: Sequence[Event],
    page_size: int,
    block_size: int,
    files: Mapping[int, str],
) -> Followed:
    """Among all events that are known, what those did that are shown; the others count, too."""
    inos = {event.ino for event in shown}
    events = [event for event in among if event.ino in inos]
    follower = Follower(events, page_size, block_size)
    follower.choose(shown, LANES_MAX, BLOCKS_MAX)
    before: list[States] = []
    after: list[States] = []
    critical: int | None = None
    places: dict[int, int] = {}
    since: dict[tuple[int, int], int] = {}
    for at, event in enumerate(events):
        is_shown = len(after) < len(shown) and event is shown[len(after)]
        if is_shown:
            places[at] = len(after)
            before.append(follower.states())
        follower.take(at)
        if is_shown:
            after.append(follower.states())
        stale = first_stale(follower, since, at) if critical is None else None
        if stale is not None:
            critical = places.get(stale.since)
    assert len(after) == len(shown), "what is shown is among what is known, in the same order"
    lanes, kept = _room(follower.lanes(files), before, after)
    return Followed(lanes, _only(kept, before), _only(kept, after), critical)


def _room(
    lanes: Sequence[Lane], before: Sequence[States], after: Sequence[States]
) -> tuple[tuple[Lane, ...], list[int]]:
    """The lanes that are drawn, and their places among all."""
    histories = [tuple(states) for states in zip(*before, *after, strict=True)]
    places, left = joined(lanes, histories)
    counts: dict[str, int] = {}
    kept, found = [], []
    for place, lane in zip(places, left, strict=True):
        counts[lane.kind] = counts.get(lane.kind, 0) + 1
        if counts[lane.kind] <= LANES_MAX:
            kept.append(place)
            found.append(lane)
    return tuple(found), kept


def _only(kept: Sequence[int], states: Sequence[States]) -> tuple[States, ...]:
    return tuple(tuple(each[place] for place in kept) for each in states)


def mount_story(
    events: Sequence[Event],
    *,
    title: str,
    among: Sequence[Event] | None = None,
    files: Mapping[int, str],
    actors: Mapping[int, str] | None = None,
    page_size: int = 0,
    block_size: int = 0,
    notes: Sequence[str] = (),
) -> Story:
    """files and actors are the names of inodes, and of threads by their pid.

    among are all events that are known, and these some of them, in the same order: what is not
    shown has changed pages and blocks, too.

    page_size and block_size are bytes; 0 if they are not known, and then there are no lanes.
    """
    known: dict[int, Event] = {}
    for event in events:
        if event.request not in known or event.event == BEGAN:
            known[event.request] = event
    requests = {number: f"#{number} {request_words(event)}" for number, event in known.items()}
    named = dict(actors or {})
    story = Story(title, tuple(events), named, requests, files, notes=tuple(notes))
    if not (page_size and block_size and events):
        return story
    found = follow(story.events, among or events, page_size, block_size, files)
    return replace(
        story,
        lanes=found.lanes,
        first=found.before[0],
        after=found.after,
        before=found.before,
        critical=found.critical,
        why="" if found.critical is None else STALE,
    )


def of_stale_page(events: Sequence[Event], page_size: int, block_size: int) -> list[Event]:
    """The events of the requests that made the first page stale, and of the first read that was
    answered from it, if there was one; none if no page became stale.
    """
    follower = Follower(events, page_size, block_size)
    since: dict[tuple[int, int], int] = {}
    for at in range(len(events)):
        follower.take(at)
        stale = first_stale(follower, since, at)
        if stale is not None:
            requests = {stale.filler, stale.writer, *_reader(events, stale)}
            return [event for event in events if event.request in requests]
    return []


def _reader(events: Sequence[Event], stale: Stale) -> list[int]:
    """The first read after it that was answered from what the filler brought, of these bytes."""
    write = events[stale.until]
    for flow in flows(events):
        read = events[flow.target]
        if (
            flow.kind == FILLED
            and flow.target > stale.until
            and events[flow.source].request == stale.filler
            and read.pos < write.pos + write.length
            and write.pos < read.pos + read.length
        ):
            return [read.request]
    return []


def file_lines(name: str, lines: Iterable[str]) -> list[Event]:
    """The events of a file, in the order of time; lines that begin with # are not looked at."""
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            events += parse([line])
        except ValueError:
            shown = line.strip()[:60]
            raise EventsError(f"{name}:{number}: '{shown}' is no event of a trace") from None
    return sorted(events, key=lambda event: event.time_ns)
