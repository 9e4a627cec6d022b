"""Truncate, fallocate and seek: no byte comes back, and no block is given away too early."""

import errno

import pytest
from model.driving import (
    GEOMETRIES,
    Task,
    both_reads,
    check_tail,
    check_world,
    drop_cache,
    file_in_pieces,
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
from fusefs.model.buffered import buffered_read
from fusefs.model.errors import FsError
from fusefs.model.extents import State
from fusefs.model.file_io import writeback_inode
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.iomap import FREE_COST_MAX
from fusefs.model.truncate import MODES, SEEK_DATA, SEEK_HOLE, Mode, fallocate, seek, truncate

BLOCK, PAGE = 512, 2048
KEEP, PUNCH, ZERO = Mode.KEEP_SIZE, Mode.PUNCH_HOLE, Mode.ZERO_RANGE


@pytest.fixture
def world() -> World:
    return World(block_size=BLOCK, page_size=PAGE)


def set_size(world: World, file: OpenFile, size: int, **steps) -> None:
    run(world, truncate(world.fs, file.inode, size), **steps)


def allocate(world: World, file: OpenFile, mode: int, pos: int, length: int, **steps) -> None:
    run(world, fallocate(world.fs, file.inode, mode, pos, length), **steps)


def refusal_of(world: World, coroutine, **steps) -> int:
    with pytest.raises(FsError) as refusal:
        run(world, coroutine, **steps)
    return refusal.value.errno


def states(inode: Inode, block_count: int = 4) -> list[str]:
    return [inode.extents.find(block, block + 1).state.value for block in range(block_count)]


def place_of(world: World, inode: Inode, block: int) -> int:
    """Where a block is on the image, in bytes."""
    return inode.extents.find(block, block + 1).physical * world.fs.geometry.block_size


# -- truncate ----------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
@pytest.mark.parametrize("start", ["dirty", "unwritten", "cached", "written", "direct"])
@pytest.mark.parametrize("cut", [0, 1, 511, 512, 4095, -1], ids="to {}".format)
def test_bytes_that_were_cut_off_do_not_come_back(sizes, start, cut):
    """(T2) Down, up again: zeros, from the cache and from the image (generic/469)."""
    block, page = sizes
    world = World(block_size=block, page_size=page)
    data, cut = b"A" * 2 * page, cut % (2 * page)
    file = file_with(world, data if start in ("cached", "written") else b"")
    if start == "unwritten":
        allocate(world, file, KEEP, 0, len(data))
    if start in ("dirty", "unwritten", "direct"):
        write(world, file, 0, data, direct=start == "direct")
    if start == "cached":
        read(world, file, 0, len(data))
    set_size(world, file, cut)
    check_world(world, [file.inode])
    set_size(world, file, len(data))
    check_world(world, [file.inode])
    assert both_reads(world, file) == (b"A" * cut + bytes(len(data) - cut),) * 2


def test_truncation_drops_the_pages_before_it_frees_the_blocks(world):
    """(T1) and nobody can fill one in between: kernel commit 730633f0b7f9."""
    file = file_with(world, b"A" * 2 * PAGE)
    read(world, file, 0, 2 * PAGE)
    task = Task(world, truncate(world.fs, file.inode, 0)).go_to("truncate.free")
    assert not file.inode.mapping.pages
    assert file.inode.mapping.lock.held_exclusive
    reader = Task(world, buffered_read(world.fs, file, 0, PAGE))
    assert reader.waits
    task.finish()
    assert bytes(reader.finish()) == b""


def test_cut_block_is_free_only_after_the_commit(world):
    """(S2)"""
    file = file_with(world, b"A" * PAGE)
    free = world.fs.space.free_count
    set_size(world, file, 0)
    assert world.fs.space.free_count == free
    world.commit()
    assert world.fs.space.free_count == free + 4
    check_world(world, [file.inode])


def test_promise_of_cut_blocks_is_given_back_at_once(world):
    """(S1) They never had a place, so no commit need record it."""
    file = OpenFile(Inode(1))
    available = world.fs.space.available_count
    write(world, file, 0, b"A" * PAGE)
    set_size(world, file, 0)
    assert world.fs.space.reserved_count == 0
    assert world.fs.space.available_count == available
    check_world(world, [file.inode])


def test_blocks_beyond_the_end_are_freed_by_truncation_to_the_same_size(world):
    """Those that KEEP_SIZE preallocated."""
    file = file_with(world, b"A" * BLOCK)
    allocate(world, file, KEEP, 0, PAGE)
    set_size(world, file, BLOCK)
    assert states(file.inode) == ["mapped", "hole", "hole", "hole"]


def test_shorter_size_above_what_was_recorded_is_recorded(world):
    """Nothing below it is dirty, so that no writeback would do it later."""
    file = OpenFile(Inode(1))
    write(world, file, 6 * BLOCK, b"A" * BLOCK)
    assert file.inode.disk_size == 0
    set_size(world, file, 3 * BLOCK)
    assert (file.inode.size, file.inode.disk_size, file.inode.changed) == (3 * BLOCK,) * 2 + (True,)


def test_end_is_zeroed_before_it_is_written_back(world):
    """(T2) Guards kernel commit 350976ae2187."""
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * BLOCK)
    names = names_of(world, truncate(world.fs, file.inode, 100))
    assert names.index("zero.map") < names.index("truncate.flush")
    assert world.on_image(file.inode, 0) == b"A" * 100 + bytes(BLOCK - 100)


def test_extension_zeroes_what_a_crash_left_beyond_the_end(world):
    """(T2) The size was on the disk, the zeros were not."""
    file = file_with(world, b"A" * 100)
    world.image.write_at(place_of(world, file.inode, 0) + 100, b"\xdb" * (BLOCK - 100))
    set_size(world, file, PAGE)
    assert both_reads(world, file) == (b"A" * 100 + bytes(PAGE - 100),) * 2


def test_truncation_to_the_same_size_zeroes_the_rest_of_its_block(world):
    """Where that is written: iomap_truncate_page() asks for no size."""
    file = file_with(world, b"A" * 100)
    world.image.write_at(place_of(world, file.inode, 0) + 100, b"\xdb" * (BLOCK - 100))
    set_size(world, file, 100)
    assert file.inode.mapping.pages_dirty == {0}
    fsync(world, file)
    assert world.on_image(file.inode, 0) == b"A" * 100 + bytes(BLOCK - 100)


# -- truncate: against a writeback under way ---------------------------------------------


def under_writeback(world: World, old: bytes = b"") -> tuple[OpenFile, Task]:
    """A page whose bytes are about to be written: to new blocks, or over old bytes."""
    file = file_with(world, old)
    write(world, file, 0, b"A" * PAGE)
    return file, Task(world, writeback_inode(world.fs, file.inode)).go_to("writeback.submit")


@pytest.mark.parametrize("old", [b"", b"O" * PAGE], ids=["new", "overwritten"])
def test_truncation_waits_for_the_writeback_of_the_page_it_cuts(world, old):
    """(T1) It writes to the blocks that are to be freed.

    truncate_inode_partial_folio() waits, too.
    """
    file, task = under_writeback(world, old)
    cut = Task(world, truncate(world.fs, file.inode, BLOCK)).go_to("lock.page.writeback")
    assert "hole" not in states(file.inode)
    task.finish()
    cut.finish()
    assert states(file.inode) == ["mapped", "hole", "hole", "hole"]
    check_world(world, [file.inode])


@pytest.mark.parametrize("old", [b"", b"O" * PAGE], ids=["new", "overwritten"])
def test_cut_block_is_not_written_once_it_is_another_files(world, old):
    """(T1) What would happen without that wait: a late write into somebody else's block."""
    file, task = under_writeback(world, old)
    cut = Task(world, truncate(world.fs, file.inode, BLOCK))
    while not cut.ended and not cut.waits:
        cut.grant()
    world.commit()
    other = sparse_file(BLOCK, ino=2)
    space = world.fs.space
    write(world, other, 0, b"B" * BLOCK * space.available_count, direct=True)
    before = read(world, other, 0, other.inode.size, direct=True)
    task.finish()
    cut.finish()
    assert read(world, other, 0, other.inode.size, direct=True) == before
    check_world(world, [file.inode, other.inode])


def test_end_under_writeback_is_zeroed(world):
    """(T2) Its block is unwritten, its page clean; neither will be so for long.

    Guards what kernel commit c5c810b94cfd fixed for zeroed ranges.
    """
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * BLOCK)
    task = Task(world, writeback_inode(world.fs, file.inode)).go_to("writeback.submit")
    cut = Task(world, truncate(world.fs, file.inode, 100))
    while not cut.ended and not cut.waits:
        cut.grant()
    task.finish()
    cut.finish()
    check_tail(world, file.inode)
    set_size(world, file, BLOCK)
    assert both_reads(world, file) == (b"A" * 100 + bytes(BLOCK - 100),) * 2


def test_end_is_zeroed_at_once_beside_a_block_under_writeback(world):
    """Of the page, whose other blocks may be what is written: filemap_range_needs_writeback()."""
    file = sparse_file(PAGE)
    allocate(world, file, 0, 0, PAGE)
    write(world, file, 2 * BLOCK, b"A" * BLOCK)
    task = Task(world, writeback_inode(world.fs, file.inode)).go_to("writeback.submit")
    cut = Task(world, truncate(world.fs, file.inode, 100)).go_to("truncate.drop_pages")
    assert "lock.page.writeback" not in cut.names
    assert file.inode.mapping.pages[0].blocks_dirty == 1
    task.finish()
    cut.finish()
    check_world(world, [file.inode])


def test_page_that_is_cut_stays_uptodate(world):
    """Who reads on behind the new end fills nothing: truncate_inode_partial_folio()."""
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    set_size(world, file, BLOCK)
    assert names_of(world, buffered_read(world.fs, file, 0, PAGE)) == []
    set_size(world, file, PAGE)
    assert both_reads(world, file) == (b"A" * BLOCK + bytes(PAGE - BLOCK),) * 2
    check_world(world, [file.inode])


def test_page_that_went_away_while_truncation_waited_is_no_error(world):
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    task = Task(world, writeback_inode(world.fs, file.inode)).go_to("writeback.map")
    cut = Task(world, truncate(world.fs, file.inode, BLOCK)).go_to("lock.page")
    task.finish()
    drop_cache(world, file.inode)
    cut.finish()
    assert both_reads(world, file) == (b"A" * BLOCK,) * 2
    check_world(world, [file.inode])


# -- truncate: errors --------------------------------------------------------------------


def test_failed_flush_frees_the_blocks_beyond_all_the_same(world):
    """Their pages are gone: delayed blocks without a page could never be read directly again."""
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    request = truncate(world.fs, file.inode, 2 * BLOCK)
    assert refusal_of(world, request, fail={"writeback.submit": errno.EIO}) == errno.EIO
    assert states(file.inode) == ["unwritten", "unwritten", "hole", "hole"]
    assert file.inode.disk_size == 0
    set_size(world, file, PAGE)
    assert read(world, file, 2 * BLOCK, 2 * BLOCK, direct=True) == bytes(2 * BLOCK)
    world.check_space([file.inode])


def test_map_that_cannot_be_loaded_leaves_the_file_as_it_is(world):
    """Else blocks beyond the end would stay, and come back when the file grows."""
    file = file_with(world, b"A" * PAGE)
    request = truncate(world.fs, file.inode, 100)
    assert refusal_of(world, request, fail={"truncate.drop_pages": errno.EIO}) == errno.EIO
    assert file.inode.size == PAGE
    set_size(world, file, 100)
    set_size(world, file, PAGE)
    assert both_reads(world, file) == (b"A" * 100 + bytes(PAGE - 100),) * 2


# -- more than is done in one piece ------------------------------------------------------


@pytest.fixture
def large() -> World:
    return World(block_size=BLOCK, page_size=PAGE, block_count=3 * FREE_COST_MAX)


def test_long_truncation_frees_the_end_first_and_commits_no_size_that_lies(large):
    """At each commit all that is beyond disk_size is gone, and what is below is still there."""
    file = file_in_pieces(large, 2 * FREE_COST_MAX)
    inode, end = file.inode, file.inode.size // BLOCK
    task = Task(large, truncate(large.fs, inode, BLOCK))
    sizes = []
    while True:
        while not task.ended and task.step.name != "truncate.commit":
            task.grant()
        if task.ended:
            break
        assert inode.size == BLOCK
        assert len(large.fs.space.freed) < 2 * FREE_COST_MAX
        first_gone = inode.disk_size // BLOCK
        assert {m.state for m in inode.extents.mappings(first_gone, end)} == {State.HOLE}
        assert inode.extents.find(first_gone - 2, end).state is State.MAPPED
        sizes.append(inode.disk_size)
        task.grant()
    assert sizes == sorted(set(sizes), reverse=True)
    assert len(sizes) >= 1
    assert (inode.size, inode.disk_size, inode.extents.blocks_allocated) == (BLOCK, BLOCK, 1)
    large.commit()
    large.check_space([inode])


def test_truncation_that_fails_on_the_way_leaves_no_bytes_to_come_back(large):
    """The file is as long as what could not be freed; else growing it would show that."""
    file = file_in_pieces(large, 2 * FREE_COST_MAX)
    old = file.inode.size
    task = Task(large, truncate(large.fs, file.inode, 0)).go_past("truncate.commit")
    assert task.step.name == "truncate.free"
    task.fail(errno.EIO)
    with pytest.raises(FsError, match="EIO"):
        task.finish()
    assert 0 < file.inode.size == file.inode.disk_size < old
    set_size(large, file, 0)
    set_size(large, file, old)
    assert read(large, file, 0, 64 * BLOCK, direct=True) == bytes(64 * BLOCK)


def cut_in_vain(world: World, file: OpenFile, size: int) -> None:
    """A truncate of a file of very many runs, whose map cannot be read any more on the way."""
    task = Task(world, truncate(world.fs, file.inode, size)).go_past("truncate.commit")
    assert task.step.name == "truncate.free"
    task.fail(errno.EIO)
    with pytest.raises(FsError, match="EIO"):
        task.finish()


def test_page_of_a_new_end_that_is_given_up_has_what_the_image_has(large):
    """(D1) Its blocks behind that end were zeroed, and their map says written still."""
    file = file_in_pieces(large, 2 * FREE_COST_MAX)
    old = read(large, file, 0, PAGE)
    cut_in_vain(large, file, BLOCK)
    assert file.inode.size > PAGE
    check_world(large, [file.inode])
    assert read(large, file, 0, PAGE) == read(large, file, 0, PAGE, direct=True) == old


def test_dirty_block_before_a_new_end_that_is_given_up_stays_dirty(large):
    """(B2) What was dirty behind it is lost, as in all later pages."""
    file = file_in_pieces(large, 2 * FREE_COST_MAX)
    old = read(large, file, 0, PAGE)
    drop_cache(large, file.inode)
    write(large, file, 0, b"B" * BLOCK)
    write(large, file, 2 * BLOCK, b"B" * BLOCK)
    cut_in_vain(large, file, BLOCK)
    page = file.inode.mapping.pages[0]
    assert (page.blocks_dirty, page.blocks_uptodate) == (1, 1)
    assert both_reads(large, file)[0][:PAGE] == b"B" * BLOCK + old[BLOCK:]
    check_world(large, [file.inode])


def test_page_with_nothing_before_a_new_end_that_is_given_up_goes(large):
    file = file_in_pieces(large, 2 * FREE_COST_MAX)
    old = read(large, file, 0, PAGE, direct=True)
    write(large, file, 2 * BLOCK, b"B" * BLOCK)
    cut_in_vain(large, file, BLOCK)
    assert not file.inode.mapping.pages
    assert read(large, file, 0, PAGE) == old


def test_delayed_blocks_behind_a_new_end_that_is_given_up_are_holes(large):
    """Without their pages they could never be read directly again."""
    file = file_in_pieces(large, 2 * FREE_COST_MAX)
    old = read(large, file, 0, 2 * PAGE)
    write(large, file, 0, b"B" * 2 * PAGE)
    cut_in_vain(large, file, 2 * BLOCK)
    assert states(file.inode, 5) == ["mapped", "delalloc", "mapped", "hole", "mapped"]
    assert both_reads(large, file)[1][: 2 * PAGE] == b"B" * 2 * BLOCK + old[2 * BLOCK :]
    check_world(large, [file.inode])


def test_long_punch_frees_all_of_its_range(large):
    file = file_in_pieces(large, 2 * FREE_COST_MAX)
    count = file.inode.extents.blocks_allocated
    allocate(large, file, PUNCH | KEEP, 2 * BLOCK, file.inode.size - 4 * BLOCK)
    assert file.inode.extents.blocks_allocated == 2 < count
    large.commit()
    large.check_space([file.inode])


def test_seek_goes_on_behind_many_mappings(large):
    """Unwritten blocks are holes, each of which it must look at."""
    file = OpenFile(Inode(1, 2000 * BLOCK))
    for number in range(900):
        physical, _ = large.fs.space.allocate(1)
        file.inode.extents.allocate(2 * number, 1, physical)
    file.inode.extents.convert(1798, 1799)
    assert run(large, seek(large.fs, file.inode, 5, SEEK_DATA)) == 1798 * BLOCK
    assert run(large, seek(large.fs, file.inode, 1798 * BLOCK, SEEK_HOLE)) == 1799 * BLOCK


def test_end_that_cannot_be_zeroed_leaves_the_size(world):
    file = file_with(world, b"A" * PAGE)
    request = truncate(world.fs, file.inode, 100)
    assert refusal_of(world, request, fail={"zero.fill": errno.EIO}) == errno.EIO
    assert both_reads(world, file) == (b"A" * PAGE,) * 2
    check_world(world, [file.inode])


# -- fallocate: preallocate --------------------------------------------------------------


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
@pytest.mark.parametrize("mode", [0, KEEP], ids=["extend", "keep size"])
def test_preallocated_blocks_read_as_zeros(sizes, mode):
    """GARBAGE is what their places hold."""
    block, page = sizes
    world = World(block_size=block, page_size=page)
    file = file_with(world, b"A" * 100)
    allocate(world, file, mode, 0, 2 * page)
    assert states(file.inode, 2) == ["mapped", "unwritten"]
    assert file.inode.extents.blocks_allocated == 2 * page // block
    size = 100 if mode else 2 * page
    assert both_reads(world, file) == (b"A" * 100 + bytes(size - 100),) * 2


def test_preallocation_keeps_what_is_there(world):
    """Mapped and unwritten blocks stay as they are; delayed ones get a place, and stay dirty."""
    file = file_with(world, b"A" * BLOCK)
    allocate(world, file, KEEP, 2 * BLOCK, BLOCK)
    write(world, file, BLOCK, b"B" * BLOCK)
    allocate(world, file, KEEP, 0, PAGE)
    assert states(file.inode) == ["mapped", "unwritten", "unwritten", "unwritten"]
    assert file.inode.mapping.pages_dirty == {0}
    assert world.fs.space.reserved_count == 0
    assert both_reads(world, file) == (b"A" * BLOCK + b"B" * BLOCK,) * 2
    check_world(world, [file.inode])


def test_only_what_is_asked_for_of_a_delayed_run_is_preallocated(world):
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    allocate(world, file, 0, BLOCK, BLOCK)
    assert states(file.inode) == ["delalloc", "unwritten", "delalloc", "delalloc"]
    fsync(world, file)
    assert states(file.inode) == ["mapped"] * 4
    assert both_reads(world, file) == (b"A" * PAGE,) * 2
    check_world(world, [file.inode])


@pytest.mark.parametrize(
    ("end", "dirty"), [(0, set()), (BLOCK, {1})], ids=["up to the end", "before it"]
)
@pytest.mark.parametrize("mode", [PUNCH | KEEP, ZERO], ids=["punch", "zero"])
def test_zeros_up_to_the_end_are_written_back(world, mode, end, dirty):
    """They would else be behind the end, too, where a store through a mapping may have come."""
    file = file_with(world, b"A" * (PAGE + 2 * BLOCK + 100))
    start = PAGE + BLOCK - end + 50
    allocate(world, file, mode, start, file.inode.size - end - start)
    assert file.inode.mapping.pages_dirty == dirty


def test_unwritten_edge_is_not_dirtied_by_the_other_edge(world):
    """Whether a page is dirty is asked once, before either is zeroed."""
    file = file_with(world, b"A" * BLOCK)
    set_size(world, file, 2 * PAGE)
    allocate(world, file, 0, BLOCK, BLOCK)
    allocate(world, file, PUNCH | KEEP, 100, BLOCK)
    fsync(world, file)
    assert states(file.inode)[:2] == ["mapped", "unwritten"]
    assert both_reads(world, file)[0][:PAGE] == b"A" * 100 + bytes(PAGE - 100)
    check_world(world, [file.inode])


@pytest.mark.parametrize("grow", ["write", "direct write", "truncate"])
@pytest.mark.parametrize("size", [100, BLOCK])
def test_dirty_page_of_the_end_is_written_back_when_the_file_grows(world, grow, size):
    """It may be dirty over a hole: iomap_zero_iter_flush_and_stale()."""
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * size)
    if grow == "truncate":
        set_size(world, file, 2 * PAGE)
    else:
        write(world, file, 2 * PAGE, b"B" * BLOCK, direct=grow == "direct write")
    assert states(file.inode) == ["mapped", "hole", "hole", "hole"]
    assert 0 not in file.inode.mapping.pages_dirty
    check_world(world, [file.inode])


@pytest.mark.parametrize(
    ("store", "state"), [(0, "mapped"), (PAGE, "unwritten")], ids=["same page", "another"]
)
def test_unwritten_block_of_the_end_is_zeroed_where_its_page_is_dirty(world, store, state):
    """Wherever in the page that is: iomap_zero_range() asks for all of it."""
    file = sparse_file(PAGE + 2 * BLOCK + 1)
    allocate(world, file, KEEP, 0, 2 * PAGE)
    write(world, file, PAGE - store, b"A" * BLOCK)
    set_size(world, file, 4 * PAGE)
    fsync(world, file)
    assert file.inode.extents.find(6, 7).state.value == state
    check_world(world, [file.inode])


def test_page_that_ends_with_the_file_stays_dirty_when_it_grows(world):
    """Nothing behind the end is in it."""
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    write(world, file, 2 * PAGE, b"B" * BLOCK)
    assert states(file.inode) == ["delalloc"] * 4
    assert 0 in file.inode.mapping.pages_dirty


def test_preallocation_without_room_keeps_the_size(world):
    file = file_with(world, b"A")
    length = world.fs.space.block_count * BLOCK
    assert refusal_of(world, fallocate(world.fs, file.inode, 0, 0, length)) == errno.ENOSPC
    assert file.inode.size == 1
    check_world(world, [file.inode])


def test_absurd_preallocation_is_refused_before_it_takes_all_room(world):
    file = sparse_file(0)
    request = fallocate(world.fs, file.inode, 0, 0, 1 << 50)
    assert refusal_of(world, request) == errno.ENOSPC
    assert file.inode.extents.blocks_allocated == 0


def test_preallocation_waits_for_the_commit_that_gives_room(world):
    """(S2)"""
    filler = file_with(world, b"F" * BLOCK * world.fs.space.available_count, ino=9)
    set_size(world, filler, 0)
    file = sparse_file(0)
    assert "space.commit" in names_of(world, fallocate(world.fs, file.inode, 0, 0, PAGE))
    check_world(world, [filler.inode, file.inode])


# -- fallocate: punch and zero -----------------------------------------------------------


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
@pytest.mark.parametrize("mode", [PUNCH | KEEP, ZERO, ZERO | KEEP], ids=["punch", "zero", "keep"])
@pytest.mark.parametrize("start", ["dirty", "cached", "written"])
@pytest.mark.parametrize(
    ("pos", "length"),
    [(0, 100), (100, 100), (100, 5000), (0, 4096), (512, 4096), (4000, 200)],
    ids=lambda value: str(value),
)
def test_range_reads_as_zeros_and_its_edges_stay(sizes, mode, start, pos, length):
    """(T1) in the cache and on the image."""
    block, page = sizes
    world = World(block_size=block, page_size=page)
    data = b"A" * 8192
    file = OpenFile(Inode(1)) if start == "dirty" else file_with(world, data)
    if start == "dirty":
        write(world, file, 0, data)
    if start == "cached":
        read(world, file, 0, len(data))
    allocate(world, file, mode, pos, length)
    check_world(world, [file.inode])
    expected = data[:pos] + bytes(length) + data[pos + length :]
    assert both_reads(world, file) == (expected, expected)
    fsync(world, file)
    drop_cache(world, file.inode)
    assert both_reads(world, file) == (expected, expected)


@pytest.mark.parametrize(
    ("mode", "state", "size"),
    [(PUNCH | KEEP, "hole", PAGE), (ZERO | KEEP, "unwritten", PAGE), (ZERO, "unwritten", 2 * PAGE)],
    ids=["punch", "zero keep", "zero"],
)
def test_range_beyond_the_end_frees_or_keeps_blocks(world, mode, state, size):
    file = file_with(world, b"A" * PAGE)
    allocate(world, file, mode, BLOCK, 2 * PAGE - BLOCK)
    assert states(file.inode) == ["mapped", state, state, state]
    assert file.inode.size == size
    assert both_reads(world, file) == (b"A" * BLOCK + bytes(size - BLOCK),) * 2


def test_punch_drops_the_pages_before_it_frees_the_blocks(world):
    """(T1) Without invalidate_lock a fill in between reads another file's bytes later."""
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    task = Task(world, fallocate(world.fs, file.inode, PUNCH | KEEP, 0, PAGE))
    task.go_to("fallocate.free")
    assert not file.inode.mapping.pages
    assert Task(world, buffered_read(world.fs, file, 0, PAGE)).waits
    task.finish()
    assert states(file.inode) == ["hole"] * 4


def test_punch_waits_for_writeback(world):
    """(T1)"""
    file, task = under_writeback(world)
    punch = Task(world, fallocate(world.fs, file.inode, PUNCH | KEEP, 0, BLOCK))
    punch.go_to("lock.page.writeback")
    task.finish()
    punch.finish()
    assert both_reads(world, file) == (bytes(BLOCK) + b"A" * 3 * BLOCK,) * 2
    check_world(world, [file.inode])


def test_punched_block_is_free_only_after_the_commit(world):
    """(S2)"""
    file = file_with(world, b"A" * PAGE)
    free = world.fs.space.free_count
    allocate(world, file, PUNCH | KEEP, 0, PAGE)
    assert world.fs.space.free_count == free
    world.commit()
    assert world.fs.space.free_count == free + 4


def test_punch_that_cannot_flush_frees_nothing(world):
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    request = fallocate(world.fs, file.inode, PUNCH | KEEP, 0, BLOCK)
    assert refusal_of(world, request, fail={"writeback.submit": errno.EIO}) == errno.EIO
    assert states(file.inode) == ["unwritten"] * 4


# -- fallocate: what is refused ----------------------------------------------------------


@pytest.mark.parametrize("mode", [PUNCH, PUNCH | ZERO | KEEP, 0x08, 0x20, 0x40, 0x04], ids=hex)
def test_mode_that_fuse_cannot_carry_is_refused(world, mode):
    """Also a punch that would change the size, as vfs_fallocate() has it."""
    file = file_with(world, b"A" * PAGE)
    assert refusal_of(world, fallocate(world.fs, file.inode, mode, 0, BLOCK)) == errno.EOPNOTSUPP
    assert both_reads(world, file) == (b"A" * PAGE,) * 2


@pytest.mark.parametrize("mode", sorted(MODES), ids=hex)
@pytest.mark.parametrize(
    ("pos", "length", "error"),
    [
        (0, 0, errno.EINVAL),
        (0, -1, errno.EINVAL),
        (-1, 1, errno.EINVAL),
        (FILE_SIZE_MAX, 1, errno.EFBIG),
    ],
    ids=["empty", "negative", "before 0", "too far"],
)
def test_impossible_range_is_refused(world, mode, pos, length, error):
    assert refusal_of(world, fallocate(world.fs, Inode(1), mode, pos, length)) == error


def test_punch_looks_once_whether_its_range_is_dirty(world):
    """Zeroing its first edge makes the page dirty; the last edge's unwritten block stays so."""
    file = file_with(world, b"a" * BLOCK)
    run(world, fallocate(world.fs, file.inode, 0, BLOCK, BLOCK))
    drop_cache(world, file.inode)
    request = fallocate(world.fs, file.inode, Mode.PUNCH_HOLE | Mode.KEEP_SIZE, 100, BLOCK)
    run(world, request)
    page = file.inode.mapping.pages[0]
    assert page.blocks_dirty == 1
    assert read(world, file, 0, 2 * BLOCK) == b"a" * 100 + bytes(2 * BLOCK - 100)


# -- seek --------------------------------------------------------------------------------


def test_preallocated_blocks_end_with_data_if_what_follows_in_their_page_is_cached(world):
    """The mapping's end, which is a hole: mapping_seek_hole_data() looks at all of the page."""
    file = sparse_file(2 * PAGE)
    allocate(world, file, KEEP, 0, BLOCK)
    write(world, file, 3 * BLOCK, b"A" * BLOCK)
    assert file.inode.mapping.pages[0].blocks_uptodate == 0b1000
    assert run(world, seek(world.fs, file.inode, 0, SEEK_DATA)) == BLOCK
    assert run(world, seek(world.fs, file.inode, BLOCK, SEEK_DATA)) == 3 * BLOCK
    assert run(world, seek(world.fs, file.inode, 0, SEEK_HOLE)) == 0


def test_seek_waits_for_nobody(world):
    """xfs_file_llseek() takes no IOLOCK: as seen on Linux 6.18."""
    file = file_with(world, b"a" * BLOCK)
    run(world, file.inode.lock.lock_exclusive())
    assert run(world, seek(world.fs, file.inode, 0, SEEK_HOLE)) == BLOCK


@pytest.fixture
def striped(world) -> OpenFile:
    """Blocks: hole, mapped, hole, delayed, then an end within a hole."""
    file = sparse_file(5 * BLOCK + 100)
    write(world, file, BLOCK, b"A" * BLOCK, direct=True)
    write(world, file, 3 * BLOCK, b"B" * BLOCK)
    return file


@pytest.mark.parametrize(
    ("pos", "data", "hole"),
    [
        pytest.param(0, BLOCK, 0, id="in a hole"),
        pytest.param(7, BLOCK, 7, id="within a hole"),
        pytest.param(BLOCK, BLOCK, 2 * BLOCK, id="in data"),
        pytest.param(BLOCK + 7, BLOCK + 7, 2 * BLOCK, id="within data"),
        pytest.param(2 * BLOCK, 3 * BLOCK, 2 * BLOCK, id="hole before delayed"),
        pytest.param(3 * BLOCK + 1, 3 * BLOCK + 1, 4 * BLOCK, id="within delayed"),
        pytest.param(5 * BLOCK + 99, None, 5 * BLOCK + 99, id="last byte"),
    ],
)
def test_seek_finds_the_next_data_and_hole(world, striped, pos, data, hole):
    assert run(world, seek(world.fs, striped.inode, pos, SEEK_HOLE)) == hole
    request = seek(world.fs, striped.inode, pos, SEEK_DATA)
    if data is None:
        assert refusal_of(world, request) == errno.ENXIO
    else:
        assert run(world, request) == data


def test_end_of_a_file_full_of_data_is_a_hole(world):
    file = file_with(world, b"A" * 700)
    assert run(world, seek(world.fs, file.inode, 5, SEEK_HOLE)) == 700


@pytest.mark.parametrize("pos", [-1, 700, 701])
@pytest.mark.parametrize("whence", [SEEK_DATA, SEEK_HOLE])
def test_seek_from_outside_the_file_is_refused(world, pos, whence):
    file = file_with(world, b"A" * 700)
    assert refusal_of(world, seek(world.fs, file.inode, pos, whence)) == errno.ENXIO


def test_other_kinds_of_seek_are_refused(world):
    assert refusal_of(world, seek(world.fs, Inode(1, 9), 0, 0)) == errno.EINVAL


@pytest.mark.parametrize(
    ("cached", "data", "hole"),
    [
        pytest.param([], None, 0, id="nothing cached"),
        pytest.param([1], PAGE, 0, id="second page"),
        pytest.param([0], 0, PAGE, id="first page"),
        pytest.param([0, 1], 0, 2 * PAGE, id="both pages"),
    ],
)
def test_unwritten_block_is_data_where_it_is_cached(world, cached, data, hole):
    """It may be dirty: mapping_seek_hole_data() asks no further."""
    file = sparse_file(2 * PAGE)
    allocate(world, file, 0, 0, 2 * PAGE)
    for page in cached:
        read(world, file, page * PAGE, PAGE)
    assert run(world, seek(world.fs, file.inode, 0, SEEK_HOLE)) == hole
    request = seek(world.fs, file.inode, 0, SEEK_DATA)
    if data is None:
        assert refusal_of(world, request) == errno.ENXIO
    else:
        assert run(world, request) == data


def test_data_under_writeback_is_data(world):
    """Its blocks are unwritten still, but its page is uptodate."""
    file, task = under_writeback(world)
    assert file.inode.extents.find(0, 4).state is State.UNWRITTEN
    assert run(world, seek(world.fs, file.inode, 0, SEEK_DATA)) == 0
    task.finish()
