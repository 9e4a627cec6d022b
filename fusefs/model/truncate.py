"""Truncate, fallocate and seek: what changes or tells the shape of a file.

    truncate         xfs_setattr_size()
    fallocate        preallocate, punch or zero a range: xfs_file_fallocate()
    seek             SEEK_DATA and SEEK_HOLE: iomap_seek_data(), iomap_seek_hole()

Everywhere the page cache goes first and the blocks second, and nobody may fill a page in
between: inode.mapping.lock is held exclusive over both (kernel commit 730633f0b7f9).
Asynchronous writes, which hold no lock, are waited for first: they convert blocks, and raise
i_size, when they end (kernel commit 249bd9087a52).

Units: pos, length, size are bytes in the file.
Errors: FsError(ENOSPC), FsError(EIO), FsError(EOPNOTSUPP) for a mode that FUSE cannot
carry, FsError(ENXIO) from seek.
Invariants:
    (T1) no page beyond the new size, or in a punched range, is cached when its blocks go;
    (T2) bytes beyond i_size in the last block read as zeros once the file grows over them.
"""

import errno
from enum import IntFlag
from itertools import islice

from fusefs.model.buffered import zero_from_end, zero_in_block, zero_to_block_end
from fusefs.model.chunk import DELALLOC, HOLE, MAPPED
from fusefs.model.errors import FsError
from fusefs.model.extents import CHUNK_BLOCKS
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.inode import Inode
from fusefs.model.iomap import allocate_unwritten, free_blocks, freed_space_committed
from fusefs.model.page_cache import Page
from fusefs.model.steps import commit, load_map, reach
from fusefs.model.writeback import write_and_wait_range


class Mode(IntFlag):
    """The modes of fallocate(2) that reach a FUSE daemon; 0 is plain preallocation."""

    KEEP_SIZE = 0x01
    PUNCH_HOLE = 0x02
    ZERO_RANGE = 0x10


MODES = frozenset(
    (
        0,
        Mode.KEEP_SIZE,
        Mode.PUNCH_HOLE | Mode.KEEP_SIZE,
        Mode.ZERO_RANGE,
        Mode.ZERO_RANGE | Mode.KEEP_SIZE,
    )
)

COMMIT_MAPPINGS = 1024
"""Mappings that fallocate makes in one piece: what changed is stored before it goes on."""

SEEK_DATA = 3
SEEK_HOLE = 4

SEEK_MAPPINGS = 256
"""Mappings that a seek looks at in one piece."""


async def truncate(fs: Filesystem, inode: Inode, size: int) -> None:
    """Set i_size; blocks beyond it are freed, and a longer file reads as zeros there."""
    await inode.lock.lock_exclusive()
    try:
        await inode.mapping.lock.lock_exclusive()
        try:
            if inode.dio_under_way:
                await inode.dio_wait()
            await _set_size(fs, inode, size)
        finally:
            inode.mapping.lock.unlock_exclusive()
    finally:
        inode.lock.unlock_exclusive()


async def _set_size(fs: Filesystem, inode: Inode, size: int) -> None:
    """xfs_setattr_size()."""
    if size > inode.size:
        await _extend(fs, inode, size)
    else:
        await _shorten(fs, inode, size)


async def _extend(fs: Filesystem, inode: Inode, size: int) -> None:
    await zero_from_end(fs, inode, size)
    inode.grow_to(size)
    await _flush_up_to(fs, inode, size)
    inode.written_to(size)


async def _shorten(fs: Filesystem, inode: Inode, size: int) -> None:
    """Zero the new last block's end before it is written back: kernel commit 350976ae2187.

    All of it, though nothing behind i_size has other bytes on the image: iomap_truncate_page().
    The map is in memory before anything is dropped, so that nothing can fail halfway.
    """
    await zero_to_block_end(fs, inode, size, FILE_SIZE_MAX)
    if fs.orders.truncate_writeback_first and size > inode.disk_size:
        await _flush_up_to(fs, inode, size)
        inode.written_to(size)
    await load_map("truncate.drop_pages", inode, size, FILE_SIZE_MAX - size)
    inode.size = size
    first_gone = -(-size // fs.geometry.page_size)
    await fs.cache.truncate_range(inode.mapping, first_gone, FILE_SIZE_MAX)
    await _forget_blocks_beyond(fs, inode, size)
    failure: FsError | None = None
    if size > inode.disk_size:
        try:
            await _flush_up_to(fs, inode, size)
            inode.written_to(size)
        except FsError as error:
            failure = error  # the pages beyond are gone, so their blocks go all the same
    await _free_beyond(fs, inode, size)
    if failure is not None:
        raise failure


async def _free_beyond(fs: Filesystem, inode: Inode, size: int) -> None:
    """Free what is beyond the new size, the last blocks first: xfs_itruncate_extents_flags().

    disk_size falls with the blocks, so that a commit on the way, and a crash after it,
    leave a shorter file, but none whose old bytes could come back when it grows.
    """
    block_size = fs.geometry.block_size
    first, end = -(-size // block_size), -(-FILE_SIZE_MAX // block_size)
    while True:
        try:
            await load_map("truncate.free", inode, size, FILE_SIZE_MAX - size)
            end = free_blocks(fs, inode, first, end)
        except FsError as error:
            failure = error
            break
        disk_size = min(inode.disk_size, size if end <= first else max(size, end * block_size))
        if inode.disk_size != disk_size:
            inode.disk_size = disk_size
            inode.changed = True
        if end <= first:
            return
        await commit("truncate.commit", inode)
    await _fill_again(fs, inode, size)
    fs.space.unreserve(inode.extents.forget_delalloc(first))  # their pages are gone
    inode.size = max(size, inode.disk_size)  # else what stays would come back, too
    raise failure


async def _flush_up_to(fs: Filesystem, inode: Inode, size: int) -> None:
    """Write back [disk_size, size), so that a commit may record the new size."""
    first, end = fs.geometry.page_range(inode.disk_size, max(size - inode.disk_size, 0))
    if inode.mapping.needs_flush(first, end):
        await reach("truncate.flush", inode.disk_size, size - inode.disk_size)
        await write_and_wait_range(fs, inode, first, end)


async def _forget_blocks_beyond(fs: Filesystem, inode: Inode, size: int) -> None:
    """Blocks of the last page that are fully beyond the new size: truncate_inode_partial_folio().

    A writeback that began at the old size is waited for: it still writes where they were.
    """
    index, offset = divmod(size, fs.geometry.page_size)
    page = inode.mapping.find(index) if offset else None
    if page is None:
        return
    await page.lock()
    await page.wait_writeback()
    if page.mapping is not None:
        _forget_blocks(fs, page, offset)
    page.unlock()


def _forget_blocks(fs: Filesystem, page: Page, offset: int) -> None:
    """Blocks of a page from offset on lose their place: zeros, and not dirty.

    They stay as uptodate as they were: who reads up to there finds the page, and fills nothing.
    """
    page.note_change()
    dirty = page.blocks_dirty & fs.geometry.block_bits(0, offset)
    fs.cache.clear_dirty(page)
    if dirty:
        fs.cache.set_dirty(page, dirty)
    page.data[offset:] = bytes(fs.geometry.page_size - offset)


async def _fill_again(fs: Filesystem, inode: Inode, size: int) -> None:
    """Blocks that _forget_blocks() zeroed keep their place after all: the image has their bytes.

    Dirty ones before the new end stay; whoever reads on fills the others.
    """
    index, offset = divmod(size, fs.geometry.page_size)
    page = inode.mapping.find(index) if offset else None
    if page is None:
        return
    await page.lock()
    if page.mapping is not None:
        page.note_change()
        page.blocks_uptodate &= fs.geometry.block_bits(0, offset)
        if not page.blocks_uptodate:
            fs.cache.remove(page)
    page.unlock()


async def fallocate(fs: Filesystem, inode: Inode, mode: int, pos: int, length: int) -> None:
    """Preallocate, punch or zero a range; mode is one of MODES."""
    if mode not in MODES:
        raise FsError(errno.EOPNOTSUPP)
    if length <= 0 or pos < 0:
        raise FsError(errno.EINVAL)
    if pos + length > FILE_SIZE_MAX:
        raise FsError(errno.EFBIG)
    await inode.lock.lock_exclusive()
    try:
        await inode.mapping.lock.lock_exclusive()
        try:
            if inode.dio_under_way and not fs.orders.fallocate_beside_dio:
                await inode.dio_wait()
            grows = not mode & Mode.KEEP_SIZE and pos + length > inode.size
            if mode & (Mode.PUNCH_HOLE | Mode.ZERO_RANGE):
                await _punch(fs, inode, pos, length)
            if not mode & Mode.PUNCH_HOLE:
                await _preallocate(fs, inode, pos, length)
                if grows:
                    await _set_size(fs, inode, pos + length)
        finally:
            inode.mapping.lock.unlock_exclusive()
    finally:
        inode.lock.unlock_exclusive()


async def _punch(fs: Filesystem, inode: Inode, pos: int, length: int) -> None:
    """Free the whole blocks of a range and zero its edges: xfs_free_file_space()."""
    geometry = fs.geometry
    first, end = geometry.page_range(pos, length)
    if inode.mapping.dirty(first, end):
        await reach("fallocate.flush", pos, length)
        await write_and_wait_range(fs, inode, first, end)
    await reach("fallocate.drop_pages", pos, length)
    await fs.cache.truncate_range(inode.mapping, first, end)
    size = geometry.block_size
    block, block_end = -(-pos // size), (pos + length) // size
    free_end = block_end
    while True:
        await load_map("fallocate.free", inode, pos, length)
        free_end = free_blocks(fs, inode, block, free_end)
        if free_end <= block:
            break
        await commit("fallocate.commit", inode)
    if pos < inode.size:
        await _zero_edges(fs, inode, pos, min(pos + length, inode.size))


async def _zero_edges(fs: Filesystem, inode: Inode, pos: int, end: int) -> None:
    """Zero what a punched range has of its first and last block.

    Whether a page of it is dirty is looked at once, before the first: iomap_zero_range().
    If that goes up to the end of the file, its last page is written back: that zeroes what is
    behind the end, where a store through a mapping may have come.
    """
    size = fs.geometry.block_size
    first, last = -(-pos // size), end // size
    dirty = inode.mapping.needs_flush(*fs.geometry.page_range(pos, end - pos))
    if first > last:  # both edges in one block
        await zero_in_block(fs, inode, pos, end, may_be_dirty=dirty)
    else:
        await zero_to_block_end(fs, inode, pos, end, may_be_dirty=dirty)
        if last * size < end:
            await zero_in_block(fs, inode, last * size, end, may_be_dirty=dirty)
    if end >= inode.size and end % fs.geometry.page_size:
        first_page = end // fs.geometry.page_size
        await write_and_wait_range(fs, inode, first_page, first_page + 1)


async def _preallocate(fs: Filesystem, inode: Inode, pos: int, length: int) -> None:
    """Fill the holes of a range with unwritten blocks: xfs_alloc_file_space().

    Delayed blocks get a place, too, and their pages stay dirty.
    What was allocated before the image was full stays, as in Linux.
    """
    size = fs.geometry.block_size
    block, block_end = fs.geometry.block_range(pos, length)
    if block_end - block > fs.space.block_count + inode.extents.blocks_allocated:
        raise FsError(errno.ENOSPC)
    mapping_count = 0
    while block < block_end:
        await load_map("fallocate.allocate", inode, block * size, (block_end - block) * size)
        mapping = inode.extents.find(block, min(block_end, block + CHUNK_BLOCKS))
        if mapping.state not in (HOLE, DELALLOC):
            block = mapping.end
            continue
        room = mapping.state is DELALLOC or fs.space.available_count > 0
        if not room and await freed_space_committed(fs):
            continue
        block = allocate_unwritten(fs, inode, mapping).end
        mapping_count += 1
        if mapping_count % COMMIT_MAPPINGS == 0:
            await commit("fallocate.commit", inode)


async def seek(fs: Filesystem, inode: Inode, pos: int, whence: int) -> int:
    """The next data or hole at or after pos; FsError(ENXIO) if pos is beyond the end.

    Unwritten blocks are data where a page of them is uptodate in the cache, else holes.
    Nobody is kept out: xfs_file_llseek() takes no IOLOCK, and what was found may have changed.
    """
    if whence not in (SEEK_DATA, SEEK_HOLE):
        raise FsError(errno.EINVAL)
    if pos < 0 or pos >= inode.size:
        raise FsError(errno.ENXIO)
    while pos < inode.size:
        await load_map("seek.map", inode, pos, inode.size - pos)
        found, pos = _seek_in_map(fs, inode, pos, whence)
        if found is not None:
            return min(found, inode.size)
    if whence == SEEK_HOLE:
        return inode.size
    raise FsError(errno.ENXIO)


def _seek_in_map(fs: Filesystem, inode: Inode, pos: int, whence: int) -> tuple[int | None, int]:
    """What is found in the next SEEK_MAPPINGS mappings, and where to go on if that is None."""
    size = fs.geometry.block_size
    block, end = pos // size, -(-inode.size // size)
    found = None
    for mapping in islice(inode.extents.mappings(block, end), SEEK_MAPPINGS):
        start = max(pos, mapping.block * size)
        if mapping.state in (MAPPED, DELALLOC):
            found = start if whence == SEEK_DATA else None
        elif mapping.state is HOLE:
            found = start if whence == SEEK_HOLE else None
        else:
            found = _seek_in_cache(fs, inode, mapping.block, mapping.end, start, whence)
        if found is not None:
            break
        pos = mapping.end * size
    return found, pos


def _seek_in_cache(
    fs: Filesystem, inode: Inode, block: int, end: int, start: int, whence: int
) -> int | None:
    """Within an unwritten mapping: mapping_seek_hole_data().

    What is uptodate behind it in its last page makes the end of the mapping data, as in Linux.
    """
    per_page, size = fs.geometry.blocks_per_page, fs.geometry.block_size
    mapping = inode.mapping
    cached = mapping.present(block // per_page, -(-end // per_page))
    if whence == SEEK_HOLE:
        while block < end:
            page = mapping.find(block // per_page)
            if page is None or not page.blocks_uptodate >> block % per_page & 1:
                return max(start, block * size)
            block += 1
        return None
    for index in cached:
        uptodate = mapping.pages[index].blocks_uptodate
        for at in range(max(block, index * per_page), (index + 1) * per_page):
            if uptodate >> at % per_page & 1:
                return max(start, min(at, end) * size)
    return None
