"""Which turns of a run depend on each other, and which of them could have come in another order.

    Trace       turns in order, each with what comes before it, by dependence
    races()     pairs of turns that depend on each other, with nothing in between

Two turns depend on each other if they are of one task, if their footprints conflict, or if one
woke or started the other's task.  One comes before another if a chain of such pairs leads there;
two runs with the same relation lead to the same state: Mazurkiewicz' traces.  The names are those
of Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order reduction (POPL 2014).

Units: a turn is named by its place in the trace, and a set of turns is a bitmap: bit n is place n.
"""

from fusefs.explore.execution import Turn


class Trace:
    """The turns of one run, in order; add() after each.  cut() takes the last ones back.

    before     for each turn, those that come before it, itself included
    enablers   for each turn, who woke or started its task since its last one; -1 if nobody
    of_task    for each task, its turns
    left_off   of a part, for each task that had not returned and did not wait for what is not in
               it: who enabled its next turn, 0 if that is nobody
    """

    __slots__ = (
        *("_adds", "_races", "_reads", "_wakers", "_writes"),
        *("before", "enablers", "left_off", "of_task", "turns"),
    )

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.before: list[int] = []
        self.enablers: list[int] = []
        self.of_task: list[int] = []
        self.left_off: dict[int, int] = {}
        self._races: list[list[int]] = []
        self._wakers: list[int] = []
        self._reads: dict[int, int] = {}
        self._writes: dict[int, int] = {}
        self._adds: dict[int, int] = {}

    def add(self, turn: Turn) -> None:
        """Append a turn whose footprint is known."""
        place, number = len(self.turns), turn.task
        while len(self.of_task) <= max([number, *turn.woke]):
            self.of_task.append(0)
            self._wakers.append(0)
        own = _last(self.of_task[number])
        waker = _last(self._wakers[number])
        enabler = waker if waker > own else -1
        left = self._touched(turn, 1 << place) | self.of_task[number] | self._wakers[number]
        before, races = 1 << place, []
        while left:  # the last one that is left has nothing between it and this turn
            first = left.bit_length() - 1
            if first not in (own, enabler):
                races.append(first)
            before |= self.before[first]
            left &= ~self.before[first]
        self.turns.append(turn)
        self.before.append(before)
        self.enablers.append(enabler)
        self._races.append(races)
        self.of_task[number] |= 1 << place
        for other in turn.woke:
            self._wakers[other] |= 1 << place

    def _touched(self, turn: Turn, bit: int) -> int:
        """Note what a turn touched; returns the turns whose footprints conflict with its."""
        footprint = turn.footprint
        assert footprint is not None, "a turn whose footprint nobody took"
        reads, writes, adds = self._reads, self._writes, self._adds
        found = 0
        for key in footprint.writes:
            found |= writes.get(key, 0) | reads.get(key, 0) | adds.get(key, 0)
        for key in footprint.reads:
            found |= writes.get(key, 0) | adds.get(key, 0)
        for key in footprint.adds:
            found |= writes.get(key, 0) | reads.get(key, 0)
        for keys, places in (
            (footprint.writes, writes),
            (footprint.reads, reads),
            (footprint.adds, adds),
        ):
            for key in keys:
                places[key] = places.get(key, 0) | bit
        return found

    def cut(self, length: int) -> None:
        """Leave the first turns alone."""
        kept = (1 << length) - 1
        for turn in self.turns[length:]:
            self.of_task[turn.task] &= kept
            for other in turn.woke:
                self._wakers[other] &= kept
            footprint = turn.footprint
            assert footprint is not None
            for keys, places in (
                (footprint.writes, self._writes),
                (footprint.reads, self._reads),
                (footprint.adds, self._adds),
            ):
                for key in keys:
                    places[key] &= kept
        del self.turns[length:]
        del self.before[length:]
        del self.enablers[length:]
        del self._races[length:]

    def is_before(self, first: int, second: int) -> bool:
        """Whether a chain of dependence leads from one turn to a later one."""
        return bool(self.before[second] >> first & 1)

    def races(self, second: int) -> list[int]:
        """The turns that could be made to come after this one, which depends on them directly.

        Latest first.  Not so who woke or started its task, nor what something in between depends
        on.
        """
        return self._races[second]

    def not_after(self, first: int) -> list[int]:
        """All later turns, to the end of the trace, that do not come after this one: notdep."""
        before = self.before
        return [place for place in range(first + 1, len(before)) if not before[place] >> first & 1]


def _last(places: int) -> int:
    """-1 if there is none."""
    return places.bit_length() - 1
