"""Read, write, fsync and copy: where every data request enters the model.

    read, write    direct or buffered, by the flags of this very request
    read_pieces    the same as read, not put together
    submit         a direct write whose caller goes on before it is complete
    write_mapped   what the kernel writes back of its own pages of a mapping
    fsync          write back, wait, report what failed before, commit
    copy_range     copy_file_range(2), through the cache

Units: pos and length are bytes in the file.
Errors: FsError.
"""

import contextlib
import errno
from collections.abc import Coroutine
from typing import Any

from fusefs.model.buffered import WRITE_PAGES_MAX, buffered_read, buffered_write, write_pages
from fusefs.model.dio import ThroughCache, direct_read, direct_write, submit_write
from fusefs.model.dio_complete import Completion, DirectWrite
from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.inode import Append, Inode, OpenFile
from fusefs.model.steps import Buffer, Piece, Step, commit
from fusefs.model.writeback import balance_dirty_pages, writeback_range

COPY_LENGTH_MAX = 16 << 20
"""Bytes that one copy_range() copies; the caller asks again for the rest."""

COPY_PIECE = 1 << 20


async def read(fs: Filesystem, file: OpenFile, pos: int, length: int, *, direct: bool) -> bytes:
    """Up to length bytes; fewer, or none, at the end of the file."""
    return b"".join(await read_pieces(fs, file, pos, length, direct=direct))


def read_pieces(
    fs: Filesystem, file: OpenFile, pos: int, length: int, *, direct: bool
) -> Coroutine[Step, Any, list[Piece]]:
    """For whoever can send pieces of any number and size, before the next step of anyone."""
    if direct:
        return direct_read(fs, file.inode, pos, length)
    return buffered_read(fs, file, pos, length)


async def write(
    fs: Filesystem,
    file: OpenFile,
    pos: int,
    data: Buffer,
    *,
    direct: bool,
    sync: bool,
    append: Append | None = None,
) -> int:
    """Bytes written.  sync makes them durable first (O_DSYNC, O_SYNC).

    append has them written at the end of the file, whatever pos says.
    """
    inode = file.inode
    if pos + len(data) > FILE_SIZE_MAX:
        raise FsError(errno.EFBIG)
    if not data:
        return 0
    written, instead = 0, False
    if direct:
        try:
            written = await direct_write(fs, inode, pos, data, append)
        except ThroughCache:  # kernel commit 60263d5889e6
            instead = True
    if instead or not direct:
        written = await buffered_write(fs, inode, pos, data, append, instead_of_direct=instead)
        if fs.cache.dirty_count > fs.cache.dirty_limit:
            await balance_dirty_pages(fs)
    if sync:
        await fsync(fs, file, pos if append is None else append.pos, written)
    return written


async def submit(
    fs: Filesystem,
    file: OpenFile,
    pos: int,
    data: Buffer,
    *,
    sync: bool,
    append: Append | None = None,
) -> Completion:
    """An asynchronous direct write, back as soon as it is submitted: io_submit(2).

    Whatever becomes of it, reap() of the Completion tells; what is left of it goes to fs.work.
    """
    inode = file.inode
    completion = Completion(inode.ino, pos)
    try:
        if pos + len(data) > FILE_SIZE_MAX:
            raise FsError(errno.EFBIG)
        write: DirectWrite | None = None
        with contextlib.suppress(ThroughCache):
            write = await submit_write(fs, inode, pos, data, append)
        if write is None:
            completion.result = await buffered_write(
                fs, inode, pos, data, append, instead_of_direct=True
            )
            if fs.cache.dirty_count > fs.cache.dirty_limit:
                await balance_dirty_pages(fs)
        elif write.waits:
            completion.result = write.length
        else:
            fs.work.append(_end_queued(fs, file, completion, write, sync=sync))
            return completion
        if sync:
            await fsync(fs, file, pos if append is None else append.pos, completion.result)
    except FsError as error:
        completion.error = error
    completion.tell()
    return completion


async def _end_queued(
    fs: Filesystem, file: OpenFile, completion: Completion, write: DirectWrite, *, sync: bool
) -> None:
    """The rest of an asynchronous write, by itself: iomap_dio_complete_work()."""
    await completion.end(write)
    if sync and completion.error is None:
        try:
            await fsync(fs, file, write.pos, write.length)
        except FsError as error:
            completion.error = error
    completion.tell()


async def write_mapped(fs: Filesystem, inode: Inode, pos: int, data: Buffer) -> int:
    """The kernel's pages of a mapping arrive, whole: take what counts of them.

    FsError(ENOSPC) if one finds no room, although those before it did.
    """
    fs.counters.buffered_writes += 1
    view = memoryview(data)
    batch = WRITE_PAGES_MAX * fs.geometry.page_size
    await inode.lock.lock_exclusive()
    try:
        for start, end in inode.counted(pos, pos + len(view)):
            while start < end:
                stop = min(end, start - start % batch + batch)
                start += await write_pages(fs, inode, start, view[start - pos : stop - pos])
    finally:
        inode.lock.unlock_exclusive()
    if fs.cache.dirty_count > fs.cache.dirty_limit:
        await balance_dirty_pages(fs)
    return len(view)


async def fsync(fs: Filesystem, file: OpenFile, pos: int = 0, length: int = FILE_SIZE_MAX) -> None:
    """A range of the file is durable when this returns: xfs_file_fsync().

    All of it for fsync(2), of an O_DSYNC write what was written: generic_write_sync().
    FsError with what a writeback or invalidation failed with since this open file last
    reported one; there is no commit then.
    """
    mapping = file.inode.mapping
    with contextlib.suppress(FsError):  # the mapping has it
        await writeback_range(fs, file.inode, *fs.geometry.page_range(pos, length))
    error, file.error_seen = mapping.tell_errors(file.error_seen)
    if error:
        raise FsError(error)
    await commit("fsync.commit", file.inode)


async def writeback_inode(fs: Filesystem, inode: Inode) -> None:
    """Write back all of a file without a commit; failures stay with the mapping."""
    with contextlib.suppress(FsError):
        await writeback_range(fs, inode, 0, FILE_SIZE_MAX)


async def make_durable(fs: Filesystem, inode: Inode) -> None:
    """Write back and commit, before a rename puts the file in another's place."""
    await writeback_inode(fs, inode)
    await commit("names.commit", None)


async def commit_names() -> None:
    """Make all names and attributes durable: fsync of a directory, and the flusher."""
    await commit("names.commit", None)


async def copy_range(
    fs: Filesystem, source: OpenFile, pos_in: int, target: OpenFile, pos_out: int, length: int
) -> int:
    """Bytes copied, at most COPY_LENGTH_MAX; fewer at the end of the source.

    Where that is is looked at once, before anything else: generic_copy_file_checks().
    """
    copied = 0
    length = min(length, COPY_LENGTH_MAX, source.inode.size - pos_in)
    while copied < length:
        piece = min(COPY_PIECE, length - copied)
        try:
            data = b"".join(await buffered_read(fs, source, pos_in + copied, piece))
            written = await write(fs, target, pos_out + copied, data, direct=False, sync=False)
        except FsError:
            if copied:
                break
            raise
        copied += written
        if not data or written < len(data):
            break
    return copied
