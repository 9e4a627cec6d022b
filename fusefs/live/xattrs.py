"""Extended attributes of inodes: names, values and their limits.

A change is written to the open transaction at once, with the inode's ctime.

Units: times are nanoseconds since 1970, and always passed in; values are bytes.
Errors: FsError with the errno that Linux's system call returns.
"""

import errno

from fusefs.errors import FsError
from fusefs.live.metadata import clamp_time
from fusefs.live.nodes import Node, NodeTable

XATTR_NAME_LENGTH_MAX = 255
XATTR_SIZE_MAX = 65536


class XattrTable(NodeTable):
    """The inodes of one mount, with their extended attributes."""

    def get_xattr(self, ino: int, name: bytes) -> bytes:
        """The value; FsError(ENODATA) if there is none."""
        self.node(ino)
        rows = self.metadata.query("SELECT value FROM xattr WHERE ino = ? AND name = ?", ino, name)
        if not rows:
            raise FsError(errno.ENODATA)
        return bytes(rows[0][0])

    def list_xattrs(self, ino: int) -> list[bytes]:
        """The names, sorted."""
        self.node(ino)
        rows = self.metadata.query("SELECT name FROM xattr WHERE ino = ? ORDER BY name", ino)
        return [name for (name,) in rows]

    def set_xattr(self, ino: int, name: bytes, value: bytes, now_ns: int) -> None:
        """Create or replace; XATTR_CREATE and XATTR_REPLACE are the caller's."""
        node = self.node(ino)
        if not 0 < len(name) <= XATTR_NAME_LENGTH_MAX:
            raise FsError(errno.ERANGE)
        if len(value) > XATTR_SIZE_MAX:
            raise FsError(errno.E2BIG)
        self.metadata.change("INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)", ino, name, value)
        self._touch(node, now_ns)

    def remove_xattr(self, ino: int, name: bytes, now_ns: int) -> None:
        """FsError(ENODATA) if there is none."""
        node = self.node(ino)
        if not self.metadata.change("DELETE FROM xattr WHERE ino = ? AND name = ?", ino, name):
            raise FsError(errno.ENODATA)
        self._touch(node, now_ns)

    def _touch(self, node: Node, now_ns: int, links: int = 0) -> None:
        """Change ctime and nlink, at once also in storage; size and blocks wait (N2)."""
        node.nlink += links
        node.ctime_ns = now_ns
        self.metadata.change(
            "UPDATE inode SET nlink = ?, mtime_ns = ?, ctime_ns = ? WHERE ino = ?",
            node.nlink,
            clamp_time(node.mtime_ns),
            clamp_time(node.ctime_ns),
            node.ino,
        )
