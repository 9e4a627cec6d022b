"""The last events of all requests, for .fusefs/trace and the demo's ladder."""

import time
from collections import deque
from typing import Final

from fusefs.engine.events import Event, Noted, events

TRACE_LENGTH = 16_000


class Trace:
    """A ring of TRACE_LENGTH events."""

    def __init__(self) -> None:
        self._events: deque[Noted] = deque(maxlen=TRACE_LENGTH)
        self._cleared_ns = 0
        self.add = self._events.append

    def events(self) -> list[Event]:
        """Oldest first."""
        is_full = len(self._events) == TRACE_LENGTH  # then the oldest have been dropped
        return events(self._events, self._events[0][0] if is_full else self._cleared_ns)

    def text(self) -> str:
        """A line for each event: time pid operation inode step pos+length request event detail."""
        return "".join(f"{each}\n" for each in self.events())

    def clear(self) -> None:
        self._events.clear()
        self._cleared_ns = now_ns()


now_ns: Final = time.monotonic_ns
