"""Names and attributes: from the extension's calls to the namespace, and the answer back.

    lookup, forget               what the kernel refers to
    getattr, statx, setattr      what stat(2) shows
    mknod ... rmdir              names that come and go

Open files are in open_files.py, data in data.py, and what is rare in operations.py.  None of
these waits, but for a truncate.

Errors: every request is answered; FsError becomes its errno in the extension.
"""

import errno
import stat
import time

from fusefs.live.extension._lowlevel import Request
from fusefs.live.requests.attributes import control_attributes
from fusefs.live.requests.control import CONTROL_INO, CONTROL_NAME
from fusefs.live.requests.open_files import OpenFiles
from fusefs.model.errors import FsError
from fusefs.store.callers import drop_privileges
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.node import Node
from fusefs.store.stored import clamp_time

TMPFILE_NAME = b"/"
"""The kernel's name of a file without one: O_TMPFILE arrives as a create() of it."""


class NameRequests(OpenFiles):
    """The handler of the extension for names and attributes."""

    def lookup(self, request: Request, parent: int, name: bytes) -> None:
        if parent == ROOT_INO and name == CONTROL_NAME:
            request.reply_entry(control_attributes(self.control, CONTROL_INO))
        elif parent == CONTROL_INO:
            request.reply_entry(control_attributes(self.control, self.control.lookup(name)))
        else:
            request.reply_entry(self.looked_up(self.names.lookup(parent, name)))

    def forget(self, ino: int, count: int) -> None:
        """Nobody waits for an answer."""
        if ino in self.nodes.in_memory and self.nodes.forget(ino, count):
            self.released(self.nodes.in_memory[ino])

    # -- attributes ------------------------------------------------------------------

    def getattr(self, request: Request, ino: int) -> None:
        if self.control.owns(ino):
            request.reply_attr(control_attributes(self.control, ino))
        else:
            request.reply_attr(self.attributes(self.nodes.get(ino)))

    def statx(self, request: Request, ino: int) -> None:
        if self.control.owns(ino):
            request.reply_statx(control_attributes(self.control, ino), 0)
        else:
            shown = self.attributes(self.nodes.get(ino))
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
        node = self.nodes.get(ino)
        now = time.time_ns()
        resized = size is not None and (by_handle or size != node.size)
        others = (mode, uid, gid, atime_ns, mtime_ns)
        changes = size is None or resized or any(other is not None for other in others)
        mode_before = node.mode
        if mode is not None:
            with self.volume.changing():
                self.permissions.set_mode(node, mode)

        def set_rest() -> None:
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
            if changes or node.mode != mode_before:
                node.ctime_ns = now
            self.nodes.mark_changed(node)
            request.reply_attr(self.attributes(node))

        inode = node.inode
        if size is not None:
            self.set_size(request, node, size, set_rest)
        elif mtime_ns is not None and inode is not None and inode.kernel_page:
            # What was stored before must not move the time when it is written back later.
            self.data.kernel_pages.flush(inode, 0, set_rest)
        else:
            set_rest()

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
        with self.volume.changing():
            return self.names.make(
                parent, name, mode, request.uid, request.gid, rdev, now, target, umask=umask
            )

    def mknod(self, request: Request, parent: int, name: bytes, mode: int, rdev: int) -> None:
        request.reply_entry(self.looked_up(self._make(request, parent, name, mode, rdev)))

    def create(self, request: Request, parent: int, name: bytes, mode: int, flags: int) -> None:
        mode = stat.S_IFREG | stat.S_IMODE(mode)
        node = self._make(request, parent, None if name == TMPFILE_NAME else name, mode)
        fh, shown = self.opened(node, request, flags), self.looked_up(node)
        request.reply_create(shown, fh)

    def mkdir(self, request: Request, parent: int, name: bytes, mode: int) -> None:
        mode = stat.S_IFDIR | stat.S_IMODE(mode)
        request.reply_entry(self.looked_up(self._make(request, parent, name, mode)))

    def symlink(self, request: Request, parent: int, name: bytes, target: bytes) -> None:
        node = self._make(request, parent, name, stat.S_IFLNK | 0o777, target=target)
        request.reply_entry(self.looked_up(node))

    def link(self, request: Request, ino: int, parent: int, name: bytes) -> None:
        if self.control.owns(ino) or self.control.owns(parent):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            node = self.names.link(ino, parent, name, time.time_ns())
        request.reply_entry(self.looked_up(node))

    # -- names that go -----------------------------------------------------------------

    def unlink(self, request: Request, parent: int, name: bytes) -> None:
        if self.control.owns(parent):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            self.released(self.names.unlink(parent, name, time.time_ns()))
        request.reply_err(0)

    def rmdir(self, request: Request, parent: int, name: bytes) -> None:
        if self.control.owns(parent) or (name == CONTROL_NAME and parent == ROOT_INO):
            raise FsError(errno.EPERM)
        with self.volume.changing():
            self.released(self.names.rmdir(parent, name, time.time_ns()))
        request.reply_err(0)
