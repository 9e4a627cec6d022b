"""Buffered reads and writes: filemap_read() and iomap_file_buffered_write() of Linux.

Read downwards.

    buffered_read   shared lock; find or fill each page; copy what is uptodate
    read_ahead      which pages to fill; fill.py does it
    buffered_write  exclusive lock; lock pages, reserve room, fill the edges, copy
    zero_in_block   zero part of one block through the cache

Units: pos, length, end are bytes in the file.
Errors: FsError(EIO) from the image; FsError(ENOSPC) if a write finds no room at all.
What was read or written before an error counts, and the error is not told.
Invariants:
    (B1) i_size is read again after a page is uptodate; nothing beyond it is returned.
"""

import contextlib

from fusefs.model.chunk import DELALLOC, HOLE, UNWRITTEN, State
from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.fill import fill_block, fill_pages, fill_range, lock_for_fill
from fusefs.model.inode import Append, Inode, OpenFile
from fusefs.model.iomap import begin_buffered, free_blocks
from fusefs.model.page_cache import Page
from fusefs.model.readahead import plan_marked, plan_missing
from fusefs.model.steps import Buffer, Piece, load_map, reach
from fusefs.model.writeback import write_and_wait_range

WRITE_PAGES_MAX = 256
"""Pages that a buffered write holds locked at a time.  Linux holds one, which only those can tell
who read without inode.lock."""


async def buffered_read(fs: Filesystem, file: OpenFile, pos: int, length: int) -> list[Piece]:
    """Up to length bytes from pos on, in pieces; fewer at the end of the file.

    A piece may be the cached page itself: use it before the next step.  Whoever stores through a
    mapping takes no inode.lock, so what was found before a fill is copied before that.
    """
    inode, page_size, page_mask = file.inode, fs.geometry.page_size, fs.geometry.page_mask
    mapping, unlocked = inode.mapping, fs.orders.unlocked_reads
    pieces: list[Piece] = []
    end, copied = pos + length, 0
    fs.counters.buffered_reads += 1
    if not unlocked and not inode.lock.try_lock_shared():
        await inode.lock.lock_shared()
    try:
        while pos < end and pos < inode.size:
            index, offset = divmod(pos, page_size)
            page = mapping.find(index)
            if page is not None and page.blocks_uptodate == page_mask and not page.readahead:
                fs.cache.touch(page)
            else:
                stop = min(offset + end - pos, page_size)
                blocks = fs.geometry.block_bits(offset, stop)
                for at in range(copied, len(pieces)):
                    pieces[at] = bytes(pieces[at])
                copied = len(pieces)
                try:
                    page = await _get_page(fs, file, index, -(-end // page_size) - index, blocks)
                except FsError:
                    if pieces:
                        break
                    raise
            stop = min(end, inode.size) - index * page_size  # (B1)
            if stop <= offset:
                break
            whole = not offset and stop >= page_size
            piece = page.data if whole else memoryview(page.data)[offset:stop]
            pieces.append(bytes(piece) if unlocked else piece)
            pos = min(index * page_size + stop, (index + 1) * page_size)
        if pieces:
            file.readahead.previous = pos // page_size
        return pieces
    finally:
        if not unlocked:
            inode.lock.unlock_shared()


async def _get_page(fs: Filesystem, file: OpenFile, index: int, count: int, blocks: int) -> Page:
    """A page with blocks uptodate, the first of count that are read: filemap_get_pages().

    A page that was uptodate when it was found is used, even if it has been dropped since:
    else a cache smaller than a readahead window would keep a reader busy for ever.
    """
    inode = file.inode
    while True:
        page = inode.mapping.find(index)
        if page is None:
            fs.counters.pages_missed += 1
            with contextlib.suppress(FsError):  # of other pages; this one is tried again
                await read_ahead(fs, file, index, count)
            if inode.mapping.find(index) is None:
                await fill_range(fs, inode, index, index + 1, None)
            continue
        if page.readahead:
            page.note_change()
            page.readahead = False
            with contextlib.suppress(FsError):
                await _read_ahead_marked(fs, file, index, count)
            page.note_change()  # what it holds by now is what is read
        if await make_uptodate(fs, inode, page, blocks):
            if page.mapping is not None:
                fs.cache.touch(page)
            return page


async def make_uptodate(fs: Filesystem, inode: Inode, page: Page, blocks: int) -> bool:
    """Have blocks of a cached page uptodate; false if the page went away meanwhile."""
    if page.blocks_uptodate & blocks == blocks:
        return True
    locked = await lock_for_fill(fs, inode)
    try:
        await page.lock()
        if page.mapping is None or page.blocks_uptodate & blocks == blocks:
            page.unlock()
        else:
            await fill_pages(fs, inode, [page])
    finally:
        if locked:
            inode.mapping.lock.unlock_shared()
    return page.mapping is not None


async def read_ahead(fs: Filesystem, file: OpenFile, index: int, count: int) -> None:
    """Page index is missing: fill it, and the window that readahead chooses around it."""
    inode = file.inode
    page_end = -(-inode.size // fs.geometry.page_size)
    window_max = fs.options.readahead // fs.geometry.page_size
    window = plan_missing(file.readahead, inode.mapping, index, count, window_max, page_end)
    await fill_range(fs, inode, window.start, window.end, window.marker)


async def _read_ahead_marked(fs: Filesystem, file: OpenFile, index: int, count: int) -> None:
    inode = file.inode
    page_end = -(-inode.size // fs.geometry.page_size)
    window_max = fs.options.readahead // fs.geometry.page_size
    window = plan_marked(
        *(file.readahead, inode.mapping, index, count, window_max, page_end),
        order_max=fs.folio_order_max,
    )
    if window is not None:
        await fill_range(fs, inode, window.start, window.end, window.marker)


async def buffered_write(
    fs: Filesystem,
    inode: Inode,
    pos: int,
    data: Buffer,
    append: Append | None = None,
    *,
    instead_of_direct: bool = False,
) -> int:
    """Write through the cache; returns the bytes accepted.

    They are dirty, and have room on the image.  FsError(ENOSPC) if the first has none.
    instead_of_direct: for a direct write that cannot be one.  Others under way meet its dirty pages
    when they end, and the next fsync fails; file systems that fall back over holes wait for them.
    """
    fs.counters.buffered_writes += 1
    if not inode.lock.try_lock_exclusive():
        await inode.lock.lock_exclusive()
    try:
        if append is not None:
            pos = append.pos = inode.size
        orders = fs.orders
        drains = instead_of_direct and orders.holes_by_cache and not orders.fallback_undrained
        if (drains or pos > inode.size) and inode.dio_under_way:
            await inode.dio_wait()
        if pos > inode.size:
            await zero_before_write(fs, inode, pos)
        view = memoryview(data)
        written = 0
        pages_max = 1 if fs.orders.unlocked_reads else WRITE_PAGES_MAX
        while written < len(view):
            page_start = (pos + written) % fs.geometry.page_size
            length = min(len(view) - written, pages_max * fs.geometry.page_size - page_start)
            try:
                count = await write_pages(
                    fs, inode, pos + written, view[written : written + length]
                )
            except FsError:
                if written:
                    break
                raise
            written += count
            if count < length:
                break
        return written
    finally:
        inode.lock.unlock_exclusive()


async def write_pages(fs: Filesystem, inode: Inode, pos: int, data: memoryview) -> int:
    """One batch of a buffered write: all its pages are locked while it runs."""
    geometry = fs.geometry
    page_size = geometry.page_size
    length, edges = len(data), None
    if fs.orders.stale_iomap_in_write:
        length = await begin_buffered(fs, inode, pos, length)
        edges = _states_of_edges(fs, inode, pos, pos + length)
    await reach("buffered.write.page_lock", pos, len(data))
    first, end = geometry.page_range(pos, len(data))
    pages: list[Page] = []
    try:
        for index in range(first, end):
            page = inode.mapping.find(index)
            if page is not None and page.try_lock():
                fs.cache.touch(page)
            else:
                page = await _lock_or_insert(fs, inode, index)
            pages.append(page)
        if edges is None:
            length = await begin_buffered(fs, inode, pos, length)
        try:
            for block, page in _missing_edges(fs, pages, pos, pos + length).items():
                await fill_block(fs, inode, page, block, "buffered.write.fill", edges)
        except FsError:
            _release_unused(fs, inode, pages, pos, pos + length)
            raise
        await reach("buffered.write.copy", pos, length)
        at = 0
        for page in pages[: -(-(pos + length) // page_size) - first]:
            start = (pos + at) % page_size
            stop = min(start + length - at, page_size)
            page.data[start:stop] = data[at : at + stop - start]
            blocks = geometry.block_bits(start, stop)
            page.blocks_uptodate |= blocks
            mark_dirty(fs, inode, page, blocks)
            at += stop - start
        size = inode.size
        inode.grow_to(pos + length)
    finally:
        for page in pages:
            if not page.blocks_uptodate:
                fs.cache.remove(page)
            page.unlock()
    if size < pos and not fs.orders.zero_range_ignores_dirty:
        await _zero_exposed(fs, inode, size, pos)
    return length


async def _zero_exposed(fs: Filesystem, inode: Inode, size: int, pos: int) -> None:
    """The end of the file has moved from size to behind pos: pagecache_isize_extended().

    What was stored behind the old end since zero_before_write() must not come into the file.  Linux
    looks no further where pos is in the same block, and leaves clean pages alone.
    """
    geometry = fs.geometry
    index, offset = divmod(size, geometry.page_size)
    block_end = -(-size // geometry.block_size) * geometry.block_size
    page = inode.mapping.find(index) if block_end < pos and block_end % geometry.page_size else None
    if page is None:
        return
    await page.lock()
    if page.mapping is not None and page.blocks_dirty:
        stop = min(pos - index * geometry.page_size, geometry.page_size)
        page.data[offset:stop] = bytes(stop - offset)
    page.unlock()


async def _lock_or_insert(fs: Filesystem, inode: Inode, index: int) -> Page:
    """filemap_get_folio() with FGP_LOCK and FGP_CREAT."""
    while True:
        page = inode.mapping.find(index)
        if page is None:
            return fs.cache.insert_locked(inode.mapping, index)
        await page.lock()
        if page.mapping is not None:
            fs.cache.touch(page)
            return page
        page.unlock()


def _release_unused(fs: Filesystem, inode: Inode, pages: list[Page], pos: int, end: int) -> None:
    """Give back the room of blocks that stay unwritten: xfs_buffered_write_iomap_end()."""
    per_page = fs.geometry.blocks_per_page
    for mapping in list(inode.extents.mappings(*fs.geometry.block_range(pos, end - pos))):
        if mapping.state is not DELALLOC:
            continue
        for block in range(mapping.block, mapping.end):
            page = pages[block // per_page - pages[0].index]
            if not page.blocks_dirty >> block % per_page & 1:
                free_blocks(fs, inode, block, block + 1)


def _missing_edges(fs: Filesystem, pages: list[Page], pos: int, end: int) -> dict[int, Page]:
    """The partly covered first and last block, if they must be filled first, and their pages."""
    size, per_page = fs.geometry.block_size, fs.geometry.blocks_per_page
    missing = {}
    for edge in (pos, end):
        block = edge // size
        if edge % size:
            page = pages[block // per_page - pages[0].index]
            if not page.blocks_uptodate >> block % per_page & 1:
                missing[block] = page
    return missing


def _states_of_edges(fs: Filesystem, inode: Inode, pos: int, end: int) -> dict[int, State]:
    """What the first and last block of a write are before its pages are locked."""
    blocks = {pos // fs.geometry.block_size, (end - 1) // fs.geometry.block_size}
    return {block: inode.extents.find(block, block + 1).state for block in sorted(blocks)}


def mark_dirty(fs: Filesystem, inode: Inode, page: Page, blocks: int) -> None:
    fs.cache.set_dirty(page, blocks)
    fs.inodes_dirty[inode.ino] = inode  # (W5)


async def zero_before_write(fs: Filesystem, inode: Inode, pos: int) -> None:
    """A write begins beyond the end of the file: xfs_file_write_zero_eof().

    Faults, which take no inode.lock, are kept out meanwhile.  Where somebody has made the file
    longer while the caller waited for inode.lock, there is nothing to do.
    """
    if pos <= inode.size:
        return
    await inode.mapping.lock.lock_exclusive()
    try:
        await zero_from_end(fs, inode, pos)
    finally:
        inode.mapping.lock.unlock_exclusive()


async def zero_from_end(fs: Filesystem, inode: Inode, end: int) -> None:
    """The file is about to grow to end: what is behind its end now has to read as zeros.

    Of that only the rest of its block is on the image; but a store through a mapping may have come
    to the rest of its page.  As that page may be dirty over a hole, or unwritten blocks, it is
    written back if it is: iomap_zero_iter_flush_and_stale().
    """
    size, geometry = inode.size, fs.geometry
    index, offset = divmod(size, geometry.page_size)
    dirty = bool(offset) and inode.mapping.needs_flush(index, index + 1)
    await zero_to_block_end(fs, inode, size, end)
    page = inode.mapping.find(index) if offset else None
    if page is None or fs.orders.zero_range_ignores_dirty:
        return
    await page.lock()
    start = -(-offset // geometry.block_size) * geometry.block_size
    page.data[start:] = bytes(geometry.page_size - start)
    page.unlock()
    if dirty and start < geometry.page_size and index * geometry.page_size + start < end:
        await write_and_wait_range(fs, inode, index, index + 1)


async def zero_to_block_end(
    fs: Filesystem, inode: Inode, pos: int, end: int, *, may_be_dirty: bool = True
) -> None:
    """Zero from pos to end, or to the end of pos's block if that comes first."""
    size = fs.geometry.block_size
    if pos % size and pos < end:
        stop = min(end, pos - pos % size + size)
        await zero_in_block(fs, inode, pos, stop, may_be_dirty=may_be_dirty)


async def zero_in_block(
    fs: Filesystem, inode: Inode, pos: int, end: int, *, may_be_dirty: bool = True
) -> None:
    """Zero part of one block through the cache: iomap_zero_range() on an edge.

    A hole is left alone, and so is an unwritten block, unless its page is dirty or under writeback,
    wherever in it: filemap_range_needs_writeback().
    may_be_dirty is false if it was neither when the caller looked.
    The caller holds inode.lock exclusive.
    """
    geometry = fs.geometry
    block = pos // geometry.block_size
    index, start = divmod(pos, geometry.page_size)
    bits = geometry.block_bits(start, start + end - pos)
    await load_map("zero.map", inode, pos, end - pos)
    state = inode.extents.find(block, block + 1).state
    looks = may_be_dirty and not fs.orders.zero_range_ignores_dirty
    dirty = looks and inode.mapping.needs_flush(index, index + 1)
    if state is HOLE or (state is UNWRITTEN and not dirty):
        return
    page = await _lock_or_insert(fs, inode, index)
    try:
        await fill_block(fs, inode, page, block, "zero.fill")
        page.data[start : start + end - pos] = bytes(end - pos)
        mark_dirty(fs, inode, page, bits)
    finally:
        if not page.blocks_uptodate:
            fs.cache.remove(page)
        page.unlock()
