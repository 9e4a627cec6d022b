"""The end of a mount: real files in a temporary folder, requests that never come."""

import gc
import socket
import stat
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from fusefs.engine.held import MOUNT
from fusefs.live.daemon import _commit, _serve
from fusefs.live.driver import Driver
from fusefs.live.gatekeeper import Gatekeeper
from fusefs.live.kernel_pages import KernelPages
from fusefs.live.reclaim import Reclaim
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.options import Options
from fusefs.store.image_file import ImageFile
from fusefs.store.metadata import Metadata
from fusefs.store.volume import Volume, make_image


async def slowly(call: Callable[..., Any], *arguments: Any) -> Any:
    await trio.sleep(10)
    return call(*arguments)


async def test_unmount_waits_for_a_commit_that_the_flusher_began(
    tmp_path: Path, autojump_clock: MockClock
):
    """While the last commit is made, the flusher asks for one more: it gets it, and all ends."""
    path, meta = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(path, meta, Options(size=1 << 20))
    image = ImageFile.open(path)
    options = Options(commit=1.0)
    volume = Volume(image, Metadata.open(meta, image.superblock.uuid), options, slowly)
    driver = Driver(*(volume.image, volume.fs.load_map, volume.commit, Trace(), Timing(volume.fs)))
    with volume.changing:
        volume.namespace.make(1, b"name", stat.S_IFREG | 0o600, 0, 0, 0, 1)
    pages = KernelPages(driver, lambda: socket.socketpair()[0])
    reclaim = Reclaim(volume.deleted, volume.fs)
    keeper = Gatekeeper(driver, volume)
    keeper.hold(["begin", "op=commit", "count=all", "timeout=3600s"], MOUNT)

    async def requests() -> None:
        await trio.sleep(20)  # the flusher's own request is held by now

    await _serve(volume, driver, keeper, pages, reclaim, requests=requests)
    assert trio.current_time() < 100
    assert driver.tasks_running == 0
    volume.close()
    again = Volume.open(path, meta, Options())
    assert again.namespace.lookup(1, b"name").nlink == 1
    again.close()


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
