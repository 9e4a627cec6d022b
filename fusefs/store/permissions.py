"""Who may do what with an inode: its mode, its ACLs, and what a change takes from a program.

The kernel decides who may; here mode and ACL are kept in step, and rights go that must go.  ACLs
and capabilities are extended attributes, and are stored as such.

Units: times are nanoseconds since 1970, and always passed in.
Errors: FsError with the errno that Linux's system call returns.
"""

import errno
import stat

from fusefs.model.errors import FsError
from fusefs.store import acl
from fusefs.store.callers import Caller, drop_privileges
from fusefs.store.node import Node
from fusefs.store.nodes import NodeTable
from fusefs.store.xattr_table import XattrTable

SET_ID_BITS = stat.S_ISUID | stat.S_ISGID

CAPABILITY = b"security.capability"
"""The rights that a program has: setcap(8)."""


class Permissions:
    """Those of one mount's inodes."""

    def __init__(self, nodes: NodeTable, xattrs: XattrTable) -> None:
        self._nodes = nodes
        self._xattrs = xattrs

    # -- modes and ACLs ----------------------------------------------------------------

    def set_mode(self, node: Node, mode: int) -> None:
        """chmod: the file type stays, and an access ACL goes along (A1)."""
        access = self._acl(node.ino, acl.ACCESS)  # first: if it is none, nothing is changed
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        self._nodes.mark_changed(node)
        if access is not None:
            self._xattrs.store(node.ino, acl.ACCESS, access.with_mode(mode).encode())
            self._nodes.rows.named(node)  # with the ACL, in whatever commit (A1)

    def set_acl(self, node: Node, name: bytes, new: acl.Acl, *, keeps_setgid: bool) -> None:
        """What vfs_set_acl() and set_posix_acl() refuse, and what they do."""
        if stat.S_ISLNK(node.mode):
            raise FsError(errno.EOPNOTSUPP)
        if name == acl.DEFAULT and not node.is_directory:
            raise FsError(errno.EACCES)
        if name == acl.ACCESS:
            node.mode = node.mode & ~acl.PERMISSIONS | new.mode
            if not keeps_setgid:
                node.mode &= ~stat.S_ISGID
            self._nodes.rows.named(node)  # with the ACL, in whatever commit (A1)
        if name == acl.ACCESS and new.is_minimal:
            self._xattrs.remove(node.ino, name)  # (A2)
        else:
            self._xattrs.store(node.ino, name, new.encode())
        node.default_acl = None

    def inherit(self, directory: Node, ino: int, mode: int, umask: int) -> int:
        """Give a new inode what its directory's default ACL says; return its mode.

        The umask counts only where there is no such ACL.
        """
        default = None
        if directory.default_acl is not False:
            default = self._acl(directory.ino, acl.DEFAULT)
            directory.default_acl = default is not None
        if default is None:
            return mode & ~umask
        mode, access = default.inherit(mode)
        if not access.is_minimal:
            self._xattrs.store(ino, acl.ACCESS, access.encode())
        if stat.S_ISDIR(mode):
            self._xattrs.store(ino, acl.DEFAULT, default.encode())
        return mode

    def _acl(self, ino: int, name: bytes) -> acl.Acl | None:
        """A stored ACL; FsError(EIO) if it is none."""
        value = self._xattrs.value(ino, name)
        try:
            return None if value is None else acl.decode(value)
        except FsError as error:
            raise FsError(errno.EIO) from error

    # -- privileges --------------------------------------------------------------------

    def modified(self, node: Node, caller: Caller, now_ns: int) -> None:
        """file_modified(): a caller changes the content, so times move and privileges go."""
        node.mtime_ns = node.ctime_ns = now_ns
        if node.mode & SET_ID_BITS or node.capability is not False:
            self.remove_privileges(node, caller)
        elif not node.changed:
            self._nodes.mark_changed(node)

    def remove_privileges(self, node: Node, caller: Caller) -> None:
        """file_remove_privs(): set-id bits and capabilities."""
        drop_privileges(caller, node)
        if node.capability is None:
            node.capability = self._xattrs.value(node.ino, CAPABILITY) is not None
        if node.capability:
            node.capability = not self._xattrs.remove(node.ino, CAPABILITY)
        self._nodes.mark_changed(node)
