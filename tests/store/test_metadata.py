"""What the metadata keep, what a crash leaves of them, and what damage is noticed in use."""

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from fusefs.model.errors import FsError
from fusefs.store.inode_rows import InodeRows
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.stored import Attributes

UUID_OURS = UUID("6f756f75-0000-4000-8000-000000000001")
BLOCK_SIZE = 1024
BLOCK_COUNT = 100_000
FILE = Attributes(2, 0o100640, 1, 1000, 100, 0, 5000, 5, -1, 2, 3)


def create(path: Path | str) -> Metadata:
    return Metadata.create(path, UUID_OURS, BLOCK_SIZE, BLOCK_COUNT, 1000, 100, 7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.img.meta"


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    metadata = create(":memory:")
    yield metadata
    metadata.close()


def save(metadata: Metadata, row: Attributes) -> None:
    metadata.change(f"INSERT OR REPLACE INTO inode VALUES ({', '.join('?' * len(row))})", *row)


def load(metadata: Metadata, ino: int) -> Attributes | None:
    return InodeRows(metadata).load(ino)


def reopen(metadata: Metadata) -> Metadata:
    metadata.close()
    return Metadata.open(metadata.path, metadata.uuid)


def crashed_copy(path: Path, folder: Path) -> Path:
    """The file and its log as a crash at this moment would leave them."""
    folder.mkdir()
    for part in path.parent.glob(f"{path.name}*"):
        if part.is_file():
            shutil.copy(part, folder)
    return folder / path.name


# -- making and opening ----------------------------------------------------------------


def test_new_file_is_private_and_has_a_root_directory(path: Path) -> None:
    metadata = create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    root = Attributes(ROOT_INO, 0o40755, 2, 1000, 100, 0, 0, 0, 7, 7, 7)
    assert load(metadata, ROOT_INO) == root
    assert metadata.inode_count == 1
    metadata.close()


def test_reopen_brings_everything_back(path: Path) -> None:
    metadata = create(path)
    ino = metadata.new_ino()
    save(metadata, FILE._replace(ino=ino))
    metadata.inode_count += 1
    metadata.commit()

    metadata = reopen(metadata)
    assert (metadata.uuid, metadata.block_size, metadata.block_count) == (
        UUID_OURS,
        BLOCK_SIZE,
        BLOCK_COUNT,
    )
    assert load(metadata, ino) == FILE._replace(ino=ino)
    assert metadata.inode_count == 2
    metadata.close()


def test_inode_numbers_are_never_used_twice(path: Path) -> None:
    """(M1), over a remount and though the inodes are gone."""
    metadata = create(path)
    first = [metadata.new_ino() for _ in range(3)]
    metadata.commit()
    metadata = reopen(metadata)
    assert metadata.new_ino() == first[-1] + 1
    metadata.close()


def test_close_without_commit_leaves_the_last_commit(path: Path) -> None:
    metadata = create(path)
    save(metadata, FILE)
    metadata = reopen(metadata)
    assert load(metadata, FILE.ino) is None
    metadata.close()


def test_crash_leaves_the_last_commit(path: Path, tmp_path: Path) -> None:
    """(F2) also before the log was ever written back to the file."""
    metadata = create(path)
    metadata.new_ino()
    save(metadata, FILE)
    metadata.commit()
    save(metadata, FILE._replace(size=9999))
    copy = Metadata.open(crashed_copy(path, tmp_path / "crashed"), UUID_OURS)
    metadata.close()
    assert load(copy, FILE.ino) == FILE
    assert [p.name for p in Path(copy.path).parent.glob("*-shm")] == []
    copy.close()


def test_commit_may_run_in_another_thread(path: Path) -> None:
    metadata = create(path)
    save(metadata, FILE)
    committer = threading.Thread(target=metadata.commit)
    committer.start()
    while committer.is_alive():
        assert load(metadata, FILE.ino) == FILE
    committer.join()
    metadata.new_ino()
    metadata.close()


def test_commit_in_another_thread_waits_for_the_end_of_a_change(path: Path) -> None:
    """(M3) Half of an unlink was committed: the name had gone, the link count had not."""
    metadata = create(path)
    with metadata.whole:
        save(metadata, FILE)
        committer = threading.Thread(target=metadata.commit)
        committer.start()
        committer.join(0.1)
        assert committer.is_alive()
        metadata.change("DELETE FROM inode WHERE ino = ?", FILE.ino)
    committer.join()
    assert load(metadata, FILE.ino) is None
    metadata.close()


def test_what_waits_is_written_last_and_in_the_same_commit(path: Path, tmp_path: Path) -> None:
    """(M3)"""
    metadata = create(path)
    assert metadata.new_ino() == FILE.ino
    metadata.commit(lambda: save(metadata, FILE))
    copy = Metadata.open(crashed_copy(path, tmp_path / "crashed"), UUID_OURS)
    assert load(copy, FILE.ino) == FILE
    copy.close()
    metadata.close()


@pytest.mark.parametrize("row", [FILE._replace(rdev=1 << 70), FILE._replace(mode=None)])
def test_row_that_cannot_be_stored_ends_all_changes(metadata: Metadata, row: Attributes) -> None:
    """(M2) It was accepted before: what belongs to it is in the transaction."""
    statement = f"INSERT INTO inode VALUES ({', '.join('?' * len(row))})"
    with pytest.raises(FsError, match="EIO"):
        metadata.commit(lambda: metadata.change_many(statement, [FILE._replace(ino=7), row]))
    assert metadata.health.failure
    metadata.change_many(statement, [FILE])  # nothing: there is no transaction
    assert metadata.query("SELECT ino FROM inode") == [(ROOT_INO,)]


# -- the log ---------------------------------------------------------------------------

WAYS = {
    "the file": "disk.img.meta",
    "a link": "far/link",
    "a link in a folder that is a link": "folder/link",
    "beside a folder that is a link": "folder/../../disk.img.meta",
}


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files were flushed by us: SQLite has calls of its own."""
    found: list[str] = []
    flush = os.fdatasync

    def noted(fd: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        flush(fd)

    monkeypatch.setattr(os, "fdatasync", noted)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_commit_flushes_the_log_by_whatever_way_the_metadata_are_reached(
    path: Path, tmp_path: Path, flushed: list[str], way: str
) -> None:
    """SQLite keeps it beside the file itself."""
    (tmp_path / "far/below").mkdir(parents=True)
    (tmp_path / "folder").symlink_to("far/below")
    for link in ("far/link", "far/below/link"):
        (tmp_path / link).symlink_to(path)
    create(path).close()
    metadata = Metadata.open(f"{tmp_path}/{WAYS[way]}", UUID_OURS)
    save(metadata, FILE)
    metadata.commit()
    metadata.close()
    assert flushed == [f"{path}-wal"]


def test_commit_flushes_the_log_of_a_folder_that_was_moved(
    tmp_path: Path, flushed: list[str]
) -> None:
    (tmp_path / "folder").mkdir()
    metadata = create(tmp_path / "folder/disk.img.meta")
    (tmp_path / "folder").rename(tmp_path / "moved")
    save(metadata, FILE)
    metadata.commit()
    metadata.close()
    assert flushed == [f"{tmp_path}/moved/disk.img.meta-wal"]


def test_every_commit_finds_a_log_to_flush(path: Path, flushed: list[str]) -> None:
    """The first one of a new file, one of nothing, and those before which SQLite has copied the
    log to the file, and begun it anew."""
    metadata = create(path)
    metadata.commit()
    metadata.commit()
    metadata = reopen(metadata)
    for ino in range(20):
        metadata.change("INSERT INTO xattr VALUES (?, x'61', zeroblob(400000))", ino)
        metadata.commit()
    metadata.close()
    assert flushed == [f"{path}-wal"] * 22


def test_log_that_somebody_has_removed_is_no_success(path: Path) -> None:
    """(M2) What is committed would be gone after a crash."""
    metadata = create(path)
    metadata.commit()
    os.unlink(f"{path}-wal")
    save(metadata, FILE)
    with pytest.raises(FsError, match="EIO"):
        metadata.commit()
    assert metadata.health.failure == f"{path}-wal: the flush failed: it was removed"
    metadata.close()


def test_closed_file_leaves_no_descriptor_behind(path: Path) -> None:
    count = len(os.listdir("/proc/self/fd"))
    metadata = reopen(create(path))
    metadata.close()
    assert len(os.listdir("/proc/self/fd")) == count


# -- failing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO xattr VALUES (2, x'61', zeroblob(9000000))", "ENOSPC"),
        ("INSERT INTO nowhere VALUES (2)", "EIO"),
    ],
    ids=["host is full", "table is lost"],
)
def test_after_a_failed_change_nothing_more_is_stored(
    path: Path, statement: str, expected: str
) -> None:
    """(M2)"""
    metadata = create(path)
    metadata.new_ino()
    save(metadata, FILE)
    metadata.commit()
    save(metadata, FILE._replace(size=1))
    metadata.query("PRAGMA max_page_count = 1")
    with pytest.raises(FsError, match=f"^{expected}$"):
        metadata.change(statement)
    assert metadata.health.failure.startswith(f"{path}: ")
    with pytest.raises(FsError, match="EIO"):
        metadata.commit()
    with pytest.raises(FsError, match="EROFS"):
        save(metadata, FILE)
    assert load(metadata, FILE.ino) == FILE  # what the last commit left
    metadata = reopen(metadata)
    assert load(metadata, FILE.ino) == FILE
    metadata.close()


def test_page_that_is_damaged_while_it_is_mounted_ends_all_changes(path: Path) -> None:
    """(M2) Opening found nothing: the disk has failed since."""
    metadata = create(path)
    for ino in range(500):
        metadata.change("INSERT INTO xattr VALUES (?, x'61', randomblob(1000))", ino)
    metadata.commit()
    metadata = reopen(metadata)
    metadata.query("PRAGMA cache_size = 10")
    page_size = metadata.query("PRAGMA page_size")[0][0]
    with open(path, "r+b") as file:
        for page in range(40, 60):
            file.seek(page * page_size)
            file.write(b"\xdb" * page_size)
    with pytest.raises(FsError, match="EIO"):
        metadata.query("SELECT sum(length(value)) FROM xattr")
    assert "malformed" in metadata.health.failure
    with pytest.raises(FsError, match="EROFS"):
        save(metadata, FILE)
    assert load(metadata, 1) is not None
    metadata.close()
