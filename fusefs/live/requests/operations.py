"""What is rare, or waits for a commit: the handlers that pyfuse3 calls, one for each request.

Whatever comes by often is taken past pyfuse3, by the extension.

Errors: what a handler raises is its answer, as failure.py has it: answered().
"""

import errno
import functools
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import FUSEError, RequestContext

from fusefs.live.driver import Driver
from fusefs.live.failure import failure
from fusefs.live.requests.atime import Atime
from fusefs.live.requests.control import CONTROL_NAME, Control
from fusefs.live.requests.sync import sync
from fusefs.model.errors import FsError
from fusefs.model.file_io import commit_names, make_durable
from fusefs.store.callers import is_sys_admin, may_keep_setgid
from fusefs.store.namespace import RENAME_EXCHANGE
from fusefs.store.stored import NAME_LENGTH_MAX
from fusefs.store.volume import Volume
from fusefs.store.xattrs import TRUSTED

P = ParamSpec("P")
T = TypeVar("T")


def answered(
    handler: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """What a coroutine raises is its answer."""

    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except Exception as error:
            fault = failure(error, "a request failed: %s%r", handler.__name__, args[1:])
            raise FUSEError(fault.errno) from None

    return answer


class Operations(pyfuse3.Operations):
    """What pyfuse3 serves of one mount."""

    supports_dot_lookup = True
    enable_writeback_cache = False
    enable_acl = True

    def __init__(self, volume: Volume, driver: Driver, control: Control, atime: Atime) -> None:
        super().__init__()
        self.volume = volume
        self.names = volume.namespace
        self.nodes = volume.nodes
        self.xattrs = volume.xattrs
        self.driver = driver
        self.control = control
        self.atime = atime

    # -- open files ------------------------------------------------------------------

    @answered
    async def flush(self, fh: int) -> None:
        raise FsError(errno.ENOSYS)  # nothing is done at close(2): do not ask again

    @answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        if not self.control.owns(fh):
            await self.driver.call(commit_names(), "fsyncdir", fh)
            return
        is_committed = await sync(self.volume, self.driver)
        error = self.control.errors_since_opened(fh)
        if error or not is_committed:
            raise FsError(error or errno.EIO)

    # -- names -----------------------------------------------------------------------

    @answered
    async def readlink(self, ino: int, ctx: RequestContext) -> bytes:
        node = self.nodes.get(ino)
        if node.target is None:
            raise FsError(errno.EINVAL)
        self.atime.touch(node, time.time_ns())
        return node.target

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
        if not flags & RENAME_EXCHANGE and (
            inode := self.volume.unsaved_replacement(parent, name, new_parent, new_name)
        ):
            durable = make_durable(self.volume.fs, inode)
            await self.driver.call(durable, "rename", inode.ino, ctx.pid)
        with self.volume.changing:
            replaced = self.names.rename(
                parent, name, new_parent, new_name, flags, time.time_ns(), ctx.uid, ctx.gid
            )
        if replaced is not None:
            self.volume.release(replaced)

    # -- the rest --------------------------------------------------------------------

    @answered
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        space, stats = self.volume.fs.space, pyfuse3.StatvfsData()
        inode_count = self.volume.rows.count_linked()
        stats.f_bsize = stats.f_frsize = self.volume.fs.geometry.block_size
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
        return self.xattrs.get(ino, name)

    @answered
    async def setxattr(self, ino: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        keeps_setgid = may_keep_setgid(ctx, self.nodes.get(ino))
        with self.volume.changing:
            self.xattrs.set(ino, name, value, time.time_ns(), keeps_setgid=keeps_setgid)

    @answered
    async def listxattr(self, ino: int, ctx: RequestContext) -> Sequence[bytes]:
        if self.control.owns(ino):
            return []
        names = self.xattrs.names(ino)
        if any(name.startswith(TRUSTED) for name in names) and not is_sys_admin(ctx):
            return [name for name in names if not name.startswith(TRUSTED)]
        return names

    @answered
    async def removexattr(self, ino: int, name: bytes, ctx: RequestContext) -> None:
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        with self.volume.changing:
            self.xattrs.remove(ino, name, time.time_ns())
