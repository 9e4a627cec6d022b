"""Maps and free space as they are stored, and what damage of them is noticed in use."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from fusefs.model.chunk import CHUNK_END
from fusefs.model.errors import FsError
from fusefs.model.extents import CHUNK_BLOCKS, ChunkCache, ExtentMap, State
from fusefs.model.space import GROUP_BLOCKS, GROUP_BYTES, Space
from fusefs.store.metadata import Metadata, MetadataError
from fusefs.store.stored_blocks import InodeMap, load_space, save_map, save_space

UUID_OURS = UUID("6f756f75-0000-4000-8000-000000000001")
BLOCK_COUNT = 100_000


def create(path: Path | str) -> Metadata:
    return Metadata.create(path, UUID_OURS, 1024, BLOCK_COUNT, 1000, 100, 7)


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


def map_of(metadata: Metadata, ino: int) -> ExtentMap:
    return ExtentMap(InodeMap(metadata, ino, ChunkCache()))


def store_blocks(metadata: Metadata, ino: int, *blocks: int) -> None:
    """Give an inode one allocated block at each of the places, physical blocks 1, 2, ..."""
    extents = map_of(metadata, ino)
    for physical, block in enumerate(blocks, start=1):
        extents.allocate(block, 1, physical)
    save_map(metadata, ino, extents)


def commit(metadata: Metadata, space: Space) -> None:
    space.begin_commit()
    save_space(metadata, space)
    metadata.commit()
    space.end_commit()


# -- maps ------------------------------------------------------------------------------


def test_map_is_read_back(path: Path) -> None:
    metadata = create(path)
    extents = map_of(metadata, 2)
    extents.allocate(3, 4, 50)
    extents.convert(4, 5)
    save_map(metadata, 2, extents)
    metadata.commit()
    metadata = reopen(metadata)
    states = [(m.state, m.block, m.count, m.physical) for m in map_of(metadata, 2).mappings(3, 7)]
    assert states == [
        (State.UNWRITTEN, 3, 1, 50),
        (State.MAPPED, 4, 1, 51),
        (State.UNWRITTEN, 5, 2, 52),
    ]
    metadata.close()


def test_maps_of_others_are_not_mixed_in(metadata: Metadata) -> None:
    """Their rows lie side by side."""
    for ino, number in ((2, 5), (3, 7), (4, 1)):
        store_blocks(metadata, ino, number * CHUNK_BLOCKS)
    stored = InodeMap(metadata, 3, ChunkCache())
    assert (stored.first_stored(0), stored.first_stored(8)) == (7, None)
    assert (stored.last_stored(CHUNK_END), stored.last_stored(7)) == (7, None)
    assert stored.load(5) is None


def test_largest_file_has_a_map(metadata: Metadata) -> None:
    last = (CHUNK_END - 1) * CHUNK_BLOCKS
    store_blocks(metadata, 2, 0, last)
    found = [m.block for m in map_of(metadata, 2).mappings(1, last + 1)]
    assert found == [1, last]


def test_save_writes_the_changed_chunks_and_forgets_the_empty(metadata: Metadata) -> None:
    extents = map_of(metadata, 2)
    extents.allocate(0, 2, 10)
    extents.allocate(CHUNK_BLOCKS, 2, 20)
    save_map(metadata, 2, extents)
    assert not extents.chunks_dirty
    extents.remove(0, 2)
    save_map(metadata, 2, extents)
    assert metadata.query("SELECT number FROM chunk WHERE ino = 2") == [(1,)]


@pytest.mark.parametrize(
    "change",
    ["runs = x'00'", "unwritten = x'ff'", "runs = zeroblob(48)"],
    ids=["runs cut", "bitmap cut", "runs empty"],
)
def test_damaged_chunk_is_an_io_error(metadata: Metadata, change: str) -> None:
    store_blocks(metadata, 2, 0)
    metadata.change(f"UPDATE chunk SET {change}")
    extents = map_of(metadata, 2)
    for _ in range(2):
        with pytest.raises(FsError, match="EIO"):
            extents.find(0, 1)
    assert not extents.chunks


CHANGES: dict[str, Callable[[ExtentMap], object]] = {
    "allocate": lambda extents: extents.allocate(1, 1, 50),
    "reserve": lambda extents: extents.reserve(1, 1),
    "convert": lambda extents: extents.convert(0, 1),
    "remove": lambda extents: extents.remove(0, 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_damaged_chunk_is_not_changed(metadata: Metadata, change: str) -> None:
    """Changed, it would be stored as if what cannot be read had never been there."""
    store_blocks(metadata, 2, 0)
    metadata.change("UPDATE chunk SET runs = x'00'")
    extents = map_of(metadata, 2)
    with pytest.raises(FsError, match="EIO"):
        CHANGES[change](extents)
    assert not extents.chunks
    assert not extents.chunks_dirty
    assert not extents.blocks_delalloc


@pytest.mark.parametrize("physical", [0, BLOCK_COUNT - 1, BLOCK_COUNT, 1 << 63])
def test_chunk_that_points_out_of_the_image_is_an_io_error(
    metadata: Metadata, physical: int
) -> None:
    """Block 0 is the superblock, and must not be written to either."""
    extents = ExtentMap()
    extents.allocate(0, 2, physical)
    save_map(metadata, 2, extents)
    with pytest.raises(FsError, match="EIO"):
        map_of(metadata, 2).find(0, 1)


# -- free space ------------------------------------------------------------------------


def test_free_space_is_read_back(path: Path) -> None:
    metadata = create(path)
    space = load_space(metadata)
    assert space.free_count == BLOCK_COUNT - 1
    space.allocate(3)
    space.allocate(GROUP_BLOCKS)
    space.allocate(4, goal=2 * GROUP_BLOCKS + 50)
    space.free([(2 * GROUP_BLOCKS + 50, 1)])
    commit(metadata, space)
    metadata = reopen(metadata)
    loaded = load_space(metadata)
    assert loaded.free_count == space.free_count == BLOCK_COUNT - 1 - (GROUP_BLOCKS - 1) - 3
    assert loaded.groups_full == space.groups_full
    assert not loaded.groups, "what is not needed is not read"
    assert loaded.allocate(9, goal=2 * GROUP_BLOCKS + 50) == (2 * GROUP_BLOCKS + 50, 1)
    assert loaded.allocate(1, goal=5) == (2 * GROUP_BLOCKS + 54, 1)
    metadata.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM meta WHERE key = 'free_count'",
        "UPDATE meta SET value = -1 WHERE key = 'free_count'",
        f"UPDATE meta SET value = {BLOCK_COUNT} WHERE key = 'free_count'",
        "UPDATE meta SET value = 'many' WHERE key = 'free_count'",
        "INSERT INTO space_full VALUES (0, x'00')",
        "INSERT INTO space_full VALUES (1, zeroblob(4096))",
    ],
)
def test_damage_of_what_a_mount_relies_on_is_named(metadata: Metadata, statement: str) -> None:
    metadata.change(statement)
    with pytest.raises(MetadataError, match="is damaged"):
        load_space(metadata)


@pytest.mark.parametrize("used", [b"\0", b"\xff" * GROUP_BYTES], ids=["cut", "beyond the image"])
def test_damaged_group_is_an_io_error(metadata: Metadata, used: bytes) -> None:
    """And nothing is handed out of it."""
    last = BLOCK_COUNT // GROUP_BLOCKS
    metadata.change("INSERT INTO space_group VALUES (?, ?)", last, used)
    space = load_space(metadata)
    for _ in range(2):
        with pytest.raises(FsError, match="EIO"):
            space.allocate(1, goal=last * GROUP_BLOCKS)
    assert space.free_count == BLOCK_COUNT - 1
    assert space.allocate(1, goal=7) == (7, 1)
