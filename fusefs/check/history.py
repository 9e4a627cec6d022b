"""What requests did lately: for each that came to a step, its steps with their times.

A cached read comes to no step, and leaves nothing here; so what is kept reaches back as far as it
can.  It is bounded: the oldest requests that have ended are forgotten first, and the middle of a
long one.  If very many are under way the oldest of these is forgotten, too; what is heard of it
later is known to be a part.

Units: times are ns of the events; pos and length are bytes in the file.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from fusefs.engine.events import ENDED, GRANTED, Noted, Request

STORIES_MAX: Final = 2048
"""Requests that are remembered, of some 200 bytes for each step."""

SPARED_MAX: Final = 64
"""The oldest of them, among which one that has ended is forgotten first."""

COPY_RANGE: Final = "copy_file_range"
COPIED_FROM: Final = "from="
READ_STEPS: Final = "buffered.read."

STEPS_MAX: Final = 32
STEPS_HEAD: Final = 8
"""Steps of one request that are remembered, and how many of them are its first ones."""


class Taken(NamedTuple):
    """A step that was granted."""

    time_ns: int
    step: str
    pos: int
    length: int

    def meets(self, start: int, stop: int) -> bool:
        """Whether its range has a byte of another."""
        return self.pos < stop and start < self.pos + self.length


class Story:
    """One request.  size is i_size of its file when it came to its first step but for locks.

    ended_ns is 0 while it is under way.  lacks_steps: some are forgotten, in the middle unless
    lacks_beginning.
    """

    def __init__(self, request: Request, *, lacks_beginning: bool = False) -> None:
        self.request = request
        self.size = 0
        self.steps: list[Taken] = []
        self.lacks_beginning = self.lacks_steps = lacks_beginning
        self.ended_ns = 0

    def add(self, taken: Taken) -> None:
        self.steps.append(taken)
        if len(self.steps) > STEPS_MAX:
            self.lacks_steps = True
            del self.steps[STEPS_HEAD]

    @property
    def has_begun(self) -> bool:
        """It has come past its locks."""
        return any(not taken.step.startswith("lock.") for taken in self.steps)

    def forgot(self, time_ns: int) -> bool:
        """Whether a step around a time may be forgotten."""
        if self.lacks_beginning:
            return True
        gap = self.steps[STEPS_HEAD - 1 : STEPS_HEAD + 1] if self.lacks_steps else []
        return len(gap) == 2 and gap[0].time_ns <= time_ns < gap[1].time_ns

    def has(self, step: str) -> bool:
        return any(taken.step == step for taken in self.steps)


def _part(story: Story, ino: int) -> Story | None:
    """What a request did with one file; of a copy reads are of its source, and all else is not."""
    request = story.request
    source, _, pos = request.flags.partition(COPIED_FROM)[2].partition(":")
    if request.operation != COPY_RANGE or not source or int(source) == request.ino:
        return story if request.ino == ino else None
    if ino not in (request.ino, int(source)):
        return None
    reads = ino != request.ino
    if reads:
        asked = request.operation, ino, request.pid, int(pos), request.length, request.flags
        request = Request(request.number, request.began_ns, *asked)
    part = Story(request, lacks_beginning=story.lacks_beginning)
    part.size, part.ended_ns, part.lacks_steps = story.size, story.ended_ns, story.lacks_steps
    part.steps = [each for each in story.steps if each.step.startswith(READ_STEPS) == reads]
    return part if part.steps else None


class History:
    """The stories of one mount, oldest first."""

    def __init__(self) -> None:
        self._stories: OrderedDict[int, Story] = OrderedDict()
        self._cut_short = 0

    def __len__(self) -> int:
        return len(self._stories)

    def knows(self, request: Request) -> bool:
        return request.number in self._stories

    def wants_size(self, request: Request) -> bool:
        """Whether the next event should tell of the size of the file."""
        story = self._stories.get(request.number)
        return story is None or not story.has_begun

    def take(self, noted: Noted, size: int | None = None) -> None:
        """An event of a request; size is that of its file."""
        time_ns, request, event, step, pos, length, _ = noted
        story = self._stories.get(request.number)
        if event == ENDED:
            if story is not None:
                story.ended_ns = time_ns
            return
        if story is None:
            story = Story(request, lacks_beginning=request.number <= self._cut_short)
            self._stories[request.number] = story
            if len(self._stories) > STORIES_MAX:
                self._forget_one()
        if size is not None:
            story.size = size
        if event == GRANTED:
            story.add(Taken(time_ns, step, pos, length))

    def _forget_one(self) -> None:
        """The oldest that has ended; else the oldest, of which more may be heard.

        Of those it is the number that is kept: whoever began no later is not taken to be whole.
        """
        oldest = islice(self._stories.items(), SPARED_MAX)
        ended = next((number for number, story in oldest if story.ended_ns), None)
        if ended is not None:
            del self._stories[ended]
        else:
            number, _ = self._stories.popitem(last=False)
            self._cut_short = max(self._cut_short, number)

    def latest(self, ino: int) -> Iterator[Story]:
        """Those of one file, the latest first; of a copy what it did with that."""
        for story in reversed(self._stories.values()):
            part = _part(story, ino)
            if part is not None:
                yield part

    def clear(self, last_request: int = 0) -> None:
        """Forget all; up to last_request they may be under way."""
        self._stories.clear()
        self._cut_short = max(self._cut_short, last_request)
