"""Pages come into the cache and get their content: page_cache_ra_unbounded(), iomap_readahead().

A page is inserted locked before its range is mapped: an invalidation that comes later
waits for the lock and drops the page, so a fill cannot outlive it.

    fill_range     insert what is missing of a range, locked; fill each run of it
    fill_pages     map, read or zero, mark uptodate, unlock
    fill_block     the same for one block of a page that a write has locked

Units: pos and length are bytes in the file; first and end are pages, end exclusive.
Errors: FsError(EIO) from the image.
Invariants:
    (B2) a block that is uptodate is never filled again: it may be newer than the image;
    (B3) a page whose fill failed does not stay in the cache.
"""

from fusefs.model.chunk import MAPPED, State
from fusefs.model.filesystem import Filesystem
from fusefs.model.inode import Inode
from fusefs.model.page_cache import Page
from fusefs.model.steps import Buffer, load_map, reach, read_image

MappedRuns = list[tuple[int, int, int]]
"""Blocks of a file, end exclusive, and the block of the image where each run is."""


async def fill_range(
    fs: Filesystem, inode: Inode, first: int, end: int, marker: int | None
) -> None:
    """Fill the pages of a range that are not cached: page_cache_ra_unbounded()."""
    if first >= end:
        return
    page_size = fs.geometry.page_size
    locked = await lock_for_fill(fs, inode)
    try:
        pos, length = first * page_size, (end - first) * page_size
        runs_mapped: MappedRuns | None = None
        if fs.orders.map_before_insert:
            await load_map("buffered.read.map", inode, pos, length)
            runs_mapped = _mapped_runs(fs, inode, pos, length)
        await reach("buffered.read.page_lock", pos, length)
        run: list[Page] = []
        runs = [run]
        for index in range(first, end):
            if inode.mapping.find(index) is not None:
                runs.append(run := [])
                continue
            page = fs.cache.insert_locked(inode.mapping, index)
            page.readahead = index == marker
            run.append(page)
        try:
            while runs:
                if runs[0]:
                    await fill_pages(fs, inode, runs[0], runs_mapped)
                runs.pop(0)
        finally:
            for run in runs[1:]:
                _abandon(fs, run)
    finally:
        if locked:
            inode.mapping.lock.unlock_shared()


async def lock_for_fill(fs: Filesystem, inode: Inode) -> bool:
    """Keep truncate and punch out while pages are filled; false under punch_beside_fill."""
    if fs.orders.punch_beside_fill:
        return False
    if not inode.mapping.lock.try_lock_shared():
        await inode.mapping.lock.lock_shared()
    return True


async def fill_pages(
    fs: Filesystem, inode: Inode, pages: list[Page], runs_mapped: MappedRuns | None = None
) -> None:
    """Make adjacent locked pages uptodate from image or zeros, and unlock them.

    The map is looked at now that they are in the cache, or was before: runs_mapped.
    """
    geometry = fs.geometry
    page_size, block_size = geometry.page_size, geometry.block_size
    pos, length = pages[0].index * page_size, len(pages) * page_size
    try:
        if runs_mapped is None:
            await load_map("buffered.read.map", inode, pos, length)
            reads = _mapped_runs(fs, inode, pos, length)
        else:
            reads = _within(runs_mapped, *geometry.block_range(pos, length))
        content: Buffer = b""
        if not reads:
            await reach("buffered.read.fill", pos, length)
        for first, stop, physical in reads:
            start, size = first * block_size, (stop - first) * block_size
            data = await read_image("buffered.read.fill", physical * block_size, start, size)
            if size == length:
                content = data
            else:
                content = content or bytearray(length)
                memoryview(content)[start - pos : start - pos + size] = data
        if fs.orders.post_in_worker:  # the read ends where a write ends
            await fs.worker.lock_exclusive()
            fs.worker.unlock_exclusive()
        view = memoryview(content or bytes(length))
        for i, page in enumerate(pages):
            _fill_missing(fs, page, view[i * page_size : (i + 1) * page_size])
        fs.counters.pages_filled += len(pages)
    finally:
        for page in pages:
            if not page.blocks_uptodate and page.mapping is not None:
                fs.cache.remove(page)  # (B3)
            page.unlock()


async def fill_block(
    fs: Filesystem,
    inode: Inode,
    page: Page,
    block: int,
    name: str,
    states: dict[int, State] | None = None,
) -> None:
    """Have one block of a locked page uptodate.  The map of it must be in memory.

    states: what blocks were when somebody looked earlier, who goes by that.
    """
    size = fs.geometry.block_size
    offset = block * size % fs.geometry.page_size
    bit = 1 << offset // size
    page.note_change()
    if page.blocks_uptodate & bit:
        return
    mapping = inode.extents.find(block, block + 1)
    state = mapping.state if states is None else states[block]
    if state is MAPPED and block * size < inode.size:
        data = await read_image(name, mapping.physical * size, block * size, size)
    else:
        data = bytes(size)
    page.note_change()  # that was another turn
    page.data[offset : offset + size] = data
    page.blocks_uptodate |= bit


def _mapped_runs(fs: Filesystem, inode: Inode, pos: int, length: int) -> MappedRuns:
    """What of a range is read from the image.

    i_size is sampled with the map: a block at or beyond it is zeroed, whatever its state.
    """
    block, end = fs.geometry.block_range(pos, length)
    readable_end = min(end, -(-inode.size // fs.geometry.block_size))
    runs: MappedRuns = []
    for mapping in inode.extents.mappings(block, max(block, readable_end)):
        if mapping.state is MAPPED:
            first, stop, physical = runs[-1] if runs else (0, -1, 0)
            if stop == mapping.block and physical + stop - first == mapping.physical:
                runs[-1] = first, mapping.end, physical
            else:
                runs.append((mapping.block, mapping.end, mapping.physical))
    return runs


def _within(runs: MappedRuns, block: int, end: int) -> MappedRuns:
    """What of runs lies in a range of blocks."""
    return [
        (max(first, block), min(stop, end), physical + max(first, block) - first)
        for first, stop, physical in runs
        if first < end and block < stop
    ]


def _fill_missing(fs: Filesystem, page: Page, content: memoryview) -> None:
    """Copy content into the blocks that are not uptodate (B2)."""
    page.note_change()
    if not page.blocks_uptodate:
        page.data[:] = content
    else:
        missing = fs.geometry.page_mask & ~page.blocks_uptodate
        size = fs.geometry.block_size
        for block in range(fs.geometry.blocks_per_page):
            if missing >> block & 1:
                page.data[block * size : (block + 1) * size] = content[
                    block * size : (block + 1) * size
                ]
    page.blocks_uptodate = fs.geometry.page_mask


def _abandon(fs: Filesystem, pages: list[Page]) -> None:
    """Give up locked pages that will not be filled (B3)."""
    for page in pages:
        fs.cache.remove(page)
        page.unlock()
