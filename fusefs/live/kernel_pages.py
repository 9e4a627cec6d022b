"""The kernel's own page cache of this mount: what it may hold, and how it is told to let go.

Mappings, splice and sendfile go through it, everything else past it.  The kernel drops pages of
its own accord around most changes, but not after asynchronous direct writes, and not the page
in which a file ended before it grew.  So the daemon notes which pages the kernel reads for
itself, and has it drop those that a change concerns.

    filled      the kernel reads pages for itself
    changed     bytes have changed, or the file has grown: wait until its pages there are dropped
    truncated   the same for the page in which the file ended, without waiting
    flush       have all that was stored written back first: what the kernel drops, it writes back
    flush_all   the same for every file, from a trio task
    released    nobody has the file open: the next open(2) drops all its pages

Telling the kernel is a write(2) to /dev/fuse that waits for pages which are locked, and thus for
our answers to the kernel's own reads and writes: a process beside the daemon does it.  Requests
wait for it as for anything else, by a step; whoever does has no lock of the model.

Units: pos and length are bytes in the file; first and end (exclusive) are pages of the kernel.
Errors: none; what the kernel does not know any more, it need not drop.
Invariants:
    (O1) a page that the kernel may hold is noted, or it is being told to drop it;
    (O2) at most WRITES_WAITING_MAX writes wait for the kernel at a time.
"""

import errno
import logging
import mmap
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from fusefs.live.driver import Driver
from fusefs.live.teller import MESSAGE, MESSAGES_MAX, NUMBER, REPLY
from fusefs.model.inode import Inode, Tail
from fusefs.model.steps import Waiter, wait

log = logging.getLogger(__name__)

DROP = "kernel.drop_pages"
FLUSH = "kernel.flush_pages"
"""Steps before which a request waits.  They are of a mount alone: the model knows of no others."""

PAGE_SIZE = mmap.PAGESIZE

PAGES_MAX = 65536
"""Pages that are noted; of a file that would need more, every page is taken for held."""

WRITES_WAITING_MAX = 8
"""Half of the asynchronous requests that the kernel has under way at a time: what it waits for
may be asynchronous as well, and needs one of their places.  Writes beyond it are answered at
once, and their pages are dropped a moment later."""

INVALIDATE_INODE = 2
"""FUSE_NOTIFY_INVAL_INODE; a length of 0 goes to the end of the file."""

GONE = frozenset((errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED, errno.EBADF))
"""The inode, or the mount, is not there any more."""


@dataclass(slots=True, eq=False)
class KernelFile:
    """What the kernel may hold of one file.

    inode       whose they are
    pages       those that are noted
    everywhere  there were too many: any
    telling     how often it is being told just now
    """

    inode: Inode
    pages: set[int] = field(default_factory=set)
    everywhere: bool = False
    telling: int = 0

    def may_hold(self, page: int) -> bool:
        return self.everywhere or page in self.pages or self.telling > 0


@dataclass(slots=True, eq=False)
class Telling:
    """One change that the kernel is told of, and who waits for that."""

    inode: Inode
    file: KernelFile
    tails: dict[int, Tail]
    waiter: Waiter | None


class KernelPages:
    """All files of one mount.  connect() gives a socket to a process as in teller.py."""

    def __init__(self, driver: Driver, connect: Callable[[], socket.socket]) -> None:
        self._driver = driver
        self._connect = connect
        self._files: dict[int, KernelFile] = {}
        self._page_count = 0
        self._new: list[tuple[int, list[bytes]]] = []
        self._under_way: dict[int, Telling] = {}
        self._telling_count = 0
        self._writes_waiting = 0
        self._wanted = trio.Event()
        self._abandoned = False

    # -- what the kernel may hold ----------------------------------------------------

    def filled(self, inode: Inode, pos: int, length: int) -> None:
        """The kernel asks for pages of its own; those are new, and hold nothing that was stored."""
        inode.kernel_page = PAGE_SIZE
        file = self._files.setdefault(inode.ino, KernelFile(inode))
        pages = range(pos // PAGE_SIZE, -(-(pos + length) // PAGE_SIZE))
        for page in inode.kernel_tails.keys() & pages:
            del inode.kernel_tails[page]
        if not file.everywhere:
            count = len(file.pages)
            file.pages.update(pages)
            self._page_count += len(file.pages) - count
            if self._page_count > PAGES_MAX:
                file.everywhere = True
                self._forget(file, set(file.pages))

    def released(self, inode: Inode) -> None:
        """The last open file is closed, and with it the last mapping."""
        file = self._files.pop(inode.ino, None)
        if file is not None:
            self._forget(file, set(file.pages))
        inode.kernel_page = 0
        inode.kernel_tails.clear()

    def _forget(self, file: KernelFile, pages: set[int]) -> None:
        file.pages -= pages
        self._page_count -= len(pages)

    # -- telling it ------------------------------------------------------------------

    async def changed(self, inode: Inode, pos: int, length: int) -> None:
        """Bytes have changed, and i_size may have grown, in a request that is to be answered.

        Returns when no page of the kernel is older.
        """
        file = self._files[inode.ino]
        spans = self._take(file, pos // PAGE_SIZE, -(-(pos + length) // PAGE_SIZE))
        spans += self._ends(inode, file)
        if self._writes_waiting >= WRITES_WAITING_MAX:  # (O2)
            self._tell(inode, file, spans, None)
        elif self._tell(inode, file, spans, waiter := Waiter()):
            self._writes_waiting += 1
            try:
                await wait(DROP, waiter)
            finally:
                self._writes_waiting -= 1

    def truncated(self, inode: Inode) -> None:
        """Nobody waits: a truncate keeps the kernel from writing its pages back until it is
        answered."""
        file = self._files[inode.ino]
        self._tell(inode, file, self._ends(inode, file), None)

    async def flush(self, inode: Inode, pos: int) -> None:
        """Returns when what was stored through mappings from pos on is written back.

        Whoever asks may have been held until the last close, which has written all of it back.
        """
        file = self._files.get(inode.ino)
        if file is None:
            return
        first = pos // PAGE_SIZE
        found = {page for page in file.pages if page >= first}
        self._forget(file, found)
        # What somebody else has it drop just now need not be written back yet.
        spans = [(first, first)] if found or file.everywhere or file.telling else []
        if self._tell(inode, file, spans, waiter := Waiter()):
            await wait(FLUSH, waiter)

    async def flush_all(self) -> bool:
        """What was stored through any mapping is written back; false if it may not be.

        The kernel's writes come in meanwhile, and may change which files there are.
        """
        is_whole = True
        for inode in [file.inode for file in self._files.values()]:
            await self._driver.call(self.flush(inode, 0), "writeback", inode.ino)
            is_whole = not self._abandoned
        return is_whole

    def _ends(self, inode: Inode, file: KernelFile) -> list[tuple[int, int]]:
        """The pages in which the file ended before it grew, as far as the kernel may hold them."""
        return [(page, page + 1) for page in inode.kernel_tails if file.may_hold(page)]

    def _take(self, file: KernelFile, first: int, end: int) -> list[tuple[int, int]]:
        """What is noted of a range, as one span, and is not noted any more."""
        if file.everywhere:
            return [(first, end)] if first < end else []
        found = [page for page in range(first, end) if page in file.pages]
        if not found:
            return []
        self._forget(file, set(found))
        return [(found[0], found[-1] + 1)]

    def _tell(
        self,
        inode: Inode,
        file: KernelFile,
        spans: list[tuple[int, int]],
        waiter: Waiter | None,
    ) -> bool:
        """Whether there is anything to wait for."""
        if not spans or self._abandoned:
            if not file.telling:
                inode.kernel_tails.clear()
            return False
        if waiter is None:
            self._driver.others_running += 1  # as if a task waited: trio gets its turn at once
        file.telling += 1
        self._telling_count += 1
        telling = Telling(inode, file, dict(inode.kernel_tails), waiter)
        self._under_way[self._telling_count] = telling
        messages = [_message(inode.ino, first, end) for first, end in spans[:MESSAGES_MAX]]
        self._new.append((self._telling_count, messages))
        self._wanted.set()
        return True

    def _told(self, number: int) -> None:
        """The kernel has dropped its pages; a second time it does not count."""
        telling = self._under_way.pop(number, None)
        if telling is None:
            return
        telling.file.telling -= 1
        tails = telling.inode.kernel_tails
        for page, tail in telling.tails.items():
            if tails.get(page) == tail:
                del tails[page]
        if telling.waiter is None:
            self._driver.others_running -= 1
        else:
            telling.waiter.wake()
            self._driver.run_ready()

    # -- the trio side ---------------------------------------------------------------

    async def run(self) -> None:
        """Tell the kernel, until cancelled.  The process for it is started when it is needed."""
        await self._wanted.wait()
        try:
            connection = self._connect()
        except OSError as error:
            log.error("the kernel cannot be told what changes under a mapping: %s", error)
            self.abandon()
            return
        with trio.socket.from_stdlib_socket(connection) as teller:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, teller)
                while True:
                    await self._wanted.wait()
                    self._wanted = trio.Event()
                    new, self._new = self._new, []
                    for number, messages in new:
                        with suppress(OSError):  # _hear() meets it, too
                            await teller.send(NUMBER.pack(number) + b"".join(messages))

    async def _hear(self, teller: trio.socket.SocketType) -> None:
        with suppress(OSError):
            while reply := await teller.recv(REPLY.size):
                number, failed = REPLY.unpack(reply)
                if failed and failed not in GONE:
                    log.error("the kernel was not told what changed: %s", os.strerror(failed))
                self._told(number)
        log.error("the process that tells the kernel what changes under a mapping has ended")
        self.abandon()

    def abandon(self) -> None:
        """Nobody waits for the kernel any more, nor will."""
        self._abandoned = True
        for number in list(self._under_way):
            self._told(number)


def _message(ino: int, first: int, end: int) -> bytes:
    pos, length = first * PAGE_SIZE, (end - first) * PAGE_SIZE
    return MESSAGE.pack(MESSAGE.size, INVALIDATE_INODE, 0, ino, pos, length)
