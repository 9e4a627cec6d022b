"""The commit of one image: real files in a temporary folder, no mount."""

import errno
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fusefs.live.image_file import ImageFile
from fusefs.live.volume import Volume, make_image
from fusefs.options import Options


class FlushFailsOnce:
    """An image on a disk that fails one flush, and works before and afterwards."""

    def __init__(self, image: ImageFile) -> None:
        self.superblock = image.superblock
        self.punch, self.close = image.punch, image.close
        self.failures = [OSError(errno.EIO, "the disk failed")]

    def flush(self) -> None:
        if self.failures:
            raise self.failures.pop()


async def test_what_a_failed_commit_did_not_store_the_next_one_does(tmp_path: Path):
    """Part 1 is done and the transaction open: a later commit must not take that for stored."""
    image, metadata = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(image, metadata, Options(size=1 << 20))
    volume = Volume.open(image, metadata, Options())
    volume.image = FlushFailsOnce(volume.image)
    volume.namespace.make(1, b"name", stat.S_IFREG | 0o600, 0, 0, 0, 1)
    volume.names_changed()
    with pytest.raises(OSError, match="the disk failed"):
        await volume.commit()
    await volume.commit()
    volume.close()
    again = Volume.open(image, metadata, Options())
    try:
        assert again.namespace.lookup(1, b"name").nlink == 1
    finally:
        again.close()


async def test_an_inode_that_is_looked_up_again_during_a_commit_stays(tmp_path: Path):
    """The commit lets go what nobody uses; the node of the same inode that came since is used."""
    image, metadata = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(image, metadata, Options(size=1 << 20))
    volume = Volume.open(image, metadata, Options())
    names = volume.namespace
    before = names.make(1, b"name", stat.S_IFREG | 0o600, 0, 0, 0, 1)
    names.mark_changed(before)

    async def forgotten_and_found(function: Callable[..., None], *arguments: Any) -> None:
        if names.nodes.get(before.ino) is before:
            volume.release(before)
            names.lookup(1, b"name").lookups += 1
        function(*arguments)

    volume._in_thread = forgotten_and_found
    await volume.commit()
    again = names.nodes[before.ino]
    assert again is not before
    assert again.lookups == 1
    volume.close()


async def test_a_deleted_file_is_evicted_only_when_its_writeback_is_over(tmp_path: Path):
    """evict() waits for it, too: the blocks must not be somebody else's when the write ends."""
    image, metadata = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(image, metadata, Options(size=1 << 20))
    volume = Volume.open(image, metadata, Options())
    node = volume.namespace.make(1, b"name", stat.S_IFREG | 0o600, 0, 0, 0, 1)
    assert node.inode is not None
    page = volume.fs.cache.insert_locked(node.inode.mapping, 0)
    volume.namespace.unlink(1, b"name", 1)
    volume.release(node)
    await volume.commit()
    assert page.mapping is node.inode.mapping
    page.unlock()
    await volume.commit()
    assert page.mapping is None
    assert node.ino not in volume.namespace.nodes
    volume.close()
