"""One run of each class of schedules: optimal dynamic partial order reduction.

Two schedules are of one class if they differ only in the order of turns that do not depend on each
other; they end in the same state.  Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order
reduction, POPL 2014.

    Reduction      the search, run by run

Each run starts from a new world and replays the turns that lead to its branch.  At its end each
race of it (dependence.py) is a reason to go another way from where its first turn was made: with
all that does not come after that turn, and then the second one.  That way is put into the wakeup
tree of the place, unless a way that was, or will be, gone from there has it covered.

A race's second turn, once it comes first, may touch other things than it did.  What it touches then
is found out by a probe, a part of a run, where a decision depends on it.

Invariants:
    (R1) no two runs are of one class;
    (R2) no run is blocked: there is always somebody who can go and does not sleep.
"""

from collections.abc import Callable, Sequence

from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution, Scenario, Turn
from fusefs.model.footprint import Footprint


class Way:
    """A node of a wakeup tree: a task to let go, and the ways that go on from there.

    footprint is what its turn will touch; None if that is not known.
    """

    __slots__ = ("footprint", "task", "ways")

    def __init__(self, task: int, footprint: Footprint | None) -> None:
        self.task = task
        self.footprint = footprint
        self.ways: list[Way] = []


class Place:
    """A place on the way to the last run: what was chosen there, and what is left to be tried.

    asleep   tasks whose next turn need not come here, with what it would touch
    ways     the wakeup tree; its first way is the one that is being gone
    turn     the turn that was made here in the last run
    gone     how many ways were gone from here already
    seen     the ways that were proposed, each by its tasks: all of them are covered
    probes   what the last turns of ways would touch
    """

    __slots__ = ("asleep", "gone", "probes", "seen", "turn", "ways")

    def __init__(self, asleep: dict[int, Footprint], ways: list[Way]) -> None:
        self.asleep = asleep
        self.ways = ways
        self.turn: Turn | None = None
        self.gone = 0
        self.seen: set[tuple[int, ...]] = set()
        self.probes: dict[tuple[int, ...], Footprint] = {}

    def made(self) -> tuple[Turn, Footprint]:
        """The turn, and what it touched."""
        turn = self.turn
        assert turn is not None, "nobody went on from here"
        assert turn.footprint is not None
        return turn, turn.footprint


class Reduction:
    """The search of one scenario.  make gives it anew, always the same; what comes after a prefix
    of a schedule is searched.

        while reduction.next_run():
            ... reduction.execution, reduction.trace

    run_count      classes (R1)
    blocked_count  runs that ended where all who could go slept: 0 (R2)
    turn_count     turns that were made, replayed ones included
    planned_count  ways that were put into wakeup trees
    """

    def __init__(self, make: Callable[[], Scenario], prefix: Sequence[int] = ()) -> None:
        self._make = make
        self._prefix = prefix
        self._places: list[Place] = []
        self._next = Place({}, [])
        self._execution: Execution | None = None
        self.trace = Trace()
        self.run_count = 0
        self.blocked_count = 0
        self.turn_count = 0
        self.planned_count = 0

    # -- runs --------------------------------------------------------------------------

    @property
    def execution(self) -> Execution:
        """The last run, as it ended."""
        assert self._execution is not None, "nothing was run yet"
        return self._execution

    def next_run(self) -> bool:
        """Run one more class; false if there is none left."""
        while True:
            if self._execution is not None:
                self._execution.close()
                if not self._go_back():
                    return False
            if self._run():
                self.run_count += 1
                return True
            self.blocked_count += 1

    def _run(self) -> bool:
        """Replay up to the branch, take it, and go on to the end; false if the run is blocked."""
        places = self._places
        execution, trace = self._replayed(len(places)), self.trace
        trace.cut(len(places))
        place = self._next
        running = trace.turns[-1].task if trace.turns else -1
        watches_lru = execution.scenario.watches_lru
        self._execution = execution
        while True:
            enabled = execution.enabled()
            if not enabled:
                return True
            if not place.ways:
                awake = [task for task in enabled if task not in place.asleep]
                if not awake:
                    return False
                place.ways.append(Way(running if running in awake else awake[0], None))
            way = place.ways[0]
            running, footprint = way.task, Footprint(watches_lru=watches_lru)
            way.footprint = footprint
            place.turn = execution.turn(running, footprint)
            self.turn_count += 1
            trace.add(place.turn)
            places.append(place)
            asleep = {}
            for task, next_footprint in place.asleep.items():
                if not next_footprint.conflicts(footprint):
                    asleep[task] = next_footprint
            place = Place(asleep, way.ways)

    def _replayed(self, depth: int) -> Execution:
        """A new execution that has made the turns of the first places."""
        execution = Execution(self._make())
        execution.replay([*self._prefix, *[turn.task for turn in self.trace.turns[:depth]]])
        self.turn_count += len(self._prefix) + depth
        return execution

    def _go_back(self) -> bool:
        """Plan what the last run gives reason for, and go back to where there is a way left."""
        self._plan()
        places = self._places
        while places:
            place = places.pop()
            turn, footprint = place.made()
            place.asleep[turn.task] = footprint
            place.ways.pop(0)
            place.gone += 1
            if place.ways:
                self._next = place
                return True
        return False

    def part_done(self) -> float:
        """How much of the tree as it is known now has been run, from 0 to 1."""
        done, weight = 0.0, 1.0
        for place in self._places:
            known = place.gone + len(place.ways)
            done += weight * place.gone / known
            weight /= known
        return done

    # -- planning ----------------------------------------------------------------------

    def _plan(self) -> None:
        """For each race, a way that has its second turn first."""
        trace = self.trace
        turns = trace.turns
        rest: dict[int, tuple[list[int], tuple[int, ...]]] = {}
        for second in range(len(turns)):
            for first in trace.races(second):
                known = rest.get(first)
                if known is None:
                    places = trace.not_after(first)
                    known = rest[first] = places, tuple([turns[each].task for each in places])
                places, tasks = known
                tasks = (*tasks, turns[second].task)
                seen = self._places[first].seen
                if tasks not in seen:
                    seen.add(tasks)
                    self._propose(first, [*places, second], tasks)

    def _propose(self, depth: int, sequence: list[int], tasks: tuple[int, ...]) -> None:
        """A sequence of turns could be made at a place, instead of what was made there."""
        for task, footprint in self._places[depth].asleep.items():
            if self._may_come_first(depth, task, footprint, sequence, tasks, sequence[-1]):
                return
        self._insert(depth, sequence, tasks)

    def _insert(self, depth: int, sequence: list[int], tasks: tuple[int, ...]) -> None:
        """Put a sequence into the wakeup tree of a place, unless a way of it has it covered."""
        ways = self._places[depth].ways
        candidates = ways[1:]  # the first is being gone, and conflicts with the sequence's last
        path: tuple[int, ...] = ()
        rest, second = sequence, sequence[-1]
        while True:
            for way in candidates:
                footprint = way.footprint
                if footprint is None:
                    footprint = way.footprint = self._probe(depth, (*path, way.task))
                if self._may_come_first(depth, way.task, footprint, rest, tasks, second):
                    break
            else:
                break
            rest = self._without(rest, way.task)
            if not way.ways or not rest:
                return
            path = (*path, way.task)
            ways = candidates = way.ways
        self.planned_count += 1
        probed = self._places[depth].probes.get(tasks)
        for each in rest:
            turn = self.trace.turns[each]
            known = probed if each == second else turn.footprint
            ways.append(Way(turn.task, known))
            ways = ways[-1].ways

    def _without(self, sequence: list[int], task: int) -> list[int]:
        """A sequence without the first turn of a task, if it has one."""
        for at, each in enumerate(sequence):
            if self.trace.turns[each].task == task:
                return sequence[:at] + sequence[at + 1 :]
        return sequence

    def _may_come_first(
        self,
        depth: int,
        task: int,
        footprint: Footprint,
        sequence: list[int],
        tasks: tuple[int, ...],
        second: int,
    ) -> bool:
        """Whether a task is a weak initial of a sequence: its next turn, which touches footprint,
        could be made before all of it.

        tasks lead from the place to a race's second turn.  Where that is left in the sequence, its
        footprint may not be the one of the trace, as what it raced with has not come there.
        """
        is_certain = True
        for each in sequence:
            turn = self.trace.turns[each]
            if turn.task == task:
                return True
            if each == second:
                is_certain = False
            else:
                assert turn.footprint is not None
                if turn.footprint.conflicts(footprint):
                    return False
        return is_certain or not self._probe(depth, tasks).conflicts(footprint)

    def _probe(self, depth: int, tasks: tuple[int, ...]) -> Footprint:
        """What the last of these tasks touches, if they go from a place in this order."""
        probes = self._places[depth].probes
        if tasks not in probes:
            execution = self._replayed(depth)
            footprint = Footprint(watches_lru=execution.scenario.watches_lru)
            execution.replay(tasks[:-1])
            execution.turn(tasks[-1], footprint)
            execution.close()
            self.turn_count += len(tasks)
            probes[tasks] = footprint
        return probes[tasks]
