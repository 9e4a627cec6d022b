"""Where the bytes of a write go: the write side of ->iomap_begin() and its helpers.

    begin_direct    HOLE and DELALLOC become UNWRITTEN and new; nothing is ever allocated MAPPED
    begin_buffered  HOLE becomes DELALLOC: a promise, no block yet
    begin_writeback DELALLOC becomes UNWRITTEN; the blocks come out of the promise

Units: pos, length, end are bytes in the file.
Errors: FsError(ENOSPC).
"""

import errno

from fusefs.model.chunk import DELALLOC, HOLE, UNWRITTEN
from fusefs.model.errors import FsError
from fusefs.model.extents import CHUNK_BLOCKS, Mapping
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import BlockIndex, PhysicalBlock
from fusefs.model.inode import Inode
from fusefs.model.steps import commit, load_map

ALLOCATION_PAGES_MAX = 1024
"""Pages that one direct allocation may cover, as in xfs_direct_write_iomap_begin()."""

FREE_COST_MAX = 2048
FREE_COST_CHUNK = 64
"""Runs that are freed in one piece, and how many of them a chunk costs: a few milliseconds."""


async def begin_direct(fs: Filesystem, inode: Inode, name: str, pos: int, length: int) -> Mapping:
    """The mapping at pos for a direct write of length bytes, with blocks: imap_needs_alloc()."""
    block, end = fs.geometry.block_range(pos, length)
    while True:
        await load_map(name, inode, pos, length)
        mapping = inode.extents.find(block, end)
        limit = ALLOCATION_PAGES_MAX * fs.geometry.blocks_per_page
        if mapping.state is DELALLOC:  # dirty pages came between flush and map
            return _allocate_for_write(fs, inode, mapping, limit, reserved=True)
        if mapping.state is not HOLE:
            return mapping
        if fs.space.available_count > 0 or not await freed_space_committed(fs):
            return _allocate_for_write(fs, inode, mapping, limit, reserved=False)


async def begin_buffered(fs: Filesystem, inode: Inode, pos: int, length: int) -> int:
    """Reserve room for a buffered write; returns how many bytes of it have room.

    FsError(ENOSPC) if not even the first has.
    """
    block, end = fs.geometry.block_range(pos, length)
    while True:
        await load_map("buffered.write.map", inode, pos, length)
        mapping = inode.extents.find(block, end)
        if mapping.state is not HOLE and mapping.end >= end:
            return length
        holes = [m for m in inode.extents.mappings(block, end) if m.state is HOLE]
        enough = sum(hole.count for hole in holes) <= fs.space.available_count
        if enough or not await freed_space_committed(fs):
            break
    for hole in holes:
        room = min(hole.count, fs.space.available_count)
        fs.space.reserve(room)
        inode.extents.reserve(hole.block, room)
        if room < hole.count:
            written = (hole.block + room) * fs.geometry.block_size - pos
            if written <= 0:
                raise FsError(errno.ENOSPC)
            return written
    return length


def begin_writeback(fs: Filesystem, inode: Inode, block: int, end: int) -> list[Mapping]:
    """The mappings of dirty blocks, none of them a hole or delayed afterwards.

    The map of the range must be in memory.
    """
    mappings = []
    while block < end:
        mapping = inode.extents.find(block, end)
        if mapping.state is DELALLOC:
            _allocate_delayed(fs, inode, block)
            continue
        assert mapping.state is not HOLE, "a dirty block without a reservation"
        mappings.append(mapping)
        block = mapping.end
    return mappings


def _allocate_delayed(fs: Filesystem, inode: Inode, block: int) -> None:
    """A place for a delayed block, and all of its run before it: xfs_bmapi_convert_delalloc().

    So a file that is written back in pieces lies in one.
    """
    start, end = inode.extents.delalloc_run(block)
    while start <= block:
        run = Mapping(DELALLOC, start, end - start, PhysicalBlock(0))
        start = BlockIndex(_allocate_for_write(fs, inode, run, end - start, reserved=True).end)


def allocate_unwritten(fs: Filesystem, inode: Inode, mapping: Mapping) -> Mapping:
    """Preallocate a hole for fallocate(2), or give delayed blocks a place; FsError(ENOSPC)."""
    delayed = mapping.state is DELALLOC
    return _allocate(fs, inode, mapping, mapping.count, reserved=delayed)


def free_blocks(fs: Filesystem, inode: Inode, block: int, end: int) -> int:
    """Make a hole of whole blocks, from the end backwards; returns where it begins.

    That is block, unless there is more than FREE_COST_MAX: then somebody else goes first.
    """
    cost = 0
    while block < end and cost < FREE_COST_MAX:
        end, freed, dropped = inode.extents.remove(block, end)
        fs.space.free(freed)
        fs.space.unreserve(dropped)
        if freed:
            inode.changed = True
        cost += FREE_COST_CHUNK + len(freed)
    return end


def _allocate_for_write(
    fs: Filesystem, inode: Inode, mapping: Mapping, limit: int, *, reserved: bool
) -> Mapping:
    """As _allocate().  Under written_at_allocation the map calls the blocks written at once, but
    they are new to their writer, who zeroes what he does not write of them."""
    mapping = _allocate(fs, inode, mapping, limit, reserved=reserved)
    if fs.orders.written_at_allocation:
        inode.extents.convert(mapping.block, mapping.end)
    return mapping


def _allocate(
    fs: Filesystem, inode: Inode, mapping: Mapping, limit: int, *, reserved: bool
) -> Mapping:
    """Blocks for the start of a hole or delayed run: one run in the image and in one chunk."""
    block = mapping.block
    count = min(mapping.count, limit, CHUNK_BLOCKS - block % CHUNK_BLOCKS)
    before = inode.extents.find(block - 1, block) if block else None
    goal = before.physical + 1 if before is not None and before.physical else 0
    physical, count = fs.space.allocate(count, goal, reserved=reserved)
    inode.extents.allocate(block, count, physical)
    inode.changed = True
    return Mapping(UNWRITTEN, block, count, PhysicalBlock(physical))


async def freed_space_committed(fs: Filesystem) -> bool:
    """Commit if that can give room: freed blocks are free only then.  False if it gave none.

    What was unlinked and is still referenced is waited for, a little: xfs_blockgc_free_space().
    Of deleted files with very many blocks a commit frees a piece, and there may be more to come.
    """
    space = fs.space
    if not (space.freed or space.committing or space.inactive_count > 0 or fs.inodes_unlinked):
        return False
    before = space.returned_count
    await commit("space.commit", None)
    return space.returned_count != before or space.inactive_count > 0
