"""Inodes in memory: struct inode and the inode cache of this filesystem.

A Node is in memory from its first use until drop() or evict():

    get(), add() ──> in_memory ──forget(): it is idle──> drop()      it still has a name
                                                         evict()     nlink is 0

The caller counts: lookups for each reply that gives the kernel an entry, opens for each
open file.  Attributes, size and map change in memory, and who writes them is told at once:
touch() with a name or an xattr, mark_changed() for any other attribute, and by the Inode itself
of size and map, whichever request changed them.  All is written before a commit: inode_rows.py.

Units: sizes are bytes; times are nanoseconds since 1970.
Errors: FsError(ESTALE) for an inode that does not exist, FsError(EIO) from the metadata.
Invariants:
    (N1) in_memory has at most one Node for an inode;
    (N2) size and map of a file are written together, by save_changed(); the size is
         disk_size, so that no commit promises bytes that are not on the image;
    (N3) a node is not dropped while its memory is ahead of what is stored.
"""

import errno
import stat

from fusefs.model.errors import FsError
from fusefs.model.extents import ChunkCache, ExtentMap
from fusefs.model.geometry import Geometry
from fusefs.model.inode import Inode
from fusefs.store.inode_rows import InodeRows
from fusefs.store.node import Node
from fusefs.store.stored import INO_END, Attributes
from fusefs.store.stored_blocks import InodeMap


class NodeTable:
    """The inodes of one mount that are in memory, by number (N1)."""

    def __init__(self, rows: InodeRows, geometry: Geometry) -> None:
        self.rows = rows
        self.metadata = rows.metadata
        self.geometry = geometry
        self.in_memory: dict[int, Node] = {}
        self.chunk_cache = ChunkCache()
        self._inodes_changed: dict[int, Inode] = {}

    def get(self, ino: int) -> Node:
        """The node of an inode, loaded if need be; FsError(ESTALE) if there is none."""
        node = self.in_memory.get(ino)
        if node is None:
            attributes = self.rows.load(ino) if 0 < ino < INO_END else None
            if attributes is None or not attributes.nlink:  # evicted, and not yet deleted
                raise FsError(errno.ESTALE)
            node = self.add(attributes)
        return node

    def orphan(self, ino: int, blocks: int) -> Inode:
        """The blocks of an inode that has no name, and that no node is made for any more."""
        return Inode(ino, 0, ExtentMap(InodeMap(self.metadata, ino, self.chunk_cache), blocks))

    def new(
        self,
        ino: int,
        mode: int,
        nlink: int,
        uid: int,
        gid: int,
        rdev: int,
        now_ns: int,
        target: bytes | None = None,
    ) -> Node:
        """An inode that is made now, and not stored yet; within Metadata.changing, as its name."""
        times = now_ns, now_ns, now_ns
        inode = self._inode(ino, 0, 0) if stat.S_ISREG(mode) else None
        size = self.geometry.block_size
        node = Node(ino, mode, nlink, uid, gid, rdev, *times, size, target, inode)
        self.in_memory[ino] = node
        self.rows.add(node)
        return node

    def add(self, attributes: Attributes) -> Node:
        """Take a stored inode into memory; its map is read when it is looked at."""
        a = attributes
        inode = self._inode(a.ino, a.size, a.blocks) if stat.S_ISREG(a.mode) else None
        times = a.atime_ns, a.mtime_ns, a.ctime_ns
        size = self.geometry.block_size
        node = Node(a.ino, a.mode, a.nlink, a.uid, a.gid, a.rdev, *times, size, a.target, inode)
        self.in_memory[a.ino] = node
        return node

    def _inode(self, ino: int, size: int, blocks: int) -> Inode:
        extents = ExtentMap(InodeMap(self.metadata, ino, self.chunk_cache), blocks)
        return Inode(ino, size, extents, self._inodes_changed)

    def forget(self, ino: int, count: int) -> bool:
        """The kernel gives count lookups back; True if the node is idle now."""
        node = self.in_memory[ino]
        assert node.lookups >= count, f"inode {ino} forgotten more often than looked up"
        node.lookups -= count
        return node.is_idle

    def drop(self, ino: int) -> bool:
        """Let an idle node go from memory; False if it must stay until it is saved (N3)."""
        node = self.in_memory[ino]
        assert node.is_idle, f"inode {ino} dropped while in use"
        if self.rows.waits(node):
            self.mark_changed(node)  # so that the commit lets it go
            return False
        if not node.data_is_stored:
            return False
        del self.in_memory[ino]
        return True

    def evict(self, node: Node) -> None:
        """Let a node go that has no name and no user; what is stored goes with a commit."""
        assert node.nlink == 0, f"inode {node.ino} evicted while it has a name"
        assert node.is_idle, f"inode {node.ino} evicted while in use"
        del self.in_memory[node.ino]
        self.rows.evicted(node.ino)
        self._inodes_changed.pop(node.ino, None)

    def mark_changed(self, node: Node) -> None:
        """An attribute has changed, but not with a name.  Size and map need no call: see Inode."""
        self.rows.changed(node)

    def touch(self, node: Node, now_ns: int, links: int = 0) -> None:
        """A name or an xattr comes or goes: change ctime and nlink; within Metadata.changing."""
        node.nlink = max(node.nlink + links, 0)  # fewer than its names, if the disk says so
        node.ctime_ns = now_ns
        self.rows.named(node)

    def save_changed(self) -> list[Node]:
        """Write attributes and map of all that changed, in whatever request (N2); return them."""
        for ino in self._inodes_changed:
            if ino in self.in_memory:  # else deleted while a request still ran
                self.mark_changed(self.in_memory[ino])
        self._inodes_changed.clear()
        return self.rows.save()
