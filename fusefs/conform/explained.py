"""Differences that are known and meant: what each is, and how far it goes.

    REASONS     each with a sentence; docs/limits.md and docs/evidence.md tell more
    History     of one file: where reasons go

A reason never touches sizes or bytes, and of results only what a seek on ext4 tells: it is about
which pages are cached, when they are written back, and by that when delayed blocks get a place.
Whatever it does not cover is still a difference.

Units: as in observed.py; page and block are bytes.
"""

from collections.abc import Collection, Iterator
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
    trimmed,
)
from fusefs.litmus.test import Machine, Operation

COPIED: Final = "copied ahead"
CUT_PAGE: Final = "cut page"
FOLIO: Final = "large folio"
PREALLOCATED: Final = "preallocation"
EXT4_BEYOND: Final = "ext4 punches up to the end"
EXT4_LATER: Final = "ext4 writes back at other times"
EXT4_PAGES: Final = "ext4 keeps other pages"
EXT4_SEEK: Final = "ext4 seeks in other pages"
EXT4_TREE: Final = "ext4 has extents in blocks"

REASONS: Final = {
    COPIED: "copy_file_range(2) reads as much as a pipe holds at a time, and ahead of that; the"
    " model all of it at once",
    CUT_PAGE: "a page stays dirty in the kernel when the file is cut within it, although all that"
    " was dirty lay behind the cut; the model knows of each block whether it is dirty",
    FOLIO: "pages that came into the cache together may be one folio in the kernel: it is written"
    " back, dropped and dirty as a whole, of which the model has pages",
    PREALLOCATED: "XFS gives a file of 64 KiB or more that grows through the cache blocks behind"
    " its end, which get their places together with delayed ones before them, and takes back what"
    " is not used; the model gives none",
    EXT4_BEYOND: "what is punched beyond the end of a file on ext4 ends with the page of that end,"
    " wherever it is asked to end",
    EXT4_LATER: "ext4 writes fewer pages back for fallocate and truncate than XFS, so that delayed"
    " blocks of these get their places later; and a commit of its journal writes others",
    EXT4_PAGES: "ext4 zeroes the rest of a page in which a range or the file ends where that is"
    " cached, or caches it for that; XFS drops it, or zeroes what is on the disk of it",
    EXT4_SEEK: "of a preallocated block what is cached is data, and ext4 keeps other pages",
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
    edges    the pages within which ranges have ended, or the file may have
    folios   the pages that may be parts of larger folios, as they were written together
    ahead    those that readahead may have brought
    copied   those that readahead of a copy may have brought
    given    the blocks that the kernel alone had given the file, behind its end
    punched  those that ext4 alone has punched, in the page of the end
    settled  the pages that differed in the last look, and how the kernel had them
    keeps    whether ext4 has had other pages: a read that finds one reads nothing ahead
    """

    def __init__(self, machine: Machine, kind: str) -> None:
        self._is_ext4 = kind == "ext4"
        self.ends: set[int] = set()
        self.edges: set[int] = set()
        self.folios: set[int] = set()
        self.ahead: set[int] = set()
        self.copied: set[int] = set()
        self.given: set[int] = set()
        self.punched: set[int] = set()
        self.settled: dict[int, str] = {}
        self.keeps = False
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
        edges = {"truncate": (pos,), "fpunch": (pos, pos + length), "fzero": (pos, pos + length)}
        for edge in edges.get(word, (pos + length,)):
            self.edges.update({edge // self._page} if edge % self._page else ())
        if word == "fpunch" and pos < size < pos + length:
            first = max(-(-pos // self._block), (pos + length) // self._block)
            page_end = -(-size // self._page) * self._page
            self.punched.update(range(first, page_end // self._block))
        reads = word in ("pread", "mread", "copy_range") and operation.file == name
        if reads and self._readahead and "direct" not in operation.flags:
            pages = (max(size, operation.pos + length) + self._readahead) // self._page
            self.ahead.update(range(pages))
            if word == "copy_range":
                self.copied.update(range(operation.pos // self._page, pages))
        elif word in ("pwrite", "copy_range"):
            for folio in folios_of_write(pos, length, self._page):
                self.folios.update(folio if len(folio) > 1 else ())

    def settle(self, kernel: FileLook, model: FileLook) -> Settled:
        """The model's look, with what reasons allow to be as it is in the kernel."""
        settled = self._settle(kernel, model)
        pages = range(max(len(kernel.pages), len(model.pages)))
        differing = (page for page in pages if _state(kernel, page) != _state(model, page))
        self.settled = {page: _state(kernel, page) for page in differing}
        return settled

    def seeks(self, kernel: FileLook, operation: Operation) -> frozenset[str]:
        """What ext4's seek can tell of such a file: of unwritten blocks what is cached is data.

        Of those in one page each may be.
        """
        if not self._is_ext4 or operation.word not in ("seek_data", "seek_hole"):
            return frozenset()
        pos, found = operation.pos, set[str]()
        for block in range(pos // self._block, -(-kernel.size // self._block)):
            state = kernel.map[block : block + 1] or HOLE
            is_cached = _state(kernel, block * self._block // self._page) != ABSENT
            is_data = state in (WRITTEN, DELALLOC) or (state == UNWRITTEN and is_cached)
            may_be_either = state == UNWRITTEN and is_cached and self._block < self._page
            if is_data == (operation.word == "seek_data") or may_be_either:
                found.add(str(max(pos, block * self._block)))
                if not may_be_either:
                    return frozenset(found)
        return frozenset(found | {"ENXIO" if operation.word == "seek_data" else str(kernel.size)})

    def _settle(self, kernel: FileLook, model: FileLook) -> Settled:
        reasons: set[str] = set()
        settled = self._settle_given(kernel, model)
        if settled != model:
            reasons.add(EXT4_BEYOND if self._is_ext4 else PREALLOCATED)
            model = settled
        if self._is_ext4:
            return self._settle_ext4(kernel, model, reasons)
        per_page = self._page // self._block
        folios = self.folios | self._ahead(kernel)
        for reason, where, pages, blocks in (
            (CUT_PAGE, self.ends, {(DIRTY, CLEAN)}, frozenset[tuple[str, str]]()),
            (FOLIO, folios, _PAGES, _EITHER),
            (COPIED, self.copied, _CACHED, frozenset[tuple[str, str]]()),
        ):
            settled = replace(
                model,
                pages=_settled_pages(kernel.pages, model.pages, where, pages),
                map=_settled_map(kernel.map, model.map, where, per_page, blocks),
            )
            if settled != model:
                reasons.add(reason)
                model = settled
        return Settled(model, frozenset(reasons))

    def _ahead(self, kernel: FileLook) -> set[int]:
        """Pages of readahead that may be of a large folio, or were when they began to differ.

        Such a folio has with each page also the one with which that is a pair, so both look alike;
        but the last page of the file, which may have none.
        """
        end = -(-kernel.size // self._page)
        return {
            page
            for page in self.ahead
            if _state(kernel, page) in (_state(kernel, page ^ 1), self.settled.get(page))
            or page == end - 1 == page & ~1
        }

    def _settle_given(self, kernel: FileLook, model: FileLook) -> FileLook:
        """What XFS gives ahead is delayed or unwritten, and stays that when the file grows."""
        length = max(len(kernel.map), len(model.map))
        one, other = kernel.map.ljust(length, HOLE), list(model.map.ljust(length, HOLE))
        allocated = model.allocated
        for block in range(length):
            if self._is_ext4 and block in self.punched and one[block] == HOLE != other[block]:
                other[block] = HOLE
                allocated -= self._block
            if one[block] not in (DELALLOC, UNWRITTEN) or one[block] == other[block]:
                continue
            if block * self._block >= kernel.size and other[block] == HOLE:
                self.given.add(block)
            if block in self.given and other[block] != WRITTEN:
                allocated += self._block * (other[block] == HOLE)
                other[block] = one[block]
        for block in reversed(range(length - 1)):  # one extent gets its place as a whole
            if (one[block], other[block]) == (UNWRITTEN, DELALLOC) and block + 1 in self.given:
                self.given.add(block)
                other[block] = UNWRITTEN
        return replace(model, map="".join(other).rstrip(HOLE), allocated=allocated)

    def _settle_ext4(self, kernel: FileLook, model: FileLook, reasons: set[str]) -> Settled:
        """Which blocks a file has is the same; when they are written is its own."""
        everywhere = range(
            max(len(kernel.map), len(model.map), len(kernel.pages), len(model.pages))
        )
        settled = replace(model, map=_settled_map(kernel.map, model.map, everywhere, 1, _EITHER))
        if settled.map != model.map:
            reasons.add(EXT4_LATER)
        if 0 < kernel.allocated - model.allocated <= self._block * TREE_BLOCKS_MAX:
            settled = replace(settled, allocated=kernel.allocated)
            reasons.add(EXT4_TREE)
        for reason, where, pages in (
            (EXT4_LATER, everywhere, _WRITTEN_BACK),
            (EXT4_PAGES, self.ahead if self.keeps else (), _CACHED),
            (EXT4_PAGES, self.edges | self.ends, _PAGES),
            (FOLIO, self.folios | self._ahead(kernel), _PAGES),
            (COPIED, self.copied, _CACHED),
        ):
            found = _settled_pages(kernel.pages, settled.pages, where, pages)
            if found != settled.pages:
                settled = replace(settled, pages=found)
                reasons.add(reason)
        self.keeps |= EXT4_PAGES in reasons
        return Settled(settled, frozenset(reasons))


def _state(look: FileLook, page: int) -> str:
    """Of a page that may be behind the last one."""
    return look.pages[page : page + 1] or ABSENT


def folios_of_write(pos: int, length: int, page: int) -> Iterator[range]:
    """The pages of each folio of a write into an empty cache: iomap_get_folio().

    As large as what is left of the write, and as its place can be a multiple of that.
    """
    end = pos + length
    while pos < end:
        index, count = pos // page, 1
        while count * 2 * page <= end - pos and index % (count * 2) == 0:
            count *= 2
        yield range(index, index + count)
        pos = (index + count) * page


TREE_BLOCKS_MAX: Final = 1
"""Of as many extents as a program makes."""

_PAGES: Final = {(one, other) for one in "-cd" for other in "-cd" if one != other}


_CACHED: Final = {(ABSENT, CLEAN), (CLEAN, ABSENT)}

_WRITTEN_BACK: Final = {(DIRTY, CLEAN), (CLEAN, DIRTY)}


def _settled_pages(
    kernel: str, model: str, where: Collection[int], allowed: Collection[tuple[str, str]]
) -> str:
    """Each of some pages becomes as the kernel has it, if it may differ so."""
    length = max(len(kernel), len(model))
    one, other = kernel.ljust(length, ABSENT), list(model.ljust(length, ABSENT))
    for page in range(length):
        if page in where and (one[page], other[page]) in allowed:
            other[page] = one[page]
    return trimmed("".join(other), ABSENT)


def _settled_map(
    kernel: str,
    model: str,
    where: Collection[int],
    per_page: int,
    allowed: Collection[tuple[str, str]],
) -> str:
    """A run of allowed differences becomes as the kernel has it, if it is on one of the pages.

    A run, as delayed blocks that lie side by side get their places together.
    """
    length = max(len(kernel), len(model))
    one, other = kernel.ljust(length, HOLE), list(model.ljust(length, HOLE))
    start = 0
    while start < length:
        end = start
        while end < length and (one[end], other[end]) in allowed:
            end += 1
        if any(each // per_page in where for each in range(start, end)):
            other[start:end] = one[start:end]
        start = end + 1
    return trimmed("".join(other), HOLE)
