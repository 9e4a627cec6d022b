"""Data requests: from the extension's calls to the model, and the answer back.

    read, write               by this request's own flags: O_DIRECT may have been switched
    fill, _write_page         the kernel's own pages of the file: see kernel_pages.py
    fallocate, lseek, copy    what pyfuse3 does not have

Units: pos, size and length are bytes in the file.
Errors: every request is answered: FsError with its errno, by the extension if it is raised here,
by _start() if it is the model's.
"""

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fusefs.live.driver import Driver, ModelCoroutine
from fusefs.live.requests.atime import Atime
from fusefs.live.timing import Opened, Timing
from fusefs.model.errors import FsError
from fusefs.model.file_io import copy_range, read_pieces, write, write_mapped
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.steps import Buffer
from fusefs.model.truncate import SEEK_DATA, SEEK_HOLE, fallocate, seek

if TYPE_CHECKING:  # not compiled: see setup.py
    from fusefs.live.extension._lowlevel import Request
    from fusefs.live.kernel_pages import KernelPages
    from fusefs.live.requests.control import Control
    from fusefs.store.node import Node
    from fusefs.store.volume import Volume

O_DIRECT: Final = os.O_DIRECT
O_DSYNC: Final = os.O_DSYNC
O_NOATIME: Final = os.O_NOATIME

WRITE_FLAGS: Final = ("", "dsync", "direct", "direct,dsync")
"""What a request is told to be, by 2 * direct + dsync."""


class Handle:
    """One open file: its node, and the model's and the timing's part of it.

    A control file has content instead.
    """

    __slots__ = ("content", "file", "node", "opened")

    def __init__(
        self, node: "Node | None", opened: Opened | None = None, content: bytes = b""
    ) -> None:
        self.node = node
        self.opened = opened
        self.content = content
        inode = node.inode if node is not None else None
        self.file = None if inode is None else OpenFile.opened(inode)


class DataRequests:
    """The handler of the extension.  handles are the open files by number.

    atime says what reading does to it.
    """

    def __init__(
        self,
        volume: "Volume",
        driver: Driver,
        timing: Timing,
        control: "Control",
        atime: Atime,
        kernel_pages: "KernelPages",
    ) -> None:
        self.fs = volume.fs
        self.nodes = volume.nodes
        self.permissions = volume.permissions
        self.health = volume.health
        self.driver = driver
        self.timing = timing
        self.control = control
        self.atime = atime
        self.kernel_pages = kernel_pages
        self.handles: dict[int, Handle] = {}
        self._handle_count = 0
        self.run_ready = driver.run_ready

    def open(self, handle: Handle) -> int:
        self._handle_count += 1
        self.handles[self._handle_count] = handle
        return self._handle_count

    def open_control(self, ino: int, flags: int) -> int:
        return self.open(Handle(None, content=self.control.open(ino, flags)))

    def close(self, fh: int) -> Handle:
        handle = self.handles.pop(fh)
        self.control.release(handle.content)
        if handle.opened is not None:
            self.timing.closed(handle.opened)
        return handle

    def read(self, request: "Request", ino: int, fh: int, pos: int, size: int, flags: int) -> None:
        handle = self.handles[fh]
        file, node = handle.file, handle.node
        if file is None or node is None:
            request.reply_buf(handle.content[pos : pos + size])
            return
        if not flags & O_NOATIME:
            self.atime.touch(node, time.time_ns())
        direct = bool(flags & O_DIRECT)
        if handle.opened is not None:
            self.timing.arrives(handle.opened, request.pid, direct, False)
        coroutine = read_pieces(self.fs, file, pos, size, direct=direct)
        told = "direct" if direct else ""
        self._start(request, ino, "read", coroutine, request.reply_pieces, pos, size, told)

    def fill(self, request: "Request", ino: int, fh: int, pos: int, size: int, flags: int) -> None:
        """A read that the kernel keeps, for mappings and splice."""
        file = self.handles[fh].file
        if file is not None:
            self.kernel_pages.filled(file.inode, pos, size)
        self.read(request, ino, fh, pos, size, flags)

    def write(
        self,
        request: "Request",
        ino: int,
        fh: int,
        pos: int,
        data: Buffer,
        flags: int,
        writepage: bool,
    ) -> None:
        if writepage:
            self._write_page(request, ino, pos, data)
            return
        handle = self.handles[fh]
        file, node = handle.file, handle.node
        if file is None or node is None:
            self.control.write(ino, bytes(data))
            request.reply_write(len(data))
            return
        self.health.check_writable()
        self.permissions.modified(node, request, time.time_ns())
        direct, sync = bool(flags & O_DIRECT), bool(flags & O_DSYNC)
        if handle.opened is not None:
            self.timing.arrives(handle.opened, request.pid, direct, True)
        coroutine = write(self.fs, file, pos, data, direct=direct, sync=sync)
        reply, size, told = request.reply_write, len(data), WRITE_FLAGS[2 * direct + sync]
        self._start(request, ino, "write", coroutine, reply, pos, size, told, file.inode, size)

    def _write_page(self, request: "Request", ino: int, pos: int, data: Buffer) -> None:
        """The kernel's own writeback of a mapped page: through any handle or none.

        page_mkwrite() takes no privileges in Linux either.
        """
        node, inode = self._regular(ino)
        self.health.check_writable()
        node.mtime_ns = node.ctime_ns = time.time_ns()
        self.nodes.mark_changed(node)
        coroutine = write_mapped(self.fs, inode, pos, data)
        self._start(request, ino, "write", coroutine, request.reply_write, pos, len(data), "mapped")

    def fallocate(self, request: "Request", ino: int, mode: int, pos: int, length: int) -> None:
        node, inode = self._regular(ino)
        self.health.check_writable()
        self.permissions.modified(node, request, time.time_ns())
        coroutine = fallocate(self.fs, inode, mode, pos, length)

        def reply(_: None) -> None:
            request.reply_err(0)

        self._start(request, ino, "fallocate", coroutine, reply, pos, length, "", inode)

    def lseek(self, request: "Request", ino: int, pos: int, whence: int) -> None:
        _, inode = self._regular(ino)
        if whence not in (SEEK_DATA, SEEK_HOLE):
            raise FsError(errno.EINVAL)

        def start() -> None:
            coroutine = seek(self.fs, inode, pos, whence)
            self._start(request, ino, "lseek", coroutine, request.reply_lseek, pos)

        if inode.kernel_page:
            self.kernel_pages.flush(inode, max(pos, 0), start)
        else:
            start()

    def copy_file_range(
        self, request: "Request", fh_in: int, pos_in: int, fh_out: int, pos_out: int, length: int
    ) -> None:
        source, target = self.handles[fh_in], self.handles[fh_out]
        if source.file is None or target.file is None or target.node is None:
            raise FsError(errno.EINVAL)
        self.health.check_writable()
        if source.opened is not None:
            self.timing.arrives(source.opened, request.pid, False, False)
        now = time.time_ns()
        if source.node is not None:
            self.atime.touch(source.node, now)
        self.permissions.modified(target.node, request, now)
        coroutine = copy_range(self.fs, source.file, pos_in, target.file, pos_out, length)
        ino, reply, inode = target.node.ino, request.reply_write, target.file.inode
        self._start(request, ino, "copy_file_range", coroutine, reply, pos_out, length, "", inode)

    def _regular(self, ino: int) -> "tuple[Node, Inode]":
        """The node of a regular file; FsError(EINVAL) for anything else."""
        node = None if self.control.owns(ino) else self.nodes.get(ino)
        if node is None or node.inode is None:
            raise FsError(errno.EINVAL)
        return node, node.inode

    def _start(
        self,
        request: "Request",
        ino: int,
        operation: str,
        coroutine: ModelCoroutine[Any],
        reply: Callable[[Any], None],
        pos: int,
        length: int = 0,
        flags: str = "",
        changing: Inode | None = None,
        changes: int = 0,
    ) -> None:
        """changing is a file that may grow; so many bytes of it from pos on change as well, but for
        those of which the kernel drops its own pages itself."""

        def done(result: Any, error: FsError | None) -> None:
            if changing is not None and changing.kernel_page:
                then = partial(_answer, request, reply, result, error)
                self.kernel_pages.changed(changing, pos, changes, then)
            elif error is None:
                reply(result)
            else:
                request.reply_err(error.errno)
            if self.fs.work:
                self._start_work(request.pid, ino, pos, length)

        self.driver.start(coroutine, done, operation, ino, request.pid, pos, length, flags)

    def _start_work(self, pid: int, ino: int, pos: int, length: int) -> None:
        """What a request has left to be done, as a request of its own; nobody is answered."""
        while self.fs.work:
            coroutine = self.fs.work.pop(0)
            self.driver.start(coroutine, _answer_nobody, "work", ino, pid, pos, length)


def _answer_nobody(result: Any, error: FsError | None) -> None:
    pass


def _answer(
    request: "Request", reply: Callable[[Any], None], result: Any, error: FsError | None
) -> None:
    if error is None:
        reply(result)
    else:
        request.reply_err(error.errno)
