"""One cached page against what map and image say.

HOLE and UNWRITTEN blocks are zeros, MAPPED ones what the image has.

A block is compared if it is uptodate, clean and below i_size; of the last one what is below.  What
is delayed has no place yet, and whoever asks leaves out what somebody is writing directly.  A page
that is locked, under writeback, or that could not be written back is not compared at all.

Units: pos, start, stop, size are bytes in the file; busy are such ranges.
Errors: none; of what cannot be read nothing is said.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from fusefs.model.chunk import DELALLOC, MAPPED
from fusefs.model.errors import FsError
from fusefs.model.geometry import Geometry
from fusefs.model.inode import Inode
from fusefs.model.page_cache import Page
from fusefs.model.steps import Buffer

SHOWN_BYTES = 16
"""Of what is cached and what is expected, from the first byte that differs."""

ReadAt = Callable[[int, int], Buffer]
"""Bytes of the image, by addr and length; FsError or OSError if they cannot be read."""


class Difference(NamedTuple):
    """The first run of blocks in a page that differ: start to stop; pos is the first byte.

    got and expected are the bytes from pos on, as the page has them and as they should be.
    """

    start: int
    stop: int
    pos: int
    got: bytes
    expected: bytes


class Comparison(NamedTuple):
    """is_whole: all of the page was compared, so it need not be again until something changes."""

    is_whole: bool
    difference: Difference | None


NOTHING = Comparison(is_whole=False, difference=None)


def is_comparable(page: Page) -> bool:
    """Nobody is about to fill, change or write it, and no write of it has failed."""
    return not (page.locked or page.writeback or page.error or page.mapping is None)


def compare(
    page: Page,
    inode: Inode,
    geometry: Geometry,
    read_at: ReadAt,
    busy: Iterable[tuple[int, int]] = (),
) -> Comparison:
    """Of a page that is_comparable()."""
    base = page.index * geometry.page_size
    length = min(geometry.page_size, inode.size - base)
    if length <= 0:
        return NOTHING
    clean = page.blocks_uptodate & ~page.blocks_dirty
    is_whole = clean == geometry.page_mask
    for start, stop in busy:
        low, high = max(start - base, 0), min(stop - base, geometry.page_size)
        if low < high:
            is_whole = False
            clean &= ~geometry.block_bits(low, high)
    if not clean:
        return NOTHING
    try:
        expected, delayed = _expected(inode, geometry, read_at, base, length)
    except (FsError, OSError):
        return NOTHING
    if delayed:
        is_whole = False
        clean &= ~delayed
    # Two memoryviews are compared byte by byte, which takes 19 times as long.
    if is_whole and bytearray(memoryview(page.data)[:length]) == expected:
        return Comparison(is_whole, None)
    return Comparison(is_whole, _first_difference(page, geometry, clean, base, expected))


def _expected(
    inode: Inode, geometry: Geometry, read_at: ReadAt, base: int, length: int
) -> tuple[Buffer, int]:
    """The bytes from base on as they should be, and which blocks are delayed, as a bitmap."""
    size, delayed = geometry.block_size, 0
    block, end = geometry.block_range(base, length)
    expected: bytearray | None = None
    for mapping in inode.extents.mappings(block, end):
        start = (mapping.block - block) * size
        if mapping.state is MAPPED:
            run = min(mapping.count * size, length - start)
            data = read_at(mapping.physical * size, mapping.count * size)
            if run == length:
                return memoryview(data)[:length], 0
            expected = expected if expected is not None else bytearray(length)
            expected[start : start + run] = memoryview(data)[:run]
        elif mapping.state is DELALLOC:
            delayed |= geometry.block_bits(start, start + mapping.count * size)
    return expected if expected is not None else bytes(length), delayed


def _first_difference(
    page: Page, geometry: Geometry, clean: int, base: int, expected: Buffer
) -> Difference | None:
    """Among the clean blocks."""
    size, length, found = geometry.block_size, len(expected), bytes(memoryview(page.data))
    first = last = -1
    for bit in range(-(-length // size)):
        start, stop = bit * size, min((bit + 1) * size, length)
        differs = clean >> bit & 1 and found[start:stop] != expected[start:stop]
        if differs and first in (-1, bit - (last - first) - 1):
            first, last = (bit if first < 0 else first), bit
        elif first >= 0:
            break
    if first < 0:
        return None
    start, stop = first * size, min((last + 1) * size, length)
    pos = next(at for at in range(start, stop) if found[at] != expected[at])
    shown = min(pos + SHOWN_BYTES, stop)
    return Difference(
        base + start,
        base + stop,
        base + pos,
        found[pos:shown],
        bytes(expected[pos:shown]),
    )
