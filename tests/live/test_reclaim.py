"""Who waits for deleted files to come to their end is woken when they do."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from store.test_deleted_files import make_in_pieces
from trio.testing import MockClock, wait_all_tasks_blocked

from fusefs.live.driver import Driver
from fusefs.live.reclaim import Reclaim
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.iomap import FREE_COST_MAX
from fusefs.model.options import Options
from fusefs.store.volume import Volume, make_image


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    image, metadata = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(image, metadata, Options(size=1 << 30))
    volume = Volume.open(image, metadata, Options())
    yield volume
    volume.close()


async def test_inactive_file_is_freed_although_nobody_else_commits(
    volume: Volume, autojump_clock: MockClock
):
    reclaim = Reclaim(volume.deleted, volume.fs)
    driver = Driver(volume.image, volume.fs.load_map, volume.commit, Trace(), Timing(volume.fs))
    make_in_pieces(volume, 3 * FREE_COST_MAX)
    await volume.commit()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        nursery.start_soon(reclaim.run, driver)
        await wait_all_tasks_blocked()
        volume.release(volume.namespace.unlink(1, b"file", 2))
        assert volume.deleted.has_inactive
        with trio.fail_after(60):
            while volume.deleted.has_inactive:
                await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_forget_ends_when_it_comes(volume: Volume, autojump_clock: MockClock):
    """And not only when the time is up."""
    reclaim = Reclaim(volume.deleted, volume.fs)
    node = volume.namespace.make(1, b"file", stat.S_IFREG | 0o600, 0, 0, 0, 1)
    node.lookups = 1
    volume.namespace.unlink(1, b"file", 2)
    volume.release(node)
    assert volume.fs.inodes_unlinked == {node.ino}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reclaim.wait_forgotten)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        volume.nodes.forget(node.ino, 1)
        volume.release(node)
    assert trio.current_time() == began
