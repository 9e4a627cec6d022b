"""A litmus file on a directory of any file system: what real processes see there.

    histogram = on_directory(litmus, Path("/mnt"), runs=1000)
    print(histogram.text())
    sys.exit(histogram.exit_status)

A histogram is what was seen, and no more: `Never` in it is no proof.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fusefs.litmus.test import ALWAYS, FORALL, NEVER, Litmus
from fusefs.model.orders import TODAY
from fusefs.trial.cast import TrialError, started
from fusefs.trial.histogram import Histogram, State, has_foreign_bytes, state_of

__all__ = ["Histogram", "TrialError", "expected_of", "on_directory"]

RUNS = 1000
TIMEOUT_S = 10.0
"""For one run."""

SEED_MAX = 1 << 32


def expected_of(litmus: Litmus, era: str = TODAY) -> str:
    """NEVER, SOMETIMES or ALWAYS."""
    default = ALWAYS if litmus.question.quantifier == FORALL else NEVER
    return litmus.expected.get(era, default)


def on_directory(
    litmus: Litmus,
    directory: Path,
    runs: int = RUNS,
    seed: int | None = None,
    *,
    era: str = TODAY,
    timeout_s: float = TIMEOUT_S,
    told: Callable[[int], object] = lambda run: None,
) -> Histogram:
    """Try a litmus file: each run in files of its own, which are gone afterwards.

    seed is of the pauses between operations, a new one if none is given.  era is what the file's
    expectation is looked up for.  told is called with the number of each run that has ended.
    TrialError if a run takes longer than timeout_s, or the directory cannot be used.
    """
    seed = random.randrange(SEED_MAX) if seed is None else seed
    counts: Counter[State] = Counter()
    foreign = 0
    start = time.monotonic()
    with started(litmus, directory, seed, timeout_s) as cast:
        skipped = cast.reasons_to_skip()
        if not skipped:
            cast.start_tasks()
            for run in range(1, runs + 1):
                outcome = cast.run(run)
                counts[state_of(cast.litmus, outcome)] += 1
                foreign += has_foreign_bytes(outcome)
                told(run)
    return Histogram(
        cast.litmus,
        str(directory),
        seed,
        cast.factor,
        expected_of(litmus, era),
        counts,
        foreign,
        skipped,
        time.monotonic() - start,
    )
