"""A disk that fails under a live mount: who is told what, what goes on, what the next mount finds.

docs/crashes.md has the table; tests/crash/test_failures.py tries every point of it.
"""

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from mounted.clients import (
    PROGRAM_TIMEOUT_S,
    all_succeed,
    direct_read,
    direct_write,
    eventually,
    fails_with,
    kernel_remount,
    opened,
    python,
)
from mounted.commands import FAILED, refused, tool
from mounted.failing_disk import failing_calls, slow_calls
from mounted.mounting import Mount

from fusefs.mounts import ROOT

pytestmark = pytest.mark.mounted

ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EDQUOT": errno.EDQUOT}
READ_ONLY = "the mount is read-only now"
FLUSH_DELAY_S = 120.0
"""Longer than all else takes on a busy machine; it is cut short when nobody delays any more."""


def remount_clean(m: Mount) -> None:
    """Unmount, find nothing wrong, mount again."""
    m.errors_expected = True
    m.umount()
    command = [sys.executable, "-m", "mount_tool", "fsck", str(m.image)]
    check = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    m.start()
    assert m.status()["read_only"] is False


def check_read_only(m: Mount, readable: Path, content: bytes) -> None:
    """No change is possible, and all reads are."""
    refused: list[Callable[[], object]] = [
        lambda: (m.path / "new").touch(),
        lambda: (m.path / "new").mkdir(),
        lambda: (m.path / "new").symlink_to("target"),
        lambda: os.mkfifo(m.path / "new"),
        lambda: os.link(readable, m.path / "new"),
        lambda: readable.rename(m.path / "new"),
        readable.unlink,
        lambda: readable.chmod(0o600),
        lambda: os.utime(readable),
        lambda: os.truncate(readable, 0),
        lambda: os.setxattr(readable, "user.name", b"value"),
        lambda: os.open(readable, os.O_WRONLY),
        lambda: os.open(readable, os.O_RDONLY | os.O_TRUNC),
    ]
    for request in refused:
        with fails_with(errno.EROFS):
            request()
    assert readable.read_bytes() == content
    assert direct_read(readable, len(content)) == content
    assert os.listdir(m.path)
    with opened(m.path, os.O_RDONLY) as fd, fails_with(errno.EIO):
        os.fsync(fd)
    with opened(readable, os.O_RDONLY) as fd, fails_with(errno.EIO):
        os.fsync(fd)
    (m.path / ".fusefs" / "commit").write_text("1s\n")
    assert m.log().count(READ_ONLY) == 1, m.log()


# -- image -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ERRORS)
def test_failed_image_write_is_told_and_the_mount_goes_on(mount: Callable[..., Mount], name: str):
    """Direct and O_DSYNC at once; a buffered one at fsync, to each open file, once."""
    m = mount(commit="3600s")
    file, error = m.path / "file", ERRORS[name]
    file.write_bytes(b"old" * 2048)
    with opened(file, os.O_RDWR) as fd, opened(file, os.O_RDONLY) as other:
        os.fsync(fd)
        with failing_calls(m, m.image, "pwrite64", name):
            with fails_with(error):
                direct_write(file, b"d" * 4096)
            with opened(file, os.O_WRONLY | os.O_DSYNC) as sync, fails_with(error):
                os.pwrite(sync, b"s" * 4096, 0)
            assert os.pwrite(fd, b"b" * 4096, 0) == 4096
        for each in (fd, other):
            with fails_with(error):
                os.fsync(each)
            os.fsync(each)
        os.pwrite(fd, b"new" * 2048, 0)
        os.fsync(fd)
    assert m.status()["read_only"] is False
    remount_clean(m)
    assert file.read_bytes() == b"new" * 2048


def test_error_of_the_flusher_is_told_to_who_opens_the_file_later(mount: Callable[..., Mount]):
    """The writer has closed it: errseq_t keeps what nobody has seen."""
    m = mount(commit="100ms")
    with failing_calls(m, m.image, "pwrite64", "EIO"):
        (m.path / "file").write_bytes(b"lost" * 1024)
        eventually(lambda: "writeback.submit" in m.log(), "the flusher has tried")
    with opened(m.path / "file", os.O_RDONLY) as fd:
        with fails_with(errno.EIO):
            os.fsync(fd)
        os.fsync(fd)
    with opened(m.path / "file", os.O_RDONLY) as fd:
        os.fsync(fd)
    assert m.log().count(" ERROR ") == 1, "the flusher does not try again"
    remount_clean(m)


def test_fsync_of_the_control_directory_tells_what_syncfs_would(mount: Callable[..., Mount]):
    """Whoever had it open before, and whoever opens it next, once each, also if a file's fsync was
    told: kernel commit 735e4ae5ba28.
    """
    m = mount(commit="3600s")
    file = m.path / "file"
    file.touch()
    with (
        opened(file, os.O_RDWR) as fd,
        opened(m.path / ".fusefs", os.O_RDONLY) as before,
        opened(m.path / ".fusefs", os.O_RDONLY) as other,
    ):
        os.pwrite(fd, b"lost" * 1024, 0)
        with failing_calls(m, m.image, "pwrite64", "ENOSPC"), fails_with(errno.ENOSPC):
            os.fsync(fd)
        with opened(m.path / ".fusefs", os.O_RDONLY) as after:
            for each in (after, before, other):
                with fails_with(errno.ENOSPC):
                    os.fsync(each)
                os.fsync(each)
        os.pwrite(fd, b"lost" * 1024, 0)
        with failing_calls(m, m.image, "pwrite64", "EIO"), fails_with(errno.EIO):
            os.fsync(before)
    with opened(m.path / ".fusefs", os.O_RDONLY) as late:
        os.fsync(late)
    remount_clean(m)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_remount_read_only_says_that_data_was_lost(mount: Callable[..., Mount], when: str):
    if os.getuid():
        pytest.skip("only root can remount")
    m = mount(commit="100ms" if when == "before" else "3600s")
    words = ("mount", m.image, m.path, "-o", "remount,ro")
    saying = "not all that was written is on the disk: No space left on device; "
    with failing_calls(m, m.image, "pwrite64", "ENOSPC"):
        (m.path / "file").write_bytes(b"lost" * 1024)
        if when == "meanwhile":
            refused(FAILED, *words, saying=saying)
        else:
            eventually(lambda: "writeback.submit" in m.log(), "the flusher has tried")
    if when == "before":
        refused(FAILED, *words, saying=saying)
    assert m.status()["read_only"] == "mounted ro"
    assert tool(*words).returncode == 0, "it was told"
    m.errors_expected = True
    m.umount()


def test_failed_image_read_is_told_and_forgotten(mount: Callable[..., Mount]):
    m = mount()
    (m.path / "file").write_bytes(b"kept" * 1024)
    m.remount()
    with failing_calls(m, m.image, "pread64", "EIO"):
        for read in (Path.read_bytes, lambda path: direct_read(path, 4096)):
            with fails_with(errno.EIO):
                read(m.path / "file")
    assert (m.path / "file").read_bytes() == b"kept" * 1024
    assert direct_read(m.path / "file", 4096) == b"kept" * 1024
    remount_clean(m)


@pytest.mark.parametrize("name", ERRORS)
def test_after_a_failed_flush_the_mount_is_read_only(mount: Callable[..., Mount], name: str):
    """The next fdatasync succeeds, and is not asked."""
    m = mount(commit="3600s")
    file, lost = m.path / "file", m.path / "lost"
    file.write_bytes(b"kept" * 1024)
    with opened(file, os.O_RDONLY) as fd:
        os.fsync(fd)
    with opened(lost, os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"lost" * 1024, 0)
        with failing_calls(m, m.image, "fdatasync", name), fails_with(ERRORS[name]):
            os.fsync(fd)
        with fails_with(errno.EIO):
            os.fsync(fd)
        with fails_with(errno.EROFS):
            os.pwrite(fd, b"more", 0)
        with fails_with(errno.EROFS):
            os.posix_fallocate(fd, 0, 8192)
        with fails_with(errno.EROFS):
            os.copy_file_range(fd, fd, 100, 0, 4096)
        with mmap.mmap(fd, 4096) as mapped:
            mapped[:4] = b"more"  # the kernel takes it, and learns at its writeback
            with fails_with(errno.EIO, errno.EROFS):
                mapped.flush()
        assert os.pread(fd, 4096, 0) == b"lost" * 1024
    assert str(m.image) in m.status()["read_only"]
    check_read_only(m, file, b"kept" * 1024)
    remount_clean(m)
    assert file.read_bytes() == b"kept" * 1024
    assert not lost.exists()


def test_all_who_wait_for_a_commit_that_fails_are_told(mount: Callable[..., Mount]):
    m = mount(commit="3600s")
    fsync_fails = """
import errno, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"lost", 0)
print("written", flush=True)
os.read(int(sys.argv[2]), 1)
try:
    os.fsync(fd)
except OSError as error:
    sys.exit(error.errno != errno.EIO)
sys.exit("fsync returned 0")
"""
    reading, writing = os.pipe()
    clients = [
        python(fsync_fails, m.path / f"file{i}", reading, inherits=[reading]) for i in range(8)
    ]
    os.close(reading)
    for each in clients:
        assert each.stdout is not None
        each.stdout.readline()
    with failing_calls(m, m.image, "fdatasync", "EIO"):
        os.close(writing)  # all go on at once
        all_succeed(clients)
    assert m.log().count(READ_ONLY) == 1
    remount_clean(m)


# -- metadata ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync,fsync"])
@pytest.mark.parametrize("name", ["EIO", "ENOSPC"])
def test_after_a_failed_commit_of_sqlite_the_mount_is_read_only(
    mount: Callable[..., Mount], call: str, name: str
):
    m = mount(commit="3600s")
    file = m.path / "file"
    file.write_bytes(b"kept" * 1024)
    with opened(file, os.O_RDONLY) as fd:
        os.fsync(fd)
    with opened(m.path / "lost", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"lost" * 1024, 0)
        log = Path(f"{m.image}.meta-wal")
        with failing_calls(m, log, call, name), fails_with(errno.EIO, errno.ENOSPC):
            os.fsync(fd)
        assert os.pread(fd, 4096, 0) == b"lost" * 1024
    assert ".meta" in m.status()["read_only"]
    check_read_only(m, file, b"kept" * 1024)
    remount_clean(m)
    assert file.read_bytes() == b"kept" * 1024


# -- a slow host -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".meta-wal"], ids=["image", "log"])
def test_names_do_not_wait_for_a_slow_flush(mount: Callable[..., Mount], suffix: str):
    """Whoever calls fsync waits for the disk, and nobody else."""
    m = mount(commit="3600s")
    (m.path / "first").write_bytes(b"so that there is a log")
    with opened(m.path / "first", os.O_RDONLY) as fd:
        os.fsync(fd)
        (m.path / "second").touch()
        waits = Thread(target=os.fsync, args=[fd])
        with slow_calls(m, Path(f"{m.image}{suffix}"), "fdatasync", FLUSH_DELAY_S):
            waits.start()
            names = [m.path / f"name{i}" for i in range(100)]
            for name in names:
                name.mkdir()
            assert all(name.is_dir() for name in names)
            assert waits.is_alive(), "100 names took longer than the flush"
        waits.join(PROGRAM_TIMEOUT_S)
    assert not waits.is_alive()


# -- a host without room -----------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 2 MiB, which only root can mount."""
    if os.getuid():
        pytest.skip("only root can mount a small tmpfs for the image")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", path], check=True, timeout=300)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True, timeout=300)


def test_image_on_a_full_disk_gives_enospc_until_there_is_room(
    mount: Callable[..., Mount], small_disk: Path, tmp_path: Path
):
    """A sparse image of 16 MiB on 2: the mount goes on, and the data is there once it fits."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    m = mount(image=small_disk / "image", size="16m", metadata=tmp_path / "meta", commit="3600s")
    m.errors_expected = True
    data = b"new!" * (1 << 18)
    with opened(m.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        assert os.pwrite(fd, data, 0) == len(data)
        assert os.pwrite(fd, data, len(data)) == len(data)
        with fails_with(errno.ENOSPC):
            os.fsync(fd)
        with fails_with(errno.ENOSPC):
            direct_write(m.path / "direct", data)
        assert m.status()["read_only"] is False
        ballast.unlink()
        os.ftruncate(fd, 0)
        os.fsync(fd)
        assert os.pwrite(fd, data, 0) == len(data)
        os.fsync(fd)
    m.umount()
    m.start()
    assert (m.path / "file").read_bytes() == data
    m.umount()


def test_metadata_on_a_full_disk_makes_the_mount_read_only(
    mount: Callable[..., Mount], small_disk: Path
):
    m = mount(metadata=small_disk / "meta", size="16m", commit="3600s")
    m.errors_expected = True
    (m.path / "kept").write_bytes(b"kept")
    with opened(m.path, os.O_RDONLY) as fd:
        os.fsync(fd)
        with opened(m.path / "kept", os.O_RDWR) as kept:
            os.fsync(kept)
            left = os.statvfs(small_disk)
            (small_disk / "ballast").write_bytes(bytes(left.f_bavail * left.f_bsize))
            for i in range(100):
                (m.path / f"{i}{'n' * 200}").touch()
            with fails_with(errno.ENOSPC, errno.EIO):
                os.fsync(fd)
        with fails_with(errno.EROFS):
            (m.path / "more").touch()
    assert "full" in m.status()["read_only"]
    m.umount()
    (small_disk / "ballast").unlink()
    m.start()
    assert os.listdir(m.path) == ["kept"]
    assert (m.path / "kept").read_bytes() == b"kept"
    m.umount()


# -- remount -----------------------------------------------------------------------------


def test_remount_read_only_is_the_kernels_affair(mount: Callable[..., Mount]):
    """It refuses changes; what was written before is written back all the same."""
    if os.getuid():
        pytest.skip("only root can remount")
    m = mount(commit="3600s")
    (m.path / "file").write_bytes(b"before" * 1000)
    kernel_remount(m.path, "ro")
    with fails_with(errno.EROFS):
        (m.path / "file").write_bytes(b"after")
    with opened(m.path / "file", os.O_RDONLY) as fd:
        os.fsync(fd)
    m.kill()
    m.start()
    assert (m.path / "file").read_bytes() == b"before" * 1000
