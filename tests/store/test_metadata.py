"""What the metadata keep, what a crash leaves of them, and what damage is noticed in use."""

import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from fusefs.model.errors import FsError
from fusefs.store.metadata import ROWS_WAITING_MAX, Attributes, Metadata, clamp_time
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.stored import TIME_NS_MAX, TIME_NS_MIN

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
    assert metadata.load_attributes(ROOT_INO) == root
    assert metadata.count_inodes() == 1
    metadata.close()


def test_reopen_brings_everything_back(path: Path) -> None:
    metadata = create(path)
    ino = metadata.new_ino()
    metadata.add_inode(FILE._replace(ino=ino))
    metadata.commit()

    metadata = reopen(metadata)
    assert (metadata.uuid, metadata.block_size, metadata.block_count) == (
        UUID_OURS,
        BLOCK_SIZE,
        BLOCK_COUNT,
    )
    assert metadata.load_attributes(ino) == FILE._replace(ino=ino)
    assert metadata.count_inodes() == 2
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
    metadata.save_attributes(FILE)
    metadata = reopen(metadata)
    assert metadata.load_attributes(FILE.ino) is None
    metadata.close()


def test_crash_leaves_the_last_commit(path: Path, tmp_path: Path) -> None:
    """(F2) also before the log was ever written back to the file."""
    metadata = create(path)
    metadata.new_ino()
    metadata.save_attributes(FILE)
    metadata.commit()
    metadata.save_attributes(FILE._replace(size=9999))
    copy = Metadata.open(crashed_copy(path, tmp_path / "crashed"), UUID_OURS)
    metadata.close()
    assert copy.load_attributes(FILE.ino) == FILE
    assert [p.name for p in Path(copy.path).parent.glob("*-shm")] == []
    copy.close()


def test_commit_may_run_in_another_thread(path: Path) -> None:
    metadata = create(path)
    metadata.save_attributes(FILE)
    committer = threading.Thread(target=metadata.commit)
    committer.start()
    while committer.is_alive():
        assert metadata.load_attributes(FILE.ino) == FILE
    committer.join()
    metadata.new_ino()
    metadata.close()


def test_commit_in_another_thread_waits_for_the_end_of_a_change(path: Path) -> None:
    """(M3) Half of an unlink was committed: the name had gone, the link count had not."""
    metadata = create(path)
    with metadata.whole():
        metadata.save_attributes(FILE)
        committer = threading.Thread(target=metadata.commit)
        committer.start()
        committer.join(0.1)
        assert committer.is_alive()
        metadata.delete_inode(FILE.ino)
    committer.join()
    metadata.close()


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
    metadata.save_attributes(FILE)
    metadata.commit()
    metadata.save_attributes(FILE._replace(size=1))
    metadata.query("PRAGMA max_page_count = 1")
    with pytest.raises(FsError, match=f"^{expected}$"):
        metadata.change(statement)
    assert metadata.health.failure.startswith(f"{path}: ")
    with pytest.raises(FsError, match="EIO"):
        metadata.commit()
    with pytest.raises(FsError, match="EROFS"):
        metadata.save_attributes(FILE)
    assert metadata.load_attributes(FILE.ino) == FILE  # what the last commit left
    metadata = reopen(metadata)
    assert metadata.load_attributes(FILE.ino) == FILE
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
        metadata.save_attributes(FILE)
    assert metadata.load_attributes(1) is not None
    metadata.close()


# -- inodes ----------------------------------------------------------------------------


def test_deleted_inode_leaves_nothing(metadata: Metadata) -> None:
    ino = metadata.new_ino()
    metadata.add_inode(FILE._replace(ino=ino))
    metadata.change("INSERT INTO xattr VALUES (?, x'61', x'62')", ino)
    metadata.change("INSERT INTO chunk VALUES (?, 0, x'', x'')", ino)
    metadata.delete_inode(ino)
    assert metadata.load_attributes(ino) is None
    assert metadata.query("SELECT ino FROM xattr UNION SELECT ino FROM chunk") == []
    assert metadata.count_inodes() == 1


# -- rows that wait in memory ----------------------------------------------------------


def stored_inos(metadata: Metadata) -> list[int]:
    return [ino for (ino,) in metadata.query("SELECT ino FROM inode WHERE ino > 1 ORDER BY ino")]


def test_rows_that_wait_are_in_the_next_commit(path: Path, tmp_path: Path) -> None:
    """(M3) A name is never committed without its inode, nor without the link count."""
    metadata = create(path)
    with metadata.whole():
        metadata.add_inode(FILE._replace(ino=metadata.new_ino()))
        metadata.save_links(ROOT_INO, 3, 50, 60)
    assert stored_inos(metadata) == []
    metadata.commit()
    copy = Metadata.open(crashed_copy(path, tmp_path / "copy"), UUID_OURS)
    assert copy.load_attributes(FILE.ino) == FILE
    root = copy.load_attributes(ROOT_INO)
    assert root is not None
    assert (root.nlink, root.mtime_ns, root.ctime_ns) == (3, 50, 60)
    copy.close()
    metadata.close()


def test_rows_that_wait_are_found(metadata: Metadata) -> None:
    """By whoever asks for the inode, for a count, or for orphans."""
    metadata.add_inode(FILE)
    assert metadata.load_attributes(FILE.ino) == FILE
    metadata.save_links(FILE.ino, 0, 8, 9)
    gone = FILE._replace(nlink=0, mtime_ns=8, ctime_ns=9)
    assert metadata.load_attributes(FILE.ino) == gone
    metadata.save_links(FILE.ino, 1, 8, 9)
    assert metadata.count_linked() == 2
    metadata.save_links(FILE.ino, 0, 8, 9)
    assert metadata.orphans() == [(FILE.ino, FILE.blocks)]
    metadata.save_links(FILE.ino, 1, 8, 9)
    metadata.save_column(FILE.ino, "mode", 0o100600)
    assert metadata.load_attributes(FILE.ino) == gone._replace(nlink=1, mode=0o100600)


def test_later_row_is_not_undone_by_one_that_waited(metadata: Metadata) -> None:
    metadata.add_inode(FILE)
    metadata.save_links(FILE.ino, 7, 7, 7)
    metadata.save_attributes(FILE._replace(size=1))
    metadata.commit()
    assert metadata.load_attributes(FILE.ino) == FILE._replace(size=1)


def test_row_that_waits_can_be_deleted(metadata: Metadata) -> None:
    metadata.add_inode(FILE)
    metadata.save_links(FILE.ino, 0, 8, 9)
    metadata.delete_inode(FILE.ino)
    metadata.commit()
    assert stored_inos(metadata) == []
    assert metadata.count_inodes() == metadata.count_linked() == 1


def test_few_rows_wait(metadata: Metadata) -> None:
    for ino in range(2, ROWS_WAITING_MAX + 1):
        metadata.add_inode(FILE._replace(ino=ino))
    assert stored_inos(metadata) == []
    metadata.add_inode(FILE._replace(ino=ROWS_WAITING_MAX + 1))
    assert len(stored_inos(metadata)) == ROWS_WAITING_MAX


def test_rows_that_wait_are_undone_with_the_rest(path: Path) -> None:
    """(M2) They are never written to the file by themselves."""
    metadata = create(path)
    metadata.add_inode(FILE)
    metadata.save_links(ROOT_INO, 9, 9, 9)
    with pytest.raises(FsError, match="EIO"):
        metadata.change("INSERT INTO nowhere VALUES (2)")
    assert metadata.load_attributes(FILE.ino) is None
    root = metadata.load_attributes(ROOT_INO)
    assert root is not None
    assert root.nlink == 2
    metadata = reopen(metadata)
    assert stored_inos(metadata) == []
    metadata.close()


def test_what_was_accepted_is_seen_when_nothing_is_committed_any_more(metadata: Metadata) -> None:
    """The image's flush failed: SQLite has not, and reads go on."""
    metadata.add_inode(FILE)
    metadata.health.fail("the flush failed")
    assert metadata.load_attributes(FILE.ino) == FILE
    with pytest.raises(FsError, match="EROFS"):
        metadata.add_inode(FILE._replace(ino=3))


def test_row_that_cannot_be_stored_ends_all_changes(metadata: Metadata) -> None:
    """(M2) Later than it was made, but before a commit."""
    metadata.add_inode(FILE._replace(rdev=1 << 70))
    with pytest.raises(FsError, match="EIO"):
        metadata.commit()
    assert metadata.health.failure


def test_times_beyond_what_is_stored_are_clamped(metadata: Metadata) -> None:
    low, high = clamp_time(-(10**30)), clamp_time(10**30)
    assert (low, clamp_time(5), high) == (TIME_NS_MIN, 5, TIME_NS_MAX)
    metadata.save_attributes(FILE._replace(atime_ns=low, mtime_ns=high))
    assert metadata.load_attributes(FILE.ino) == FILE._replace(atime_ns=low, mtime_ns=high)


# -- birth times -----------------------------------------------------------------------


def test_birth_time_is_what_the_first_ctime_was(path: Path) -> None:
    metadata = create(path)
    assert metadata.new_ino() == FILE.ino
    metadata.add_inode(FILE._replace(ctime_ns=30))
    metadata.save_attributes(FILE._replace(ctime_ns=40))
    assert (metadata.birth_ns(ROOT_INO), metadata.birth_ns(FILE.ino)) == (7, 30)
    metadata.commit()
    metadata = reopen(metadata)
    metadata.save_attributes(FILE._replace(ctime_ns=50))
    assert (metadata.birth_ns(ROOT_INO), metadata.birth_ns(FILE.ino)) == (7, 30)
    metadata.close()


@pytest.mark.parametrize("is_stored", [True, False])
def test_birth_time_goes_with_its_inode(metadata: Metadata, is_stored: bool) -> None:
    metadata.add_inode(FILE)
    if is_stored:
        metadata.commit()
    metadata.delete_inode(FILE.ino)
    metadata.commit()
    assert metadata.query("SELECT ino FROM birth") == [(ROOT_INO,)]


def test_image_of_an_older_version_has_unknown_births(path: Path) -> None:
    """It gets the table with the first commit: a check, which makes none, changes nothing."""
    create(path).close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE birth")
    db.close()
    before = path.read_bytes()
    Metadata.open(path, UUID_OURS).close()
    assert path.read_bytes() == before
    metadata = Metadata.open(path, UUID_OURS)
    assert metadata.new_ino() == FILE.ino
    metadata.add_inode(FILE)
    metadata.commit()
    metadata = reopen(metadata)
    assert (metadata.birth_ns(ROOT_INO), metadata.birth_ns(FILE.ino)) == (0, FILE.ctime_ns)
    metadata.close()


def test_waiting_births_are_bounded(metadata: Metadata) -> None:
    for ino in range(2, 2 + ROWS_WAITING_MAX):
        metadata.add_inode(FILE._replace(ino=ino))
        metadata.save_attributes(FILE._replace(ino=ino))
    [[count]] = metadata.query("SELECT count(*) FROM birth")
    assert count == ROWS_WAITING_MAX + 1
