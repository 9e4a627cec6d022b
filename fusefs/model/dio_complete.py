"""The end of a direct write's I/O: what iomap_dio_complete() and XFS below it do in Linux.

    DirectWrite       a write under way: struct iomap_dio
    complete_write    convert the blocks, raise i_size, drop the pages again
    end_io            the first two
    Completion        the same for whoever does not wait for it: struct kiocb

The second drop must follow the conversion.  Between submit and convert the data is on
the device but its blocks still read as zeros; a buffered read there caches those zeros,
and only a later drop removes them.  Kernel commit c771c14baa33 fixed this order,
332391a9935d undid it, 5e25c269e17d restored it.

Units: pos and length are bytes in the file.
Errors: FsError.
Invariants:
    (D1) in today's order, once complete_write returns, no clean cached page in the range
         disagrees with the image;
    (D3) a failed conversion does not skip the drop;
    (D5) in today's order a block is converted before i_size covers it: who sees the size that
         a write gave the file sees its data;
    (D6) an asynchronous write counts as direct I/O of its file from before its submission until
         its pages are dropped again;
    (D7) disk_size covers converted blocks from the turn of their conversion on: no commit has the
         one without the other, so a crash leaves no written block behind the end.
"""

import errno

from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.footprint import ENDED, key
from fusefs.model.geometry import SECTOR_SIZE
from fusefs.model.inode import Append, Inode
from fusefs.model.orders import Orders
from fusefs.model.page_cache import AddressSpace
from fusefs.model.steps import Buffer, Waiter, current, delay, reach, wait


class DirectWrite:
    """One write under way: struct iomap_dio.

    orders       in force when the write began; a switch of the mount option meets only later
                 writes
    unwritten    some submitted block was unwritten: there is something to convert
    append       pos is not known before the lock is held
    pos_asked    what the caller took for pos
    locks_out    it has inode.mapping.lock exclusive, so that no page comes: lockout
    waits        the caller waits for the end: is_sync_kiocb(), or IOMAP_DIO_FORCE_WAIT
    counted      it is in i_dio_count (D6)
    """

    __slots__ = (
        *("append", "counted", "data", "end", "fs", "inode", "length", "orders"),
        *("locks_out", "page_end", "page_first", "pos", "pos_asked", "unwritten", "waits"),
    )

    def __init__(
        self, fs: Filesystem, inode: Inode, pos: int, data: Buffer, append: Append | None = None
    ) -> None:
        self.fs = fs
        self.inode = inode
        self.data = memoryview(data)
        self.length = len(data)
        self.append = append
        self.pos_asked = pos
        self.move_to(pos)
        self.orders = fs.orders
        self.unwritten = False
        self.locks_out = False
        self.waits = True
        self.counted = False

    def move_to(self, pos: int) -> None:
        self.pos = pos
        self.end = pos + self.length
        self.page_first, self.page_end = self.fs.geometry.page_range(pos, self.length)


async def complete_write(write: DirectWrite) -> int:
    """The order under study: iomap_dio_complete()."""
    if write.orders.post_before_end:
        await drop_written_pages(write)
        error = await end_io(write)
        _count_stale_pages(write)
    elif write.orders.isize_after_post:
        error = await end_io_with_size_last(write)
    else:
        error = await end_io(write)
        await drop_written_pages(write)
    let_in(write)
    if error is not None:
        raise error
    return write.length


def queue_end(write: DirectWrite) -> int:
    """A worker completes the write, and the caller is told at once: XFS under ret_before_end."""
    write.inode.dio_begin()
    write.counted = True
    write.fs.work.append(Completion(write.inode.ino, write.pos).end(write))
    return write.length


async def lock_out(write: DirectWrite) -> None:
    """No page comes into the cache until let_in(): bch2_pagecache_block_get()."""
    if not write.locks_out:
        await write.inode.mapping.lock.lock_exclusive()
        write.locks_out = True


def let_in(write: DirectWrite) -> None:
    if write.locks_out:
        write.locks_out = False
        write.inode.mapping.lock.unlock_exclusive()


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


async def end_io_with_size_last(write: DirectWrite) -> FsError | None:
    """ext4 of Linux 5.5: i_size is left to iomap_dio_rw()'s caller, who comes after the drop."""
    error = None
    try:
        await convert_written_blocks(write)
    except FsError as failure:
        error = failure
    await drop_written_pages(write)
    if error is None:
        await raise_size(write)
        write.inode.written_to(write.end)
    return error


async def convert_written_blocks(write: DirectWrite) -> None:
    """Let the written blocks be read as data: xfs_iomap_write_unwritten()."""
    fs, inode = write.fs, write.inode
    if write.unwritten:
        delay_s = fs.options.conversion_delay
        await delay("dio.write.convert", write.pos, write.length, delay_s)
        block, end = fs.geometry.block_range(write.pos, write.length)
        inode.extents.convert(block, end)
        if write.end > inode.disk_size:  # (D7)
            inode.disk_size = write.end
        inode.changed = True  # again: a commit may have come since the submit
        fs.counters.conversions += 1


async def raise_size(write: DirectWrite) -> None:
    """i_size covers what the write has added to the file, if it has.

    After the drop it is a transaction of its own, and takes the time of one.
    """
    inode = write.inode
    if write.end > inode.size:
        if write.orders.isize_after_post:
            delay_s = write.fs.options.conversion_delay
            await delay("dio.write.isize", write.pos, write.length, delay_s)
        else:
            await reach("dio.write.isize", write.pos, write.length)
        if write.orders.isize_unlocked:
            inode.size = write.end
        else:
            inode.grow_to(write.end)


async def drop_written_pages(write: DirectWrite) -> None:
    """Drop pages that were read during the I/O: kiocb_invalidate_post_direct_write().

    A page that cannot be dropped makes the next fsync fail.
    """
    fs, mapping = write.fs, write.inode.mapping
    if not _drops_again(write):
        return
    await reach("dio.write.invalidate_post", write.pos, write.length)
    fs.counters.invalidations_post += 1
    if mapping.is_empty:
        return
    if write.orders.append_range_early:
        first, end = fs.geometry.page_range(write.pos_asked, write.length)
    else:
        first, end = write.page_first, write.page_end
    worker = fs.worker if write.orders.post_in_worker and write.counted else None
    if worker is not None:
        await worker.lock_exclusive()
    await drop_or_warn(fs, write.orders, mapping, first, end)
    if worker is not None:
        worker.unlock_exclusive()


def _drops_again(write: DirectWrite) -> bool:
    """Whether there is a second drop at all."""
    orders = write.orders
    if orders.no_post or orders.lockout:
        return False
    return not (orders.aio_no_post and write.counted)


async def drop_or_warn(
    fs: Filesystem, orders: Orders, mapping: AddressSpace, first: int, end: int
) -> None:
    """What cannot be dropped is told by the next fsync: dio_warn_stale_pagecache()."""
    if await fs.cache.invalidate_range(mapping, first, end):
        fs.counters.invalidations_busy += 1
        if not orders.busy_drop_silent:
            mapping.note_errors()
            mapping.errors.set(errno.EIO)


def _count_stale_pages(write: DirectWrite) -> None:
    """What was cached since the drop saw the blocks unwritten, or may have."""
    if write.unwritten:
        present = write.inode.mapping.present(write.page_first, write.page_end)
        write.fs.counters.pages_stale_possible += len(present)


class Completion:
    """An asynchronous write that is submitted, until its caller is told: struct kiocb.

    result is the length written, or error why not; told says that one of them is known.
    """

    __slots__ = ("_key", "_waiters", "error", "result", "told")

    def __init__(self, ino: int, pos: int) -> None:
        self._key = key(ENDED, ino, pos // SECTOR_SIZE)
        self.result = 0
        self.error: FsError | None = None
        self.told = False
        self._waiters: list[Waiter] = []

    async def end(self, write: DirectWrite) -> None:
        """What is left of a write; it counts as direct I/O under way until then (D6)."""
        try:
            self.result = await complete_write(write)
        except FsError as error:
            self.error = error
        finally:
            write.inode.dio_end()

    def _note_change(self) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.write(self._key)

    def tell(self) -> None:
        """The caller may know: ->ki_complete()."""
        self._note_change()
        self.told = True
        for waiter in self._waiters:
            waiter.wake()

    async def reap(self) -> int:
        """Wait for the end; the length written, or FsError: io_getevents(2)."""
        self._note_change()
        if not self.told:
            waiter = Waiter()
            self._waiters.append(waiter)
            await wait("dio.write.reap", waiter)
        if self.error is not None:
            raise self.error
        return self.result
