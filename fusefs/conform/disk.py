"""A file system of the kernel's own: an image, a loop device, mkfs, a mount.

    with disk("xfs", block_size=1024) as made:
        (made.path / "f").write_bytes(b"...")

Afterwards all of it is gone, whatever happened: the mount, the loop device, the image.
The image is in memory where it can be, so that its own device has no part in what is seen.

XFS is made without reflinks, which the model has not: copy_file_range(2) copies.  Its least block
is 1 KiB: 512 bytes need a version 4 file system, which kernels refuse since CONFIG_XFS_SUPPORT_V4
is off.

Units: sizes are bytes.
Errors: NoDisk, one line that says what is missing and what to do.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fusefs.ending import ended_in_order

KINDS: Final = ("xfs", "ext4")

BLOCK_SIZES: Final = (1024, 2048, 4096)

IMAGE_SIZE: Final = 512 << 20
"""mkfs.xfs wants 300 MiB; what is not written takes no room."""

MEMORY: Final = "/dev/shm"

_MKFS: Final = {
    "xfs": ("-q", "-m", "reflink=0", "-b", "size={block_size}"),
    "ext4": ("-q", "-F", "-b", "{block_size}", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
}
_PACKAGES: Final = {"xfs": "xfsprogs", "ext4": "e2fsprogs"}

TIMEOUT_S: Final = 60.0
"""For one command; mkfs on a busy machine takes some seconds."""

READAHEAD_UNIT: Final = 1024
"""sysfs has it in KiB."""


class NoDisk(Exception):
    """One line."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system.

    path        where it is mounted
    device      major and minor of the loop device, as events and stat(2) have them
    """

    kind: str
    path: Path
    device: tuple[int, int]
    block_size: int

    def set_readahead(self, size: int) -> None:
        """The largest window of files that are opened from now on; 0 for none."""
        major, minor = self.device
        path = Path(f"/sys/class/bdi/{major}:{minor}/read_ahead_kb")
        path.write_text(str(size // READAHEAD_UNIT))


def missing(kind: str, block_size: int) -> str | None:
    """Why there can be no such disk here, in a line; None if nothing is known to be missing."""
    if os.getuid():
        return "only root can make a loop device and mount a file system"
    if kind not in KINDS:
        return f"no file system {kind}: there are {', '.join(KINDS)}"
    if block_size not in BLOCK_SIZES:
        return f"no block size {block_size}: {kind} has {', '.join(map(str, BLOCK_SIZES))} here"
    if not shutil.which(f"mkfs.{kind}"):
        return f"mkfs.{kind} is missing (package {_PACKAGES[kind]})"
    if not os.path.exists("/dev/loop-control"):
        return "/dev/loop-control is missing ('modprobe loop')"
    return None


@contextlib.contextmanager
def disk(kind: str = "xfs", block_size: int = 1024) -> Iterator[Disk]:
    """A Disk, and nothing of it afterwards."""
    reason = missing(kind, block_size)
    if reason:
        raise NoDisk(reason)
    with ExitStack() as undo:
        undo.enter_context(ended_in_order())
        directory = _directory(undo)
        image, path = directory / "image", directory / "mnt"
        path.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        loop = _run("losetup", "--find", "--show", str(image)).strip()
        undo.callback(_undo, "losetup", "--detach", loop)
        words = [word.format(block_size=block_size) for word in _MKFS[kind]]
        _run(f"mkfs.{kind}", *words, loop)
        _run("mount", "-t", kind, loop, str(path))
        undo.callback(_unmount, path)
        number = os.stat(loop).st_rdev
        yield Disk(kind, path, (os.major(number), os.minor(number)), block_size)


def _directory(undo: ExitStack) -> Path:
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="conform-", dir=where))
    undo.callback(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _run(*words: str) -> str:
    """What a command prints; NoDisk with the first line of what it complains of."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise NoDisk(f"{words[0]} is missing (package util-linux)") from None
    except subprocess.TimeoutExpired:
        raise NoDisk(f"{words[0]} has not ended after {TIMEOUT_S:g} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NoDisk(lines[0] if lines else f"{words[0]} failed")
    return done.stdout


def _undo(*words: str) -> None:
    subprocess.run(words, capture_output=True, timeout=TIMEOUT_S, check=False)


def _unmount(path: Path) -> None:
    """Even if somebody still has a file of it open."""
    done = subprocess.run(["umount", path], capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        _undo("umount", "--lazy", str(path))
