"""How a stale read came about: two processes side by side, time downwards.

Works on the events of .fusefs/trace alone; does no I/O.

    find_ladder     from one stale read to the steps that explain it
    Ladder.text     those steps as two columns
    Ladder.story    all events of those requests, and of the stale read, to be drawn

Process A wrote directly, and later read zeros.  Process B's buffered read filled the page.
Only the moments at which steps were granted count here: the page was dropped just after
dio.write.invalidate_post, and blocks read as zeros until dio.write.convert.  Every fill
of A's range from before the drop is gone, and every one after the conversion holds the
data, so the fill between the two is the one that A met.

Units: pos and length are bytes in the file; time_us is relative to the first step shown.
Errors: NotInTrace, with one line that says what is missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from fusefs.demo.results import StaleRead
from fusefs.engine.events import ENDED, GRANTED, Event
from fusefs.show.ladder import WIDTH, Cell, draw
from fusefs.show.mount import mount_story
from fusefs.show.story import Story

SUBMIT = "dio.write.submit"
DROP = "dio.write.invalidate_post"
CONVERT = "dio.write.convert"
MAP = "buffered.read.map"
FILL = "buffered.read.fill"
PAGE_LOCK = "buffered.read.page_lock"

WORDS = {
    "dio.write.flush_dirty": "write dirty pages back",
    "dio.write.invalidate_pre": "drop what is cached so far",
    "dio.write.map": "choose blocks: unwritten",
    SUBMIT: "data is on disk, still hidden",
    DROP: "drop cached pages: too early",
    CONVERT: "blocks are written: too late",
    "dio.write.isize": "the file is longer",
    PAGE_LOCK: "a locked page enters the cache",
    MAP: "A's blocks are still unwritten",
    FILL: "so the page gets zeros there",
}
"""What follows when a step is granted, in a few words."""

WRITER, READER = range(2)
"""The columns."""


class NotInTrace(Exception):
    """The trace does not show how the zeros came about."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The steps of A (who read zeros) and B (who filled the page), in the trace's order.

    events are all of the file's that the trace had, and requests the numbers of those that took
    part, A's read among them.
    """

    stale: StaleRead
    page_size: int
    steps: tuple[Event, ...]
    events: tuple[Event, ...] = ()
    requests: frozenset[int] = frozenset()

    @property
    def writer(self) -> int:
        return self.stale.pid

    @property
    def reader(self) -> int:
        return next(step.pid for step in self.steps if step.pid != self.stale.pid)

    @property
    def between(self) -> tuple[str, str]:
        """The two steps of A between which B filled the page."""
        at = max(i for i, step in enumerate(self.steps) if step.step == MAP)
        before = [step.step for step in self.steps[:at] if step.pid == self.writer]
        after = [step.step for step in self.steps[at:] if step.pid == self.writer]
        return before[-1], after[0]

    def time_us(self, time_ns: int) -> int:
        return (time_ns - self.steps[0].time_ns) // 1000

    def text(self) -> str:
        stale, size = self.stale, self.page_size
        first, last = stale.pos // size, (stale.pos + stale.length - 1) // size
        pages = f"page {first}" if first == last else f"pages {first} to {last}"
        region = extent(stale.pos, stale.length)
        lines = [
            f"Inode {stale.ino}, {pages} of {size} bytes.  A owns bytes {region}.",
            "",
            *draw(
                {WRITER: f"A: process {self.writer}", READER: f"B: process {self.reader}"},
                [*self._cells()],
                "us",
            ),
            "",
            *wrap("B filled the page between A's {} and {}.".format(*self.between), WIDTH),
        ]
        return "\n".join(lines)

    def story(self, block_size: int) -> Story:
        """The same with what became of the page and the blocks; block_size is bytes."""
        return mount_story(
            [event for event in self.events if event.request in self.requests],
            among=self.events,
            title="A reads zeros where it has just written",
            files={self.stale.ino: f"inode {self.stale.ino}"},
            actors={
                self.writer: f"A: process {self.writer}",
                self.reader: f"B: process {self.reader}",
            },
            page_size=self.page_size,
            block_size=block_size,
            notes=["B filled the page between A's {} and {}.".format(*self.between)],
        )

    def _cells(self) -> Iterator[Cell]:
        stale, started = self.stale, False
        yield Cell(WRITER, "write(), O_DIRECT")
        for step in self.steps:
            column = WRITER if step.pid == self.writer else READER
            if column == READER and not started:
                yield Cell(READER, "read(), buffered, elsewhere")
                started = True
            yield Cell(column, f"  {step.step}", str(self.time_us(step.time_ns)))
            yield Cell(column, f"    {WORDS.get(step.step, 'wait')}")
        yield Cell(WRITER, "read(), buffered: zeros", str(self.time_us(stale.time_ns)))


def extent(pos: int, length: int) -> str:
    return f"[{pos}, {pos + length})"


def find_ladder(events: Sequence[Event], stale: StaleRead, page_size: int) -> Ladder:
    """The steps behind a stale read; NotInTrace if they cannot be told from the events."""
    granted = [event for event in events if event.event == GRANTED]
    convert = _find_conversion(granted, stale)
    write = _steps_of(granted, convert)
    drops = [i for i in write if granted[i].step == DROP and i < convert]
    if not drops:
        raise NotInTrace(_why_no_drop(granted, stale, convert))
    read = _fill_steps(granted, stale, range(drops[-1], convert))
    steps = tuple(granted[i] for i in sorted({*write, *read}) if i <= convert or i in read)
    shown = {step.request for step in steps} | _stale_read(events, stale)
    told = tuple(event for event in events if event.ino == stale.ino)
    return Ladder(stale, page_size, steps, told, frozenset(shown))


def _stale_read(events: Sequence[Event], stale: StaleRead) -> set[int]:
    """The number of the request that returned zeros to A, if the trace has it."""
    for event in reversed(events):
        if (
            event.event == ENDED
            and event.operation == "read"
            and (event.pid, event.ino) == (stale.pid, stale.ino)
            and event.pos <= stale.pos < event.pos + event.length
            and event.time_ns <= stale.time_ns
        ):
            return {event.request}
    return set()


def _find_conversion(granted: Sequence[Event], stale: StaleRead) -> int:
    """Index of the conversion that ended A's last write before it read zeros."""
    for i in range(len(granted) - 1, -1, -1):
        step = granted[i]
        if (
            step.step == CONVERT
            and (step.pid, step.ino, step.pos) == (stale.pid, stale.ino, stale.pos)
            and step.time_ns <= stale.time_ns
        ):
            return i
    raise NotInTrace(_no_longer(granted, stale))


def _steps_of(granted: Sequence[Event], index: int) -> list[int]:
    """Indices of all of the request that has a step there, as far as the trace goes."""
    request = granted[index].request
    return [i for i, step in enumerate(granted) if step.request == request]


def _fill_steps(granted: Sequence[Event], stale: StaleRead, window: range) -> list[int]:
    """Indices of B's last look-up of A's range in a window of the trace, and of its fill."""
    looked_up = [
        i
        for i in window
        if granted[i].step == MAP
        and granted[i].ino == stale.ino
        and granted[i].pid != stale.pid
        and granted[i].pos < stale.pos + stale.length
        and stale.pos < granted[i].pos + granted[i].length
    ]
    if not looked_up:
        raise NotInTrace(
            f"nobody read {extent(stale.pos, stale.length)} of inode {stale.ino} between "
            f"{DROP} and {CONVERT} of process {stale.pid}: these zeros have another cause"
        )
    read = _steps_of(granted, looked_up[-1])
    first = last = read.index(looked_up[-1])
    if first and granted[read[first - 1]].step == PAGE_LOCK:
        first -= 1
    while last + 1 < len(read) and granted[read[last + 1]].step == FILL:
        last += 1
    return read[first : last + 1]


def _why_no_drop(granted: Sequence[Event], stale: StaleRead, convert: int) -> str:
    for step in granted[convert + 1 :]:
        if (step.pid, step.ino, step.step) == (stale.pid, stale.ino, DROP):
            return (
                f"process {stale.pid} dropped the pages after the conversion: "
                "these zeros have another cause"
            )
    return _no_longer(granted, stale)


def _no_longer(granted: Sequence[Event], stale: StaleRead) -> str:
    write = f"the write of process {stale.pid} at byte {stale.pos} of inode {stale.ino}"
    if not granted:
        return f"the trace no longer holds {write}: it is empty"
    age_ms = (stale.time_ns - granted[0].time_ns) / 1e6
    side = "before" if age_ms >= 0 else "after"
    return (
        f"the trace no longer holds {write}: it begins {abs(age_ms):.1f} ms {side} the stale read"
    )
