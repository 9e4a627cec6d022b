"""Traces of the kernel, judged by the model.

    compare     everything below, on one disk
    judge       one run: accepted, rejected, explained or undecided
    alone       random programs of one task
    together    random programs of two and three tasks
    files       litmus files
    readahead   programs that read in patterns
    side_by_side    what the kernel did and what the model did, in two columns

A rejection is explained only by what trace_reasons.py names, where the model could not go on;
nothing that a program returns was seen to depend on it.

Units: as everywhere.
Errors: TrialError, LostEvents.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fusefs.conform import acts
from fusefs.conform.acts import Group, told
from fusefs.conform.agreement import (
    ACCEPTED,
    REJECTED,
    TURNS_MAX,
    UNDECIDED,
    Agreement,
    agreement,
    model_groups,
)
from fusefs.conform.disk import Disk
from fusefs.conform.kernel_acts import PAGES_ALONE, History, history
from fusefs.conform.kernel_events import parse_all
from fusefs.conform.model_acts import Stream
from fusefs.conform.playing import NotPlayed, Played, play_alone, play_together, reasons_to_skip
from fusefs.conform.programs import PAGE_SIZE, program
from fusefs.conform.report import Asked, Section
from fusefs.conform.trace_reasons import REASONS, reasons
from fusefs.conform.tracefs import Trace, traced
from fusefs.conform.windows import WINDOWS, patterns
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.scale import scaled
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import setting

EXPLAINED: Final = "explained"

ALL_KINDS: Final = frozenset(acts.KINDS)

DISTURBED: Final = "disturbed"
"""Pages can be taken from any file at any time."""

WIDE: Final = 5
"""Of so many programs of one task one is done again with wider ranges."""

READAHEAD_SEEDS_MAX: Final = 2

COLUMN: Final = 46
"""Characters of a column."""


@dataclass(frozen=True, slots=True)
class Judged:
    """verdict is one of agreement.py's, or EXPLAINED; then reason is of REASONS, or DISTURBED."""

    played: Played
    history: History
    found: Agreement
    verdict: str
    reason: str = ""


def judge(
    played: Played,
    orders: Sequence[str] = (),
    turns_max: int = TURNS_MAX,
    case: LitmusCase | None = None,
    kinds: frozenset[str] = ALL_KINDS,
) -> Judged:
    """A run, by the model under some orders.  case is theirs, if there is one already.

    kinds are those of acts that count: of ext4 PAGES_ALONE.
    """
    events = parse_all(played.lines)
    done = history(played.litmus, played.inos, events, kinds)
    found = agreement(case or LitmusCase(played.litmus, orders), done, turns_max)
    reason = ""
    if found.verdict == REJECTED:
        reason = next(reasons(played.litmus, played.inos, events, done, found), "")
    return Judged(played, done, found, EXPLAINED if reason else found.verdict, reason)


def compare(disk: Disk, asked: Asked) -> Iterator[Section]:
    """All of the above on one disk; of ext4 readahead alone, as its events tell of nothing else."""
    is_xfs = disk.kind == "xfs"
    with traced(disk.device, xfs=is_xfs) as trace:
        if is_xfs and asked.programs:
            yield alone(disk, trace, asked)
            yield alone(disk, trace, asked, wide=True)
            yield together(disk, trace, asked)
        if is_xfs and asked.files:
            yield files(disk, trace, asked)
        if asked.programs:
            yield readahead(disk, trace, asked)


# -- many --------------------------------------------------------------------------------


def alone(disk: Disk, trace: Trace, asked: Asked, *, wide: bool = False) -> Section:
    """A program of each seed, once; wide: over several pages, but fewer of those."""
    section = Section(f"traces, one task{', wide' if wide else ''}")
    for seed in asked.seeds[: -(-asked.programs // WIDE)] if wide else asked.seeds:
        litmus = program(seed, block=disk.block_size, wide=wide)
        asked.told(litmus.name)
        if _is_skipped(section, litmus, disk):
            continue
        section.programs += 1
        _count(section, _judged_alone(litmus, disk, trace, seed + 1, ALL_KINDS))
    return section


def _judged_alone(
    litmus: Litmus, disk: Disk, trace: Trace, run: int, kinds: frozenset[str]
) -> Judged:
    """A program of one task: what rejects it must do so again, or was from outside."""
    judged = judge(play_alone(litmus, disk, trace, run), kinds=kinds)
    if judged.verdict == REJECTED:
        again = judge(play_alone(litmus, disk, trace, run), kinds=kinds)
        if again.verdict == ACCEPTED:
            return replace(judged, verdict=EXPLAINED, reason=DISTURBED)
    return judged


def together(disk: Disk, trace: Trace, asked: Asked) -> Section:
    """A program of each seed, of two or three tasks in turn; each so many times."""
    section = Section("traces, several tasks")
    for seed in asked.seeds_several:
        litmus = program(seed, block=disk.block_size, tasks=2 + seed % 2, operations=3)
        asked.told(litmus.name)
        if not _is_skipped(section, litmus, disk):
            section.programs += 1
            _play(section, litmus, disk, trace, asked)
    return section


def files(disk: Disk, trace: Trace, asked: Asked) -> Section:
    """Litmus files, as large as the disk's pages ask for; each so many times."""
    section = Section("traces, litmus files")
    for each in asked.files:
        factor = max(PAGE_SIZE // each.machine.page, 1)
        large = scaled(each, factor)
        if large.machine.block != disk.block_size:
            continue
        asked.told(each.name)
        if not _is_skipped(section, large, disk):
            section.programs += 1
            _play(section, large, disk, trace, asked)
    return section


def readahead(disk: Disk, trace: Trace, asked: Asked) -> Section:
    """Programs that read in patterns, with each size of the window."""
    section = Section("readahead windows")
    kinds = ALL_KINDS if disk.kind == "xfs" else PAGES_ALONE
    for seed in asked.seeds_several[:READAHEAD_SEEDS_MAX]:
        for size in WINDOWS:
            for litmus in patterns(size, disk.block_size, seed):
                asked.told(litmus.name)
                section.programs += 1
                _count(section, _judged_alone(litmus, disk, trace, section.programs, kinds))
    return section


def _is_skipped(section: Section, litmus: Litmus, disk: Disk) -> bool:
    found = reasons_to_skip(litmus, disk.block_size, PAGE_SIZE)
    section.skipped.update(found[:1])
    return bool(found)


def _play(section: Section, litmus: Litmus, disk: Disk, trace: Trace, asked: Asked) -> None:
    case = LitmusCase(litmus)
    if len(litmus.tasks) == 1:
        _count(section, judge(play_alone(litmus, disk, trace, 1), case=case))
        return
    try:
        for played in play_together(litmus, disk, trace, asked.runs):
            _count(section, judge(played, case=case))
    except NotPlayed as reason:
        section.programs -= 1
        section.skipped[str(reason)] += 1


def _count(section: Section, judged: Judged) -> None:
    section.runs += 1
    section.events += judged.history.events
    if judged.verdict == ACCEPTED:
        section.accepted += 1
        section.steps += judged.found.steps
    elif judged.verdict == EXPLAINED:
        why = REASONS.get(judged.reason, "it was rejected once, and not when it was done again")
        section.explained[f"{judged.reason}: {why}"] += 1
    elif judged.verdict == UNDECIDED:
        section.undecided += 1
    else:
        section.rejected += 1
        section.first = section.first or "\n".join(side_by_side(judged))


# -- for people --------------------------------------------------------------------------


def side_by_side(judged: Judged) -> list[str]:
    """The program, and of each task what kernel and model did from the last request that agrees."""
    litmus = judged.played.litmus
    lines = [litmus.name, "", *setting(litmus).splitlines()]
    page, block = litmus.machine.page, litmus.machine.block
    by_model = dict(model_groups(judged.found, page, block))
    streams: list[tuple[Stream, list[Group]]] = [
        ((number, -1), groups) for number, groups in enumerate(judged.history.tasks)
    ]
    streams += sorted(judged.history.ends.items())
    for stream, groups in streams:
        kernel = [line for group in groups for line in told(group, page, block)]
        model = [line for group in by_model.get(stream, []) for line in told(group, page, block)]
        name = litmus.tasks[stream[0]].name
        end = f", the end of operation {stream[1] + 1}" if stream[1] >= 0 else ""
        lines += ["", f"{f'{name}{end}: kernel':{COLUMN}}  model", *_columns(kernel, model)]
    return lines


def _columns(kernel: Sequence[str], model: Sequence[str]) -> Iterator[str]:
    """Line by line; what differs has a mark."""
    for place in range(max(len(kernel), len(model))):
        one = kernel[place] if place < len(kernel) else ""
        other = model[place] if place < len(model) else ""
        mark = "  " if one == other else "! "
        yield f"{mark}{one[: COLUMN - 3]:{COLUMN - 2}}  {other[: COLUMN - 3]}".rstrip()
