"""The one place that yields to a driver: what the model asks of whoever drives it.

Every function of the model that has to wait, or wants something done, awaits a Step.
A step has a kind, which is what the driver must do, and a name, which is where on the
kernel's path the request stands.  What the name says happens after the step is granted:
two neighbouring names are one race window.  Code between two steps is atomic.

    PASS          nothing; others may go first
    LOAD_MAP      the map of inode's blocks from pos on is looked at next: have it in memory
    READ_IMAGE    read length bytes at addr of the image; the step's result
    WRITE_IMAGE   write data at addr of the image
    COMMIT        make durable what the image and the metadata hold now
    WAIT          go on when waiter is woken
    DELAY         go on after duration_s seconds

Units: pos and length are bytes in the file; addr is bytes in the image.
Names appear in saved schedules: never reuse one.  NAMES lists those of the model.  A request has
begin and reply as well (engine/task.py).  On a mount it may also wait at kernel.drop_pages and
kernel.flush_pages (live/kernel_pages.py), and at part.end (live/requests/gated.py), which no gate
knows of.
"""

from collections.abc import Awaitable, Callable, Generator
from enum import Enum
from typing import Any, Final, Protocol

from fusefs.model.footprint import Footprint

Buffer = bytes | bytearray | memoryview


class PageData(Protocol):
    """The bytes of a page: writable memory, such as a bytearray; a driver may bring another."""

    def __len__(self) -> int: ...
    def __setitem__(self, where: slice, data: Buffer, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...


Piece = Buffer | PageData
"""Bytes that a read hands over as they lie."""

NAMES = {
    # name                              what has not happened yet; the kernel's anchor
    "lock.inode.shared": "i_rwsem not held; inode_lock_shared()",
    "lock.inode.exclusive": "i_rwsem not held; inode_lock()",
    "lock.mapping.shared": "invalidate_lock not held; filemap_invalidate_lock_shared()",
    "lock.mapping.exclusive": "invalidate_lock not held; filemap_invalidate_lock()",
    "lock.worker.exclusive": "worker busy with another end of I/O; flush_work()",
    "lock.page": "page locked by someone else; folio_lock()",
    "lock.page.writeback": "page under writeback; folio_wait_writeback()",
    "lock.dio": "direct I/O under way; inode_dio_wait()",
    "dio.write.lock_exclusive": "i_rwsem let go, and not asked for again; xfs_file_write_checks()",
    "dio.write.flush_dirty": "dirty pages only in memory; kiocb_invalidate_pages()",
    "dio.write.invalidate_pre": "old clean pages still cached; invalidate_inode_pages2_range()",
    "dio.write.map": "no blocks chosen; ->iomap_begin()",
    "dio.write.submit": "bytes not on the device; iomap_dio_submit_bio()",
    "dio.write.convert": "blocks still read as zeros; ->end_io()",
    "dio.write.isize": "i_size below the end of the write; i_size_write()",
    "dio.write.invalidate_post": "pages read during the I/O still cached; "
    "kiocb_invalidate_post_direct_write()",
    "dio.write.reap": "end of the write not told; io_getevents()",
    "dio.read.flush_dirty": "dirty pages only in memory; kiocb_write_and_wait()",
    "dio.read.invalidate": "clean pages still cached; invalidate_inode_pages2_range()",
    "dio.read.map": "nothing known about the range; ->iomap_begin()",
    "dio.read.submit": "bytes not read; iomap_dio_submit_bio()",
    "buffered.read.page_lock": "no page in the cache; filemap_add_folio()",
    "buffered.read.map": "nothing known about the range; ->iomap_begin()",
    "buffered.read.fill": "page locked, not uptodate; folio_end_read()",
    "buffered.write.page_lock": "no page held; iomap_write_begin()",
    "buffered.write.map": "no room reserved; ->iomap_begin()",
    "buffered.write.fill": "edge blocks not uptodate; __iomap_write_begin()",
    "buffered.write.copy": "page has the old bytes; copy_folio_from_iter_atomic()",
    "writeback.page_lock": "page dirty, not held; writeback_iter()",
    "writeback.map": "delayed blocks have no place; ->writeback_range()",
    "writeback.submit": "bytes not on the device; iomap_ioend_writeback_submit()",
    "writeback.convert": "blocks still read as zeros; iomap_finish_ioend()",
    "mmap.fault.page_lock": "page not mapped; filemap_fault()",
    "zero.map": "nothing known about the edge; iomap_zero_range()",
    "zero.fill": "edge block not uptodate; __iomap_write_begin()",
    "truncate.flush": "bytes below the new size only in memory; xfs_setattr_size()",
    "truncate.drop_pages": "pages beyond the new size cached; truncate_setsize()",
    "truncate.free": "blocks beyond the new size allocated; xfs_itruncate_extents()",
    "fallocate.flush": "dirty pages of the range only in memory; xfs_flush_unmap_range()",
    "fallocate.drop_pages": "pages of the range cached; xfs_flush_unmap_range()",
    "fallocate.free": "blocks of the range allocated; xfs_free_file_space()",
    "fallocate.allocate": "no blocks chosen; xfs_alloc_file_space()",
    "truncate.commit": "blocks remain beyond the new size; xfs_defer_finish()",
    "fallocate.commit": "a part of the range is done; xfs_trans_commit()",
    "seek.map": "nothing known about the range; iomap_seek_data(), iomap_seek_hole()",
    "fsync.commit": "nothing durable; xfs_log_force_inode()",
    "names.commit": "names not durable; xfs_log_force()",
    "space.commit": "freed blocks not free for use; xfs_log_force()",
}


class Kind(Enum):
    """What a driver must do for a step; see the module's table."""

    PASS = "pass"
    LOAD_MAP = "load map"
    READ_IMAGE = "read image"
    WRITE_IMAGE = "write image"
    COMMIT = "commit"
    WAIT = "wait"
    DELAY = "delay"


PASS: Final = Kind.PASS
LOAD_MAP: Final = Kind.LOAD_MAP
READ_IMAGE: Final = Kind.READ_IMAGE
WRITE_IMAGE: Final = Kind.WRITE_IMAGE
"""The frequent ones: an attribute of an Enum costs much more than one of these."""


class Current:
    """Who runs, as the kernel's current; set by whoever advances a coroutine.

    number is that of a request, 0 for what is none.  footprint takes what it touches; None where
    nobody asks, as on a mount.
    """

    __slots__ = ("footprint", "number")

    def __init__(self) -> None:
        self.number = 0
        self.footprint: Footprint | None = None


current: Final = Current()


class Waiter:
    """Someone who waits: woken once, by the one who makes the wait end.

    A driver sets notify to be told at once; an explorer looks at woken instead.
    number is the request that waits, and owner the one that it waits for, as far as that is known:
    another one when a lock has been handed over.
    """

    __slots__ = ("notify", "number", "owner", "woken")

    def __init__(self, owner: int = 0) -> None:
        self.woken = False
        self.number = current.number
        self.owner = owner
        self.notify: Callable[[], None] | None = None

    def wake(self) -> None:
        self.woken = True
        if self.notify is not None:
            self.notify()


class Step:
    """One request to the driver.  Only the fields that its kind names mean anything.

    inode is an Inode, whose file imports this one.

    To await it is to hand it to the driver; the result is what the driver answers, or its
    FsError.
    """

    __slots__ = (
        *("addr", "data", "duration_s", "inode", "kind"),
        *("length", "name", "pos", "waiter"),
    )

    def __init__(
        self,
        kind: Kind,
        name: str,
        pos: int = 0,
        length: int = 0,
        addr: int = 0,
        data: Buffer | None = None,
        inode: Any = None,
        waiter: Waiter | None = None,
        duration_s: float = 0.0,
    ) -> None:
        self.kind = kind
        self.name = name
        self.pos = pos
        self.length = length
        self.addr = addr
        self.data = data
        self.inode = inode
        self.waiter = waiter
        self.duration_s = duration_s

    def __await__(self) -> Generator["Step", Any, Any]:
        return (yield self)


def reach(name: str, pos: int, length: int) -> Awaitable[None]:
    return Step(PASS, name, pos, length)


def load_map(name: str, inode: Any, pos: int, length: int) -> Awaitable[None]:
    """The map of the range is looked at next; what of it is not in memory is read here or then."""
    return Step(LOAD_MAP, name, pos, length, inode=inode)


def read_image(name: str, addr: int, pos: int, length: int) -> Awaitable[Buffer]:
    """Exactly length bytes; FsError(EIO) if the image cannot give them."""
    return Step(READ_IMAGE, name, pos, length, addr)


def write_image(name: str, addr: int, data: Buffer, pos: int, length: int) -> Awaitable[None]:
    """All of data, or FsError(EIO) or FsError(ENOSPC) of the image's host."""
    return Step(WRITE_IMAGE, name, pos, length, addr, data)


def commit(name: str, inode: Any) -> Awaitable[None]:
    return Step(Kind.COMMIT, name, inode=inode)


def wait(name: str, waiter: Waiter) -> Awaitable[None]:
    return Step(Kind.WAIT, name, waiter=waiter)


def delay(name: str, pos: int, length: int, duration_s: float) -> Awaitable[None]:
    return Step(Kind.DELAY, name, pos, length, duration_s=duration_s)
