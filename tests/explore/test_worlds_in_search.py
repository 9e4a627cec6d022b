"""What is shared by a world's own parts, names and endings, is in the footprints of a search."""

import pytest
from explore.playing import Play, case

from fusefs.explore.execution import Execution
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase, LitmusWorld
from fusefs.model.footprint import ENDED, NAME, Footprint, key

Ends = set[tuple[tuple[tuple[str, str], str], ...]]


def end_of(world: LitmusWorld) -> tuple[tuple[tuple[str, str], str], ...]:
    assert world.violations() == []
    return tuple(sorted(world.outcome().items()))


def by_reduction(made: LitmusCase) -> Ends:
    reduction = Reduction(made.world)
    ends = set()
    while reduction.next_run():
        ends.add(end_of(reduction.execution.scenario))
    assert reduction.blocked_count == 0
    return ends


def by_all_schedules(made: LitmusCase) -> Ends:
    """Depth first; each schedule is replayed from the beginning."""
    ends, schedule = set(), []
    while True:
        world = made.world()
        execution = Execution(world)
        choices = []
        while enabled := execution.enabled():
            place = len(choices)
            chosen = schedule[place] if place < len(schedule) else enabled[0]
            choices.append((enabled, chosen))
            execution.turn(chosen)
        ends.add(end_of(world))
        later = [
            (place, enabled[enabled.index(chosen) + 1])
            for place, (enabled, chosen) in enumerate(choices)
            if chosen != enabled[-1]
        ]
        if not later:
            return ends
        place, other = later[-1]
        schedule = [*(chosen for _, chosen in choices[:place]), other]


FILES = "file f 1k hole\nfile g 512 b\nfile h 300 z\n"


@pytest.mark.parametrize(
    ("tasks", "count"),
    [
        ("A:\n    r = unlink f\nB:\n    s = unlink f\n", 2),
        ("A:\n    r = unlink f\nB:\n    s = rename g f\n", 2),
        ("A:\n    r = rename f g\nB:\n    s = rename g f\n", 2),
        ("A:\n    pwrite f 0 512 a\nB:\n    wait A\n    r = pread f 0 512\n", 1),
        ("A:\n    pwrite f 0 512 a\nB:\n    r = pread f 0 512 direct\n", 2),
        ("A:\n    pwrite g end 512 c append\nB:\n    pwrite g end 512 d append\n", 2),
        (
            "A:\n    aio x = pwrite f 0 512 a direct\n    reap x\n"
            "B:\n    r = pread f 0 512 direct\n",
            2,
        ),
        ("A:\n    aio x = pwrite f 0 512 a direct\n    r = pread f 0 512 direct\n", 2),
        ("A:\n    pwrite h 0 512 a direct\nB:\n    r = pread h 0 512 direct\n", 2),
        ("A:\n    r = pread h 0 512 direct\nB:\n    pwrite h 0 512 a direct\n", 2),
    ],
)
def test_one_run_of_each_class_has_all_ends(tasks: str, count: int):
    made = case(FILES + tasks)
    ends = by_reduction(made)
    assert len(ends) == count
    assert ends == by_all_schedules(made)


def footprints(text: str) -> list[Footprint]:
    """Of all turns, the lowest task first."""
    played, found = Play(text), []
    while enabled := played.execution.enabled():
        found.append(Footprint())
        played.execution.turn(enabled[0], found[-1])
    return found


def test_end_of_a_task_is_what_a_wait_depends_on():
    first, *_ = footprints("file f 1k a\nA:\n    wait B\n    fsync f\nB:\n    fsync f\n")
    *_, last = footprints("file f 1k a\nA:\n    fsync f\n")
    ended = key(ENDED, 0, 2), key(ENDED, 0, 1)
    assert ended[0] in first.reads
    assert ended[1] in last.writes


def test_names_are_noted_only_where_they_can_change():
    plain = footprints("file f 1k a\nA:\n    fsync f\n")
    assert not any(key(NAME) in each.writes for each in plain)
    unlinked = footprints("file f 1k a\nA:\n    fsync f\nB:\n    unlink f\n")
    assert sum(key(NAME) in each.writes for each in unlinked) == 2  # A's close, and the unlink
