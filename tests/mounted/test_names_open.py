"""Files without a name: O_TMPFILE, what is deleted while open, and opening by handle."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    AT_FDCWD,
    eventually,
    fails_with,
    give_name,
    needs_root,
    opened,
    os_error,
)
from mounted.mounting import Mount

pytestmark = pytest.mark.mounted

HANDLE_BYTES_MAX = 128

_libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    """struct file_handle."""

    _fields_ = [
        ("size", ctypes.c_uint),
        ("kind", ctypes.c_int),
        ("bytes", ctypes.c_ubyte * HANDLE_BYTES_MAX),
    ]


def handle_of(path: Path) -> Handle:
    handle, mount_id = Handle(HANDLE_BYTES_MAX), ctypes.c_int()
    if _libc.name_to_handle_at(
        AT_FDCWD, bytes(path), ctypes.byref(handle), ctypes.byref(mount_id), 0
    ):
        raise os_error(path)
    return handle


def open_by_handle(top: Path, handle: Handle) -> int:
    with opened(top, os.O_RDONLY) as mount_fd:
        fd: int = _libc.open_by_handle_at(mount_fd, ctypes.byref(handle), os.O_RDONLY)
    if fd < 0:
        raise os_error(top)
    return fd


# -- O_TMPFILE -----------------------------------------------------------------------


def test_tmpfile_has_no_name_until_it_is_linked(top: Path):
    with opened(top, os.O_TMPFILE | os.O_RDWR) as fd:
        os.write(fd, b"content")
        assert os.fstat(fd).st_nlink == 0
        assert os.listdir(top) == []
        give_name(fd, top / "file")
        assert os.fstat(fd).st_nlink == 1
    assert (top / "file").read_bytes() == b"content"
    with opened(top / "file", os.O_RDONLY) as fd:
        (top / "file").unlink()
        with fails_with(errno.ENOENT):  # it had its name
            give_name(fd, top / "again")


def test_tmpfile_that_is_exclusive_gets_no_name(top: Path):
    with opened(top, os.O_TMPFILE | os.O_EXCL | os.O_RDWR) as fd, fails_with(errno.ENOENT):
        give_name(fd, top / "file")


def test_tmpfile_is_gone_when_closed(mounted: Mount):
    inodes = mounted.status()["inodes"]["total"]
    with opened(mounted.path, os.O_TMPFILE | os.O_RDWR) as fd:
        os.write(fd, b"content")
        assert mounted.status()["inodes"]["total"] == inodes + 1
    eventually(lambda: mounted.status()["inodes"]["total"] == inodes, "the inode is deleted")


def test_tmpfile_does_not_outlive_a_crash_unless_it_was_linked(mount: Callable[..., Mount]):
    m = mount()
    unnamed = os.O_TMPFILE | os.O_RDWR
    with opened(m.path, unnamed) as kept, opened(m.path, unnamed) as lost:
        for fd in (kept, lost):
            os.write(fd, b"content")
            os.fsync(fd)
        give_name(kept, m.path / "file")
        os.fsync(kept)
        m.kill()
    m.start()
    assert os.listdir(m.path) == ["file"]
    assert (m.path / "file").read_bytes() == b"content"
    assert m.status()["inodes"]["total"] == 2


# -- deleted while open --------------------------------------------------------------


def test_deleted_file_can_be_changed_in_every_way_but_linked(top: Path):
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        (top / "file").unlink()
        os.write(fd, b"content")
        os.ftruncate(fd, 3)
        os.fchmod(fd, 0o600)
        os.setxattr(fd, "user.a", b"value")
        os.posix_fallocate(fd, 0, 10_000)
        with open(f"/proc/self/fd/{fd}", "rb") as again:
            assert again.read() == b"con" + bytes(9_997)
        assert os.getxattr(fd, "user.a") == b"value"
        assert (os.fstat(fd).st_nlink, os.fstat(fd).st_mode & 0o777) == (0, 0o600)
        with fails_with(errno.ENOENT):
            give_name(fd, top / "again")


def test_deleted_directory_is_empty_and_takes_nothing(top: Path):
    (top / "dir").mkdir()
    with opened(top / "dir", os.O_RDONLY) as fd:
        (top / "dir").rmdir()
        assert (os.listdir(fd), os.fstat(fd).st_nlink) == ([], 0)
        for make in (
            lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd),
            lambda: os.mkdir("new", dir_fd=fd),
            lambda: os.symlink("to", "new", dir_fd=fd),
            lambda: os.open(".", os.O_TMPFILE | os.O_WRONLY, dir_fd=fd),
        ):
            with fails_with(errno.ENOENT):
                make()


# -- handles -------------------------------------------------------------------------


@needs_root
def test_handles_stay_valid_over_a_remount(mount: Callable[..., Mount]):
    """Inode numbers are never used again, so a handle is of its file or of none (M1)."""
    m = mount()
    (m.path / "dir").mkdir()
    (m.path / "dir/file").write_bytes(b"content")
    (m.path / "gone").touch()
    directory, file = handle_of(m.path / "dir"), handle_of(m.path / "dir/file")
    gone = handle_of(m.path / "gone")
    (m.path / "gone").unlink()
    m.remount()
    (m.path / "new").touch()
    fd = open_by_handle(m.path, file)
    assert os.read(fd, 100) == b"content"
    os.close(fd)
    fd = open_by_handle(m.path, directory)
    assert os.listdir(fd) == ["file"]
    assert os.stat("..", dir_fd=fd).st_ino == m.path.stat().st_ino
    os.close(fd)
    with fails_with(errno.ESTALE):
        open_by_handle(m.path, gone)
