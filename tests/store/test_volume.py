"""The commit of one image: real files in a temporary folder, no mount."""

import errno
import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fusefs.model.errors import FsError
from fusefs.model.options import Options
from fusefs.store.image_file import ImageFile
from fusefs.store.volume import (
    Volume,
    VolumeError,
    _one_line_errors,
    make_image,
    metadata_path,
)


class FlushFailsOnce:
    """An image on a disk that fails one flush, and works before and afterwards."""

    def __init__(self, image: ImageFile) -> None:
        self.path, self.superblock = image.path, image.superblock
        self.punch, self.close = image.punch, image.close
        self.failures = [OSError(errno.EIO, "the disk failed")]
        self.flush_count = 0

    def flush(self) -> None:
        self.flush_count += 1
        if self.failures:
            raise self.failures.pop()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A new image with one name in it that is committed."""
    image, metadata = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(image, metadata, Options(size=1 << 20))
    return Volume.open(image, metadata, Options())


def make(volume: Volume, name: bytes) -> None:
    with volume.changing:
        volume.namespace.make(1, name, stat.S_IFREG | 0o600, 0, 0, 0, 1)


def names_after_reopening(volume: Volume) -> list[bytes]:
    volume.close()
    again = Volume.open(volume.image.path, volume.metadata.path, Options())
    try:
        return [entry.name for entry in again.namespace.entries(1, 2, 10)]
    finally:
        again.close()


async def test_an_inode_that_is_looked_up_again_during_a_commit_stays(volume: Volume):
    """The commit lets go what nobody uses; the node of the same inode that came since is used."""
    make(volume, b"name")
    names = volume.namespace
    before = names.lookup(1, b"name")
    names.nodes.mark_changed(before)

    async def forgotten_and_found(function: Callable[..., None], *arguments: Any) -> None:
        if names.nodes.get(before.ino) is before:
            volume.release(before)
            names.lookup(1, b"name").lookups += 1
        function(*arguments)

    volume._in_thread = forgotten_and_found
    await volume.commit()
    again = names.nodes.in_memory[before.ino]
    assert again is not before
    assert again.lookups == 1
    volume.close()


async def test_a_deleted_file_is_evicted_only_when_its_writeback_is_over(volume: Volume):
    """evict() waits for it, too: the blocks must not be somebody else's when the write ends."""
    make(volume, b"name")
    with volume.changing:
        node = volume.namespace.unlink(1, b"name", 1)
    assert node.inode is not None
    page = volume.fs.cache.insert_locked(node.inode.mapping, 0)
    volume.release(node)
    await volume.commit()
    assert page.mapping is node.inode.mapping
    page.unlock()
    await volume.commit()
    assert page.mapping is None
    assert node.ino not in volume.nodes.in_memory
    volume.close()


async def test_after_a_failed_flush_nothing_more_is_committed(
    volume: Volume, caplog: pytest.LogCaptureFixture
):
    """The next flush succeeds, and proves nothing of what the first should have written."""
    make(volume, b"before")
    await volume.commit()
    volume.image = disk = FlushFailsOnce(volume.image)
    make(volume, b"after")
    for _ in range(3):
        with pytest.raises(FsError, match="EIO"):
            await volume.commit()
    assert disk.flush_count == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the disk failed; the mount is read-only now" in caplog.text
    with pytest.raises(FsError, match="EROFS"):
        make(volume, b"later")
    assert volume.namespace.lookup(1, b"after").nlink == 1  # what was accepted is still seen
    assert names_after_reopening(volume) == [b"before"]


class ChangeFailsMeanwhile:
    """An image during whose flush somebody else's statement fails."""

    def __init__(self, volume: Volume) -> None:
        image = volume.image
        self.path, self.superblock = image.path, image.superblock
        self.punch, self.close = image.punch, image.close
        self.metadata = volume.metadata

    def flush(self) -> None:
        with pytest.raises(FsError, match="EIO"):
            self.metadata.change("INSERT INTO nowhere VALUES (1)")


async def test_statement_that_fails_during_a_commit_fails_the_commit(volume: Volume):
    """(M2) SQLite has undone part 1 by then: part 3 must not commit what is left."""
    make(volume, b"before")
    await volume.commit()
    volume.image = ChangeFailsMeanwhile(volume)
    make(volume, b"after")
    with pytest.raises(FsError, match="EIO"):
        await volume.commit()
    assert "nowhere" in volume.health.failure
    assert names_after_reopening(volume) == [b"before"]


async def test_exception_of_ours_in_a_commit_is_the_last_commit(volume: Volume):
    """Half of part 1 may be in the transaction: it must never be made durable."""
    make(volume, b"before")
    await volume.commit()
    make(volume, b"after")
    node = volume.namespace.lookup(1, b"after")
    node.uid = 1 << 70  # what SQLite cannot store
    volume.nodes.mark_changed(node)
    with pytest.raises(OverflowError):
        await volume.commit()
    with pytest.raises(FsError, match="EIO"):
        await volume.commit()
    assert names_after_reopening(volume) == [b"before"]


async def test_half_a_change_of_names_is_never_committed(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
):
    """(M2) An exception of ours in the middle of it leaves one statement without the next."""
    make(volume, b"name")
    await volume.commit()
    node = volume.namespace.lookup(1, b"name")
    monkeypatch.setattr(volume.rows, "named", None)  # the xattr is stored, the ctime is not
    with pytest.raises(TypeError), volume.changing:
        volume.xattrs.set(node.ino, b"user.half", b"done", 7)
    with pytest.raises(FsError, match="EIO"):
        await volume.commit()
    volume.close()
    again = Volume.open(volume.image.path, volume.metadata.path, Options())
    assert again.xattrs.names(node.ino) == []
    again.close()


async def test_refused_change_of_names_fails_nothing_else(volume: Volume):
    """An FsError before the first statement is the caller's affair."""
    make(volume, b"name")
    with pytest.raises(FsError, match="EEXIST"):
        make(volume, b"name")
    await volume.commit()
    assert names_after_reopening(volume) == [b"name"]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (sqlite3.OperationalError("disk I/O error"), "cannot use the metadata: disk I/O error"),
        (FsError(errno.EIO), "cannot use the metadata: Input/output error"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "cannot use the image: Input/output error"),
        (OSError(errno.EPERM, os.strerror(errno.EPERM), "/a"), "/a: Operation not permitted"),
    ],
    ids=["sqlite", "metadata", "image", "file"],
)
def test_disk_that_fails_while_it_is_opened_is_one_line(raised: Exception, said: str):
    with pytest.raises(VolumeError) as refusal, _one_line_errors():
        raise raised
    assert str(refusal.value) == said


# -- links -------------------------------------------------------------------------------


def test_metadata_are_beside_the_name_by_which_the_image_is_given(tmp_path: Path):
    """As they always were: a link to an image has metadata beside the link."""
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/image")
    path = metadata_path(str(tmp_path / "link"), None)
    assert path == str(tmp_path / "link.meta")
    (tmp_path / "link.meta").symlink_to("far/image.meta")
    assert metadata_path(str(tmp_path / "link"), None) == str(tmp_path / "far/image.meta")


@pytest.mark.parametrize("given", [None, "named"])
def test_new_image_replaces_what_a_link_leads_to_with_its_log(tmp_path: Path, given: str | None):
    """The old metadata and their log stayed, and only the link was gone."""
    far, image = tmp_path / "far", str(tmp_path / "image")
    far.mkdir()
    given = given and str(tmp_path / given)
    link = Path(given or f"{image}.meta")
    link.symlink_to("far/meta")
    make_image(image, metadata_path(image, given), Options(size=1 << 20))
    old = (far / "meta").read_bytes()
    (far / "meta-wal").write_bytes(b"left by a crash")
    make_image(image, metadata_path(image, given), Options(size=1 << 20), force=True)
    assert link.is_symlink()
    assert [path.name for path in far.iterdir()] == ["meta"]
    assert (far / "meta").read_bytes() != old
    Volume.open(image, metadata_path(image, given), Options()).close()
