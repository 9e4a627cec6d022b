"""Names and attributes: the handlers that pyfuse3 calls, one for each request.

Those with a file handle are in open_files.py; data requests are in data.py.  A regular
file's attributes are never cached by the kernel, as reads and writes change them; those of
anything else change only through the kernel, which then asks again.

Errors: FsError of the namespace or the model becomes its errno in one place, answered();
anything else is logged with its traceback and becomes EIO.
"""

import errno
import logging
import stat
import time
from collections.abc import Sequence

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, RequestContext

from fusefs.errors import FsError
from fusefs.file_io import make_durable
from fusefs.live.answer import answered
from fusefs.live.attributes import control_attributes
from fusefs.live.callers import drop_privileges, may_keep_setgid
from fusefs.live.control import CONTROL_INO, CONTROL_NAME
from fusefs.live.metadata import clamp_time
from fusefs.live.namespace import Node
from fusefs.live.open_files import OpenFiles
from fusefs.live.stored import NAME_LENGTH_MAX

log = logging.getLogger(__name__)

TMPFILE_NAME = b"/"
"""The kernel's name of a file without one: O_TMPFILE arrives as a create() of it."""


class Operations(OpenFiles):
    """The namespace of one mount."""

    supports_dot_lookup = True
    enable_writeback_cache = False
    enable_acl = True

    # -- attributes ------------------------------------------------------------------

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
        if fields.update_mode:
            with self.volume.changing():
                self.names.set_mode(node, attr.st_mode)
        if fields.update_size:
            await self._set_size(node, attr.st_size, ctx.pid)
            self.names.modified(node, ctx, now)
        if (fields.update_uid or fields.update_gid) and not node.is_directory:
            drop_privileges(ctx, node)  # as a member of the old group
        if fields.update_uid:
            node.uid = attr.st_uid
        if fields.update_gid:
            node.gid = attr.st_gid
        if fields.update_atime:
            node.atime_ns = clamp_time(attr.st_atime_ns)
        if fields.update_mtime:
            node.mtime_ns = clamp_time(attr.st_mtime_ns)
        node.ctime_ns = now
        self.names.mark_changed(node)
        return self._attributes(node)

    def _set_control_attributes(self, ino: int, fields: pyfuse3.SetattrFields) -> EntryAttributes:
        """A shell's '>' truncates first; nothing else may be set."""
        if fields.update_mode or fields.update_uid or fields.update_gid:
            raise FsError(errno.EPERM)
        return control_attributes(self.control, ino)

    # -- names -----------------------------------------------------------------------

    def _make(
        self,
        parent: int,
        name: bytes | None,
        mode: int,
        rdev: int,
        ctx: RequestContext,
        target: bytes | None = None,
    ) -> Node:
        if self.control.owns(parent) or (parent == pyfuse3.ROOT_INODE and name == CONTROL_NAME):
            raise FsError(errno.EPERM)
        now = time.time_ns()
        with self.volume.changing():
            return self.names.make(
                parent, name, mode, ctx.uid, ctx.gid, rdev, now, target, umask=ctx.umask
            )

    @answered
    async def mknod(
        self, parent: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._looked_up(self._make(parent, name, mode, rdev, ctx))

    @answered
    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        mode = stat.S_IFREG | stat.S_IMODE(mode)
        node = self._make(parent, None if name == TMPFILE_NAME else name, mode, 0, ctx)
        opened, entry = self._opened(node), self._looked_up(node)
        await self._out_of_step(flags)
        return opened, entry

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
        node = self.names.node(ino)
        if node.target is None:
            raise FsError(errno.EINVAL)
        self.data.atime.touch(node, time.time_ns())
        return node.target

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

    # -- the rest --------------------------------------------------------------------

    @answered
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        space, stats = self.volume.fs.space, pyfuse3.StatvfsData()
        inode_count = self.volume.metadata.count_linked()
        stats.f_bsize = self.volume.fs.geometry.page_size
        stats.f_frsize = self.volume.fs.geometry.block_size
        stats.f_blocks = space.block_count - 1
        stats.f_bfree = stats.f_bavail = self.volume.available_count()
        stats.f_files = self.names.inodes_max
        stats.f_ffree = stats.f_favail = max(stats.f_files - inode_count, 0)
        stats.f_namemax = NAME_LENGTH_MAX
        return stats

    @answered
    async def access(self, ino: int, mode: int, ctx: RequestContext) -> bool:
        return True  # default_permissions: the kernel has checked

    @answered
    async def getxattr(self, ino: int, name: bytes, ctx: RequestContext) -> bytes:
        if self.control.owns(ino):
            raise FsError(errno.ENODATA)
        return self.names.get_xattr(ino, name)

    @answered
    async def setxattr(self, ino: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        keeps_setgid = may_keep_setgid(ctx, self.names.node(ino))
        with self.volume.changing():
            self.names.set_xattr(ino, name, value, time.time_ns(), keeps_setgid=keeps_setgid)

    @answered
    async def listxattr(self, ino: int, ctx: RequestContext) -> Sequence[bytes]:
        return [] if self.control.owns(ino) else self.names.list_xattrs(ino)

    @answered
    async def removexattr(self, ino: int, name: bytes, ctx: RequestContext) -> None:
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            self.names.remove_xattr(ino, name, time.time_ns())
