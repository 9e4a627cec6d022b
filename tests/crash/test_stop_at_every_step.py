"""What is on the disk if we stop here, for every step of a few workloads."""

from collections.abc import Callable

import pytest

from fusefs.explore.crash import CrashWorld, crash_states
from fusefs.explore.memory import MemoryImage
from fusefs.model.file_io import fsync, write
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.options import Invalidate
from fusefs.model.truncate import fallocate, truncate

BLOCK = 512
GARBAGE = bytes([MemoryImage.GARBAGE])


class Workload:
    """A file, what was written to each of its blocks, and what was promised so far."""

    def __init__(self, *, direct: bool, order: Invalidate = Invalidate.AFTER) -> None:
        self.inode = Inode(1)
        self.world = CrashWorld([self.inode], invalidate=order, page_size=1024)
        self.file = OpenFile(self.inode)
        self.direct = direct
        self.given: dict[int, set[bytes]] = {}
        self.promised: dict[int, bytes] = {}

    async def write_block(self, block: int, value: int) -> None:
        data = bytes([value]) * BLOCK
        self.given.setdefault(block, {bytes(BLOCK)}).add(data)
        self.promised.pop(block, None)
        await write(self.world.fs, self.file, block * BLOCK, data, direct=self.direct, sync=False)

    async def sync(self, **promises: int) -> None:
        await fsync(self.world.fs, self.file)
        for name, value in promises.items():
            self.promised[int(name.removeprefix("b"))] = bytes([value]) * BLOCK

    def check(self, content: bytes, step: str) -> None:
        for start in range(0, len(content), BLOCK):
            block, found = start // BLOCK, content[start : start + BLOCK]
            allowed = {value[: len(found)] for value in self.given.get(block, {bytes(BLOCK)})}
            assert found in allowed, f"(C2, C3) before {step}: block {block} has {found[:4]!r}"
        for block, value in self.promised.items():
            found = content[block * BLOCK : (block + 1) * BLOCK]
            assert found == value, f"(C1) before {step}: block {block} has {found[:4]!r}"


async def write_and_sync(load: Workload) -> None:
    await load.write_block(0, 1)
    await load.write_block(3, 2)
    await load.sync(b0=1, b3=2)
    await load.write_block(0, 3)
    await load.write_block(1, 4)
    await load.sync(b0=3, b1=4, b3=2)


async def shorten_and_grow(load: Workload) -> None:
    for block in range(4):
        await load.write_block(block, 5 + block)
    await load.sync(b0=5, b3=8)
    load.promised.clear()
    await truncate(load.world.fs, load.inode, BLOCK)
    await truncate(load.world.fs, load.inode, 4 * BLOCK)
    await load.write_block(2, 9)
    await load.sync(b0=5, b2=9)


async def punch_and_write_elsewhere(load: Workload) -> None:
    for block in range(4):
        await load.write_block(block, 5 + block)
    await load.sync(b0=5)
    await fallocate(load.world.fs, load.inode, 0x03, BLOCK, 2 * BLOCK)
    for block in range(4, 8):
        await load.write_block(block, 20 + block)
    await load.sync(b0=5, b7=27)
    for block in range(8, 12):  # may use the punched blocks: their free is committed
        await load.write_block(block, 20 + block)
    await load.sync(b0=5, b11=31)


WORKLOADS = [write_and_sync, shorten_and_grow, punch_and_write_elsewhere]


def crash_everywhere(workload: Callable, *, direct: bool, order: Invalidate) -> int:
    load = Workload(direct=direct, order=order)
    count = 0
    for state in crash_states(load.world, lambda: workload(load)):
        load.check(state.read(1), state.step)
        count += 1
    return count


@pytest.mark.parametrize("order", list(Invalidate), ids=lambda order: order.value)
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "buffered"])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
def test_a_crash_leaves_what_was_synced_and_nobodys_old_bytes(
    workload: Callable, direct: bool, order: Invalidate
):
    """(C1, C2, C3) At every step, with every subset of the unflushed writes.

    The order under study changes what the cache holds, never what the disk does.
    """
    assert crash_everywhere(workload, direct=direct, order=order) > 20


def test_crash_before_convert_reads_zeros_not_old_bytes():
    """(C2) Submitted but not converted: the bytes may be there, and must not be seen."""
    load = Workload(direct=True)
    seen = {
        state.read(1)
        for state in crash_states(load.world, lambda: load.write_block(0, 1))
        if state.step == "dio.write.convert"
    }
    assert seen == {b""}


async def reuse_punched_blocks(load: Workload, *, hasty: bool) -> None:
    """For an image of four data blocks: the second pair must take the first pair's place.

    hasty hands blocks out again at once, without waiting for the commit that frees them.
    """
    for block in range(4):
        await load.write_block(block, 5 + block)
    await load.sync(b0=5, b1=6)
    load.promised.clear()
    await fallocate(load.world.fs, load.inode, 0x03, 0, 2 * BLOCK)
    if hasty:
        load.world.fs.space.begin_commit()
        load.world.fs.space.end_commit()
    await load.write_block(4, 24)
    await load.write_block(5, 25)
    await load.sync(b4=24, b5=25)


def steps_checked(*, hasty: bool) -> list[str]:
    load = Workload(direct=True)
    load.world = CrashWorld([load.inode], page_size=1024, block_count=5)
    steps = []
    for state in crash_states(load.world, lambda: reuse_punched_blocks(load, hasty=hasty)):
        load.check(state.read(1), state.step)
        steps.append(state.step)
    return steps


def test_a_freed_block_is_used_again_only_after_the_commit_that_freed_it():
    """(S2) With no other block left, the write commits first, and then gets it."""
    assert "space.commit" in steps_checked(hasty=False)


def test_using_a_freed_block_at_once_is_found():
    """(S2) The same check, without waiting for the commit: a file shows another's bytes."""
    with pytest.raises(AssertionError, match="C2, C3"):
        steps_checked(hasty=True)
