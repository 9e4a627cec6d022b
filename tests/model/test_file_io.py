"""Where requests enter: what fsync tells whom, what a copy copies, and the fallbacks."""

import errno

import pytest
from model.driving import (
    GEOMETRIES,
    Task,
    both_reads,
    check_world,
    file_with,
    fsync,
    geometry_id,
    read,
    run,
    sparse_file,
    write,
)

from fusefs.explore.memory import World
from fusefs.model import file_io
from fusefs.model.errors import FsError
from fusefs.model.file_io import (
    COPY_LENGTH_MAX,
    COPY_PIECE,
    commit_names,
    copy_range,
    write_mapped,
    writeback_inode,
)
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.inode import Append, Inode, OpenFile
from fusefs.model.truncate import fallocate, truncate

BLOCK, PAGE = 512, 1024
EIO_ON_SUBMIT = {"writeback.submit": errno.EIO}


@pytest.fixture
def world() -> World:
    return World(block_size=BLOCK, page_size=PAGE)


def dirty_file(world: World, ino: int = 1) -> OpenFile:
    file = OpenFile(Inode(ino))
    write(world, file, 0, b"A" * PAGE)
    return file


def refusal_of(world: World, coroutine, **steps) -> int:
    with pytest.raises(FsError) as refusal:
        run(world, coroutine, **steps)
    return refusal.value.errno


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "buffered"])
def test_o_dsync_writes_back_what_was_written_and_no_more(world, direct):
    """generic_write_sync(): pages of earlier writes stay dirty."""
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * 3 * PAGE)
    fsync(world, file)
    write(world, file, 0, b"B" * 3 * PAGE)
    before = world.commit_count
    run(
        world,
        file_io.write(world.fs, file, PAGE, b"C" * PAGE, direct=direct, sync=True),
    )
    assert file.inode.mapping.pages_dirty == {0, 2}
    assert world.commit_count == before + 1
    fsync(world, file)
    assert not file.inode.mapping.pages_dirty
    check_world(world, [file.inode])


def test_o_dsync_append_writes_back_where_it_wrote(world):
    """Not where the caller's position was."""
    file = file_with(world, b"A" * 2 * PAGE)
    run(
        world,
        file_io.write(world.fs, file, 0, b"B" * PAGE, direct=False, sync=True, append=Append()),
    )
    assert not file.inode.mapping.pages_dirty
    assert file.inode.disk_size == 3 * PAGE


# -- fsync -------------------------------------------------------------------------------


def test_fsync_writes_back_and_then_commits(world):
    file = dirty_file(world)
    task = Task(world, file_io.fsync(world.fs, file))
    task.finish()
    assert task.names[-1] == "fsync.commit"
    assert "writeback.convert" in task.names
    assert not file.inode.mapping.pages_dirty
    assert world.commit_count == 1


def test_error_is_told_once_to_each_open_file(world):
    """errseq_t: whoever flushed, all who had the file open learn of it, and each once."""
    file = dirty_file(world)
    other = OpenFile(file.inode)
    run(world, writeback_inode(world.fs, file.inode), fail=EIO_ON_SUBMIT)
    for opened in (file, other):
        assert refusal_of(world, file_io.fsync(world.fs, opened)) == errno.EIO
        fsync(world, opened)


def test_error_that_was_told_is_not_told_to_a_later_open(world):
    """(Q1) open(2) samples the sequence."""
    file = dirty_file(world)
    run(world, writeback_inode(world.fs, file.inode), fail=EIO_ON_SUBMIT)
    assert refusal_of(world, file_io.fsync(world.fs, file)) == errno.EIO
    fsync(world, OpenFile.opened(file.inode))


def test_error_that_nobody_was_told_of_is_told_to_a_later_open(world):
    """(Q2) Its writer closed the file and went away."""
    file = dirty_file(world)
    run(world, writeback_inode(world.fs, file.inode), fail=EIO_ON_SUBMIT)
    later = OpenFile.opened(file.inode)
    assert refusal_of(world, file_io.fsync(world.fs, later)) == errno.EIO
    fsync(world, later)


@pytest.mark.parametrize("told", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_fsync_tells_what_the_host_said(world, told):
    file = dirty_file(world)
    request = file_io.fsync(world.fs, file)
    assert refusal_of(world, request, fail={"writeback.submit": told}) == told


@pytest.mark.parametrize(
    ("failed", "told"),
    [(errno.EIO, errno.EIO), (errno.ENOSPC, errno.ENOSPC), (errno.EDQUOT, errno.EIO)],
    ids=["EIO", "ENOSPC", "EDQUOT"],
)
def test_direct_read_tells_of_an_earlier_failed_writeback_once(world, failed, told):
    """AS_EIO and AS_ENOSPC: else the reader would take the block's old bytes for the new.

    All that is not ENOSPC is told as EIO; fsync still tells the errno itself.
    """
    file = dirty_file(world)
    run(world, writeback_inode(world.fs, file.inode), fail={"writeback.submit": failed})
    request = file_io.read(world.fs, file, 0, BLOCK, direct=True)
    assert refusal_of(world, request) == told
    read(world, file, 0, BLOCK, direct=True)
    assert refusal_of(world, file_io.fsync(world.fs, file)) == failed


def test_direct_write_after_a_failed_writeback_goes_through_the_cache_once(world):
    """kiocb_invalidate_pages() meets AS_EIO, and nothing of it is the writer's: fsync tells."""
    file = dirty_file(world)
    run(world, writeback_inode(world.fs, file.inode), fail=EIO_ON_SUBMIT)
    for dirty in [{0}, set()]:
        write(world, file, 0, b"B" * BLOCK, direct=True)
        assert file.inode.mapping.pages_dirty == dirty
    assert refusal_of(world, file_io.fsync(world.fs, file)) == errno.EIO


def test_direct_write_instead_of_which_the_cache_is_written_pays_for_what_is_dirty():
    """balance_dirty_pages_ratelimited() asks nobody why he came: a hole each, and no fsync."""
    world = World(order=["holes_by_cache"], cache_size=8 * PAGE)
    file = OpenFile(Inode(1, 60 * PAGE))
    for page in range(60):
        write(world, file, page * PAGE, b"A" * BLOCK, direct=True)
        assert world.fs.cache.dirty_count <= world.fs.cache.dirty_limit


def test_error_that_fsync_told_is_not_told_to_a_direct_request(world):
    file = dirty_file(world)
    assert refusal_of(world, file_io.fsync(world.fs, file), fail=EIO_ON_SUBMIT) == errno.EIO
    read(world, file, 0, BLOCK, direct=True)


def test_second_error_is_told_again(world):
    file = dirty_file(world)
    for _ in range(2):
        write(world, file, 0, b"B" * BLOCK)
        request = file_io.fsync(world.fs, file)
        assert refusal_of(world, request, fail=EIO_ON_SUBMIT) == errno.EIO
    fsync(world, file)


def test_earlier_error_is_told_before_a_commit_is_tried(world):
    """xfs_file_fsync(): what failed to be written back needs no log force."""
    file = dirty_file(world)
    run(world, writeback_inode(world.fs, file.inode), fail=EIO_ON_SUBMIT)
    assert refusal_of(world, file_io.fsync(world.fs, file)) == errno.EIO
    assert world.commit_count == 0
    request = file_io.fsync(world.fs, file)
    assert refusal_of(world, request, fail={"fsync.commit": errno.ENOSPC}) == errno.ENOSPC


def test_fsync_of_a_clean_file_still_commits(world):
    """Its size or its names may have changed."""
    fsync(world, sparse_file(PAGE))
    assert world.commit_count == 1


def test_names_are_committed_without_any_file(world):
    run(world, commit_names())
    assert world.commit_count == 1


# -- write -------------------------------------------------------------------------------


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_sync_write_is_durable_when_it_returns(world, direct):
    file = sparse_file(0)
    request = file_io.write(world.fs, file, 0, b"A" * PAGE, direct=direct, sync=True)
    assert run(world, request) == PAGE
    assert world.commit_count == 1
    assert file.inode.disk_size == PAGE
    assert world.on_image(file.inode, 1) == b"A" * BLOCK


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_write_that_is_not_sync_commits_nothing(world, direct):
    write(world, sparse_file(0), 0, b"A" * PAGE, direct=direct)
    assert world.commit_count == 0


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_write_of_nothing_does_nothing(world, direct):
    """Even beyond the end: no size, no zeroing."""
    file = sparse_file(100)
    assert write(world, file, 10 * PAGE, b"", direct=direct) == 0
    assert file.inode.size == 100


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_write_beyond_the_largest_file_is_refused(world, direct):
    pos = FILE_SIZE_MAX - 511
    request = file_io.write(world.fs, sparse_file(0), pos, b"A" * 512, direct=direct, sync=False)
    assert refusal_of(world, request) == errno.EFBIG


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_append_begins_where_the_file_ends_once_it_has_the_lock(world, direct: bool):
    """Somebody else makes the file longer while it waits."""
    file = file_with(world, b"A" * BLOCK)
    first, second = Append(), Append()
    appends = [
        Task(
            world,
            file_io.write(world.fs, file, 0, data, direct=direct, sync=False, append=append),
        )
        for data, append in ((b"B" * BLOCK, first), (b"C" * PAGE, second))
    ]
    assert appends[1].waits
    assert [append.finish() for append in appends] == [BLOCK, PAGE]
    assert (first.pos, second.pos) == (BLOCK, 2 * BLOCK)
    assert read(world, file, 0, 4 * PAGE) == b"A" * BLOCK + b"B" * BLOCK + b"C" * PAGE
    check_world(world, [file.inode])


def test_direct_append_to_the_middle_of_a_sector_is_refused(world):
    file = file_with(world, b"A" * 100)
    data = b"B" * BLOCK
    request = file_io.write(world.fs, file, 0, data, direct=True, sync=False, append=Append())
    assert refusal_of(world, request) == errno.EINVAL
    assert file.inode.size == 100


def test_both_kinds_of_request_see_each_others_bytes(world):
    file = sparse_file(0)
    write(world, file, 0, b"A" * 2 * PAGE)
    write(world, file, BLOCK, b"B" * BLOCK, direct=True)
    write(world, file, PAGE - 1, b"C" * 2)
    expected = b"A" * BLOCK + b"B" * (BLOCK - 1) + b"CC" + b"A" * (PAGE - 1)
    assert both_reads(world, file) == (expected, expected)


# -- copy_range --------------------------------------------------------------------------


def test_copy_ends_with_its_source(world):
    source, target = file_with(world, b"A" * 700), OpenFile(Inode(2))
    assert run(world, copy_range(world.fs, source, 100, target, 5, PAGE)) == 600
    assert read(world, target, 0, PAGE) == bytes(5) + b"A" * 600
    assert run(world, copy_range(world.fs, source, 700, target, 0, PAGE)) == 0
    check_world(world, [source.inode, target.inode])


def test_copy_moves_bytes_within_a_file(world):
    file = file_with(world, bytes(range(200)) * 3)
    assert run(world, copy_range(world.fs, file, 0, file, 300, 300)) == 300
    assert read(world, file, 300, 300) == (bytes(range(200)) * 2)[:300]


def test_copy_reads_what_is_only_in_the_cache(world):
    source, target = dirty_file(world), OpenFile(Inode(2))
    assert run(world, copy_range(world.fs, source, 0, target, 0, PAGE)) == PAGE
    assert both_reads(world, target) == (b"A" * PAGE,) * 2


def large() -> World:
    return World(block_size=65536, page_size=65536, block_count=600, cache_size=1 << 26)


def test_long_copy_is_cut_and_the_caller_goes_on():
    world = large()
    source, target = sparse_file(COPY_LENGTH_MAX + COPY_PIECE), OpenFile(Inode(2))
    request = copy_range(world.fs, source, 0, target, 0, 2 * COPY_LENGTH_MAX)
    assert run(world, request) == COPY_LENGTH_MAX


@pytest.mark.parametrize("name", ["buffered.read.map", "buffered.write.map"])
def test_what_was_copied_before_an_error_counts(name):
    """A short copy, and the error for whoever goes on from there."""
    world = large()
    source, target = sparse_file(2 * COPY_PIECE), OpenFile(Inode(2))
    task = Task(world, copy_range(world.fs, source, 0, target, 0, 2 * COPY_PIECE))
    task.go_past("buffered.write.copy")
    while not task.ended:
        if task.step.name == name:
            task.fail(errno.EIO)
        else:
            task.grant()
    assert task.finish() == COPY_PIECE
    assert target.inode.size == COPY_PIECE


def test_copy_that_fails_at_once_fails(world):
    source, target = file_with(world, b"A" * PAGE), OpenFile(Inode(2))
    request = copy_range(world.fs, source, 0, target, 0, PAGE)
    assert refusal_of(world, request, fail={"buffered.read.fill": errno.EIO}) == errno.EIO


# -- what the kernel writes back of a mapping --------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=geometry_id)
def test_mapped_page_never_extends_the_file(geometry: tuple[int, int]):
    """It was stored before the file was cut, and arrives late: open(2) with O_TRUNC is so."""
    world = World(block_size=geometry[0], page_size=geometry[1])
    file = file_with(world, b"d" * 10_000)
    run(world, truncate(world.fs, file.inode, 5000))
    assert run(world, write_mapped(world.fs, file.inode, 4096, b"m" * 8192)) == 8192
    assert file.inode.size == 5000
    run(world, truncate(world.fs, file.inode, 20_000))
    assert both_reads(world, file)[0] == b"d" * 4096 + b"m" * 904 + bytes(15_000)
    check_world(world, [file.inode])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=geometry_id)
def test_mapped_page_from_before_a_growth_counts_to_the_old_end(geometry: tuple[int, int]):
    """What was written behind it meanwhile stays, and what is in other pages counts."""
    world = World(block_size=geometry[0], page_size=geometry[1])
    file = file_with(world, b"d" * 100)
    file.inode.kernel_page = 4096
    write(world, file, 3000, b"w" * 5192)
    run(world, write_mapped(world.fs, file.inode, 0, b"m" * 8192))
    expected = b"m" * 100 + bytes(2900) + b"w" * 1096 + b"m" * 4096
    assert both_reads(world, file) == (expected, expected)
    file.inode.kernel_tails.clear()
    run(world, write_mapped(world.fs, file.inode, 0, b"n" * 4096))
    assert read(world, file, 0, 8192) == b"n" * 4096 + b"m" * 4096


def test_growth_is_noted_only_where_the_kernel_may_have_the_page_of_the_end(world):
    file = file_with(world, b"d" * 100)
    run(world, truncate(world.fs, file.inode, 200))
    assert file.inode.kernel_tails == {}
    file.inode.kernel_page = 4096
    run(world, truncate(world.fs, file.inode, 4096))
    assert file.inode.kernel_tails == {0: (200, 1)}
    run(world, truncate(world.fs, file.inode, 5000))  # at the end of a page there is no tail
    assert file.inode.kernel_tails == {0: (200, 1)}
    run(world, fallocate(world.fs, file.inode, 0, 0, 6000))
    assert file.inode.kernel_tails == {0: (200, 1), 1: (5000, 2)}
