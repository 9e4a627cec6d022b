"""Requests in a random order of their turns, with the events that the live driver tells of.

As on a mount: a step is told of when it is granted, whoever must wait is told of, and a reply is
the last step.  Every step is a place where others may go first, the reply included.

    Turns.start()    a request arrives
    Turns.run()      until all have ended; `between` is called after each turn
    Faults           writes and reads of the image that fail, in the middle if they are writes
"""

import errno
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fusefs.check.checker import Checker
from fusefs.engine.events import ASKED, ENDED, GRANTED, Request
from fusefs.engine.task import REPLY, Task, perform
from fusefs.explore.memory import MemoryImage, World
from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.steps import Buffer, Step

Coro = Coroutine[Step, Any, Any]

TURNS_MAX = 20_000


@dataclass
class Faults:
    """rate is how many of 1 fail."""

    random: random.Random
    rate: float = 0.0

    def strikes(self) -> bool:
        return self.rate > 0 and self.random.random() < self.rate


class FailingImage(MemoryImage):
    """What the model asks of it may fail; what the checker reads does not."""

    def __init__(self, size: int, faults: Faults) -> None:
        super().__init__(size)
        self.faults = faults

    def read_at(self, addr: int, length: int) -> bytes:
        if self.faults.strikes():
            raise OSError(errno.EIO, "a fault")
        return super().read_at(addr, length)

    def write_at(self, addr: int, data: Buffer) -> None:
        if self.faults.strikes():
            torn = self.faults.random.randrange(0, len(data) + 1, 512)
            super().write_at(addr, memoryview(data)[:torn])
            raise OSError(errno.EIO, "a fault")
        super().write_at(addr, data)

    def look_at(self, addr: int, length: int) -> bytes:
        return super().read_at(addr, length)


class Turns:
    """A world, a checker of it, and requests under way."""

    def __init__(self, world: World, seed: int, *, fault_rate: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.world = world
        self.faults = Faults(self.random, fault_rate)
        self.image = FailingImage(len(world.image.data), self.faults)
        world.image = self.image
        self.inodes: dict[int, Inode] = {}
        self.checker = Checker(
            world.fs, self.image.look_at, self.inodes.get, lambda ino: "/f", lambda pid: "prog"
        )
        self.tasks: list[tuple[Task, Request]] = []
        self.clock_ns = 0
        self.count = 0
        self.between: Callable[[], None] = lambda: None

    def start(
        self, coroutine: Coro, operation: str, pos: int = 0, length: int = 0, flags: str = ""
    ) -> Request:
        """Of inode 1.  It takes its first turn when it is chosen."""
        self.count += 1
        request = Request(self.count, 0, operation, 1, 100 + self.count, pos, length, flags)
        self.tasks.append((Task(coroutine, request.number), request))
        return request

    def read(self, coroutine: Coro, pos: int, length: int) -> Request:
        """Through the cache, and compared as a mount has it."""
        inode = self.inodes[1]

        async def compared() -> Any:
            result = await coroutine
            self.checker.look(inode, pos, length)
            return result

        return self.start(compared(), "read", pos, length)

    def run(self, choose: Callable[[list[int]], int] | None = None) -> None:
        """choose takes the places of those who can go, and says which goes."""
        for _ in range(TURNS_MAX):
            ready = [place for place, (task, _) in enumerate(self.tasks) if not task.waits]
            if not ready:
                assert not self.tasks, "nobody can go on"
                return
            place = choose(ready) if choose else self.random.choice(ready)
            self._turn(*self.tasks[place])
            self.between()
        raise AssertionError("the requests do not end")

    def _turn(self, task: Task, request: Request) -> None:
        """Grant the pending step, and run to the next one."""
        step = task.step
        value, error = None, None
        if step is REPLY:
            self._end(task, request)
            return
        if step is None:
            request.began_ns = self.clock_ns
        else:
            self._note(request, GRANTED, step, 0)
            try:
                value = perform(self.world, step)
            except FsError as failure:
                error = failure
        task.advance(value, error)
        while self.world.fs.work:
            work = self.world.fs.work.pop(0)
            self.start(work, "work", request.pos, request.length)
        assert task.step is not None
        self._note(request, ASKED, task.step, 0)

    def _end(self, task: Task, request: Request) -> None:
        self.tasks.remove((task, request))
        number = -task.error.errno if task.error is not None else 0
        if isinstance(task.result, int):
            number = task.result
        self._note(request, ENDED, REPLY, number)

    def _note(self, request: Request, event: str, step: Step, number: int) -> None:
        self.clock_ns += 1000
        where = (request.pos, request.length) if event == ENDED else (step.pos, step.length)
        self.checker.take((self.clock_ns, request, event, step.name, *where, number))
