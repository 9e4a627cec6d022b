"""Which request waits for which: so that nobody is held for somebody who waits for him.

    Waits.waits()      a request waits for a lock that another one has
    Waits.last()       whom a request waits for in the end, through others
    Waits.has_moved()  whether somebody waits for another one than before
    could_pass()       whether a request that waits is one that is awaited at a step

The owner of a lock is the one that got it last (model/locks.py), also for those who waited for it
before: so what is kept is how each waits, and not for whom.  Of several that share it, it may
be one that has let go: then what is said here is too little, and never too much.
"""

from collections.abc import Collection, Iterator
from typing import Final

from fusefs.engine.gate import Asked, Who
from fusefs.model.steps import Waiter

OF_FILE: Final = ("lock.inode.", "lock.mapping.", "lock.dio")
"""Steps that wait for all of a file: whoever else does the same must wait there, too."""

OPERATIONS: Final = {
    "dio.read": "read",
    "buffered.read": "read",
    "dio.write": "write",
    "buffered.write": "write",
    "truncate": "truncate",
    "fallocate": "fallocate",
    "seek": "lseek",
    "fsync": "fsync",
}
"""Which operation has steps that begin so; others are of several."""


class Waits:
    """Those that wait now, by their numbers."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Asked, Waiter]] = {}
        self._owners: dict[int, int] = {}

    def waits(self, asked: Asked, waiter: Waiter) -> None:
        """A request waits for what waiter.owner, a request's number, has."""
        self._waiting[asked.request.number] = asked, waiter

    def goes_on(self, number: int) -> None:
        """It waits no longer, if it did."""
        self._waiting.pop(number, None)
        self._owners.pop(number, None)

    def clear(self) -> None:
        self._waiting.clear()
        self._owners.clear()

    def has_moved(self) -> bool:
        """Whether somebody has come, or waits for another one, since this was asked last."""
        owners = {number: waiter.owner for number, (_, waiter) in self._waiting.items()}
        if owners == self._owners:
            return False
        self._owners = owners
        return True

    def last(self, number: int) -> int:
        """The number of whom it waits for, himself waiting for nobody; its own if it waits not."""
        seen = {number}
        while (waits := self._waiting.get(number)) is not None and not waits[1].woken:
            number = waits[1].owner
            if number in seen:  # those wait for each other: nobody whom we hold
                return 0
            seen.add(number)
        return number

    def waiting(self) -> Iterator[Asked]:
        """Without those who have it, and have not gone on yet."""
        for asked, waiter in list(self._waiting.values()):
            if not waiter.woken:
                yield asked


def could_pass(steps: Collection[str], who: Who, waiting: Asked) -> bool:
    """Whether one of who will not pass one of steps before this one has what it waits for.

    True if it is who is meant by its thread, which has no other request; or if whoever does the
    same to that file must wait with it.
    """
    if not who.meets(waiting):
        return False
    if who.pid is not None:
        return True
    if who.ino is None or not waiting.step.startswith(OF_FILE):
        return False
    of = {OPERATIONS.get(_path(step)) for step in steps}
    return None not in of and waiting.request.operation in of


def _path(step: str) -> str:
    """dio.write of dio.write.map, truncate of truncate.free."""
    path, _, _ = step.rpartition(".")
    return path
