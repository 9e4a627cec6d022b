"""Loads and stores through a mapping: filemap_fault(), and iomap_page_mkwrite() of XFS.

They take no inode.lock, so they come into the middle of any request.  A fault fills a page under
inode.mapping.lock, as a read does, and makes it writable under that; one that finds a page takes
none, so it is let in beside whoever is about to drop the page.  On a mount mapped pages are the
kernel's own, and none of this runs: it is for the search.

    mapped_read     load bytes, page by page
    mapped_write    store them: each page is made writable first, which makes all of it dirty

A store is a fault and what follows it as one: between two of them the page may be cleaned, or gone.

Units: pos and length are bytes in the file.
Errors: FsError(EFAULT) behind the page in which the file ends, where a process gets SIGBUS;
FsError(ENOSPC), FsError(EIO) from the fault.
Invariants:
    (B4) bytes behind i_size can be loaded and stored in the page in which the file ends, and
         nowhere else.
"""

import errno

from fusefs.model.buffered import make_uptodate, mark_dirty
from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.fill import fill_range
from fusefs.model.inode import Inode
from fusefs.model.iomap import begin_buffered
from fusefs.model.page_cache import Page
from fusefs.model.steps import Buffer, reach


async def mapped_read(fs: Filesystem, inode: Inode, pos: int, length: int) -> bytes:
    """All of the bytes."""
    page_size = fs.geometry.page_size
    pieces = []
    for index in range(*fs.geometry.page_range(pos, length)):
        page = await _fault(fs, inode, index)
        start, stop = _within_page(index * page_size, page_size, pos, length)
        pieces.append(bytes(memoryview(page.data)[start:stop]))
        page.unlock()
    return b"".join(pieces)


async def mapped_write(fs: Filesystem, inode: Inode, pos: int, data: Buffer) -> None:
    """All of the bytes."""
    page_size = fs.geometry.page_size
    view = memoryview(data)
    for index in range(*fs.geometry.page_range(pos, len(view))):
        base = index * page_size
        page = await _fault(fs, inode, index, to_store=True)
        try:
            below = await _make_writable(fs, inode, page)
            start, stop = _within_page(base, page_size, pos, len(view))
            page.data[start:stop] = view[base + start - pos : base + stop - pos]
            mark_dirty(fs, inode, page, fs.geometry.block_bits(0, below))
        finally:
            page.unlock()
            inode.mapping.lock.unlock_shared()


def _within_page(base: int, page_size: int, pos: int, length: int) -> tuple[int, int]:
    """Where a range begins and ends in the page that begins at base."""
    return max(pos - base, 0), min(pos + length - base, page_size)


async def _fault(fs: Filesystem, inode: Inode, index: int, *, to_store: bool = False) -> Page:
    """A page, uptodate and locked: filemap_fault().  To store, with inode.mapping.lock shared."""
    base, page_size = index * fs.geometry.page_size, fs.geometry.page_size
    while True:
        await reach("mmap.fault.page_lock", base, page_size)
        if base >= inode.size:  # (B4)
            raise FsError(errno.EFAULT)
        page = inode.mapping.find(index)
        if page is None:
            await fill_range(fs, inode, index, index + 1, None)
        elif await make_uptodate(fs, inode, page, fs.geometry.page_mask):
            if to_store:
                await inode.mapping.lock.lock_shared()
            await page.lock()
            is_there = page.mapping is not None and base < inode.size
            if is_there and page.blocks_uptodate == fs.geometry.page_mask:
                fs.cache.touch(page)
                return page
            page.unlock()
            if to_store:
                inode.mapping.lock.unlock_shared()


async def _make_writable(fs: Filesystem, inode: Inode, page: Page) -> int:
    """Room for what of a locked page is below i_size: iomap_page_mkwrite(); its length in bytes.

    Waits for writeback, so that what is on its way to the image does not change.
    """
    base = page.index * fs.geometry.page_size
    await page.wait_writeback()
    below = min(fs.geometry.page_size, inode.size - base)
    if below <= 0 or await begin_buffered(fs, inode, base, below) < below:
        raise FsError(errno.EFAULT if below <= 0 else errno.ENOSPC)
    return below
