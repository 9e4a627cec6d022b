"""The end of a mount: real files in a temporary folder, requests that never come."""

import errno
import gc
import socket
import stat
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from bitarray import bitarray
from trio.testing import MockClock

from fusefs.engine.held import MOUNT
from fusefs.live.daemon import _commit, _serve
from fusefs.live.driver import Driver
from fusefs.live.gatekeeper import Gatekeeper
from fusefs.live.kernel_pages import KernelPages
from fusefs.live.reclaim import Reclaim
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.buffered import buffered_write
from fusefs.model.options import Options
from fusefs.store.image_file import ImageFile
from fusefs.store.metadata import Metadata
from fusefs.store.volume import Volume, make_image


async def slowly(call: Callable[..., Any], *arguments: Any) -> Any:
    await trio.sleep(10)
    return call(*arguments)


class Served:
    """A new image with a file that is not committed, and who serves it: every call is slow."""

    def __init__(self, tmp_path: Path) -> None:
        self.paths = str(tmp_path / "image"), str(tmp_path / "image.meta")
        make_image(*self.paths, Options(size=1 << 20))
        image = ImageFile.open(self.paths[0])
        metadata = Metadata.open(self.paths[1], image.superblock.uuid)
        self.volume = volume = Volume(image, metadata, Options(commit=1.0), slowly)
        self.driver = Driver(
            *(image, volume.fs.load_map, volume.commit, Trace(), Timing(volume.fs))
        )
        self.keeper = Gatekeeper(self.driver, volume)
        with volume.changing:
            self.node = volume.namespace.make(1, b"name", stat.S_IFREG | 0o600, 0, 0, 0, 1)

    async def serve(self, requests: Callable[[], Awaitable[None]]) -> None:
        """A mount from its first request to its end."""
        pages = KernelPages(self.driver, lambda: socket.socketpair()[0])
        reclaim = Reclaim(self.volume.deleted, self.volume.fs)
        await _serve(self.volume, self.driver, self.keeper, pages, reclaim, requests=requests)
        assert self.driver.tasks_running == 0
        self.volume.close()

    def is_committed(self) -> bool:
        """The next mount finds the file."""
        again = Volume.open(*self.paths, Options())
        try:
            return bool(again.namespace.entries(1, 2, 1))
        finally:
            again.close()


async def test_unmount_waits_for_a_commit_that_the_flusher_began(
    tmp_path: Path, autojump_clock: MockClock
):
    """While the last commit is made, the flusher asks for one more: it gets it, and all ends."""
    served = Served(tmp_path)
    served.keeper.hold(["begin", "op=commit", "count=all", "timeout=3600s"], MOUNT)

    async def requests() -> None:
        await trio.sleep(20)  # the flusher's own request is held by now

    await served.serve(requests)
    assert trio.current_time() < 100
    assert served.is_committed()


def no_memory(number: int) -> bitarray | None:
    raise MemoryError


@pytest.mark.parametrize("unmounted_s", [0, 20], ids=["at-the-unmount", "in-the-flusher"])
async def test_fault_of_ours_in_a_writeback_does_not_keep_others_from_the_disk(
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    unmounted_s: float,
):
    """The mount goes on, and is committed at its end; the file's own fsync and a syncfs tell."""
    served = Served(tmp_path)
    fs, inode = served.volume.fs, served.node.inode
    assert inode is not None
    served.driver.start(
        buffered_write(fs, inode, 0, b"x"), lambda result, error: None, "write", inode.ino
    )
    fs.space._load_group = no_memory

    async def requests() -> None:
        await trio.sleep(unmounted_s)

    await served.serve(requests)
    assert caplog.messages == [f"writeback of inode {inode.ino} failed"]
    assert (inode.mapping.errors.error, fs.errors.error) == (errno.EIO, errno.EIO)
    assert served.is_committed()


class Link:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


async def test_after_a_commit_the_collector_leaves_alone_what_is_there(tmp_path: Path):
    """But what is in a cycle by then goes first."""
    path, meta = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(path, meta, Options(size=1 << 20))
    volume = Volume.open(path, meta, Options())
    gc.disable()
    try:
        gone, stays = weakref.ref(Link()), Link()
        assert gone() is not None
        await _commit(volume)
        assert gone() is None
        assert gc.is_tracked(stays)
        assert not any(each is stays for each in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.enable()
        volume.close()
