"""Bytes on a real mount: buffered, direct and mapped, over several block and page sizes."""

import errno
import fcntl
import mmap
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    aligned,
    all_succeed,
    direct_read,
    direct_read_fd,
    direct_write,
    eventually,
    fails_with,
    fallocate,
    opened,
    python,
)
from mounted.mounting import Mount

from fusefs.model.options import parse_size

pytestmark = pytest.mark.mounted

GEOMETRIES = [("512", "4k"), ("1k", "4k"), ("4k", "4k"), ("4k", "64k")]

REQUEST_LENGTH_MAX = 1 << 20
"""What the kernel asks for at a time; all its pages are held at once."""

every_geometry = pytest.mark.parametrize(
    "shared",
    [{"block_size": block, "page_size": page} for block, page in GEOMETRIES],
    ids=[f"block {block}-page {page}" for block, page in GEOMETRIES],
    indirect=True,
    scope="module",
)

both_ways = pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["buffered", "direct"])


# -- coherence -----------------------------------------------------------------------


class Twin:
    """A file, and what it must hold; each step does the same to both."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.content = bytearray()
        self.buffered = os.open(path, os.O_RDWR | os.O_CREAT)
        self.direct = os.open(path, os.O_RDWR | os.O_DIRECT)

    def close(self) -> None:
        os.close(self.buffered)
        os.close(self.direct)

    def step(self) -> None:
        steps = [self.write] * 4 + [self.write_direct] * 4 + [self.truncate, self.punch, self.zero]
        self.random.choice(steps)()
        self.random.choice([self.read, self.read_direct])()

    def extent(self, multiple: int = 1) -> tuple[int, int]:
        """A range that may be anywhere up to 200 KiB: (pos, length)."""
        pos = self.random.randrange(0, 131072, multiple)
        return pos, self.random.randrange(multiple, 65537, multiple)

    def write(self) -> None:
        pos, length = self.extent()
        data = self.random.randbytes(length)
        assert os.pwrite(self.buffered, data, pos) == length
        self.replace(pos, data)

    def write_direct(self) -> None:
        pos, length = self.extent(512)
        data = self.random.randbytes(length)
        assert os.pwrite(self.direct, aligned(data), pos) == length
        self.replace(pos, data)

    def truncate(self) -> None:
        size, _ = self.extent()
        os.ftruncate(self.buffered, size)
        self.replace(size, b"")
        del self.content[size:]

    def punch(self) -> None:
        pos, length = self.extent()
        fallocate(self.path, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, pos, length)
        count = len(self.content[pos : pos + length])
        self.content[pos : pos + count] = bytes(count)

    def zero(self) -> None:
        pos, length = self.extent()
        fallocate(self.path, FALLOC_ZERO_RANGE, pos, length)
        self.replace(pos, bytes(length))

    def replace(self, pos: int, data: bytes) -> None:
        self.content.extend(bytes(max(pos - len(self.content), 0)))
        self.content[pos : pos + len(data)] = data

    def read(self) -> None:
        pos, length = self.extent()
        assert os.pread(self.buffered, length, pos) == self.content[pos : pos + length]

    def read_direct(self) -> None:
        pos, length = self.extent(512)
        assert direct_read_fd(self.direct, length, pos) == self.content[pos : pos + length]

    def compare(self) -> None:
        assert self.path.read_bytes() == self.content
        assert direct_read_fd(self.direct, 262144) == self.content
        assert os.fstat(self.direct).st_size == len(self.content)


@every_geometry
@pytest.mark.parametrize("seed", range(3))
def test_buffered_and_direct_io_agree(top: Path, seed: int):
    """What one way writes, the other reads, whatever was cached before."""
    twin = Twin(top / "file", seed)
    try:
        for _ in range(100):
            twin.step()
        twin.compare()
    finally:
        twin.close()


@every_geometry
@both_ways
def test_large_requests_are_whole(top: Path, flags: int):
    """More than FUSE carries at once: the kernel cuts it, and nobody notices."""
    data = random.Random(5).randbytes(5 << 20)
    with opened(top / "file", os.O_RDWR | os.O_CREAT | flags) as fd:
        assert os.pwrite(fd, aligned(data), 0) == len(data)
        assert direct_read_fd(fd, len(data)) == data
    assert (top / "file").read_bytes() == data
    assert direct_read(top / "file", len(data)) == data


@both_ways
@pytest.mark.parametrize("cache_size", ["64k", "1m"])
def test_cache_smaller_than_the_file_loses_nothing(
    mount: Callable[..., Mount], cache_size: str, flags: int
):
    """A page that its own readahead evicts again is used all the same."""
    m = mount(cache_size=cache_size)
    data = random.Random(6).randbytes(4 << 20)
    with opened(m.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, data, 0)
        os.pwrite(fd, b"changed", 500_000)
    expected = data[:500_000] + b"changed" + data[500_007:]
    with opened(m.path / "file", os.O_RDONLY | flags) as fd:
        assert direct_read_fd(fd, len(data)) == expected
    assert m.status()["cache"]["pages"] <= (REQUEST_LENGTH_MAX + parse_size(cache_size)) // 4096


# -- O_DIRECT ------------------------------------------------------------------------


def test_direct_flag_is_taken_from_each_request(mounted: Mount):
    """fcntl(F_SETFL) switches O_DIRECT on an open file; no open says so."""
    with opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"b" * 4096, 0)
        assert _counts(mounted) == (0, 1)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        with fails_with(errno.EINVAL):
            os.pwrite(fd, b"unaligned", 0)
        assert os.pwrite(fd, aligned(b"d" * 4096), 0) == 4096
        assert _counts(mounted) == (1, 1)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        assert os.pwrite(fd, b"any", 1) == 3
        assert _counts(mounted) == (1, 2)
        assert os.pread(fd, 5, 0) == b"danyd"


def _counts(mounted: Mount) -> tuple[int, int]:
    counters = mounted.status()["counters"]
    return counters["direct_writes"], counters["buffered_writes"]


@every_geometry
@pytest.mark.parametrize(
    ("pos", "length"), [(1, 512), (0, 511), (0, 1), (512, 513), (256, 256), (511, 1025)]
)
def test_unaligned_direct_io_is_einval_and_changes_nothing(top: Path, pos: int, length: int):
    """O_DIRECT offset and length must be multiples of 512."""
    (top / "file").write_bytes(b"k" * 8192)
    with fails_with(errno.EINVAL):
        direct_write(top / "file", b"x" * length, pos)
    with fails_with(errno.EINVAL):
        direct_read(top / "file", length, pos)
    assert (top / "file").read_bytes() == b"k" * 8192


@every_geometry
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4095, 4096, 5000, 65536, 66000])
def test_reads_end_at_the_end_of_the_file(top: Path, size: int):
    content = random.Random(size).randbytes(size)
    (top / "file").write_bytes(content)
    for pos in {0, 512, size // 512 * 512, -(-size // 512) * 512, size + 512 * 100}:
        expected = content[pos : pos + 131072]
        with opened(top / "file", os.O_RDONLY) as fd:
            assert os.pread(fd, 131072, pos) == expected
        if pos % 512 == 0:
            assert direct_read(top / "file", 131072, pos) == expected


@every_geometry
def test_direct_write_of_part_of_a_block_zeroes_the_rest(top: Path):
    """Nothing of what was in the image before can be read."""
    (top / "old").write_bytes(b"o" * (1 << 20))
    os.sync()
    with opened(top / "old", os.O_RDWR) as fd:
        os.fsync(fd)
    (top / "old").unlink()
    with opened(top, os.O_RDONLY) as fd:
        os.fsync(fd)  # now the blocks may be used again
    direct_write(top / "new", b"n" * 512, 512 * 3)
    direct_write(top / "new", b"n" * 512, 65536 + 512)
    os.truncate(top / "new", 1 << 20)
    expected = bytearray(1 << 20)
    expected[1536:2048] = expected[66048:66560] = b"n" * 512
    assert (top / "new").read_bytes() == expected
    assert direct_read(top / "new", 1 << 20) == expected


# -- mmap ----------------------------------------------------------------------------


@every_geometry
@both_ways
def test_shared_mapping_agrees_with_read_and_write(top: Path, flags: int):
    """FUSE_DIRECT_IO_ALLOW_MMAP: the kernel writes its pages out before others read."""
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 1 << 20)
        with mmap.mmap(fd, 1 << 20) as mapped:
            mapped[:8192] = b"m" * 8192
            mapped[500_000:500_004] = b"fast"
            with opened(top / "file", os.O_RDWR | flags) as other:
                assert direct_read_fd(other, 8192) == b"m" * 8192
                assert os.pwrite(other, aligned(b"w" * 4096), 4096) == 4096
            assert mapped[:8192] == b"m" * 4096 + b"w" * 4096
            mapped.flush()
    content = (top / "file").read_bytes()
    assert content[:8192] == b"m" * 4096 + b"w" * 4096
    assert content[500_000:500_004] == b"fast"
    assert content.count(0) == (1 << 20) - 8192 - 4


def test_two_processes_share_a_mapping(top: Path):
    (top / "file").write_bytes(bytes(4096))
    script = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
mapped = mmap.mmap(fd, 4096)
for i in range(int(sys.argv[2]), 4096, 2):
    mapped[i] = 1 + int(sys.argv[2])
"""
    all_succeed([python(script, top / "file", me) for me in (0, 1)])
    assert (top / "file").read_bytes() == b"\1\2" * 2048


def test_private_mapping_runs_a_program(top: Path):
    """execve(2) maps the file."""
    (top / "true").write_bytes(Path("/bin/true").read_bytes())
    (top / "true").chmod(0o755)
    assert os.spawnv(os.P_WAIT, top / "true", ["true"]) == 0


# -- fallocate, seek, copy -----------------------------------------------------------


@every_geometry
def test_preallocation_reads_as_zeros_and_counts_as_used(top: Path):
    fallocate(top / "file", 0, 0, 1 << 20)
    assert (top / "file").stat().st_size == 1 << 20
    assert (top / "file").stat().st_blocks == 2048
    assert (top / "file").read_bytes() == direct_read(top / "file", 1 << 20) == bytes(1 << 20)


@every_geometry
def test_keep_size_preallocates_beyond_the_end(top: Path):
    (top / "file").write_bytes(b"short")
    fallocate(top / "file", FALLOC_KEEP_SIZE, 0, 1 << 20)
    assert (top / "file").stat().st_size == 5
    assert (top / "file").stat().st_blocks == 2048
    os.truncate(top / "file", 5)
    assert (top / "file").stat().st_blocks < 2048


@every_geometry
@pytest.mark.parametrize("pos", [0, 4096, 65536, 70_001])
@pytest.mark.parametrize("length", [1, 512, 100_000, 131_072])
def test_punch_and_zero_range_leave_zeros_there_only(top: Path, pos: int, length: int):
    content = random.Random(pos).randbytes(200_000)
    expected = bytearray(content)
    expected[pos : pos + length] = bytes(min(length, 200_000 - pos))
    for name, mode in (("punched", FALLOC_PUNCH_HOLE), ("zeroed", FALLOC_ZERO_RANGE)):
        (top / name).write_bytes(content)
        used = (top / name).stat().st_blocks
        fallocate(top / name, mode | FALLOC_KEEP_SIZE, pos, length)
        assert (top / name).read_bytes() == expected
        assert direct_read(top / name, 262144) == expected
        if length > 65536:
            freed = (top / name).stat().st_blocks < used
            assert freed == (name == "punched")


@pytest.mark.parametrize("mode", [0x08, 0x20, 0x40, FALLOC_PUNCH_HOLE], ids=hex)
def test_other_fallocate_modes_are_refused(top: Path, mode: int):
    """Collapse, insert and unshare; punch without keep-size."""
    (top / "file").write_bytes(b"k" * 131_072)
    with fails_with(errno.EOPNOTSUPP):
        fallocate(top / "file", mode, 0, 65536)
    assert (top / "file").read_bytes() == b"k" * 131_072


@every_geometry
def test_seek_finds_data_and_holes(top: Path):
    """Written and dirty ranges are data; holes and preallocation are not."""
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 4 << 20)
        os.posix_fallocate(fd, 3 << 20, 65536)
        os.pwrite(fd, b"d" * 65536, 65536)
        os.pwrite(fd, b"d" * 65536, 1 << 20)
        for _ in range(2):
            assert _extents(fd) == [(65536, 131072), (1 << 20, (1 << 20) + 65536)]
            os.fsync(fd)  # the second time without dirty pages
        assert os.lseek(fd, 70_000, os.SEEK_DATA) == 70_000
        assert os.lseek(fd, 200_000, os.SEEK_HOLE) == 200_000
        assert os.lseek(fd, 4 << 20, os.SEEK_SET) == 4 << 20
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            with fails_with(errno.ENXIO):
                os.lseek(fd, 4 << 20, whence)
        with fails_with(errno.ENXIO):
            os.lseek(fd, 2 << 20, os.SEEK_DATA)


def _extents(fd: int) -> list[tuple[int, int]]:
    """The data ranges of a file, as SEEK_DATA and SEEK_HOLE give them."""
    found: list[tuple[int, int]] = []
    with fails_with(errno.ENXIO):
        while True:
            start = os.lseek(fd, found[-1][1] if found else 0, os.SEEK_DATA)
            found.append((start, os.lseek(fd, start, os.SEEK_HOLE)))
    return found


@every_geometry
def test_copy_file_range_copies(top: Path):
    content = random.Random(7).randbytes(3 << 20)
    (top / "source").write_bytes(content)
    with (
        opened(top / "source", os.O_RDONLY) as source,
        opened(top / "target", os.O_RDWR | os.O_CREAT) as target,
    ):
        copied = 0
        while count := os.copy_file_range(source, target, 1 << 24, 1001 + copied, 77 + copied):
            copied += count
        assert copied == len(content) - 1001
    assert (top / "target").read_bytes() == bytes(77) + content[1001:]


# -- space ---------------------------------------------------------------------------


@both_ways
def test_full_image_is_enospc_and_space_comes_back(mount: Callable[..., Mount], flags: int):
    """(S2) freed blocks may be used after the commit that freed them, without waiting for it."""
    m = mount(size="4m", block_size="4k", commit="3600s")
    data = random.Random(8).randbytes(65536)
    kept = random.Random(9).randbytes(1 << 20)
    (m.path / "kept").write_bytes(kept)
    for name in ("first", "second", "third"):
        written = _fill(m.path / name, data, flags)
        assert (2 << 20) < written < (3 << 20) + 1
        assert os.statvfs(m.path).f_bfree == 0
        content = (m.path / name).read_bytes()
        assert content == (data * (written // 65536 + 1))[:written]
        (m.path / name).unlink()
        eventually(lambda: m.status()["space"]["freed_uncommitted"] > 0, "the inode is forgotten")
    assert (m.path / "kept").read_bytes() == kept


def _fill(path: Path, data: bytes, flags: int) -> int:
    """Write until the image is full; how many bytes were accepted."""
    with opened(path, os.O_WRONLY | os.O_CREAT | flags) as fd:
        pos = 0
        with fails_with(errno.ENOSPC):
            while True:
                pos += os.pwrite(fd, aligned(data), pos)
                short = pos % len(data)  # the next one has no room at all
                data = data[short:] + data[:short]
        os.fsync(fd)
        assert os.fstat(fd).st_size == pos
        return pos


def test_space_of_a_thousand_deleted_files_can_be_written_at_once(mount: Callable[..., Mount]):
    """The kernel forgets deleted inodes in batches, between other requests."""
    m = mount(size="4m", block_size="1k", commit="3600s")
    for i in range(1000):
        (m.path / f"{i}").write_bytes(b"s" * 4000)
    for i in range(1000):
        (m.path / f"{i}").unlink()
    (m.path / "large").write_bytes(b"l" * (3 << 20))
    assert (m.path / "large").read_bytes() == b"l" * (3 << 20)


def test_space_of_a_deleted_file_of_many_extents_can_be_written_at_once(
    mount: Callable[..., Mount],
):
    """Several commits free it, and a write on a full image waits for all of them."""
    m = mount(size="14m", block_size="1k", commit="3600s")
    with opened(m.path / "pieces", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"p" * (10 << 20), 0)
        os.fsync(fd)
    for pos in range(1024, 10 << 20, 2048):
        fallocate(m.path / "pieces", FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, pos, 1024)
    _fill(m.path / "filler", b"f" * 65536, 0)
    (m.path / "pieces").unlink()
    assert os.statvfs(m.path).f_bfree >= 5 << 10
    (m.path / "large").write_bytes(b"l" * (5 << 20))
    assert (m.path / "large").read_bytes() == b"l" * (5 << 20)


def test_preallocation_without_room_is_enospc(mount: Callable[..., Mount]):
    m = mount(size="4m")
    with fails_with(errno.ENOSPC):
        fallocate(m.path / "file", 0, 0, 5 << 20)
    (m.path / "file").unlink()
    (m.path / "other").write_bytes(b"o" * (3 << 20))


@every_geometry
def test_sparse_file_of_a_tebibyte_costs_nothing(top: Path):
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 1 << 40)
        os.pwrite(fd, b"end", (1 << 40) - 3)
        direct_write(top / "file", b"d" * 512, 1 << 39)
        assert os.fstat(fd).st_size == 1 << 40
        assert os.fstat(fd).st_blocks * 512 <= 4 * 65536
        assert os.pread(fd, 10, (1 << 40) - 5) == b"\0\0end"
        assert os.lseek(fd, 4096, os.SEEK_DATA) // 65536 == (1 << 39) // 65536
        fallocate(top / "file", FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, (1 << 40) - 3)
        assert os.pread(fd, 512, 1 << 39) == bytes(512)
        os.fsync(fd)
        os.ftruncate(fd, 10)
        assert os.fstat(fd).st_blocks == 0
        assert os.pread(fd, 20, 0) == bytes(10)


def test_largest_offset_is_efbig(top: Path):
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        with fails_with(errno.EFBIG, errno.EINVAL):
            os.pwrite(fd, b"xx", (1 << 63) - 2)
        os.ftruncate(fd, (1 << 63) - 1)
        assert os.fstat(fd).st_size == (1 << 63) - 1
        assert os.pread(fd, 10, (1 << 63) - 11) == bytes(10)


# -- durable writes ------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("sync", [os.O_SYNC, os.O_DSYNC], ids=["O_SYNC", "O_DSYNC"])
def test_synchronous_write_is_committed_when_it_returns(
    mount: Callable[..., Mount], flags: int, sync: int
):
    m = mount(commit="3600s")
    with opened(m.path / "file", os.O_RDWR | os.O_CREAT | flags | sync) as fd:
        before = m.status()["counters"]["commits"]
        os.pwrite(fd, aligned(b"s" * 4096), 0)
        assert m.status()["counters"]["commits"] > before
        assert m.status()["cache"]["pages_dirty"] == 0
    m.kill()
    m.start()
    assert (m.path / "file").read_bytes() == b"s" * 4096
