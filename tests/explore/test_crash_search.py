"""What crashes leave, found by a plain search that stops each schedule after each turn."""

from collections.abc import Collection, Iterator
from typing import Any

import pytest
from explore.crash_files import (
    BESIDE,
    DSYNC,
    litmus,
)

from fusefs.explore.aftermath import Aftermath, Moment, syncs
from fusefs.explore.answer import ask
from fusefs.explore.crash_memory import CrashMemory
from fusefs.explore.crashes import Crash
from fusefs.explore.execution import Execution
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.test import Litmus


def schedules(made: LitmusCase) -> Iterator[list[int]]:
    """Every schedule of a file, each to its end."""
    waiting: list[list[int]] = [[]]
    while waiting:
        schedule = waiting.pop()
        execution = Execution(made.world())
        for task in schedule:
            execution.turn(task)
        enabled = execution.enabled()
        execution.close()
        if not enabled:
            yield schedule
        waiting += [[*schedule, task] for task in enabled]


def plain_crashes(text: Litmus, orders: Collection[str]) -> Iterator[Crash]:
    """Stop every schedule after every turn.  A sync promises what had ended before it began."""
    made = LitmusCase(text, orders)
    aftermath = Aftermath(text, made.judge)
    for schedule in schedules(made):
        world = made.world()
        execution, running, memory = Execution(world), world.running, world.world
        assert isinstance(memory, CrashMemory)
        before: dict[Any, set[Any]] = {}
        for task in [None, *schedule]:
            if task is not None:
                known = len(running.begun)
                ended = set(running.ended)
                execution.turn(task)
                before |= dict.fromkeys(running.begun[known:], ended)
            synced = set()
            for sync, name in syncs(text).items():
                [judge] = [each for each in made.judge.files.values() if each.name == name]
                if sync in running.complete:
                    promised = {sync} if sync in judge.changes.places else before[sync]
                    synced |= promised & running.complete & set(judge.changes.places)
            moment = Moment(
                frozenset(running.begun),
                frozenset(synced),
                frozenset(
                    inode.ino for inode in memory.names.values() if inode.mapping.errors.error
                ),
                tuple(
                    (place, each.pos) for place, each in running.appends.items() if each.pos >= 0
                ),
                tuple(sorted((k, v) for k, v in running.results.items() if k in aftermath.asked)),
            )
            for left in memory.left():
                values, broken = aftermath.judged(memory.stored_names, left.contents, moment)
                yield Crash((), left.lost, values, tuple(broken))
        execution.close()


BOTH = {
    "beside": (BESIDE, ()),
    "written at allocation": (BESIDE, ("written_at_allocation",)),
    "dsync": (DSYNC, ()),
    "ret before end": (DSYNC, ("ret_before_end",)),
    "fsync of another task": (
        """
        file f 1k z*1 unwritten*1
        A:
            pwrite f 0 1k a direct
        B:
            r = fsync f
        exists after crash: B.r = 0 /\\ disk f = z0
        """,
        (),
    ),
    "another task's fsync under ret before end": (
        """
        file f 512 unwritten
        A:
            r = pwrite f 0 512 a direct
        B:
            s = fsync f
        exists after crash: A.r = 512 /\\ B.s = 0
        """,
        ("ret_before_end",),
    ),
    "two writers": (
        """
        file f 1k z
        A:
            pwrite f 0 512 a direct dsync
        B:
            pwrite f 512 512 b direct
        exists after crash: disk f = zb
        """,
        (),
    ),
    "aio that nobody reaps": (
        """
        file f 1k unwritten
        A:
            aio w = pwrite f 0 512 a direct dsync
            r = pwrite f 512 512 b direct
        exists after crash: A.r = 512 /\\ disk f = a0
        """,
        (),
    ),
    "append": (
        """
        file f 512 z
        A:
            pwrite f end 512 a append direct
        B:
            pwrite f end 512 b append direct dsync
        exists after crash: disk f = z0.
        """,
        (),
    ),
    "unlink": (
        """
        file f 512 z
        file g 512 hole
        A:
            unlink f
        B:
            pwrite g 0 512 b direct dsync
        exists after crash: disk f = z /\\ disk g = b
        """,
        (),
    ),
}


@pytest.mark.parametrize(("text", "orders"), BOTH.values(), ids=BOTH)
def test_the_plain_search_finds_the_same(text: str, orders: Collection[str]):
    asked = litmus(text)
    reduced = ask(asked, orders)
    plain = list(plain_crashes(asked, orders))
    assert {crash.values for crash in plain} == reduced.histogram.keys()
    broken = {rule for crash in plain for rule, _ in crash.broken}
    assert broken == reduced.broken.keys() - {"coherence", "lost"}
