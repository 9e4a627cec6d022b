"""Clients that reach a file both through mappings and past them.

    python -m mounted.mapping_clients race FILE FILL READER PAGES    counts of stale pages, as JSON
    python -m mounted.mapping_clients eof FILE GROWTH          counts of old bytes, as JSON
    python -m mounted.mapping_clients stress ROLE FILE SECONDS       one of STRESS, for a while

race     asynchronous direct writes into holes or preallocated blocks, while others fill the
         kernel's own page of each: right after the write, by sendfile(2), and after one byte of
         each page was stored through the mapping
eof      what was stored behind the end of a file, in its last page, after it grew
stress   nothing may wait for ever, whoever meets whom
"""

import ctypes
import json
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from mounted.aio import AioWriter

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int64),
)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
ZERO_RANGE = 0x10
MS_SYNC = 4

# -- race ----------------------------------------------------------------------------------


def race(path: str, fill: str, reader: str, pages: str) -> None:
    count = int(pages)
    size = count * PAGE
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    if fill == "hole":
        os.ftruncate(fd, size)
    else:
        os.posix_fallocate(fd, 0, size)
    os.fsync(fd)
    mapped = mmap.mmap(fd, size)
    mapped.madvise(mmap.MADV_RANDOM)
    now = mmap.mmap(-1, PAGE)  # which page is written
    readers = [fork(lambda: READERS[reader](fd, mapped, now)) for _ in range(2)]
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    writer = AioWriter(direct, b"x" * PAGE, 1)
    stale_at_once = 0
    for page in range(count):
        now[:8] = page.to_bytes(8, "little")
        if page % 3 == 0:
            time.sleep(0.0001)
        writer.write([page * PAGE])
        stale_at_once += mapped[page * PAGE] != ord("x")
    for pid in readers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    stale_sent = sum(sent(fd, page) != b"x" * PAGE for page in range(count))
    for page in range(count):
        mapped[(page + 1) * PAGE - 1] = ord("y")
    mapped.flush()
    expected = b"x" * (PAGE - 1) + b"y"
    lost = sum(os.pread(fd, PAGE, page * PAGE) != expected for page in range(count))
    print(json.dumps([stale_at_once, stale_sent, lost]))


def fork(call: Callable[[], object]) -> int:
    pid = os.fork()
    if not pid:
        call()
        os._exit(0)
    return pid


def read_mapped(fd: int, mapped: mmap.mmap, now: mmap.mmap) -> None:
    while True:
        _ = mapped[int.from_bytes(now[:8], "little") * PAGE]


def read_sent(fd: int, mapped: mmap.mmap, now: mmap.mmap) -> None:
    while True:
        sent(fd, int.from_bytes(now[:8], "little"))


READERS = {"mapped": read_mapped, "sendfile": read_sent}

pipe: list[int] = []


def sent(fd: int, page: int) -> bytes:
    """A page by sendfile(2): from the kernel's own page cache."""
    if not pipe:
        pipe.extend(os.pipe())
    return os.read(pipe[0], os.sendfile(pipe[1], fd, page * PAGE, PAGE))


# -- eof -----------------------------------------------------------------------------------


def grow_direct(fd: int, pos: int) -> None:
    direct = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT)
    os.pwritev(direct, [mmap.mmap(-1, PAGE)], pos)
    os.close(direct)


def grow_by_aio(fd: int, pos: int) -> None:
    direct = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT)
    AioWriter(direct, bytes(PAGE), 1).write([pos])
    os.close(direct)


def grow_by_copy(fd: int, pos: int) -> None:
    path = os.readlink(f"/proc/self/fd/{fd}")
    source = os.open(path + ".source", os.O_RDWR | os.O_CREAT)
    os.pwrite(source, b"s" * PAGE, 0)
    os.copy_file_range(source, fd, PAGE, 0, pos)
    os.close(source)


def grow_by_splice(fd: int, pos: int) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"p" * PAGE)
    os.splice(reading, fd, PAGE, offset_dst=pos)


def zero_range(fd: int, pos: int) -> None:
    if libc.fallocate(fd, ZERO_RANGE, pos, 2 * PAGE):
        raise OSError(ctypes.get_errno(), "fallocate")


GROWTHS: dict[str, Callable[[int], object]] = {
    "ftruncate within the page": lambda fd: os.ftruncate(fd, 3000),
    "ftruncate to the page's end": lambda fd: os.ftruncate(fd, PAGE),
    "ftruncate further": lambda fd: os.ftruncate(fd, 5 * PAGE),
    "pwrite in the page": lambda fd: os.pwrite(fd, b"w", 3000),
    "pwrite at the next page": lambda fd: os.pwrite(fd, b"w" * PAGE, PAGE),
    "pwrite further": lambda fd: os.pwrite(fd, b"w", 5 * PAGE),
    "direct write at the next page": lambda fd: grow_direct(fd, PAGE),
    "direct write further": lambda fd: grow_direct(fd, 4 * PAGE),
    "asynchronous write further": lambda fd: grow_by_aio(fd, 4 * PAGE),
    "fallocate": lambda fd: os.posix_fallocate(fd, 0, 5 * PAGE),
    "fallocate zero range behind": lambda fd: zero_range(fd, 2 * PAGE),
    "copy_file_range further": lambda fd: grow_by_copy(fd, 4 * PAGE),
    "splice further": lambda fd: grow_by_splice(fd, 4 * PAGE),
}
FLUSHES = ("not flushed", "msync before", "msync after", "open before", "stat after")


def eof(path: str, growth: str) -> None:
    print(json.dumps({flush: old_bytes(path, growth, flush) for flush in FLUSHES}))


def old_bytes(path: str, growth: str, flush: str) -> list[int]:
    """Of 2,000 that are stored from 200 on, where the file has 100: in the mapping, and so on."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.pwrite(fd, b"data" * 25, 0)
    at = libc.mmap(None, PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
    ctypes.memset(at + 200, ord("x"), 2000)
    if flush == "msync before":
        libc.msync(at, PAGE, MS_SYNC)
    if flush == "open before":
        os.close(os.open(path, os.O_RDONLY))
    GROWTHS[growth](fd)
    if flush == "msync after":
        libc.msync(at, PAGE, MS_SYNC)
    if flush == "stat after":
        os.stat(path)
    mapped = ctypes.string_at(at, PAGE)[100:2300].count(b"x")
    read = os.pread(fd, PAGE, 0)[100:2300].count(b"x")
    ctypes.memset(at + 150, ord("n"), 10)  # within the file now
    libc.msync(at, PAGE, MS_SYNC)
    kept = os.pread(fd, PAGE, 0)
    libc.munmap(at, PAGE)
    os.close(fd)
    with open(path, "rb") as file:
        later = file.read(PAGE)
    assert later[:100] == b"data" * 25
    assert kept[150:160] == later[150:160] == b"n" * 10
    return [mapped, read, later[160:2300].count(b"x")]


# -- stress --------------------------------------------------------------------------------

STRESS_PAGES = 256


def stress_mapped_reader(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(fd, STRESS_PAGES * PAGE)
    for _ in range(200):
        _ = mapped[random.randrange(len(mapped))]


def stress_mapped_writer(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(fd, STRESS_PAGES * PAGE)
    for _ in range(100):
        mapped[random.randrange(len(mapped))] = 1


def stress_aio(path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    writer = AioWriter(fd, b"a" * PAGE, 64)
    for _ in range(10):
        writer.write([random.randrange(STRESS_PAGES) * PAGE for _ in range(64)])


def stress_sizes(path: str) -> None:
    """The mapped pages stay in the file, and what is behind them comes and goes."""
    fd = os.open(path, os.O_RDWR)
    end = STRESS_PAGES * PAGE
    os.ftruncate(fd, end + PAGE)
    at = mmap.mmap(fd, PAGE, offset=end)
    os.ftruncate(fd, end + 100)
    for _ in range(10):
        at[200:300] = b"x" * 100
        os.ftruncate(fd, end + random.randrange(150, 3 * PAGE))
        os.pwrite(fd, b"w", end + random.randrange(3 * PAGE))
        os.posix_fallocate(fd, end, random.randrange(1, 4 * PAGE))
        os.ftruncate(fd, end + 100)


def stress_rest(path: str) -> None:
    """All else that waits for the kernel's pages."""
    fd = os.open(path, os.O_RDWR)
    for _ in range(10):
        os.utime(path)
        with suppress(OSError):
            os.lseek(fd, random.randrange(STRESS_PAGES * PAGE), os.SEEK_HOLE)
        sent(fd, random.randrange(STRESS_PAGES))
        os.pread(fd, 5 * PAGE, random.randrange(STRESS_PAGES) * PAGE)
        os.pwrite(fd, b"b" * 3 * PAGE, random.randrange(STRESS_PAGES - 4) * PAGE + 17)
        with suppress(OSError):  # a page that was stored to under a direct write: EIO in Linux, too
            os.fsync(fd)
    os.close(fd)


STRESS = {
    "mapped reader": stress_mapped_reader,
    "mapped writer": stress_mapped_writer,
    "aio": stress_aio,
    "sizes": stress_sizes,
    "rest": stress_rest,
}


def stress(role: str, path: str, seconds: str) -> None:
    """Again and again, in a process of its own each time: how often."""
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        status = os.waitpid(fork(lambda: STRESS[role](path)), 0)[1]
        assert not status, f"{role} ended with {status}"
        count += 1
    print(count)


if __name__ == "__main__":
    {"race": race, "eof": eof, "stress": stress}[sys.argv[1]](*sys.argv[2:])
