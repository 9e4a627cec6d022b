"""The last events of all requests, for .fusefs/trace and the demo's ladder."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from fusefs.engine.events import Event, Noted, events

TRACE_LENGTH = 16_000


class Trace:
    """A ring of TRACE_LENGTH events; add(noted) is how one is told of.

    Whoever wants each of them, and not what the ring has kept, listens.  He is called in the turn
    in which it happens, so he must be quick, and raise nothing; with nobody listening add is the
    ring's own.
    """

    def __init__(self) -> None:
        self._events: deque[Noted] = deque(maxlen=TRACE_LENGTH)
        self._cleared_ns = 0
        self._listeners: tuple[Callable[[Noted], None], ...] = ()
        self.add: Callable[[Noted], None] = self._events.append

    def listen(self, listener: Callable[[Noted], None]) -> None:
        """Call listener with each event from now on."""
        self._listeners = (*self._listeners, listener)
        self.add = self._tell

    def unlisten(self, listener: Callable[[Noted], None]) -> None:
        """ValueError if it does not listen."""
        left = list(self._listeners)
        left.remove(listener)
        self._listeners = tuple(left)
        self.add = self._tell if left else self._events.append

    def _tell(self, noted: Noted) -> None:
        self._events.append(noted)
        for listener in self._listeners:
            listener(noted)

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
