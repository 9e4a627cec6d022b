"""Direct reads and writes: what iomap_dio_rw() and XFS around it do in Linux.

Read downwards; functions come in the order a write meets them.

    direct_write      lock, flush dirty pages, drop clean ones, one submit per mapping; then
                      complete_write() of dio_complete.py, and only then let the lock go
    submit_write      the same, for a caller who does not wait for the end
    direct_read       flush dirty pages, then read each mapping

A synchronous write holds inode.lock until it is complete, an asynchronous one until it is
submitted; from then on only i_dio_count tells of it, and who must not meet it waits for that.

Units: pos and length are bytes in the file; addr is bytes in the image.
Errors: FsError(EINVAL) if not sector aligned; FsError(EIO), FsError(ENOSPC) from the image;
ThroughCache (-ENOTBLK) if the caller must write through the cache instead.
Invariants:
    (D2) a block is converted only after its bytes were submitted;
    (D4) a write within i_size that is not block aligned shares the lock only if it
         overwrites blocks that are written already; all others exclude each other.
"""

import errno
from collections.abc import Coroutine
from typing import Any

from fusefs.model.buffered import zero_before_write
from fusefs.model.chunk import DELALLOC, HOLE, MAPPED, UNWRITTEN
from fusefs.model.dio_complete import (
    DirectWrite,
    complete_write,
    drop_or_warn,
    let_in,
    lock_out,
    queue_end,
)
from fusefs.model.errors import FsError
from fusefs.model.extents import Mapping
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import FILE_SIZE_MAX, SECTOR_SIZE
from fusefs.model.inode import Append, Inode
from fusefs.model.iomap import begin_direct
from fusefs.model.steps import Buffer, Piece, Step, load_map, reach, read_image, write_image
from fusefs.model.writeback import flush_disk_end, write_and_wait_range


class ThroughCache(Exception):
    """-ENOTBLK: it cannot be written directly, as when dirty pages cannot be written, or stay."""


class NeedsExclusive(Exception):
    """-EAGAIN of IOMAP_DIO_OVERWRITE_ONLY: try again under the exclusive lock."""


def direct_write(
    fs: Filesystem, inode: Inode, pos: int, data: Buffer, append: Append | None = None
) -> Coroutine[Step, Any, int]:
    """Write around the cache; returns the length written."""
    write = DirectWrite(fs, inode, pos, data, append)
    if write.orders.lockout:
        return _write_locking_out(write)
    return _write(write)


async def submit_write(
    fs: Filesystem, inode: Inode, pos: int, data: Buffer, append: Append | None = None
) -> DirectWrite:
    """As direct_write(), but return once all is submitted.

    Completion.end() is then to be run as a task of its own (-EIOCBQUEUED), unless the write had to
    be waited for, and is complete.
    """
    write = DirectWrite(fs, inode, pos, data, append)
    write.waits = False
    try:
        await (_write_locking_out(write) if write.orders.lockout else _write(write))
    except BaseException:
        if write.counted:
            inode.dio_end()
        raise
    return write


async def _write_locking_out(write: DirectWrite) -> int:
    """Whoever may not come in is let in again if the write fails."""
    try:
        return await _write(write)
    except BaseException:
        let_in(write)
        raise


def _write(write: DirectWrite) -> Coroutine[Step, Any, int]:
    """xfs_file_dio_write()."""
    if write.append is not None:
        return _write_appended(write, write.append)
    if (write.pos | write.length) % write.fs.geometry.block_size == 0:
        return _write_aligned(write)
    if write.orders.unaligned_shared:
        return _write_unaligned_shared(write)
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
        await _lock_exclusive_instead(write)
        try:
            if inode.dio_under_way:
                await inode.dio_wait()
            await zero_before_write(write.fs, inode, write.pos)
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
            if write.end > inode.size:  # a truncate had the lock: __iomap_dio_rw()
                raise NeedsExclusive
            return await _write_locked(write, overwrite_only=True)
        except NeedsExclusive:
            let_in(write)
        finally:
            inode.lock.unlock_shared()
        await _lock_exclusive_instead(write)
    else:
        await inode.lock.lock_exclusive()
    try:
        if inode.dio_under_way:
            await inode.dio_wait()
        write.waits = write.waits or not write.orders.unaligned_unwaited
        if write.pos > inode.size:
            await zero_before_write(write.fs, inode, write.pos)
        return await _write_locked(write)
    finally:
        inode.lock.unlock_exclusive()


async def _lock_exclusive_instead(write: DirectWrite) -> None:
    """inode.lock exclusive, of which the shared one was not enough and is let go.

    Others can come in between, and the file be another one: xfs_file_write_checks().
    """
    await reach("dio.write.lock_exclusive", write.pos, write.length)
    await write.inode.lock.lock_exclusive()


async def _write_unaligned_shared(write: DirectWrite) -> int:
    """Parts of blocks, as if they were whole ones: XFS before eda77982729b."""
    check_alignment(write.pos, write.length)
    return await _write_aligned(write)


async def _write_appended(write: DirectWrite, append: Append) -> int:
    """At the end of the file: generic_write_checks().

    Of two such writes none overwrites the other, as FUSE and ext4 have it; and both are waited for.
    """
    inode = write.inode
    write.fs.counters.direct_writes += 1
    await inode.lock.lock_exclusive()
    try:
        if inode.dio_under_way:
            await inode.dio_wait()
        write.waits = True
        append.pos = inode.size
        write.move_to(inode.size)
        check_alignment(write.pos, write.length)
        return await _write_locked(write)
    finally:
        inode.lock.unlock_exclusive()


async def _write_locked(write: DirectWrite, *, overwrite_only: bool = False) -> int:
    """Flush, drop, submit, complete: __iomap_dio_rw().

    The length written; 0 if somebody else completes it.
    """
    fs, inode = write.fs, write.inode
    if write.orders.lockout:
        await lock_out(write)
    try:
        if inode.mapping.is_empty or write.orders.no_pre:
            inode.mapping.check_errors()
        else:
            await _flush_and_drop(write)
    except FsError:  # of a writeback, now or before: the next fsync tells of it
        raise ThroughCache from None
    if overwrite_only:
        await _check_overwrite(write)
    if write.orders.holes_by_cache:
        await _check_holes(write)
    if not write.waits:
        inode.dio_begin()
        write.counted = True
    pos = write.pos
    while pos < write.end:
        mapping = await begin_direct(fs, inode, "dio.write.map", pos, write.end - pos)
        end = min(write.end, mapping.end * fs.geometry.block_size)
        addr, data = _submission(write, mapping, pos, end)
        await write_image("dio.write.submit", addr, data, pos, end - pos)
        inode.changed = True
        pos = end
    if not write.waits:
        return 0
    if write.orders.ret_before_end:
        return queue_end(write)
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
        if write.orders.pre_failure_ignored:
            await drop_or_warn(fs, write.orders, inode.mapping, first, end)
        elif await fs.cache.invalidate_range(inode.mapping, first, end):
            fs.counters.invalidations_busy += 1
            raise ThroughCache


async def _check_overwrite(write: DirectWrite) -> None:
    """NeedsExclusive unless one written mapping holds the whole write (D4)."""
    await load_map("dio.write.map", write.inode, write.pos, write.length)
    block, end = write.fs.geometry.block_range(write.pos, write.length)
    mapping = write.inode.extents.find(block, end)
    if mapping.state is not MAPPED or mapping.end < end:
        raise NeedsExclusive


async def _check_holes(write: DirectWrite) -> None:
    """ThroughCache if there is a hole in the range: ext2, which has no unwritten blocks.

    zero_length_post: the second drop comes all the same, of no bytes.  As its range ends with the
    byte before, that is the page around pos, nothing between two pages, and everything from 0 on.
    """
    fs, inode = write.fs, write.inode
    await load_map("dio.write.map", inode, write.pos, write.length)
    mappings = inode.extents.mappings(*fs.geometry.block_range(write.pos, write.length))
    if HOLE in [mapping.state for mapping in mappings]:
        if write.orders.zero_length_post:
            await reach("dio.write.invalidate_post", write.pos, 0)
            last = (write.pos - 1) // fs.geometry.page_size if write.pos else FILE_SIZE_MAX
            await drop_or_warn(fs, write.orders, inode.mapping, write.page_first, last + 1)
        raise ThroughCache


def _submission(write: DirectWrite, mapping: Mapping, pos: int, end: int) -> tuple[int, Buffer]:
    """Where in the image the bytes pos to end go, and what: one bio, with its zero padding.

    It also notes in write.unwritten that there is something to convert at the end.
    """
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


async def direct_read(fs: Filesystem, inode: Inode, pos: int, length: int) -> list[Piece]:
    """Read around the cache, one piece for each mapping; fewer bytes at the end of the file.

    At or beyond i_size there is nothing to read, aligned or not.
    """
    fs.counters.direct_reads += 1
    pieces: list[Piece] = []
    if not inode.lock.try_lock_shared():
        await inode.lock.lock_shared()
    try:
        if pos >= inode.size:
            return pieces
        check_alignment(pos, length)
        if not inode.mapping.is_empty:
            first, last = fs.geometry.page_range(pos, length)
            if fs.orders.flush_without_wait:
                flushes = bool(inode.mapping.dirty(first, last))
            else:
                flushes = inode.mapping.needs_flush(first, last)
            if flushes:
                await reach("dio.read.flush_dirty", pos, length)
                await write_and_wait_range(fs, inode, first, last)
            if fs.orders.read_drops:
                await reach("dio.read.invalidate", pos, length)
                await drop_or_warn(fs, fs.orders, inode.mapping, first, last)
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
