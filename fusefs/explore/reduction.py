"""One run of each class of schedules: optimal dynamic partial order reduction.

Two schedules are of one class if they differ only in the order of turns that do not depend on each
other; they end in the same state.  Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order
reduction, POPL 2014.

    Reduction      the search, run by run

Each run starts from a new world and replays the turns that lead to its branch.  At its end each
race of it (dependence.py) is a reason to go another way from where its first turn was made: with
all that does not come after that turn, and then the second one.  That way is put into the wakeup
tree of the place (wakeup.py), unless a way that was, or will be, gone from there has it covered.

A search can be a part of one: then the first places of its runs are others' as well, and what it
proposes for them is for whoever has them (pieces.py).

Invariants:
    (R1) no two runs are of one class;
    (R2) no run is blocked: there is always somebody who can go and does not sleep.
"""

from collections.abc import Callable, Sequence

from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution, Scenario
from fusefs.explore.wakeup import Event, Place, Way
from fusefs.model.footprint import Footprint


class Proposal:
    """A sequence that could be made at a place that others have, too."""

    __slots__ = ("depth", "events", "tasks")

    def __init__(self, depth: int, tasks: tuple[int, ...], events: list[Event]) -> None:
        self.depth = depth
        self.tasks = tasks
        self.events = events

    def __reduce__(self) -> tuple[object, ...]:
        return Proposal, (self.depth, self.tasks, self.events)


class Reduction:
    """The search of one scenario.  make gives it anew, always the same; what comes after a prefix
    of a schedule is searched.

        while reduction.next_run():
            ... reduction.execution, reduction.trace

    run_count      classes (R1)
    blocked_count  runs that ended where all who could go slept: 0 (R2)
    turn_count     turns that were made, replayed ones included
    planned_count  ways that were put into wakeup trees
    proposals      for the first shared_count places; whoever takes them empties the list
    """

    def __init__(self, make: Callable[[], Scenario], prefix: Sequence[int] = ()) -> None:
        self._make = make
        self._prefix = prefix
        self._places: list[Place] = []
        self._next: Place | None = Place(0, {}, [])
        self._execution: Execution | None = None
        self.trace = Trace()
        self.shared_count = 0
        self.proposals: list[Proposal] = []
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
        while self.ready():
            if self._run():
                self.run_count += 1
                return True
            self.blocked_count += 1
        return False

    def ready(self) -> bool:
        """Be done with the last run: plan what it gives reason for, and go back to where there is
        a way left; false if there is none."""
        if self._execution is not None:
            self.close()
            self._plan()
            self._next = self._go_back()
        return self._next is not None

    def close(self) -> None:
        """End the last run, if nobody has: whoever stops before all are run does that."""
        if self._execution is not None:
            self._execution.close()
            self._execution = None

    def _run(self) -> bool:
        """Replay up to the branch, take it, and go on to the end; false if the run is blocked."""
        places, place = self._places, self._next
        assert place is not None
        execution, trace = self._replayed(len(places)), self.trace
        trace.cut(len(places))
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
            place = Place(len(places), place.awake(footprint), way.ways)

    def _replayed(self, depth: int) -> Execution:
        """A new execution that has made the turns of the first places."""
        execution = Execution(self._make())
        execution.replay([*self._prefix, *[turn.task for turn in self.trace.turns[:depth]]])
        self.turn_count += len(self._prefix) + depth
        return execution

    def _go_back(self) -> Place | None:
        """The last place where there is a way left; None if there is none, but for shared ones."""
        places = self._places
        while len(places) > self.shared_count:
            place = places.pop()
            turn, footprint = place.made()
            place.asleep[turn.task] = footprint
            place.ways.pop(0)
            place.gone += 1
            if place.ways:
                return place
        return None

    # -- parts of a search -------------------------------------------------------------

    def begin(self, path: Sequence[int], places: Sequence[Place]) -> None:
        """Be a part: path leads through shared places to its own, the last of which is the next
        to be gone from."""
        assert self._execution is None
        assert not self._places
        execution, trace = Execution(self._make()), self.trace
        shared = [Place(depth, {}, [Way(task, None)]) for depth, task in enumerate(path)]
        for place in [*shared, *places[:-1]]:
            footprint = Footprint(watches_lru=execution.scenario.watches_lru)
            place.turn = execution.turn(place.ways[0].task, footprint)
            trace.add(place.turn)
            self._places.append(place)
        execution.close()
        self.turn_count += len(self._places)
        self.shared_count = len(path)
        self._next = places[-1]

    def places(self) -> list[Place]:
        """Its own, once it is ready; the last is the next to be gone from.  None if all is done."""
        return [] if self._next is None else [*self._places[self.shared_count :], self._next]

    def part_done(self) -> float:
        """How much of its tree as it is known now has been run, from 0 to 1."""
        done, weight = 0.0, 1.0
        running = self._execution is not None
        for place in self._places[self.shared_count :] if running else self.places():
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
                    after = trace.not_after(first)
                    known = rest[first] = after, tuple([turns[each].task for each in after])
                tasks = (*known[1], turns[second].task)
                place = self._places[first]
                if tasks not in place.seen:
                    place.seen.add(tasks)
                    self._propose(place, tasks, known[0])

    def _propose(self, place: Place, tasks: tuple[int, ...], before_last: list[int]) -> None:
        turns = self.trace.turns
        events: list[Event] = [(turns[each].task, turns[each].footprint) for each in before_last]
        events.append((tasks[-1], None))
        if place.depth < self.shared_count:
            self.proposals.append(Proposal(place.depth, tasks, events))
        elif place.propose(tasks, events, self._probe):
            self.planned_count += 1

    def _probe(self, depth: int, tasks: tuple[int, ...]) -> Footprint:
        """What the last of these tasks touches, if they go from a place in this order."""
        execution = self._replayed(depth)
        footprint = Footprint(watches_lru=execution.scenario.watches_lru)
        execution.replay(tasks[:-1])
        execution.turn(tasks[-1], footprint)
        execution.close()
        self.turn_count += len(tasks)
        return footprint
