"""What crashes leave of the runs of a litmus file that says `crash`.

    Crashes     of one file under some orders: after each class, whatever a mount could find
    Crash       what it finds after one crash
    Stop        the same as a witness has it: after which turns, and whose writes were lost

A crash is no task, as it would conflict with everything.  After each class all its cuts are taken
that differ in writes to the disk, in commits, or in what has returned that somebody asks for, or
that a promise is about (cuts.py).  At each of them the writes since the last flush may be lost,
each by itself (crash_memory.py).

Units: as everywhere; a schedule is the tasks, by turn.
Errors: ValueError for the loss of what is not pending.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, cast

from fusefs.explore.aftermath import Aftermath, Moment, Values, changes_of, syncs
from fusefs.explore.crash_memory import CrashMemory, Left
from fusefs.explore.cuts import Schedule, cuts, part, walk
from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution
from fusefs.explore.kept import Place
from fusefs.explore.members import Cost, simplest
from fusefs.explore.verdicts import Judge, Violation
from fusefs.explore.worlds import LitmusWorld
from fusefs.litmus.test import RESULT, Litmus

CUTS_MAX: Final = 20_000
"""Cuts of one class that are looked at."""

LostTurn = tuple[int, int]
"""A task, and which of its turns it was whose write is lost, from 0."""


@dataclass(frozen=True, slots=True)
class Crash:
    """After the turns of a schedule; lost are places among the writes that were pending then.

    values are what a mount finds, and broken the rules that it finds broken, each with a sentence.
    """

    schedule: Schedule
    lost: tuple[int, ...]
    values: Values
    broken: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """A crash after the turns of a schedule; lost are places in it, of turns that wrote."""

    schedule: Schedule
    cost: Cost
    lost: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """When operations began and ended in a run: places in its trace.

    marks are the turns before which a crash leaves something else than after them.
    """

    begun: dict[Place, int]
    ended: dict[Place, int]
    marks: list[int]


class Crashes:
    """make gives a new world of the file, always the same.

    exhausted    false once a bound was reached
    cut_count    cuts that were looked at
    """

    def __init__(self, litmus: Litmus, judge: Judge, make: Callable[[], LitmusWorld]) -> None:
        self._make = make
        self._aftermath = Aftermath(litmus, judge)
        self._syncs = syncs(litmus)
        self._changes = {name: changes_of(judge, name) for name in self._syncs.values()}
        asked = {
            (number, index)
            for number, task in enumerate(litmus.tasks)
            for index, each in enumerate(task.operations)
            if (RESULT, f"{task.name}.{each.result}") in self._aftermath.asked
        }
        self._watched = asked.union(self._syncs, *self._changes.values())
        self.exhausted = True
        self.cut_count = 0

    def after(self, trace: Trace) -> Iterator[Crash]:
        """Of one class, cut by cut, small losses first."""
        moments = self._moments(trace)
        bounded = islice(cuts(trace, moments.marks), CUTS_MAX + 1)
        for number, (schedule, execution) in enumerate(walk(self._make, bounded)):
            if number == CUTS_MAX:
                self.exhausted = False
                return
            self.cut_count += 1
            moment = self._moment(trace, moments, _world(execution))
            memory = _memory(execution)
            for left in memory.left():
                yield self._crash(schedule, memory, left, moment)
            self.exhausted &= memory.exhausted

    def _crash(self, schedule: Schedule, memory: CrashMemory, left: Left, moment: Moment) -> Crash:
        values, broken = self._aftermath.judged(memory.stored_names, left.contents, moment)
        return Crash(schedule, left.lost, values, tuple(broken))

    def again(self, execution: Execution, trace: Trace, lost: tuple[int, ...]) -> Crash:
        """What is left of a run that stands after the turns of a trace.

        lost are the places of turns whose writes are lost; ValueError if one is not pending.
        """
        schedule = tuple([turn.task for turn in trace.turns])
        owners = [next(_places(schedule, {owner})) for owner in self._owners(schedule)]
        for place in lost:
            if place not in owners:
                raise ValueError(f"turn {place + 1} has no write that a crash can lose")
        numbers = tuple([number for number, owner in enumerate(owners) if owner in lost])
        memory = _memory(execution)
        moment = self._moment(trace, self._moments(trace), _world(execution))
        return self._crash(schedule, memory, memory.left_without(numbers), moment)

    def at(self, execution: Execution, trace: Trace) -> Iterator[Crash]:
        """All that can be left of a run that stands after the turns of a trace."""
        schedule = tuple([turn.task for turn in trace.turns])
        memory = _memory(execution)
        moment = self._moment(trace, self._moments(trace), _world(execution))
        for left in memory.left():
            yield self._crash(schedule, memory, left, moment)

    def stop(self, trace: Trace, crash: Crash) -> Stop:
        """The simplest schedule that leads to a crash of this class."""
        found = simplest(part(trace, crash.schedule))
        assert found is not None
        cost, schedule = found
        owners = self._owners(crash.schedule)
        lost = {owners[number] for number in crash.lost}
        return Stop(schedule, cost, tuple(_places(schedule, lost)))

    # -- what is known of a run ------------------------------------------------------

    def _moments(self, trace: Trace) -> Moments:
        """Run the class once more, and look after each turn."""
        execution = Execution(self._make())
        world, memory = _world(execution), _memory(execution)
        moments = Moments({}, {}, [])
        for place, turn in enumerate(trace.turns):
            running = world.running
            before = memory.write_count, memory.commit_count
            ended_count = len(running.ended)
            execution.turn(turn.task)
            for each in running.begun[len(moments.begun) :]:
                moments.begun[each] = place
            ended = running.ended[ended_count:]
            for each in ended:
                moments.ended[each] = place
            if before != (memory.write_count, memory.commit_count) or self._watched & set(ended):
                moments.marks.append(place)
        execution.close()
        return moments

    def _moment(self, trace: Trace, moments: Moments, world: LitmusWorld) -> Moment:
        running = world.running
        asked = self._aftermath.asked
        results = {key: value for key, value in running.results.items() if key in asked}
        positions = {
            place: append.pos for place, append in running.appends.items() if append.pos >= 0
        }
        return Moment(
            frozenset(running.begun),
            frozenset(self._synced(trace, moments, world)),
            frozenset(
                inode.ino for inode in world.world.names.values() if inode.mapping.errors.error
            ),
            tuple(sorted(positions.items())),
            tuple(sorted(results.items())),
        )

    def _synced(self, trace: Trace, moments: Moments, world: LitmusWorld) -> Iterator[Place]:
        """The operations whose bytes some sync, which has returned, has promised.

        Some run of the class has them end before it begins, unless they end because of that.
        """
        complete = world.running.complete
        for sync, name in self._syncs.items():
            if sync not in complete:
                continue
            if sync in self._changes[name]:  # dsync promises what it has written itself
                yield sync
                continue
            began = moments.begun[sync]
            for place in self._changes[name] & complete:
                ended = moments.ended[place]
                if not trace.is_before(began, ended):
                    yield place

    def _owners(self, schedule: Schedule) -> list[LostTurn]:
        """Of each write that is pending after a schedule, the turn that made it."""
        execution = Execution(self._make())
        memory = _memory(execution)
        counts: dict[int, int] = {}
        owners: list[LostTurn] = []
        for task in schedule:
            before = memory.write_count
            execution.turn(task)
            owners += [(task, counts.get(task, 0))] * (memory.write_count - before)
            counts[task] = counts.get(task, 0) + 1
        pending_count = memory.pending_count
        execution.close()
        return owners[len(owners) - pending_count :]


def _places(schedule: Schedule, turns: set[LostTurn]) -> Iterator[int]:
    """Where in a schedule these turns come."""
    counts: dict[int, int] = {}
    for place, task in enumerate(schedule):
        counts[task] = counts.get(task, 0) + 1
        if (task, counts[task] - 1) in turns:
            yield place


def _world(execution: Execution) -> LitmusWorld:
    return cast(LitmusWorld, execution.scenario)


def _memory(execution: Execution) -> CrashMemory:
    return cast(CrashMemory, execution.world)
