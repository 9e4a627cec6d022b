"""What is stored, and what cannot be: the disk may say anything, SQLite's types included.

Units: sizes are bytes; times are nanoseconds since 1970.
Errors: FsError(EIO) for a value that cannot be right.
"""

import errno
import stat
from operator import lt
from typing import Any, NamedTuple

from fusefs.model.errors import FsError
from fusefs.model.geometry import FILE_SIZE_MAX, SECTOR_SIZE

INO_END = 1 << 62
"""Inodes of an image have smaller numbers; what is above is for those that are not stored."""

ID_MAX = (1 << 32) - 1
"""The largest uid, gid, device number and link count that struct stat holds."""

NAME_LENGTH_MAX = 255

DOTS = frozenset([b".", b".."])

FILE_TYPES = frozenset(
    [
        *(stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK),
        *(stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK),
    ]
)

TIME_NS_MAX = (1 << 63) - 1
TIME_NS_MIN = -(1 << 63)


class Entry(NamedTuple):
    """A name in a directory; cookie is what a later entries() goes on after."""

    cookie: int
    name: bytes
    ino: int


class Attributes(NamedTuple):
    """A row of the inode table.  size is bytes; blocks counts the image's, not 512 bytes."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    target: bytes | None = None

    def fault(self) -> str | None:
        """Why no inode can have these, or None.  What belongs together only fsck compares."""
        if set(map(type, self[: len(NUMBERS)])) != {int}:
            [name, *_] = [name for name in NUMBERS if type(getattr(self, name)) is not int]
            return f"has {name} {getattr(self, name)!r}, which is no number"
        if not isinstance(self.target, bytes | None):
            return "has a symlink's target that is no path"
        if not 0 < self.ino < INO_END:
            return f"has a number that none can have, {self.ino}"
        if not 0 <= self.mode <= 0xFFFF or stat.S_IFMT(self.mode) not in FILE_TYPES:
            return f"is of no known type (mode {self.mode:o})"
        if not 0 <= self.nlink <= ID_MAX:
            return f"has nlink {self.nlink}, which no inode can have"
        if not 0 <= self.uid <= ID_MAX:
            return f"has uid {self.uid}, which no inode can have"
        if not 0 <= self.gid <= ID_MAX:
            return f"has gid {self.gid}, which no inode can have"
        if not 0 <= self.rdev <= ID_MAX:
            return f"has rdev {self.rdev}, which no inode can have"
        if not 0 <= self.size <= FILE_SIZE_MAX:
            return f"has size {self.size}, which no file can have"
        if not 0 <= self.blocks <= FILE_SIZE_MAX // SECTOR_SIZE:
            return f"has block count {self.blocks}, which no file can have"
        return None


NUMBERS = [name for name in Attributes._fields if name != "target"]


def clamp_time(time_ns: int) -> int:
    """The nearest time that can be stored, 1677 to 2262: Linux's timestamp_truncate()."""
    if TIME_NS_MIN <= time_ns <= TIME_NS_MAX:
        return time_ns
    return TIME_NS_MIN if time_ns < 0 else TIME_NS_MAX


def as_int(value: object) -> int:
    if not isinstance(value, int):
        raise FsError(errno.EIO)
    return value


def as_bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise FsError(errno.EIO)
    return value


def as_entries(rows: list[tuple[Any, ...]], after_cookie: int) -> list[Entry]:
    """Names in a directory: the kernel takes no other, and a reader must come to an end."""
    if not rows:
        return []
    cookies, names, inos = zip(*rows, strict=True)
    if set(map(type, cookies + inos)) != {int} or set(map(type, names)) != {bytes}:
        raise FsError(errno.EIO)
    if not all(map(lt, (after_cookie, *cookies), cookies)):
        raise FsError(errno.EIO)
    lengths = set(map(len, names))
    together = b"/".join(names)
    if (
        not 0 < min(lengths) <= max(lengths) <= NAME_LENGTH_MAX
        or together.count(b"/") >= len(names)
        or together.count(b"\0")
        or not DOTS.isdisjoint(names)
    ):
        raise FsError(errno.EIO)
    return [Entry._make(row) for row in rows]
