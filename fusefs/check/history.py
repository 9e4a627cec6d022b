"""What requests did lately: for each that came to a step, its steps with their times.

A cached read comes to no step, and leaves nothing here; so what is kept reaches back as far as it
can.  It is bounded: the oldest requests are forgotten first, and the middle of a long one.

Units: times are ns of the events; pos and length are bytes in the file.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

from fusefs.engine.events import ENDED, GRANTED, Noted, Request

STORIES_MAX: Final = 2048
"""Requests that are remembered, of some 200 bytes for each step."""

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

    ended_ns is 0 while it is under way.  lacks_steps: some in the middle are forgotten.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.size = 0
        self.steps: list[Taken] = []
        self.lacks_steps = False
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

    def has(self, step: str) -> bool:
        return any(taken.step == step for taken in self.steps)


class History:
    """The stories of one mount, oldest first."""

    def __init__(self) -> None:
        self._stories: OrderedDict[int, Story] = OrderedDict()

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
            story = self._stories[request.number] = Story(request)
            if len(self._stories) > STORIES_MAX:
                self._stories.popitem(last=False)
        if size is not None:
            story.size = size
        if event == GRANTED:
            story.add(Taken(time_ns, step, pos, length))

    def latest(self, ino: int) -> Iterator[Story]:
        """Those of one file, the latest first."""
        for story in reversed(self._stories.values()):
            if story.request.ino == ino:
                yield story

    def clear(self) -> None:
        self._stories.clear()
