"""Litmus files run by hand: one schedule, chosen by the test.

play()     to the end; whoever comes first in the schedule goes, then the lowest task
Play       step by step: up to a named step of one task, so that others come in between
"""

import textwrap
from collections.abc import Collection, Sequence

from fusefs.explore.execution import Execution
from fusefs.explore.worlds import LitmusCase, LitmusWorld
from fusefs.litmus.parse import parse

HEAD = "litmus test\npage 1k\nblock 512\n"


def case(text: str, orders: Collection[str] = ()) -> LitmusCase:
    """Of a file without its head; a question that asks nothing is added if it has none."""
    text = HEAD + textwrap.dedent(text).lstrip("\n")
    if "exists" not in text and "forall" not in text:
        name = text.partition("file ")[2].split()[0]
        text += f"exists size {name} = 0\n"
    return LitmusCase(parse(text, "test.litmus"), orders)


class Play:
    """A world under way; tasks are called by their names, asynchronous writes by their number."""

    def __init__(self, text: str, orders: Collection[str] = ()) -> None:
        made = case(text, orders)
        self.world: LitmusWorld = made.world()
        self.names = [task.name for task in made.litmus.tasks]
        self.execution = Execution(self.world)
        self.seen: list[str] = []

    def number(self, task: str | int) -> int:
        return self.names.index(task) if isinstance(task, str) else task

    def go(self, task: str | int, before: str = "") -> "Play":
        """Let a task go until it stands before a step, or has ended, or must wait."""
        number = self.number(task)
        while number in self.execution.enabled():
            if before and self.execution.next_name(number) == before:
                return self
            self.seen.append(self.execution.turn(number).name)
        assert not before, f"{task} did not come to {before}: {self.seen}"
        return self

    def past(self, task: str | int, step: str) -> "Play":
        """Let a task go until a step is granted."""
        self.go(task, step)
        self.seen.append(self.execution.turn(self.number(task)).name)
        return self

    def stands_before(self, task: str | int) -> str:
        return self.execution.next_name(self.number(task))

    def finish(self) -> "Play":
        """The rest, the lowest task first; all must end."""
        while enabled := self.execution.enabled():
            self.seen.append(self.execution.turn(enabled[0]).name)
        assert not self.execution.is_stuck
        assert all(task.error is None for task in self.execution.tasks)
        return self

    # -- what it ended with ----------------------------------------------------------

    @property
    def rules(self) -> list[str]:
        return [rule for rule, _ in self.world.violations()]

    @property
    def sentences(self) -> list[str]:
        return [sentence for _, sentence in self.world.violations()]

    def value(self, subject: str) -> str:
        """'A.r', 'cache f', 'disk f' or 'size f'."""
        kind, _, name = subject.rpartition(" ")
        return self.world.outcome()[kind, name]

    def values(self, *subjects: str) -> list[str]:
        return [self.value(subject) for subject in subjects]


def play(text: str, orders: Collection[str] = (), schedule: Sequence[int] = ()) -> Play:
    """All of it; no rule may break."""
    played = Play(text, orders)
    for number in schedule:
        played.seen.append(played.execution.turn(number).name)
    played.finish()
    assert played.world.violations() == []
    assert played.world.check() is None
    return played
