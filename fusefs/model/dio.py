"""Direct reads and writes: what iomap_dio_rw() and XFS around it do in Linux.

Read downwards; functions come in the order a write meets them.

    direct_write      lock, flush dirty pages, drop clean ones, one submit per mapping
    complete_write    convert the blocks, raise i_size, drop the pages again
    end_io            the first two
    direct_read       flush dirty pages, then read each mapping

The second drop must follow the conversion.  Between submit and convert the data is on
the device but its blocks still read as zeros; a buffered read there caches those zeros,
and only a later drop removes them.  Kernel commit c771c14baa33 fixed this order,
332391a9935d undid it, 5e25c269e17d restored it.

Units: pos and length are bytes in the file; addr is bytes in the image.
Errors: FsError(EINVAL) if not sector aligned; FsError(EIO), FsError(ENOSPC) from the image;
CannotInvalidate (-ENOTBLK) if the caller must write through the cache instead.
Invariants:
    (D1) in AFTER order, once complete_write returns, no clean cached page in the range
         disagrees with the image;
    (D2) a block is converted only after its bytes were submitted;
    (D3) a failed conversion does not skip the drop;
    (D4) a write within i_size that is not block aligned shares the lock only if it
         overwrites blocks that are written already; all others exclude each other;
    (D5) in today's order a block is converted before i_size covers it: who sees the size that
         a write gave the file sees its data.
"""

import errno
from collections.abc import Coroutine
from typing import Any

from fusefs.model.buffered import zero_to_block_end
from fusefs.model.chunk import DELALLOC, MAPPED, UNWRITTEN
from fusefs.model.errors import FsError
from fusefs.model.extents import Mapping
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import SECTOR_SIZE
from fusefs.model.inode import Inode
from fusefs.model.iomap import begin_direct
from fusefs.model.steps import Buffer, Step, delay, load_map, reach, read_image, write_image
from fusefs.model.writeback import flush_disk_end, write_and_wait_range


class CannotInvalidate(Exception):
    """A dirty page stays in the range: -ENOTBLK, write through the cache instead."""


class NeedsExclusive(Exception):
    """-EAGAIN of IOMAP_DIO_OVERWRITE_ONLY: try again under the exclusive lock."""


class DirectWrite:
    """One write under way: struct iomap_dio.

    orders       in force when the write began; a switch of the mount option meets only later
                 writes
    unwritten    some submitted block is not converted yet
    """

    __slots__ = (
        *("data", "end", "fs", "inode", "length", "orders"),
        *("page_end", "page_first", "pos", "unwritten"),
    )

    def __init__(self, fs: Filesystem, inode: Inode, pos: int, data: Buffer) -> None:
        self.fs = fs
        self.inode = inode
        self.pos = pos
        self.data = memoryview(data)
        self.length = len(data)
        self.end = pos + self.length
        self.page_first, self.page_end = fs.geometry.page_range(pos, self.length)
        self.orders = fs.orders
        self.unwritten = False


def direct_write(fs: Filesystem, inode: Inode, pos: int, data: Buffer) -> Coroutine[Step, Any, int]:
    """Write around the cache; returns the length written: xfs_file_dio_write()."""
    write = DirectWrite(fs, inode, pos, data)
    if (pos | write.length) % fs.geometry.block_size == 0:
        return _write_aligned(write)
    return _write_unaligned(write)


def check_alignment(pos: int, length: int) -> None:
    """FsError(EINVAL) unless offset and length are multiples of the sector."""
    if (pos | length) % SECTOR_SIZE:
        raise FsError(errno.EINVAL)


async def _write_aligned(write: DirectWrite) -> int:
    """Whole blocks: many writers and readers at a time: xfs_file_dio_write_aligned()."""
    inode = write.inode
    write.fs.counters.direct_writes += 1
    if not inode.lock.try_lock_shared():
        await inode.lock.lock_shared()
    if write.pos > inode.size:
        inode.lock.unlock_shared()
        await inode.lock.lock_exclusive()
        try:
            await zero_to_block_end(write.fs, inode, inode.size, write.pos)
        except BaseException:
            inode.lock.unlock_exclusive()
            raise
        inode.lock.demote()
    try:
        return await _write_locked(write)
    finally:
        inode.lock.unlock_shared()


async def _write_unaligned(write: DirectWrite) -> int:
    """Parts of blocks (D4): xfs_file_dio_write_unaligned()."""
    check_alignment(write.pos, write.length)
    inode = write.inode
    write.fs.counters.direct_writes += 1
    if write.end < inode.size:
        await inode.lock.lock_shared()
        try:
            return await _write_locked(write, overwrite_only=True)
        except NeedsExclusive:
            pass
        finally:
            inode.lock.unlock_shared()
    await inode.lock.lock_exclusive()
    try:
        if write.pos > inode.size:
            await zero_to_block_end(write.fs, inode, inode.size, write.pos)
        return await _write_locked(write)
    finally:
        inode.lock.unlock_exclusive()


async def _write_locked(write: DirectWrite, *, overwrite_only: bool = False) -> int:
    """Flush, drop, submit, complete: __iomap_dio_rw()."""
    fs, inode = write.fs, write.inode
    if not inode.mapping.is_empty:
        await _flush_and_drop(write)
    else:
        inode.mapping.check_errors()
    if overwrite_only:
        await _check_overwrite(write)
    pos = write.pos
    while pos < write.end:
        mapping = await begin_direct(fs, inode, "dio.write.map", pos, write.end - pos)
        end = min(write.end, mapping.end * fs.geometry.block_size)
        addr, data = _submission(write, mapping, pos, end)
        await write_image("dio.write.submit", addr, data, pos, end - pos)
        inode.changed = True
        pos = end
    return await complete_write(write)


async def _flush_and_drop(write: DirectWrite) -> None:
    """Empty the cache of the range before the I/O: kiocb_invalidate_pages()."""
    fs, inode = write.fs, write.inode
    first, end = write.page_first, write.page_end
    await flush_disk_end(fs, inode, first, end)
    if inode.mapping.dirty(first, end):
        await reach("dio.write.flush_dirty", write.pos, write.length)
        await write_and_wait_range(fs, inode, first, end)
    inode.mapping.check_errors()
    if not inode.mapping.is_empty:
        await reach("dio.write.invalidate_pre", write.pos, write.length)
        fs.counters.invalidations_pre += 1
        if await fs.cache.invalidate_range(inode.mapping, first, end):
            fs.counters.invalidations_busy += 1
            raise CannotInvalidate


async def _check_overwrite(write: DirectWrite) -> None:
    """NeedsExclusive unless one written mapping holds the whole write (D4)."""
    await load_map("dio.write.map", write.inode, write.pos, write.length)
    block, end = write.fs.geometry.block_range(write.pos, write.length)
    mapping = write.inode.extents.find(block, end)
    if mapping.state is not MAPPED or mapping.end < end:
        raise NeedsExclusive


def _submission(write: DirectWrite, mapping: Mapping, pos: int, end: int) -> tuple[int, Buffer]:
    """Where in the image the bytes pos to end go, and what: one bio, with its zero padding."""
    size = write.fs.geometry.block_size
    if mapping.state is UNWRITTEN:
        write.unwritten = True
    addr = mapping.physical * size + pos - mapping.block * size
    data: Buffer = write.data[pos - write.pos : end - write.pos]
    head, tail = _zero_padding(write, mapping, pos, end)
    if head or tail:
        data = b"".join((bytes(head), data, bytes(tail)))
    return addr - head, data


def _zero_padding(write: DirectWrite, mapping: Mapping, pos: int, end: int) -> tuple[int, int]:
    """Zeros to write before and after, in bytes: what else the conversion would expose."""
    size = write.fs.geometry.block_size
    unwritten = mapping.state is UNWRITTEN
    head = pos % size if unwritten else 0
    tail = -end % size if unwritten or end >= write.inode.size else 0
    return head, tail


async def complete_write(write: DirectWrite) -> int:
    """The order under study: iomap_dio_complete()."""
    if write.orders.post_before_end:
        await drop_written_pages(write)
        error = await end_io(write)
        _count_stale_pages(write)
    else:
        error = await end_io(write)
        await drop_written_pages(write)
    if error is not None:
        raise error
    return write.length


async def end_io(write: DirectWrite) -> FsError | None:
    """What the write has brought is seen from now on: xfs_dio_write_end_io() (D5).

    A failure is returned, so that it cannot skip the drop (D3).
    """
    try:
        if write.orders.isize_before_convert:
            await raise_size(write)
            await convert_written_blocks(write)
        else:
            await convert_written_blocks(write)
            await raise_size(write)
    except FsError as error:
        return error
    write.inode.written_to(write.end)
    return None


async def convert_written_blocks(write: DirectWrite) -> None:
    """Let the written blocks be read as data: xfs_iomap_write_unwritten()."""
    fs, inode = write.fs, write.inode
    if write.unwritten:
        delay_s = fs.options.conversion_delay
        await delay("dio.write.convert", write.pos, write.length, delay_s)
        block, end = fs.geometry.block_range(write.pos, write.length)
        inode.extents.convert(block, end)
        inode.changed = True  # again: a commit may have come since the submit
        fs.counters.conversions += 1


async def raise_size(write: DirectWrite) -> None:
    """i_size covers what the write has added to the file, if it has."""
    if write.end > write.inode.size:
        await reach("dio.write.isize", write.pos, write.length)
        write.inode.grow_to(write.end)


async def drop_written_pages(write: DirectWrite) -> None:
    """Drop pages that were read during the I/O: kiocb_invalidate_post_direct_write().

    A page that cannot be dropped makes the next fsync fail: dio_warn_stale_pagecache().
    """
    fs, mapping = write.fs, write.inode.mapping
    await reach("dio.write.invalidate_post", write.pos, write.length)
    fs.counters.invalidations_post += 1
    if mapping.is_empty:
        return
    if await fs.cache.invalidate_range(mapping, write.page_first, write.page_end):
        fs.counters.invalidations_busy += 1
        mapping.note_errors()
        mapping.errors.set(errno.EIO)


def _count_stale_pages(write: DirectWrite) -> None:
    """What was cached since the drop saw the blocks unwritten, or may have."""
    if write.unwritten:
        present = write.inode.mapping.present(write.page_first, write.page_end)
        write.fs.counters.pages_stale_possible += len(present)


async def direct_read(fs: Filesystem, inode: Inode, pos: int, length: int) -> list[Buffer]:
    """Read around the cache, one piece for each mapping; fewer bytes at the end of the file.

    At or beyond i_size there is nothing to read, aligned or not.
    """
    fs.counters.direct_reads += 1
    pieces: list[Buffer] = []
    if not inode.lock.try_lock_shared():
        await inode.lock.lock_shared()
    try:
        if pos >= inode.size:
            return pieces
        check_alignment(pos, length)
        if not inode.mapping.is_empty:
            first, last = fs.geometry.page_range(pos, length)
            if inode.mapping.needs_flush(first, last):
                await reach("dio.read.flush_dirty", pos, length)
                await write_and_wait_range(fs, inode, first, last)
        inode.mapping.check_errors()
        size, end = fs.geometry.block_size, min(pos + length, inode.size)
        block, block_end = fs.geometry.block_range(pos, end - pos)
        while pos < end:
            await load_map("dio.read.map", inode, pos, end - pos)
            mapping = inode.extents.find(block, block_end)
            stop = min(end, mapping.end * size)
            if mapping.state is MAPPED:
                addr = mapping.physical * size + pos - mapping.block * size
                pieces.append(await read_image("dio.read.submit", addr, pos, stop - pos))
            elif mapping.state is DELALLOC:
                raise FsError(errno.EIO)  # dirty pages came between flush and map; as in Linux
            else:
                pieces.append(bytes(stop - pos))
            pos, block = stop, mapping.end
        return pieces
    finally:
        inode.lock.unlock_shared()
