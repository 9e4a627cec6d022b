"""The image: one sparse file or block device that holds the data blocks.

    block 0      a superblock: what format, whose image, which sizes
    the others   data; which are used, and for what, is in the metadata

Units: addr and length are bytes in the image.
Errors: ImageError, one clear line, while opening; OSError afterwards.
"""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from fusefs.model.steps import Buffer
from fusefs.store.locks import file_behind

MAGIC = b"fusefs image\n\0\0\0"
FORMAT_VERSION = 1
_LAYOUT = struct.Struct("<16sII16sIQ")  # magic, version, length, uuid, block_size, block_count

PUNCH_LENGTH_MAX = 16 << 20
"""Bytes that are punched out of the image at a time: a millisecond, if they are cached."""

SIGNATURE_BYTES = 1 << 20
"""At each end of a device: where formats keep what they are known by."""

_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01
_BLKROGET = 0x125E
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class ImageError(Exception):
    """The image cannot be used; the message says why and what to do."""


class ImageInUse(ImageError):
    """Somebody else has its lock, or that of the file behind it; or has claimed the device."""

    def __init__(self, path: str, locked: tuple[int, int], behind: str = "") -> None:
        """locked is device and inode of what has the lock; behind is its name, if not path."""
        of = f"the file behind it, {behind}, is " if behind else ""
        super().__init__(f"{path}: {of}already mounted, or in use")
        self.path = path
        self.locked = locked


def check_writable(path: str, fd: int) -> None:
    """ImageError if fd is a write-protected device: writes alone would fail, with EPERM."""
    if not stat.S_ISBLK(os.fstat(fd).st_mode):
        return
    if any(fcntl.ioctl(fd, _BLKROGET, bytes(4))):
        raise ImageError(f"{path}: is write-protected; an image must be writable, even for ro")


def may_hold(found: os.stat_result) -> bool:
    """Whether an image may be there.  Look first: to open some devices is to use them."""
    return stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)


def open_alone(path: str, found: os.stat_result) -> int:
    """What stat(2) has found there, to read and write; ImageInUse, or OSError.

    A device is claimed with O_EXCL, as the kernel's own filesystems claim theirs: then neither
    do these mount it, nor does another mkfs or fsck take it.
    """
    exclusive = os.O_EXCL if stat.S_ISBLK(found.st_mode) else 0
    try:
        return os.open(path, os.O_RDWR | exclusive | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if exclusive and error.errno == errno.EBUSY:
            raise ImageInUse(path, (found.st_dev, found.st_ino)) from None
        raise


def lock(path: str, fd: int) -> int | None:
    """Against a second mount: fd is locked, and of a loop device the file behind it as well.

    Returns the descriptor that holds the latter, if there is one; ImageInUse.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = os.fstat(fd)
        raise ImageInUse(path, (found.st_dev, found.st_ino)) from None
    behind = file_behind(fd)
    try:
        return None if behind is None else behind.lock()
    except BlockingIOError:
        assert behind is not None
        raise ImageInUse(path, (behind.device, behind.inode), behind.path) from None


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the first block says.  block_size is bytes; block_count includes this block."""

    uuid: uuid.UUID
    block_size: int
    block_count: int

    def encode(self) -> bytes:
        return _LAYOUT.pack(
            MAGIC,
            FORMAT_VERSION,
            _LAYOUT.size,
            self.uuid.bytes,
            self.block_size,
            self.block_count,
        )

    @classmethod
    def decode(cls, data: bytes, path: str) -> "Superblock":
        """ImageError if data is not the start of an image that this version can read."""
        if len(data) < _LAYOUT.size or not data.startswith(MAGIC):
            raise ImageError(f"{path}: not a fusefs image, or its first block is damaged")
        _, version, length, uuid_bytes, block_size, block_count = _LAYOUT.unpack_from(data)
        if version != FORMAT_VERSION:
            raise ImageError(
                f"{path}: image format {version}, but this program reads {FORMAT_VERSION}"
            )
        if (
            length != _LAYOUT.size
            or not 512 <= block_size <= 65536
            or block_size & (block_size - 1)
            or block_count < 2
        ):
            raise ImageError(f"{path}: the superblock is damaged")
        return cls(uuid.UUID(bytes=uuid_bytes), block_size, block_count)


class ImageFile:
    """An open image, locked against a second mount.

    fd_behind has the lock of a loop device's file.
    """

    def __init__(
        self, path: str, fd: int, superblock: Superblock, fd_behind: int | None = None
    ) -> None:
        self.path = path
        self.superblock = superblock
        self._fd = fd
        self._fd_behind = fd_behind

    @classmethod
    def open(cls, path: str, lock_wait_s: float = 0.0) -> "ImageFile":
        """Open and lock an existing image; ImageError if it is none, damaged or mounted.

        lock_wait_s is for the daemon of an earlier mount that is just ending.
        """
        deadline = time.monotonic() + lock_wait_s
        while True:
            try:
                return cls._open(path)
            except ImageInUse:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.02)

    @classmethod
    def _open(cls, path: str) -> "ImageFile":
        try:
            found = os.stat(path)
            if not may_hold(found):
                raise ImageError(f"{path}: not a regular file or block device")
            fd = open_alone(path, found)
        except OSError as error:
            raise ImageError(f"{path}: cannot open the image: {error.strerror}") from None
        try:
            superblock = Superblock.decode(os.pread(fd, _LAYOUT.size, 0), path)
            size = os.lseek(fd, 0, os.SEEK_END)
            image = cls(path, fd, superblock, lock(path, fd))
        except OSError as error:
            os.close(fd)
            raise ImageError(f"{path}: cannot read the image: {error.strerror}") from None
        except ImageError:
            os.close(fd)
            raise
        if size < superblock.block_count * superblock.block_size:
            image.close()
            raise ImageError(
                f"{path}: truncated: {size} bytes, but the superblock says "
                f"{superblock.block_count * superblock.block_size}"
            )
        return image

    def check_writable(self) -> None:
        """ImageError if it is a write-protected device, which open(2) does not tell."""
        check_writable(self.path, self._fd)

    def read_at(self, addr: int, length: int) -> bytes:
        """Exactly length bytes; OSError(EIO) if the file is shorter."""
        data = os.pread(self._fd, length, addr)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), addr + len(data))
            if not more:
                raise OSError(errno.EIO, "read beyond the end of the image")
            data += more
        return data

    def write_at(self, addr: int, data: Buffer) -> None:
        """All of data, however many calls that takes."""
        written = os.pwrite(self._fd, data, addr)
        while written < len(data):
            more = os.pwrite(self._fd, memoryview(data)[written:], addr + written)
            if not more:
                raise OSError(errno.EIO, "the image takes no more bytes")
            written += more

    def clear(self) -> None:
        """Make a file one hole of the superblock's size; of a device, zero what it is known by."""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, self.superblock.block_count * self.superblock.block_size)
            return
        size = os.lseek(self._fd, 0, os.SEEK_END)
        length = min(SIGNATURE_BYTES, size)
        for addr in (0, size - length):
            self.write_at(addr, bytes(length))

    def flush(self) -> None:
        """What was written is on the disk when this returns."""
        os.fdatasync(self._fd)

    def punch(self, runs: Iterable[tuple[int, int]]) -> None:
        """Give freed runs (first block, count) back to the host, where it can take them.

        The host lets nobody read or write its file meanwhile, so a long run goes in pieces.
        """
        size = self.superblock.block_size
        for first, count in runs:
            end = (first + count) * size
            for addr in range(first * size, end, PUNCH_LENGTH_MAX):
                length = min(end - addr, PUNCH_LENGTH_MAX)
                if _libc.fallocate(self._fd, _PUNCH_HOLE_KEEP_SIZE, addr, length):
                    return  # only a sparser image is lost

    def close(self) -> None:
        os.close(self._fd)
        if self._fd_behind is not None:
            os.close(self._fd_behind)
