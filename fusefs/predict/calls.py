"""What a recording's requests are in the words of litmus files.

    Call       one request, or one half of a copy
    Calls      a recording, read to its end: calls in the order in which they began

Units: pos, end and size are bytes in the file; first and last are its pages, last exclusive; times
are nanoseconds of the recording's clock.
Errors: RecordingError, for a recording without a machine.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from fusefs.engine.events import BEGAN, ENDED, NOTHING, Event
from fusefs.engine.recording import Gone, Lost, Machine, Named, Record, RecordingError, State

FOREVER: Final = 1 << 63

CHANGES: Final = frozenset(["pwrite", "falloc", "fpunch", "fzero", "truncate"])
"""Words of operations after which somebody finds other bytes, or another size."""

_FALLOCATE: Final = {"": "falloc", "punch": "fpunch", "zero": "fzero"}


class Call:
    """One request.

    word, flags    as in a litmus file; pos of a truncate is the new size
    state          what it met; None if that was not told
    first, last    the pages that it touched, readahead included; of an fsync, all
    is_async       its thread went on before it had ended
    """

    __slots__ = (
        *("began_ns", "end", "ended_ns", "failed", "first", "flags", "ino", "is_async", "last"),
        *("number", "pid", "pos", "state", "word"),
    )

    def __init__(self, event: Event, word: str, flags: frozenset[str]) -> None:
        self.number, self.pid, self.ino = event.request, event.pid, event.ino
        self.word, self.flags = word, flags
        self.pos, self.end = event.pos, event.pos + event.length
        self.began_ns, self.ended_ns = event.time_ns, FOREVER
        self.failed = False
        self.is_async = False
        self.state: State | None = None
        self.first = self.last = 0

    @property
    def changes(self) -> bool:
        return self.word in CHANGES

    @property
    def is_direct_write(self) -> bool:
        return self.word == "pwrite" and "direct" in self.flags

    @property
    def size(self) -> int:
        """Of the file, when it began."""
        return self.state.size if self.state is not None else 0

    def met(self, base: int, page: int, block: int) -> tuple[str, ...] | None:
        """What it met: each block of the page that begins at base; None if that was not told."""
        for pos, blocks in () if self.state is None else self.state.ranges:
            at = (base - pos) // block
            if at >= 0 and at + page // block <= len(blocks):
                return blocks[at : at + page // block]
        return None

    def overlaps(self, other: "Call") -> bool:
        """They were under way at the same time."""
        return self.began_ns < other.ended_ns and other.began_ns < self.ended_ns


def _word(event: Event) -> tuple[str, frozenset[str]] | None:
    """What a request is; None for what is not searched."""
    flags = frozenset(event.detail.split(",")) - {NOTHING}
    if event.operation == "read":
        return "pread", flags & {"direct"}
    if event.operation == "write":
        return "pwrite", flags & {"direct", "dsync", "append"}
    if event.operation == "fallocate":
        kind = "".join(flags & {"punch", "zero"})
        keeps = flags & {"keep_size"} if kind != "punch" else frozenset[str]()
        return _FALLOCATE[kind], keeps
    if event.operation == "truncate":
        return "truncate", frozenset()
    if event.operation in ("fsync", "writeback"):
        return "fsync", frozenset()
    if event.operation == "copy_file_range":
        return "pwrite", frozenset()
    return None


class Calls:
    """Iterate once; then the counts are those of the whole recording.

    aio takes all direct writes to be asynchronous: a mount sees that only where a thread has more
    than one request under way.
    """

    def __init__(self, records: Iterable[Record], *, aio: bool = False) -> None:
        self.machine: Machine | None = None
        self.paths: dict[int, str] = {}
        self.request_count = 0
        self.lost_count = 0
        self.unfinished_count = 0
        self.is_gone = False
        self.threads: set[int] = set()
        self.first_ns = self.last_ns = 0
        self._records = records
        self._aio = aio
        self._states: dict[int, State] = {}
        self._under_way: dict[int, list[Call]] = {}
        self._by_thread: dict[int, list[Call]] = {}
        self._queue: deque[Call] = deque()

    def __iter__(self) -> Iterator[Call]:
        for record in self._records:
            if isinstance(record, Event):
                self._take(record)
                while self._queue and self._queue[0].ended_ns != FOREVER:
                    yield from self._out(self._queue.popleft())
            elif isinstance(record, State):
                self._states[record.request] = record
            elif isinstance(record, Named):
                self.paths[record.ino] = record.path
            elif isinstance(record, Lost):
                self._lose(record.lines)
            elif isinstance(record, Gone):
                self.is_gone = True
            else:
                self.machine = record
        if self.machine is None:
            raise RecordingError("a recording without a line 'machine'")
        self.unfinished_count = len(self._under_way)
        while self._queue:
            yield from self._out(self._queue.popleft())

    def _lose(self, lines: int) -> None:
        """Whatever was under way may have ended among them, in whatever way."""
        self.lost_count += lines
        for calls in self._under_way.values():
            for call in calls:
                call.ended_ns, call.failed = self.last_ns, True
        self._under_way.clear()
        self._by_thread.clear()
        self._states.clear()

    def _out(self, call: Call) -> Iterator[Call]:
        """A call whose all is known, unless it failed."""
        if not call.failed and call.last > call.first:
            yield call

    def _take(self, event: Event) -> None:
        self.first_ns = self.first_ns or event.time_ns
        self.last_ns = event.time_ns
        if event.event == BEGAN:
            self._begin(event)
        for call in self._under_way.get(event.request, ()):
            if event.event == ENDED:
                call.ended_ns = event.time_ns
                call.failed = not event.detail.lstrip("-").isdigit()
                self._by_thread[call.pid].remove(call)
            elif event.event != BEGAN and event.length and event.ino == call.ino:
                self._stretch(call, event)
        if event.event == ENDED:
            self._under_way.pop(event.request, None)

    def _begin(self, event: Event) -> None:
        state = self._states.pop(event.request, None)
        self.request_count += 1
        self.threads.add(event.pid)
        known = _word(event)
        if known is None:
            return
        calls = [Call(event, *known)]
        copied = next((f for f in event.detail.split(",") if f.startswith("from=")), None)
        if copied is not None:
            ino, _, pos = copied.removeprefix("from=").partition(":")
            source = event._replace(ino=int(ino), pos=int(pos))
            calls.append(Call(source, "pread", frozenset()))
        for call in calls:
            call.state = state if call.ino == event.ino else None
            self._touch(call)
            mine = self._by_thread.setdefault(call.pid, [])
            for other in mine if call.pid else ():  # the daemon is many
                other.is_async |= other.is_direct_write
            call.is_async = self._aio and call.is_direct_write
        for call in calls:
            self._by_thread[call.pid].append(call)
        self._under_way[event.request] = calls
        self._queue.extend(calls)

    def _touch(self, call: Call) -> None:
        """The pages of a call, as far as its beginning tells."""
        assert self.machine is not None
        page, start, end = self.machine.page, call.pos, max(call.end, call.pos + 1)
        if call.word == "truncate":
            start, end = min(call.pos, call.size), max(call.pos, call.size)
            if start == end:
                return
        elif call.word == "pread" and call.state is not None:
            end = max(min(end, call.size), start + 1)
        elif call.word == "fsync":
            end = FOREVER
        call.first, call.last = start // page, -(-end // page)

    def _stretch(self, call: Call, event: Event) -> None:
        """A read fills what comes after it, too."""
        if call.word != "pread" or "direct" in call.flags or not event.step.startswith("buffered."):
            return
        assert self.machine is not None
        call.first = min(call.first, event.pos // self.machine.page)
        call.last = max(call.last, -(-(event.pos + event.length) // self.machine.page))
