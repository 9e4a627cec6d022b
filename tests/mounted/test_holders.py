"""An image that is in use: the refusal says where, and how to end it."""

import errno
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounted.clients import (
    FORGET_OTHERS,
    PRIVATE_MOUNTS,
    eventually,
    fails_with,
    lacking,
    loop_device,
    need,
    need_private_mounts,
    needs_root,
    run,
)
from mounted.commands import FAILED, refused, tool
from mounted.mounting import Mount

from fusefs.mounts import is_mounted

pytestmark = pytest.mark.mounted


@pytest.fixture
def second(tmp_path: Path) -> Path:
    path = tmp_path / "second"
    path.mkdir()
    return path


@pytest.fixture
def third(tmp_path: Path) -> Path:
    path = tmp_path / "third"
    path.mkdir()
    return path


def tells_connections() -> bool:
    """Linux 6.13: whether /dev/fuse says whose connection it is."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int(minor)) >= (6, 13)


def test_image_that_is_mounted_is_refused_with_its_mountpoint(mounted: Mount, second: Path):
    if not tells_connections():
        lacking("this kernel does not say which mount a descriptor of /dev/fuse serves")
    where = f"in use: it is mounted on {mounted.path}"
    refused(FAILED, "mount", mounted.image, second, saying=where)
    refused(FAILED, "mkfs", mounted.image, "--force", "-o", "size=1m", saying=where)
    refused(8, "fsck", mounted.image, saying=where)
    assert not is_mounted(second)


@pytest.fixture
def namespace(mounted: Mount) -> Iterator[Callable[[], int]]:
    """namespace() -> the process of a new mount namespace, with a copy of the mount."""
    need_private_mounts()
    processes: list[subprocess.Popen[bytes]] = []

    def make() -> int:
        process = subprocess.Popen(
            [*PRIVATE_MOUNTS, "sh", "-c", f"{FORGET_OTHERS}echo; exec sleep 1000"],
            env=os.environ | {"kept": str(mounted.path)},
            stdout=subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        return process.pid

    yield make
    for process in processes:
        process.kill()
        process.communicate()


@needs_root
def test_namespace_that_keeps_a_mount_is_named(
    mounted: Mount, second: Path, namespace: Callable[[], int]
):
    if not tells_connections():
        lacking("this kernel does not say which mount a descriptor of /dev/fuse serves")
    pid = namespace()
    why = f"has a mount namespace in which it is still mounted on {mounted.path}"
    way_out = f"nsenter -m -r -t {pid} umount {mounted.path}"
    how = f"process {pid} (sleep) {why}: end that process, or '{way_out}'"
    refused(FAILED, "umount", mounted.path, saying=how)
    refused(FAILED, "mount", mounted.image, second, saying=f"process {pid} (sleep) {why}")
    assert not is_mounted(second)
    subprocess.run(way_out.split(), check=True)
    eventually(lambda: tool("mount", mounted.image, second).returncode == 0, "the mount")
    assert tool("umount", second).returncode == 0


# -- devices -----------------------------------------------------------------------------

SIZE = 16 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE)
    return path


@pytest.fixture
def loop(disk: Path, tmp_path: Path) -> Iterator[str]:
    with loop_device(disk) as device:
        yield device


def metadata(tmp_path: Path, name: str = "meta") -> tuple[str, str]:
    return "-o", f"metadata={tmp_path / name}"


@contextmanager
def mounted_device(device: str, mountpoint: Path, *options: str) -> Iterator[None]:
    """It ends before the loop device does, which losetup would take away only then."""
    made = tool("mount", device, mountpoint, *options)
    assert made.returncode == 0, made.stderr
    try:
        yield
    finally:
        assert tool("umount", mountpoint).returncode == 0


@needs_root
@pytest.mark.parametrize("flags", ["rw", "ro"])
def test_device_is_claimed_while_it_is_mounted(tmp_path: Path, loop: str, second: Path, flags: str):
    """As by the kernel's own filesystems: nothing else mounts it, or makes a filesystem there."""
    need("mkfs.ext4")
    words = metadata(tmp_path)
    assert tool("mkfs", loop, *words).returncode == 0
    with mounted_device(loop, second, *words, "-o", flags):
        with fails_with(errno.EBUSY):
            os.open(loop, os.O_RDWR | os.O_EXCL)
        for command in (["mkfs.ext4", "-q", "-F", loop], ["mount", "-t", "ext4", loop, second]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode != 0
        os.close(os.open(loop, os.O_RDONLY))  # who only looks is let in, as blkid
    os.close(os.open(loop, os.O_RDWR | os.O_EXCL))
    assert tool("fsck", loop, *words).returncode == 0


@needs_root
def test_device_that_is_mounted_is_refused_with_its_mountpoint(
    tmp_path: Path, loop: str, second: Path, third: Path
):
    words = metadata(tmp_path)
    assert tool("mkfs", loop, *words).returncode == 0
    with mounted_device(loop, second, *words):
        where = "already mounted, or in use"
        if tells_connections():
            where = f"{where}: it is mounted on {second}"
        refused(FAILED, "mount", loop, third, *words, saying=where)
        refused(FAILED, "mkfs", loop, "--force", *metadata(tmp_path, "other"), saying=where)
        refused(8, "fsck", loop, *words, saying=where)


@needs_root
def test_device_of_another_filesystem_is_refused_with_its_mountpoint(
    tmp_path: Path, loop: str, second: Path, third: Path
):
    need("mkfs.ext4")
    run("mkfs.ext4", "-q", loop)
    run("mount", "-t", "ext4", loop, second)
    try:
        where = f"{loop}: already mounted, or in use: it is mounted on {second}, as ext4"
        words = metadata(tmp_path)
        refused(FAILED, "mkfs", loop, "--force", *words, saying=where)
        refused(FAILED, "mount", loop, third, *words, saying=where)
        refused(8, "fsck", loop, *words, saying=where)
    finally:
        run("umount", second)


@needs_root
def test_loop_device_of_a_mounted_image_is_left_alone(
    tmp_path: Path, mount: Callable[..., Mount], disk: Path, second: Path
):
    """It is another way to the bytes that the mount relies on; partitions and parts, too."""
    assert tool("mkfs", disk, "-o", "size=8m").returncode == 0
    m = mount(image=disk)
    (m.path / "file").write_bytes(b"precious")
    other = metadata(tmp_path, "other")
    for part in ([], ["-o", "1m"], ["--sizelimit", "4m"]):
        with loop_device(disk, *part) as loop:
            where = f"the file behind it, {disk}, is already mounted, or in use"
            if tells_connections():
                where = f"{where}: it is mounted on {m.path}"
            refused(FAILED, "mkfs", loop, "--force", *other, saying=where)
            if not part:
                refused(FAILED, "mount", loop, second, *other, saying=where)
                refused(8, "fsck", loop, *other, saying=where)
    m.remount()
    assert (m.path / "file").read_bytes() == b"precious"


@needs_root
def test_loop_device_of_a_deleted_image_that_is_mounted_is_left_alone(
    tmp_path: Path, mount: Callable[..., Mount], disk: Path
):
    assert tool("mkfs", disk, "-o", "size=8m").returncode == 0
    mount(image=disk)
    with loop_device(disk) as loop:
        disk.unlink()
        words = ("--force", *metadata(tmp_path, "other"))
        refused(FAILED, "mkfs", loop, *words, saying="is already mounted, or in use")


@needs_root
def test_file_of_a_mounted_loop_device_is_refused_with_its_mountpoint(
    tmp_path: Path, loop: str, disk: Path, second: Path, third: Path
):
    """One image, two ways to it; a second device over the same file is a third."""
    words = metadata(tmp_path)
    assert tool("mkfs", loop, *words).returncode == 0
    with mounted_device(loop, second, *words), loop_device(disk) as another:
        where = "already mounted, or in use"
        if tells_connections():
            where = f"{where}: it is mounted on {second}"
        for way in (disk, another):
            refused(FAILED, "mount", way, third, *words, saying=where)
            refused(8, "fsck", way, *words, saying=where)
        refused(FAILED, "mkfs", another, "--force", *metadata(tmp_path, "other"), saying=where)


@needs_root
def test_two_parts_of_a_file_are_mounted_side_by_side(
    tmp_path: Path, disk: Path, second: Path, third: Path
):
    """They share no byte: a disk with two partitions."""
    with (
        loop_device(disk, "--sizelimit", "8m") as one,
        loop_device(disk, "-o", "8m") as two,
    ):
        for device, name in ((one, "1"), (two, "2")):
            assert tool("mkfs", device, *metadata(tmp_path, name)).returncode == 0
        with (
            mounted_device(one, second, *metadata(tmp_path, "1")),
            mounted_device(two, third, *metadata(tmp_path, "2")),
        ):
            (second / "file").touch()
            assert list(third.iterdir()) == []
