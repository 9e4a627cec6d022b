"""A world in memory whose files have names, and blocks that come free when nobody needs them.

What namespace.py and deleted.py of the store do on a mount, as far as a search can see it: a file
without a name keeps its blocks until its last close, and while one of its pages is still written.

Errors: FsError(ENOENT).
"""

import errno

from fusefs.explore.memory import Memory, MemoryImage
from fusefs.model.errors import FsError
from fusefs.model.extents import CHUNK_BLOCKS
from fusefs.model.file_io import make_durable
from fusefs.model.filesystem import Filesystem
from fusefs.model.footprint import NAME, key
from fusefs.model.inode import Inode
from fusefs.model.iomap import free_blocks
from fusefs.model.steps import current


class NamedWorld(Memory):
    """names says which file each is; open_counts has, by inode number, how many have it open.

    unlinked are the files without a name whose blocks are not free yet.
    """

    def __init__(
        self,
        fs: Filesystem,
        image: MemoryImage,
        names: dict[str, Inode],
        open_counts: dict[int, int],
    ) -> None:
        super().__init__(fs, image)
        self.names = names
        self.open_counts = open_counts
        self.unlinked: list[Inode] = []

    def unlink(self, name: str) -> None:
        """unlink(2); no step is inside."""
        _note_change()
        if name not in self.names:
            raise FsError(errno.ENOENT)
        self._forget(self.names.pop(name))

    async def rename(self, old: str, new: str) -> None:
        """rename(2): what takes another file's place is made durable first."""
        if current.footprint is not None:
            current.footprint.read(key(NAME))
        if old in self.names and new in self.names:
            await make_durable(self.fs, self.names[old])
        _note_change()
        if old not in self.names:
            raise FsError(errno.ENOENT)
        replaced = self.names.get(new)
        self.names[new] = self.names.pop(old)
        if replaced is not None:
            self._forget(replaced)

    def close(self, inode: Inode) -> None:
        """One who had it open has it no more."""
        _note_change()
        self.open_counts[inode.ino] -= 1
        self.evict()

    def commit(self) -> None:
        self.evict()
        super().commit()

    def evict(self) -> None:
        """Free the blocks of unlinked files that nobody uses any more."""
        if current.footprint is not None:
            current.footprint.read(key(NAME))
        if self.unlinked:
            _note_change()
            self.unlinked = [inode for inode in self.unlinked if not self._evicted(inode)]

    def _forget(self, inode: Inode) -> None:
        """A file has lost its only name."""
        self.unlinked.append(inode)
        self.evict()

    def _evicted(self, inode: Inode) -> bool:
        """Try to: false while it is open, or one of its pages is on its way to the disk."""
        if self.open_counts[inode.ino]:
            return False
        for page in list(inode.mapping.pages.values()):
            page.note_change()
            if page.locked or page.writeback:
                self.fs.inodes_unlinked.add(inode.ino)  # whoever lacks room waits for it
                return False
        for page in list(inode.mapping.pages.values()):
            self.fs.cache.remove(page)
        self.fs.forget_dirty(inode)
        self.fs.inodes_unlinked.discard(inode.ino)
        while inode.extents.chunks and free_blocks(self.fs, inode, 0, _end(inode)):
            pass
        return True


def _end(inode: Inode) -> int:
    """No block of a file's map lies behind this."""
    return (max(inode.extents.chunks) + 1) * CHUNK_BLOCKS


def _note_change() -> None:
    footprint = current.footprint
    if footprint is not None:
        footprint.write(key(NAME))
