"""Data requests: from the extension's calls to the model, and the answer back.

    read, write               by this request's own flags: O_DIRECT may have been switched
    fill, _write_page         the kernel's own pages of the file: see kernel_pages.py
    fallocate, lseek, copy    what pyfuse3 does not have

Units: pos, size and length are bytes in the file.
Errors: FsError of a handler and of a coroutine is the request's answer.
"""

import errno
import os
import time
from typing import TYPE_CHECKING, Any, Final

from fusefs.live.requests.atime import Atime
from fusefs.live.requests.open_files import OpenFiles
from fusefs.live.under_way import ModelCoroutine
from fusefs.model.errors import FsError
from fusefs.model.file_io import copy_range, read_pieces, write, write_mapped
from fusefs.model.inode import Inode
from fusefs.model.steps import Buffer
from fusefs.model.truncate import SEEK_DATA, SEEK_HOLE, fallocate, seek

if TYPE_CHECKING:  # not compiled: see setup.py
    from fusefs.live.coherence import Coherence
    from fusefs.live.extension._lowlevel import Request

O_DIRECT: Final = os.O_DIRECT
O_DSYNC: Final = os.O_DSYNC
O_APPEND: Final = os.O_APPEND
O_NOATIME: Final = os.O_NOATIME

WRITE_FLAGS: Final = (
    *("", "dsync", "direct", "direct,dsync"),
    *("append", "dsync,append", "direct,append", "direct,dsync,append"),
)
"""What a write is told to be, by 4 * append + 2 * direct + dsync."""

MODE_WORDS: Final = ((0x01, "keep_size"), (0x02, "punch"), (0x10, "zero"))
"""What a fallocate is told to be, by the bits of its mode."""


class DataRequests:
    """The handler of the extension for data.  atime says what reading does to it."""

    def __init__(self, files: OpenFiles, atime: Atime, coherence: "Coherence") -> None:
        self.files = files
        self.atime = atime
        self.coherence = coherence
        self.fs = files.fs
        self.nodes = files.nodes
        self.permissions = files.permissions
        self.health = files.health
        self.driver = files.driver
        self.timing = files.timing
        self.kernel_pages = files.kernel_pages
        self.handles = files.handles

    def read(self, request: "Request", ino: int, fh: int, pos: int, size: int, flags: int) -> None:
        handle = self.handles.get(fh)
        if handle is None:  # of .fusefs
            self.files.read_control(request, fh, pos, size)
            return
        if not flags & O_NOATIME:
            self.atime.touch(handle.node, time.time_ns())
        pid, direct = request.pid, bool(flags & O_DIRECT)
        self.timing.arrives(handle.opened, pid, direct, False)
        coroutine = read_pieces(self.fs, handle.file, pos, size, direct=direct)
        if self.fs.checks and not direct:
            coroutine = self._compared(handle.file.inode, coroutine, pos, size)
        told = "direct" if direct else ""
        self.driver.start(coroutine, request.reply_pieces, "read", ino, pid, pos, size, told)

    def fill(self, request: "Request", ino: int, fh: int, pos: int, size: int, flags: int) -> None:
        """A read that the kernel keeps, for mappings and splice."""
        handle = self.handles.get(fh)
        if handle is not None:
            self.kernel_pages.filled(handle.file.inode, pos, size)
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
        handle = self.handles.get(fh)
        if handle is None:  # of .fusefs
            self.files.write_control(request, ino, fh, bytes(data))
            return
        self.health.check_writable()
        self.permissions.modified(handle.node, request, time.time_ns())
        direct, sync, size = bool(flags & O_DIRECT), bool(flags & O_DSYNC), len(data)
        pid = request.pid
        self.timing.arrives(handle.opened, pid, direct, True)
        written = write(self.fs, handle.file, pos, data, direct=direct, sync=sync)
        coroutine = self._changing(handle.file.inode, written, pos, size)
        append = bool(flags & O_APPEND)
        told = WRITE_FLAGS[4 * append + 2 * direct + sync]
        self.driver.start(coroutine, request.reply_write, "write", ino, pid, pos, size, told)

    def _write_page(self, request: "Request", ino: int, pos: int, data: Buffer) -> None:
        """The kernel's own writeback of a mapped page: through any handle or none.

        page_mkwrite() takes no privileges in Linux either.
        """
        node, inode = self.files.regular(ino)
        self.health.check_writable()
        node.mtime_ns = node.ctime_ns = time.time_ns()
        self.nodes.mark_changed(node)
        coroutine = write_mapped(self.fs, inode, pos, data)
        where = pos, len(data)
        self.driver.start(
            coroutine, request.reply_write, "write", ino, request.pid, *where, "mapped"
        )

    def fallocate(self, request: "Request", ino: int, mode: int, pos: int, length: int) -> None:
        node, inode = self.files.regular(ino)
        self.health.check_writable()
        self.permissions.modified(node, request, time.time_ns())
        allocated = fallocate(self.fs, inode, mode, pos, length)
        coroutine = self._changing(inode, allocated, pos, 0)
        told = ",".join(word for bit, word in MODE_WORDS if mode & bit)
        self.driver.start(
            coroutine, request.reply_done, "fallocate", ino, request.pid, pos, length, told
        )

    def lseek(self, request: "Request", ino: int, pos: int, whence: int) -> None:
        _, inode = self.files.regular(ino)
        if whence not in (SEEK_DATA, SEEK_HOLE):
            raise FsError(errno.EINVAL)
        told = "data" if whence == SEEK_DATA else "hole"
        coroutine = self._seek(inode, pos, whence)
        self.driver.start(coroutine, request.reply_lseek, "lseek", ino, request.pid, pos, 0, told)

    async def _seek(self, inode: Inode, pos: int, whence: int) -> int:
        """What was stored through a mapping counts as data."""
        if inode.kernel_page:
            await self.kernel_pages.flush(inode, max(pos, 0))
        return await seek(self.fs, inode, pos, whence)

    def copy_file_range(
        self, request: "Request", fh_in: int, pos_in: int, fh_out: int, pos_out: int, length: int
    ) -> None:
        source, target = self.handles.get(fh_in), self.handles.get(fh_out)
        if source is None or target is None:
            raise FsError(errno.EINVAL)
        self.health.check_writable()
        self.timing.arrives(source.opened, request.pid, False, False)
        now, inode = time.time_ns(), target.file.inode
        self.atime.touch(source.node, now)
        self.permissions.modified(target.node, request, now)
        copied = copy_range(self.fs, source.file, pos_in, target.file, pos_out, length)
        if self.fs.checks:
            copied = self._compared(source.file.inode, copied, pos_in, length)
        coroutine = self._changing(inode, copied, pos_out, 0)
        told = f"from={source.file.inode.ino}:{pos_in}"
        self.driver.start(
            *(coroutine, request.reply_write, "copy_file_range", inode.ino, request.pid),
            *(pos_out, length, told),
        )

    async def _compared(
        self, inode: Inode, coroutine: ModelCoroutine[Any], pos: int, length: int
    ) -> Any:
        """What is read through the cache is compared with the image, in the turn that ends it."""
        result = await coroutine
        self.coherence.compare(inode, pos, length)
        return result

    async def _changing(
        self, inode: Inode, coroutine: ModelCoroutine[Any], pos: int, length: int
    ) -> Any:
        """A file may grow, and so many bytes of it from pos on change as well, but for those of
        which the kernel drops its own pages itself: it is told before the answer, whatever that is.
        """
        answer, failed = None, None
        try:
            answer = await coroutine
        except FsError as error:
            failed = error
        if inode.kernel_page:
            await self.kernel_pages.changed(inode, pos, length)
        if failed is not None:
            raise failed
        return answer
