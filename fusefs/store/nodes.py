"""Inodes in memory: struct inode and the inode cache of this filesystem.

A Node is in memory from its first use until drop() or evict():

    get(), add() ──> in_memory ──forget(): it is idle──> drop()      it still has a name
                                                         evict()     nlink is 0

The caller counts: lookups for each reply that gives the kernel an entry, opens for each
open file.  Attributes, size and map change in memory.  Whoever changes an attribute calls
mark_changed(); a change of size or map is noted by the Inode itself, whichever request made
it.  save_changed() writes all of that before a commit.

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
from dataclasses import dataclass

from fusefs.model.errors import FsError
from fusefs.model.extents import ChunkCache, ExtentMap
from fusefs.model.geometry import Geometry
from fusefs.model.inode import Inode
from fusefs.store.metadata import Attributes, Metadata, clamp_time
from fusefs.store.stored import INO_END
from fusefs.store.stored_blocks import InodeMap, save_map


@dataclass(slots=True, eq=False)
class Node:
    """An inode in memory: its attributes, and the model's Inode if it is a regular file.

    lookups     how often the kernel was given it, less what it has forgotten
    opens       open files and directories
    linkable    made by O_TMPFILE: may get a first name
    capability  whether it has security.capability; None if nobody has looked
    default_acl the same for a directory's default ACL
    changed     attributes in memory differ from the stored; set by mark_changed()
    """

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    block_size: int
    target: bytes | None = None
    inode: Inode | None = None
    lookups: int = 0
    opens: int = 0
    linkable: bool = False
    capability: bool | None = None
    default_acl: bool | None = None
    changed: bool = False

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_idle(self) -> bool:
        """Nobody can reach it any more but by its name."""
        return not self.lookups and not self.opens

    @property
    def size(self) -> int:
        """st_size."""
        if self.inode is not None:
            return self.inode.size
        if self.target is not None:
            return len(self.target)
        return self.block_size if self.is_directory else 0

    @property
    def blocks_512(self) -> int:
        """st_blocks, in units of 512 bytes; what is promised to delayed writes counts."""
        if self.inode is None:
            return 0
        extents = self.inode.extents
        return (extents.blocks_allocated + extents.blocks_delalloc) * self.block_size // 512

    @property
    def is_stored(self) -> bool:
        """Nothing of it is in memory alone: no attribute, block, dirty page or size."""
        return not self.changed and self.data_is_stored

    @property
    def data_is_stored(self) -> bool:
        """As is_stored, for content and size alone."""
        inode = self.inode
        return inode is None or not (
            inode.changed
            or inode.mapping.pages_dirty
            or inode.mapping.pages_writeback
            or inode.size != inode.disk_size
        )


class NodeTable:
    """The inodes of one mount that are in memory, by number (N1)."""

    def __init__(self, metadata: Metadata, geometry: Geometry) -> None:
        self.metadata = metadata
        self.geometry = geometry
        self.in_memory: dict[int, Node] = {}
        self.chunk_cache = ChunkCache()
        self._nodes_changed: dict[int, Node] = {}
        self._inodes_changed: dict[int, Inode] = {}

    def get(self, ino: int) -> Node:
        """The node of an inode, loaded if need be; FsError(ESTALE) if there is none."""
        node = self.in_memory.get(ino)
        if node is None:
            attributes = self.metadata.load_attributes(ino) if 0 < ino < INO_END else None
            if attributes is None or not attributes.nlink:  # evicted, and not yet deleted
                raise FsError(errno.ESTALE)
            node = self.add(attributes)
        return node

    def orphan(self, ino: int, blocks: int) -> Inode:
        """The blocks of an inode that has no name, and that no node is made for any more."""
        return Inode(ino, 0, ExtentMap(InodeMap(self.metadata, ino, self.chunk_cache), blocks))

    def add(self, attributes: Attributes) -> Node:
        """Take an inode into memory; its map is read when it is looked at."""
        a = attributes
        inode = None
        if stat.S_ISREG(a.mode):
            extents = ExtentMap(InodeMap(self.metadata, a.ino, self.chunk_cache), a.blocks)
            inode = Inode(a.ino, a.size, extents, self._inodes_changed)
        node = self.in_memory[a.ino] = Node(
            a.ino,
            a.mode,
            a.nlink,
            a.uid,
            a.gid,
            a.rdev,
            a.atime_ns,
            a.mtime_ns,
            a.ctime_ns,
            self.geometry.block_size,
            a.target,
            inode,
        )
        return node

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
        if not node.is_stored:
            return False
        del self.in_memory[ino]
        return True

    def evict(self, node: Node) -> None:
        """Let a node go that has no name and no user; what is stored goes with a commit."""
        assert node.nlink == 0, f"inode {node.ino} evicted while it has a name"
        assert node.is_idle, f"inode {node.ino} evicted while in use"
        del self.in_memory[node.ino]
        self._nodes_changed.pop(node.ino, None)
        self._inodes_changed.pop(node.ino, None)

    def mark_changed(self, node: Node) -> None:
        """An attribute differs from what is stored.  Size and map need no call: see Inode."""
        node.changed = True
        self._nodes_changed[node.ino] = node

    def touch(self, node: Node, now_ns: int, links: int = 0) -> None:
        """Change ctime and nlink, also for the next commit; size and blocks wait (N2)."""
        node.nlink = max(node.nlink + links, 0)  # fewer than its names, if the disk says so
        node.ctime_ns = now_ns
        self.metadata.save_links(node.ino, node.nlink, node.mtime_ns, node.ctime_ns)

    def save_changed(self) -> list[Node]:
        """Write attributes and map of all that changed (N2); return them.

        Those among them that are idle can be dropped now.
        """
        for ino in self._inodes_changed:
            if ino in self.in_memory:  # else deleted while a request still ran
                self.mark_changed(self.in_memory[ino])
        self._inodes_changed.clear()
        saved = list(self._nodes_changed.values())
        for node in saved:
            size = blocks = 0
            if node.inode is not None:
                save_map(self.metadata, node.ino, node.inode.extents)
                size, blocks = node.inode.disk_size, node.inode.extents.blocks_allocated
                node.inode.changed = False
            self.metadata.save_attributes(_attributes(node, size, blocks))
            node.changed = False
        self._nodes_changed.clear()
        return saved


def _attributes(node: Node, size: int, blocks: int) -> Attributes:
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
