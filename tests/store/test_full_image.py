"""A full image, over the real daemon without a mount: room, and who waits for it."""

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from crash.failing import Daemon

from fusefs.model.options import Options
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.volume import make_image

BLOCK = 4096
BLOCKS = 255
"""Data blocks of an image of 1 MiB."""

WRITES = {"buffered": 0, "direct": os.O_DIRECT}


@asynccontextmanager
async def daemon_on(tmp_path: Path) -> AsyncIterator[Daemon]:
    image = tmp_path / "image"
    make_image(str(image), f"{image}.meta", Options(size=1 << 20, block_size=BLOCK))
    async with Daemon.on(image) as daemon:
        yield daemon


async def available(daemon: Daemon) -> int:
    _, _, free, *_ = await daemon.ask_here(daemon.names.statfs, ROOT_INO)
    return free


async def fill(daemon: Daemon, ino: int, fh: int, flags: int = 0) -> int:
    """Write until nothing fits; returns how many blocks did."""
    for block in range(BLOCKS + 1):
        try:
            await daemon.write(ino, fh, block * BLOCK, b"f" * BLOCK, flags)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return block
    raise AssertionError("an image that never gets full")


async def remove(daemon: Daemon, name: bytes, ino: int, fh: int) -> None:
    """Unlink and close, as far as the kernel has come when a program goes on."""
    await daemon.unlink(name)
    await daemon.close(fh)


@pytest.mark.parametrize("flags", WRITES.values(), ids=WRITES)
async def test_free_space_is_what_can_be_written(tmp_path: Path, flags: int):
    """statfs before, while full, and after a delete that nobody has forgotten or committed."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"full")
        assert await available(daemon) == BLOCKS
        assert await fill(daemon, ino, fh, flags) == BLOCKS
        assert await available(daemon) == 0
        await remove(daemon, b"full", ino, fh)
        assert await available(daemon) == BLOCKS
        await daemon.forget(ino)
        assert await available(daemon) == BLOCKS
        ino, fh = await daemon.create(b"again")
        assert await fill(daemon, ino, fh, flags) == BLOCKS


async def test_accepted_buffered_write_can_always_be_written_back(tmp_path: Path):
    """Direct writers take nothing of what was promised."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"buffered")
        for block in range(0, 200, 2):
            await daemon.write(ino, fh, block * BLOCK, b"b" * BLOCK)
        other, other_fh = await daemon.create(b"direct")
        assert await fill(daemon, other, other_fh, os.O_DIRECT) == BLOCKS - 100
        await daemon.fsync(fh)
        assert (await daemon.read(ino, fh, 198 * BLOCK, BLOCK, os.O_DIRECT)) == b"b" * BLOCK


@pytest.mark.parametrize("flags", WRITES.values(), ids=WRITES)
async def test_write_waits_until_the_kernel_has_forgotten_what_was_unlinked(
    tmp_path: Path, flags: int
):
    """The FORGET comes behind the write, which needs the blocks: no ENOSPC."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"old")
        await fill(daemon, ino, fh)
        await daemon.fsync(fh)
        new, new_fh = await daemon.create(b"new")
        await remove(daemon, b"old", ino, fh)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.write, new, new_fh, 0, b"n" * BLOCK, flags)
            await trio.testing.wait_all_tasks_blocked()
            assert daemon.driver.tasks_running == 1
            await daemon.forget(ino)
        assert (await daemon.read(new, new_fh, 0, BLOCK)) == b"n" * BLOCK


async def test_without_that_wait_there_is_no_room(tmp_path: Path):
    """What the test above would find."""
    async with daemon_on(tmp_path) as daemon:
        daemon.driver._before_space = trio.lowlevel.checkpoint
        ino, fh = await daemon.create(b"old")
        await fill(daemon, ino, fh)
        new, new_fh = await daemon.create(b"new")
        await remove(daemon, b"old", ino, fh)
        with pytest.raises(OSError, match="No space"):
            await daemon.write(new, new_fh, 0, b"n" * BLOCK)


async def test_write_does_not_wait_for_ever_nor_twice(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
):
    """An O_PATH descriptor keeps the kernel from forgetting: then there is no room."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"old")
        await fill(daemon, ino, fh)
        await remove(daemon, b"old", ino, fh)
        new, new_fh = await daemon.create(b"new")
        with pytest.raises(OSError, match="No space"):
            await daemon.write(new, new_fh, 0, b"n" * BLOCK)
        waited_until = trio.current_time()
        assert await available(daemon) == 0
        with pytest.raises(OSError, match="No space"):
            await daemon.write(new, new_fh, 0, b"n" * BLOCK)
        assert trio.current_time() == waited_until
        await daemon.forget(ino)
        assert await daemon.write(new, new_fh, 0, b"n" * BLOCK) == BLOCK


async def test_open_file_without_a_name_keeps_its_blocks(tmp_path: Path):
    """Nobody waits for what may stay open for days."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"old")
        await fill(daemon, ino, fh)
        await daemon.unlink(b"old")
        assert await available(daemon) == 0
        new, new_fh = await daemon.create(b"new")
        with pytest.raises(OSError, match="No space"):
            await daemon.write(new, new_fh, 0, b"n" * BLOCK)
        assert (await daemon.read(ino, fh, 254 * BLOCK, BLOCK)) == b"f" * BLOCK
