"""An inode in memory: struct inode of this filesystem.

Units: sizes are bytes; times are nanoseconds since 1970.
"""

import stat
from dataclasses import dataclass

from fusefs.model.inode import Inode


@dataclass(slots=True, eq=False)
class Node:
    """An inode in memory: its attributes, and the model's Inode if it is a regular file.

    lookups     how often the kernel was given it, less what it has forgotten
    opens       open files and directories
    linkable    made by O_TMPFILE: may get a first name
    capability  whether it has security.capability; None if nobody has looked
    default_acl the same for a directory's default ACL
    changed     mark_changed() was called since the last save(); false if the row is behind because
                of a name alone: InodeRows.waits() knows both
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
    def data_is_stored(self) -> bool:
        """No block, dirty page or size of it is in memory alone."""
        inode = self.inode
        return inode is None or not (
            inode.changed
            or inode.mapping.pages_dirty
            or inode.mapping.pages_writeback
            or inode.size != inode.disk_size
        )
