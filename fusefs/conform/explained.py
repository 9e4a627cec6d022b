"""Differences that are known and meant: what each is, and how far it goes.

    REASONS     each with a sentence; docs/limits.md and docs/evidence.md tell more
    History     of one file: where reasons go

A reason never touches results, sizes or bytes: only when pages are written back, and by that when
delayed blocks get a place.  Whatever it does not cover is still a difference.

Units: as in observed.py; page and block are bytes.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from fusefs.conform.observed import (
    ABSENT,
    CLEAN,
    DELALLOC,
    DIRTY,
    HOLE,
    UNWRITTEN,
    WRITTEN,
    FileLook,
)
from fusefs.litmus.test import Machine, Operation

CUT_PAGE: Final = "cut page"
FOLIO: Final = "large folio"
PREALLOCATED: Final = "preallocation"
EXT4_BEYOND: Final = "ext4 punches up to the end"
EXT4_LATER: Final = "ext4 writes back less"
EXT4_PAGES: Final = "ext4 keeps other pages"
EXT4_TREE: Final = "ext4 has extents in blocks"

REASONS: Final = {
    CUT_PAGE: "a page stays dirty in the kernel when the file is cut within it, although all that"
    " was dirty lay behind the cut; the model knows of each block whether it is dirty",
    FOLIO: "pages that came into the cache together may be one folio in the kernel: it is written"
    " back, dropped and dirty as a whole, of which the model has pages",
    PREALLOCATED: "XFS gives a file of 64 KiB or more that grows through the cache blocks behind"
    " its end, and takes back what is not used; the model gives none",
    EXT4_BEYOND: "ext4 leaves blocks behind the end of a file alone when they are punched",
    EXT4_LATER: "ext4 writes fewer pages back for fallocate and truncate than XFS, and delayed"
    " blocks of these get their places later",
    EXT4_PAGES: "ext4 zeroes a part of a block in the page that is cached, or caches it for that,"
    " and punches pages only where they are whole",
    EXT4_TREE: "more than four extents of a file take a block of their own, which st_blocks counts",
}

_LATER: Final = {
    (DELALLOC, WRITTEN),
    (UNWRITTEN, WRITTEN),
    (DELALLOC, UNWRITTEN),
}
"""What a block is in the kernel, and in the model that has written its page back already."""

_EITHER: Final = _LATER | {(model, kernel) for kernel, model in _LATER}


@dataclass(frozen=True, slots=True)
class Settled:
    """The model's look, and the reasons without which it would differ more."""

    look: FileLook
    reasons: frozenset[str]


class History:
    """What of a file's past decides how far the reasons go.

    kind     of the file system: xfs or ext4
    ends     the pages within which it has ended
    folios   the pages that may be parts of larger folios
    given    the blocks that the kernel alone had given the file, behind its end
    """

    def __init__(self, machine: Machine, kind: str) -> None:
        self._is_ext4 = kind == "ext4"
        self.ends: set[int] = set()
        self.folios: set[int] = set()
        self.given: set[int] = set()
        self._page = machine.page
        self._block = machine.block
        self._readahead = machine.readahead

    def note_size(self, size: int) -> None:
        if size % self._page:
            self.ends.add(size // self._page)

    def note_operation(self, operation: Operation, name: str, size: int) -> None:
        """One that is about to be made on a file of that name and size."""
        word, pos, length = operation.word, operation.pos, operation.length
        if "append" in operation.flags:
            pos = size
        if word == "copy_range" and operation.other == name:
            pos = operation.other_pos
        elif operation.file != name:
            return
        reads = word in ("pread", "mread", "copy_range") and operation.file == name
        if reads and self._readahead and "direct" not in operation.flags:
            self.folios.update(range((max(size, pos + length) + self._readahead) // self._page))
        elif word in ("pwrite", "copy_range"):
            pages = range(pos // self._page, -(-(pos + length) // self._page))
            self.folios.update(pages if len(pages) > 1 else ())

    def settle(self, kernel: FileLook, model: FileLook) -> Settled:
        """The model's look, with what reasons allow to be as it is in the kernel."""
        reasons: set[str] = set()
        settled = self._settle_given(kernel, model)
        if settled != model:
            reasons.add(EXT4_BEYOND if self._is_ext4 else PREALLOCATED)
            model = settled
        if self._is_ext4:
            return self._settle_ext4(kernel, model, reasons)
        per_page = self._page // self._block
        for reason, where, pages, blocks in (
            (CUT_PAGE, self.ends, {(DIRTY, CLEAN)}, frozenset[tuple[str, str]]()),
            (FOLIO, self.folios, _PAGES, _EITHER),
        ):
            settled = replace(
                model,
                pages=_settled(kernel.pages, model.pages, where, 1, pages, ABSENT),
                map=_settled(kernel.map, model.map, where, per_page, blocks, HOLE),
            )
            if settled != model:
                reasons.add(reason)
                model = settled
        return Settled(model, frozenset(reasons))

    def _settle_given(self, kernel: FileLook, model: FileLook) -> FileLook:
        """What XFS gives ahead is delayed or unwritten, and stays that when the file grows."""
        length = max(len(kernel.map), len(model.map))
        one, other = kernel.map.ljust(length, HOLE), list(model.map.ljust(length, HOLE))
        allocated = model.allocated
        for block in range(length):
            if one[block] not in (DELALLOC, UNWRITTEN) or one[block] == other[block]:
                continue
            if block * self._block >= kernel.size and other[block] == HOLE:
                self.given.add(block)
            if block in self.given and other[block] != WRITTEN:
                allocated += self._block * (other[block] == HOLE)
                other[block] = one[block]
        return replace(model, map="".join(other).rstrip(HOLE), allocated=allocated)

    def _settle_ext4(self, kernel: FileLook, model: FileLook, reasons: set[str]) -> Settled:
        """Which blocks a file has is the same; when they are written is its own."""
        everywhere = range(max(len(kernel.map), len(model.map)))
        settled = replace(model, map=_settled(kernel.map, model.map, everywhere, 1, _EITHER, HOLE))
        if settled.map != model.map:
            reasons.add(EXT4_LATER)
        if 0 < kernel.allocated - model.allocated <= self._block * TREE_BLOCKS_MAX:
            settled = replace(settled, allocated=kernel.allocated)
            reasons.add(EXT4_TREE)
        if kernel.pages != model.pages:
            settled = replace(settled, pages=kernel.pages)
            reasons.add(EXT4_PAGES)
        return Settled(settled, frozenset(reasons))


TREE_BLOCKS_MAX: Final = 1
"""Of as many extents as a program makes."""

_PAGES: Final = {(one, other) for one in "-cd" for other in "-cd" if one != other}


def _settled(
    kernel: str,
    model: str,
    where: Collection[int],
    per_page: int,
    allowed: Collection[tuple[str, str]],
    nothing: str,
) -> str:
    """A run of allowed differences becomes as the kernel has it, if it is on one of the pages.

    A run, as delayed blocks that lie side by side get their places together.
    """
    length = max(len(kernel), len(model))
    one, other = kernel.ljust(length, nothing), list(model.ljust(length, nothing))
    start = 0
    while start < length:
        end = start
        while end < length and (one[end], other[end]) in allowed:
            end += 1
        if any(each // per_page in where for each in range(start, end)):
            other[start:end] = one[start:end]
        start = end + 1
    return "".join(other).rstrip(nothing)
