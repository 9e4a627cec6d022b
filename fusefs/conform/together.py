"""A program of several tasks in the kernel: is each outcome one that the model has, too?

    outcomes_seen      what runs of it ended with, by real processes
    Searched           which of these the model can end with, under some schedule
    but_for_the_cache  which it can end with but for what is cached

An outcome is each task's results, and of each file its size and, block by block, what is cached.
What lies on the disk is not asked for: a direct read would have to write pages back first.

Units: as everywhere.
Errors: TrialError, one line: what hangs, or could not be done.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase, LitmusWorld
from fusefs.litmus.reach import blocks_max
from fusefs.litmus.test import (
    CACHE,
    DISK,
    EXISTS,
    SIZE,
    And,
    Atom,
    Condition,
    Litmus,
    Outcome,
    Question,
)
from fusefs.trial.cast import started

TIMEOUT_S: Final = 20.0
"""For one run."""

CLASSES_MAX: Final = 3000
"""That are searched for the outcomes of one program."""

State = tuple[tuple[str, str, str], ...]
"""An outcome: kind, subject and value of all that is compared, sorted."""


def asking_all(litmus: Litmus, kinds: Collection[str] = (SIZE, CACHE)) -> Litmus:
    """The program with a question about each file, so that a trial looks at them."""
    found: Condition | None = None
    for file in litmus.machine.files:
        blocks = blocks_max(litmus, file.name)
        for kind in kinds:
            if kind == CACHE and not blocks:
                continue
            atom = Atom(kind, file.name, "0" if kind == SIZE else "-" * blocks)
            found = atom if found is None else And(found, atom)
    assert found is not None, "a program without a file"
    return replace(litmus, question=Question(EXISTS, found))


def outcomes_seen(litmus: Litmus, directory: Path, runs: int, seed: int) -> Counter[State]:
    """How often each was, in so many runs; empty if it cannot be tried there."""
    seen: Counter[State] = Counter()
    with started(litmus, directory, seed, TIMEOUT_S) as cast:
        if cast.reasons_to_skip():
            return seen
        cast.start_tasks()
        for run in range(1, runs + 1):
            seen[state_of(cast.run(run))] += 1
    return seen


def state_of(outcome: Outcome, like: Iterable[tuple[str, str]] | None = None) -> State:
    """All of it, or what is asked for by kind and subject."""
    keys = outcome if like is None else like
    return tuple(sorted((kind, subject, outcome[kind, subject]) for kind, subject in keys))


@dataclass(frozen=True, slots=True)
class Searched:
    """found are outcomes that the model has, too, and missing those that it has not.

    exhausted    all classes were run; if not, missing are not decided
    classes      how many were run, until nothing was missing
    """

    found: frozenset[State]
    missing: frozenset[State]
    exhausted: bool
    classes: int


def search(
    litmus: Litmus,
    seen: Collection[State],
    orders: Collection[str] = (),
    classes_max: int = CLASSES_MAX,
) -> Searched:
    """Run classes of the model's schedules until each outcome came up, or none is left."""
    missing = set(seen)
    like = {(kind, subject) for state in seen for kind, subject, _ in state}
    assert not any(kind == DISK for kind, _ in like)
    case = LitmusCase(litmus, orders)
    reduction = Reduction(case.world)
    exhausted = True
    while missing and reduction.next_run():
        scenario = reduction.execution.scenario
        assert isinstance(scenario, LitmusWorld)
        missing.discard(state_of(scenario.outcome(), like))
        if reduction.run_count >= classes_max:
            exhausted = False
            break
    reduction.close()
    found = frozenset(seen) - missing
    return Searched(found, frozenset(missing), exhausted, reduction.run_count)


def but_for_the_cache(
    litmus: Litmus, states: Collection[State], orders: Collection[str] = ()
) -> frozenset[State]:
    """Those whose results and sizes the model can end with, whatever is cached."""
    others = {state: tuple(each for each in state if each[0] != CACHE) for state in states}
    found = search(litmus, set(others.values()), orders).found
    return frozenset(state for state, other in others.items() if other in found)
