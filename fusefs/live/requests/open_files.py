"""Open files and directories: from the extension's calls, but for data, to the answer.

    open, create's end, release          a handle is a number in DataRequests.handles
    opendir, readdir, releasedir         a directory's handle is its inode, but for .fusefs

Errors: every request is answered; FsError becomes its errno in the extension.
"""

import errno
import os
import time
from collections.abc import Callable

from fusefs.live.driver import Driver
from fusefs.live.extension._lowlevel import Listing, Request, Shown
from fusefs.live.requests.attributes import control_attributes, node_attributes
from fusefs.live.requests.control import Control
from fusefs.live.requests.data import DataRequests, Handle
from fusefs.model.errors import FsError
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.truncate import truncate
from fusefs.store.metadata_file import DOT_COOKIES
from fusefs.store.node import Node
from fusefs.store.volume import Volume

ENTRY_BYTES = 160
"""What the kernel's fuse_direntplus takes at least: so many entries may find room."""

ENTRIES_MAX = 256
"""Entries that are read at a time, however large the caller's buffer is."""


class OpenFiles:
    """Open files of one mount, and what all handlers of names share."""

    def __init__(
        self, volume: Volume, driver: Driver, data: DataRequests, control: Control
    ) -> None:
        self.volume = volume
        self.names = volume.namespace
        self.nodes = volume.nodes
        self.permissions = volume.permissions
        self.driver = driver
        self.data = data
        self.control = control
        self._page_size = volume.fs.geometry.page_size

    # -- what handlers share ---------------------------------------------------------

    def attributes(self, node: Node) -> Shown:
        return node_attributes(node, self._page_size)

    def looked_up(self, node: Node) -> Shown:
        """For the reply that gives the kernel one more reference to a node."""
        node.lookups += 1
        return node_attributes(node, self._page_size)

    def released(self, node: Node) -> None:
        """Let a node go that nobody can reach, if it holds nothing that must be written."""
        inode = node.inode
        if node.is_idle and node.nlink and inode is not None and inode.mapping.pages_dirty:
            return  # the flusher writes it back, and the commit after that lets it go
        self.volume.release(node)

    def set_size(self, request: Request, node: Node, size: int, sized: Callable[[], None]) -> None:
        """Truncate, and then go on with sized(), which answers; it may take a while.

        The kernel drops its pages once it has the answer; until then it writes none back.
        """
        inode = node.inode
        if inode is None:
            raise FsError(errno.EISDIR if node.is_directory else errno.EINVAL)
        if size > FILE_SIZE_MAX:
            raise FsError(errno.EFBIG)

        def done(_: object, error: FsError | None) -> None:
            try:
                if error is not None:
                    raise error
                self.nodes.mark_changed(node)
                sized()
            except FsError as failure:
                request.reply_err(failure.errno)
            if inode.kernel_tails:
                self.data.kernel_pages.changed(inode, 0, 0, None)

        coroutine = truncate(self.volume.fs, inode, size)
        self.driver.start(coroutine, done, "truncate", node.ino, request.pid, size)

    # -- open files ------------------------------------------------------------------

    def open(self, request: Request, ino: int, flags: int) -> None:
        if self.control.owns(ino):
            request.reply_open(self.data.open_control(ino, flags), True)
            return
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            self.volume.health.check_writable()
        node = self.nodes.get(ino)
        if not flags & os.O_TRUNC:
            self._reply_opened(request, node, flags)
            return

        def truncated() -> None:  # O_TRUNC comes with no setattr: not for times and setuid
            self.permissions.modified(node, request, time.time_ns())
            self._reply_opened(request, node, flags)

        if node.size or node.blocks_512:
            self.set_size(request, node, 0, truncated)
        else:
            truncated()

    def _reply_opened(self, request: Request, node: Node, flags: int) -> None:
        request.reply_open(self.opened(node, request, flags), True)

    def opened(self, node: Node, request: Request, flags: int) -> int:
        """Every open bypasses the kernel's own page cache: the model has the only one."""
        node.opens += 1
        inode, timing = node.inode, self.data.timing
        opened = None if inode is None else timing.opened(inode, request.pid, flags)
        return self.data.open(Handle(node, opened))

    def release(self, request: Request, fh: int) -> None:
        node = self.data.close(fh).node
        if node is not None:
            node.opens -= 1
            if not node.opens and node.inode is not None and node.inode.kernel_page:
                self.data.kernel_pages.released(node.inode)
            if node.is_idle or not node.nlink:
                self.released(node)
        request.reply_err(0)

    # -- directories -----------------------------------------------------------------

    def opendir(self, request: Request, ino: int) -> None:
        """The kernel keeps a listing until a name changes, and then asks again; only it changes
        names.  A reader whose atime moves is seen here, so its listing is not the kept one.
        """
        if self.control.owns(ino):
            request.reply_opendir(self.control.open_directory(), False)
            return
        node = self.nodes.get(ino)
        if not node.is_directory:
            raise FsError(errno.ENOTDIR)
        node.opens += 1
        request.reply_opendir(ino, not self.data.atime.moves(node, time.time_ns()))

    def readdir(self, request: Listing, fh: int, cookie: int, size: int) -> None:
        """readdirplus: names with attributes, each of which is a lookup for the kernel."""
        if self.control.owns(fh):
            self._list_control(request, cookie)
            return
        self.data.atime.touch(self.nodes.get(fh), time.time_ns())
        given: list[Node] = []
        try:
            self._fill(request, fh, cookie, min(size // ENTRY_BYTES + 1, ENTRIES_MAX), given)
        except FsError:
            for node in given:
                node.lookups -= 1
                self.released(node)
            raise
        request.reply_entries()

    def _fill(self, request: Listing, ino: int, cookie: int, limit: int, given: list[Node]) -> None:
        """Add entries, limit at a time, until there is no more room or no more entry."""
        nodes, there_is_more = self.nodes.in_memory, True
        while there_is_more:
            entries = self.names.entries(ino, cookie, limit)
            self.names.load(ino, entries)
            for position, (cookie, name, entry_ino) in enumerate(entries):
                node = nodes.get(entry_ino) or self.nodes.get(entry_ino)
                if not request.add(name, node_attributes(node, self._page_size), cookie):
                    for entry in entries[position:]:
                        self.released(self.nodes.get(entry.ino))
                    return
                if cookie > DOT_COOKIES:
                    node.lookups += 1  # at once: another of its names may find no room
                    given.append(node)
            there_is_more = len(entries) == limit

    def _list_control(self, request: Listing, cookie: int) -> None:
        for i, name in enumerate(self.control.names[cookie:], cookie + 1):
            shown = control_attributes(self.control, self.control.inos[name])
            if not request.add(name.encode(), shown, i):
                break
        request.reply_entries()

    def releasedir(self, request: Request, fh: int) -> None:
        if self.control.owns(fh):
            self.control.release_directory(fh)
        else:
            node = self.nodes.get(fh)
            node.opens -= 1
            self.released(node)
        request.reply_err(0)
