"""The life of a file without a name, until its blocks are free for others.

    unlinked    nobody can open it any more, but the kernel still refers to it: a FORGET will come
    evicting    nobody can reach it, but one of its pages is still being written or read
    inactive    it has very many blocks: each commit frees a piece of them, xfs_inodegc_queue()
    evicted     its blocks are freed; its rows go with the next commit, together with the groups
                that record that

One of few blocks is evicted as soon as nobody can reach it.  A mount begins with what a crash
left of this: rows of files without a name, which are inactive.

Units: counts are blocks of the image.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from fusefs.model.chunk import CHUNK_BLOCKS, CHUNK_END
from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.inode import Inode
from fusefs.model.iomap import FREE_COST_MAX, free_blocks
from fusefs.store.node import Node
from fusefs.store.nodes import NodeTable
from fusefs.store.stored_blocks import save_map

INACTIVE_FILES_MAX = 256
"""Deleted files that one commit finishes."""


class DeletedFiles:
    """Those of one volume.  changed() is called when one has gone from one state to the next."""

    def __init__(self, fs: Filesystem, nodes: NodeTable) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._fs = fs
        self._nodes = nodes
        self._metadata = nodes.metadata
        self._evicting: list[Node] = []
        self._inos_evicted: list[int] = []
        orphans = nodes.rows.orphans()
        self._inactive: deque[Inode | tuple[int, int]] = deque(orphans)
        self._fs.space.inactive_count = sum(blocks for _, blocks in orphans)

    @property
    def has_inactive(self) -> bool:
        """Whether further commits will free blocks."""
        return bool(self._inactive)

    def blocks_unlinked(self) -> int:
        """Blocks that come free once the kernel has forgotten whose they are.

        One that was opened again, by way of /proc, keeps its own until it is closed.
        """
        nodes = map(self._nodes.in_memory.get, self._fs.inodes_unlinked)
        extents = [inode.extents for node in nodes if (inode := _unlinked(node)) is not None]
        return sum(each.blocks_allocated + each.blocks_delalloc for each in extents)

    def release(self, node: Node) -> None:
        """A node without a name was forgotten or closed, or one with a name is still in use."""
        if not node.is_idle:
            self._note_unlinked(node)
            return
        assert not node.nlink, "a file that has a name is not deleted"
        if node.inode is not None:
            pages = list(node.inode.mapping.pages.values())
            if any(page.locked or page.writeback for page in pages):
                self._evicting.append(node)  # the next commit comes here again
                self._note_unlinked(node)
                return
            for page in pages:
                self._fs.cache.remove(page)
            self._fs.forget_dirty(node.inode)
        self._nodes.evict(node)
        self._fs.inodes_unlinked.discard(node.ino)
        if node.inode is None or self._free_piece(node.inode):
            self._inos_evicted.append(node.ino)
        else:
            self._inactive.append(node.inode)
            self._fs.space.inactive_count += node.inode.extents.blocks_allocated
        self.changed()

    def named(self, node: Node) -> None:
        """A node has one more name: its first, if it was made by O_TMPFILE, and may be closed."""
        if node.ino in self._fs.inodes_unlinked:
            self._fs.inodes_unlinked.discard(node.ino)
            self.changed()

    def give_up_waiting(self, inos: set[int]) -> None:
        """No FORGET came for these: something else holds them, an O_PATH descriptor perhaps."""
        self._fs.inodes_unlinked -= inos

    # -- part 1 of a commit ------------------------------------------------------------

    def release_evicting(self) -> None:
        evicting, self._evicting = self._evicting, []
        for node in evicting:
            self.release(node)

    def free_inactive(self) -> None:
        """Free one piece of what is inactive, and store what is left of it."""
        space = self._fs.space
        for _ in range(min(INACTIVE_FILES_MAX, len(self._inactive))):
            if len(space.freed) >= FREE_COST_MAX:
                break
            head = self._inactive.popleft()
            inode = head if isinstance(head, Inode) else self._nodes.orphan(*head)
            count = inode.extents.blocks_allocated
            if self._free_piece(inode):
                self._inos_evicted.append(inode.ino)
                space.inactive_count -= count
            else:
                self._inactive.appendleft(inode)
                space.inactive_count += inode.extents.blocks_allocated - count
        self._metadata.health.check_durable()  # a piece could not be read
        for entry in self._inactive:
            if isinstance(entry, Inode):  # a piece of it was freed, now or when it was released
                save_map(self._metadata, entry.ino, entry.extents)
                blocks = max(entry.extents.blocks_allocated, 0)
                self._nodes.rows.save_blocks(entry.ino, blocks)

    def take_evicted(self) -> list[int]:
        """The inodes whose rows go with this commit."""
        evicted, self._inos_evicted = self._inos_evicted, []
        return evicted

    # -- what the above share ----------------------------------------------------------

    def _note_unlinked(self, node: Node) -> None:
        """A file that nobody can open any more, so that its blocks will soon come free."""
        if _unlinked(node) is not None:
            self._fs.inodes_unlinked.add(node.ino)

    def _free_piece(self, inode: Inode) -> bool:
        """Free the next blocks of a deleted file; False if there are more."""
        if not self._metadata.health.failure:
            with suppress(FsError):  # health has it
                if free_blocks(self._fs, inode, 0, CHUNK_END * CHUNK_BLOCKS):
                    return False
        inode.extents.forget_changes()
        return True


def _unlinked(node: Node | None) -> Inode | None:
    """The file of a node, if it has no name and is not open."""
    return None if node is None or node.nlink or node.opens else node.inode
