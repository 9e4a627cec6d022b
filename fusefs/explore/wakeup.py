"""A place of the reduced search, and its wakeup tree: the ways that are still to be gone from it.

    Place      who sleeps there, and the tree
    propose()  put a sequence of turns into the tree, unless it is covered

The names are those of Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order reduction
(POPL 2014).

A race's second turn, once it comes first, may touch other things than it did.  What it touches then
is found out by a probe, a part of a run, where a decision depends on it.

Units: a sequence is its events, in order, each a task and what its turn touches.  A way is called
by its tasks.
"""

from collections.abc import Callable, Sequence

from fusefs.explore.execution import Turn
from fusefs.model.footprint import Footprint

Event = tuple[int, Footprint | None]
"""A task and what its turn touches; None of a race's second, of which that is not known."""

Probe = Callable[[int, tuple[int, ...]], Footprint]
"""What the last of these tasks touches, if they go from the place at a depth in this order."""


class Way:
    """A node of a wakeup tree: a task to let go, and the ways that go on from there.

    footprint is what its turn will touch; None if that is not known.
    """

    __slots__ = ("footprint", "task", "ways")

    def __init__(
        self, task: int, footprint: Footprint | None, ways: "list[Way] | None" = None
    ) -> None:
        self.task = task
        self.footprint = footprint
        self.ways: list[Way] = [] if ways is None else ways

    def __reduce__(self) -> tuple[object, ...]:
        return Way, (self.task, self.footprint, self.ways)


class Place:
    """A place on the way to the last run: what was chosen there, and what is left to be tried.

    depth       how many turns lead to it
    asleep      tasks whose next turn need not come here, with what it would touch
    ways        the wakeup tree; the first going_count of its ways are being gone: one or none
    turn        the turn that was made here in the last run
    gone        how many ways were gone from here already
    seen        the ways that were proposed, each by its tasks: all of them are covered
    probes      what the last turns of ways would touch
    """

    __slots__ = ("asleep", "depth", "going_count", "gone", "probes", "seen", "turn", "ways")

    def __init__(self, depth: int, asleep: dict[int, Footprint], ways: list[Way]) -> None:
        self.depth = depth
        self.asleep = asleep
        self.ways = ways
        self.going_count = 1
        self.turn: Turn | None = None
        self.gone = 0
        self.seen: set[tuple[int, ...]] = set()
        self.probes: dict[tuple[int, ...], Footprint] = {}

    def __reduce__(self) -> tuple[object, ...]:
        """The turn and the probes are found out again."""
        state = self.going_count, self.gone, self.seen
        return _place, (self.depth, self.asleep, self.ways, *state)

    def made(self) -> tuple[Turn, Footprint]:
        """The turn, and what it touched."""
        turn = self.turn
        assert turn is not None, "nobody went on from here"
        assert turn.footprint is not None
        return turn, turn.footprint

    def awake(self, footprint: Footprint) -> dict[int, Footprint]:
        """Who still sleeps after a turn that touches this."""
        asleep = {}
        for task, other in self.asleep.items():
            if not other.conflicts(footprint):
                asleep[task] = other
        return asleep

    def propose(self, tasks: tuple[int, ...], events: Sequence[Event], probe: Probe) -> bool:
        """A sequence could be made here, instead of what was made; false if that is covered."""
        return self.covering(tasks, events, probe) is None and self.insert(tasks, events, probe)

    def covering(
        self, tasks: tuple[int, ...], events: Sequence[Event], probe: Probe, proposer: int = -1
    ) -> int | None:
        """Who sleeps here and could go first in a sequence; None if there is nobody.

        The proposer does not count: whoever went from here to the race, which the sequence's last
        event turns round.
        """
        for task, footprint in self.asleep.items():
            if task != proposer and self._may_come_first(task, footprint, tasks, events, probe):
                return task
        return None

    def insert(self, tasks: tuple[int, ...], events: Sequence[Event], probe: Probe) -> bool:
        """Put a sequence into the tree; false if a way of it has it covered."""
        ways = self.ways
        candidates = ways[self.going_count :]  # who is being gone conflicts with the last event
        path: tuple[int, ...] = ()
        rest = list(events)
        while True:
            for way in candidates:
                footprint = way.footprint
                if footprint is None:
                    footprint = way.footprint = self._probed((*path, way.task), probe)
                if self._may_come_first(way.task, footprint, tasks, rest, probe):
                    break
            else:
                break
            rest = _without(rest, way.task)
            if not way.ways or not rest:
                return False
            path = (*path, way.task)
            ways = candidates = way.ways
        probed = self.probes.get(tasks)
        for task, touched in rest:
            ways.append(Way(task, probed if touched is None else touched))
            ways = ways[-1].ways
        return True

    def _may_come_first(
        self,
        task: int,
        footprint: Footprint,
        tasks: tuple[int, ...],
        events: Sequence[Event],
        probe: Probe,
    ) -> bool:
        """Whether a task is a weak initial of a sequence: its next turn, which touches footprint,
        could be made before all of it.

        tasks lead from here to a race's second turn.  Where that is left in the sequence, its
        footprint may not be the one of the trace, as what it raced with has not come there.
        """
        is_certain = True
        for other, touched in events:
            if other == task:
                return True
            if touched is None:
                is_certain = False
            elif touched.conflicts(footprint):
                return False
        return is_certain or not self._probed(tasks, probe).conflicts(footprint)

    def _probed(self, tasks: tuple[int, ...], probe: Probe) -> Footprint:
        known = self.probes.get(tasks)
        if known is None:
            known = self.probes[tasks] = probe(self.depth, tasks)
        return known


def _place(
    depth: int,
    asleep: dict[int, Footprint],
    ways: list[Way],
    going_count: int,
    gone: int,
    seen: set[tuple[int, ...]],
) -> Place:
    place = Place(depth, asleep, ways)
    place.going_count, place.gone, place.seen = going_count, gone, seen
    return place


def _without(events: list[Event], task: int) -> list[Event]:
    """A sequence without the first turn of a task, if it has one."""
    for at, (other, _) in enumerate(events):
        if other == task:
            return events[:at] + events[at + 1 :]
    return events
