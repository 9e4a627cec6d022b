"""Asynchronous direct writes: what goes on after the caller is back, and who must wait for it."""

import errno
from collections.abc import Callable

import pytest
from model.driving import (
    Coro,
    Task,
    both_reads,
    check_world,
    file_with,
    read,
    run,
    sparse_file,
    write,
)

from fusefs.explore.memory import World
from fusefs.explore.schedule import search
from fusefs.model.buffered import buffered_read, buffered_write
from fusefs.model.dio import direct_write
from fusefs.model.dio_complete import Completion
from fusefs.model.errors import FsError
from fusefs.model.file_io import submit
from fusefs.model.inode import Append, Inode, OpenFile
from fusefs.model.truncate import fallocate, truncate

BLOCK, PAGE = 1024, 4096
DATA = b"D" * BLOCK

SUBMITTED = ["dio.write.map", "dio.write.submit"]
ENDED = ["dio.write.convert", "dio.write.invalidate_post"]


@pytest.fixture
def world() -> World:
    return World(block_size=BLOCK, page_size=PAGE)


def submitted(
    world: World, file: OpenFile, pos: int, data: bytes, *, sync: bool = False
) -> tuple[Completion, list[str]]:
    """What io_submit(2) gives, and its steps."""
    task = Task(world, submit(world.fs, file, pos, data, sync=sync))
    completion = task.finish()
    assert isinstance(completion, Completion)
    return completion, task.names


def rest(world: World, **steps) -> Task:
    """The end of the one write that is under way."""
    coroutine = world.fs.work.pop()
    assert not world.fs.work
    return Task(world, coroutine, **steps)


def test_steps_are_those_of_a_synchronous_write_in_two_parts(world):
    file = sparse_file(PAGE)
    _, names = submitted(world, file, 0, DATA)
    end = rest(world)
    end.finish()
    assert (names, end.names) == (SUBMITTED, ENDED)
    again = Task(world, direct_write(world.fs, sparse_file(PAGE, ino=2).inode, 0, DATA))
    again.finish()
    assert again.names == SUBMITTED + ENDED


def test_the_lock_is_let_go_once_all_is_submitted(world):
    """(D6) A buffered writer, who wants it exclusive, comes in between; the end counts so long."""
    file = sparse_file(PAGE)
    completion, _ = submitted(world, file, 0, DATA)
    end = rest(world).go_to("dio.write.convert")
    run(world, buffered_write(world.fs, file.inode, PAGE // 2, b"B"))
    assert (file.inode.dio_count, completion.told) == (1, False)
    end.finish()
    assert (file.inode.dio_count, completion.told) == (0, True)
    assert run(world, completion.reap()) == BLOCK


def test_page_filled_meanwhile_is_dropped_at_the_end(world):
    """(D1) Guards kernel 332391a9935d (xfstests generic/451)."""
    file = sparse_file(PAGE)
    submitted(world, file, 0, DATA)
    assert read(world, file, BLOCK, BLOCK) == bytes(BLOCK)
    rest(world).finish()
    assert both_reads(world, file) == (DATA + bytes(PAGE - BLOCK),) * 2
    check_world(world, [file.inode])


def test_reap_waits_until_it_is_told(world):
    file = sparse_file(PAGE)
    completion, _ = submitted(world, file, 0, DATA)
    end = rest(world)
    reapers = [Task(world, completion.reap()) for _ in range(2)]
    assert [reaper.step.name for reaper in reapers] == ["dio.write.reap"] * 2
    assert all(reaper.waits for reaper in reapers)
    end.finish()
    assert [reaper.finish() for reaper in reapers] == [BLOCK, BLOCK]


def test_dsync_is_told_after_the_commit(world):
    file = sparse_file(PAGE)
    completion, names = submitted(world, file, 0, DATA, sync=True)
    assert names == SUBMITTED
    end = rest(world).go_to("fsync.commit")
    assert not completion.told
    end.finish()
    assert (completion.told, world.commit_count) == (True, 1)


@pytest.mark.parametrize("sync", [False, True], ids=["", "dsync"])
def test_failed_commit_or_conversion_is_told_by_reap(world, sync: bool):
    """(D6) And it counts no more."""
    file = sparse_file(PAGE)
    completion, _ = submitted(world, file, 0, DATA, sync=sync)
    rest(world, fail={"fsync.commit" if sync else "dio.write.convert": errno.EIO}).finish()
    assert (file.inode.dio_count, completion.told) == (0, True)
    with pytest.raises(FsError, match="EIO"):
        run(world, completion.reap())


@pytest.mark.parametrize(
    ("pos", "length", "step", "error"),
    [
        pytest.param(0, BLOCK, "dio.write.submit", errno.EIO, id="image"),
        pytest.param(0, BLOCK, "dio.write.map", errno.ENOSPC, id="room"),
        pytest.param(1, BLOCK, "", errno.EINVAL, id="alignment"),
        pytest.param((1 << 63) - 1024, 2048, "", errno.EFBIG, id="size"),
    ],
)
def test_failed_submission_is_told_by_reap_and_leaves_nothing_under_way(
    world, pos: int, length: int, step: str, error: int
):
    """(D6) As io_submit(2), which takes the request, and has an event tell of it."""
    file = sparse_file(PAGE)
    coroutine = submit(world.fs, file, pos, bytes(length), sync=False)
    completion = run(world, coroutine, fail={step: error})
    assert (file.inode.dio_count, world.fs.work) == (0, [])
    with pytest.raises(FsError) as refusal:
        run(world, completion.reap())
    assert refusal.value.errno == error
    run(world, truncate(world.fs, file.inode, 0))


# -- who waits for it --------------------------------------------------------------------

WAIT: dict[str, Callable[[World, Inode], Coro]] = {
    "truncate": lambda world, inode: truncate(world.fs, inode, 0),
    "longer": lambda world, inode: truncate(world.fs, inode, 2 * PAGE),
    "allocate": lambda world, inode: fallocate(world.fs, inode, 0, 0, PAGE),
    "punch": lambda world, inode: fallocate(world.fs, inode, 0x03, 0, BLOCK),
    "unaligned": lambda world, inode: direct_write(world.fs, inode, 512, b"U" * 512),
    "beyond": lambda world, inode: direct_write(world.fs, inode, 2 * PAGE, DATA),
    "store beyond": lambda world, inode: buffered_write(world.fs, inode, 2 * PAGE, DATA),
}

WAIT_NOT: dict[str, Callable[[World, Inode], Coro]] = {
    "write": lambda world, inode: direct_write(world.fs, inode, BLOCK, DATA),
    "append": lambda world, inode: direct_write(world.fs, inode, PAGE, DATA),
    "store": lambda world, inode: buffered_write(world.fs, inode, BLOCK, DATA),
    "instead of direct": lambda world, inode: buffered_write(
        world.fs, inode, BLOCK, DATA, instead_of_direct=True
    ),
    "read": lambda world, inode: buffered_read(world.fs, OpenFile(inode), 0, BLOCK),
}


@pytest.mark.parametrize("name", WAIT)
def test_waits_for_direct_io_under_way(world, name: str):
    """(D6) What changes the shape of the file, or what such a write still converts.

    Guards kernel 249bd9087a52 (xfstests generic/586) and eda77982729b (generic/240).
    """
    file = sparse_file(PAGE)
    submitted(world, file, 0, DATA)
    end = rest(world)
    waiting = Task(world, WAIT[name](world, file.inode)).go_to("lock.dio")
    assert waiting.waits
    end.finish()
    assert not waiting.waits
    waiting.finish()
    check_world(world, [file.inode])


@pytest.mark.parametrize("name", WAIT_NOT)
def test_does_not_wait_for_direct_io_under_way(world, name: str):
    file = sparse_file(PAGE)
    submitted(world, file, 0, DATA)
    end = rest(world)
    run(world, WAIT_NOT[name](world, file.inode))
    end.finish()


def test_all_writes_under_way_are_waited_for(world):
    """(D6) Two of them, which end in either order."""
    file = sparse_file(PAGE)
    submitted(world, file, 0, DATA)
    first = rest(world)
    submitted(world, file, BLOCK, DATA)
    second = rest(world)
    waiting = Task(world, truncate(world.fs, file.inode, 0)).go_to("lock.dio")
    second.finish()
    assert waiting.waits
    first.finish()
    waiting.finish()


def test_write_that_would_zero_a_block_is_waited_for(world):
    """(D4) IOMAP_DIO_FORCE_WAIT: no other may begin until the block is converted."""
    file = sparse_file(PAGE)
    completion, names = submitted(world, file, 512, b"U" * 512)
    assert completion.told
    assert names[-2:] == ENDED
    assert (file.inode.dio_count, world.fs.work) == (0, [])


def test_part_of_a_written_block_is_not_waited_for(world):
    """(D4) Nothing is zeroed, so it is as any other overwrite."""
    file = file_with(world, b"O" * PAGE)
    completion, _ = submitted(world, file, 512, b"U" * 512)
    assert not completion.told
    rest(world).finish()
    assert read(world, file, 0, BLOCK) == b"O" * 512 + b"U" * 512


def test_write_that_would_zero_a_block_was_not_waited_for_in_the_past():
    """Before kernel commit 2032a8a27b5c (5.1)."""
    world = World(block_size=BLOCK, page_size=PAGE, order=["unaligned_unwaited"])
    file = sparse_file(PAGE)
    completion, _ = submitted(world, file, 512, b"U" * 512)
    assert not completion.told
    rest(world).finish()
    assert read(world, file, 0, BLOCK) == bytes(512) + b"U" * 512


@pytest.mark.parametrize("name", ["holes_by_cache", "fallback_undrained"])
def test_fallback_over_a_hole_waits_for_direct_io_under_way(name: str):
    """ext4 15cdefd0c052, ext2 1e2ef9f221e1.  XFS falls back for other reasons, and never waits."""
    world = World(block_size=BLOCK, page_size=PAGE, order=[name])
    file = file_with(world, b"O" * BLOCK)
    submitted(world, file, 0, DATA)
    end = rest(world)
    waiting = Task(world, buffered_write(world.fs, file.inode, 0, DATA, instead_of_direct=True))
    drains = name == "holes_by_cache"
    waiting.go_to("lock.dio" if drains else "buffered.write.copy")
    for task in (end, waiting) if drains else (waiting, end):
        task.finish()


def test_append_is_waited_for(world):
    """Where it begins must be known to the next one."""
    file = file_with(world, b"O" * BLOCK)
    append = Append()
    completion = run(world, submit(world.fs, file, 0, DATA, sync=False, append=append))
    assert (completion.told, append.pos) == (True, BLOCK)
    assert read(world, file, 0, PAGE) == b"O" * BLOCK + DATA


def test_write_of_nothing_changes_nothing(world):
    file = sparse_file(PAGE)
    write(world, file, 0, b"", direct=True)
    assert file.inode.dio_count == 0


# -- under every order of steps ----------------------------------------------------------


class BesideAsynchronousWrite:
    """A writes block 0 of an empty file asynchronously, beyond its end; B does something."""

    def __init__(self, other: Callable[[World, Inode], Coro]) -> None:
        self.world = World()
        self.inode = Inode(1)
        self.other = other
        self.watches_lru = False

    @property
    def spawned(self) -> list[Coro]:
        return self.world.fs.work

    def tasks(self) -> list[Coro]:
        writes = submit(self.world.fs, OpenFile(self.inode), 0, b"\x01" * 512, sync=False)
        return [writes, self.other(self.world, self.inode)]

    def check(self) -> str | None:
        self.world.check_space([self.inode])
        if self.world.stale_blocks(self.inode):
            return "(D1) a stale block"
        assert self.inode.dio_count == 0
        if self.inode.size and self.world.on_image(self.inode, 0) != b"\x01" * 512:
            return "the file is longer, without its data"
        return None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda w, inode: truncate(w.fs, inode, 0), id="truncate"),
        pytest.param(lambda w, inode: fallocate(w.fs, inode, 0x01, 0, 512), id="allocate"),
        pytest.param(lambda w, inode: buffered_read(w.fs, OpenFile(inode), 0, 512), id="read"),
    ],
)
def test_no_order_of_steps_loses_an_asynchronous_write(other: Callable[[World, Inode], Coro]):
    """(D1) (D6) A truncate comes before the write or after it, never into it."""
    found = search(lambda: BesideAsynchronousWrite(other))
    assert found.complete
    assert found.failure_count == 0, str(found.first_failure)
