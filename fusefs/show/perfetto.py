"""Chrome's trace events: a JSON file that ui.perfetto.dev and chrome://tracing draw.

    trace_json()    of a story

Each process is one of theirs, and each request a track of its own under it; on it, the request as
a slice, and in that its steps, each from when it was granted to the next event.  A wait is a slice
from when it was asked to when it was granted.  Flows lead from who woke to whom he woke, and from
a fill to the reads that it answered.

An end of a flow counts only where a slice is, and a slice without length cannot be seen: so a flow
that ends with a request ends a nanosecond earlier, and what happens in one turn of a witness is
drawn a little apart.

Units: ts and dur are microseconds, as the format has them, since the story's first event.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from fusefs.engine.events import ASKED, BEGAN, ENDED, NOTHING, Event
from fusefs.show.flows import flows
from fusefs.show.story import Story

Entry = dict[str, Any]


def trace_json(story: Story) -> str:
    """One object, as the format's JSON has it."""
    entries = [*_names(story), *_slices(story), *_flows(story), *_critical(story)]
    document = {
        "displayTimeUnit": "ns",
        "otherData": {"title": story.title, "notes": "\n".join(story.notes)},
        "traceEvents": entries,
    }
    return json.dumps(document, indent=1)


WITHIN_TURN_US: Final = 0.1
NANOSECOND_US: Final = 0.001


def _times(story: Story) -> list[float]:
    """When each event is."""
    times: list[float] = []
    alike = 0
    for at, event in enumerate(story.events):
        alike = alike + 1 if at and event.time_ns == story.events[at - 1].time_ns else 0
        apart = alike * WITHIN_TURN_US if story.in_turns else 0.0
        times.append(round((event.time_ns - story.events[0].time_ns) / 1000 + apart, 3))
    return times


def _place(event: Event) -> Entry:
    """The track of an event's request."""
    return {"pid": event.pid, "tid": event.request}


def _names(story: Story) -> Iterator[Entry]:
    """What processes and tracks are called, and in which order they come."""
    seen: set[tuple[str, int]] = set()
    for order, event in enumerate(story.events):
        for kind, name, number in (
            ("process", story.actor(event.pid), event.pid),
            ("thread", story.request(event.request), event.request),
        ):
            if (kind, number) in seen:
                continue
            seen.add((kind, number))
            where = _place(event) | {"ph": "M"}
            yield where | {"name": f"{kind}_name", "args": {"name": name}}
            yield where | {"name": f"{kind}_sort_index", "args": {"sort_index": order}}


def _slices(story: Story) -> Iterator[Entry]:
    """Requests, and what happened in each; a slice within another comes after it."""
    own: dict[int, list[int]] = {}
    times = _times(story)
    for at, event in enumerate(story.events):
        own.setdefault(event.request, []).append(at)
    for request, places in own.items():
        events = [story.events[at] for at in places]
        start, dur = times[places[0]], _between(times, places[0], places[-1])
        whole = _place(events[0]) | {"ph": "X", "cat": "request", "ts": start, "dur": dur}
        yield whole | {"name": story.request(request), "args": _request_arguments(story, events)}
        for at, following in zip(places, [*places[1:], places[-1]], strict=True):
            event = story.events[at]
            if event.event in (BEGAN, ENDED):
                continue
            waits = event.event == ASKED
            slice_ = _place(event) | {"ph": "X", "cat": "wait" if waits else "step"}
            slice_ |= {"ts": times[at], "dur": _between(times, at, following)}
            name = f"waits: {event.step}" if waits else event.step
            yield slice_ | {"name": name, "args": _arguments(story, at)}


def _between(times: list[float], first: int, last: int) -> float:
    return round(times[last] - times[first], 3)


def _request_arguments(story: Story, events: list[Event]) -> Entry:
    first, last = events[0], events[-1]
    result = last.detail if last.event == ENDED and last.detail != NOTHING else ""
    return {
        "file": story.files.get(first.ino, f"inode {first.ino}"),
        "pos": first.pos,
        "length": first.length,
        "result": result,
    }


def _arguments(story: Story, at: int) -> Entry:
    """What is shown of a step when it is clicked."""
    event = story.events[at]
    shown: Entry = {"pos": event.pos, "length": event.length}
    if owner := story.waits_for(event):
        shown["waits for"] = owner
    for change in story.changes(at):
        name = story.lanes[change.lane].name
        shown[name] = f"{change.before.text} -> {change.after.text}"
    return shown


def _flows(story: Story) -> Iterator[Entry]:
    times = _times(story)
    for number, flow in enumerate(flows(story.events), 1):
        for phase, at in (("s", flow.source), ("f", flow.target)):
            event = story.events[at]
            entry = _place(event) | {"ph": phase, "cat": flow.kind, "name": flow.kind}
            early = NANOSECOND_US if event.event == ENDED else 0.0
            entry |= {"id": number, "ts": round(times[at] - early, 3)}
            yield entry | ({"bp": "e"} if phase == "f" else {})


def _critical(story: Story) -> Iterator[Entry]:
    if story.critical is not None:
        event = story.events[story.critical]
        entry = _place(event) | {"ph": "i", "s": "g", "cat": "critical"}
        yield entry | {"name": story.why, "ts": _times(story)[story.critical]}
