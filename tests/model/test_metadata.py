"""What the metadata keep, what a crash leaves of them, and what damage is noticed in use."""

import shutil
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from fusefs.errors import FsError
from fusefs.extents import CHUNK_BLOCKS, ExtentMap, State
from fusefs.live.metadata import (
    CHUNK_END,
    CHUNKS_RECORDED_MAX,
    Attributes,
    Metadata,
    MetadataError,
    clamp_time,
)
from fusefs.live.metadata_file import ROOT_INO
from fusefs.live.stored import TIME_NS_MAX, TIME_NS_MIN
from fusefs.space import GROUP_BYTES, Space

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


def store_blocks(metadata: Metadata, ino: int, *blocks: int) -> None:
    """Give an inode one allocated block at each of the places, physical blocks 1, 2, ..."""
    extents = ExtentMap()
    for physical, block in enumerate(blocks, start=1):
        extents.allocate(block, 1, physical)
    metadata.save_map(ino, extents)


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
    metadata.save_attributes(replace(FILE, ino=ino))
    extents = ExtentMap()
    extents.allocate(3, 4, 50)
    extents.convert(4, 5)
    metadata.save_map(ino, extents)
    space = Space(BLOCK_COUNT)
    space.allocate(4, goal=50)
    space.begin_commit()
    metadata.save_groups(space)
    metadata.commit()

    metadata = reopen(metadata)
    assert (metadata.uuid, metadata.block_size, metadata.block_count) == (
        UUID_OURS,
        BLOCK_SIZE,
        BLOCK_COUNT,
    )
    assert metadata.load_attributes(ino) == replace(FILE, ino=ino)
    found = ExtentMap(complete=False)
    metadata.load_map(ino, found)
    states = [(m.state, m.block, m.count, m.physical) for m in found.mappings(3, 7)]
    assert states == [
        (State.UNWRITTEN, 3, 1, 50),
        (State.MAPPED, 4, 1, 51),
        (State.UNWRITTEN, 5, 2, 52),
    ]
    loaded = Space(BLOCK_COUNT)
    metadata.load_groups(loaded)
    assert loaded.free_count == space.free_count
    assert loaded.groups_used == space.groups_used
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
    metadata.save_attributes(replace(FILE, size=9999))
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
    """(M4) Half of an unlink was committed: the name had gone, the link count had not."""
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
    metadata.save_attributes(replace(FILE, size=1))
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


# -- block maps ------------------------------------------------------------------------


def test_narrow_load_notes_holes_as_looked_at(metadata: Metadata) -> None:
    store_blocks(metadata, 2, 0, 9 * CHUNK_BLOCKS)
    extents = ExtentMap(complete=False)
    metadata.load_map(2, extents, 0, 3)
    assert extents.chunks_loaded == {0, 1, 2}
    assert set(extents.chunks) == {0}
    assert not extents.complete


def test_load_that_leaves_nothing_outside_makes_the_map_complete(metadata: Metadata) -> None:
    store_blocks(metadata, 2, CHUNK_BLOCKS)
    extents = ExtentMap(complete=False)
    metadata.load_map(2, extents, 1, 2)
    assert extents.complete


def test_wide_load_costs_what_is_stored(metadata: Metadata) -> None:
    """A sparse file may span 2**42 chunks."""
    last = (CHUNK_END - 1) * CHUNK_BLOCKS
    store_blocks(metadata, 2, 0, 100 * CHUNK_BLOCKS, last)
    extents = ExtentMap(complete=False)
    metadata.load_map(2, extents, 1, CHUNK_END)
    assert extents.chunks_loaded == {100, CHUNK_END - 1}
    assert not extents.complete
    metadata.load_map(2, extents)
    assert extents.chunks_loaded == {0, 100, CHUNK_END - 1}
    assert extents.complete


@pytest.mark.parametrize("end", [1, CHUNKS_RECORDED_MAX + 1, CHUNK_END])
def test_load_keeps_the_chunk_in_memory(metadata: Metadata, end: int) -> None:
    """(M3)"""
    store_blocks(metadata, 2, 0)
    extents = ExtentMap(complete=False)
    metadata.load_map(2, extents, 0, 1)
    extents.complete = False
    extents.chunks_loaded.clear()
    extents.convert(0, 1)
    metadata.load_map(2, extents, 0, end)
    assert extents.find(0, 1).state is State.MAPPED


def test_save_writes_the_changed_chunks_and_forgets_the_empty(metadata: Metadata) -> None:
    extents = ExtentMap()
    extents.allocate(0, 2, 10)
    extents.allocate(CHUNK_BLOCKS, 2, 20)
    metadata.save_map(2, extents)
    assert not extents.chunks_dirty
    extents.remove(0, 2)
    metadata.save_map(2, extents)
    assert metadata.query("SELECT number FROM chunk WHERE ino = 2") == [(1,)]


@pytest.mark.parametrize(
    "change",
    ["runs = x'00'", "unwritten = x'ff'", "runs = zeroblob(48)"],
    ids=["runs cut", "bitmap cut", "runs empty"],
)
def test_damaged_chunk_is_an_io_error(metadata: Metadata, change: str) -> None:
    store_blocks(metadata, 2, 0)
    metadata.change(f"UPDATE chunk SET {change}")
    extents = ExtentMap(complete=False)
    for _ in range(2):
        with pytest.raises(FsError, match="EIO"):
            metadata.load_map(2, extents, 0, 1)
    assert not extents.chunks


@pytest.mark.parametrize("physical", [0, BLOCK_COUNT - 1, BLOCK_COUNT, 1 << 63])
def test_chunk_that_points_out_of_the_image_is_an_io_error(
    metadata: Metadata, physical: int
) -> None:
    """Block 0 is the superblock, and must not be written to either."""
    extents = ExtentMap()
    extents.allocate(0, 2, physical)
    metadata.save_map(2, extents)
    with pytest.raises(FsError, match="EIO"):
        metadata.load_map(2, ExtentMap(complete=False))


# -- inodes and space ------------------------------------------------------------------


def test_deleted_inode_leaves_nothing(metadata: Metadata) -> None:
    ino = metadata.new_ino()
    metadata.save_attributes(replace(FILE, ino=ino))
    metadata.change("INSERT INTO xattr VALUES (?, x'61', x'62')", ino)
    store_blocks(metadata, ino, 0)
    metadata.delete_inode(ino)
    assert metadata.load_attributes(ino) is None
    assert metadata.query("SELECT ino FROM xattr UNION SELECT ino FROM chunk") == []
    assert metadata.count_inodes() == 1


def test_orphans_give_their_blocks_back_after_the_next_commit(path: Path) -> None:
    metadata = create(path)
    space = Space(BLOCK_COUNT)
    free_count = space.free_count
    first, count = space.allocate(8)
    extents = ExtentMap()
    extents.allocate(200 * CHUNK_BLOCKS, count, first)
    ino = metadata.new_ino()
    metadata.save_attributes(replace(FILE, ino=ino, nlink=0, blocks=8))
    metadata.save_map(ino, extents)
    space.begin_commit()
    metadata.save_groups(space)
    metadata.commit()

    metadata = reopen(metadata)
    space = Space(BLOCK_COUNT)
    metadata.load_groups(space)
    assert metadata.orphans() == [ino]
    assert metadata.delete_orphans(space) == 1
    assert space.free_count == free_count - 8
    space.begin_commit()
    metadata.save_groups(space)
    metadata.commit()
    space.end_commit()
    assert space.free_count == free_count

    metadata = reopen(metadata)
    space = Space(BLOCK_COUNT)
    metadata.load_groups(space)
    assert (metadata.orphans(), space.free_count) == ([], free_count)
    metadata.close()


def test_orphan_with_a_damaged_map_is_named(metadata: Metadata) -> None:
    metadata.save_attributes(replace(FILE, nlink=0))
    metadata.change("INSERT INTO chunk VALUES (?, 0, x'00', x'00')", FILE.ino)
    with pytest.raises(MetadataError, match=f"the map of deleted inode {FILE.ino}"):
        metadata.delete_orphans(Space(BLOCK_COUNT))


def test_free_blocks_gives_reservations_back(metadata: Metadata) -> None:
    space = Space(BLOCK_COUNT)
    space.reserve(3)
    extents = ExtentMap()
    extents.reserve(0, 3)
    metadata.free_blocks(2, extents, space)
    assert (space.reserved_count, extents.blocks_delalloc) == (0, 0)


@pytest.mark.parametrize("number", [0, 3, 1000])
def test_damaged_group_is_named(metadata: Metadata, number: int) -> None:
    used = b"\0" if number == 0 else b"\xff" * GROUP_BYTES
    metadata.change("INSERT INTO space_group VALUES (?, ?)", number, used)
    with pytest.raises(MetadataError, match=f"allocation group {number} is damaged"):
        metadata.load_groups(Space(BLOCK_COUNT))


def test_times_beyond_what_is_stored_are_clamped(metadata: Metadata) -> None:
    low, high = clamp_time(-(10**30)), clamp_time(10**30)
    assert (low, clamp_time(5), high) == (TIME_NS_MIN, 5, TIME_NS_MAX)
    metadata.save_attributes(replace(FILE, atime_ns=low, mtime_ns=high))
    assert metadata.load_attributes(FILE.ino) == replace(FILE, atime_ns=low, mtime_ns=high)
