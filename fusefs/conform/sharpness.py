"""How sharp the comparison is: which orders of the past the kernel's traces tell from today's.

    Sharp        of one order
    sharpness    of all orders, from runs of today's kernel that the model of today accepts

A comparison that accepts a wrong order as well says nothing about that order.  So each run is
judged once more, under each order by itself.  Programs of one task show what one request does;
races show the rest, and of those the file of the gallery that is about the order is run.

Units: as everywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fusefs.conform.agreement import ACCEPTED, REJECTED
from fusefs.conform.course import GALLERY
from fusefs.conform.disk import BLOCK_SIZES, disk
from fusefs.conform.playing import NotPlayed, Played, play_alone, play_together, reasons_to_skip
from fusefs.conform.programs import PAGE_SIZE, program
from fusefs.conform.report import Asked
from fusefs.conform.tracefs import traced
from fusefs.conform.traces import judge
from fusefs.litmus.parse import parse
from fusefs.litmus.scale import scaled
from fusefs.litmus.test import Litmus
from fusefs.model.orders import ROWS

ALONE_BLOCK: Final = 1024

RACES: Final = {
    "post_before_end": """
litmus windows
page 4k
block 1k
file f 4k unwritten

A:
    pwrite f 0 1k a direct
    pwrite f 1k 1k b direct
    pwrite f 2k 1k c direct
B:
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k

exists size f = 0
""",
    "aio_no_post": """
litmus async-windows
page 4k
block 1k
file f 4k unwritten

A:
    aio h = pwrite f 0 1k a direct
    reap h
    aio i = pwrite f 1k 1k b direct
    reap i
    aio j = pwrite f 2k 1k c direct
    reap j
B:
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k
    pread f 3k 1k

exists size f = 0
""",
}
"""For orders whose file is over too soon to meet its race: the same again and again."""

TURNS_MAX: Final = 20_000


@dataclass(slots=True)
class Sharp:
    """Of one order: how many runs it would be rejected for, of how many that were looked at.

    alone, together     rejections; of programs of one task, of the gallery's file
    why_not             of the gallery's file, if its trace cannot be compared
    shown_by            the shortest run that rejects it, if one does
    """

    order: str
    alone: int = 0
    alone_runs: int = 0
    together: int = 0
    together_runs: int = 0
    why_not: str = ""
    shown_by: Played | None = None

    def note(self, played: Played) -> None:
        if self.shown_by is None or len(played.lines) < len(self.shown_by.lines):
            self.shown_by = played


def sharpness(asked: Asked) -> dict[str, Sharp]:
    """By the orders' names, on XFS; asked.programs are the programs of one task."""
    found = {order: Sharp(order) for order in ROWS}
    _alone(found, asked)
    for block in BLOCK_SIZES:
        _together(found, block, asked)
    return found


def _alone(found: dict[str, Sharp], asked: Asked) -> None:
    with disk("xfs", ALONE_BLOCK) as made, traced(made.device) as trace:
        for seed in asked.seeds:
            litmus = program(seed, block=ALONE_BLOCK)
            if reasons_to_skip(litmus, ALONE_BLOCK, PAGE_SIZE):
                continue
            asked.told(litmus.name)
            played = play_alone(litmus, made, trace, seed + 1)
            if judge(played).verdict != ACCEPTED:
                continue
            for sharp in found.values():
                sharp.alone_runs += 1
                if judge(played, [sharp.order], TURNS_MAX).found.verdict == REJECTED:
                    sharp.alone += 1
                    sharp.note(played)


def _together(found: dict[str, Sharp], block: int, asked: Asked) -> None:
    with disk("xfs", block) as made, traced(made.device) as trace:
        for sharp, litmus in _of_gallery(found.values()):
            if litmus.machine.block != block:
                continue
            reasons = reasons_to_skip(litmus, block, PAGE_SIZE)
            if reasons:
                sharp.why_not = reasons[0]
                continue
            asked.told(litmus.name)
            try:
                for played in play_together(litmus, made, trace, asked.runs):
                    _judge_race(sharp, played)
            except NotPlayed as reason:
                sharp.why_not = str(reason)


def _judge_race(sharp: Sharp, played: Played) -> None:
    if judge(played).verdict != ACCEPTED:
        return
    sharp.together_runs += 1
    if judge(played, [sharp.order], TURNS_MAX).found.verdict == REJECTED:
        sharp.together += 1
        sharp.note(played)


def _of_gallery(sharps: Iterable[Sharp]) -> Iterator[tuple[Sharp, Litmus]]:
    """Each order's own file, as large as pages are."""
    for sharp in sharps:
        path = GALLERY / f"{sharp.order.replace('_', '-')}.litmus"
        litmus = parse(RACES.get(sharp.order) or path.read_text(), path.name)
        yield sharp, scaled(litmus, max(PAGE_SIZE // litmus.machine.page, 1))


def sharpness_text(found: dict[str, Sharp]) -> list[str]:
    """A table in the form of docs/evidence.md."""
    lines = ["| order | one task | its race | |", "| --- | --- | --- | --- |"]
    for order, sharp in found.items():
        alone = f"{sharp.alone} of {sharp.alone_runs}"
        together = f"{sharp.together} of {sharp.together_runs}" if sharp.together_runs else "-"
        implied = sorted(ROWS[order].implies)
        notes = [sharp.why_not] if sharp.why_not else []
        notes += [f"with {', '.join(f'`{each}`' for each in implied)}"] if implied else []
        lines.append(f"| `{order}` | {alone} | {together} | {'; '.join(notes)} |")
    count = sum(bool(sharp.alone or sharp.together) for sharp in found.values())
    return [*lines, "", f"{count} of {len(found)} orders are told from today's."]
