"""The cuts of a class: all that are closed, each once, and each can be run."""

from collections.abc import Iterator
from itertools import product

import pytest
from explore.playing import case

from fusefs.explore.cuts import Schedule, cuts, part, walk
from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution
from fusefs.explore.members import count, simplest
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase

TWO = """
    crash
    file f 1k z
    A:
        pwrite f 0 512 a direct
    B:
        pwrite f 512 512 b direct
    """

THREE = """
    crash
    file f 1k z*1 unwritten*1
    A:
        pwrite f 0 512 a direct
        fsync f
    B:
        pwrite f 512 512 b direct
    C:
        pwrite f 0 512 c direct dsync
    """

AIO = """
    crash
    file f 1k unwritten
    A:
        aio w = pwrite f 0 512 a direct dsync
        pwrite f 512 512 b direct
        reap w
    B:
        fsync f
    """

FILES = {"two": TWO, "three": THREE, "aio": AIO}


def traces(made: LitmusCase) -> Iterator[Trace]:
    """Of every class, one after the other."""
    reduction = Reduction(made.world)
    while reduction.next_run():
        yield reduction.trace


def device_turns(trace: Trace) -> list[int]:
    """The places where something was written to the disk, or committed."""
    names = ("dio.write.submit", "fsync.commit")
    return [place for place, turn in enumerate(trace.turns) if turn.name in names]


def lengths(schedule: Schedule) -> dict[int, int]:
    return {task: schedule.count(task) for task in schedule}


def made_in(trace: Trace, marks: list[int], schedule: Schedule) -> frozenset[int]:
    """Which of these turns a schedule of a cut has."""
    made = lengths(schedule)
    return frozenset(
        place for place in marks if trace.turns[place].index < made.get(trace.turns[place].task, 0)
    )


def closed_sets(trace: Trace, marks: list[int]) -> set[frozenset[int]]:
    """By trying all: what of these turns can have been made when a run stops."""
    tasks = sorted({turn.task for turn in trace.turns})
    totals = [sum(turn.task == task for turn in trace.turns) for task in tasks]
    found = set()
    for counts in product(*(range(total + 1) for total in totals)):
        made = dict(zip(tasks, counts, strict=True))
        inside = [p for p, turn in enumerate(trace.turns) if turn.index < made[turn.task]]
        outside = [p for p, turn in enumerate(trace.turns) if turn.index >= made[turn.task]]
        if not any(trace.is_before(one, other) for one in outside for other in inside):
            found.add(frozenset(inside) & frozenset(marks))
    return found


def test_two_independent_writes_make_four_cuts():
    """The beginnings of one schedule show three of them."""
    [trace] = traces(case(TWO))
    marks = device_turns(trace)
    found = [made_in(trace, marks, schedule) for schedule in cuts(trace, marks)]
    first, second = marks
    assert sorted(map(sorted, found)) == [[], [first], [first, second], [second]]
    schedule = tuple(turn.task for turn in trace.turns)
    shown = {made_in(trace, marks, schedule[:end]) for end in range(len(schedule) + 1)}
    assert len(shown) == 3


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_cuts_are_all_closed_sets_each_once(text: str):
    class_count = 0
    for trace in traces(case(text)):
        marks = device_turns(trace)
        found = [made_in(trace, marks, schedule) for schedule in cuts(trace, marks)]
        assert len(found) == len(set(found))
        assert set(found) == closed_sets(trace, marks)
        class_count += 1
    assert class_count


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_cut_is_the_smallest_with_its_turns(text: str):
    """Each turn of it is one of those, or comes before one."""
    for trace in traces(case(text)):
        marks = device_turns(trace)
        for schedule in cuts(trace, marks):
            made = lengths(schedule)
            chosen = made_in(trace, marks, schedule)
            for place, turn in enumerate(trace.turns):
                if turn.index < made.get(turn.task, 0):
                    assert place in chosen or any(trace.is_before(place, one) for one in chosen)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_each_cut_is_walked_to(text: str):
    """As if each schedule were run alone, although most go on with the one before."""
    made = case(text)
    turn_count = alone_count = 0
    for trace in traces(made):
        schedules = list(cuts(trace, device_turns(trace)))
        before: Execution | None = None
        last = 0
        for schedule, execution in walk(made.world, schedules):
            known = last if execution is before else 0
            turn_count += len(schedule) - known
            alone_count += len(schedule)
            alone = Execution(made.world())
            for task in schedule:
                alone.turn(task)
            assert execution.turn_count == alone.turn_count == len(schedule)
            states = [
                (each.world.disk.pending, each.world.disk.flushed, each.world.stored_files)
                for each in (execution, alone)
            ]
            assert states[0] == states[1]
            alone.close()
            before, last = execution, len(schedule)
    assert turn_count < alone_count


def test_without_marks_there_is_one_cut_in_which_nothing_was_done():
    [trace] = traces(case(TWO))
    assert list(cuts(trace, [])) == [()]


def test_a_part_of_a_class_has_schedules_of_its_own():
    [trace] = traces(case(TWO))
    schedules = sorted(cuts(trace, device_turns(trace)), key=len)
    both = part(trace, schedules[-1])
    assert sorted(turn.task for turn in both.turns) == sorted(schedules[-1])
    found = simplest(both)
    assert found is not None
    assert (found[0][1], count(both)) == (1, 20)  # one switch; 6 turns, 3 of each task
    assert count(part(trace, schedules[0])) == 1
