"""The last steps of all requests, for .fusefs/trace and the demo's ladder."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

TRACE_LENGTH = 10_000


class Record(NamedTuple):
    """One step at the moment it was granted.  pos and length are bytes in the file.

    time_ns is CLOCK_MONOTONIC; pid is the process that made the request, 0 for the
    kernel or the daemon itself.
    """

    time_ns: int
    pid: int
    operation: str
    ino: int
    step: str
    pos: int
    length: int

    def __str__(self) -> str:
        return (
            f"{self.time_ns / 1e9:.6f} {self.pid} {self.operation} {self.ino} "
            f"{self.step} {self.pos}+{self.length}"
        )


class Trace:
    """A ring of TRACE_LENGTH records."""

    def __init__(self) -> None:
        self._records: deque[tuple[int, int, str, int, str, int, int]] = deque(maxlen=TRACE_LENGTH)
        self.add = self._records.append

    def records(self) -> list[Record]:
        return [Record(*record) for record in self._records]

    def text(self) -> str:
        """A line for each record, oldest first: time pid operation inode step pos+length."""
        return "".join(f"{record}\n" for record in self.records())

    def clear(self) -> None:
        self._records.clear()


def parse(lines: Iterable[str]) -> list[Record]:
    """Read back what text() wrote; ValueError for a line that is no record."""
    records = []
    for line in lines:
        time_s, pid, operation, ino, step, extent = line.split()
        pos, length = extent.split("+")
        seconds, fraction = time_s.split(".")
        time_ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
        records.append(Record(time_ns, int(pid), operation, int(ino), step, int(pos), int(length)))
    return records


now_ns: Final = time.monotonic_ns
