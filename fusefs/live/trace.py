"""The last events of all requests, for .fusefs/trace and the demo's ladder."""

import time
from collections import deque
from typing import Final

from fusefs.engine.events import Event, Noted, event

TRACE_LENGTH = 16_000


class Trace:
    """A ring of TRACE_LENGTH events."""

    def __init__(self) -> None:
        self._events: deque[Noted] = deque(maxlen=TRACE_LENGTH)
        self.add = self._events.append

    def events(self) -> list[Event]:
        """Oldest first."""
        return [event(noted) for noted in self._events]

    def text(self) -> str:
        """A line for each event: time pid operation inode step pos+length request event detail."""
        return "".join(f"{each}\n" for each in self.events())

    def clear(self) -> None:
        self._events.clear()


now_ns: Final = time.monotonic_ns
