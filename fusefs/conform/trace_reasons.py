"""Differences of traces that are known and meant: what each is, and how far it goes.

    REASONS     each with a sentence; docs/limits.md and docs/evidence.md tell more
    Stop        where the model could not go on, in one task
    reasons     those that explain a rejection

A reason looks at what the kernel did just there and the model did not: the operation, the acts, and
the pages that they are about.  What the kernel did not do and the model does is explained by none
but FOLIO_AHEAD.

Units: as everywhere; page is bytes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fusefs.conform import acts
from fusefs.conform.acts import Act, Unit
from fusefs.conform.agreement import Agreement
from fusefs.conform.kernel_acts import History
from fusefs.conform.kernel_events import KernelEvent
from fusefs.litmus.test import Litmus, Operation
from fusefs.model.geometry import SECTOR_SIZE

FOLIO: Final = "large folio"
FOLIO_AHEAD: Final = "folio ahead"
FILLED_AGAIN: Final = "filled again"
COPIED_PAGE: Final = "copied page"
APPEND: Final = "append"

REASONS: Final = {
    FOLIO: "several pages of the kernel are one folio: filled, written back and dropped as a whole",
    FOLIO_AHEAD: "a read that goes on elsewhere in the file meets a large folio ahead, whose pages"
    " readahead counts off by one; what it asks for is the same",
    FILLED_AGAIN: "a page was dropped between its fill and the look of who filled it, who then"
    " fills it again; the model uses it",
    COPIED_PAGE: "copy_file_range(2) goes through a pipe, and wants whole pages uptodate; the"
    " model what it copies",
    APPEND: "two direct appends exclude each other in the model, and share XFS's lock",
}

_AS_A_WHOLE: Final = frozenset((acts.DROP, acts.WB_WRITE, acts.FILL_MAP, acts.FILL_READ))
"""What is done to all of a folio."""

_FILL: Final = frozenset((acts.ADD, acts.FILL_MAP, acts.FILL_READ))

Pages = frozenset[tuple[int, int]]
"""A file's number, as acts have it, and a page of it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the model could not go on, in one task.

    operation   that the kernel was in
    before      the task's operations before it
    name        of the kernel's group of acts
    left        of that group, what the model did not do
    refused     what the model did, and the kernel did not; None if it did nothing more
    folios      the pages that were parts of large folios until then
    """

    operation: Operation
    before: Sequence[Operation]
    name: str
    left: Counter[Unit]
    refused: Act | None
    folios: Pages


def reasons(
    litmus: Litmus,
    inos: Sequence[int],
    events: Sequence[KernelEvent],
    done: History,
    found: Agreement,
) -> Iterator[str]:
    """Those of REASONS that explain where the run of the model that came furthest ended."""
    machine = litmus.machine
    for stop in _stops(litmus, inos, events, done, found):
        if is_of_a_folio(stop, machine.page, machine.block):
            yield FOLIO
        if machine.readahead and is_ahead(stop, machine.page, machine.block):
            yield FOLIO_AHEAD
        if any(_comes_again(unit, count) for unit, count in stop.left.items()):
            yield FILLED_AGAIN
        if stop.operation.word == "copy_range":
            yield COPIED_PAGE
        if {"append", "direct"} <= stop.operation.flags:
            yield APPEND


def is_of_a_folio(stop: Stop, page: int, block: int) -> bool:
    """The kernel did more, and all of that to pages of large folios."""
    if stop.refused is not None and acts.group_name(stop.refused) == stop.name:
        return False
    kinds = _AS_A_WHOLE | ({acts.WRITE_MAP} if stop.operation.word == "mwrite" else set())
    return bool(stop.left) and all(
        unit.kind in kinds and (unit.ino, _page(unit, page, block)) in stop.folios
        for unit in stop.left
    )


def is_ahead(stop: Stop, page: int, block: int) -> bool:
    """They differ in what is read ahead, where a read does not go on where the last one ended."""
    operation = stop.operation
    if operation.word != "pread" or "direct" in operation.flags or not stop.folios:
        return False
    of_file = [each for each in stop.before if each.file == operation.file]
    if of_file and of_file[-1].pos + of_file[-1].length == operation.pos:
        return False
    refused = [] if stop.refused is None else list(acts.units_of(stop.refused, page, block))
    differing = [*stop.left, *refused]
    told = [unit for unit in differing if unit.kind != acts.RETURN]
    asked = range(operation.pos // page, -(-(operation.pos + operation.length) // page))
    return bool(told) and all(
        unit.kind in _FILL and _page(unit, page, block) not in asked for unit in told
    )


def _page(unit: Unit, page: int, block: int) -> int:
    """Where a part of an act is."""
    if unit.kind in acts.BY_PAGE:
        return unit.number
    size = block if unit.kind in acts.BY_BLOCK else SECTOR_SIZE
    return unit.number * size // page


def _comes_again(unit: Unit, count: int) -> bool:
    """A page came into the cache twice for one read."""
    return unit.kind == acts.ADD and (count > 1 or unit.state == acts.MAPPED_BEFORE)


def _stops(
    litmus: Litmus,
    inos: Sequence[int],
    events: Sequence[KernelEvent],
    done: History,
    found: Agreement,
) -> Iterator[Stop]:
    for number, groups in enumerate(done.tasks):
        stream = number, -1
        at = found.reached.get(stream, 0)
        if at == len(groups):
            continue
        begun = sum(group.name == acts.BEGIN for group in groups[: at + 1])
        operations = litmus.tasks[number].operations
        place = max(begun - 1, 0)
        until = (event for event in events if event.time_us <= groups[at].to_us)
        yield Stop(
            operations[place],
            operations[:place],
            groups[at].name,
            found.left.get(stream, groups[at].units),
            found.refused.get(stream),
            large_folios(inos, until, litmus.machine.page),
        )


def large_folios(inos: Sequence[int], events: Iterable[KernelEvent], page: int) -> Pages:
    """The pages that came into the cache as parts of folios of several."""
    files = {ino: number for number, ino in enumerate(inos, 1)}
    found = set[tuple[int, int]]()
    for event in events:
        if event.name != "mm_filemap_add_to_page_cache" or event.ino not in files:
            continue
        if event["order"]:
            first = event["ofs"] // page
            pages = range(first, first + (1 << event["order"]))
            found.update((files[event.ino], index) for index in pages)
    return frozenset(found)
