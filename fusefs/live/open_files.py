"""Open files and directories: the handlers of pyfuse3 that have a file handle, but for data.

Data requests do not come here; see data.py.  A handle of a file is a number in
DataRequests.handles; a directory's is its inode.
"""

import errno
import os
import time

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext

from fusefs.errors import FsError
from fusefs.file_io import commit_names, fsync
from fusefs.geometry import FILE_SIZE_MAX
from fusefs.live.answer import answered
from fusefs.live.attributes import control_attributes, node_attributes
from fusefs.live.control import Control
from fusefs.live.data import DataRequests, Handle
from fusefs.live.driver import Driver
from fusefs.live.namespace import Node
from fusefs.live.volume import Volume
from fusefs.truncate import truncate

OPEN_PAUSES = 4
"""Pauses of the jitter option at a direct writer's open: processes start further apart than
pages are filled, and must change places to be out of step."""

ENTRIES_AT_A_TIME = 128


class OpenFiles(pyfuse3.Operations):
    """Open files of one mount, and what all its handlers share."""

    def __init__(
        self, volume: Volume, driver: Driver, data: DataRequests, control: Control
    ) -> None:
        super().__init__()
        self.volume = volume
        self.names = volume.namespace
        self.driver = driver
        self.data = data
        self.control = control

    # -- what handlers share ---------------------------------------------------------

    def _attributes(self, node: Node) -> EntryAttributes:
        return node_attributes(node, self.volume.fs.geometry)

    def _looked_up(self, node: Node) -> EntryAttributes:
        """The reply that gives the kernel one more reference to a node."""
        node.lookups += 1
        return self._attributes(node)

    async def _released(self, node: Node) -> None:
        """Let a node go that nobody can reach, if it holds nothing that must be written."""
        inode = node.inode
        if node.is_idle and node.nlink and inode is not None and inode.mapping.pages_dirty:
            return  # the flusher writes it back, and the commit after that lets it go
        self.volume.release(node)

    async def _set_size(self, node: Node, size: int, pid: int) -> None:
        if node.inode is None:
            raise FsError(errno.EISDIR if node.is_directory else errno.EINVAL)
        if size > FILE_SIZE_MAX:
            raise FsError(errno.EFBIG)
        await self.driver.call(
            truncate(self.volume.fs, node.inode, size), "truncate", node.ino, pid
        )
        self.names.mark_changed(node)

    # -- open files ------------------------------------------------------------------

    @answered
    async def open(self, ino: int, flags: int, ctx: RequestContext) -> FileInfo:
        if self.control.owns(ino):
            return FileInfo(fh=self.data.open_control(ino, flags), direct_io=True)
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            self.volume.health.check_writable()
        node = self.names.node(ino)
        if flags & os.O_TRUNC:
            await self._truncate_at_open(node, ctx)
        return self._opened(node)

    async def _out_of_step(self, flags: int) -> None:
        """Direct writers that start together do not write one after the other, in order."""
        if flags & os.O_DIRECT and flags & os.O_ACCMODE != os.O_RDONLY:
            pause_s = OPEN_PAUSES * self.driver.jitter()
            if pause_s:
                await trio.sleep(pause_s)

    async def _truncate_at_open(self, node: Node, ctx: RequestContext) -> None:
        """O_TRUNC comes with no setattr: not for the size, nor for times and setuid."""
        if node.size or node.blocks_512:
            await self._set_size(node, 0, ctx.pid)
        self.names.modified(node, ctx, time.time_ns())

    def _opened(self, node: Node) -> FileInfo:
        """Every open bypasses the kernel's own page cache: the model has the only one."""
        node.opens += 1
        return FileInfo(fh=self.data.open(Handle(node)), direct_io=True, keep_cache=False)

    @answered
    async def flush(self, fh: int) -> None:
        raise FUSEError(errno.ENOSYS)  # nothing is done at close(2): do not ask again

    @answered
    async def release(self, fh: int) -> None:
        handle = self.data.close(fh)
        if handle.node is not None:
            handle.node.opens -= 1
            await self._released(handle.node)

    @answered
    async def fsync(self, fh: int, datasync: bool) -> None:
        handle = self.data.handles[fh]
        if handle.file is None or handle.node is None:
            return
        await self.driver.call(fsync(self.volume.fs, handle.file), "fsync", handle.node.ino)

    # -- directories -----------------------------------------------------------------

    @answered
    async def opendir(self, ino: int, ctx: RequestContext) -> int:
        if self.control.owns(ino):
            return ino
        node = self.names.node(ino)
        if not node.is_directory:
            raise FsError(errno.ENOTDIR)
        node.opens += 1
        return ino

    @answered
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        if self.control.owns(fh):
            for i, name in enumerate(self.control.names[start_id:], start_id + 1):
                entry = control_attributes(self.control, self.control.inos[name])
                if not pyfuse3.readdir_reply(token, name.encode(), entry, i):
                    return
            return
        self.data.atime.touch(self.names.node(fh), time.time_ns())
        while True:
            entries = self.names.entries(fh, start_id, ENTRIES_AT_A_TIME)
            for found in entries:
                node = self.names.node(found.ino)
                if not pyfuse3.readdir_reply(
                    token, found.name, self._attributes(node), found.cookie
                ):
                    await self._released(node)
                    return
                if found.name not in (b".", b".."):
                    node.lookups += 1
                start_id = found.cookie
            if len(entries) < ENTRIES_AT_A_TIME:
                return

    @answered
    async def releasedir(self, fh: int) -> None:
        if self.control.owns(fh):
            return
        node = self.names.node(fh)
        node.opens -= 1
        await self._released(node)

    @answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self.driver.call(commit_names(), "fsyncdir", fh)
