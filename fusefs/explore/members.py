"""The schedules of one class: how many there are, and which is the simplest.

A class is a Trace up to the order of turns that do not depend on each other.  Its schedules are the
ways to list all turns so that whatever comes before another one is listed before it.

    count()      how many
    simplest()   the one with fewest preemptions, then switches, then lowest tasks first

A switch is a turn of another task than the one before; it is a preemption if that one could have
gone on: it had not returned, and did not wait.

Units: a cut is the turns that have been made, as a bitmap of their places in the trace.  A schedule
is the tasks, by turn.
"""

from heapq import heappop, heappush
from typing import Final

from fusefs.explore.dependence import Trace

CUTS_MAX: Final = 20_000
"""Cuts that count() looks at before it gives up."""


class Order:
    """What comes before what in a class.  needs and enablers are by place, of_task by task.

    needs      all that comes before a turn
    enablers   who made it possible, as its task waited until then; 0 if that is nobody
    of_task    the turns of a task
    """

    __slots__ = ("_left_off", "enablers", "needs", "of_task")

    def __init__(self, trace: Trace) -> None:
        self.needs = [before & ~(1 << place) for place, before in enumerate(trace.before)]
        self.enablers = [1 << place if place >= 0 else 0 for place in trace.enablers]
        self.of_task = trace.of_task
        self._left_off = trace.left_off

    def next(self, cut: int, task: int) -> int:
        """The place of the next turn of a task; -1 if it comes after one that is not in the cut."""
        left = self.of_task[task] & ~cut
        place = (left & -left).bit_length() - 1
        return -1 if place < 0 or self.needs[place] & ~cut else place

    def could_have_gone_on(self, cut: int, task: int) -> bool:
        """Whether a task neither has returned nor waits for what has not come."""
        left = self.of_task[task] & ~cut
        place = (left & -left).bit_length() - 1
        if place < 0:
            return task in self._left_off and not self._left_off[task] & ~cut
        return not self.enablers[place] & ~cut


def count(trace: Trace) -> int | None:
    """How many schedules the class has; None if that would take too long to tell."""
    order = Order(trace)
    size = 1
    for places in order.of_task:
        size *= places.bit_count() + 1
    if size > CUTS_MAX:
        return None
    tasks = range(len(order.of_task))
    ways = {0: 1}
    for _ in range(len(trace.turns)):
        following: dict[int, int] = {}
        for cut, number in ways.items():
            for task in tasks:
                place = order.next(cut, task)
                if place >= 0:
                    reached = cut | 1 << place
                    following[reached] = following.get(reached, 0) + number
        ways = following
    return sum(ways.values())


Cost = tuple[int, int]
"""Preemptions and switches."""

UNBOUNDED: Final[Cost] = (1 << 30, 1 << 30)


def cost(trace: Trace, schedule: tuple[int, ...]) -> Cost:
    """Preemptions and switches of one schedule of the class."""
    order, preemptions, switches, running, cut = Order(trace), 0, 0, -1, 0
    for task in schedule:
        if running not in (-1, task):
            switches += 1
            preemptions += order.could_have_gone_on(cut, running)
        cut, running = cut | 1 << order.next(cut, task), task
    return preemptions, switches


def simplest(trace: Trace, bound: Cost = UNBOUNDED) -> tuple[Cost, tuple[int, ...]] | None:
    """Cost and schedule of the simplest one; None if its cost is above the bound."""
    order, last = Order(trace), len(trace.turns)
    tasks = range(len(order.of_task))
    waiting: list[tuple[Cost, tuple[int, ...], int]] = [((0, 0), (), 0)]
    done: set[tuple[int, int]] = set()
    while waiting:
        (preemptions, switches), schedule, cut = heappop(waiting)
        if len(schedule) == last:
            return (preemptions, switches), schedule
        running = schedule[-1] if schedule else -1
        if (cut, running) in done:
            continue
        done.add((cut, running))
        preempted = running >= 0 and order.could_have_gone_on(cut, running)
        for task in tasks:
            place = order.next(cut, task)
            if place < 0:
                continue
            reached = preemptions, switches
            if running not in (-1, task):
                reached = preemptions + preempted, switches + 1
            if reached <= bound:
                heappush(waiting, (reached, (*schedule, task), cut | 1 << place))
    return None
