"""Rows of inodes: read when one is first used, and written behind what a node has.

New inodes, link counts and times come by with each name, and change again with the next one; other
attributes and sizes change with each request.  So rows wait.  A commit is made in another thread
while names change, and their rows wait for one of two moments in it:

    named()      with a name: its link count, times and mode, and all of a new inode.  Written when
                 ROWS_NAMED_MAX wait, and before the COMMIT at the latest: by write_named(), under
                 the lock under which that is made (I1)
    changed()    all the rest, with size and map.  Written by save(), part 1 of a commit (N2)

Whoever waits has a node in memory (N3) or was evicted, so nobody reads a row that is behind.

Units: times are nanoseconds since 1970; sizes are bytes.
Errors: FsError(EIO) for a row that cannot be right, and what Metadata has.
Invariant:
    (I1) a commit that has a name has the row of the inode that it leads to, with the link count.
"""

from typing import Any

from fusefs.store.metadata import Metadata
from fusefs.store.node import Node
from fusefs.store.stored import Attributes, as_int, clamp_time
from fusefs.store.stored_blocks import save_map

ROWS_NAMED_MAX = 256
"""Rows that wait because of a name; to write all of them takes about a millisecond."""

_COLUMNS = Attributes._fields
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM inode WHERE ino = ?"
_SELECT_NAMED = (
    f"SELECT {', '.join(_COLUMNS)} FROM inode WHERE ino IN"
    " (SELECT ino FROM dentry WHERE parent = ? AND cookie BETWEEN ? AND ?)"
)
_UPDATE_NAMED = "UPDATE inode SET mode = ?, nlink = ?, mtime_ns = ?, ctime_ns = ? WHERE ino = ?"
_REPLACE = f"INSERT OR REPLACE INTO inode VALUES ({', '.join('?' * len(_COLUMNS))})"
_REPLACE_BIRTH = "INSERT OR REPLACE INTO birth VALUES (?, ?)"


class InodeRows:
    """Those of one mount."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self._named: dict[int, Node] = {}
        self._births: dict[int, int] = {}
        """When those that have no row yet were made."""
        self._changed: dict[int, Node] = {}

    # -- reading -----------------------------------------------------------------------

    def load(self, ino: int) -> Attributes | None:
        """The stored attributes, or None if there is no such inode; FsError(EIO) if damaged.

        Of an inode that has no node: if its row is behind, it was evicted.
        """
        rows = [] if ino in self._named else self.metadata.query(_SELECT, ino)
        return self._checked(rows[0]) if rows else None

    def load_named(self, parent: int, first: int, last: int) -> list[Attributes]:
        """Those of all inodes that names of a directory lead to, from one cookie to another.

        What is not stored yet is missing.
        """
        return list(map(self._checked, self.metadata.query(_SELECT_NAMED, parent, first, last)))

    def _checked(self, row: tuple[Any, ...]) -> Attributes:
        attributes = Attributes._make(row)
        if fault := attributes.fault():
            raise self.metadata.damaged(f"inode {attributes.ino} ({fault})")
        return attributes

    def birth_ns(self, ino: int) -> int:
        """When an inode was made, 0 if that is not known; FsError(EIO) if damaged."""
        if ino in self._births:
            return self._births[ino]
        rows = self.metadata.query("SELECT btime_ns FROM birth WHERE ino = ?", ino)
        return as_int(rows[0][0]) if rows else 0

    def count_linked(self) -> int:
        """Inodes with a name.  Asks for those without one, of which there are few."""
        self.write_named()
        [[orphan_count]] = self.metadata.query("SELECT count(*) FROM inode WHERE nlink = 0")
        return self.metadata.inode_count - int(orphan_count)

    def orphans(self) -> list[tuple[int, int]]:
        """Inodes without a name, deleted but still open when last heard of, and their blocks.

        Blocks that cannot be right count as none: what is freed is what the map has.
        """
        self.write_named()
        return self.metadata.query(
            "SELECT ino, iif(typeof(blocks) = 'integer' AND blocks BETWEEN 0 AND ?, blocks, 0)"
            " FROM inode WHERE nlink = 0",
            self.metadata.block_count,
        )

    # -- what is behind ----------------------------------------------------------------

    def add(self, node: Node) -> None:
        """A new inode, within Metadata.changing: its name is part of the same change."""
        self.metadata.health.check_writable()
        self._births[node.ino] = clamp_time(node.ctime_ns)
        self.metadata.inode_count += 1
        self.named(node)

    def named(self, node: Node) -> None:
        """A name has changed what its inode's row says; within Metadata.changing."""
        self.metadata.health.check_writable()
        self._named[node.ino] = node
        if len(self._named) >= ROWS_NAMED_MAX:
            self.write_named()

    def changed(self, node: Node) -> None:
        """Anything else has changed."""
        node.changed = True
        self._changed[node.ino] = node

    def waits(self, node: Node) -> bool:
        """Whether its row is behind."""
        return node.changed or node.ino in self._named

    def evicted(self, ino: int) -> None:
        """An inode has no name and no user; its link count is written all the same (I1)."""
        self._changed.pop(ino, None)

    # -- writing -----------------------------------------------------------------------

    def write_named(self) -> None:
        """Write what waits because of a name, if SQLite has not undone that already.

        Size and map stay what they are: a shorter size committed without its map would let
        removed bytes reappear when the file grows again.
        """
        with self.metadata.whole:
            named, self._named = self._named, {}
            births, self._births = self._births, {}
            new = [_row(node, 0, 0) for node in named.values() if node.ino in births]
            old = [
                (node.mode, node.nlink, clamp_time(node.mtime_ns), clamp_time(node.ctime_ns), ino)
                for ino, node in named.items()
                if ino not in births
            ]
            self.metadata.change_many(_REPLACE, new)
            self.metadata.change_many(_REPLACE_BIRTH, list(births.items()))
            self.metadata.change_many(_UPDATE_NAMED, old)

    def save(self) -> list[Node]:
        """Write attributes, size and map of all that changed (N2); return them.

        Those among them that are idle can be dropped now.
        """
        saved = list(self._changed.values())
        self._changed.clear()
        with self.metadata.whole:
            for node in saved:
                size = blocks = 0
                if node.inode is not None:
                    save_map(self.metadata, node.ino, node.inode.extents)
                    size, blocks = node.inode.disk_size, node.inode.extents.blocks_allocated
                    node.inode.changed = False
                self.metadata.change(_REPLACE, *_row(node, size, blocks))
                self._named.pop(node.ino, None)
                if birth := self._births.pop(node.ino, None):
                    self.metadata.change(_REPLACE_BIRTH, node.ino, birth)
                node.changed = False
        return saved

    def save_blocks(self, ino: int, blocks: int) -> None:
        """How many blocks a deleted file still has."""
        self.metadata.change("UPDATE inode SET blocks = ? WHERE ino = ?", blocks, ino)

    def delete(self, ino: int) -> None:
        """Forget an inode: attributes, xattrs and map.  Its blocks were freed before."""
        metadata = self.metadata
        with metadata.whole:
            self._named.pop(ino, None)
            if self._births.pop(ino, None) is None:
                metadata.change("DELETE FROM birth WHERE ino = ?", ino)
                metadata.inode_count -= metadata.change("DELETE FROM inode WHERE ino = ?", ino)
            else:
                metadata.inode_count -= 1
            metadata.change("DELETE FROM xattr WHERE ino = ?", ino)
            metadata.change("DELETE FROM chunk WHERE ino = ?", ino)


def _row(node: Node, size: int, blocks: int) -> Attributes:
    return Attributes(
        node.ino,
        node.mode,
        node.nlink,
        node.uid,
        node.gid,
        node.rdev,
        size,
        blocks,
        clamp_time(node.atime_ns),
        clamp_time(node.mtime_ns),
        clamp_time(node.ctime_ns),
        node.target,
    )
