"""Direct reads and writes: their order of steps, their errors, and what they may expose."""

import errno

import pytest
from model.driving import (
    GEOMETRIES,
    Task,
    both_reads,
    check_world,
    direct_read,
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

from fusefs.explore.memory import MemoryImage, World
from fusefs.model import file_io
from fusefs.model.buffered import buffered_write
from fusefs.model.dio import DirectWrite, _write_locked, direct_write
from fusefs.model.errors import FsError
from fusefs.model.extents import CHUNK_BLOCKS, State
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.iomap import ALLOCATION_PAGES_MAX
from fusefs.model.options import Invalidate
from fusefs.model.truncate import fallocate, truncate

AFTER, BEFORE = Invalidate.AFTER, Invalidate.BEFORE
BLOCK, PAGE = 1024, 4096
HALF = b"H" * 512

ORDER = {
    AFTER: ["dio.write.submit", "dio.write.convert", "dio.write.invalidate_post"],
    BEFORE: ["dio.write.submit", "dio.write.invalidate_post", "dio.write.convert"],
}


def world_of(order: Invalidate = AFTER) -> World:
    return World(invalidate=order, block_size=BLOCK, page_size=PAGE)


@pytest.fixture
def world() -> World:
    return world_of()


def refusal_of(world: World, coroutine, **steps) -> int:
    with pytest.raises(FsError) as refusal:
        run(world, coroutine, **steps)
    return refusal.value.errno


def garbage(world: World, inode: Inode) -> list[int]:
    """The mapped blocks with a byte that was never written."""
    size = world.fs.geometry.block_size
    return [
        block
        for block in range(-(-inode.size // size))
        if inode.extents.find(block, block + 1).state is State.MAPPED
        and MemoryImage.GARBAGE in world.on_image(inode, block)
    ]


# -- D1 and the order of steps -----------------------------------------------------------


@pytest.mark.parametrize("order", Invalidate, ids=lambda order: order.value)
def test_the_option_decides_what_comes_last(order):
    """(D1) The whole difference between Linux 4.10 and its fix."""
    world = world_of(order)
    file = sparse_file(PAGE)
    names = names_of(world, direct_write(world.fs, file.inode, 0, b"A" * PAGE))
    assert names == ["dio.write.map", *ORDER[order]]


def read_in_between(order: Invalidate, prepare: str) -> tuple[World, OpenFile, bytes, bytes]:
    """A buffered read of block 1 right before the last step of a write of block 0."""
    world = world_of(order)
    file = sparse_file(PAGE) if prepare == "hole" else file_with(world, b"O" * PAGE)
    if prepare == "unwritten":
        run(world, fallocate(world.fs, file.inode, 0x11, 0, PAGE))
    task = Task(world, direct_write(world.fs, file.inode, 0, b"N" * BLOCK))
    task.go_to(ORDER[order][-1] if prepare != "mapped" else "dio.write.invalidate_post")
    read(world, file, BLOCK, BLOCK)
    task.finish()
    return world, file, *both_reads(world, file)


@pytest.mark.parametrize("prepare", ["hole", "unwritten", "mapped"])
def test_after_order_leaves_no_stale_page(prepare):
    """(D1) Guards kernel c771c14baa33 and 5e25c269e17d (xfstests generic/418)."""
    world, file, buffered, direct = read_in_between(AFTER, prepare)
    assert not world.stale_blocks(file.inode)
    assert buffered == direct
    assert buffered[:BLOCK] == b"N" * BLOCK
    assert world.fs.counters.pages_stale_possible == 0


@pytest.mark.parametrize("prepare", ["hole", "unwritten"])
def test_before_order_can_leave_zeros_cached(prepare):
    """(D1) is broken, until the page is dropped: the writer reads zeros back."""
    world, file, buffered, direct = read_in_between(BEFORE, prepare)
    assert world.stale_blocks(file.inode) == [0]
    assert (buffered[:BLOCK], direct[:BLOCK]) == (bytes(BLOCK), b"N" * BLOCK)
    assert world.fs.counters.pages_stale_possible == 1


def test_before_order_spares_overwrites():
    """(D1) Where nothing is converted there is no window."""
    world, file, buffered, direct = read_in_between(BEFORE, "mapped")
    assert not world.stale_blocks(file.inode)
    assert buffered == direct == b"N" * BLOCK + b"O" * 3 * BLOCK


def test_switch_of_the_order_meets_only_later_writes():
    world = world_of(BEFORE)
    file = sparse_file(PAGE)
    task = Task(world, direct_write(world.fs, file.inode, 0, b"A" * BLOCK))
    world.fs.set_options(world.fs.options.changed("invalidate", "after"))
    task.finish()
    assert task.names[-3:] == ORDER[BEFORE]


def test_cached_pages_are_flushed_and_dropped_first(world):
    """A dirty neighbour in the page reaches the image; the page goes."""
    file = file_with(world, b"A" * PAGE)
    write(world, file, 3 * BLOCK, b"B" * BLOCK)
    names = names_of(world, direct_write(world.fs, file.inode, 0, b"C" * BLOCK))
    assert names[0] == "dio.write.flush_dirty"
    assert names.index("writeback.submit") < names.index("dio.write.invalidate_pre")
    assert not file.inode.mapping.pages
    assert both_reads(world, file) == (b"C" * BLOCK + b"A" * 2 * BLOCK + b"B" * BLOCK,) * 2


# -- D2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_write_that_failed_converts_nothing(world, error):
    """(D2) The bytes may not be there: the blocks go on reading as zeros, not as GARBAGE."""
    file = sparse_file(PAGE)
    request = direct_write(world.fs, file.inode, 0, b"A" * PAGE)
    assert refusal_of(world, request, fail={"dio.write.submit": error}) == error
    assert file.inode.extents.find(0, 4).state is State.UNWRITTEN
    assert both_reads(world, file) == (bytes(PAGE),) * 2
    check_world(world, [file.inode])


def test_write_that_failed_halfway_converts_nothing(world):
    """(D2) One conversion covers all mappings, so it comes after the last."""
    file = sparse_file(PAGE)
    run(world, fallocate(world.fs, file.inode, 0, 0, BLOCK))
    run(world, fallocate(world.fs, Inode(2), 0, 0, BLOCK))
    task = Task(world, direct_write(world.fs, file.inode, 0, b"A" * PAGE))
    task.go_past("dio.write.submit").go_to("dio.write.submit").fail(errno.EIO)
    with pytest.raises(FsError):
        task.finish()
    assert both_reads(world, file) == (bytes(PAGE),) * 2


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
def test_one_conversion_follows_all_submits(sizes):
    """(D2) with a write that meets a hole, unwritten and mapped blocks in turn."""
    block, page = sizes
    world = World(block_size=block, page_size=page, block_count=128)
    file = sparse_file(4 * page)
    write(world, file, page, b"O" * page, direct=True)
    run(world, fallocate(world.fs, file.inode, 0, 2 * page, page))
    names = names_of(world, direct_write(world.fs, file.inode, 0, b"A" * 4 * page))
    last_submit = len(names) - 1 - names[::-1].index("dio.write.submit")
    assert names[last_submit + 1 :] == ORDER[AFTER][1:]
    assert names.count("dio.write.convert") == 1
    assert both_reads(world, file) == (b"A" * 4 * page,) * 2


# -- D3 ----------------------------------------------------------------------------------


def test_failed_conversion_still_drops_pages(world):
    """(D3) and the error is told; the size stays."""
    file = sparse_file(PAGE)
    task = Task(world, direct_write(world.fs, file.inode, BLOCK, b"A" * PAGE))
    task.go_to("dio.write.convert")
    read(world, file, 0, PAGE)
    task.fail(errno.EIO)
    with pytest.raises(FsError) as refusal:
        task.finish()
    assert refusal.value.errno == errno.EIO
    assert task.names[-1] == "dio.write.invalidate_post"
    assert not file.inode.mapping.pages
    assert file.inode.size == PAGE
    assert both_reads(world, file) == (bytes(PAGE),) * 2
    check_world(world, [file.inode])


# -- D4 ----------------------------------------------------------------------------------


def two_writers(world: World, inode: Inode) -> tuple[Task, Task]:
    """Of the two halves of block 0; the first stands before its submit."""
    first = Task(world, direct_write(world.fs, inode, 0, b"1" * 512))
    first.go_to("dio.write.submit")
    return first, Task(world, direct_write(world.fs, inode, 512, b"2" * 512))


def test_unaligned_overwrites_go_together(world):
    """(D4) of blocks that are written already, below the end."""
    file = file_with(world, b"A" * PAGE)
    first, second = two_writers(world, file.inode)
    second.finish()
    first.finish()
    assert read(world, file, 0, BLOCK) == b"1" * 512 + b"2" * 512


def test_unaligned_overwrites_after_a_truncate_exclude_each_other(world):
    """(D4) Who waited for the lock may find that the file ends before him: he would zero the rest
    of the block, and with it what the other writes.  -EAGAIN of IOMAP_DIO_OVERWRITE_ONLY.
    """
    file = file_with(world, b"O" * 2 * BLOCK)
    cut = Task(world, truncate(world.fs, file.inode, 300)).go_to("truncate.drop_pages")
    first = Task(world, direct_write(world.fs, file.inode, 512, b"C" * 512))
    second = Task(world, direct_write(world.fs, file.inode, 0, b"A" * 512))
    for writer in (first, second):
        writer.go_to("lock.inode.shared")
    cut.finish()
    second.go_to("dio.write.lock_exclusive")
    first.finish()
    second.finish()
    assert both_reads(world, file) == (b"A" * 512 + b"C" * 512,) * 2


def test_unaligned_writers_of_an_unwritten_block_exclude_each_other(world):
    """(D4) Each pads with zeros what the other writes."""
    file = sparse_file(PAGE)
    first, second = two_writers(world, file.inode)
    assert second.step.name == "lock.inode.shared"
    first.finish()
    second.finish()
    assert both_reads(world, file)[0][:BLOCK] == b"1" * 512 + b"2" * 512


def test_unaligned_writers_that_share_the_lock_lose_bytes(world):
    """(D4) is needed: what kernel commit eda77982729b fixed in XFS."""
    file = sparse_file(PAGE)
    data = (b"1" * 512, b"2" * 512)
    first, second = (
        Task(
            world,
            _write_locked(DirectWrite(world.fs, file.inode, 512 * i, half)),
        ).go_to("dio.write.submit")
        for i, half in enumerate(data)
    )
    second.finish()
    first.finish()
    assert read(world, file, 0, BLOCK) == b"1" * 512 + bytes(512)


@pytest.mark.parametrize(
    ("size", "pos", "exclusive"),
    [
        pytest.param(4 * PAGE, 512, False, id="below the end"),
        pytest.param(PAGE, PAGE - 512, True, id="up to the end"),
        pytest.param(PAGE, PAGE, True, id="at the end"),
    ],
)
def test_unaligned_write_that_meets_the_end_is_exclusive(world, size, pos, exclusive):
    """(D4) It may change what follows the end in its block."""
    file = file_with(world, b"A" * size)
    reader = Task(world, direct_read(world.fs, file.inode, 0, 512)).go_to("dio.read.submit")
    writer = Task(world, direct_write(world.fs, file.inode, pos, HALF))
    assert (writer.step.name == "lock.inode.exclusive") == exclusive
    reader.finish()
    writer.finish()


def test_aligned_writers_and_readers_go_together(world):
    file = file_with(world, b"A" * PAGE)
    tasks = [
        Task(world, direct_write(world.fs, file.inode, 0, b"1" * BLOCK)),
        Task(world, direct_write(world.fs, file.inode, 0, b"2" * BLOCK)),
        Task(world, direct_read(world.fs, file.inode, 0, BLOCK)),
    ]
    assert not any(task.waits for task in tasks)
    for task in tasks:
        task.finish()


def test_file_that_grew_while_the_exclusive_lock_was_waited_for_is_not_zeroed(world):
    """The aligned write was beyond the end when it asked, and is not when it gets the lock."""
    file = sparse_file(100)
    holder = Task(world, buffered_write(world.fs, file.inode, 0, b"H"))
    writer = Task(world, direct_write(world.fs, file.inode, 2 * BLOCK, b"D" * BLOCK))
    assert writer.step.name == "lock.inode.shared"
    holder.finish()
    grower = Task(world, buffered_write(world.fs, file.inode, 0, b"G" * 2500))
    assert grower.waits
    writer.go_to("lock.inode.exclusive")
    grower.finish()
    writer.finish()
    assert both_reads(world, file) == (b"G" * 2 * BLOCK + b"D" * BLOCK,) * 2


@pytest.mark.parametrize(
    ("pos", "data"),
    [
        pytest.param(2 * BLOCK, b"D" * BLOCK, id="beyond the end"),
        pytest.param(0, HALF, id="part of an unwritten block"),
    ],
)
def test_somebody_comes_before_the_exclusive_lock_is_asked_for(world, pos, data):
    """The shared one was let go, and nobody is queued: xfs_file_write_checks()."""
    file = sparse_file(BLOCK)
    run(world, fallocate(world.fs, file.inode, 0, 0, BLOCK))
    writer = Task(world, direct_write(world.fs, file.inode, pos, data))
    writer.go_to("dio.write.lock_exclusive")
    write(world, file, 0, b"G" * PAGE)
    assert file.inode.size == PAGE
    writer.finish()
    expected = bytearray(b"G" * PAGE)
    expected[pos : pos + len(data)] = data
    assert both_reads(world, file) == (bytes(expected),) * 2
    check_world(world, [file.inode])


def test_nobody_comes_between_the_zeroing_and_the_write(world):
    """The exclusive lock is demoted, not given up: a truncation would move the end again."""
    file = file_with(world, b"A" * 100)
    writer = Task(world, direct_write(world.fs, file.inode, 2 * BLOCK, b"D" * BLOCK))
    writer.go_to("zero.fill")
    other = Task(world, truncate(world.fs, file.inode, 50))
    reader = Task(world, direct_read(world.fs, file.inode, 0, BLOCK))
    writer.go_to("dio.write.submit")
    assert other.waits
    assert reader.waits, "it came after the truncation"
    writer.finish()
    other.finish()
    assert bytes(reader.finish()) == b"A" * 50


# -- where the blocks are ----------------------------------------------------------------


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_write_crosses_from_chunk_to_chunk_of_the_map(world, direct):
    """(E1) No run does."""
    file, pos = OpenFile(Inode(1)), (CHUNK_BLOCKS - 2) * BLOCK
    write(world, file, pos, b"A" * PAGE, direct=direct)
    fsync(world, file)
    assert sorted(file.inode.extents.chunks) == [0, 1]
    assert read(world, file, pos, PAGE, direct=True) == b"A" * PAGE
    check_world(world, [file.inode])


def test_file_grows_on_the_image_where_it_ended(world):
    """If there is room: so a file written in pieces is one run."""
    file, other = OpenFile(Inode(1)), OpenFile(Inode(2))
    write(world, file, 0, b"A" * BLOCK, direct=True)
    write(world, other, 0, b"B" * PAGE, direct=True)
    run(world, truncate(world.fs, other.inode, 0))
    world.commit()
    write(world, file, BLOCK, b"A" * BLOCK, direct=True)
    assert file.inode.extents.find(0, 4).count == 2


def test_one_allocation_covers_a_bounded_number_of_pages():
    """As in XFS; a larger write takes several, and one conversion."""
    world = World(block_size=512, page_size=512, block_count=ALLOCATION_PAGES_MAX + 9)
    file = OpenFile(Inode(1))
    data = b"A" * 512 * (ALLOCATION_PAGES_MAX + 1)
    names = names_of(world, direct_write(world.fs, file.inode, 0, data))
    assert names.count("dio.write.submit") == 2
    assert names.count("dio.write.convert") == 1


# -- alignment and the end of the file ---------------------------------------------------


@pytest.mark.parametrize(
    ("pos", "length"),
    [(1, 512), (511, 512), (0, 1), (0, 513), (512, 100)],
    ids=lambda value: str(value),
)
def test_what_is_not_sector_aligned_is_refused(world, pos, length):
    """EINVAL, for reads and writes, before anything is done; blocks are larger than sectors."""
    file = file_with(world, b"A" * PAGE)
    assert refusal_of(world, direct_write(world.fs, file.inode, pos, b"B" * length)) == errno.EINVAL
    assert refusal_of(world, direct_read(world.fs, file.inode, pos, length)) == errno.EINVAL
    assert both_reads(world, file) == (b"A" * PAGE,) * 2


@pytest.mark.parametrize(
    ("pos", "length", "count"),
    [
        pytest.param(0, 4096, 300, id="4096@0"),
        pytest.param(0, 512, 300, id="512@0"),
        pytest.param(512, 4096, 0, id="4096@512"),
        pytest.param(300, 1, 0, id="1@300 unaligned"),
        pytest.param(301, 4096, 0, id="4096@301 unaligned"),
    ],
)
def test_direct_read_ends_with_the_file(world, pos, length, count):
    """Of 300 bytes; at the end there is nothing to read, aligned or not (generic/210, 450)."""
    data = bytes(range(1, 101)) * 3
    assert read(world, file_with(world, data), pos, length, direct=True) == data[pos : pos + count]


def test_direct_read_skips_holes_and_unwritten_blocks(world):
    """They are zeros without I/O; GARBAGE is what their places on the image hold."""
    file = sparse_file(4 * BLOCK)
    write(world, file, BLOCK, b"A" * BLOCK, direct=True)
    run(world, fallocate(world.fs, file.inode, 0, 2 * BLOCK, BLOCK))
    task = Task(world, direct_read(world.fs, file.inode, 0, PAGE))
    assert bytes(task.finish()) == bytes(BLOCK) + b"A" * BLOCK + bytes(2 * BLOCK)
    assert task.names.count("dio.read.submit") == 1


def test_direct_read_flushes_and_keeps_the_pages(world):
    """Since 5.9 a direct read leaves clean pages cached."""
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    task = Task(world, direct_read(world.fs, file.inode, 0, PAGE))
    assert bytes(task.finish()) == b"A" * PAGE
    assert task.names[0] == "dio.read.flush_dirty"
    assert list(file.inode.mapping.pages) == [0]


def test_direct_read_that_cannot_flush_fails(world):
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    request = direct_read(world.fs, file.inode, 0, PAGE)
    assert refusal_of(world, request, fail={"writeback.submit": errno.EIO}) == errno.EIO


# -- parts of blocks ---------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1024, 4096), (4096, 4096), (4096, 65536)], ids=geometry_id)
@pytest.mark.parametrize("start", ["hole", "unwritten"])
@pytest.mark.parametrize("place", [0, 1, -1], ids=["first", "second", "last"])
def test_rest_of_a_new_block_is_zeroed(sizes, start, place):
    """Its conversion covers all of it: what is not padded would show GARBAGE."""
    block, page = sizes
    world = World(block_size=block, page_size=page)
    file = sparse_file(page)
    if start == "unwritten":
        run(world, fallocate(world.fs, file.inode, 0, 0, page))
    pos = place % (block // 512) * 512
    write(world, file, pos, HALF, direct=True)
    expected = bytes(pos) + HALF + bytes(page - pos - 512)
    assert both_reads(world, file) == (expected, expected)
    assert not garbage(world, file.inode)


def test_write_at_the_end_zeroes_the_tail_of_its_block(world):
    """(T2) though the block is written already: kernel commit b450672fb66b."""
    file = file_with(world, b"A" * 512)
    mapping = file.inode.extents.find(0, 1)
    world.image.write_at(mapping.physical * BLOCK + 512, b"\xdb" * 512)
    write(world, file, 0, HALF, direct=True)
    assert world.on_image(file.inode, 0) == HALF + bytes(512)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "buffered"])
def test_write_beyond_the_end_keeps_faults_out_while_it_zeroes(world, direct):
    """xfs_file_write_zero_eof() holds invalidate_lock: as seen on Linux 6.18."""
    file = file_with(world, b"a" * 100)
    run(world, file.inode.mapping.lock.lock_shared())
    task = Task(world, write_of(world, file, 4096, b"b" * 512, direct=direct))
    task.go_to("lock.mapping.exclusive")
    assert task.waits
    file.inode.mapping.lock.unlock_shared()
    assert task.finish() == 512


def test_write_that_is_no_more_beyond_the_end_zeroes_nothing(world):
    """Somebody made the file longer while it waited for the lock: as seen on Linux 6.18."""
    file = file_with(world, b"a" * 100)
    run(world, file.inode.lock.lock_shared())
    task = Task(world, write_of(world, file, 4096, b"b" * 1024, direct=True))
    task.go_to("lock.inode.exclusive")
    file.inode.grow_to(16384)
    run(world, file.inode.mapping.lock.lock_shared())
    file.inode.lock.unlock_shared()
    assert task.finish() == 1024
    assert "lock.mapping.exclusive" not in task.names


def write_of(world, file, pos, data, *, direct):
    return file_io.write(world.fs, file, pos, data, direct=direct, sync=False)


@pytest.mark.parametrize("length", [512, BLOCK], ids=["unaligned", "aligned"])
def test_write_beyond_the_end_zeroes_what_follows_the_old_end(world, length):
    """(T2) whatever a crash left on the image there."""
    file = file_with(world, b"A" * 100)
    mapping = file.inode.extents.find(0, 1)
    world.image.write_at(mapping.physical * BLOCK + 100, b"\xdb" * (BLOCK - 100))
    write(world, file, 2 * BLOCK, b"B" * length, direct=True)
    expected = b"A" * 100 + bytes(2 * BLOCK - 100) + b"B" * length
    assert both_reads(world, file) == (expected, expected)
    check_world(world, [file.inode])


# -- errors ------------------------------------------------------------------------------


def test_write_without_room_fails_and_loses_no_block(world):
    filler = OpenFile(Inode(9))
    free = world.fs.space.available_count
    write(world, filler, 0, b"F" * BLOCK * (free - 1), direct=True)
    file = sparse_file(PAGE)
    request = direct_write(world.fs, file.inode, 0, b"A" * PAGE)
    assert refusal_of(world, request) == errno.ENOSPC
    assert both_reads(world, file) == (bytes(PAGE),) * 2
    check_world(world, [filler.inode, file.inode])


def test_commit_that_has_the_conversion_has_the_size(world):
    """(D7) One transaction, xfs_iomap_write_unwritten(): else a crash leaves written blocks behind
    the end, and a truncate would show them.
    """
    file = sparse_file(0)
    Task(world, direct_write(world.fs, file.inode, 0, b"D" * PAGE)).go_to("dio.write.isize")
    assert file.inode.extents.find(0, 1).state is State.MAPPED
    assert (file.inode.size, file.inode.disk_size) == (0, PAGE)


def test_bytes_of_a_failed_write_beyond_the_end_are_never_shown(world):
    """(T2) is broken until the file grows: the end's block was written, the next has no room."""
    file = file_with(world, b"A" * 100)
    filler = OpenFile(Inode(9))
    write(world, filler, 0, b"F" * BLOCK * world.fs.space.available_count, direct=True)
    assert refusal_of(world, direct_write(world.fs, file.inode, 0, b"B" * PAGE)) == errno.ENOSPC
    assert world.on_image(file.inode, 0) == b"B" * BLOCK
    assert file.inode.size == 100
    run(world, truncate(world.fs, file.inode, PAGE))
    assert both_reads(world, file) == (b"B" * 100 + bytes(PAGE - 100),) * 2


def test_write_waits_for_the_commit_that_gives_room(world):
    """(S2) Freed blocks are handed out after it, and not before."""
    filler = OpenFile(Inode(9))
    write(world, filler, 0, b"F" * BLOCK * world.fs.space.available_count, direct=True)
    run(world, truncate(world.fs, filler.inode, 0))
    file = sparse_file(PAGE)
    task = Task(world, direct_write(world.fs, file.inode, 0, b"A" * PAGE))
    task.finish()
    assert "space.commit" in task.names
    check_world(world, [filler.inode, file.inode])


def test_promised_room_is_not_taken_by_a_direct_write(world):
    """(S1) The buffered data must find its blocks when it is written back."""
    buffered, file = OpenFile(Inode(1)), sparse_file(PAGE, ino=2)
    write(world, buffered, 0, b"B" * BLOCK * world.fs.space.available_count)
    request = direct_write(world.fs, file.inode, 0, b"A" * BLOCK)
    assert refusal_of(world, request) == errno.ENOSPC
    fsync(world, buffered)
    check_world(world, [buffered.inode, file.inode])


def test_write_whose_flush_fails_goes_through_the_cache_and_fsync_tells(world):
    """-ENOTBLK: kernel commit 8ee93b4bb626.  The dirty neighbours are lost, and that is told."""
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    steps = {"fail": {"writeback.submit": errno.EIO}}
    assert write(world, file, 0, b"B" * BLOCK, direct=True, **steps) == BLOCK
    assert file.inode.mapping.pages[0].blocks_dirty == 0b0001
    assert refusal_of(world, file_io.fsync(world.fs, file)) == errno.EIO
    fsync(world, file)


# -- pages that cannot be dropped --------------------------------------------------------


def storing(world: World, file: OpenFile, pos: int):
    """A store to mapped memory, for a step's before: the one writer that takes no IOLOCK."""
    return lambda: run(world, mmap_store(world.fs, file.inode, pos, b"M" * BLOCK))


def test_page_dirty_at_the_first_drop_makes_the_write_buffered(world):
    """-ENOTBLK: kernel commit 60263d5889e6.  Nobody's bytes are lost."""
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    store = storing(world, file, BLOCK)
    written = write(
        world, file, 0, b"D" * BLOCK, direct=True, before={"dio.write.invalidate_pre": store}
    )
    assert written == BLOCK
    assert file.inode.mapping.pages[0].blocks_dirty == 0b0011
    assert world.fs.counters.invalidations_busy == 1
    assert both_reads(world, file) == (b"D" * BLOCK + b"M" * BLOCK + b"A" * 2 * BLOCK,) * 2


def test_page_dirty_at_the_last_drop_fails_the_next_fsync_of_each_open_file(world):
    """The write succeeds, the page stays, and nobody may believe it: dio_warn_stale_pagecache().

    Kernel commit 5a9d929d6e13.
    """
    file = file_with(world, b"A" * PAGE)
    other = OpenFile(file.inode)
    store = storing(world, file, BLOCK)
    steps = {"dio.write.invalidate_post": store}
    assert write(world, file, 0, b"D" * BLOCK, direct=True, before=steps) == BLOCK
    for opened in (file, other):
        with pytest.raises(FsError) as refusal:
            fsync(world, opened)
        assert refusal.value.errno == errno.EIO
        fsync(world, opened)
    assert world.fs.counters.invalidations_busy == 1


def test_drop_that_works_fails_no_fsync(world):
    """The same write, with nobody in between."""
    file = file_with(world, b"A" * PAGE)
    write(world, file, 0, b"D" * BLOCK, direct=True)
    fsync(world, file)


def test_delayed_block_between_flush_and_map_fails_a_read(world):
    """A store to a hole came in between; there is no block to read from: EIO."""
    file = sparse_file(PAGE)
    steps = {"dio.read.map": storing(world, file, 0)}
    request = direct_read(world.fs, file.inode, 0, BLOCK)
    assert refusal_of(world, request, before=steps) == errno.EIO
    assert read(world, file, 0, BLOCK) == b"M" * BLOCK


def test_delayed_block_between_flush_and_map_is_given_a_place_by_a_write(world):
    """imap_needs_alloc(): only a read meets the EIO of iomap.  The page stays, and fsync tells."""
    file = sparse_file(PAGE)
    steps = {"dio.write.map": storing(world, file, 0)}
    assert write(world, file, 0, b"D" * BLOCK, direct=True, before=steps) == BLOCK
    assert world.on_image(file.inode, 0) == b"D" * BLOCK
    assert file.inode.extents.blocks_delalloc == 0
    assert refusal_of(world, file_io.fsync(world.fs, file)) == errno.EIO
    fsync(world, file)
    check_world(world, [file.inode])
