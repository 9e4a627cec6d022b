"""Extended attributes as they are stored: an inode, a name, a value.

A change is written to the open transaction at once.  What a name or value may be is not asked
here: see xattrs.py and permissions.py.

Errors: FsError(EIO) if what is stored is no name or no value.
"""

from fusefs.store.metadata import Metadata
from fusefs.store.stored import as_bytes


class XattrTable:
    """Those of one mount."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def value(self, ino: int, name: bytes) -> bytes | None:
        """None if there is none of that name."""
        rows = self._metadata.query("SELECT value FROM xattr WHERE ino = ? AND name = ?", ino, name)
        return as_bytes(rows[0][0]) if rows else None

    def names(self, ino: int) -> list[bytes]:
        """Sorted."""
        rows = self._metadata.query("SELECT name FROM xattr WHERE ino = ? ORDER BY name", ino)
        return [as_bytes(name) for (name,) in rows]

    def sizes(self, ino: int, but: bytes) -> tuple[int, int]:
        """Bytes that all but one take: of the names, each with a zero, and of names and values."""
        sums = "total(length(name) + 1), total(length(name) + length(value))"
        select = f"SELECT {sums} FROM xattr WHERE ino = ? AND name <> ?"
        [[names_size, size]] = self._metadata.query(select, ino, but)
        return names_size, size

    def store(self, ino: int, name: bytes, value: bytes) -> None:
        self._metadata.change("INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)", ino, name, value)

    def remove(self, ino: int, name: bytes) -> bool:
        """Whether there was one."""
        delete = "DELETE FROM xattr WHERE ino = ? AND name = ?"
        return bool(self._metadata.change(delete, ino, name))
