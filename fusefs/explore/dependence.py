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
    """Who touched one thing: the last turn that wrote it, and those that read it or added to it
    since."""

    __slots__ = ("adds", "reads", "write")

    def __init__(self) -> None:
        self.write = NOBODY
        self.reads: list[int] = []
        self.adds: list[int] = []


class Trace:
    """The turns of one run, in order; add() after each."""

    __slots__ = ("_last", "_shared", "_wakers", "clocks", "direct", "turns")

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.clocks: list[list[int]] = []
        self.direct: list[list[int]] = []
        self._last: list[int] = []
        self._wakers: list[int] = []
        self._shared: dict[int, Shared] = {}

    def add(self, turn: Turn) -> None:
        """Append a turn whose footprint is known."""
        place, number = len(self.turns), turn.task
        while len(self._last) <= max([number, *turn.woke]):
            self._last.append(NOBODY)
            self._wakers.append(NOBODY)
        before = self._touch(turn.footprint, place)
        if self._last[number] != NOBODY:
            before.append(self._last[number])
        if self._wakers[number] != NOBODY:
            before.append(self._wakers[number])
        clock = [0] * len(self._last)
        for other in before:
            for task, count in enumerate(self.clocks[other]):
                if count > clock[task]:
                    clock[task] = count
        clock[number] = turn.index + 1
        self.turns.append(turn)
        self.clocks.append(clock)
        self.direct.append(before)
        self._last[number] = place
        for other in turn.woke:
            self._wakers[other] = place

    def _touch(self, footprint: Footprint | None, place: int) -> list[int]:
        """The turns whose footprints conflict with this one's, without those behind a write."""
        before: list[int] = []
        assert footprint is not None, "a turn whose footprint nobody took"
        for key in footprint.reads:
            shared = self._look(key)
            if shared.write != NOBODY:
                before.append(shared.write)
            before += shared.adds
        for key in footprint.adds:
            shared = self._look(key)
            if shared.write != NOBODY:
                before.append(shared.write)
            before += shared.reads
        for key in footprint.writes:
            shared = self._look(key)
            if shared.write != NOBODY:
                before.append(shared.write)
            before += shared.reads
            before += shared.adds
            shared.write = place
            shared.reads = []
            shared.adds = []
        for key in footprint.reads:
            if key not in footprint.writes:
                self._shared[key].reads.append(place)
        for key in footprint.adds:
            if key not in footprint.writes:
                self._shared[key].adds.append(place)
        return [other for other in before if other != place]

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
        turn, found = self.turns[second], []
        before = sorted(set(self.direct[second]), reverse=True)
        for first in before:
            other = self.turns[first]
            if other.task == turn.task or self._wakes(first, second):
                continue
            if not any(self.is_before(first, between) for between in before if between > first):
                found.append(first)
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
