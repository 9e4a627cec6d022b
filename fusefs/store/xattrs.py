"""Extended attributes: what the system calls do, and their limits.

An ACL is one, too, and goes to permissions.py.  A change comes with the inode's ctime.

Units: times are nanoseconds since 1970, and always passed in; values are bytes.
Errors: FsError with the errno that Linux's system call returns.
"""

import errno

from fusefs.model.errors import FsError
from fusefs.store import acl
from fusefs.store.nodes import NodeTable
from fusefs.store.permissions import Permissions
from fusefs.store.xattr_table import XattrTable

XATTR_NAME_LENGTH_MAX = 255
XATTR_SIZE_MAX = 65536
XATTR_LIST_MAX = 65536
"""Bytes that the names of an inode's xattrs have together: listxattr(2) can give no more."""

XATTRS_SIZE_MAX = 1 << 20
"""Bytes of all xattrs of an inode, names and values."""

TRUSTED = b"trusted."
NAMESPACES = (b"user.", TRUSTED, b"security.")
ACLS = (acl.ACCESS, acl.DEFAULT)


def _check_namespace(name: bytes) -> None:
    """What xattr_resolve_name() refuses: FUSE lets every name through."""
    if not name.startswith(NAMESPACES) and name not in ACLS:
        raise FsError(errno.EOPNOTSUPP)
    if name in NAMESPACES:
        raise FsError(errno.EINVAL)


class Xattrs:
    """Those of one mount's inodes."""

    def __init__(self, nodes: NodeTable, table: XattrTable, permissions: Permissions) -> None:
        self._nodes = nodes
        self._table = table
        self._permissions = permissions

    def get(self, ino: int, name: bytes) -> bytes:
        """The value; FsError(ENODATA) if there is none."""
        self._nodes.get(ino)
        _check_namespace(name)
        value = self._table.value(ino, name)
        if value is None:
            raise FsError(errno.ENODATA)
        return value

    def names(self, ino: int) -> list[bytes]:
        """Sorted."""
        self._nodes.get(ino)
        return self._table.names(ino)

    def set(
        self, ino: int, name: bytes, value: bytes, now_ns: int, *, keeps_setgid: bool = True
    ) -> None:
        """Create or replace; XATTR_CREATE and XATTR_REPLACE are the caller's.

        keeps_setgid says whether whoever sets an access ACL may leave the setgid bit.
        """
        node = self._nodes.get(ino)
        if not 0 < len(name) <= XATTR_NAME_LENGTH_MAX:
            raise FsError(errno.ERANGE)
        if len(value) > XATTR_SIZE_MAX:
            raise FsError(errno.E2BIG)
        _check_namespace(name)
        if name in ACLS:
            self._permissions.set_acl(node, name, acl.decode(value), keeps_setgid=keeps_setgid)
        else:
            self._check_room(ino, name, value)
            self._table.store(ino, name, value)
            node.capability = None
        self._nodes.touch(node, now_ns)

    def remove(self, ino: int, name: bytes, now_ns: int) -> None:
        """FsError(ENODATA) if there is none; an ACL that is not there is as good as removed."""
        node = self._nodes.get(ino)
        _check_namespace(name)
        if self._table.remove(ino, name):
            node.capability = node.default_acl = None
            self._nodes.touch(node, now_ns)
        elif name not in ACLS:
            raise FsError(errno.ENODATA)

    def _check_room(self, ino: int, name: bytes, value: bytes) -> None:
        """FsError(ENOSPC) if an inode's xattrs would be too many or too large together."""
        names_size, size = self._table.sizes(ino, but=name)
        names_size, size = names_size + len(name) + 1, size + len(name) + len(value)
        if names_size > XATTR_LIST_MAX or size > XATTRS_SIZE_MAX:
            raise FsError(errno.ENOSPC)
