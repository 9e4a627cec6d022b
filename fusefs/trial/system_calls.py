"""System calls that os lacks, and a mapping whose faults are errnos.

    fallocate       with its modes
    MappedFile       mmap(2) of a range that need not be in the file, shared
    alignment       what statx(2) says of direct I/O
    cache_count     how many pages of a range are in the page cache, and dirty
    is_cached       whether any is
    cached_read     what it has there, if that is uptodate

Units: pos and length are bytes in the file.
Errors: OSError.
"""

import ctypes
import mmap
import os
import struct
from dataclasses import dataclass

KEEP_SIZE = 0x01
PUNCH_HOLE = 0x02
ZERO_RANGE = 0x10
"""FALLOC_FL_…"""

_AT_EMPTY_PATH = 0x1000
_STATX_DIOALIGN = 0x2000
_STATX_LENGTH = 256
_DIO_ALIGNMENT_AT = 152
"""In struct statx: of the memory, and of the offset."""

_CACHESTAT = 451
_CACHESTAT_LENGTH = 40

_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int64),
)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def fallocate(fd: int, mode: int, pos: int, length: int) -> None:
    if _libc.fallocate(fd, mode, pos, length):
        raise _last_error()


def alignment(fd: int) -> int | None:
    """The multiples that position and length of direct I/O must be; 0 if there is none at all.

    None if the file system does not say, or the kernel or libc is too old to ask.
    """
    if not hasattr(_libc, "statx"):
        return None
    found = ctypes.create_string_buffer(_STATX_LENGTH)
    if _libc.statx(fd, b"", _AT_EMPTY_PATH, _STATX_DIOALIGN, found):
        return None
    (mask,) = struct.unpack_from("I", found)
    if not mask & _STATX_DIOALIGN:
        return None
    return int(struct.unpack_from("II", found, _DIO_ALIGNMENT_AT)[1])


def aligned_buffer(length: int, content: bytes = b"") -> mmap.mmap:
    """Memory that O_DIRECT takes; content is one byte that all of it is."""
    buffer = mmap.mmap(-1, length)
    if content:
        buffer[:] = content * length
    return buffer


@dataclass(frozen=True, slots=True)
class CacheCount:
    """Pages of a range: there, uptodate or not; of these dirty, and under writeback."""

    cached: int
    dirty: int
    writeback: int


def cache_count(fd: int, pos: int, length: int) -> CacheCount:
    """cachestat(2), of Linux 6.5.  A folio is dirty as a whole."""
    found = ctypes.create_string_buffer(_CACHESTAT_LENGTH)
    span = struct.pack("QQ", pos, length)
    if _libc.syscall(ctypes.c_long(_CACHESTAT), fd, span, found, 0):
        raise _last_error()
    return CacheCount(*struct.unpack_from("QQQ", found))


def is_cached(fd: int, pos: int, length: int) -> bool:
    """Whether any page of a range is there, uptodate or not."""
    return cache_count(fd, pos, length).cached > 0


def cached_read(fd: int, pos: int, length: int) -> bytes | None:
    """What the page cache has there; None if not all of it is uptodate.

    The kernel begins to read pages that are not there at all: ask is_cached() first.
    Fewer bytes at the end of the file.  OSError(EOPNOTSUPP) where that cannot be asked.
    """
    buffer = bytearray(length)
    try:
        return bytes(buffer[: os.preadv(fd, [buffer], pos, os.RWF_NOWAIT)])
    except BlockingIOError:
        return None


class MappedFile:
    """The first bytes of a file, mapped shared; they may go beyond its end.

    A fault brings its page alone (MADV_RANDOM), as a litmus file has it.
    The kernel loads and stores for us, from and to a file in memory: where a program would get
    SIGBUS, that is EFAULT, or a short count.
    """

    def __init__(self, fd: int, length: int) -> None:
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        self._address = _libc.mmap(None, length, protection, mmap.MAP_SHARED, fd, 0)
        if self._address == _FAILED:
            raise _last_error()
        _libc.madvise(self._address, length, mmap.MADV_RANDOM)
        self._length = length
        self._bytes = memoryview((ctypes.c_char * length).from_address(self._address)).cast("B")
        self._between = os.memfd_create("between")

    def load(self, pos: int, length: int) -> bytes:
        """Fewer bytes if its last pages are not in the file; OSError(EFAULT) if none is."""
        count = os.pwrite(self._between, self._bytes[pos : pos + length], 0)
        return os.pread(self._between, count, 0)

    def store(self, pos: int, data: bytes) -> int:
        """How many bytes were stored; OSError(EFAULT) as above."""
        os.pwrite(self._between, data, 0)
        return os.preadv(self._between, [self._bytes[pos : pos + len(data)]], 0)

    def close(self) -> None:
        self._bytes.release()
        _libc.munmap(self._address, self._length)
        os.close(self._between)
