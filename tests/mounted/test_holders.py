"""An image that is in use: the refusal says where, and how to end it."""

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mounted.clients import (
    FORGET_OTHERS,
    PRIVATE_MOUNTS,
    eventually,
    lacking,
    need_private_mounts,
    needs_root,
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
