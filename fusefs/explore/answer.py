"""What a litmus file answers under some orders: every class run once, and what each ended with.

    ask()      the Answer to a file's question
    Answer     Never, Sometimes or Always; how often; the simplest witness
    Witness    one schedule, and what it does turn by turn

Of a file that says `crash`, what crashes leave is judged as well (crashes.py): by the rules, and by
the question if that is about what is found after one.  Its outcomes then are all that may be found.

Never is a proof, within the file's tasks, sizes and blocks, if the answer is exhausted.

Errors: ValueError for what the model cannot run.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from fusefs.explore.aftermath import Values
from fusefs.explore.crashes import Crash, Crashes
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


@dataclass(frozen=True, slots=True)
class Witness:
    """A schedule and where it led.  broken has the rules that it broke, each with a sentence.

    lost is None unless it ends in a crash: then the places of the turns whose writes to the disk
    are lost.
    """

    schedule: tuple[int, ...]
    cost: Cost
    turns: tuple[Made, ...]
    outcome: Values
    broken: tuple[tuple[str, str], ...]
    lost: tuple[int, ...] | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Smaller is simpler: of crashes, the shortest and that with the smallest loss."""
        if self.lost is None:
            return self.cost, self.schedule
        return len(self.schedule), len(self.lost), self.cost, self.schedule


@dataclass(slots=True)
class Answer:
    """The answer under some orders, as far as it is known.

    histogram       classes by what they ended with; or, of a question about crashes, in how many
                    classes a mount can find that
    positive        which of these fulfil the condition
    class_count     all of them, and run_count the runs that they took
    counted         classes whose schedules were counted, and the sum of these
    broken          classes that broke a rule, by the rule
    witness         the simplest schedule that fulfils an exists, does not fulfil a forall, or
                    breaks a rule; one without a crash, if there is one and the question is not
                    about crashes
    cut_count       moments at which runs were stopped by a crash
    exhausted       false if a bound was reached
    """

    orders: frozenset[str]
    histogram: dict[Values, int] = field(default_factory=dict)
    positive: set[Values] = field(default_factory=set)
    class_count: int = 0
    run_count: int = 0
    counted: tuple[int, int] = (0, 0)
    turn_count: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    witness: Witness | None = None
    cut_count: int = 0
    exhausted: bool = True

    @property
    def is_counted(self) -> bool:
        """Whether schedule_count is exact."""
        return self.counted[0] == self.class_count

    @property
    def schedule_count(self) -> int:
        """All schedules of all classes; an estimate if not all were counted."""
        number, schedules = self.counted
        return schedules * self.class_count // number if number else 0

    @property
    def outcome_count(self) -> int:
        """All in the histogram: classes, unless the question is about crashes."""
        return sum(self.histogram.values())

    @property
    def positive_count(self) -> int:
        """What of outcome_count fulfils the condition."""
        return sum(self.histogram[values] for values in self.positive)

    @property
    def observation(self) -> str:
        """herd's word for how often the condition holds."""
        if not self.positive_count:
            return NEVER
        return ALWAYS if self.positive_count == self.outcome_count else SOMETIMES


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
    """Whether an answer is what the file says; in today's order no rule is broken."""
    may_break = set(litmus.breaks) if answer.orders else set()
    return answer.observation == expected(litmus, names) and answer.broken.keys() <= may_break


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
    search(case, reduction, answer, runs_max=runs_max, progress=progress)
    answer.exhausted &= not reduction.ready()
    return answer


def search(
    case: LitmusCase,
    reduction: Reduction,
    answer: Answer,
    *,
    runs_max: int,
    counted_max: int = COUNTED_MAX,
    progress: Callable[[Reduction], None] | None = None,
) -> None:
    """Run so many classes at most, and enter them in an answer that is empty yet.

    What comes after a bound is left to be run.
    """
    litmus = case.litmus
    crashes = Crashes(litmus, case.judge, case.world) if litmus.crash else None
    while answer.class_count < runs_max and reduction.next_run():
        answer.class_count += 1
        if answer.class_count <= counted_max and (number := count(reduction.trace)):
            answer.counted = answer.counted[0] + 1, answer.counted[1] + number
        judge(litmus, answer, reduction, crashes)
        if progress is not None:
            progress(reduction)
    if crashes is not None:
        answer.cut_count = crashes.cut_count
        answer.exhausted = crashes.exhausted
    answer.run_count = answer.class_count + reduction.blocked_count
    answer.turn_count = reduction.turn_count


def add(litmus: Litmus, answer: Answer, part: Answer) -> None:
    """Enter an answer about other classes of the same search."""
    for values, number in part.histogram.items():
        answer.histogram[values] = answer.histogram.get(values, 0) + number
    for rule, number in part.broken.items():
        answer.broken[rule] = answer.broken.get(rule, 0) + number
    answer.positive |= part.positive
    answer.class_count += part.class_count
    answer.run_count += part.run_count
    answer.turn_count += part.turn_count
    answer.cut_count += part.cut_count
    answer.counted = answer.counted[0] + part.counted[0], answer.counted[1] + part.counted[1]
    answer.exhausted &= part.exhausted
    if part.witness is not None:
        _prefer(litmus, answer, part.witness)


def judge(litmus: Litmus, answer: Answer, reduction: Reduction, crashes: Crashes | None) -> None:
    """Enter a run that has ended, and what crashes could have left of it."""
    question, trace = litmus.question, reduction.trace
    values, positive, broken = ended(litmus, reduction.execution)
    rules = {rule for rule, _ in broken}
    if not question.after_crash:
        answer.histogram[values] = answer.histogram.get(values, 0) + 1
        if positive:
            answer.positive.add(values)
    if broken or positive != (question.quantifier == FORALL):
        bound, known = UNBOUNDED, answer.witness
        if known is not None and known.lost is None:
            bound = known.cost
        found = simplest(trace, bound)
        if found is not None:
            turns = tuple(in_order(trace, found[1]))
            _prefer(litmus, answer, Witness(found[1], found[0], turns, values, tuple(broken)))
    if crashes is not None:
        rules |= _judge_crashes(litmus, answer, trace, crashes)
    for rule in rules:
        answer.broken[rule] = answer.broken.get(rule, 0) + 1


def _judge_crashes(litmus: Litmus, answer: Answer, trace: Trace, crashes: Crashes) -> set[str]:
    """Enter what crashes could leave of a class; returns the rules that are broken."""
    question, rules = litmus.question, set[str]()
    found: dict[Values, None] = {}
    best: Crash | None = None
    for crash in crashes.after(trace):
        rules.update(rule for rule, _ in crash.broken)
        positive = fulfils(litmus, crash)
        if question.after_crash:
            found[crash.values] = None
        if positive:
            answer.positive.add(crash.values)
        if (positive or crash.broken) and (best is None or _size(crash) < _size(best)):
            best = crash
    for values in found:
        answer.histogram[values] = answer.histogram.get(values, 0) + 1
    known = answer.witness
    if best is None or (known is not None and known.lost is None and not question.after_crash):
        return rules
    if known is None or known.lost is None or _size(best) <= (len(known.turns), len(known.lost)):
        stop = crashes.stop(trace, best)
        turns = tuple(in_order(trace, stop.schedule))
        witness = Witness(stop.schedule, stop.cost, turns, best.values, best.broken, stop.lost)
        _prefer(litmus, answer, witness)
    return rules


def fulfils(litmus: Litmus, crash: Crash) -> bool:
    """Whether the question is about crashes, and what is found after this one fulfils it."""
    question = litmus.question
    return question.after_crash and holds(question.condition, dict(crash.values))


def _size(crash: Crash) -> tuple[int, int]:
    return len(crash.schedule), len(crash.lost)


def _prefer(litmus: Litmus, answer: Answer, witness: Witness) -> None:
    """Have a witness if it is simpler than the one that is known."""
    known = answer.witness
    if known is not None and (known.lost is None) != (witness.lost is None):
        if (witness.lost is not None) != litmus.question.after_crash:
            return
    elif known is not None and known.key <= witness.key:
        return
    answer.witness = witness


def ended(litmus: Litmus, execution: Execution) -> tuple[Values, bool, list[tuple[str, str]]]:
    """What a run ended with, whether that fulfils the condition, and the rules that it broke.

    A condition that is about crashes it does not fulfil.
    """
    if execution.is_stuck:
        return ((("", DEADLOCK), "yes"),), False, [(DEADLOCK, _stuck(litmus, execution))]
    world = execution.scenario
    assert isinstance(world, LitmusWorld)
    outcome: Outcome = world.outcome()
    values = tuple(sorted(outcome.items()))
    question = litmus.question
    positive = not question.after_crash and holds(question.condition, outcome)
    return values, positive, list(world.violations())


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
