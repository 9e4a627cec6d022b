"""Reads and writes through the cache, alone and with one other request in between."""

import errno

import pytest
from model.driving import (
    GEOMETRIES,
    Task,
    both_reads,
    buffered_read,
    check_world,
    drop_cache,
    file_with,
    fsync,
    geometry_id,
    names_of,
    read,
    run,
    sparse_file,
    write,
)

from fusefs.explore.memory import World
from fusefs.model.buffered import WRITE_PAGES_MAX, buffered_write
from fusefs.model.dio import direct_write
from fusefs.model.errors import FsError
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.truncate import fallocate, truncate

BLOCK, PAGE = 512, 2048


@pytest.fixture
def world() -> World:
    return World(block_size=BLOCK, page_size=PAGE)


def states(inode: Inode, block_count: int = 4) -> list[str]:
    return [inode.extents.find(block, block + 1).state.value for block in range(block_count)]


def refusal_of(world: World, coroutine, **steps) -> int:
    with pytest.raises(FsError) as refusal:
        run(world, coroutine, **steps)
    return refusal.value.errno


# -- reading: B1 -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pos", "length", "count"),
    [
        pytest.param(0, 4096, 300, id="4096@0"),
        pytest.param(299, 4096, 1, id="4096@299"),
        pytest.param(300, 4096, 0, id="4096@300"),
        pytest.param(301, 1, 0, id="1@301"),
        pytest.param(0, 0, 0, id="0@0"),
    ],
)
def test_nothing_beyond_the_end_is_returned(world, pos, length, count):
    """(B1) of a file of 300 bytes."""
    data = bytes(range(1, 101)) * 3
    assert read(world, file_with(world, data), pos, length) == data[pos : pos + count]


def test_size_is_read_again_after_the_page_is_filled(world):
    """(B1) An append that overtakes the fill is returned as zeros: it has not returned yet.

    generic/465 accepts that; the write drops the page before it returns.
    """
    file = file_with(world, b"A" * BLOCK)
    writer = Task(world, direct_write(world.fs, file.inode, BLOCK, b"B" * BLOCK))
    writer.go_to("dio.write.convert")
    reader = Task(world, buffered_read(world.fs, file, 0, PAGE)).go_to("buffered.read.fill")
    writer.go_to("lock.page")
    assert bytes(reader.finish()) == b"A" * BLOCK + bytes(BLOCK)
    writer.finish()
    assert both_reads(world, file) == (b"A" * BLOCK + b"B" * BLOCK,) * 2


# -- reading: B2 -------------------------------------------------------------------------


def test_uptodate_block_is_not_filled_again(world):
    """(B2) It is dirty, so newer than the image; its neighbours are filled around it."""
    file = file_with(world, b"A" * PAGE)
    write(world, file, BLOCK, b"B" * BLOCK)
    assert file.inode.mapping.pages[0].blocks_uptodate == 0b0010
    assert read(world, file, 0, PAGE) == b"A" * BLOCK + b"B" * BLOCK + b"A" * 2 * BLOCK
    page = file.inode.mapping.pages[0]
    assert (page.blocks_uptodate, page.blocks_dirty) == (0b1111, 0b0010)


def test_partly_uptodate_page_serves_what_it_has_without_a_fill(world):
    file = file_with(world, b"A" * PAGE)
    write(world, file, BLOCK, b"B" * BLOCK)
    assert names_of(world, buffered_read(world.fs, file, BLOCK, BLOCK)) == []


def test_filled_page_is_read_without_a_step(world):
    file = file_with(world, b"A" * PAGE)
    first = names_of(world, buffered_read(world.fs, file, 0, PAGE))
    assert first == ["buffered.read.page_lock", "buffered.read.map", "buffered.read.fill"]
    assert names_of(world, buffered_read(world.fs, file, 0, PAGE)) == []


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
def test_only_mapped_blocks_below_the_end_are_read_from_the_image(sizes):
    """Holes, unwritten blocks and what lies beyond the end are zeros; GARBAGE is never seen."""
    block, page = sizes
    world = World(block_size=block, page_size=page)
    file = sparse_file(4 * page + 1)
    run(world, fallocate(world.fs, file.inode, 1, page, page))
    run(world, fallocate(world.fs, file.inode, 1, 4 * page, page))
    write(world, file, 2 * page, b"C" * page, direct=True)
    expected = bytes(2 * page) + b"C" * page + bytes(page + 1)
    assert both_reads(world, file) == (expected, expected)
    assert set(bytes(file.inode.mapping.pages[4].data)) == {0}


def test_block_beyond_the_end_is_zeroed_whatever_its_state(world):
    """(B1) A crash, or a write whose size is not raised yet, may leave a written block there."""
    file = file_with(world, b"A" * PAGE)
    file.inode.size = 100
    read(world, file, 0, PAGE)
    page = file.inode.mapping.pages[0]
    assert bytes(page.data) == b"A" * BLOCK + bytes(PAGE - BLOCK)
    drop_cache(world, file.inode)
    write(world, file, BLOCK, b"B")
    assert bytes(page.data[BLOCK : 2 * BLOCK]) == bytes(BLOCK)
    file.inode.size = PAGE
    assert read(world, file, BLOCK, BLOCK) == b"B" + bytes(BLOCK - 1)


def test_page_that_was_read_last_is_evicted_last():
    world = World(block_size=BLOCK, page_size=PAGE, cache_size=2 * PAGE)
    file = sparse_file(3 * PAGE)
    for page in (0, 1, 0, 2):
        read(world, file, page * PAGE, 1)
    assert sorted(file.inode.mapping.pages) == [0, 2]


# -- reading: B3, and errors -------------------------------------------------------------


@pytest.mark.parametrize("name", ["buffered.read.map", "buffered.read.fill"])
def test_page_whose_fill_failed_does_not_stay(world, name):
    """(B3) and the next read tries again."""
    file = file_with(world, b"A" * PAGE)
    request = buffered_read(world.fs, file, 0, PAGE)
    assert refusal_of(world, request, fail={name: errno.EIO}) == errno.EIO
    assert not file.inode.mapping.pages
    assert read(world, file, 0, PAGE) == b"A" * PAGE


def test_failed_fill_keeps_the_blocks_that_were_uptodate(world):
    """(B3) is not for them: they are dirty."""
    file = file_with(world, b"A" * PAGE)
    write(world, file, 0, b"B" * BLOCK)
    request = buffered_read(world.fs, file, 0, PAGE)
    assert refusal_of(world, request, fail={"buffered.read.fill": errno.EIO}) == errno.EIO
    assert read(world, file, 0, BLOCK) == b"B" * BLOCK


def test_failed_fill_of_one_run_gives_up_the_later_ones():
    """(B3) A window with a cached page in its middle is filled in two runs."""
    world = World(block_size=BLOCK, page_size=PAGE, readahead=4 * PAGE)
    file = file_with(world, b"A" * 4 * PAGE)
    write(world, file, PAGE, b"B" * PAGE)
    task = Task(world, buffered_read(world.fs, file, 0, 4 * PAGE)).go_to("buffered.read.fill")
    assert sorted(file.inode.mapping.pages) == [0, 1, 2, 3]
    task.fail(errno.EIO)
    assert sorted(file.inode.mapping.pages) == [1]
    assert bytes(task.finish()) == b"A" * PAGE + b"B" * PAGE + b"A" * 2 * PAGE


def test_failed_readahead_fails_no_read_of_other_pages():
    """The window is a hint; the page that was asked for is tried alone."""
    world = World(block_size=BLOCK, page_size=PAGE, readahead=4 * PAGE)
    file = file_with(world, b"A" * 4 * PAGE)
    task = Task(world, buffered_read(world.fs, file, 0, BLOCK)).go_to("buffered.read.fill")
    assert task.step.length == 2 * PAGE, "nothing but the page itself is read"
    task.fail(errno.EIO)
    assert bytes(task.finish()) == b"A" * BLOCK
    assert sorted(file.inode.mapping.pages) == [0]


def test_failed_readahead_at_a_mark_fails_nobody():
    world = World(block_size=BLOCK, page_size=PAGE, readahead=4 * PAGE)
    file = file_with(world, b"A" * 8 * PAGE)
    read(world, file, 0, PAGE)
    marked = next(page for page in file.inode.mapping.pages.values() if page.readahead)
    request = buffered_read(world.fs, file, marked.index * PAGE, BLOCK)
    assert run(world, request, fail={"buffered.read.fill": errno.EIO}) == b"A" * BLOCK


def test_what_was_read_before_an_error_counts(world):
    """A short read, and the error for whoever goes on from there."""
    file = file_with(world, b"A" * 2 * PAGE)
    read(world, file, 0, PAGE)
    request = buffered_read(world.fs, file, 0, 2 * PAGE)
    assert run(world, request, fail={"buffered.read.fill": errno.EIO}) == b"A" * PAGE
    request = buffered_read(world.fs, file, PAGE, PAGE)
    assert refusal_of(world, request, fail={"buffered.read.fill": errno.EIO}) == errno.EIO


def test_two_readers_of_a_missing_page_fill_it_once(world):
    file = file_with(world, b"A" * PAGE)
    first = Task(world, buffered_read(world.fs, file, 0, PAGE)).go_to("buffered.read.fill")
    second = Task(world, buffered_read(world.fs, OpenFile(file.inode), 0, PAGE))
    assert second.step.name == "lock.page"
    assert first.finish() == second.finish() == b"A" * PAGE
    assert second.names == ["lock.page"]


def test_reader_takes_invalidate_lock_before_the_page_lock(world):
    """The order of locks.py: a truncation that holds the first waits for the second."""
    file = file_with(world, b"A" * PAGE)
    write(world, file, 0, b"B" * BLOCK)
    run(world, file.inode.mapping.lock.lock_exclusive())
    reader = Task(world, buffered_read(world.fs, file, 0, PAGE))
    assert reader.step.name == "lock.mapping.shared"
    assert not file.inode.mapping.pages[0].locked
    file.inode.mapping.lock.unlock_exclusive()
    reader.finish()


# -- writing -----------------------------------------------------------------------------


def test_write_into_a_hole_is_a_promise_and_no_block_yet(world):
    file = sparse_file(PAGE)
    assert write(world, file, BLOCK, b"B" * BLOCK) == BLOCK
    assert states(file.inode) == ["hole", "delalloc", "hole", "hole"]
    assert world.fs.space.reserved_count == 1
    assert file.inode.disk_size == PAGE


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
@pytest.mark.parametrize("start", ["hole", "unwritten", "mapped", "cached"])
def test_part_of_a_block_keeps_the_rest(sizes, start):
    """Its edges are read, or zeroed; GARBAGE is never seen."""
    block, page = sizes
    world = World(block_size=block, page_size=page)
    file = sparse_file(page) if start in ("hole", "unwritten") else file_with(world, b"A" * page)
    old = bytes(page) if start in ("hole", "unwritten") else b"A" * page
    if start == "unwritten":
        run(world, fallocate(world.fs, file.inode, 0, 0, page))
    if start == "cached":
        read(world, file, 0, page)
    pos, data = block // 2, b"B" * (page - block)
    write(world, file, pos, data)
    expected = old[:pos] + data + old[pos + len(data) :]
    assert both_reads(world, file) == (expected, expected)
    check_world(world, [file.inode])


def test_whole_blocks_are_written_without_a_read(world):
    file = file_with(world, b"A" * PAGE)
    names = names_of(world, buffered_write(world.fs, file.inode, BLOCK, b"B" * BLOCK))
    assert names == ["buffered.write.page_lock", "buffered.write.map", "buffered.write.copy"]


def test_write_beyond_the_end_zeroes_what_follows_the_old_end(world):
    """(T2) A crash may have left other bytes on the image there."""
    file = file_with(world, b"A" * 100)
    mapping = file.inode.extents.find(0, 1)
    world.image.write_at(mapping.physical * BLOCK + 100, b"\xdb" * (BLOCK - 100))
    write(world, file, PAGE, b"B")
    expected = b"A" * 100 + bytes(PAGE - 100) + b"B"
    assert both_reads(world, file) == (expected, expected)


def test_long_write_goes_in_batches_of_locked_pages():
    world = World(block_size=BLOCK, page_size=BLOCK, block_count=4 * WRITE_PAGES_MAX)
    file = OpenFile(Inode(1))
    data = bytes(range(200)) * (2 * WRITE_PAGES_MAX * BLOCK // 200)
    names = names_of(world, buffered_write(world.fs, file.inode, 7, data))
    assert names.count("buffered.write.copy") == 2
    assert read(world, file, 7, len(data)) == data


# -- writing: errors ---------------------------------------------------------------------


def full(world: World) -> OpenFile:
    """A file that takes all room, and more than one commit has seen."""
    file = OpenFile(Inode(9))
    write(world, file, 0, b"F" * BLOCK * world.fs.space.available_count, direct=True)
    return file


def test_write_without_room_fails_and_leaves_nothing(world):
    filler, file = full(world), sparse_file(PAGE)
    assert refusal_of(world, buffered_write(world.fs, file.inode, 0, b"B")) == errno.ENOSPC
    assert states(file.inode) == ["hole"] * 4
    assert not file.inode.mapping.pages
    check_world(world, [filler.inode, file.inode])


def test_write_with_room_for_a_part_is_short(world):
    filler = full(world)
    run(world, truncate(world.fs, filler.inode, filler.inode.size - 2 * BLOCK))
    file = sparse_file(PAGE)
    assert write(world, file, 100, b"B" * PAGE) == 2 * BLOCK - 100
    check_world(world, [filler.inode, file.inode])
    assert read(world, file, 0, 2 * BLOCK) == bytes(100) + b"B" * (2 * BLOCK - 100)


def test_write_is_short_only_after_a_commit_gave_all_room_there_is(world):
    """One block is free and others wait for their commit: they are enough, so ask for it."""
    filler = full(world)
    run(world, truncate(world.fs, filler.inode, filler.inode.size - BLOCK))
    world.commit()
    run(world, truncate(world.fs, filler.inode, filler.inode.size - 4 * BLOCK))
    assert world.fs.space.available_count == 1
    file = sparse_file(PAGE)
    assert write(world, file, 0, b"B" * PAGE) == PAGE
    check_world(world, [filler.inode, file.inode])


def test_failed_edge_gives_back_the_room_of_the_others(world):
    """Else blocks without a page stay delayed for ever, and every direct read of them fails.

    As xfs_buffered_write_iomap_end() does.
    """
    file = file_with(world, b"A" * BLOCK)
    run(world, truncate(world.fs, file.inode, PAGE))
    request = buffered_write(world.fs, file.inode, 100, b"B" * 1000)
    assert refusal_of(world, request, fail={"buffered.write.fill": errno.EIO}) == errno.EIO
    assert states(file.inode) == ["mapped", "hole", "hole", "hole"]
    check_world(world, [file.inode])
    assert both_reads(world, file) == (b"A" * BLOCK + bytes(3 * BLOCK),) * 2


def test_failed_edge_keeps_the_room_of_dirty_blocks(world):
    """They were reserved by an earlier write, and will need it."""
    file = file_with(world, b"A" * BLOCK)
    write(world, file, BLOCK, b"C" * BLOCK)
    request = buffered_write(world.fs, file.inode, 100, b"B" * 1000)
    assert refusal_of(world, request, fail={"buffered.write.fill": errno.EIO}) == errno.EIO
    assert states(file.inode) == ["mapped", "delalloc", "hole", "hole"]
    assert both_reads(world, file) == (b"A" * BLOCK + b"C" * BLOCK,) * 2


def test_what_was_written_before_an_error_counts():
    world = World(block_size=BLOCK, page_size=BLOCK, block_count=4 * WRITE_PAGES_MAX)
    file = OpenFile(Inode(1))
    batch = WRITE_PAGES_MAX * BLOCK
    task = Task(world, buffered_write(world.fs, file.inode, 0, b"B" * (batch + BLOCK)))
    task.go_past("buffered.write.copy").go_to("buffered.write.map")
    task.fail(errno.EIO)
    assert task.finish() == batch
    assert file.inode.size == batch


def test_fault_of_ours_is_not_taken_for_a_short_write():
    """Only an FsError ends a write early; an AssertionError is to be seen."""
    world = World(block_size=BLOCK, page_size=BLOCK, block_count=4 * WRITE_PAGES_MAX)
    file = OpenFile(Inode(1))
    batch = WRITE_PAGES_MAX * BLOCK
    task = Task(world, buffered_write(world.fs, file.inode, 0, b"B" * (batch + BLOCK)))
    task.go_past("buffered.write.copy").go_to("buffered.write.copy")
    file.inode.mapping.pages[WRITE_PAGES_MAX].mapping = None
    with pytest.raises(AssertionError, match="dirty page outside the cache"):
        task.finish()


# -- writing: with somebody in between ---------------------------------------------------


def test_reader_waits_for_the_whole_write(world):
    """IOLOCK: on XFS a read sees all of a write or nothing of it."""
    file = file_with(world, b"A" * PAGE)
    writer = Task(world, buffered_write(world.fs, file.inode, 0, b"B" * PAGE))
    writer.go_to("buffered.write.copy")
    reader = Task(world, buffered_read(world.fs, file, 0, PAGE))
    assert reader.step.name == "lock.inode.shared"
    writer.finish()
    assert bytes(reader.finish()) == b"B" * PAGE


def test_page_evicted_while_its_lock_was_waited_for_is_inserted_again(world):
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    page = file.inode.mapping.pages[0]
    page.locked = True
    writer = Task(world, buffered_write(world.fs, file.inode, 0, b"B")).go_to("lock.page")
    world.fs.cache.remove(page)
    page.unlock()
    writer.finish()
    assert both_reads(world, file) == (b"B" + b"A" * (PAGE - 1),) * 2


@pytest.mark.parametrize(
    ("prepare", "dirties"),
    [
        pytest.param(lambda world, file: None, False, id="hole"),
        pytest.param(
            lambda world, file: run(world, fallocate(world.fs, file.inode, 0, 0, PAGE)),
            False,
            id="unwritten",
        ),
        pytest.param(lambda world, file: write(world, file, 0, b"A" * PAGE), True, id="delalloc"),
        pytest.param(
            lambda world, file: write(world, file, 0, b"A" * PAGE, direct=True), True, id="mapped"
        ),
    ],
)
def test_zeroing_dirties_only_what_does_not_read_as_zeros(world, prepare, dirties):
    file = sparse_file(PAGE)
    prepare(world, file)
    before = world.fs.space.reserved_count
    run(world, truncate(world.fs, file.inode, 100))
    page = file.inode.mapping.pages.get(0)
    assert bool(page and page.blocks_dirty) == dirties
    assert world.fs.space.reserved_count == min(before, 1)
    fsync(world, file)
    drop_cache(world, file.inode)
    run(world, truncate(world.fs, file.inode, PAGE))
    assert read(world, file, 100, PAGE) == bytes(PAGE - 100)
