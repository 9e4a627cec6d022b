"""Loads and stores through a mapping, beside all that takes a lock which they do not take."""

import errno

import pytest
from model.driving import (
    Task,
    both_reads,
    buffered_read,
    check_world,
    file_with,
    fsync,
    read,
    run,
    sparse_file,
    write,
)

from fusefs.explore.memory import World
from fusefs.model.buffered import buffered_write
from fusefs.model.dio import ThroughCache, direct_write
from fusefs.model.errors import FsError
from fusefs.model.file_io import writeback_inode
from fusefs.model.mapped import mapped_read, mapped_write
from fusefs.model.truncate import Mode, fallocate, truncate

BLOCK, PAGE = 512, 1024
KEEP, PUNCH = Mode.KEEP_SIZE, Mode.PUNCH_HOLE


@pytest.fixture
def world() -> World:
    return World(block_size=BLOCK, page_size=PAGE)


def load(world: World, file, pos: int, length: int) -> bytes:
    found: bytes = run(world, mapped_read(world.fs, file.inode, pos, length))
    return found


def store(world: World, file, pos: int, data: bytes) -> None:
    run(world, mapped_write(world.fs, file.inode, pos, data))


def test_store_is_seen_by_all_and_reaches_the_image(world):
    file = file_with(world, b"A" * 3 * PAGE)
    store(world, file, PAGE - 10, b"S" * (PAGE + 20))
    whole = b"A" * (PAGE - 10) + b"S" * (PAGE + 20) + b"A" * (PAGE - 10)
    assert load(world, file, 0, 3 * PAGE) == read(world, file, 0, 3 * PAGE) == whole
    fsync(world, file)
    assert both_reads(world, file) == (whole, whole)
    check_world(world, [file.inode])


def test_store_into_a_hole_takes_room(world):
    file = sparse_file(PAGE)
    store(world, file, 0, b"S")
    assert file.inode.extents.blocks_delalloc == 2
    fsync(world, file)
    assert read(world, file, 0, PAGE) == b"S" + bytes(PAGE - 1)
    check_world(world, [file.inode])


def test_store_makes_the_whole_page_dirty_below_the_end(world):
    """iomap_page_mkwrite() knows no blocks."""
    file = file_with(world, b"A" * 100)
    store(world, file, 0, b"S")
    assert file.inode.mapping.pages[0].blocks_dirty == 0b01


def test_bytes_behind_the_end_are_there_within_the_last_page_alone(world):
    """(B4) And do not come into the file: (T2)."""
    file = file_with(world, b"A" * 100)
    store(world, file, 200, b"S" * 10)
    assert load(world, file, 200, 10) == b"S" * 10
    for pos in (PAGE, 10 * PAGE):
        with pytest.raises(FsError) as refusal:
            load(world, file, pos, 1)
        assert refusal.value.errno == errno.EFAULT
    fsync(world, file)
    run(world, truncate(world.fs, file.inode, PAGE))
    assert read(world, file, 0, PAGE) == b"A" * 100 + bytes(PAGE - 100)
    check_world(world, [file.inode])


GROWTHS = {
    "truncate": lambda world, file: truncate(world.fs, file.inode, PAGE),
    "allocate": lambda world, file: fallocate(world.fs, file.inode, 0, 0, PAGE),
    "store": lambda world, file: buffered_write(world.fs, file.inode, 2 * PAGE, b"N"),
    "write": lambda world, file: direct_write(world.fs, file.inode, 2 * PAGE, b"N" * BLOCK),
    "half a block": lambda world, file: direct_write(world.fs, file.inode, 2560, b"N" * BLOCK),
}


@pytest.mark.parametrize("name", GROWTHS)
@pytest.mark.parametrize("block", [BLOCK, PAGE], ids=["block behind the end", "same block"])
def test_stored_bytes_behind_the_end_do_not_come_into_a_file_that_grows(block: int, name: str):
    """(T2) Also those of blocks of its own, which are not dirty.  Guards kernel c5c810b94cfd."""
    world = World(block_size=block, page_size=PAGE)
    file = file_with(world, b"A" * 100)
    store(world, file, 100, b"S" * (PAGE - 100))
    run(world, GROWTHS[name](world, file))
    assert read(world, file, 0, PAGE) == b"A" * 100 + bytes(PAGE - 100)
    check_world(world, [file.inode])


@pytest.mark.parametrize("order", ["", "zero_range_ignores_dirty"], ids=["today", "until 6.12"])
def test_bytes_stored_while_a_write_makes_the_file_longer_do_not_come_into_it(order: str):
    """(T2) Behind the end, after it was zeroed.  Guards kernel 52aecaee1c26."""
    world = World(block_size=BLOCK, page_size=PAGE, order=[order] if order else [])
    file = file_with(world, b"A" * BLOCK)
    request = buffered_write(world.fs, file.inode, PAGE, b"N" * BLOCK)
    writer = Task(world, request).go_to("buffered.write.page_lock")
    store(world, file, BLOCK, b"S" * BLOCK)
    writer.finish()
    found = read(world, file, 0, 2 * PAGE)[BLOCK:PAGE]
    assert found == (b"S" if order else b"\0") * BLOCK
    assert world.stale_blocks(file.inode) == ([1] if order else [])


def test_writeback_zeroes_what_was_stored_behind_the_end(world):
    """(W2) In the page as well: who has it mapped sees that."""
    file = file_with(world, b"A" * 100)
    store(world, file, 100, b"S" * (PAGE - 100))
    fsync(world, file)
    assert load(world, file, 0, PAGE) == b"A" * 100 + bytes(PAGE - 100)


def test_read_has_of_each_page_what_it_held_when_the_read_came_to_it(world):
    """A store takes no lock: it may change a page while the reader fills the next one."""
    file = file_with(world, b"A" * 2 * PAGE)
    read(world, file, 0, PAGE)
    request = buffered_read(world.fs, file, 0, 2 * PAGE)
    reader = Task(world, request).go_to("buffered.read.page_lock")
    for pos in (0, PAGE):
        store(world, file, pos, b"S" * PAGE)
    assert reader.finish() == b"A" * PAGE + b"S" * PAGE


def test_store_without_room_is_an_error_and_changes_nothing(world):
    file = sparse_file(PAGE)
    filler = file_with(world, b"F" * BLOCK * (world.fs.space.available_count - 1), ino=2)
    with pytest.raises(FsError) as refusal:
        store(world, file, 0, b"S")
    assert refusal.value.errno == errno.ENOSPC
    assert read(world, file, 0, PAGE) == bytes(PAGE)
    assert filler.inode.size


def test_fault_waits_for_a_punch_that_has_dropped_the_page(world):
    """(T1) invalidate_lock: a page filled in between would keep what the punch takes away."""
    file = file_with(world, b"A" * PAGE)
    punch = Task(world, fallocate(world.fs, file.inode, 0x03, 0, BLOCK)).go_to("fallocate.free")
    reader = Task(world, mapped_read(world.fs, file.inode, 0, PAGE)).go_to("lock.mapping.shared")
    assert reader.waits
    punch.finish()
    assert reader.finish() == bytes(BLOCK) + b"A" * BLOCK


def test_store_of_a_neighbour_keeps_the_page_under_a_direct_write(world):
    """(P3) So the write goes through the cache.  Guards kernel 60263d5889e6."""
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    request = direct_write(world.fs, file.inode, 0, b"D" * BLOCK)
    writer = Task(world, request).go_to("dio.write.invalidate_pre")
    store(world, file, BLOCK, b"S" * BLOCK)
    with pytest.raises(ThroughCache):
        writer.finish()
    assert file.inode.mapping.pages[0].blocks_dirty


def test_store_waits_for_a_page_under_writeback(world):
    file = sparse_file(PAGE)
    write(world, file, 0, b"W" * PAGE)
    flush = Task(world, writeback_inode(world.fs, file.inode)).go_to("writeback.submit")
    storing = Task(world, mapped_write(world.fs, file.inode, 0, b"S"))
    storing.go_to("lock.page.writeback")
    flush.finish()
    storing.finish()
    fsync(world, file)
    assert read(world, file, 0, 2) == b"SW"


def punching(world: World, file) -> Task:
    """Somebody has inode.mapping.lock, and has not dropped the page yet."""
    request = fallocate(world.fs, file.inode, PUNCH | KEEP, 0, PAGE)
    return Task(world, request).go_to("fallocate.drop_pages")


def test_load_of_a_page_that_is_there_waits_for_no_punch(world):
    """filemap_fault() takes invalidate_lock only to fill."""
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    punch = punching(world, file)
    assert load(world, file, 0, PAGE) == b"A" * PAGE
    punch.finish()
    assert load(world, file, 0, PAGE) == bytes(PAGE)


def test_load_that_fills_and_store_wait_for_a_punch(world):
    """A store makes its page writable under that lock: __xfs_write_fault()."""
    file = file_with(world, b"A" * PAGE)
    punch = punching(world, file)
    loader = Task(world, mapped_read(world.fs, file.inode, 0, PAGE)).go_to("lock.mapping.shared")
    punch.finish()
    assert loader.finish() == bytes(PAGE)
    punch = punching(world, file)
    storer = Task(world, mapped_write(world.fs, file.inode, 0, b"S"))
    storer.go_to("lock.mapping.shared")
    punch.finish()
    storer.finish()
    assert load(world, file, 0, 2) == b"S\0"
    check_world(world, [file.inode])


def test_load_whose_page_is_cut_off_meanwhile_fails(world):
    """(B4) It waited for the page, and the file is shorter then."""
    file = file_with(world, b"A" * 2 * PAGE)
    read(world, file, 0, 2 * PAGE)
    page = file.inode.mapping.pages[1]
    assert page.try_lock()
    loader = Task(world, mapped_read(world.fs, file.inode, PAGE, PAGE)).go_to("lock.page")
    file.inode.size = PAGE
    page.unlock()
    with pytest.raises(FsError) as refusal:
        loader.finish()
    assert refusal.value.errno == errno.EFAULT
