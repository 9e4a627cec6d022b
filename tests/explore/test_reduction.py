"""The reduced search: as many runs as there are classes, and what the plain search finds."""

import math
from collections.abc import Callable, Iterator

import pytest
from explore.programs import program
from explore.relations import relation

from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Coro, Execution, Scenario
from fusefs.explore.members import cost, count, simplest
from fusefs.explore.memory import World
from fusefs.explore.reduction import Reduction
from fusefs.explore.scenarios import OnePage
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.parse import parse
from fusefs.model.footprint import SECTOR, Footprint, key
from fusefs.model.options import Invalidate
from fusefs.model.orders import ROWS
from fusefs.model.steps import current, reach

BEFORE, AFTER = Invalidate.BEFORE, Invalidate.AFTER

SCENARIOS = [
    ("write0", "read1"),
    ("write0", "punch1", "read0"),
    ("store0", "write1", "read0"),
    ("write0", "cut", "read0"),
    ("store0", "read1", "dread0"),
    ("grow0", "dread0"),
]


class Words:
    """Tasks that read or write words, one a turn: "r0 w1" reads word 0, then writes word 1."""

    def __init__(self, *texts: str) -> None:
        self.world = World()
        self.texts = texts
        self.spawned: list[Coro] = []
        self.watches_lru = False

    def tasks(self) -> list[Coro]:
        return [self._task(text.split()) for text in self.texts]

    async def _task(self, words: list[str]) -> None:
        for word in words:
            await reach("seek.map", 0, 0)
            if current.footprint is not None:
                note = {"r": current.footprint.read, "w": current.footprint.write}
                note.get(word[0], current.footprint.add)(key(SECTOR, 0, int(word[1:])))

    def check(self) -> str | None:
        return None


def all_runs(make: Callable[[], Scenario]) -> Iterator[tuple[Execution, Trace]]:
    """Every schedule, without any reduction."""
    schedule: list[int] | None = []
    while schedule is not None:
        execution, trace = Execution(make()), Trace()
        watches_lru = execution.scenario.watches_lru
        choices: list[tuple[list[int], int]] = []
        while enabled := execution.enabled():
            chosen = schedule[len(choices)] if len(choices) < len(schedule) else enabled[0]
            choices.append((enabled, chosen))
            trace.add(execution.turn(chosen, Footprint(watches_lru=watches_lru)))
        execution.close()
        yield execution, trace
        schedule = None
        for place in range(len(choices) - 1, -1, -1):
            later = [task for task in choices[place][0] if task > choices[place][1]]
            if later:
                schedule = [*(chosen for _, chosen in choices[:place]), later[0]]
                break


def classes(make: Callable[[], Scenario]) -> tuple[Reduction, dict[object, str | None], int]:
    """What the reduced search runs: each class with its verdict, and all schedules of them."""
    reduction, found, schedules = Reduction(make), {}, 0
    while reduction.next_run():
        reached = relation(reduction.trace)
        assert reached not in found, "(R1) a class was run twice"
        found[reached] = reduction.execution.scenario.check()
        schedules += count(reduction.trace) or 0
    assert reduction.blocked_count == 0, "(R2) a run was blocked"
    return reduction, found, schedules


@pytest.mark.parametrize("order", [BEFORE, AFTER])
@pytest.mark.parametrize("names", SCENARIOS, ids=" ".join)
def test_classes_verdicts_and_schedules_are_those_of_the_plain_search(names, order):
    """(R1) (R2) (F1) One run a class; all schedules of a class have one verdict; none is missed."""
    _, found, schedules = classes(lambda: OnePage(names, order))
    plain: dict[object, set[str | None]] = {}
    runs = 0
    for execution, trace in all_runs(lambda: OnePage(names, order)):
        plain.setdefault(relation(trace), set()).add(execution.scenario.check())
        runs += 1
    assert {each: {verdict} for each, verdict in found.items()} == plain
    assert schedules == runs


@pytest.mark.parametrize(
    ("order", "failing", "runs"), [(BEFORE, 11340, 203184), (AFTER, 0, 383334)]
)
def test_two_writers_and_a_reader_without_running_all_their_orders(order, failing, runs):
    """The long test of tests/interleavings runs each of these; here a few hundred tell the same."""
    reduction, failed, schedules = (
        Reduction(lambda: OnePage(("write0", "write1", "read0"), order)),
        0,
        0,
    )
    while reduction.next_run():
        number = count(reduction.trace)
        assert number is not None
        schedules += number
        failed += number if reduction.execution.scenario.check() else 0
    assert (schedules, failed, reduction.blocked_count) == (runs, failing, 0)
    assert reduction.run_count < 600


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("text", "others", "expected"),
    [
        pytest.param("w0", None, math.factorial, id="writers of one word"),
        pytest.param("w{}", None, lambda n: 1, id="writers of a word each"),
        pytest.param("r0", "w0", lambda n: 2**n, id="readers and one writer of one word"),
        pytest.param("a0", None, lambda n: 1, id="who adds to one word"),
        pytest.param("a0", "r0", lambda n: 2**n, id="who adds to one word, and one reader"),
    ],
)
def test_textbook_counts(n, text, others, expected):
    texts = [text.format(i) for i in range(n)] + ([others] if others else [])
    reduction, _, _ = classes(lambda: Words(*texts))
    assert reduction.run_count == expected(n)


def test_two_turns_of_two_writers_of_one_word():
    """C(4, 2): each order of four turns is a class of its own."""
    assert classes(lambda: Words("w0 w0", "w0 w0"))[0].run_count == 6


def test_simplest_member_has_the_fewest_preemptions():
    """The bug needs one: the writer is stopped between its drop and its conversion."""
    best = None
    reduction = Reduction(lambda: OnePage(("write0", "read1"), BEFORE))
    while reduction.next_run():
        if reduction.execution.scenario.check() is not None:
            found = simplest(reduction.trace)
            assert found is not None
            assert cost(reduction.trace, found[1]) == found[0]
            best = min(best or found, found)
    assert best is not None
    assert best[0] == (1, 2)
    assert simplest(reduction.trace, (0, 0)) is None


TWO_SUBMITTERS = """
litmus two-submitters

page 512
block 512
file f 1k z

A:
    aio h = pwrite f 0 512 a direct
B:
    aio h = pwrite f 0 1k b direct

exists disk f = bb
"""


def test_what_several_tasks_start_is_told_apart_whoever_started_first():
    """(R1) (F1) Numbered in the order of their starts, two would be one another now and then."""
    case = LitmusCase(parse(TWO_SUBMITTERS, "two-submitters"))
    reduction, found, schedules = Reduction(case.world), {}, 0
    while reduction.next_run():
        found[relation(reduction.trace)] = reduction.execution.scenario.outcome()
        schedules += count(reduction.trace) or 0
    assert len(found) == reduction.run_count
    assert reduction.blocked_count == 0
    plain = {relation(trace): run.scenario.outcome() for run, trace in all_runs(case.world)}
    assert found == plain
    assert schedules == sum(1 for _ in all_runs(case.world))


def test_first_run_has_no_needless_switch():
    reduction = Reduction(lambda: OnePage(("write0", "read1", "store0"), AFTER))
    assert reduction.next_run()
    schedule = tuple(turn.task for turn in reduction.trace.turns)
    assert cost(reduction.trace, schedule)[0] == 0


def ends(execution: Execution) -> object:
    """All that is told of a run: the outcome, or that it is stuck, and each rule that it broke."""
    if execution.is_stuck:
        return "stuck"
    world = execution.scenario
    return tuple(sorted(world.outcome().items())), tuple(rule for rule, _ in world.violations())


@pytest.mark.parametrize(
    ("seed", "order"), [*((seed, "") for seed in range(0, 40, 4)), *((7, order) for order in ROWS)]
)
def test_random_files_end_as_in_the_plain_search(seed, order):
    """(R1) (F1) Each class is run, and each of its schedules ends alike, be it right or wrong."""
    case = LitmusCase(program(seed + len(order), operations=1 + seed % 2), [order] if order else [])
    reduction, found, schedules = Reduction(case.world), {}, 0
    while reduction.next_run():
        reached = relation(reduction.trace)
        assert reached not in found
        found[reached] = {ends(reduction.execution)}
        schedules += count(reduction.trace) or 0
    assert reduction.blocked_count == 0
    if schedules > 2500:
        return  # the plain search would take too long
    plain: dict[object, set[object]] = {}
    for execution, trace in all_runs(case.world):
        plain.setdefault(relation(trace), set()).add(ends(execution))
    assert found == plain
