"""Deleted files give their blocks back, piece by piece, also over a crash."""

import stat
from pathlib import Path

import pytest

from fusefs.model.errors import FsError
from fusefs.model.iomap import FREE_COST_MAX, freed_space_committed
from fusefs.model.options import Options
from fusefs.store import deleted as deleted_module
from fusefs.store.fsck.run import CLEAN, fsck
from fusefs.store.node import Node
from fusefs.store.volume import Volume, make_image


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    image, metadata = str(tmp_path / "image"), str(tmp_path / "image.meta")
    make_image(image, metadata, Options(size=1 << 30))
    return image, metadata


def make_in_pieces(volume: Volume, count: int) -> Node:
    """A file of count written blocks, with a hole behind each."""
    node = volume.namespace.make(1, b"file", stat.S_IFREG | 0o600, 0, 0, 0, 1)
    assert node.inode is not None
    for number in range(count):
        physical, _ = volume.fs.space.allocate(1)
        node.inode.extents.allocate(2 * number, 1, physical)
    node.inode.size = node.inode.disk_size = 2 * count * 1024
    node.inode.changed = True
    return node


async def test_blocks_of_a_large_deleted_file_are_freed_over_several_commits(
    paths: tuple[str, str],
):
    """None takes long, and the last one leaves nothing."""
    volume = Volume.open(*paths, Options())
    free_count = volume.fs.space.free_count
    make_in_pieces(volume, 3 * FREE_COST_MAX)
    await volume.commit()
    volume.release(volume.namespace.unlink(1, b"file", 2))
    frees = []
    while volume.deleted.has_inactive:
        before = volume.fs.space.free_count
        await volume.commit()
        frees.append(volume.fs.space.free_count - before)
        assert frees[-1] < 3 * FREE_COST_MAX
    await volume.commit()
    assert len(frees) > 1
    assert volume.fs.space.free_count == free_count
    assert volume.metadata.inode_count == 1
    volume.close()
    assert is_clean(paths)


@pytest.mark.parametrize("blocks", [3, 2 * FREE_COST_MAX], ids=["at-once", "in-pieces"])
async def test_map_of_a_deleted_file_does_not_stay_in_memory(paths: tuple[str, str], blocks: int):
    """(E4) Nobody stores it any more: without room for chunks none is left but the last file's."""
    volume = Volume.open(*paths, Options())
    cache = volume.nodes.chunk_cache
    cache.limit_bytes = 0
    kept = []
    for _ in range(4):
        make_in_pieces(volume, blocks)
        await volume.commit()
        volume.release(volume.namespace.unlink(1, b"file", 2))
        await volume.commit()
        while volume.deleted.has_inactive:
            await volume.commit()
        kept.append(cache.bytes)
    assert kept == kept[:1] * 4
    volume.close()


@pytest.mark.parametrize("commits", [0, 1, 2, 3])
async def test_next_mount_goes_on_with_what_a_crash_left_of_a_deleted_file(
    paths: tuple[str, str], commits: int
):
    """At once, and without an orphan at the end."""
    volume = Volume.open(*paths, Options())
    free_count = volume.fs.space.free_count
    make_in_pieces(volume, 3 * FREE_COST_MAX).opens = 1
    await volume.commit()
    with volume.changing:
        node = volume.namespace.unlink(1, b"file", 2)
    await volume.commit()
    node.opens = 0
    volume.release(node)
    for _ in range(commits):
        await volume.commit()
    volume.close()  # as a crash does: what is not committed is lost
    volume = Volume.open(*paths, Options())
    for _ in range(4):
        await volume.commit()
    assert not volume.deleted.has_inactive
    assert (volume.fs.space.free_count, volume.metadata.inode_count) == (free_count, 1)
    volume.close()
    assert is_clean(paths)


async def test_writer_without_room_waits_for_what_deleted_files_will_give(paths: tuple[str, str]):
    """It asks for commits until there is room; not before all is freed, there is none."""
    volume = Volume.open(*paths, Options())
    make_in_pieces(volume, 3 * FREE_COST_MAX)
    await volume.commit()
    volume.release(volume.namespace.unlink(1, b"file", 2))
    await volume.commit()
    volume.fs.space.reserve(volume.fs.space.available_count)
    asked = freed_space_committed(volume.fs)
    assert asked.send(None).name == "space.commit"
    asked.close()
    while volume.deleted.has_inactive:
        await volume.commit()
    await volume.commit()
    with pytest.raises(StopIteration) as end:
        freed_space_committed(volume.fs).send(None)
    assert end.value.value is False
    volume.close()


async def test_df_shows_all_that_a_deleted_file_will_give(paths: tuple[str, str]):
    """From the unlink on, whatever part has been freed; also after a crash on the way."""
    volume = Volume.open(*paths, Options())
    all_of_it = volume.available_count()
    make_in_pieces(volume, 3 * FREE_COST_MAX)
    await volume.commit()
    assert volume.available_count() == all_of_it - 3 * FREE_COST_MAX
    volume.release(volume.namespace.unlink(1, b"file", 2))
    for _ in range(2):
        assert volume.available_count() == all_of_it
        await volume.commit()
    assert volume.deleted.has_inactive
    volume.close()
    volume = Volume.open(*paths, Options())
    assert volume.fs.space.free_count < all_of_it
    while volume.deleted.has_inactive:
        assert volume.available_count() == all_of_it
        await volume.commit()
    assert volume.available_count() == volume.fs.space.free_count == all_of_it
    volume.close()


async def test_writer_waits_also_for_a_commit_that_gives_nothing_yet(
    paths: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    """Many empty orphans come before the one that has blocks."""
    monkeypatch.setattr(deleted_module, "INACTIVE_FILES_MAX", 2)
    volume = Volume.open(*paths, Options())
    with volume.changing:
        for _ in range(5):
            volume.namespace.make(1, None, stat.S_IFREG | 0o600, 0, 0, 0, 1)
        make_in_pieces(volume, 3)
        volume.namespace.unlink(1, b"file", 2)
    await volume.commit()
    volume.close()
    volume = Volume.open(*paths, Options())
    gave = []
    while not volume.fs.space.returned_count:
        asked = freed_space_committed(volume.fs)
        assert asked.send(None).name == "space.commit"
        await volume.commit()
        with pytest.raises(StopIteration) as end:
            asked.send(None)
        gave.append(end.value.value)
    assert gave == [True, True, True]
    volume.close()


async def test_deleted_file_with_a_damaged_map_ends_all_changes(paths: tuple[str, str]):
    """Its blocks are not known: nothing else is committed that could rely on them, and the
    image can be looked at.
    """
    volume = Volume.open(*paths, Options())
    node = make_in_pieces(volume, 10)
    node.opens = 1
    await volume.commit()
    with volume.changing:
        volume.namespace.unlink(1, b"file", 2)
        volume.metadata.change("UPDATE chunk SET runs = x'00'")
    await volume.commit()
    volume.close()
    volume = Volume.open(*paths, Options())
    with pytest.raises(FsError, match="EIO"):
        await volume.commit()
    assert f"the map of inode {node.ino} is damaged" in volume.health.failure
    assert volume.namespace.entries(1, 0, 9)
    volume.close()


def is_clean(paths: tuple[str, str]) -> bool:
    return fsck(*paths, repairs=False, as_json=True) == CLEAN
