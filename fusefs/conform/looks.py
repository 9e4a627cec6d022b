"""What programs end with, and leave between their operations, judged by the model.

    compare     everything below, on one disk
    alone       random programs of one task: results, sizes, maps and pages after each operation
    together    random programs of several tasks: results, sizes and cached blocks at the end
    files       litmus files, either way

What differs is done again: what then does not differ was disturbed from outside, as pages can be
taken from any file at any time, and is counted apart.

Units: as everywhere.
Errors: TrialError of processes; OSError of what is not an operation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fusefs.conform.comparing import compare as compared
from fusefs.conform.comparing import difference_text, with_results
from fusefs.conform.disk import Disk
from fusefs.conform.explained import REASONS
from fusefs.conform.observed import Difference
from fusefs.conform.on_kernel import run_on_kernel
from fusefs.conform.on_model import run_on_model
from fusefs.conform.programs import PAGE_SIZE, PAGES, program
from fusefs.conform.report import Asked, Section
from fusefs.conform.shrinking import shrunk
from fusefs.conform.together import (
    State,
    asking_all,
    but_for_the_cache,
    outcomes_seen,
    search,
)
from fusefs.litmus.reach import MOVES, operations
from fusefs.litmus.scale import scaled
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import setting

READAHEADS: Final = (0, 16 << 10, 128 << 10)
"""For programs in turn."""

WIDE: Final = 5
"""Of so many programs of one task one is done again with wider ranges and larger files."""

WIDE_PAGES: Final = 32

REPEATS: Final = 2
"""How often a program that differed is done again."""

RUNS: Final = 4
"""Of a program of several tasks, for each run of its traces: these take no time to judge."""

ORDERS: Final = {"ext4": ("unlocked_reads",)}
"""Those that a file system has to this day."""

APPENDS: Final = "direct appends: they exclude each other in the model, and share the lock of XFS"

CACHED: Final = "ext4 keeps other pages: results and sizes are some of the model's"

DISTURBED: Final = "disturbed: it differed once, and not when it was done again"


@dataclass(frozen=True, slots=True)
class Examined:
    """A program of one task on both; difference None if all is as it should be."""

    litmus: Litmus
    difference: Difference | None
    reasons: frozenset[str]


Examine = Callable[[Litmus], Examined]


def compare(disk: Disk, asked: Asked) -> Iterator[Section]:
    if asked.programs:
        yield alone(disk, asked)
        yield alone(disk, asked, wide=True)
        yield together(disk, asked)
    if asked.files:
        yield files(disk, asked)


def alone(disk: Disk, asked: Asked, *, wide: bool = False) -> Section:
    """A program of each seed, with a readahead of its own; wide: ranges of several pages."""
    section = Section(f"looks, one task{', wide' if wide else ''}")
    examine = examiner(disk)
    for seed in asked.seeds[: asked.programs // WIDE] if wide else asked.seeds:
        readahead, pages = READAHEADS[seed % len(READAHEADS)], WIDE_PAGES if wide else PAGES
        litmus = program(seed, block=disk.block_size, readahead=readahead, wide=wide, pages=pages)
        asked.told(litmus.name)
        _count_alone(section, litmus, examine)
    return section


def together(disk: Disk, asked: Asked) -> Section:
    """A program of each seed, of two or three tasks in turn; each so many times."""
    section = Section("outcomes, several tasks")
    for seed in asked.seeds_several:
        litmus = program(seed, block=disk.block_size, tasks=2 + seed % 2, operations=2)
        asked.told(litmus.name)
        _count_together(section, litmus, disk, asked)
    return section


def files(disk: Disk, asked: Asked) -> Section:
    """Litmus files, as large as the disk's pages ask for."""
    section = Section("looks, litmus files")
    examine = examiner(disk)
    for each in asked.files:
        large = scaled(each, max(PAGE_SIZE // each.machine.page, 1))
        if large.machine.block != disk.block_size:
            continue
        asked.told(each.name)
        reason = reason_to_skip(large)
        if reason:
            section.skipped[reason] += 1
        elif len(large.tasks) == 1:
            _count_alone(section, large, examine)
        else:
            _count_together(section, large, disk, asked)
    return section


def reason_to_skip(litmus: Litmus) -> str | None:
    """Why a litmus file is not compared; None if it can be."""
    if litmus.crash:
        return "no machine is stopped here"
    if litmus.machine.cache is not None:
        return "the page cache has no limit of its own here"
    if any(each.word in MOVES for each in operations(litmus.tasks)):
        return "names of files change"
    return None


# -- one task ----------------------------------------------------------------------------


def examiner(disk: Disk) -> Examine:
    """Whoever does the programs of one disk: each with bytes of its own, so that old ones show."""
    runs = iter(range(1, 1 << 40))

    def examine(litmus: Litmus) -> Examined:
        named = with_results(litmus)
        disk.set_readahead(named.machine.readahead)
        kernel = run_on_kernel(named, disk.path, next(runs))
        found = compared(named, kernel, run_on_model(named), disk.kind)
        return Examined(named, found.difference, found.reasons)

    return examine


def _count_alone(section: Section, litmus: Litmus, examine: Examine) -> None:
    section.programs += 1
    section.runs += 1
    found = examine(litmus)
    if found.difference is None:
        if found.reasons:
            section.explained[told_reasons(found.reasons)] += 1
        else:
            section.accepted += 1
        return
    if any(examine(litmus).difference is None for _ in range(REPEATS)):
        section.explained[DISTURBED] += 1
        return
    section.rejected += 1
    if not section.first:
        section.first = _first(litmus, found.difference.what, examine)


def _first(litmus: Litmus, what: str, examine: Examine) -> str:
    """The smallest program that differs in the same."""

    def fails(smaller: Litmus) -> bool:
        found = examine(smaller).difference
        return found is not None and found.what == what

    found = examine(shrunk(litmus, fails))
    assert found.difference is not None, "a program that differed does not"
    return difference_text(found.litmus, found.difference)


def told_reasons(reasons: frozenset[str]) -> str:
    """One line: the sentence of one reason, the names of several."""
    if len(reasons) > 1:
        return " and ".join(sorted(reasons))
    return "".join(f"{each}: {REASONS[each]}" for each in reasons)


# -- several tasks -----------------------------------------------------------------------


def _count_together(section: Section, litmus: Litmus, disk: Disk, asked: Asked) -> None:
    """Each run is accepted if the model can end as it did."""
    disk.set_readahead(litmus.machine.readahead)
    named = asking_all(with_results(litmus))
    seen = outcomes_seen(named, disk.path, asked.runs * RUNS, asked.seed)
    if not seen:
        section.skipped["not tried on this disk"] += 1
        return
    section.programs += 1
    section.runs += seen.total()
    orders = ORDERS.get(disk.kind, ())
    searched = search(named, seen, orders)
    section.accepted += sum(seen[state] for state in searched.found)
    explained = frozenset[State]()
    if disk.kind == "ext4" and searched.exhausted and searched.missing:
        explained = but_for_the_cache(named, searched.missing, orders)
    if explained:
        section.explained[CACHED] += sum(seen[state] for state in explained)
    missing = sum(seen[state] for state in searched.missing - explained)
    if missing and disk.kind == "xfs" and _appends_directly(litmus):
        section.explained[APPENDS] += missing
    elif not searched.exhausted:
        section.undecided += missing
    elif missing:
        section.rejected += missing
        possible = searched.found | explained
        told = [
            f"{seen[state]:6} {'model, too' if state in possible else 'not the model'}: "
            + " ".join(f"{f'{kind} {name}'.strip()}={value};" for kind, name, value in state)
            for state in sorted(seen)
        ]
        section.first = section.first or "\n".join([litmus.name, setting(named), *told])


def _appends_directly(litmus: Litmus) -> bool:
    """Two tasks do, which may then begin at the same place."""
    flags = frozenset(("append", "direct"))
    return sum(any(flags <= each.flags for each in task.operations) for task in litmus.tasks) > 1
