"""mkfs loses nothing without a word, and --force does what it says."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import loop_device, need, needs_root, run
from mounted.commands import FAILED, nothing_changes, refused, tool
from mounted.mounting import Mount

SIZE = 16 << 20
LOST = "which would be lost; mkfs --force"


def make_ext4(path: Path) -> None:
    need("mkfs.ext4")
    with path.open("wb") as file:
        file.truncate(SIZE)
    run("mkfs.ext4", "-q", "-F", path)


def make_partitions(path: Path) -> None:
    """An MBR of one partition, which is all that blkid looks at."""
    table = bytearray(512)
    table[446:462] = bytes([0, 0, 2, 0, 0x83, 0, 8, 0]) + (1).to_bytes(4, "little") + b"\1\0\0\0"
    table[510:] = b"\x55\xaa"
    path.write_bytes(table + bytes(SIZE - 512))


HOLDS: dict[str, Callable[[Path], object]] = {
    "ext4": make_ext4,
    "dos": make_partitions,
    "data": lambda path: path.write_bytes(b"somebody's only copy"),
    "a fusefs image": lambda path: run_mkfs(path),
}


def run_mkfs(*words: object) -> None:
    result = tool("mkfs", *words)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("holds", HOLDS)
def test_what_a_file_holds_is_not_lost_without_force(
    tmp_path: Path, mount: Callable[..., Mount], image: Path, holds: str
):
    HOLDS[holds](image)
    elsewhere = ("-o", f"metadata={tmp_path / 'meta'},size=1m")
    with nothing_changes(tmp_path):
        refused(FAILED, "mkfs", image, *elsewhere, saying=f"holds {holds}, {LOST}")
    run_mkfs(image, "--force", "-o", "size=8m")
    m = mount()
    assert sorted(os.listdir(m.path)) == []
    assert image.stat().st_size == 8 << 20


def test_second_mkfs_says_what_it_would_lose(tmp_path: Path, image: Path):
    run_mkfs(image, "-o", "size=1m")
    with nothing_changes(tmp_path):
        refused(FAILED, "mkfs", image, saying="loses all files of the old one")
    old = image.read_bytes()[:64]
    run_mkfs(image, "--force", "-o", "size=1m")
    assert image.read_bytes()[:64] != old
    assert tool("fsck", image).returncode == 0


def test_file_that_is_one_hole_is_taken(mount: Callable[..., Mount], image: Path):
    """truncate -s 8m; mkfs: as large as it is, if no size is given."""
    os.close(os.open(image, os.O_CREAT))
    os.truncate(image, 8 << 20)
    run_mkfs(image)
    assert image.stat().st_size == 8 << 20
    assert mount().status()["space"]["blocks"] == 8 << 10


@pytest.mark.parametrize("last", [b"\0", b"\1"], ids=["zeros", "one byte"])
def test_file_of_zeros_is_taken_and_one_byte_is_not_lost(tmp_path: Path, image: Path, last: bytes):
    """dd if=/dev/zero of=image; mkfs image: mke2fs and mkfs.xfs take it, too."""
    image.write_bytes(bytes((2 << 20) - 1) + last)
    if last == b"\0":
        run_mkfs(image)
        assert tool("fsck", image).returncode == 0
    else:
        with nothing_changes(tmp_path):
            refused(FAILED, "mkfs", image, saying=f"holds data, {LOST}")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_bytes(b"no metadata of ours" * 100),
    "directory": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["mkfs", "mkfs --force"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_metadata_is_not_removed_as_such(
    tmp_path: Path, image: Path, kind: str, force: tuple[str, ...]
):
    precious = tmp_path / "precious"
    FOREIGN[kind](precious)
    with nothing_changes(tmp_path):
        words = (image, *force, "-o", f"metadata={precious}")
        refused(FAILED, "mkfs", *words, saying="is not fusefs metadata")


def test_metadata_of_a_mounted_image_is_left_alone_even_with_force(
    tmp_path: Path, mounted: Mount, image: Path
):
    (mounted.path / "file").write_bytes(b"x")
    words = (tmp_path / "other", "--force", "-o", f"metadata={image}.meta")
    refused(FAILED, "mkfs", *words, saying="is in use; unmount its image first")
    mounted.umount()
    assert tool("fsck", image).returncode == 0
    run_mkfs(*words)  # nobody uses it now, and force gives it up


@needs_root
def test_disk_of_a_loop_device_is_left_alone_even_with_force(tmp_path: Path, image: Path):
    """What is mounted from the device has no lock on the file."""
    make_ext4(image)
    with loop_device(image) as loop, nothing_changes(tmp_path):
        refused(FAILED, "mkfs", image, "--force", saying=f"in use, as {loop}")
    run_mkfs(image, "--force")


def test_mounted_image_is_left_alone_even_with_force(mounted: Mount, image: Path):
    refused(FAILED, "mkfs", image, "--force", saying="already mounted, or in use")
    (mounted.path / "file").write_bytes(b"x")


@pytest.mark.mounted
def test_size_of_an_existing_image_is_not_ignored(tmp_path: Path, image: Path):
    run_mkfs(image, "-o", "size=8m")
    (tmp_path / "mnt").mkdir()
    words = (image, tmp_path / "mnt", "-o", "size=32m")
    refused(FAILED, "mount", *words, saying="its size is 8m, not 32m")


# -- devices -----------------------------------------------------------------------------


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    path = tmp_path / "backing"
    make_ext4(path)
    return path


@needs_root
def test_what_a_device_holds_is_not_lost_without_force(tmp_path: Path, backing: Path):
    metadata = ("-o", f"metadata={tmp_path / 'meta'}")
    with loop_device(backing) as loop:
        with nothing_changes(tmp_path):
            refused(FAILED, "mkfs", loop, *metadata, saying=f"holds ext4, {LOST}")
        run_mkfs(loop, "--force", *metadata)
        assert tool("fsck", loop, *metadata).returncode == 0
        assert known_types(loop) == ""  # else mount(8) would take it for what it was
        with nothing_changes(tmp_path):
            other = ("-o", f"metadata={tmp_path / 'other'}")
            refused(FAILED, "mkfs", loop, *other, saying=f"holds a fusefs image, {LOST}")


def known_types(device: str) -> str:
    """What blkid makes of it; it ends with status 2 if that is nothing."""
    return run("sh", "-c", f"blkid -p -s TYPE -o value {device} || true").strip()


@needs_root
def test_metadata_of_a_device_does_not_go_into_dev(tmp_path: Path):
    """devtmpfs is memory: names and maps would be gone at the next boot."""
    (tmp_path / "empty").write_bytes(bytes(SIZE))
    with loop_device(tmp_path / "empty") as loop:
        refused(FAILED, "mkfs", loop, saying="needs -o metadata=FILE")
        assert not Path(f"{loop}.meta").exists()


@needs_root
@pytest.mark.parametrize(("size", "fits"), [("8m", True), ("16m", True), ("17m", False)])
def test_size_on_a_device_is_not_ignored(tmp_path: Path, size: str, fits: bool):
    (tmp_path / "empty").write_bytes(bytes(SIZE))
    words = ("-o", f"metadata={tmp_path / 'meta'},size={size},block_size=1k")
    with loop_device(tmp_path / "empty") as loop:
        if fits:
            run_mkfs(loop, *words)
            assert tool("fsck", loop, "-o", f"metadata={tmp_path / 'meta'}").returncode == 0
        else:
            refused(FAILED, "mkfs", loop, *words, saying="too small: 16777216 bytes")
