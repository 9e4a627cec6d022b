"""(W5) What waits to be written back, over the real daemon without a mount: no file is overlooked.

A kernel that is short of memory forgets a file, and looks it up again: it has a new Inode then.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from crash.failing import Daemon

from fusefs.engine.held import MOUNT
from fusefs.model.options import Options
from fusefs.store.volume import make_image

PAGE = 4096


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    make_image(str(path), f"{path}.meta", Options(size=1 << 20))
    return path


async def cut_off(daemon: Daemon, ino: int, fh: int) -> None:
    """A truncate drops the dirty pages."""
    await daemon.write(ino, fh, 0, b"x")
    await daemon.truncate(ino, 0)


async def end_of_disk(daemon: Daemon, ino: int, fh: int) -> None:
    """(W4) A direct write behind the page in which the file ends on the disk writes that back."""
    await daemon.write(ino, fh, 0, b"x" * (PAGE - 1))
    await daemon.fsync(fh)
    await daemon.write(ino, fh, 0, b"y")
    await daemon.write(ino, fh, PAGE, b"z" * PAGE, os.O_DIRECT)


async def let_go(daemon: Daemon, ino: int, fh: int) -> None:
    """Nobody has it open, the kernel forgets it, and what another file asks for commits it."""
    await daemon.close(fh)
    await daemon.forget(ino)
    _, other = await daemon.create(b"other")
    await daemon.fsync(other)
    assert ino not in daemon.volume.nodes.in_memory
    assert ino not in daemon.volume.fs.inodes_dirty, "(W5)"


async def write_again(daemon: Daemon, name: bytes) -> None:
    ino = await daemon.lookup(name)
    await daemon.write(ino, await daemon.open(ino), 0, b"hello")


async def read_by_the_next_mount(image: Path, name: bytes) -> bytes:
    async with Daemon.on(image) as daemon:
        ino = await daemon.lookup(name)
        return await daemon.read(ino, await daemon.open(ino), 0, len(b"hello"))


@pytest.mark.parametrize("cleaned", [cut_off, end_of_disk])
async def test_file_that_was_clean_when_it_left_memory_is_written_back_later(
    image: Path, cleaned: Callable[[Daemon, int, int], Awaitable[None]]
):
    """(W5) What is written after that is there after the next sync, an unmount's among them."""
    async with Daemon.on(image) as daemon:
        ino, fh = await daemon.create(b"name")
        await cleaned(daemon, ino, fh)
        await let_go(daemon, ino, fh)
        await write_again(daemon, b"name")
        await daemon.sync()
    assert await read_by_the_next_mount(image, b"name") == b"hello"


async def test_file_that_left_memory_during_a_sync_is_written_back_by_the_next(image: Path):
    """(W5) The flusher comes to the Inode that was there when it began: that is not this one."""
    async with Daemon.on(image) as daemon, trio.open_nursery() as nursery:
        first, first_fh = await daemon.create(b"first")
        ino, fh = await daemon.create(b"name")
        await daemon.write(first, first_fh, 0, b"x")
        await daemon.write(ino, fh, 0, b"y")
        keeper = daemon.control.keeper
        gate = keeper.hold(["writeback.submit", "op=writeback", "timeout=3600s"], MOUNT)
        nursery.start_soon(daemon.sync)
        await trio.testing.wait_all_tasks_blocked()
        assert gate.holding
        await daemon.fsync(fh)
        await let_go(daemon, ino, fh)
        await write_again(daemon, b"name")
        keeper.release_all()
        await trio.testing.wait_all_tasks_blocked()
        await daemon.sync()
    assert await read_by_the_next_mount(image, b"name") == b"hello"
