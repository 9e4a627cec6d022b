"""One run under a schedule, and all runs under every schedule.

A schedule is a list of task numbers: who goes next.  A task's first turn is its start, which
is a choice like any other: a lock that is taken before the first step would else always be
taken in the order of the tasks.  Each further turn grants its pending step, and runs it to the
next one.  Written as text, "0 0 1 0 2", a schedule replays a failure exactly; see replay().

The search is depth first and stateless: each run starts from a new world and replays the
choices that lead to the next branch.  What a pass means: within the scenario, its tasks
and its bound, no order of steps breaks the rule.  It says nothing of larger scenarios.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fusefs.explore.execution import START, Execution, Scenario
from fusefs.model.errors import FsError

SCHEDULES_MAX = 1_000_000


class Deadlock(Exception):
    """All tasks that are left wait for each other."""


@dataclass(slots=True)
class Run:
    """What happened under one schedule.

    choices has, for each turn, the tasks that could have gone and the one that did;
    ladder the step names as (task, name); failure what check() said.
    """

    choices: list[tuple[list[int], int]] = field(default_factory=list)
    ladder: list[tuple[int, str]] = field(default_factory=list)
    failure: str | None = None
    errors: dict[int, FsError] = field(default_factory=dict)

    @property
    def schedule(self) -> str:
        return " ".join(str(chosen) for _, chosen in self.choices)

    def __str__(self) -> str:
        """The schedule in one line, then the ladder, one column for each task."""
        rows = [f"schedule: {self.schedule}"]
        rows += ["    " * 8 * task + name for task, name in self.ladder]
        return "\n".join(rows + ([self.failure] if self.failure else []))


def run(scenario: Scenario, schedule: Sequence[int] = ()) -> Run:
    """Run a scenario under a schedule; where it ends, the lowest task goes first.

    Deadlock if nobody can go on; ValueError if the schedule names a task that cannot.
    """
    execution = Execution(scenario)
    result = Run()
    try:
        while enabled := execution.enabled():
            depth = len(result.choices)
            chosen = schedule[depth] if depth < len(schedule) else enabled[0]
            if chosen not in enabled:
                raise ValueError(f"task {chosen} cannot go at place {depth} of the schedule")
            result.choices.append((enabled, chosen))
            turn = execution.turn(chosen)
            if turn.name != START:
                result.ladder.append((chosen, turn.name))
        if execution.is_stuck:
            raise Deadlock(f"nobody can go on\n{result}")
    finally:
        execution.close()
    tasks = enumerate(execution.tasks)
    result.errors = {number: task.error for number, task in tasks if task.error is not None}
    result.failure = scenario.check()
    return result


@dataclass(slots=True)
class Search:
    """The outcome of a search: how many schedules, how many of them failed, the first that did.

    complete is false if SCHEDULES_MAX, or the caller's bound, ended it early.
    """

    schedule_count: int = 0
    failure_count: int = 0
    first_failure: Run | None = None
    complete: bool = True


def search(
    make: Callable[[], Scenario],
    *,
    schedules_max: int = SCHEDULES_MAX,
    stop_at_failure: bool = False,
) -> Search:
    """Run every schedule of a scenario, depth first."""
    found = Search()
    schedule: list[int] | None = []
    while schedule is not None:
        if found.schedule_count == schedules_max:
            found.complete = False
            break
        result = run(make(), schedule)
        found.schedule_count += 1
        if result.failure is not None:
            found.failure_count += 1
            found.first_failure = found.first_failure or result
            if stop_at_failure:
                found.complete = False
                break
        schedule = _next_schedule(result)
    return found


def _next_schedule(result: Run) -> list[int] | None:
    """The schedule that differs at the last place where another task could have gone."""
    chosen = [choice for _, choice in result.choices]
    for place in range(len(chosen) - 1, -1, -1):
        later = [task for task in result.choices[place][0] if task > chosen[place]]
        if later:
            return [*chosen[:place], later[0]]
    return None


def replay(make: Callable[[], Scenario], text: str) -> Run:
    """Run the schedule that a failure printed; ValueError if it is none."""
    words = text.split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"'{text[:80]}' is no schedule, such as \"0 0 1\": numbers of tasks")
    return run(make(), [int(word) for word in words])
