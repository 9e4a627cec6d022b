"""Why a schedule fails: where it was decided, what avoids it, and how little of the file is needed.

    no_return()    the first turn after which every way to the end fails, exactly
    nearest_twin() a schedule that passes, and differs in the order of one pair of turns
    crash_until()  the turn after which a crash does no harm any more
    shrunk()       a smaller file that fails still

To fail is to do what the question or a rule forbids: answer.py says when a run is a witness.

Units: a schedule is the tasks, by turn.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from fusefs.explore.answer import ended, fulfils
from fusefs.explore.crashes import Crash, Crashes
from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution, Made, Scenario
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.condition import atoms
from fusefs.litmus.parse import parse
from fusefs.litmus.source import LitmusError
from fusefs.litmus.test import FORALL, Litmus, Operation, TaskText
from fusefs.litmus.text import text
from fusefs.model.footprint import Footprint

SHRINK_RUNS_MAX = 20_000
"""Classes of a smaller file that are run before it is taken to pass."""


def fails(litmus: Litmus, execution: Execution) -> bool:
    """Whether a run that has ended is a witness."""
    _, positive, broken = ended(litmus, execution)
    return bool(broken) or positive != (litmus.question.quantifier == FORALL)


def no_return(litmus: Litmus, orders: Collection[str], schedule: Sequence[int]) -> int:
    """How many turns of a failing schedule it takes until nothing but failure is left.

    0 if the file fails under every schedule.
    """
    case = LitmusCase(litmus, orders)
    low, high = 0, len(schedule)
    while low < high:
        middle = (low + high) // 2
        if _can_pass(litmus, case, schedule[:middle]):
            low = middle + 1
        else:
            high = middle
    return high


def _can_pass(litmus: Litmus, case: LitmusCase, prefix: Sequence[int]) -> bool:
    reduction = Reduction(case.world, prefix)
    while reduction.next_run():
        if not fails(litmus, reduction.execution):
            reduction.close()
            return True
    return False


@dataclass(frozen=True, slots=True)
class Twin:
    """A schedule that passes.  first and second are the turns that it has in the other order."""

    turns: tuple[Made, ...]
    first: Made
    second: Made


def nearest_twin(litmus: Litmus, orders: Collection[str], schedule: Sequence[int]) -> Twin | None:
    """Turn each race of a failing schedule round, the last one first, until that is enough.

    Both then go on with whoever runs.  None if no single race decides.
    """
    case = LitmusCase(litmus, orders)
    execution, trace, _ = _run(case.world(), schedule)
    execution.close()
    tasks = [turn.task for turn in trace.turns]
    for second in range(len(tasks) - 1, -1, -1):
        for first in trace.races(second):
            moved = [tasks[place] for place in trace.not_after(first) if place < second]
            prefix = [*tasks[:first], *moved, tasks[second]]
            execution, other, _ = _run(case.world(), prefix)
            passes = not fails(litmus, execution)
            execution.close()
            if passes:
                turns = tuple(turn.made for turn in other.turns)
                return Twin(turns, trace.turns[first].made, trace.turns[second].made)
    return None


def crash_until(
    litmus: Litmus, orders: Collection[str], schedule: Sequence[int]
) -> tuple[Made, ...]:
    """The turns that follow, if the crash does not come, until none can do harm any more.

    Whoever runs goes on, as long as he can.  Empty if a crash at the very end still does harm.
    """
    case = LitmusCase(litmus, orders)
    execution, whole, _ = _run(case.world(), schedule)
    execution.close()
    crashes = Crashes(litmus, case.judge, case.world)
    last = len(schedule)
    for length in range(last, len(whole.turns) + 1):
        execution, trace = Execution(case.world()), Trace()
        for turn in whole.turns[:length]:
            footprint = Footprint(watches_lru=execution.scenario.watches_lru)
            trace.add(execution.turn(turn.task, footprint))
        if any(_harms(litmus, crash) for crash in crashes.at(execution, trace)):
            last = length
        execution.close()
    following = whole.turns[len(schedule) : last + 1] if last < len(whole.turns) else []
    return tuple([turn.made for turn in following])


def _harms(litmus: Litmus, crash: Crash) -> bool:
    return bool(crash.broken) or fulfils(litmus, crash)


def _run(scenario: Scenario, prefix: Sequence[int]) -> tuple[Execution, Trace, int]:
    """Run to the end: a prefix first, then whoever runs, as long as he can."""
    execution, trace = Execution(scenario), Trace()
    running = -1
    while enabled := execution.enabled():
        made = len(trace.turns)
        if made < len(prefix):
            running = prefix[made]
        elif running not in enabled:
            running = enabled[0]
        trace.add(execution.turn(running, Footprint(watches_lru=scenario.watches_lru)))
    return execution, trace, running


# -- shrinking ---------------------------------------------------------------------------


def shrunk(litmus: Litmus, orders: Collection[str]) -> Litmus:
    """The file without the tasks and operations that its failure does not need.

    What fails under an old order and not today does so still: else little would be left of it.
    """
    smaller = True
    while smaller:
        smaller = False
        for candidate in filter(_may_be_asked, _smaller(litmus)):
            if _has_failure(candidate, orders) and not (orders and _has_failure(candidate, ())):
                litmus, smaller = candidate, True
                break
    return litmus


def _may_be_asked(litmus: Litmus) -> bool:
    """Whether its question is still one: what is left may be shorter, or have another name."""
    try:
        parse(text(litmus), litmus.name)
    except LitmusError:
        return False
    return True


def _has_failure(litmus: Litmus, orders: Collection[str]) -> bool:
    case = LitmusCase(litmus, orders)
    crashes = Crashes(litmus, case.judge, case.world)
    reduction = Reduction(case.world)
    while reduction.next_run() and reduction.run_count <= SHRINK_RUNS_MAX:
        found = crashes.after(reduction.trace) if litmus.crash else ()
        if fails(litmus, reduction.execution) or any(_harms(litmus, each) for each in found):
            reduction.close()
            return True
    return False


def _smaller(litmus: Litmus) -> Iterator[Litmus]:
    """Files with one thing less, large ones first: nothing of it that the question is about."""
    asked = {atom.subject for atom in atoms(litmus.question.condition)}
    for task in litmus.tasks:
        others = tuple(each for each in litmus.tasks if each is not task)
        waited = any(each.word == "wait" and each.other == task.name for each in _all(others))
        if (
            others
            and not waited
            and not any(_is_asked(task, each, asked) for each in task.operations)
        ):
            yield replace(litmus, tasks=others)
    for at, task in enumerate(litmus.tasks):
        for operation in task.operations:
            left = tuple(each for each in task.operations if each is not operation)
            if not left or operation.handle or _is_asked(task, operation, asked):
                continue
            shorter = replace(task, operations=left)
            yield replace(litmus, tasks=(*litmus.tasks[:at], shorter, *litmus.tasks[at + 1 :]))


def _all(tasks: Sequence[TaskText]) -> Iterator[Operation]:
    for task in tasks:
        yield from task.operations


def _is_asked(task: TaskText, operation: Operation, asked: set[str]) -> bool:
    return f"{task.name}.{operation.result}" in asked
