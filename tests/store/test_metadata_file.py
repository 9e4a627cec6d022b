"""Whose metadata file is it?  What is not this image's is refused, and left as it is."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from fusefs.store.metadata import Metadata, MetadataError
from fusefs.store.metadata_file import APPLICATION_ID
from fusefs.store.volume import metadata_path

UUID_OURS = UUID("6f756f75-0000-4000-8000-000000000001")
UUID_OTHER = UUID("6f746865-0000-4000-8000-000000000002")


def create(path: Path, uuid: UUID = UUID_OURS) -> Metadata:
    return Metadata.create(path, uuid, 1024, 100_000, 1000, 100, 7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.img.meta"


def test_create_refuses_a_path_that_exists(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(MetadataError, match="exists already"):
        create(path)
    assert path.read_text() == "mine"


def write_text(path: Path) -> None:
    path.write_text("not a database, but longer than the header of one " * 10)


def write_foreign(path: Path) -> None:
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE photos (taken)")
    db.close()


def edit(path: Path, *statements: str, uuid: UUID = UUID_OURS) -> None:
    """A file of ours after somebody has changed it."""
    create(path, uuid).close()
    db = sqlite3.connect(path)
    db.executescript(";".join(statements))
    db.close()


def overwrite(path: Path, offset: int, size: int) -> None:
    create(path).close()
    with open(path, "r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        file.write(b"\xa5" * size)


def cut_short(path: Path) -> None:
    create(path).close()
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


NEXT_INO_IN_USE = "UPDATE meta SET value = 1 WHERE key = 'next_ino'"

REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such metadata; -o metadata=PATH says where"),
    "directory": (Path.mkdir, "is not a regular file"),
    "empty": (Path.touch, "not an SQLite file"),
    "text": (write_text, "not an SQLite file"),
    "foreign": (write_foreign, "another program's SQLite file"),
    "newer": (
        lambda path: edit(path, "PRAGMA user_version = 3"),
        "has format 3, but this program reads 2",
    ),
    "older": (
        lambda path: edit(path, "PRAGMA user_version = 1"),
        "has format 1, but this program reads 2",
    ),
    "format 0": (lambda path: edit(path, "PRAGMA user_version = 0"), "is damaged"),
    "other image": (lambda path: edit(path, uuid=UUID_OTHER), "belongs to another image"),
    "no uuid": (lambda path: edit(path, "DELETE FROM meta"), "is damaged"),
    "no table": (lambda path: edit(path, "DROP TABLE xattr"), "is damaged (no xattr)"),
    "no index": (lambda path: edit(path, "DROP INDEX dentry_ino"), "is damaged (no dentry_ino)"),
    "births": (
        lambda path: edit(path, "DROP TABLE birth", "CREATE TABLE birth (ino)"),
        "is damaged (no birth)",
    ),
    "no root": (lambda path: edit(path, "UPDATE inode SET mode = 0"), "no root directory"),
    "next_ino": (lambda path: edit(path, NEXT_INO_IN_USE), "is damaged (next_ino 1)"),
    "first pages": (lambda path: overwrite(path, 100, 8000), "is damaged"),
    "last page": (lambda path: overwrite(path, -4096, 200), "is damaged"),
    "cut short": (cut_short, "is damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_file_that_is_not_this_images_is_refused_unchanged(path: Path, case: str) -> None:
    """(F1) one line that names the file, and not one byte changed."""
    prepare, reason = REFUSED[case]
    prepare(path)
    before = {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()}
    with pytest.raises(MetadataError) as refusal:
        Metadata.open(path, UUID_OURS)
    message = str(refusal.value)
    assert reason in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()} == before


def test_other_images_log_is_not_written_back(path: Path, tmp_path: Path) -> None:
    """(F1) for a file that a crash left with a log beside it."""
    metadata = create(path)
    metadata.new_ino()
    metadata.commit()
    copy = tmp_path / "crashed.meta"
    log = Path(f"{copy}-wal")
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", log)
    metadata.close()
    before = copy.read_bytes(), log.read_bytes()
    with pytest.raises(MetadataError, match="belongs to another image"):
        Metadata.open(copy, UUID_OTHER)
    assert (copy.read_bytes(), log.read_bytes()) == before


def test_log_behind_a_link_counts_before_anything_is_written(path: Path, tmp_path: Path) -> None:
    """(F1) The UUID is in the log alone."""
    metadata = create(path)
    metadata.change("UPDATE meta SET value = ? WHERE key = 'uuid'", str(UUID_OTHER))
    metadata.commit()
    copy = tmp_path / "crashed.meta"
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    metadata.close()
    link = tmp_path / "link"
    link.symlink_to(copy)
    before = copy.read_bytes()
    with pytest.raises(MetadataError, match="belongs to another image"):
        Metadata.open(metadata_path("unused", str(link)), UUID_OURS)
    assert copy.read_bytes() == before


def test_file_in_use_is_refused(path: Path) -> None:
    metadata = create(path)
    metadata.commit()
    with pytest.raises(MetadataError, match="is in use; unmount the image first"):
        Metadata.open(path, UUID_OURS)
    metadata.commit()
    metadata.close()


def test_header_names_the_program(path: Path) -> None:
    create(path).close()
    assert path.read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"fuFs"


@pytest.mark.parametrize("found", [b"\2\0\1", b"\1\2\0", b"\2\2\1", b"\3\3\0"], ids=bytes.hex)
def test_header_that_sqlite_would_mend_is_left_as_it_is(path: Path, found: bytes) -> None:
    """(F1): changed half-way, the file would look like another kind of damage afterwards."""
    create(path).close()
    content = bytearray(path.read_bytes())
    content[18:21] = found
    path.write_bytes(content)
    with pytest.raises(MetadataError, match="no known file format"):
        Metadata.open(path, UUID_OURS)
    assert path.read_bytes() == content
