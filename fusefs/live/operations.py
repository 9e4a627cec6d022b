"""Names and attributes: the handlers that pyfuse3 calls, one for each request.

Data requests do not come here; see data.py.  A regular file's attributes are never cached
by the kernel, as reads and writes change them; those of anything else change only through
the kernel, which then asks again.

Errors: FsError of the namespace or the model becomes its errno in one place, answered();
anything else is logged with its traceback and becomes EIO.
"""

import errno
import logging
import os
import stat
import time
from collections.abc import Sequence

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext

from fusefs.errors import FsError
from fusefs.file_io import commit_names, fsync, make_durable
from fusefs.geometry import FILE_SIZE_MAX
from fusefs.live.answer import answered
from fusefs.live.attributes import control_attributes, node_attributes
from fusefs.live.control import CONTROL_INO, CONTROL_NAME, Control
from fusefs.live.data import DataRequests, Handle
from fusefs.live.driver import Driver
from fusefs.live.namespace import NAME_LENGTH_MAX, Node
from fusefs.live.volume import Volume
from fusefs.truncate import truncate

log = logging.getLogger(__name__)

OPEN_PAUSES = 4
"""Pauses of the jitter option at a direct writer's open: processes start further apart than
pages are filled, and must change places to be out of step."""

ENTRIES_AT_A_TIME = 128


def _refuse_acl(name: bytes) -> None:
    """Nobody enforces an ACL here; cp -a would take one that is stored for a chmod."""
    if name.startswith(b"system."):
        raise FsError(errno.EOPNOTSUPP)


class Operations(pyfuse3.Operations):
    """The namespace of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(
        self, volume: Volume, driver: Driver, data: DataRequests, control: Control
    ) -> None:
        super().__init__()
        self.volume = volume
        self.names = volume.namespace
        self.driver = driver
        self.data = data
        self.control = control

    # -- attributes ------------------------------------------------------------------

    def _attributes(self, node: Node) -> EntryAttributes:
        return node_attributes(node, self.volume.fs.geometry)

    def _looked_up(self, node: Node) -> EntryAttributes:
        """The reply that gives the kernel one more reference to a node."""
        node.lookups += 1
        return self._attributes(node)

    @answered
    async def lookup(self, parent: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if parent == pyfuse3.ROOT_INODE and name == CONTROL_NAME:
            return control_attributes(self.control, CONTROL_INO)
        if parent == CONTROL_INO:
            return control_attributes(self.control, self.control.lookup(name))
        return self._looked_up(self.names.lookup(parent, name))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, count in inode_list:
            if self.control.owns(ino) or ino not in self.names.nodes:
                continue
            try:
                if self.names.forget(ino, count):
                    await self._released(self.names.nodes[ino])
            except Exception:
                log.exception("forget of inode %d failed", ino)

    @answered
    async def getattr(self, ino: int, ctx: RequestContext) -> EntryAttributes:
        if self.control.owns(ino):
            return control_attributes(self.control, ino)
        return self._attributes(self.names.node(ino))

    @answered
    async def setattr(
        self,
        ino: int,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        if self.control.owns(ino):
            return self._set_control_attributes(ino, fields)
        self.volume.health.check_writable()
        node = self.names.node(ino)
        now = time.time_ns()
        if fields.update_size:
            await self._set_size(node, attr.st_size, ctx.pid)
            node.mtime_ns = now
        if fields.update_mode:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(attr.st_mode)
        if fields.update_uid:
            node.uid = attr.st_uid
        if fields.update_gid:
            node.gid = attr.st_gid
        if fields.update_atime:
            node.atime_ns = attr.st_atime_ns
        if fields.update_mtime:
            node.mtime_ns = attr.st_mtime_ns
        node.ctime_ns = now
        self.names.mark_changed(node)
        return self._attributes(node)

    def _set_control_attributes(self, ino: int, fields: pyfuse3.SetattrFields) -> EntryAttributes:
        """A shell's '>' truncates first; nothing else may be set."""
        if fields.update_mode or fields.update_uid or fields.update_gid:
            raise FsError(errno.EPERM)
        return control_attributes(self.control, ino)

    async def _set_size(self, node: Node, size: int, pid: int) -> None:
        if node.inode is None:
            raise FsError(errno.EISDIR if node.is_directory else errno.EINVAL)
        if size > FILE_SIZE_MAX:
            raise FsError(errno.EFBIG)
        await self.driver.call(
            truncate(self.volume.fs, node.inode, size), "truncate", node.ino, pid
        )
        self.names.mark_changed(node)

    # -- names -----------------------------------------------------------------------

    def _make(
        self,
        parent: int,
        name: bytes,
        mode: int,
        rdev: int,
        ctx: RequestContext,
        target: bytes | None = None,
    ) -> Node:
        if self.control.owns(parent) or (parent == pyfuse3.ROOT_INODE and name == CONTROL_NAME):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            return self.names.make(
                parent, name, mode, ctx.uid, ctx.gid, rdev, time.time_ns(), target
            )

    @answered
    async def mknod(
        self, parent: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._looked_up(self._make(parent, name, mode, rdev, ctx))

    @answered
    async def mkdir(
        self, parent: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._looked_up(self._make(parent, name, mode, 0, ctx))

    @answered
    async def symlink(
        self, parent: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        node = self._make(parent, name, stat.S_IFLNK | 0o777, 0, ctx, target)
        return self._looked_up(node)

    @answered
    async def readlink(self, ino: int, ctx: RequestContext) -> bytes:
        target = self.names.node(ino).target
        if target is None:
            raise FsError(errno.EINVAL)
        return target

    @answered
    async def link(
        self, ino: int, parent: int, name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        if self.control.owns(ino) or self.control.owns(parent):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            node = self.names.link(ino, parent, name, time.time_ns())
        return self._looked_up(node)

    @answered
    async def unlink(self, parent: int, name: bytes, ctx: RequestContext) -> None:
        if self.control.owns(parent):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            await self._released(self.names.unlink(parent, name, time.time_ns()))

    @answered
    async def rmdir(self, parent: int, name: bytes, ctx: RequestContext) -> None:
        if self.control.owns(parent) or (name == CONTROL_NAME and parent == pyfuse3.ROOT_INODE):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            await self._released(self.names.rmdir(parent, name, time.time_ns()))

    @answered
    async def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        root = pyfuse3.ROOT_INODE
        if (
            self.control.owns(parent)
            or self.control.owns(new_parent)
            or (parent == root and name == CONTROL_NAME)
            or (new_parent == root and new_name == CONTROL_NAME)
        ):
            raise FsError(errno.EPERM)
        if not flags and (
            inode := self.volume.unsaved_replacement(parent, name, new_parent, new_name)
        ):
            await self.driver.call(make_durable(self.volume.fs, inode), "rename", inode.ino)
        with self.volume.changing():
            replaced = self.names.rename(parent, name, new_parent, new_name, flags, time.time_ns())
        if replaced is not None:
            await self._released(replaced)

    # -- open files ------------------------------------------------------------------

    @answered
    async def open(self, ino: int, flags: int, ctx: RequestContext) -> FileInfo:
        if self.control.owns(ino):
            content = b"" if flags & os.O_WRONLY else self.control.content(ino)
            return FileInfo(fh=self.data.open(Handle(None, content)), direct_io=True)
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            self.volume.health.check_writable()
        node = self.names.node(ino)
        if flags & os.O_TRUNC:
            await self._truncate_at_open(node, ctx)
        return self._opened(node)

    @answered
    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        node = self._make(parent, name, stat.S_IFREG | stat.S_IMODE(mode), 0, ctx)
        opened, entry = self._opened(node), self._looked_up(node)
        await self._out_of_step(flags)
        return opened, entry

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
        if ctx.uid:
            node.drop_privileges()
        node.mtime_ns = node.ctime_ns = time.time_ns()
        self.names.mark_changed(node)

    def _opened(self, node: Node) -> FileInfo:
        """Every open bypasses the kernel's own page cache: the model has the only one."""
        node.opens += 1
        return FileInfo(fh=self.data.open(Handle(node)), direct_io=True, keep_cache=False)

    @answered
    async def flush(self, fh: int) -> None:
        raise FUSEError(errno.ENOSYS)  # nothing is done at close(2): do not ask again

    @answered
    async def release(self, fh: int) -> None:
        handle = self.data.handles.pop(fh)
        if handle.node is not None:
            handle.node.opens -= 1
            await self._released(handle.node)

    async def _released(self, node: Node) -> None:
        """Let a node go that nobody can reach, if it holds nothing that must be written."""
        inode = node.inode
        if node.is_idle and node.nlink and inode is not None and inode.mapping.pages_dirty:
            return  # the flusher writes it back, and the commit after that lets it go
        self.volume.release(node)

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

    # -- the rest --------------------------------------------------------------------

    @answered
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        space, stats = self.volume.fs.space, pyfuse3.StatvfsData()
        stats.f_bsize = self.volume.fs.geometry.page_size
        stats.f_frsize = self.volume.fs.geometry.block_size
        stats.f_blocks = space.block_count - 1
        stats.f_bfree = stats.f_bavail = max(space.available_count, 0)
        stats.f_files = self.volume.metadata.count_inodes() + stats.f_bfree
        stats.f_ffree = stats.f_favail = stats.f_bfree
        stats.f_namemax = NAME_LENGTH_MAX
        return stats

    @answered
    async def access(self, ino: int, mode: int, ctx: RequestContext) -> bool:
        return True  # default_permissions: the kernel has checked

    @answered
    async def getxattr(self, ino: int, name: bytes, ctx: RequestContext) -> bytes:
        _refuse_acl(name)
        if self.control.owns(ino):
            raise FsError(errno.ENODATA)
        return self.names.get_xattr(ino, name)

    @answered
    async def setxattr(self, ino: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        _refuse_acl(name)
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            self.names.set_xattr(ino, name, value, time.time_ns())

    @answered
    async def listxattr(self, ino: int, ctx: RequestContext) -> Sequence[bytes]:
        return [] if self.control.owns(ino) else self.names.list_xattrs(ino)

    @answered
    async def removexattr(self, ino: int, name: bytes, ctx: RequestContext) -> None:
        _refuse_acl(name)
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            self.names.remove_xattr(ino, name, time.time_ns())
