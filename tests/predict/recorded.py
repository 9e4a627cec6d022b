"""Recordings for tests: what some threads asked of a file, as a mount would have told it.

Run         lines, added to by its methods; lines() is a whole recording
milliseconds are those at which a request begins; each takes LENGTH_MS
"""

from collections.abc import Iterator

from fusefs.engine.events import BEGAN, ENDED, GRANTED, Event
from fusefs.engine.recording import HEAD, Machine, Named, Record, Seal, State, records
from fusefs.predict.calls import Calls
from fusefs.predict.meetings import Bounds
from fusefs.predict.shapes import Shapes

INO = 7
LENGTH_MS = 2.0
MS = 1_000_000

A, B, C = 101, 102, 103


class Run:
    """Of a mount with pages of 4 KiB and blocks of 512 bytes, unless it is told otherwise."""

    def __init__(self, page: int = 4096, block: int = 512) -> None:
        self.machine = Machine(page, block, 0, "linux-6.18", "none")
        self._records: list[tuple[float, Record]] = [
            (-1.0, self.machine),
            (-1.0, Named(INO, "/data")),
        ]
        self._count = 0

    def add(self, at_ms: float, record: Record) -> None:
        self._records.append((at_ms, record))

    def call(
        self,
        at_ms: float,
        pid: int,
        operation: str,
        pos: int = 0,
        length: int = 0,
        flags: str = "-",
        *,
        size: int = 4096,
        blocks: str = "8w-",
        result: str = "0",
        lasts_ms: float = LENGTH_MS,
        filled: tuple[int, int] | None = None,
    ) -> None:
        """A request; blocks, as in a recording, are those from the page of pos on."""
        self._count += 1
        number, page = self._count, self.machine.page
        told = f"state {number} {size} {pos - pos % page}:{blocks}" if blocks else None
        if told is not None:
            state = parsed(told)
            assert isinstance(state, State)
            self.add(at_ms, state)

        def event(ms: float, what: str, step: str, where: tuple[int, int], detail: str) -> None:
            time_ns = int((1000 + ms) * MS)
            self.add(ms, Event(time_ns, pid, operation, INO, step, *where, number, what, detail))

        event(at_ms, BEGAN, "-", (pos, length), flags)
        if filled is not None:
            event(at_ms, GRANTED, "buffered.read.fill", filled, "-")
        if lasts_ms != float("inf"):
            event(at_ms + lasts_ms, ENDED, "reply", (pos, length), result)

    def lines(self) -> list[bytes]:
        ordered = [HEAD, *(each for _, each in sorted(self._records, key=lambda each: each[0]))]
        return sealed([f"{each}\n".encode() for each in ordered])

    def calls(self) -> Calls:
        return Calls(records(self.lines(), "test"))

    def shapes(self, **bounds: int | bool) -> Shapes:
        return Shapes(self.calls(), Bounds(**bounds))  # type: ignore[arg-type]


def sealed(lines: list[bytes]) -> list[bytes]:
    """With the line that ends them."""
    seal = Seal()
    for line in lines:
        seal.add(line)
    return [*lines, f"{seal}\n".encode()]


def parsed(line: str) -> Record:
    """What one line says."""
    head = f"{HEAD}\n".encode()
    found: Iterator[Record] = records(sealed([head, f"{line}\n".encode()]), "test")
    return next(found)


def stale(run: Run | None = None) -> Run:
    """The mail's A and B: a direct write into an unwritten block, a read of another in its page."""
    run = run or Run()
    run.call(0, A, "write", 0, 512, "direct", blocks="8u-", result="512")
    run.call(1, B, "read", 512, 512, blocks="8u-", result="512")
    return run
