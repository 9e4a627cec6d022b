"""What happens to a request, as events; to a line of text and back.

    began      it arrived; detail has its flags, with a comma between: of a write direct, dsync,
               append and mapped, of a fallocate keep_size, punch and zero, of an lseek data and
               hole, of a copy_file_range from=INODE:POSITION
    asked      it stands before a step, and must wait; detail is the request it waits for, if it
               waits for a lock or a writeback: of several readers the one that got it last
    granted    its step is performed now
    ended      its reply, "reply"; detail is the result, most often bytes, or an errno's name

A step that is granted as soon as it is asked for has no event of its own for that.

Units: pos and length are bytes in the file; time_ns is CLOCK_MONOTONIC.
"""

import errno
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

BEGAN: Final = "began"
ASKED: Final = "asked"
GRANTED: Final = "granted"
ENDED: Final = "ended"

NOTHING = "-"


class Request:
    """What was asked of a mount, and by whom.

    number is its own: no other request of the mount had it, and a later one has a higher.
    pid is the thread that made it, 0 for the kernel and for the daemon itself; flags are words,
    with a comma between.  also are other inodes that it is about: of a request for a name, whose
    ino is the directory's, what the name leads to.
    """

    __slots__ = ("also", "began_ns", "flags", "ino", "length", "number", "operation", "pid", "pos")

    def __init__(
        self,
        number: int,
        began_ns: int,
        operation: str,
        ino: int = 0,
        pid: int = 0,
        pos: int = 0,
        length: int = 0,
        flags: str = "",
        also: tuple[int, ...] = (),
    ) -> None:
        self.number = number
        self.began_ns = began_ns
        self.operation = operation
        self.ino = ino
        self.pid = pid
        self.pos = pos
        self.length = length
        self.flags = flags
        self.also = also

    @property
    def inos(self) -> tuple[int, ...]:
        """All inodes that it is about."""
        return self.ino, *self.also


class Event(NamedTuple):
    """One thing that happened.  step is "-" when a request began."""

    time_ns: int
    pid: int
    operation: str
    ino: int
    step: str
    pos: int
    length: int
    request: int
    event: str
    detail: str

    def __str__(self) -> str:
        return (
            f"{self.time_ns / 1e9:.6f} {self.pid} {self.operation} {self.ino} {self.step}"
            f" {self.pos}+{self.length} {self.request} {self.event} {self.detail}"
        )


Noted = tuple[int, Request, str, str, int, int, int]
"""An event as it is noted, which has to be fast: time, request, event, step, pos, length, and a
number: who is waited for, the result, or an errno below zero; 0 where there is none.  That a
request began is not noted, nor where one that has ended was: it knows itself."""


def events(noted: Sequence[Noted], since_ns: int) -> list[Event]:
    """All in the order of time; the beginnings from since_ns on."""
    requests = {each[1].number: each[1] for each in noted}
    begun = [began(each) for each in requests.values() if each.began_ns >= since_ns]
    return sorted([*begun, *map(event, noted)], key=lambda each: each.time_ns)


def began(request: Request) -> Event:
    """That it began, which is not noted."""
    where = request.pos, request.length
    return Event(
        request.began_ns,
        request.pid,
        request.operation,
        request.ino,
        NOTHING,
        *where,
        request.number,
        BEGAN,
        request.flags or NOTHING,
    )


def event(noted: Noted) -> Event:
    """What was noted, in words."""
    time_ns, request, what, step, pos, length, number = noted
    if what == ENDED:
        pos, length = request.pos, request.length
        detail = errno.errorcode.get(-number, str(number)) if number < 0 else str(number)
    else:
        detail = str(number) if number else NOTHING
    return Event(
        time_ns,
        request.pid,
        request.operation,
        request.ino,
        step,
        pos,
        length,
        request.number,
        what,
        detail,
    )


def parse(lines: Iterable[str]) -> list[Event]:
    """Read back events from their lines; ValueError for a line that is none."""
    events = []
    for line in lines:
        time_s, pid, operation, ino, step, extent, request, what, detail = line.split()
        pos, length = extent.split("+")
        seconds, fraction = time_s.split(".")
        time_ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
        where = int(pos), int(length)
        events.append(
            Event(time_ns, int(pid), operation, int(ino), step, *where, int(request), what, detail)
        )
    return events
