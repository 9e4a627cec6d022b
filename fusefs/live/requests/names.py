"""Names and attributes: from the extension's calls to the namespace, and the answer back.

    lookup, forget               what the kernel refers to
    getattr, statx, setattr      what stat(2) shows
    mknod ... rmdir, rename      names that come and go
    readlink, statfs             the rest

Open files are in open_files.py, directories in directories.py, data in data.py, xattrs in
xattrs.py.  None of these waits, but for a setattr that truncates or meets a mapping, and a rename
that puts a file in another's place.

Errors: FsError of a handler and of a coroutine is the request's answer.
"""

import errno
import stat
import time
from typing import NamedTuple

from fusefs.live.extension._lowlevel import Request, Shown
from fusefs.live.requests.atime import Atime
from fusefs.live.requests.attributes import control_attributes, node_attributes
from fusefs.live.requests.control import CONTROL_INO, Control
from fusefs.live.requests.open_files import OpenFiles
from fusefs.model.errors import FsError
from fusefs.model.file_io import make_durable
from fusefs.model.inode import Inode
from fusefs.store.callers import drop_privileges
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.mount_table import CONTROL_NAME
from fusefs.store.namespace import RENAME_EXCHANGE
from fusefs.store.node import Node
from fusefs.store.stored import NAME_LENGTH_MAX, clamp_time
from fusefs.store.volume import Volume

TMPFILE_NAME = b"/"
"""The kernel's name of a file without one: O_TMPFILE arrives as a create() of it."""

NOTHING = (None,) * 5
"""Of mode, owner, group and times nothing is set."""


class Wanted(NamedTuple):
    """What a setattr sets, but for the mode.  None leaves something as it is.

    resized is false for the size that is there, unless that is set by truncate(2) or ftruncate(2).
    """

    uid: int | None
    gid: int | None
    size: int | None
    atime_ns: int | None
    mtime_ns: int | None
    resized: bool
    moves_ctime: bool


class NameRequests:
    """The handler of the extension for names and attributes."""

    def __init__(self, volume: Volume, files: OpenFiles, control: Control, atime: Atime) -> None:
        self.volume = volume
        self.names = volume.namespace
        self.nodes = volume.nodes
        self.permissions = volume.permissions
        self.files = files
        self.control = control
        self.atime = atime
        self._page_size = volume.fs.geometry.page_size

    def lookup(self, request: Request, parent: int, name: bytes) -> None:
        if parent == ROOT_INO and name == CONTROL_NAME:
            request.reply_entry(control_attributes(self.control, CONTROL_INO))
        elif parent == CONTROL_INO:
            request.reply_entry(control_attributes(self.control, self.control.lookup(name)))
        else:
            request.reply_entry(self._looked_up(self.names.lookup(parent, name)))

    def _looked_up(self, node: Node) -> Shown:
        """For the reply that gives the kernel one more reference to a node."""
        node.lookups += 1
        return node_attributes(node, self._page_size)

    def forget(self, ino: int, count: int) -> None:
        """Nobody waits for an answer."""
        if ino in self.nodes.in_memory and self.nodes.forget(ino, count):
            self.volume.release(self.nodes.in_memory[ino])

    # -- attributes ------------------------------------------------------------------

    def getattr(self, request: Request, ino: int) -> None:
        if self.control.owns(ino):
            request.reply_attr(control_attributes(self.control, ino))
        else:
            request.reply_attr(node_attributes(self.nodes.get(ino), self._page_size))

    def statx(self, request: Request, ino: int) -> None:
        if self.control.owns(ino):
            request.reply_statx(control_attributes(self.control, ino), 0)
        else:
            shown = node_attributes(self.nodes.get(ino), self._page_size)
            request.reply_statx(shown, self.volume.rows.birth_ns(ino))

    def setattr(
        self,
        request: Request,
        ino: int,
        mode: int | None,
        uid: int | None,
        gid: int | None,
        size: int | None,
        atime_ns: int | None,
        mtime_ns: int | None,
        by_handle: bool,
    ) -> None:
        """None leaves something as it is.

        To set the size that is there moves no times, unless it is set by_handle: truncate(2) and
        ftruncate(2), for which do_truncate() brings times; the kernel's FUSE leaves them to us.
        """
        if self.control.owns(ino):
            self._set_control_attributes(request, ino, mode, uid, gid)
            return
        self.volume.health.check_writable()
        node, now = self.nodes.get(ino), time.time_ns()
        resized = size is not None and (by_handle or size != node.size)
        moves_ctime = size is None or resized or (mode, uid, gid, atime_ns, mtime_ns) != NOTHING
        wanted = Wanted(uid, gid, size, atime_ns, mtime_ns, resized, moves_ctime)
        if mode is not None:
            with self.volume.changing:
                self.permissions.set_mode(node, mode)
        inode = node.inode
        if size is not None:
            inode = self.files.resizable(node, size)
            coroutine = self._set_later(request, node, inode, wanted, now)
            self.files.driver.start(
                coroutine, request.reply_attr, "truncate", ino, request.pid, size
            )
        elif mtime_ns is not None and inode is not None and inode.kernel_page:
            coroutine = self._set_later(request, node, inode, wanted, now)
            self.files.driver.start(coroutine, request.reply_attr, "utimens", ino, request.pid)
        else:
            request.reply_attr(self._set(request, node, wanted, now))

    async def _set_later(
        self, request: Request, node: Node, inode: Inode, wanted: Wanted, now: int
    ) -> Shown:
        """After the size, which may take a while, or after what was stored through a mapping: that
        must not move the time when it is written back later.
        """
        if wanted.size is not None:
            await self.files.set_size(node, inode, wanted.size)
        else:
            await self.files.kernel_pages.flush(inode, 0)
        return self._set(request, node, wanted, now)

    def _set(self, request: Request, node: Node, wanted: Wanted, now: int) -> Shown:
        """All but mode and size: in one piece, also for a commit under way."""
        uid, gid, size, atime_ns, mtime_ns, resized, moves_ctime = wanted
        mode_before = node.mode
        with self.volume.metadata.whole:
            if resized:
                self.permissions.modified(node, request, now)
            elif size is not None:
                self.permissions.remove_privileges(node, request)
            if (uid is not None or gid is not None) and not node.is_directory:
                drop_privileges(request, node)  # as a member of the old group
            if uid is not None:
                node.uid = uid
            if gid is not None:
                node.gid = gid
            if atime_ns is not None:
                node.atime_ns = clamp_time(atime_ns)
            if mtime_ns is not None:
                node.mtime_ns = clamp_time(mtime_ns)
            if moves_ctime or node.mode != mode_before:
                node.ctime_ns = now
            self.nodes.mark_changed(node)
        return node_attributes(node, self._page_size)

    def _set_control_attributes(
        self, request: Request, ino: int, mode: int | None, uid: int | None, gid: int | None
    ) -> None:
        """A shell's '>' truncates first; nothing else may be set."""
        if not mode is uid is gid is None:
            raise FsError(errno.EPERM)
        request.reply_attr(control_attributes(self.control, ino))

    # -- names that come ---------------------------------------------------------------

    def _make(
        self,
        request: Request,
        parent: int,
        name: bytes | None,
        mode: int,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> Node:
        if self.control.owns(parent) or (parent == ROOT_INO and name == CONTROL_NAME):
            raise FsError(errno.EPERM)
        now, umask = time.time_ns(), request.umask
        with self.volume.changing:
            return self.names.make(
                parent, name, mode, request.uid, request.gid, rdev, now, target, umask=umask
            )

    def mknod(self, request: Request, parent: int, name: bytes, mode: int, rdev: int) -> None:
        request.reply_entry(self._looked_up(self._make(request, parent, name, mode, rdev)))

    def create(self, request: Request, parent: int, name: bytes, mode: int, flags: int) -> None:
        mode = stat.S_IFREG | stat.S_IMODE(mode)
        node = self._make(request, parent, None if name == TMPFILE_NAME else name, mode)
        assert node.inode is not None
        fh = self.files.opened(node, node.inode, request.pid, flags)
        request.reply_create(self._looked_up(node), fh)

    def mkdir(self, request: Request, parent: int, name: bytes, mode: int) -> None:
        mode = stat.S_IFDIR | stat.S_IMODE(mode)
        request.reply_entry(self._looked_up(self._make(request, parent, name, mode)))

    def symlink(self, request: Request, parent: int, name: bytes, target: bytes) -> None:
        node = self._make(request, parent, name, stat.S_IFLNK | 0o777, target=target)
        request.reply_entry(self._looked_up(node))

    def link(self, request: Request, ino: int, parent: int, name: bytes) -> None:
        if self.control.owns(ino) or self.control.owns(parent):
            raise FsError(errno.EPERM)
        with self.volume.changing:
            node = self.names.link(ino, parent, name, time.time_ns())
            self.volume.deleted.named(node)
        request.reply_entry(self._looked_up(node))

    # -- names that go -----------------------------------------------------------------

    def unlink(self, request: Request, parent: int, name: bytes) -> None:
        if self.control.owns(parent):
            raise FsError(errno.EPERM)
        with self.volume.changing:
            self.volume.release(self.names.unlink(parent, name, time.time_ns()))
        request.reply_done()

    def rmdir(self, request: Request, parent: int, name: bytes) -> None:
        if self.control.owns(parent) or (name == CONTROL_NAME and parent == ROOT_INO):
            raise FsError(errno.EPERM)
        with self.volume.changing:
            self.volume.release(self.names.rmdir(parent, name, time.time_ns()))
        request.reply_done()

    def rename(
        self,
        request: Request,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
    ) -> None:
        for directory, entry in ((parent, name), (new_parent, new_name)):
            if self.control.owns(directory) or (directory == ROOT_INO and entry == CONTROL_NAME):
                raise FsError(errno.EPERM)
        also: tuple[int, ...] = ()
        if self.control.keeper.gated:  # somebody may ask who is meant
            also = new_parent, *self.names.inos((parent, name), (new_parent, new_name))
        self.files.driver.start(
            self._renamed(request, parent, name, new_parent, new_name, flags),
            *(request.reply_done, "rename", parent, request.pid),
            also=also,
        )

    async def _renamed(
        self,
        request: Request,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
    ) -> None:
        """What is put in another's place is on the disk before, also what the kernel alone has."""
        places = parent, name, new_parent, new_name
        if not flags & RENAME_EXCHANGE and (node := self.volume.replacement(*places)):
            if node.inode is not None and node.inode.kernel_page:
                await self.files.kernel_pages.flush(node.inode, 0)
            if inode := self.volume.unsaved_replacement(*places):
                await make_durable(self.volume.fs, inode)
        with self.volume.changing:
            replaced = self.names.rename(*places, flags, time.time_ns(), request.uid, request.gid)
        if replaced is not None:
            self.volume.release(replaced)

    # -- the rest ----------------------------------------------------------------------

    def readlink(self, request: Request, ino: int) -> None:
        node = self.nodes.get(ino)
        if node.target is None:
            raise FsError(errno.EINVAL)
        self.atime.touch(node, time.time_ns())
        request.reply_buf(node.target)

    def statfs(self, request: Request, ino: int) -> None:
        """In blocks of the image, and inodes; what is free is anybody's."""
        space, files = self.volume.fs.space, self.names.inodes_max
        request.reply_statfs(
            self.volume.fs.geometry.block_size,
            space.block_count - 1,
            self.volume.available_count(),
            files,
            max(files - self.volume.rows.count_linked(), 0),
            NAME_LENGTH_MAX,
        )
