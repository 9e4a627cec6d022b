"""A program of one task on the model, looked at between its operations.

    run_on_model    the world of a litmus file, its task driven from one reply to the next
    look_at         one inode, as stat(2), FIEMAP and cachestat(2) would tell of it

A look notes no footprint and asks for no step: it is between two turns.
What an asynchronous write left to do goes on as soon as the task waits, or has returned.

Units: as everywhere.
"""

from collections.abc import Collection, Mapping
from typing import Final

from fusefs.conform import observed
from fusefs.conform.model_acts import FOLIO_ORDER_MAX
from fusefs.conform.observed import FileLook, Look, Observed, trimmed
from fusefs.explore.execution import Execution
from fusefs.explore.tasks import REPLY
from fusefs.explore.worlds import LitmusCase, LitmusWorld
from fusefs.litmus.test import RESULT, Litmus
from fusefs.model.chunk import State
from fusefs.model.extents import CHUNK_BLOCKS
from fusefs.model.filesystem import Filesystem
from fusefs.model.inode import Inode

STATES: Final[Mapping[State, str]] = {
    State.HOLE: observed.HOLE,
    State.DELALLOC: observed.DELALLOC,
    State.UNWRITTEN: observed.UNWRITTEN,
    State.MAPPED: observed.WRITTEN,
}


def run_on_model(litmus: Litmus, orders: Collection[str] = ()) -> Observed:
    """All operations of the only task, each with a result that has a name."""
    (task,) = litmus.tasks
    world = LitmusCase(litmus, orders).world()
    fs = world.world.fs
    fs.guards_disk_end, fs.folio_order_max = False, FOLIO_ORDER_MAX
    execution = Execution(world)
    in_flight = 0
    looks = [_looks(world)]
    for operation in task.operations:
        in_flight += bool(operation.handle) - (operation.word == "reap")
        _go_on(execution)
        looks.append(None if in_flight else _looks(world))
    _finish(execution)
    found = world.running.results
    results = [found.get((RESULT, f"{task.name}.{each.result}"), "") for each in task.operations]
    return Observed(tuple(results), tuple(looks))


def _go_on(execution: Execution) -> None:
    """To the reply of the operation that the task is in, or to its end."""
    while True:
        enabled = execution.enabled()
        if not enabled:
            return
        execution.turn(0 if 0 in enabled else enabled[0])
        if 0 in execution.enabled() and execution.next_name(0) == REPLY:
            return


def _finish(execution: Execution) -> None:
    while enabled := execution.enabled():
        execution.turn(enabled[0])
    assert not execution.is_stuck, "a program of one task waits for ever"


def _looks(world: LitmusWorld) -> Look | None:
    fs = world.world.fs
    return {name: look_at(fs, inode) for name, inode in world.world.names.items()}


def look_at(fs: Filesystem, inode: Inode) -> FileLook:
    """What a file is at this moment."""
    extents, block = inode.extents, fs.geometry.block_size
    last = max(extents.chunks, default=-1) + 1
    blocks = "".join(
        STATES[mapping.state] * mapping.count
        for mapping in extents.mappings(0, last * CHUNK_BLOCKS)
    )
    allocated = (extents.blocks_allocated + extents.blocks_delalloc) * block
    return FileLook(inode.size, allocated, trimmed(blocks, observed.HOLE), _pages(inode))


def _pages(inode: Inode) -> str:
    """One character for each page up to the last that is cached."""
    pages = inode.mapping.pages
    return "".join(_page(inode, index) for index in range(max(pages, default=-1) + 1))


def _page(inode: Inode, index: int) -> str:
    page = inode.mapping.pages.get(index)
    if page is None:
        return observed.ABSENT
    return observed.DIRTY if page.blocks_dirty else observed.CLEAN
