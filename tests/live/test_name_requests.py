"""Requests for names over the real daemon without a mount: references, sizes, what is put off."""

import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from crash.failing import Daemon
from trio.testing import wait_all_tasks_blocked

from fusefs.engine.held import MOUNT
from fusefs.live.kernel_pages import PAGE_SIZE
from fusefs.live.requests.atime import Atime
from fusefs.model.options import Options
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.volume import make_image


@asynccontextmanager
async def daemon_on(tmp_path: Path) -> AsyncIterator[Daemon]:
    image = tmp_path / "image"
    if not image.exists():
        make_image(str(image), f"{image}.meta", Options(size=1 << 20))
    async with Daemon.on(image) as daemon:
        yield daemon


async def made(daemon: Daemon, *names: bytes) -> list[int]:
    """New files that nobody refers to; their numbers."""
    inos = []
    for name in names:
        ino, fh = await daemon.create(name)
        await daemon.close(fh)
        await daemon.forget(ino)
        inos.append(ino)
    return inos


def lookups(daemon: Daemon) -> dict[int, int]:
    """What the kernel is thought to refer to, besides the root."""
    nodes = daemon.volume.nodes.in_memory
    return {ino: node.lookups for ino, node in nodes.items() if node.lookups and ino != ROOT_INO}


@pytest.mark.parametrize("room", range(1, 8))
async def test_listing_refers_to_what_it_shows_and_to_nothing_else(tmp_path: Path, room: int):
    """Each name shown is a reference, also of files with two names; '.' and '..' are none."""
    async with daemon_on(tmp_path) as daemon:
        a, b = await made(daemon, b"a", b"b")
        await daemon.ask_here(daemon.names.link, a, ROOT_INO, b"c")
        await daemon.forget(a)
        assert lookups(daemon) == {}
        cookie, counts, names = 0, {a: 0, b: 0}, []
        while entries := await daemon.list(cookie, room):
            for name, shown, _ in entries:
                names.append(name)
                if shown.ino != ROOT_INO:
                    counts[shown.ino] += 1
            cookie = entries[-1][2]
            expected = {ino: count for ino, count in counts.items() if count}
            assert lookups(daemon) == expected
        assert names == [b".", b"..", b"a", b"b", b"c"]
        assert counts == {a: 2, b: 1}
        await daemon.forget(a)
        await daemon.forget(b)
        assert lookups(daemon) == {}


async def test_listing_that_fails_leaves_no_reference(tmp_path: Path):
    """The kernel knows of none of the entries that came before the error."""
    async with daemon_on(tmp_path) as daemon:
        *_, last = await made(daemon, *(b"%d" % number for number in range(10)))
        await daemon.sync()  # so that nothing of them is in memory
        daemon.volume.metadata.change("UPDATE inode SET uid = -5 WHERE ino = ?", last)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            await daemon.list(0, 100)
        assert lookups(daemon) == {}


async def test_truncate_at_open_answers_what_it_fails_with(tmp_path: Path):
    """O_TRUNC's truncate runs by itself: its error is the open's, and nothing is open then."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"file")
        await daemon.write(ino, fh, 0, b"x" * 5000)
        await daemon.fsync(fh)
        await daemon.close(fh)
        opened = await daemon.open(ino, os.O_WRONLY | os.O_TRUNC)
        assert daemon.volume.nodes.get(ino).size == 0
        await daemon.close(opened)
        await daemon.ask_here(daemon.names.setattr, ino, None, None, None, 5000, None, None, False)
        daemon.volume.health.fail("the disk is gone")
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            await daemon.open(ino, os.O_WRONLY | os.O_TRUNC)
        assert daemon.volume.nodes.get(ino).opens == 0


async def test_attributes_that_are_none_stay(tmp_path: Path):
    async with daemon_on(tmp_path) as daemon:
        ino, _ = await daemon.create(b"file")
        before = await daemon.ask_here(daemon.names.getattr, ino)
        none = None, None, None, None, None, None
        after = await daemon.ask_here(daemon.names.setattr, ino, *none, False)
        for name in ("ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blocks_512"):
            assert getattr(after, name) == getattr(before, name), name
        assert (after.atime_ns, after.mtime_ns) == (before.atime_ns, before.mtime_ns)
        mode = stat.S_IFREG | 0o400
        changed = await daemon.ask_here(
            daemon.names.setattr, ino, mode, 5, 6, 7, -(10**18), 1 << 70, False
        )
        assert changed.mode == mode
        assert (changed.uid, changed.gid, changed.size) == (5, 6, 7)
        assert (changed.atime_ns, changed.mtime_ns) == (-(10**18), (1 << 63) - 1)


async def test_time_that_is_set_after_the_last_close_has_nothing_to_wait_for(tmp_path: Path):
    """A gate holds it meanwhile: what was stored through mappings was written back by the close."""
    async with daemon_on(tmp_path) as daemon, trio.open_nursery() as nursery:
        ino, fh = await daemon.create(b"mapped")
        await daemon.write(ino, fh, 0, b"x")
        daemon.files.kernel_pages.filled(daemon.files.handles[fh].file.inode, 0, PAGE_SIZE)
        keeper = daemon.control.keeper
        gate = keeper.hold(["begin", "op=utimens", "timeout=3600s"], MOUNT)
        times = ino, None, None, None, None, None, 5, False
        nursery.start_soon(daemon.ask_here, daemon.names.setattr, *times)
        await wait_all_tasks_blocked()
        assert gate.holding
        await daemon.close(fh)
        keeper.release_all()
    assert daemon.volume.nodes.in_memory[ino].mtime_ns == 5


async def test_kernel_keeps_a_listing_unless_reading_it_moves_atime(tmp_path: Path):
    """Nobody sees who reads a listing that is kept, so relatime decides when it is opened."""
    async with daemon_on(tmp_path) as daemon:
        daemon.directories.atime = Atime(daemon.volume.nodes, [])
        kept = []
        for _ in range(2):
            await made(daemon, b"%d" % len(kept))
            for _ in range(3):
                kept.append(await daemon.ask_here(daemon.directories.opendir, ROOT_INO))
                await daemon.list(0, 100)
                root = daemon.volume.nodes.get(ROOT_INO)
                assert root.atime_ns > root.mtime_ns
                await daemon.ask_here(daemon.directories.releasedir, ROOT_INO)
        assert kept == [False, True, True] * 2


async def test_closed_file_without_a_name_that_gets_one_is_no_deleted_file(tmp_path: Path):
    """Of O_TMPFILE, and held by an O_PATH descriptor alone; df knows nothing of it afterwards."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"/")
        await daemon.write(ino, fh, 0, b"x")
        await daemon.close(fh)
        unlinked = daemon.volume.fs.inodes_unlinked
        assert (unlinked, daemon.volume.deleted.blocks_unlinked()) == ({ino}, 1)
        await daemon.ask_here(daemon.names.link, ino, ROOT_INO, b"name")
        assert (unlinked, daemon.volume.deleted.blocks_unlinked()) == (set(), 0)
        await daemon.forget(ino)
        await daemon.sync()
        assert ino not in daemon.volume.nodes.in_memory
        assert await daemon.ask_here(daemon.names.statfs, ROOT_INO)


async def test_deleted_file_that_is_opened_again_gives_no_blocks_soon(tmp_path: Path):
    """Through an O_PATH descriptor, which has it in /proc: df shows what it has as used."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"name")
        await daemon.write(ino, fh, 0, b"x")
        await daemon.unlink(b"name")
        await daemon.close(fh)
        assert daemon.volume.deleted.blocks_unlinked() == 1
        fh = await daemon.open(ino)
        assert daemon.volume.deleted.blocks_unlinked() == 0
        await daemon.close(fh)
        assert daemon.volume.deleted.blocks_unlinked() == 1
