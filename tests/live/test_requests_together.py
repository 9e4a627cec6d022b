"""Requests in any order of their steps: what they leave is sound, whoever came first.

tests/interleavings tries every order of a few small cases; here Hypothesis draws a few
orders of many.  What each byte must be is not known then, but that both kinds of reader
agree on it, that it was written by somebody, and that no block, promise or lock is lost.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model.driving import GEOMETRIES, Coro, Task, both_reads, check_world, read, run

from fusefs.explore.memory import MemoryImage, World
from fusefs.model.buffered import buffered_read
from fusefs.model.dio import direct_read
from fusefs.model.file_io import fsync, write, writeback_inode
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.truncate import MODES, fallocate, truncate

SIZE_PAGES = 2
COLOURS = bytes(range(1, 200))
"""What requests write, each its own; neither zero nor GARBAGE."""

Maker = Callable[[World, OpenFile, int, int], Coro]

REQUESTS: dict[str, Maker] = {
    "direct write": lambda world, file, pos, length: write(
        world.fs, file, pos, COLOURS[pos % 199 :][:1] * length, direct=True, sync=False
    ),
    "buffered write": lambda world, file, pos, length: write(
        world.fs, file, pos, COLOURS[pos % 199 :][:1] * length, direct=False, sync=False
    ),
    "direct read": lambda world, file, pos, length: direct_read(world.fs, file.inode, pos, length),
    "buffered read": lambda world, file, pos, length: buffered_read(world.fs, file, pos, length),
    "truncate": lambda world, file, pos, length: truncate(world.fs, file.inode, pos),
    "fsync": lambda world, file, pos, length: fsync(world.fs, file),
    "writeback": lambda world, file, pos, length: writeback_inode(world.fs, file.inode),
} | {
    f"fallocate {mode:#x}": lambda world, file, pos, length, mode=mode: fallocate(
        world.fs, file.inode, mode, pos, length
    )
    for mode in sorted(MODES)
}


def make(world: World, file: OpenFile, request: tuple[str, int, int]) -> Coro:
    """A request of the drawn range; in sectors, if it is direct."""
    kind, low, high = request
    size = SIZE_PAGES * world.fs.geometry.page_size
    start, end = sorted((low % (size + 1), high % (size + 1)))
    unit = 512 if kind.startswith("direct") else 1
    start, end = start // unit * unit, end // unit * unit
    return REQUESTS[kind](world, file, start, max(unit, end - start))


def run_together(world: World, file: OpenFile, requests: list, order: list[int]) -> None:
    """Start all, then grant by the drawn order; after its end, the lowest goes first."""
    tasks = [Task(world, make(world, file, request)) for request in requests]
    choices = iter(order)
    while not all(task.ended for task in tasks):
        ready = [task for task in tasks if not task.ended and not task.waits]
        assert ready, "\n".join(f"waits after {task.names}" for task in tasks)
        ready[next(choices, 0) % len(ready)].grant()
    for task in tasks:
        task.finish()


def check(world: World, file: OpenFile) -> None:
    """(D1) (S1) (T2), and every lock is free again."""
    inode = file.inode
    check_world(world, [inode])
    buffered, direct = both_reads(world, file)
    assert buffered == direct
    assert MemoryImage.GARBAGE not in buffered
    size = inode.size
    run(world, truncate(world.fs, inode, size + 700))
    assert read(world, file, size, 700) == bytes(700), "(T2) an extension shows old bytes"
    run(world, inode.lock.lock_exclusive())
    run(world, inode.mapping.lock.lock_exclusive())


offsets = st.integers(0, 2 * 65536)
requests = st.tuples(st.sampled_from(sorted(REQUESTS)), offsets, offsets)


class Drawn(NamedTuple):
    """One case: a world, what the file has seen, and who meets in which order."""

    geometry: tuple[int, int]
    cache_pages: int
    readahead_pages: int
    earlier: list[tuple[str, int, int]]
    together: list[tuple[str, int, int]]
    order: list[int]


cases = st.builds(
    Drawn,
    geometry=st.sampled_from([(512, 1024), (512, 2048), *GEOMETRIES]),
    cache_pages=st.sampled_from([1, 2, 100]),
    readahead_pages=st.sampled_from([0, 2]),
    earlier=st.lists(requests, max_size=3),
    together=st.lists(requests, min_size=2, max_size=4),
    order=st.lists(st.integers(0, 3), max_size=60),
)


def attempt(case: Drawn) -> None:
    block, page = case.geometry
    world = World(
        block_size=block,
        page_size=page,
        block_count=(SIZE_PAGES + 1) * page // block + 4,
        cache_size=case.cache_pages * page,
        readahead=case.readahead_pages * page,
    )
    file = OpenFile(Inode(1))
    for request in case.earlier:
        run(world, make(world, file, request))
    run_together(world, file, case.together, case.order)
    check(world, file)


@settings(max_examples=50, deadline=None)
@given(cases)
def test_requests_together_leave_a_sound_file(case):
    """(D1) (S1) (T2)"""
    attempt(case)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None)
@given(cases)
def test_many_requests_together_leave_a_sound_file(case):
    """(D1) (S1) (T2) in half a minute."""
    attempt(case)
