"""What leads from one request to another: who woke whom, whose fill a read was answered from.

    flows()    of some events, in the order of their ends

A request that had to wait goes on after whoever it waited for did his last step before that.  A
buffered read that brought no page of its range into the cache itself was answered from what others
had brought: the last fill of each is where its bytes come from.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from fusefs.engine.events import ASKED, ENDED, GRANTED, Event

WOKE: Final = "woke"
FILLED: Final = "filled"

READS: Final = frozenset({"read", "pread", "mread"})
"""A mount's word, and those of litmus files."""


class Flow(NamedTuple):
    """source and target are places among the events."""

    kind: str
    source: int
    target: int


def flows(events: Sequence[Event]) -> list[Flow]:
    return sorted([*_wakes(events), *_fills(events)], key=lambda flow: flow.target)


def _wakes(events: Sequence[Event]) -> list[Flow]:
    last: dict[int, int] = {}
    waiting: dict[int, int] = {}
    found = []
    for at, event in enumerate(events):
        if event.event == ASKED:
            waiting[event.request] = int(event.detail) if event.detail.isdigit() else 0
        elif event.request in waiting:
            owner = waiting.pop(event.request)
            if owner in last and owner != event.request:
                found.append(Flow(WOKE, last[owner], at))
        last[event.request] = at
    return found


def _fills(events: Sequence[Event]) -> list[Flow]:
    looked_up: dict[int, Event] = {}
    filled: list[tuple[int, Event]] = []
    own: set[int] = set()
    found = []
    for at, event in enumerate(events):
        path, _, step = event.step.rpartition(".")
        if event.event == GRANTED and path == "buffered.read":
            own.add(event.request)
            if step == "map":
                looked_up[event.request] = event
            elif step == "fill":
                filled.append((at, looked_up.get(event.request, event)))
        elif event.event == GRANTED and path.startswith("dio."):
            own.add(event.request)
        elif event.event == ENDED and event.operation in READS and event.request not in own:
            source = next((n for n, fill in reversed(filled) if _meet(fill, event)), None)
            if source is not None:
                found.append(Flow(FILLED, source, at))
    return found


def _meet(fill: Event, read: Event) -> bool:
    return (
        fill.ino == read.ino
        and fill.pos < read.pos + read.length
        and read.pos < fill.pos + fill.length
    )
