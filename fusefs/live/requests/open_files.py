"""Open files: from the extension's calls to a handle, and what concerns a file as a whole.

    open, opened, release    a handle is a number in handles; create() ends in opened(), too
    resizable, set_size      truncate(2), and open(2) with O_TRUNC
    fsync

Errors: FsError of a handler and of a coroutine is the request's answer.
"""

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from fusefs.live.driver import Driver
from fusefs.live.timing import Opened, Timing
from fusefs.model.errors import FsError
from fusefs.model.file_io import fsync
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.readahead import ReadaheadState
from fusefs.model.truncate import truncate

if TYPE_CHECKING:  # not compiled: see setup.py
    from fusefs.live.extension._lowlevel import Request
    from fusefs.live.kernel_pages import KernelPages
    from fusefs.live.requests.control import Control
    from fusefs.live.requests.gate_files import GateFile
    from fusefs.store.node import Node
    from fusefs.store.volume import Volume

O_TRUNC: Final = os.O_TRUNC
CHANGES: Final = os.O_ACCMODE | os.O_TRUNC
"""Flags of an open that wants to change the file, or may."""


class Handle:
    """One open file: its node, and the model's and the timing's part of it."""

    __slots__ = ("file", "node", "opened")

    def __init__(self, node: "Node", file: OpenFile, opened: Opened) -> None:
        self.node = node
        self.file = file
        self.opened = opened


class OpenFiles:
    """Those of one mount, by number.

    Of a control file, contents has what reading it gives; gates has those that are .fusefs/gates.
    """

    def __init__(
        self,
        volume: "Volume",
        driver: Driver,
        timing: Timing,
        control: "Control",
        kernel_pages: "KernelPages",
    ) -> None:
        self.volume = volume
        self.fs = volume.fs
        self.nodes = volume.nodes
        self.in_memory: dict[int, Node] = volume.nodes.in_memory
        self.permissions = volume.permissions
        self.health = volume.health
        self.driver = driver
        self.timing = timing
        self.control = control
        self.kernel_pages = kernel_pages
        self.handles: dict[int, Handle] = {}
        self.contents: dict[int, bytes] = {}
        self.gates: dict[int, GateFile] = {}
        self._count = 0

    # -- open and close --------------------------------------------------------------

    def open(self, request: "Request", ino: int, flags: int) -> None:
        if ino not in self.in_memory and self.control.owns(ino):
            self._open_control(request, ino, flags)
            return
        if flags & CHANGES:
            self.health.check_writable()
        node, inode = self.regular(ino)
        if not flags & O_TRUNC:
            request.reply_open(self.opened(node, inode, request.pid, flags))
        elif node.size or node.blocks_512:
            coroutine = self._open_emptied(request, node, inode, flags)
            self.driver.start(coroutine, request.reply_open, "truncate", ino, request.pid)
        else:
            self.permissions.modified(node, request, time.time_ns())
            request.reply_open(self.opened(node, inode, request.pid, flags))

    async def _open_emptied(
        self, request: "Request", node: "Node", inode: Inode, flags: int
    ) -> int:
        """O_TRUNC comes with no setattr: not for times and setuid."""
        await self.set_size(node, inode, 0)
        self.permissions.modified(node, request, time.time_ns())
        return self.opened(node, inode, request.pid, flags)

    def opened(self, node: "Node", inode: Inode, pid: int, flags: int) -> int:
        """A new handle.  Its reads and writes bypass the kernel's own cache, mappings do not."""
        node.opens += 1
        file = OpenFile(inode, ReadaheadState(), inode.mapping.errors.sample())
        self._count += 1
        self.handles[self._count] = Handle(node, file, self.timing.opened(inode, pid, flags))
        return self._count

    def _open_control(self, request: "Request", ino: int, flags: int) -> None:
        self._count += 1
        fh = self._count
        gates = self.control.open_gates(ino, fh, flags)
        if gates is None:
            self.contents[fh] = self.control.open(ino, flags, fh)
            request.reply_open(fh)
        else:
            self.gates[fh] = gates
            request.reply_stream(fh)

    def read_control(self, request: "Request", fh: int, pos: int, size: int) -> None:
        gates = self.gates.get(fh)
        if gates is None:
            request.reply_buf(self.control.read(fh, self.contents[fh], pos, size))
        else:
            gates.read(request, size)

    def write_control(self, request: "Request", ino: int, fh: int, data: bytes) -> None:
        gates = self.gates.get(fh)
        if gates is None:
            self.control.write(ino, data)
            request.reply_write(len(data))
        else:
            gates.write(request, data)

    def release(self, request: "Request", fh: int) -> None:
        handle = self.handles.pop(fh, None)
        if handle is None:
            self._release_control(fh)
        else:
            self.timing.closed(handle.opened)
            node, inode = handle.node, handle.file.inode
            node.opens -= 1
            if not node.opens and inode.kernel_page:
                self.kernel_pages.released(inode)
            if not node.nlink or not (node.lookups or node.opens):
                self.volume.release(node)
        request.reply_done()

    def _release_control(self, fh: int) -> None:
        gates = self.gates.pop(fh, None)
        if gates is None:
            self.control.release(fh, self.contents.pop(fh))
        else:
            gates.close()

    # -- the file as a whole ---------------------------------------------------------

    def regular(self, ino: int) -> "tuple[Node, Inode]":
        """The node of a regular file; FsError(EINVAL) for anything else."""
        node = self.in_memory.get(ino)
        if node is None:
            if self.control.owns(ino):
                raise FsError(errno.EINVAL)
            node = self.nodes.get(ino)
        inode: Inode | None = node.inode
        if inode is None:
            raise FsError(errno.EINVAL)
        return node, inode

    def resizable(self, node: "Node", size: int) -> Inode:
        """FsError if it cannot have this size."""
        inode: Inode | None = node.inode
        if inode is None:
            raise FsError(errno.EISDIR if node.is_directory else errno.EINVAL)
        if size > FILE_SIZE_MAX:
            raise FsError(errno.EFBIG)
        return inode

    async def set_size(self, node: "Node", inode: Inode, size: int) -> None:
        """Truncate, or grow.

        The kernel drops its pages once it has the answer; until then it writes none back.
        """
        try:
            await truncate(self.fs, inode, size)
            self.nodes.mark_changed(node)
        finally:
            if inode.kernel_tails:
                self.kernel_pages.truncated(inode)

    def fsync(self, request: "Request", fh: int) -> None:
        handle = self.handles.get(fh)
        if handle is None:  # of .fusefs
            request.reply_done()
            return
        coroutine, ino = fsync(self.fs, handle.file), handle.node.ino
        self.driver.start(coroutine, request.reply_done, "fsync", ino, request.pid)
