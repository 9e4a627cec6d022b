"""Open directories: from the extension's calls to listings of names with attributes.

A directory's handle is its inode, but for .fusefs.  The kernel keeps a listing until a name
changes, and then asks again; only it changes names.

Errors: FsError of a handler is the request's answer.
"""

import errno
import time

from fusefs.live.driver import Driver
from fusefs.live.extension._lowlevel import Listing, Request
from fusefs.live.requests.atime import Atime
from fusefs.live.requests.attributes import control_attributes, node_attributes
from fusefs.live.requests.control import Control
from fusefs.model.errors import FsError
from fusefs.model.file_io import commit_names
from fusefs.store.metadata_file import DOT_COOKIES
from fusefs.store.node import Node
from fusefs.store.volume import Volume

ENTRY_BYTES = 160
"""What the kernel's fuse_direntplus takes at least: so many entries may find room."""

ENTRIES_MAX = 256
"""Entries that are read at a time, however large the caller's buffer is."""


class DirectoryRequests:
    """The handler of the extension for them."""

    def __init__(self, volume: Volume, driver: Driver, control: Control, atime: Atime) -> None:
        self.volume = volume
        self.names = volume.namespace
        self.nodes = volume.nodes
        self.driver = driver
        self.control = control
        self.atime = atime
        self._page_size = volume.fs.geometry.page_size

    def opendir(self, request: Request, ino: int) -> None:
        """A reader whose atime moves is seen here, so its listing is not the kept one."""
        if self.control.owns(ino):
            request.reply_opendir(self.control.open_directory(), False)
            return
        node = self.nodes.get(ino)
        if not node.is_directory:
            raise FsError(errno.ENOTDIR)
        node.opens += 1
        request.reply_opendir(ino, not self.atime.moves(node, time.time_ns()))

    def readdir(self, request: Listing, fh: int, cookie: int, size: int) -> None:
        """readdirplus: names with attributes, each of which is a lookup for the kernel."""
        if self.control.owns(fh):
            self._list_control(request, cookie)
            return
        self.atime.touch(self.nodes.get(fh), time.time_ns())
        given: list[Node] = []
        try:
            self._fill(request, fh, cookie, min(size // ENTRY_BYTES + 1, ENTRIES_MAX), given)
        except FsError:
            for node in given:
                node.lookups -= 1
                self.volume.release(node)
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
                        self.volume.release(self.nodes.get(entry.ino))
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
            self.volume.release(node)
        request.reply_done()

    def fsyncdir(self, request: Request, fh: int) -> None:
        self.driver.start(commit_names(), request.reply_done, "fsyncdir", fh, request.pid)
