"""Where a crash can stop a run, or another run of its class.

A cut of a class is a set of its turns that has with each turn all that comes before it: what can
have been done when all stops.  The beginnings of one schedule are some of them; two writes that do
not depend on each other have four cuts, and one schedule shows three.

    cuts()    the cuts that differ in some of the turns, each as a schedule
    walk()    a scenario stopped at each of them

Of the cuts that differ only in other turns the smallest is taken.

Units: a schedule is the tasks, by turn.  A cut is a bitmap of the places in the trace.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution, Scenario

Schedule = tuple[int, ...]


def cuts(trace: Trace, marks: Collection[int]) -> Iterator[Schedule]:
    """Each cut once that differs in the turns with these places in the trace.

    Depth first: a schedule mostly goes on where the one before it ended.
    """
    needs = [trace.before[place] for place in sorted(marks)]  # the smallest cut with it
    seen = set[int]()
    waiting: list[tuple[int, Schedule]] = [(0, ())]
    while waiting:
        cut, schedule = waiting.pop()
        if cut in seen:
            continue
        seen.add(cut)
        yield schedule
        for need in reversed(needs):
            if cut | need not in seen:
                waiting.append((cut | need, schedule + _tasks(trace, need & ~cut)))


def _tasks(trace: Trace, places: int) -> Schedule:
    """Whose turns these are, in the order of the trace."""
    return tuple([turn.task for place, turn in enumerate(trace.turns) if places >> place & 1])


def walk(
    make: Callable[[], Scenario], schedules: Iterable[Schedule]
) -> Iterator[tuple[Schedule, Execution]]:
    """Run each schedule and stop there.  One that begins with the last one goes on with it."""
    execution: Execution | None = None
    made: Schedule = ()
    try:
        for schedule in schedules:
            if execution is None or schedule[: len(made)] != made:
                if execution is not None:
                    execution.close()
                execution, made = Execution(make()), ()
            for task in schedule[len(made) :]:
                execution.turn(task)
            made = schedule
            yield schedule, execution
    finally:
        if execution is not None:
            execution.close()


def part(trace: Trace, schedule: Schedule) -> Trace:
    """The turns that a schedule of a cut has, in the order of the trace, as a trace."""
    lengths = [0] * len(trace.of_task)
    for task in schedule:
        lengths[task] += 1
    found = Trace()
    places: dict[int, int] = {-1: 0}
    for place, turn in enumerate(trace.turns):
        if turn.index < lengths[turn.task]:
            places[place] = 1 << len(found.turns)
            found.add(turn)
        elif turn.index == lengths[turn.task] and trace.enablers[place] in places:
            found.left_off[turn.task] = places[trace.enablers[place]]
    return found
