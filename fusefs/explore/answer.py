"""What a litmus file answers under some orders: every class run once, and what each ended with.

    ask()      the Answer to a file's question
    Answer     Never, Sometimes or Always; how often; the simplest witness
    Witness    one schedule, and what it does turn by turn

Never is a proof, within the file's tasks, sizes and blocks, if the answer is exhausted.

Errors: ValueError for what the model cannot run.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution, Made
from fusefs.explore.members import UNBOUNDED, Cost, count, simplest
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase, LitmusWorld
from fusefs.litmus.condition import holds
from fusefs.litmus.test import ALWAYS, FORALL, NEVER, SOMETIMES, Litmus, Outcome

DEADLOCK: Final = "deadlock"
"""The rule that is broken where all who are left wait for each other."""

RUNS_MAX: Final = 5_000_000

COUNTED_MAX: Final = 20_000
"""Classes whose schedules are counted one by one; the others are taken to be alike."""

Values = tuple[tuple[tuple[str, str], str], ...]
"""An Outcome as a key: what it says, sorted."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A schedule and where it led.  broken has the rules that it broke, each with a sentence."""

    schedule: tuple[int, ...]
    cost: Cost
    turns: tuple[Made, ...]
    outcome: Values
    broken: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Answer:
    """The answer under some orders, as far as it is known.

    histogram       classes by what they ended with
    positive        which of these fulfil the condition
    class_count     all of them, and run_count the runs that they took
    schedule_count  all schedules of all classes; is_counted is false if that is an estimate
    broken          classes that broke a rule, by the rule
    witness         the simplest schedule that fulfils an exists, does not fulfil a forall, or
                    breaks a rule
    exhausted       false if a bound was reached
    """

    orders: frozenset[str]
    histogram: dict[Values, int] = field(default_factory=dict)
    positive: set[Values] = field(default_factory=set)
    class_count: int = 0
    run_count: int = 0
    schedule_count: int = 0
    is_counted: bool = True
    turn_count: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    witness: Witness | None = None
    exhausted: bool = True

    @property
    def positive_count(self) -> int:
        """Classes that fulfil the condition."""
        return sum(self.histogram[values] for values in self.positive)

    @property
    def observation(self) -> str:
        """herd's word for how often the condition holds."""
        if not self.positive_count:
            return NEVER
        return ALWAYS if self.positive_count == self.class_count else SOMETIMES


def expected(litmus: Litmus, names: Collection[str]) -> str:
    """What a file expects under an era or an order of one of these names."""
    for name in names:
        if name in litmus.expected:
            return litmus.expected[name]
    return usual(litmus)


def usual(litmus: Litmus) -> str:
    """What is expected where a file does not say anything else."""
    return ALWAYS if litmus.question.quantifier == FORALL else NEVER


def is_as_expected(litmus: Litmus, answer: Answer, names: Collection[str]) -> bool:
    """Whether an answer is what the file says; where that is the usual one no rule is broken."""
    wanted = expected(litmus, names)
    may_break = set() if wanted == usual(litmus) else set(litmus.breaks)
    return answer.observation == wanted and answer.broken.keys() <= may_break


def ask(
    litmus: Litmus,
    orders: Collection[str],
    *,
    runs_max: int = RUNS_MAX,
    progress: Callable[[Reduction], None] | None = None,
) -> Answer:
    """Run every class of a file.  progress is told after each run."""
    case, answer = LitmusCase(litmus, orders), Answer(frozenset(orders))
    reduction = Reduction(case.world)
    counted = 0
    while reduction.next_run():
        if reduction.run_count > runs_max:
            answer.exhausted = False
            break
        answer.class_count += 1
        if answer.class_count <= COUNTED_MAX and (number := count(reduction.trace)):
            answer.schedule_count += number
            counted += 1
        _judge(litmus, answer, reduction)
        if progress is not None:
            progress(reduction)
    if 0 < counted < answer.class_count:
        answer.schedule_count = answer.schedule_count * answer.class_count // counted
    answer.is_counted = counted == answer.class_count
    answer.run_count = answer.class_count + reduction.blocked_count
    answer.turn_count = reduction.turn_count
    return answer


def _judge(litmus: Litmus, answer: Answer, reduction: Reduction) -> None:
    """Enter a run that has ended."""
    values, positive, broken = ended(litmus, reduction.execution)
    answer.histogram[values] = answer.histogram.get(values, 0) + 1
    if positive:
        answer.positive.add(values)
    for rule in {rule for rule, _ in broken}:
        answer.broken[rule] = answer.broken.get(rule, 0) + 1
    if not broken and positive == (litmus.question.quantifier == FORALL):
        return
    bound = answer.witness.cost if answer.witness is not None else UNBOUNDED
    found = simplest(reduction.trace, bound)
    if found is None:
        return
    cost, schedule = found
    if answer.witness is None or (cost, schedule) < (answer.witness.cost, answer.witness.schedule):
        turns = tuple(in_order(reduction.trace, schedule))
        answer.witness = Witness(schedule, cost, turns, values, tuple(broken))


def ended(litmus: Litmus, execution: Execution) -> tuple[Values, bool, list[tuple[str, str]]]:
    """What a run ended with, whether that fulfils the condition, and the rules that it broke."""
    if execution.is_stuck:
        return ((("", DEADLOCK), "yes"),), False, [(DEADLOCK, _stuck(litmus, execution))]
    world = execution.scenario
    assert isinstance(world, LitmusWorld)
    outcome: Outcome = world.outcome()
    values = tuple(sorted(outcome.items()))
    return values, holds(litmus.question.condition, outcome), list(world.violations())


def _stuck(litmus: Litmus, execution: Execution) -> str:
    """Who waits for what."""
    waiting = [
        f"{task_name(litmus, number)} at {execution.next_name(number)}"
        for number, task in enumerate(execution.tasks)
        if not task.returned
    ]
    return f"nobody can go on: {', '.join(waiting)}"


def task_name(litmus: Litmus, number: int) -> str:
    """The name of a task; of what tasks have started, the kernel's for who does such work."""
    count = len(litmus.tasks)
    return litmus.tasks[number].name if number < count else f"kworker{number - count + 1}"


def in_order(trace: Trace, schedule: Sequence[int]) -> list[Made]:
    """The turns of a class in the order of one of its schedules."""
    queues: dict[int, list[Made]] = {}
    for turn in trace.turns:
        queues.setdefault(turn.task, []).append(turn.made)
    turns = {task: iter(queue) for task, queue in queues.items()}
    return [next(turns[task]) for task in schedule]
