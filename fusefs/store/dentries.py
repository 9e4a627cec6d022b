"""Which name leads to which inode: the stored table of names, and those last used in memory.

A change is written to the open transaction at once.  What is in memory is of this transaction,
a name that is not there included: most lookups before a create() ask for such.

Units: cookies count the names ever made; a directory is read in their order.
Errors: FsError(EIO) if what is stored contradicts itself.
Invariant:
    (L1) find() says what the table says, also when SQLite has undone the transaction.
"""

from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import DOT_COOKIES, ROOT_INO
from fusefs.store.stored import Entry, as_bytes, as_entries, as_int

NAMES_MAX = 32768
"""Names in memory, of some 200 bytes each."""

NONE = 0
"""In place of an inode's number: there is no such name."""


class Dentries:
    """The names of one mount.  Two dictionaries age together: the older one goes at once."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._young: dict[tuple[int, bytes], int] = {}
        self._old: dict[tuple[int, bytes], int] = {}

    # -- looking -----------------------------------------------------------------------

    def find(self, parent: int, name: bytes) -> int | None:
        """The inode that a name leads to, or None."""
        if self._metadata.health.failure:
            return self._stored(parent, name) or None
        place = parent, name
        ino = self._young.get(place)
        if ino is None:
            ino = self._old.get(place)
            if ino is None:
                ino = self._stored(parent, name)
            self._keep(place, ino)
        return ino or None

    def _stored(self, parent: int, name: bytes) -> int:
        rows = self._metadata.query(
            "SELECT ino FROM dentry WHERE parent = ? AND name = ?", parent, name
        )
        return as_int(rows[0][0]) if rows else NONE

    def _keep(self, place: tuple[int, bytes], ino: int) -> None:
        self._young[place] = ino
        if len(self._young) >= NAMES_MAX // 2:
            self._old, self._young = self._young, {}

    def parent(self, ino: int) -> int:
        """The directory that holds a directory; the root holds itself."""
        if ino == ROOT_INO:
            return ROOT_INO
        rows = self._metadata.query("SELECT parent FROM dentry WHERE ino = ?", ino)
        if len(rows) != 1:
            raise self._metadata.damaged(f"the name of directory {ino}")
        return as_int(rows[0][0])

    def place(self, ino: int) -> tuple[int, bytes] | None:
        """The directory and the name that lead to an inode: the oldest, if there are several."""
        rows = self._metadata.query(
            "SELECT parent, name FROM dentry WHERE ino = ? ORDER BY cookie LIMIT 1", ino
        )
        return (as_int(rows[0][0]), as_bytes(rows[0][1])) if rows else None

    def entries(self, parent: int, after_cookie: int, limit: int) -> list[Entry]:
        """Names of a directory, in the order of their cookies, without '.' and '..'."""
        rows = self._metadata.query(
            "SELECT cookie, name, ino FROM dentry WHERE parent = ? AND cookie > ?"
            " ORDER BY cookie LIMIT ?",
            parent,
            after_cookie,
            limit,
        )
        return as_entries(rows, max(after_cookie, DOT_COOKIES))

    def is_empty(self, parent: int) -> bool:
        return not self._metadata.query("SELECT 1 FROM dentry WHERE parent = ? LIMIT 1", parent)

    # -- changing ----------------------------------------------------------------------

    def insert(self, parent: int, name: bytes, ino: int) -> None:
        self._metadata.change(
            "INSERT INTO dentry (parent, name, ino) VALUES (?, ?, ?)", parent, name, ino
        )
        self._keep((parent, name), ino)

    def delete(self, parent: int, name: bytes) -> None:
        self._metadata.change("DELETE FROM dentry WHERE parent = ? AND name = ?", parent, name)
        self._keep((parent, name), NONE)

    def repoint(self, parent: int, name: bytes, ino: int) -> None:
        """Let a name lead to another inode; it keeps its cookie."""
        self._metadata.change(
            "UPDATE dentry SET ino = ? WHERE parent = ? AND name = ?", ino, parent, name
        )
        self._keep((parent, name), ino)

    def move(self, parent: int, name: bytes, new_parent: int, new_name: bytes, ino: int) -> None:
        """Give a name another place, where there is none; it keeps its cookie."""
        self._metadata.change(
            "UPDATE dentry SET parent = ?, name = ? WHERE parent = ? AND name = ?",
            new_parent,
            new_name,
            parent,
            name,
        )
        self._keep((parent, name), NONE)
        self._keep((new_parent, new_name), ino)
