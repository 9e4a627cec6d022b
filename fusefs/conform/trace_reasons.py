"""Differences of traces that are known and meant: what each is, and how far it goes.

    REASONS     each with a sentence; docs/limits.md and docs/evidence.md tell more
    Stop        where the model could not go on, in one task
    reasons     those that explain a rejection

Most look at what the kernel did just there and the model did not: the operation, the acts, and the
pages that they are about.  What the kernel did not do and the model does is explained by
FOLIO_AHEAD and EXTENTS, and by FOLIO where one is cut.  OVERTAKEN and FLUSHED come from outside of
the program, so they are about all of a run, and come last.

Units: as everywhere; page is bytes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from fusefs.conform import acts
from fusefs.conform.acts import Act, Unit
from fusefs.conform.agreement import Agreement
from fusefs.conform.kernel_acts import History
from fusefs.conform.kernel_events import MARK, KernelEvent
from fusefs.litmus.test import Litmus, Operation
from fusefs.model.geometry import SECTOR_SIZE

FOLIO: Final = "large folio"
FOLIO_AHEAD: Final = "folio ahead"
FILLED_AGAIN: Final = "filled again"
COPIED_PAGE: Final = "copied page"
APPEND: Final = "append"
EXTENTS: Final = "extents"
MAPPED_AGAIN: Final = "mapped again"
OVERTAKEN: Final = "overtaken"
FLUSHED: Final = "flushed"

REASONS: Final = {
    FOLIO: "several pages of the kernel are one folio: filled, written back and dropped as a whole",
    FOLIO_AHEAD: "a read that goes on elsewhere in the file meets a large folio ahead, whose pages"
    " readahead counts off by one; what it asks for is the same",
    FILLED_AGAIN: "a page was dropped between its fill and the look of who filled it, who then"
    " fills it again; the model uses it",
    COPIED_PAGE: "copy_file_range(2) goes through a pipe, and wants whole pages uptodate; the"
    " model what it copies",
    APPEND: "two direct appends exclude each other in the model, and share XFS's lock",
    EXTENTS: "written blocks are one extent where they lie side by side on the disk, which is not"
    " chosen alike; who writes a part of a block shares the lock only within one",
    MAPPED_AGAIN: "a write maps before it has the page, and again if the map has changed since; the"
    " model has the page first",
    OVERTAKEN: "somebody got a lock before another one who had asked for it earlier; the model"
    " hands it over in the order of asking",
    FLUSHED: "pages were written back by none of the tasks: by the flusher, or somebody's sync",
}

_AS_A_WHOLE: Final = frozenset((acts.DROP, acts.WB_WRITE, acts.FILL_MAP, acts.FILL_READ))
"""What is done to all of a folio."""

_CUTS: Final = ("truncate", "fpunch", "fzero")

_FILL: Final = frozenset((acts.ADD, acts.FILL_MAP, acts.FILL_READ))

_EXCLUSIVE: Final = {(acts.LOCK, "inode exclusive")}
_OVERWRITES: Final = {(acts.DIO_MAP, "mapped")}
_SUBMITS: Final = {(acts.DIO_WRITE, "")}

Folios = Mapping[tuple[int, int], range]
"""By a file's number, as acts have it, and a page of it: the pages of the folio."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the model could not go on, in one task.

    operation   that the kernel was in
    before      the task's operations before it
    name        of the kernel's group of acts
    left        of that group, what the model did not do
    refused     what the model did, and the kernel did not; None if it did nothing more
    folios      the large folios until then, by their pages
    """

    operation: Operation
    before: Sequence[Operation]
    name: str
    left: Counter[Unit]
    refused: Act | None
    folios: Folios


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
        if is_of_extents(stop, machine.block):
            yield EXTENTS
        if is_of_maps(stop) and has_mapped_again(inos, events):
            yield MAPPED_AGAIN
    if was_overtaken(inos, events):
        yield OVERTAKEN
    if was_flushed(inos, events):
        yield FLUSHED


def is_of_a_folio(stop: Stop, page: int, block: int) -> bool:
    """The kernel did more, and all of that to pages of large folios; or it did not cut one."""
    if _is_cut(stop, page):
        return True
    if stop.refused is not None and acts.group_name(stop.refused) == stop.name:
        return False
    kinds = _AS_A_WHOLE | ({acts.WRITE_MAP} if stop.operation.word == "mwrite" else set())
    return bool(stop.left) and all(
        unit.kind in kinds and (unit.ino, _page(unit, page, block)) in stop.folios
        for unit in stop.left
    )


def _is_cut(stop: Stop, page: int) -> bool:
    """The model drops a page of a folio that goes on beyond what is cut off, or out."""
    operation, refused = stop.operation, stop.refused
    if refused is None or refused.kind != acts.DROP or operation.word not in _CUTS:
        return False
    folio = stop.folios.get((refused.ino, refused.start // page), range(0))
    goes_on = operation.word != "truncate" and operation.pos + operation.length < folio.stop * page
    return bool(folio) and (folio.start * page < operation.pos or goes_on)


def is_ahead(stop: Stop, page: int, block: int) -> bool:
    """They differ in what is read ahead, where a read does not go on where the last one ended."""
    operation = stop.operation
    if operation.word != "pread" or "direct" in operation.flags or not stop.folios:
        return False
    of_file = [each for each in stop.before if each.file == operation.file]
    if of_file and of_file[-1].pos + of_file[-1].length == operation.pos:
        return False
    refused = [] if stop.refused is None else list(acts.units_of(stop.refused, page, block))
    if any(unit.kind not in _FILL | {acts.RETURN} for unit in (*stop.left, *refused)):
        return False
    differing = [unit for unit in stop.left if unit.kind == acts.ADD]
    differing += [unit for unit in refused if unit.kind != acts.RETURN]
    asked = range(operation.pos // page, -(-(operation.pos + operation.length) // page))
    return bool(differing) and all(_page(unit, page, block) not in asked for unit in differing)


def is_of_extents(stop: Stop, block: int) -> bool:
    """One of both takes the lock exclusive for a part of a block, and the other one need not."""
    operation, refused = stop.operation, stop.refused
    is_part = "direct" in operation.flags and (operation.pos | operation.length) % block
    if operation.word != "pwrite" or not is_part or refused is None or not stop.left:
        return False
    kernel = {(unit.kind, unit.state) for unit in stop.left}
    model = {(refused.kind, refused.state)}
    return any(
        one == _EXCLUSIVE and _OVERWRITES <= other <= _OVERWRITES | _SUBMITS
        for one, other in ((kernel, model), (model, kernel))
    )


def is_of_maps(stop: Stop) -> bool:
    """They differ in what a write through the cache has mapped, and in nothing else."""
    return bool(stop.left) and {unit.kind for unit in stop.left} == {acts.WRITE_MAP}


def has_mapped_again(inos: Sequence[int], events: Sequence[KernelEvent]) -> bool:
    """Somebody's write has mapped one place twice: the first time it was stale."""
    last: dict[int, tuple[str, int, int]] = {}
    for event in events:
        if event.name == MARK:
            last.pop(event.pid, None)
        elif event.name == "iomap_iter" and event.ino in inos:
            place = event.words["flags"], event.ino, event["pos"]
            if place[0] == "WRITE" and last.get(event.pid) == place:
                return True
            last[event.pid] = place
    return False


def was_overtaken(inos: Sequence[int], events: Sequence[KernelEvent]) -> bool:
    """Of two who asked for one file's lock, not both shared, the later one had it first.

    xfs_ilock tells of the asking; it was had before the next event of who asked.
    """
    asked: list[tuple[KernelEvent, int]] = []
    waiting: dict[int, KernelEvent] = {}
    for event in events:
        before = waiting.pop(event.pid, None)
        if before is not None:
            asked.append((before, event.time_us))
        is_asked = event.name == "xfs_ilock" and event.ino in inos
        if is_asked and "IOLOCK" in event.words["flags"]:
            waiting[event.pid] = event
    return any(
        one.ino == other.ino
        and "IOLOCK_EXCL" in one.words["flags"] + other.words["flags"]
        and one.time_us < other.time_us
        and had_by_other < had_by_one
        for (one, had_by_one), (other, had_by_other) in permutations(asked, 2)
    )


def was_flushed(inos: Sequence[int], events: Sequence[KernelEvent]) -> bool:
    """Somebody who has marked no operation has written back."""
    tasks = {event.pid for event in events if event.name == MARK}
    return any(
        event.name == "iomap_add_to_ioend" and event.ino in inos and event.pid not in tasks
        for event in events
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


def large_folios(inos: Sequence[int], events: Iterable[KernelEvent], page: int) -> Folios:
    """Those that came into the cache; of a page the last one."""
    files = {ino: number for number, ino in enumerate(inos, 1)}
    found: dict[tuple[int, int], range] = {}
    for event in events:
        if event.name == "mm_filemap_add_to_page_cache" and event.ino in files:
            first, count = event["ofs"] // page, 1 << event["order"]
            for index in range(first, first + count):
                found.pop((files[event.ino], index), None)
                if count > 1:
                    found[files[event.ino], index] = range(first, first + count)
    return found
