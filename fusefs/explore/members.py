"""The schedules of one class: how many there are, and which is the simplest.

A class is a Trace up to the order of turns that do not depend on each other.  Its schedules are the
ways to list all turns so that whatever comes before another one is listed before it.

    count()      how many
    simplest()   the one with fewest preemptions, then switches, then lowest tasks first

A switch is a turn of another task than the one before; it is a preemption if that one could have
gone on: it had not returned, and did not wait.

Units: a cut is how many turns of each task have been made.  A schedule is the tasks, by turn.
"""

from heapq import heappop, heappush
from typing import Final

from fusefs.explore.dependence import Trace

CUTS_MAX: Final = 20_000
"""Cuts that count() looks at before it gives up."""

Cut = tuple[int, ...]


class Order:
    """What comes before what in a class, by task and number of the turn."""

    __slots__ = ("lengths", "needs", "wakers")

    def __init__(self, trace: Trace) -> None:
        count = max([turn.task for turn in trace.turns], default=-1) + 1
        self.lengths = [0] * count
        self.needs: list[list[list[int]]] = [[] for _ in range(count)]
        self.wakers: list[dict[int, tuple[int, int]]] = [{} for _ in range(count)]
        for place, turn in enumerate(trace.turns):
            clock = trace.clocks[place]
            self.needs[turn.task].append((clock + [0] * count)[:count])
            self.lengths[turn.task] += 1
            for other in turn.woke:
                if other < count:
                    self.wakers[other][self.lengths[other]] = (turn.task, turn.index)

    def can_go(self, cut: Cut, task: int) -> bool:
        """Whether the next turn of a task comes after no turn that is not in the cut."""
        number = cut[task]
        if number == self.lengths[task]:
            return False
        for other, count in enumerate(self.needs[task][number]):
            if other != task and count > cut[other]:
                return False
        return True

    def could_have_gone_on(self, cut: Cut, task: int) -> bool:
        """Whether a task neither has returned nor waits for what has not come."""
        number = cut[task]
        if number == self.lengths[task]:
            return False
        waker = self.wakers[task].get(number)
        return waker is None or cut[waker[0]] > waker[1]


def _with(cut: Cut, task: int) -> Cut:
    return (*cut[:task], cut[task] + 1, *cut[task + 1 :])


def count(trace: Trace) -> int | None:
    """How many schedules the class has; None if that would take too long to tell."""
    order = Order(trace)
    size = 1
    for length in order.lengths:
        size *= length + 1
    if size > CUTS_MAX:
        return None
    tasks = range(len(order.lengths))
    ways: dict[Cut, int] = {tuple([0] * len(order.lengths)): 1}
    for _ in range(len(trace.turns)):
        following: dict[Cut, int] = {}
        for cut, number in ways.items():
            for task in tasks:
                if order.can_go(cut, task):
                    reached = _with(cut, task)
                    following[reached] = following.get(reached, 0) + number
        ways = following
    return sum(ways.values())


Cost = tuple[int, int]
"""Preemptions and switches."""

UNBOUNDED: Final[Cost] = (1 << 30, 1 << 30)


def cost(trace: Trace, schedule: tuple[int, ...]) -> Cost:
    """Preemptions and switches of one schedule of the class."""
    order, preemptions, switches, running = Order(trace), 0, 0, -1
    cut: Cut = tuple([0] * len(order.lengths))
    for task in schedule:
        if running not in (-1, task):
            switches += 1
            preemptions += order.could_have_gone_on(cut, running)
        cut, running = _with(cut, task), task
    return preemptions, switches


def simplest(trace: Trace, bound: Cost = UNBOUNDED) -> tuple[Cost, tuple[int, ...]] | None:
    """Cost and schedule of the simplest one; None if its cost is above the bound."""
    order, last = Order(trace), len(trace.turns)
    tasks = range(len(order.lengths))
    start: Cut = tuple([0] * len(order.lengths))
    waiting: list[tuple[Cost, tuple[int, ...], Cut]] = [((0, 0), (), start)]
    done: set[tuple[Cut, int]] = set()
    while waiting:
        (preemptions, switches), schedule, cut = heappop(waiting)
        if len(schedule) == last:
            return (preemptions, switches), schedule
        running = schedule[-1] if schedule else -1
        if (cut, running) in done:
            continue
        done.add((cut, running))
        for task in tasks:
            if not order.can_go(cut, task):
                continue
            switched = running not in (-1, task)
            preempted = switched and order.could_have_gone_on(cut, running)
            reached = preemptions + preempted, switches + switched
            if reached <= bound:
                heappush(waiting, (reached, (*schedule, task), _with(cut, task)))
    return None
