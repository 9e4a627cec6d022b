"""One run of a scenario: its tasks, who could go, and what each turn did.

    Execution    tasks in a world; turn() lets one of them go
    Turn         what that was: an event of the run

A task's first turn is its start, which is a choice like any other: a lock that is taken before the
first step would else always be taken in the order of the tasks.  Each further turn grants its
pending step, and runs it to the next one.  A turn can start tasks of its own, such as the end of an
asynchronous write.  Their numbers say whose they are: of count tasks the k-th that task n starts,
from 1 on, is n + count * k.  So the same one has the same number whoever went first.

Errors: AssertionError if a run does not end.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple, Protocol

from fusefs.engine.task import Storage, Task
from fusefs.model.footprint import Footprint
from fusefs.model.steps import Step, current

START: Final = "start"
"""What a task stands before until its first turn."""

TURNS_MAX: Final = 10_000

Coro = Coroutine[Step, Any, Any]


class Scenario(Protocol):
    """A world, the tasks that run in it, and what must hold when all have ended."""

    @property
    def world(self) -> Storage: ...

    @property
    def spawned(self) -> list[Coro]:
        """What the last turn started; whoever takes it empties the list."""

    @property
    def watches_lru(self) -> bool:
        """False if the cache has room for all."""

    def tasks(self) -> Sequence[Coro]:
        """New coroutines, in the order of their numbers."""

    def check(self) -> str | None:
        """None, or what is wrong, in a sentence."""


class Made(NamedTuple):
    """What is told of a turn."""

    task: int
    name: str
    pos: int
    length: int


class Turn:
    """One task's code from a granted step to its next: atomic, and the same each time.

    task        whose it was; index counts the turns of that task from 0
    name        the step that was granted, or START
    pos, length as the step has them
    footprint   what was touched; None if nobody asked
    woke        the tasks that it woke or started
    """

    __slots__ = ("footprint", "index", "length", "name", "pos", "task", "woke")

    def __init__(self, task: int, index: int, name: str, pos: int, length: int) -> None:
        self.task = task
        self.index = index
        self.name = name
        self.pos = pos
        self.length = length
        self.footprint: Footprint | None = None
        self.woke: list[int] = []

    @property
    def made(self) -> Made:
        return Made(self.task, self.name, self.pos, self.length)


class Execution:
    """A scenario under way."""

    __slots__ = ("_counts", "_started", "_waiting", "scenario", "tasks", "turn_count", "world")

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = scenario.world
        self.tasks: list[Task] = []
        self._counts: list[int] = []
        self._waiting: list[bool] = []
        self.turn_count = 0
        for number, coroutine in enumerate(scenario.tasks()):
            self._add(number, coroutine)
        self._started = [0] * len(self.tasks)

    def _add(self, number: int, coroutine: Coro) -> None:
        """A new task; a number below that nobody has yet is as of a task that has returned."""
        while len(self.tasks) <= number:
            self.tasks.append(_nobody(len(self.tasks)))
            self._counts.append(0)
            self._waiting.append(False)
        self.tasks[number] = Task(coroutine, number + 1)

    def _start(self, starter: int, coroutine: Coro) -> int:
        """A task of a task; its number."""
        count = len(self._started)
        assert starter < count, "a task that was started starts another"
        self._started[starter] += 1
        number = starter + count * self._started[starter]
        self._add(number, coroutine)
        return number

    def enabled(self) -> list[int]:
        """Who can go; nobody if all have returned, or wait for each other."""
        return [
            number
            for number, task in enumerate(self.tasks)
            if not (self._waiting[number] or task.returned)
        ]

    def next_name(self, number: int) -> str:
        """What a task stands before."""
        step = self.tasks[number].step
        return START if step is None else step.name

    def turn(self, number: int, footprint: Footprint | None = None) -> Turn:
        """Let a task go.  It must be enabled."""
        self.turn_count += 1
        assert self.turn_count < TURNS_MAX, "the run does not end"
        assert not self._waiting[number], "(F2) a task that could go must wait"
        task = self.tasks[number]
        step = task.step
        if step is None:
            turn = Turn(number, self._counts[number], START, 0, 0)
        else:
            turn = Turn(number, self._counts[number], step.name, step.pos, step.length)
        self._counts[number] += 1
        turn.footprint = current.footprint = footprint
        try:
            task.go(self.world)
        finally:
            current.footprint = None
        self._note_woken(number, turn)
        return turn

    def replay(self, schedule: Sequence[int]) -> None:
        """Let tasks go again as they went in another run: nobody asks what they do."""
        world, tasks, scenario = self.world, self.tasks, self.scenario
        for number in schedule:
            task = tasks[number]
            self._counts[number] += 1
            task.go(world)
            if scenario.spawned:
                self._start_all(number)
        self.turn_count += len(schedule)
        self._waiting = [task.waits for task in tasks]

    def _note_woken(self, number: int, turn: Turn) -> None:
        waiting, tasks = self._waiting, self.tasks
        for other in range(len(tasks)):
            if other == number:
                waiting[other] = tasks[other].waits
            elif waiting[other] and not tasks[other].waits:
                waiting[other] = False
                turn.woke.append(other)
        if self.scenario.spawned:
            turn.woke += self._start_all(number)

    def _start_all(self, starter: int) -> list[int]:
        """The tasks that a turn has started; their numbers."""
        spawned = self.scenario.spawned
        started = [self._start(starter, coroutine) for coroutine in spawned]
        spawned.clear()
        return started

    @property
    def is_stuck(self) -> bool:
        """Nobody can go, and not all have returned."""
        return not self.enabled() and not all(task.returned for task in self.tasks)

    def close(self) -> None:
        """Whoever has not returned never will."""
        for task in self.tasks:
            task.close()


def _nobody(number: int) -> Task:
    """Stands for a task that was not started."""
    task = Task(_return_at_once(), number + 1)
    task.advance(None, None)
    return task


async def _return_at_once() -> None:
    pass
