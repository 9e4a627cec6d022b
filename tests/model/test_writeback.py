"""Writeback: what is written when, and what others see meanwhile."""

import errno
from itertools import pairwise

import pytest
from bitarray import bitarray
from hypothesis import given
from hypothesis import strategies as st
from model.driving import (
    GEOMETRIES,
    Task,
    both_reads,
    check_world,
    direct_read,
    drop_cache,
    file_with,
    fsync,
    geometry_id,
    mmap_store,
    names_of,
    read,
    run,
    sparse_file,
    write,
)

from fusefs.explore.memory import World
from fusefs.model.dio import direct_write
from fusefs.model.errors import FsError
from fusefs.model.errseq import START
from fusefs.model.extents import State
from fusefs.model.file_io import writeback_inode
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.space import Space
from fusefs.model.truncate import fallocate, truncate
from fusefs.model.writeback import bit_runs, writeback_range

BLOCK, PAGE = 512, 2048
ALL = 1 << 40


@pytest.fixture
def world() -> World:
    return World(block_size=BLOCK, page_size=PAGE)


def dirty_file(world: World, data: bytes, ino: int = 1) -> OpenFile:
    file = OpenFile(Inode(ino))
    write(world, file, 0, data)
    return file


def writeback(world: World, file: OpenFile) -> Task:
    return Task(world, writeback_range(world.fs, file.inode, 0, ALL))


# -- W1 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["writeback.submit", "writeback.convert"])
def test_page_is_under_writeback_until_its_blocks_are_converted(world, name):
    """(W1)"""
    file = dirty_file(world, b"A" * PAGE)
    task = writeback(world, file).go_to(name)
    page = file.inode.mapping.pages[0]
    assert page.writeback
    assert not page.locked
    assert not page.blocks_dirty
    assert file.inode.extents.find(0, 4).state is State.UNWRITTEN
    task.finish()
    assert not page.writeback
    assert file.inode.extents.find(0, 4).state is State.MAPPED
    check_world(world, [file.inode])


@pytest.mark.parametrize("name", ["writeback.submit", "writeback.convert"])
def test_direct_read_waits_for_writeback(world, name):
    """(W1) The page is clean, but the image is older: zeros, or GARBAGE, would be returned.

    Guards against what kernel commit ea8cd33390fa fixed in FUSE.
    """
    file = dirty_file(world, b"A" * PAGE)
    task = writeback(world, file).go_to(name)
    reader = Task(world, direct_read(world.fs, file.inode, 0, PAGE))
    reader.go_to("lock.page.writeback")
    assert reader.waits
    task.finish()
    assert bytes(reader.finish()) == b"A" * PAGE


def test_direct_write_waits_for_writeback(world):
    """(W1) else the older bytes would land on top of the newer."""
    file = dirty_file(world, b"A" * PAGE)
    task = writeback(world, file).go_to("writeback.submit")
    writer = Task(world, direct_write(world.fs, file.inode, 0, b"B" * BLOCK))
    writer.go_to("lock.page.writeback")
    assert writer.waits
    task.finish()
    writer.finish()
    assert both_reads(world, file) == (b"B" * BLOCK + b"A" * 3 * BLOCK,) * 2


def test_fsync_waits_for_the_writeback_of_others(world):
    """(W1) Nothing is dirty any more, but nothing is on the image either."""
    file = dirty_file(world, b"A" * PAGE)
    task = writeback(world, file).go_to("writeback.submit")
    other = writeback(world, file)
    assert other.step.name == "lock.page.writeback"
    task.finish()
    other.finish()


def test_extending_truncate_waits_for_writeback(world):
    """(W1) disk_size covers only what is on the image: Inode."""
    file = dirty_file(world, b"A" * PAGE)
    task = writeback(world, file).go_to("writeback.submit")
    other = Task(world, truncate(world.fs, file.inode, 2 * PAGE))
    other.go_to("lock.page.writeback")
    assert file.inode.disk_size == 0
    task.finish()
    other.finish()
    assert file.inode.disk_size == 2 * PAGE


def test_page_dirtied_again_under_writeback_stays_dirty(world):
    """The bytes that travel are the old ones; the new ones go with the next writeback."""
    file = dirty_file(world, b"A" * PAGE)
    task = writeback(world, file).go_to("writeback.submit")
    write(world, file, 0, b"B" * BLOCK)
    second = writeback(world, file).go_to("lock.page.writeback")
    task.finish()
    assert world.on_image(file.inode, 0) == b"A" * BLOCK
    assert file.inode.mapping.pages[0].blocks_dirty == 0b0001
    second.finish()
    assert world.on_image(file.inode, 0) == b"B" * BLOCK


# -- W2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
@pytest.mark.parametrize("beyond", [1, 100, 511], ids="end+{}".format)
def test_bytes_beyond_the_end_are_written_as_zeros(sizes, beyond):
    """(W2) whatever the page holds there, as after a store to mapped memory."""
    block, page_size = sizes
    world = World(block_size=block, page_size=page_size)
    size = page_size - beyond
    file = dirty_file(world, b"A" * size)
    file.inode.mapping.pages[0].data[size:] = b"\xdb" * beyond
    run(world, writeback_inode(world.fs, file.inode))
    last = world.on_image(file.inode, page_size // block - 1)
    assert last == b"A" * (block - beyond) + bytes(beyond)


def test_block_beyond_the_end_is_not_written(world):
    """(W2)"""
    file = dirty_file(world, b"A" * BLOCK)
    run(world, mmap_store(world.fs, file.inode, 2 * BLOCK, b"X" * BLOCK))
    run(world, writeback_inode(world.fs, file.inode))
    assert world.fs.counters.pages_written_back == 1
    assert file.inode.extents.blocks_allocated == 1
    assert not file.inode.mapping.pages_dirty


# -- W3 ----------------------------------------------------------------------------------


def test_writeback_never_raises_the_size(world):
    """(W3) It began at 2048 bytes; the file has 100 when it ends.

    Guards kernel commit ee70daaba82d.
    """
    file = file_with(world, b"A" * PAGE)
    write(world, file, 0, b"B" * BLOCK)
    task = writeback(world, file).go_to("writeback.submit")
    other = Task(world, truncate(world.fs, file.inode, 100)).go_to("lock.page.writeback")
    task.finish()
    other.finish()
    assert (file.inode.size, file.inode.disk_size) == (100, 100)
    check_world(world, [file.inode])


def test_size_on_disk_follows_the_data(world):
    """disk_size, which a commit records, is raised by the end of the I/O and not before."""
    file = dirty_file(world, b"A" * (PAGE + 100))
    task = writeback(world, file).go_to("writeback.convert")
    assert file.inode.disk_size == 0
    task.finish()
    assert file.inode.disk_size == PAGE + 100


# -- W4 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "written-back"])
def test_bytes_cut_off_do_not_come_back_with_a_later_size(world, direct):
    """(W4) A commit may record that size, and then a crash come before the zeros are written."""
    file = file_with(world, b"A" * BLOCK)
    run(world, truncate(world.fs, file.inode, 100))
    assert world.on_image(file.inode, 0) == b"A" * BLOCK, "or this test shows nothing"
    write(world, file, 2 * PAGE, b"B" * PAGE, direct=direct)
    if not direct:
        run(world, writeback_range(world.fs, file.inode, 2, 3))
    assert file.inode.disk_size == 3 * PAGE
    assert world.on_image(file.inode, 0) == b"A" * 100 + bytes(BLOCK - 100)


def test_end_under_writeback_is_waited_for(world):
    """(W4)"""
    file = file_with(world, b"A" * 100)
    write(world, file, PAGE, b"C" * PAGE)
    write(world, file, 50, b"B")
    first = Task(world, writeback_range(world.fs, file.inode, 0, 1)).go_to("writeback.submit")
    second = Task(world, writeback_range(world.fs, file.inode, 1, 2))
    assert second.waits
    assert file.inode.disk_size == 100
    first.finish()
    second.finish()
    assert file.inode.disk_size == 2 * PAGE


# -- how ---------------------------------------------------------------------------------


def test_delayed_blocks_get_a_place_as_a_run(world):
    """What is written back of them is converted, the others stay dirty."""
    file = dirty_file(world, b"A" * 3 * PAGE)
    run(world, writeback_range(world.fs, file.inode, 1, 2))
    found = [(each.state, each.count) for each in file.inode.extents.mappings(0, 12)]
    assert found == [(State.UNWRITTEN, 4), (State.MAPPED, 4), (State.UNWRITTEN, 4)]
    assert file.inode.mapping.pages_dirty == {0, 2}
    assert world.fs.space.reserved_count == 0
    fsync(world, file)
    assert both_reads(world, file) == (b"A" * 3 * PAGE,) * 2
    check_world(world, [file.inode])


def test_delayed_blocks_beyond_a_hole_stay_delayed(world):
    file = dirty_file(world, b"A" * PAGE)
    write(world, file, PAGE + BLOCK, b"B" * BLOCK)
    run(world, writeback_range(world.fs, file.inode, 0, 1))
    assert file.inode.extents.find(5, 6).state is State.DELALLOC


def test_adjacent_pages_are_one_write(world):
    file = dirty_file(world, b"A" * 4 * PAGE)
    assert names_of(world, writeback_range(world.fs, file.inode, 0, ALL)) == [
        "writeback.page_lock",
        "writeback.map",
        "writeback.submit",
        "writeback.convert",
    ]
    assert world.fs.counters.pages_written_back == 4


def test_overwrite_needs_no_conversion(world):
    file = file_with(world, b"A" * PAGE)
    write(world, file, 0, b"B" * PAGE)
    names = names_of(world, writeback_range(world.fs, file.inode, 0, ALL))
    assert "writeback.convert" not in names


def test_only_dirty_blocks_are_written(world):
    """Page-granular writeback would put stale neighbours onto the image (4ce02c679722)."""
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    write(world, file, BLOCK, b"B" * BLOCK)
    file.inode.mapping.pages[0].data[0] = 0xDB
    run(world, writeback_inode(world.fs, file.inode))
    drop_cache(world, file.inode)
    assert read(world, file, 0, PAGE) == b"A" * BLOCK + b"B" * BLOCK + b"A" * 2 * BLOCK


def test_writer_over_the_dirty_limit_writes_back_itself():
    world = World(block_size=BLOCK, page_size=PAGE, cache_size=4 * PAGE)
    file = dirty_file(world, b"A" * 3 * PAGE)
    assert world.fs.cache.dirty_count <= world.fs.cache.dirty_limit == 2
    assert read(world, file, 0, 3 * PAGE) == b"A" * 3 * PAGE


# -- errors ------------------------------------------------------------------------------


def test_failed_write_converts_nothing_and_is_remembered(world):
    """The blocks read as zeros, not as GARBAGE, once the page is gone."""
    file = dirty_file(world, b"A" * PAGE)
    run(world, writeback_inode(world.fs, file.inode), fail={"writeback.submit": errno.EIO})
    assert world.fs.errors.check_and_advance(START)[0] == errno.EIO, "syncfs tells it, too"
    assert file.inode.mapping.errors.error == errno.EIO
    assert file.inode.extents.find(0, 4).state is State.UNWRITTEN
    assert file.inode.disk_size == 0
    drop_cache(world, file.inode)
    with pytest.raises(FsError):
        fsync(world, file)  # else the direct reader would be told
    assert both_reads(world, file) == (bytes(PAGE),) * 2


def test_what_was_written_beside_a_failed_block_is_converted(world):
    """One bad block does not take its neighbours with it."""
    file = sparse_file(0)
    for block in (0, 2, 4):  # in pieces, so that each block has its own write
        run(world, fallocate(world.fs, file.inode, 1, block * BLOCK, BLOCK))
    write(world, file, 0, b"A" * BLOCK + b"B" * BLOCK + b"C" * BLOCK)
    task = writeback(world, file)
    task.go_past("writeback.submit").go_to("writeback.submit").fail(errno.EIO)
    with pytest.raises(FsError):
        task.finish()
    assert [world.on_image(file.inode, block) for block in range(3)] == [
        b"A" * BLOCK,
        bytes(BLOCK),
        b"C" * BLOCK,
    ]
    assert file.inode.disk_size == 3 * BLOCK


def no_memory(number: int) -> bitarray | None:
    """Room was reserved, and no memory is left when it comes to finding it."""
    raise MemoryError


def test_fault_of_ours_in_a_writeback_is_told_and_leaves_nothing_locked(world):
    """The pages are clean by then: without an error in the mapping they would be lost unsaid."""
    world.fs.space = Space(64, no_memory)
    file = dirty_file(world, b"A" * PAGE)
    with pytest.raises(MemoryError):
        run(world, writeback_range(world.fs, file.inode, 0, ALL))
    assert not file.inode.mapping.pages_dirty
    assert not file.inode.mapping.pages_writeback
    assert not file.inode.mapping.pages[0].locked
    with pytest.raises(FsError):
        fsync(world, file)


def test_map_that_cannot_be_loaded_fails_the_fsync(world):
    """The pages stay dirty, and nobody is told that they are durable."""
    file = dirty_file(world, b"A" * PAGE)
    with pytest.raises(FsError) as refusal:
        fsync(world, file, fail={"writeback.map": errno.EIO})
    assert refusal.value.errno == errno.EIO
    assert file.inode.mapping.pages_dirty == {0}
    fsync(world, file)
    assert world.on_image(file.inode, 0) == b"A" * BLOCK


def test_failure_of_one_run_does_not_stop_the_next(world):
    """The first error is raised, after all was tried."""
    file = sparse_file(8 * PAGE)
    for page in (0, 2, 4):
        write(world, file, page * PAGE, bytes([page + 1]) * PAGE)
    task = writeback(world, file)
    task.go_to("writeback.submit").fail(errno.EIO)
    task.go_past("writeback.submit").go_to("writeback.submit").fail(errno.ENOSPC)
    with pytest.raises(FsError) as refusal:
        task.finish()
    assert refusal.value.errno == errno.EIO
    assert world.on_image(file.inode, 8) == bytes([3]) * BLOCK
    assert file.inode.mapping.errors.error == errno.ENOSPC  # the latest
    assert not any(page.writeback for page in file.inode.mapping.pages.values())


def test_writer_is_not_told_of_another_files_error():
    """balance_dirty_pages() met it; its own fsync tells it."""
    world = World(block_size=BLOCK, page_size=PAGE, cache_size=4 * PAGE)
    other = dirty_file(world, b"A" * 2 * PAGE, ino=1)
    file = OpenFile(Inode(2))
    assert write(world, file, 0, b"B" * PAGE, fail={"writeback.submit": errno.EIO}) == PAGE
    with pytest.raises(FsError):
        fsync(world, other)


# -- bit_runs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "runs"),
    [
        (0, []),
        (0b1, [(0, 1)]),
        (0b1000, [(3, 4)]),
        (0b1011, [(0, 2), (3, 4)]),
        (0b110_0110, [(1, 3), (5, 7)]),
        ((1 << 128) - 1, [(0, 128)]),
    ],
    ids=["none", "first", "last", "two runs", "gaps", "whole page"],
)
def test_bit_runs_are_the_runs_of_set_bits(bits, runs):
    assert bit_runs(bits) == runs


@given(st.integers(0, (1 << 140) - 1))
def test_bit_runs_cover_the_set_bits_and_are_apart(bits):
    runs = bit_runs(bits)
    assert sum((1 << end) - (1 << start) for start, end in runs) == bits
    assert all(end < after for (_, end), (after, _) in pairwise(runs))
