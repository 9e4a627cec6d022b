"""Who has a file: flock(2), and loop devices, whose disk it may be.

    locked_by()      the process with the flock(2) of a file
    device_on()      the loop device whose disk a file is
    file_behind()    the file that is the disk of a loop device

A file and a loop device over it are two inodes with a lock each, and one set of bytes.  So
whoever has the device takes the lock of the file as well.

Units: offsets and lengths are bytes.
"""

import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO64 = struct.Struct("=QQQQQI188x")  # device, inode, -, offset, limit, number
SECTOR_BYTES = 512


def locked_by(device: int, inode: int) -> int | None:
    """The process with the flock(2) of a file, as /proc/locks tells it."""
    try:
        with open("/proc/locks") as file:
            lines = file.readlines()
    except OSError:
        return None
    name = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    for line in lines:
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[5] == name and int(fields[4]) > 0:
            return int(fields[4])
    return None


def _path_in(backing_file: Path) -> str:
    return os.fsdecode(backing_file.read_bytes().removesuffix(b"\n"))


def device_on(path: str) -> str | None:
    """The loop device that a file is the disk of: whoever mounts that may have no lock on it."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # let go meanwhile, or out of our sight
            if os.path.samefile(_path_in(backing), path):
                return f"/dev/{backing.parts[3]}"
    return None


@dataclass(frozen=True, slots=True)
class FileBehind:
    """The disk of a loop device.

    Of a file that was deleted, or is another namespace's, the path leads nowhere.
    is_whole: the device shows all of it, and not a part, as a partition does.
    """

    path: str
    device: int
    inode: int
    is_whole: bool

    def lock(self) -> int | None:
        """A descriptor that has its lock, which devices over parts of it share.

        BlockingIOError if somebody else has it; None if the file is out of reach, or is where
        there are no such locks.
        """
        fd = self._open()
        if fd is None:
            if locked_by(self.device, self.inode) is not None:
                raise BlockingIOError
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_NB | (fcntl.LOCK_EX if self.is_whole else fcntl.LOCK_SH))
        except OSError as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                raise
            return None
        return fd

    def _open(self) -> int | None:
        """The path may lead to another file by now, and to open some is to use them."""
        with suppress(OSError):
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                return os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return None


def file_behind(fd: int) -> FileBehind | None:
    """None if fd is neither a loop device nor a part of one."""
    try:
        answer = fcntl.ioctl(fd, _LOOP_GET_STATUS64, bytes(_LOOP_INFO64.size))
    except OSError:
        return None
    device, inode, _, offset, limit, number = _LOOP_INFO64.unpack(answer)
    path, length = "?", -1
    with suppress(OSError):  # without /sys
        path = _path_in(Path(f"/sys/block/loop{number}/loop/backing_file"))
        length = int(Path(f"/sys/block/loop{number}/size").read_text()) * SECTOR_BYTES
    is_whole = not offset and not limit and os.lseek(fd, 0, os.SEEK_END) == length
    return FileBehind(path, device, inode, is_whole)
