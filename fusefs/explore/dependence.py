"""Which turns of a run depend on each other, and which of them could have come in another order.

    Trace       turns in order, each with its vector clock: what comes before it, by dependence
    races()     pairs of turns that depend on each other, with nothing in between

Two turns depend on each other if they are of one task, if their footprints conflict, or if one
woke or started the other's task.  One comes before another if a chain of such pairs leads there;
two runs with the same relation lead to the same state: Mazurkiewicz' traces.  The names are those
of Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order reduction (POPL 2014).

Units: a turn is named by its place in the trace.  A clock has, for each task, how many of its turns
come before, this one included.
"""

from fusefs.explore.execution import Turn
from fusefs.model.footprint import Footprint

NOBODY = -1


class Shared:
    """Who touched one thing: the places of all turns that wrote it, read it, or added to it."""

    __slots__ = ("adds", "reads", "writes")

    def __init__(self) -> None:
        self.writes: list[int] = []
        self.reads: list[int] = []
        self.adds: list[int] = []

    @property
    def write(self) -> int:
        """The last that wrote it: what came before that is behind it."""
        return self.writes[-1] if self.writes else NOBODY


class Trace:
    """The turns of one run, in order; add() after each.  cut() takes the last ones back."""

    __slots__ = ("_last", "_races", "_shared", "_wakers", "clocks", "direct", "turns")

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.clocks: list[list[int]] = []
        self.direct: list[list[int]] = []
        self._races: list[list[int] | None] = []
        self._last: list[list[int]] = []
        self._wakers: list[list[int]] = []
        self._shared: dict[int, Shared] = {}

    def add(self, turn: Turn) -> None:
        """Append a turn whose footprint is known."""
        place, number = len(self.turns), turn.task
        while len(self._last) <= max([number, *turn.woke]):
            self._last.append([])
            self._wakers.append([])
        before = self._touch(turn.footprint, place)
        for others in (self._last[number], self._wakers[number]):
            if others:
                before.add(others[-1])
        clock = [0] * len(self._last)
        for other in before:
            for task, count in enumerate(self.clocks[other]):
                if count > clock[task]:
                    clock[task] = count
        clock[number] = turn.index + 1
        self.turns.append(turn)
        self.clocks.append(clock)
        self.direct.append(sorted(before, reverse=True))
        self._races.append(None)
        self._last[number].append(place)
        for other in turn.woke:
            self._wakers[other].append(place)

    def cut(self, length: int) -> None:
        """Leave the first turns alone."""
        for turn in self.turns[length:]:
            _pop(self._last[turn.task], length)
            for other in turn.woke:
                _pop(self._wakers[other], length)
            footprint = turn.footprint
            assert footprint is not None
            for key in footprint.writes:
                _pop(self._shared[key].writes, length)
            for key in footprint.reads:
                _pop(self._shared[key].reads, length)
            for key in footprint.adds:
                _pop(self._shared[key].adds, length)
        for each in (self.turns, self.clocks, self.direct, self._races):
            del each[length:]

    def _touch(self, footprint: Footprint | None, place: int) -> set[int]:
        """The turns whose footprints conflict with this one's, without those behind a write."""
        before: set[int] = set()
        assert footprint is not None, "a turn whose footprint nobody took"
        for key in footprint.reads:
            shared = self._look(key)
            _since(shared.write, shared.adds, before)
        for key in footprint.adds:
            shared = self._look(key)
            _since(shared.write, shared.reads, before)
        for key in footprint.writes:
            shared = self._look(key)
            _since(shared.write, shared.reads, before)
            _since(shared.write, shared.adds, before)
            shared.writes.append(place)
        for key in footprint.reads:
            self._shared[key].reads.append(place)
        for key in footprint.adds:
            self._shared[key].adds.append(place)
        return before

    def _look(self, key: int) -> Shared:
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = Shared()
        return shared

    def is_before(self, first: int, second: int) -> bool:
        """Whether a chain of dependence leads from one turn to a later one."""
        turn, clock = self.turns[first], self.clocks[second]
        return turn.task < len(clock) and clock[turn.task] > turn.index

    def races(self, second: int) -> list[int]:
        """The turns that could be made to come after this one, which depends on them directly.

        Latest first.  Not so who woke or started its task, nor what something in between depends
        on.
        """
        known = self._races[second]
        if known is not None:
            return known
        turn, before = self.turns[second], self.direct[second]
        found: list[int] = []
        for first in before:
            if self.turns[first].task == turn.task or self._wakes(first, second):
                continue
            if not any(self.is_before(first, between) for between in before if between > first):
                found.append(first)
        self._races[second] = found
        return found

    def _wakes(self, first: int, second: int) -> bool:
        """Whether a turn made another possible: its task waited until then."""
        task = self.turns[second].task
        if task not in self.turns[first].woke:
            return False
        return not any(self.turns[place].task == task for place in range(first + 1, second))

    def not_after(self, first: int) -> list[int]:
        """All later turns, to the end of the trace, that do not come after this one: notdep."""
        return [
            place for place in range(first + 1, len(self.turns)) if not self.is_before(first, place)
        ]


def _since(write: int, places: list[int], before: set[int]) -> None:
    """Add a write, and those that came after it."""
    if write != NOBODY:
        before.add(write)
    for place in reversed(places):
        if place <= write:
            break
        before.add(place)


def _pop(places: list[int], length: int) -> None:
    while places and places[-1] >= length:
        places.pop()
