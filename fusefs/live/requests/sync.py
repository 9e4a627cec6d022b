"""What syncfs(2) is to other filesystems: all that waits in memory goes to the disk.

The flusher does it every few seconds, the end of a mount does it, and fsync(2) of the control
directory: the kernel tells a FUSE daemon of no syncfs.
"""

from contextlib import suppress

from fusefs.live.driver import Driver
from fusefs.model.errors import FsError
from fusefs.model.file_io import commit_names, writeback_inode
from fusefs.store.volume import Volume


async def sync(volume: Volume, driver: Driver) -> bool:
    """Write back and commit everything, unless nothing can be committed any more.

    Returns whether that was committed.  What a writeback fails with stays with the mapping and
    with fs.errors, and the driver has logged it; the volume has logged why a commit failed.
    A fault of ours in a writeback, logged as well, stops neither the others nor the commit; but
    that was not everything then.
    """
    if volume.health.failure:
        return False
    is_whole = True
    for ino, inode in list(volume.fs.inodes_dirty.items()):
        try:
            await driver.call(writeback_inode(volume.fs, inode), "writeback", ino)
        except FsError:
            is_whole = False
        node = volume.nodes.in_memory.get(ino)
        if node is not None and node.is_idle:
            volume.nodes.mark_changed(node)  # so that the commit lets it go
    with suppress(FsError):
        await driver.call(commit_names(), "commit")
        return is_whole
    return False
