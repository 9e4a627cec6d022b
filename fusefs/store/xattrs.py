"""Extended attributes of inodes: names, values and their limits; and ACLs, which are two of them.

A change is written to the open transaction at once, with the inode's ctime.

Units: times are nanoseconds since 1970, and always passed in; values are bytes.
Errors: FsError with the errno that Linux's system call returns.
"""

import errno
import stat

from fusefs.model.errors import FsError
from fusefs.store import acl
from fusefs.store.callers import Caller, drop_privileges
from fusefs.store.nodes import Node, NodeTable
from fusefs.store.stored import as_bytes

XATTR_NAME_LENGTH_MAX = 255
XATTR_SIZE_MAX = 65536
XATTR_LIST_MAX = 65536
"""Bytes that the names of an inode's xattrs have together: listxattr(2) can give no more."""

XATTRS_SIZE_MAX = 1 << 20
"""Bytes of all xattrs of an inode, names and values."""

SET_ID_BITS = stat.S_ISUID | stat.S_ISGID

CAPABILITY = b"security.capability"
"""The rights that a program has: setcap(8)."""

TRUSTED = b"trusted."
NAMESPACES = (b"user.", TRUSTED, b"security.")
ACLS = (acl.ACCESS, acl.DEFAULT)


def _check_namespace(name: bytes) -> None:
    """What xattr_resolve_name() refuses: FUSE lets every name through."""
    if not name.startswith(NAMESPACES) and name not in ACLS:
        raise FsError(errno.EOPNOTSUPP)
    if name in NAMESPACES:
        raise FsError(errno.EINVAL)


class XattrTable(NodeTable):
    """The inodes of one mount, with their extended attributes."""

    def get_xattr(self, ino: int, name: bytes) -> bytes:
        """The value; FsError(ENODATA) if there is none."""
        self.node(ino)
        _check_namespace(name)
        value = self._value(ino, name)
        if value is None:
            raise FsError(errno.ENODATA)
        return value

    def list_xattrs(self, ino: int) -> list[bytes]:
        """The names, sorted."""
        self.node(ino)
        rows = self.metadata.query("SELECT name FROM xattr WHERE ino = ? ORDER BY name", ino)
        return [as_bytes(name) for (name,) in rows]

    def set_xattr(
        self, ino: int, name: bytes, value: bytes, now_ns: int, *, keeps_setgid: bool = True
    ) -> None:
        """Create or replace; XATTR_CREATE and XATTR_REPLACE are the caller's.

        keeps_setgid says whether whoever sets an access ACL may leave the setgid bit.
        """
        node = self.node(ino)
        if not 0 < len(name) <= XATTR_NAME_LENGTH_MAX:
            raise FsError(errno.ERANGE)
        if len(value) > XATTR_SIZE_MAX:
            raise FsError(errno.E2BIG)
        _check_namespace(name)
        if name in ACLS:
            self._set_acl(node, name, acl.decode(value), keeps_setgid=keeps_setgid)
        else:
            self._check_xattr_room(ino, name, value)
            self._store(ino, name, value)
            node.capability = None
        self._touch(node, now_ns)

    def remove_xattr(self, ino: int, name: bytes, now_ns: int) -> None:
        """FsError(ENODATA) if there is none; an ACL that is not there is as good as removed."""
        node = self.node(ino)
        _check_namespace(name)
        if self._remove(ino, name):
            node.capability = node.default_acl = None
            self._touch(node, now_ns)
        elif name not in ACLS:
            raise FsError(errno.ENODATA)

    def _value(self, ino: int, name: bytes) -> bytes | None:
        rows = self.metadata.query("SELECT value FROM xattr WHERE ino = ? AND name = ?", ino, name)
        return as_bytes(rows[0][0]) if rows else None

    def _check_xattr_room(self, ino: int, name: bytes, value: bytes) -> None:
        """FsError(ENOSPC) if an inode's xattrs would be too many or too large together."""
        sums = "total(length(name) + 1), total(length(name) + length(value))"
        select = f"SELECT {sums} FROM xattr WHERE ino = ? AND name <> ?"
        [[names_size, size]] = self.metadata.query(select, ino, name)
        names_size, size = names_size + len(name) + 1, size + len(name) + len(value)
        if names_size > XATTR_LIST_MAX or size > XATTRS_SIZE_MAX:
            raise FsError(errno.ENOSPC)

    def _store(self, ino: int, name: bytes, value: bytes) -> None:
        self.metadata.change("INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)", ino, name, value)

    def _remove(self, ino: int, name: bytes) -> bool:
        return bool(self.metadata.change("DELETE FROM xattr WHERE ino = ? AND name = ?", ino, name))

    # -- ACLs --------------------------------------------------------------------------

    def set_mode(self, node: Node, mode: int) -> None:
        """chmod: the file type stays, and an access ACL goes along (A1)."""
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        self.mark_changed(node)
        access = self._acl(node.ino, acl.ACCESS)
        if access is not None:
            self._store(node.ino, acl.ACCESS, access.with_mode(mode).encode())
            self._store_mode(node)

    def _set_acl(self, node: Node, name: bytes, new: acl.Acl, *, keeps_setgid: bool) -> None:
        """What vfs_set_acl() and set_posix_acl() refuse, and what they do."""
        if stat.S_ISLNK(node.mode):
            raise FsError(errno.EOPNOTSUPP)
        if name == acl.DEFAULT and not node.is_directory:
            raise FsError(errno.EACCES)
        if name == acl.ACCESS:
            node.mode = node.mode & ~acl.PERMISSIONS | new.mode
            if not keeps_setgid:
                node.mode &= ~stat.S_ISGID
            self._store_mode(node)
        if name == acl.ACCESS and new.is_minimal:
            self._remove(node.ino, name)  # (A2)
        else:
            self._store(node.ino, name, new.encode())
        node.default_acl = None

    def _store_mode(self, node: Node) -> None:
        """At once, as the ACL: a commit under way must not take one without the other (A1)."""
        self.metadata.save_column(node.ino, "mode", node.mode)

    def _acl(self, ino: int, name: bytes) -> acl.Acl | None:
        """A stored ACL; FsError(EIO) if it is none."""
        value = self._value(ino, name)
        try:
            return None if value is None else acl.decode(value)
        except FsError as error:
            raise FsError(errno.EIO) from error

    def _inherit_acl(self, directory: Node, ino: int, mode: int, umask: int) -> int:
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
            self._store(ino, acl.ACCESS, access.encode())
        if stat.S_ISDIR(mode):
            self._store(ino, acl.DEFAULT, default.encode())
        return mode

    # -- privileges --------------------------------------------------------------------

    def modified(self, node: Node, caller: Caller, now_ns: int) -> None:
        """file_modified(): a caller changes the content, so times move and privileges go."""
        node.mtime_ns = node.ctime_ns = now_ns
        if node.mode & SET_ID_BITS or node.capability is not False:
            self.remove_privileges(node, caller)
        elif not node.changed:
            self.mark_changed(node)

    def remove_privileges(self, node: Node, caller: Caller) -> None:
        """file_remove_privs(): set-id bits and capabilities."""
        drop_privileges(caller, node)
        if node.capability is None:
            node.capability = self._value(node.ino, CAPABILITY) is not None
        if node.capability:
            node.capability = not self._remove(node.ino, CAPABILITY)
        self.mark_changed(node)

    # -- what changes share ------------------------------------------------------------

    def _touch(self, node: Node, now_ns: int, links: int = 0) -> None:
        """Change ctime and nlink, also for the next commit; size and blocks wait (N2)."""
        node.nlink = max(node.nlink + links, 0)  # fewer than its names, if the disk says so
        node.ctime_ns = now_ns
        self.metadata.save_links(node.ino, node.nlink, node.mtime_ns, node.ctime_ns)
