"""All that a run may still depend on, as one value that can be compared."""

from fusefs.explore.execution import Execution
from fusefs.model.inode import Inode
from fusefs.model.locks import RwLock


def whole_state(execution: Execution) -> object:
    """The world, and where each task stands."""
    running = execution.scenario
    world = running.world
    fs, space = world.fs, world.fs.space
    opened = [file.inode for files in running.running._files for file in files.values()]
    inodes = {inode.ino: inode for inode in [*world.names.values(), *world.unlinked, *opened]}
    return (
        bytes(world.image.data),
        [inode_state(inodes[ino]) for ino in sorted(inodes)],
        {name: inode.ino for name, inode in world.names.items()},
        (space.free_count, space.reserved_count, space.freed, space.committing, space._cursor),
        {number: bits.tobytes() for number, bits in space.groups.items()},
        [page.index for page in fs.cache._lru] if running.watches_lru else None,
        list(fs.inodes_dirty) if running.watches_lru else sorted(fs.inodes_dirty),
        running.running.results,
        [task_state(execution, number) for number in range(len(execution.tasks))],
    )


def inode_state(inode: Inode) -> object:
    mapping, extents = inode.mapping, inode.extents
    return (
        (inode.ino, inode.size, inode.disk_size, inode.dio_count),
        {
            number: (chunk.starts, chunk.counts, chunk.physicals)
            for number, chunk in extents.chunks.items()
            if not chunk.is_hole
        },
        {
            number: (chunk.blocks_unwritten.tobytes(), chunk.blocks_delalloc.tobytes())
            for number, chunk in extents.chunks.items()
            if not chunk.is_hole
        },
        {
            index: (
                *(bytes(page.data), page.blocks_uptodate, page.blocks_dirty, page.locked),
                *(page.writeback, page.readahead, len(page.waiters)),
            )
            for index, page in mapping.pages.items()
        },
        (mapping.pages_dirty, mapping.pages_writeback, mapping.error_waiting),
        (mapping.errors.count, mapping.errors.error, mapping.errors.seen),
        lock_state(inode.lock),
        lock_state(mapping.lock),
    )


def lock_state(lock: RwLock) -> object:
    return (
        lock._shared,
        lock._exclusive,
        [(waiter.number, exclusive) for waiter, exclusive in lock._queue],
    )


def task_state(execution: Execution, number: int) -> object:
    task = execution.tasks[number]
    step = task.step
    shown = None if step is None else (step.name, step.pos, step.length, step.addr)
    return shown, task.waits, task.returned
