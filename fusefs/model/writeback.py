"""Writeback: dirty blocks of the cache onto the image, as iomap_writepages() does it.

    writeback_range        every dirty page of a range, and those already on their way
    write_and_wait_range   the same for a direct request or a truncate: tells earlier errors, too
    _write_run             lock, map (DELALLOC becomes UNWRITTEN), submit, convert, done

The bytes are copied when the pages are marked as under writeback; a page may be dirtied
again while its old bytes travel, and stays dirty then.  Where a write fails, the page is
clean all the same, as in Linux, and the mapping has the error; its block keeps what it read
as before.  The other blocks of the run are written and converted.

Units: pages are indices of the file, end exclusive.
Errors: FsError(EIO) or what the image said; the mapping remembers it for later fsyncs, and the
file system for syncfs.
Invariants:
    (W1) a page stays under writeback until its blocks are converted, so that whoever
         flushes or invalidates first waits for that;
    (W2) a block fully beyond i_size is not written; bytes beyond i_size in the last page become
         zeros before it is written: iomap_writeback_handle_eof();
    (W3) writeback never raises i_size;
    (W4) disk_size does not pass the block that it ends in while that block is dirty: behind
         disk_size the image may still hold what a truncate cut off, or a crash left;
    (W5) a file with dirty pages is in inodes_dirty, and none is that has left memory: what the
         flusher does not find there is never written.
"""

import contextlib
import errno

from fusefs.model.chunk import HOLE, UNWRITTEN
from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.inode import Inode
from fusefs.model.iomap import begin_writeback
from fusefs.model.page_cache import Page
from fusefs.model.steps import load_map, reach, write_image

RUN_PAGES_MAX = 256
"""Pages written back together."""


async def writeback_range(fs: Filesystem, inode: Inode, first: int, end: int) -> None:
    """Write all dirty pages of a range, and wait for those under writeback: do_writepages().

    Goes on after a failure, then raises the first one; but not if flush_disk_end() fails, as what
    is behind that block may not be written then (W4).
    """
    await flush_disk_end(fs, inode, first, end)
    failure: FsError | None = None
    dirty = inode.mapping.dirty(first, end)
    while dirty:
        count = 1
        while count < min(len(dirty), RUN_PAGES_MAX) and dirty[count] == dirty[0] + count:
            count += 1
        run, dirty = dirty[:count], dirty[count:]
        try:
            await _write_run(fs, inode, run)
        except FsError as error:
            failure = failure or error
    for index in inode.mapping.under_writeback(first, end):
        page = inode.mapping.find(index)
        if page is not None:
            await page.wait_writeback()
    if inode.mapping.is_clean:
        fs.forget_dirty(inode)
    if failure is not None:
        raise failure


async def flush_disk_end(fs: Filesystem, inode: Inode, first: int, end: int) -> None:
    """Before these pages are written, write the page in which disk_size ends (W4).

    If it is one of them it comes in its turn, and is only waited for.
    """
    if not fs.guards_disk_end:
        return
    last = inode.disk_size // fs.geometry.page_size
    page = inode.mapping.find(last) if last < end else None
    if page is None or inode.disk_size % fs.geometry.block_size == 0:
        return
    if last < first and page.blocks_dirty:
        await _write_run(fs, inode, [last])
    await page.wait_writeback()


async def write_and_wait_range(fs: Filesystem, inode: Inode, first: int, end: int) -> None:
    """filemap_write_and_wait_range(): an error of an earlier writeback is raised, once."""
    try:
        await writeback_range(fs, inode, first, end)
    except FsError:
        inode.mapping.note_errors()
        inode.mapping.error_waiting = 0  # this tells of it
        raise
    inode.mapping.check_errors()


async def balance_dirty_pages(fs: Filesystem) -> None:
    """Make a writer write back itself while too much is dirty.

    It may meet other files' pages: their errors are told by their own fsync.
    """
    while fs.cache.dirty_count > fs.cache.dirty_limit and fs.inodes_dirty:
        inode = next(iter(fs.inodes_dirty.values()))
        fs.inodes_dirty.move_to_end(inode.ino)
        before = fs.cache.dirty_count
        with contextlib.suppress(FsError):
            await writeback_range(fs, inode, 0, 1 << 63)
        if fs.cache.dirty_count >= before:
            return  # others dirty pages as fast as we clean them: let them pay next


async def _write_run(fs: Filesystem, inode: Inode, indices: list[int]) -> None:
    """Write back adjacent pages, as far as they still are dirty."""
    page_size = fs.geometry.page_size
    pos, length = indices[0] * page_size, len(indices) * page_size
    await reach("writeback.page_lock", pos, length)
    pages = []
    for index in indices:
        page = inode.mapping.find(index)
        if page is None:
            continue
        await page.lock()
        await page.wait_writeback()
        if page.mapping is not None and page.blocks_dirty:
            pages.append(page)
        else:
            page.unlock()
    try:
        try:
            await load_map("writeback.map", inode, pos, length)
            writes = _start_writeback(fs, inode, pages)
        finally:
            for page in pages:
                page.unlock()
        await _submit(fs, inode, writes, pos, length)
    except BaseException as error:  # of ours as well: what is clean and not written is told
        number = error.errno if isinstance(error, FsError) else errno.EIO
        inode.mapping.set_error(number)
        fs.errors.set(number)
        for page in pages:
            page.error = True
        raise
    finally:
        for page in pages:
            if page.writeback:
                page.end_writeback()
        fs.cache.shrink()  # dirty pages may have kept it above its limit


def _start_writeback(
    fs: Filesystem, inode: Inode, pages: list[Page]
) -> list[tuple[int, int, bytes]]:
    """Mark the pages as under writeback, give delayed blocks a place, and take the pages' bytes.

    Returns the writes as (addr, pos, data).
    """
    size, per_page = fs.geometry.block_size, fs.geometry.blocks_per_page
    file_end = -(-inode.size // size)
    last, tail = divmod(inode.size, fs.geometry.page_size)
    blocks: list[tuple[int, int]] = []
    for page in pages:
        base = page.index * per_page
        if page.index == last and tail:
            page.data[tail:] = bytes(fs.geometry.page_size - tail)
        dirty = fs.cache.clear_dirty(page)
        if fs.orders.page_granular_dirty:
            dirty = _uptodate_with_room(fs, inode, page)
        for start, stop in bit_runs(dirty):
            first, end = base + start, min(base + stop, file_end)  # (W2)
            if first >= end:
                continue
            if blocks and blocks[-1][1] == first:
                first = blocks.pop()[0]
            blocks.append((first, end))
        page.begin_writeback()
    fs.counters.pages_written_back += len(pages)
    by_index: dict[int, Page] = {page.index: page for page in pages}
    return [
        (
            mapping.physical * size,
            mapping.block * size,
            _gather(fs, by_index, mapping.block * size, mapping.end * size),
        )
        for first, end in blocks
        for mapping in begin_writeback(fs, inode, first, end)
    ]


def _uptodate_with_room(fs: Filesystem, inode: Inode, page: Page) -> int:
    """What is written of a page that is dirty as a whole: all that is uptodate, and no hole."""
    base, found = page.index * fs.geometry.blocks_per_page, page.blocks_uptodate
    for mapping in inode.extents.mappings(base, base + fs.geometry.blocks_per_page):
        if mapping.state is HOLE:
            found &= ~(((1 << mapping.count) - 1) << mapping.block - base)
    return found


def _gather(fs: Filesystem, pages: dict[int, Page], pos: int, end: int) -> bytes:
    """The bytes pos to end of a file, out of its pages."""
    page_size = fs.geometry.page_size
    pieces = []
    for index in range(pos // page_size, -(-end // page_size)):
        base = index * page_size
        view = memoryview(pages[index].data)
        pieces.append(view[max(pos - base, 0) : end - base])
    return b"".join(pieces)


async def _submit(
    fs: Filesystem, inode: Inode, writes: list[tuple[int, int, bytes]], pos: int, length: int
) -> None:
    """The I/O; what of it succeeds comes to its end although the rest fails."""
    size = fs.geometry.block_size
    written: list[tuple[int, int]] = []
    failure: FsError | None = None
    for addr, start, data in writes:
        try:
            await write_image("writeback.submit", addr, data, start, len(data))
        except FsError as error:
            failure = failure or error
        else:
            written.append((start // size, (start + len(data)) // size))
    await _finish_io(fs, inode, written, pos, length)
    if failure is not None:
        raise failure


async def _finish_io(
    fs: Filesystem, inode: Inode, blocks: list[tuple[int, int]], pos: int, length: int
) -> None:
    """The end of the I/O: convert what was unwritten, and let a commit record the size."""
    unwritten = any(
        mapping.state is UNWRITTEN
        for first, end in blocks
        for mapping in inode.extents.mappings(first, end)
    )
    if unwritten:
        await reach("writeback.convert", pos, length)
        for first, end in blocks:
            inode.extents.convert(first, end)
        fs.counters.conversions += 1
    if blocks:
        inode.changed = True
        inode.written_to(blocks[-1][1] * fs.geometry.block_size)


def bit_runs(bits: int) -> list[tuple[int, int]]:
    """The runs of set bits, lowest first, as (start, end)."""
    runs = []
    start = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        bits >>= ones
        start += zeros
        runs.append((start, start + ones))
        start += ones
    return runs
