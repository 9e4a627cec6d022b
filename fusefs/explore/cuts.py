"""Where a crash can stop a run, or another run of its class.

A cut of a class is a set of its turns that has with each turn all that comes before it: what can
have been done when all stops.  The beginnings of one schedule are some of them; two writes that do
not depend on each other have four cuts, and one schedule shows three.

    cuts()    the cuts that differ in some of the turns, each as a schedule
    walk()    a scenario stopped at each of them

Of the cuts that differ only in other turns the smallest is taken.

Units: a schedule is the tasks, by turn.  A cut is how many turns of each task have been made.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution, Scenario
from fusefs.explore.members import Cut, Order

Schedule = tuple[int, ...]


def cuts(trace: Trace, marks: Collection[int]) -> Iterator[Schedule]:
    """Each cut once that differs in the turns with these places in the trace.

    Depth first: a schedule mostly goes on where the one before it ended.
    """
    order = Order(trace)
    turns = [trace.turns[place] for place in sorted(marks)]
    needs = [order.needs[turn.task][turn.index] for turn in turns]  # the smallest cut with it
    start: Cut = tuple([0] * len(order.lengths))
    seen = set[Cut]()
    waiting: list[tuple[Cut, Schedule]] = [(start, ())]
    while waiting:
        cut, schedule = waiting.pop()
        if cut in seen:
            continue
        seen.add(cut)
        yield schedule
        for need in reversed(needs):
            reached = tuple(map(max, cut, need))
            if reached not in seen:
                waiting.append((reached, schedule + _between(trace, cut, reached)))


def _between(trace: Trace, cut: Cut, reached: Cut) -> Schedule:
    """The turns that one cut has and the other has not, in the order of the trace."""
    return tuple(
        [turn.task for turn in trace.turns if cut[turn.task] <= turn.index < reached[turn.task]]
    )


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
    lengths = [0] * len(Order(trace).lengths)
    for task in schedule:
        lengths[task] += 1
    found = Trace()
    for turn in trace.turns:
        if turn.index < lengths[turn.task]:
            found.add(turn)
    return found
