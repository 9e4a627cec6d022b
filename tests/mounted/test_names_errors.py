"""What a program gets that asks for what cannot be: the errno that Linux gives."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    FALLOC_KEEP_SIZE,
    NOBODY,
    RENAME_EXCHANGE,
    as_nobody,
    fails_with,
    fallocate,
    needs_root,
    opened,
    renameat2,
)

pytestmark = pytest.mark.mounted

SHARED_OPTIONS = {"allow_other": os.getuid() == 0}

FILE_SIZE_MAX = (1 << 63) - 1
XATTR_SIZE_MAX = 65536

LONG = "n" * 256


def call_open(path: Path, flags: int) -> None:
    os.close(os.open(path, flags, 0o644))


def with_fd(path: Path, call: Callable[[int], object], flags: int = os.O_RDWR) -> None:
    with opened(path, flags) as fd:
        call(fd)


# -- names ---------------------------------------------------------------------------

NAME_CALLS: dict[str, Callable[[Path, Path], object]] = {
    "open": lambda path, _: call_open(path, os.O_RDONLY),
    "create": lambda path, _: call_open(path, os.O_CREAT | os.O_WRONLY),
    "mkdir": lambda path, _: os.mkdir(path),
    "rmdir": lambda path, _: os.rmdir(path),
    "unlink": lambda path, _: os.unlink(path),
    "stat": lambda path, _: os.stat(path),
    "chmod": lambda path, _: os.chmod(path, 0),
    "truncate": lambda path, _: os.truncate(path, 0),
    "mkfifo": lambda path, _: os.mkfifo(path),
    "symlink": lambda path, _: os.symlink("to", path),
    "readlink": lambda path, _: os.readlink(path),
    "link-to": lambda path, file: os.link(file, path),
    "link-from": lambda path, file: os.link(path, f"{file}2"),
    "rename-to": lambda path, file: os.rename(file, path),
    "rename-from": lambda path, file: os.rename(path, f"{file}2"),
    "getxattr": lambda path, _: os.getxattr(path, "user.a"),
}


@pytest.mark.parametrize("call", NAME_CALLS)
def test_every_call_refuses_paths_that_cannot_be(top: Path, call: str):
    (top / "file").write_bytes(b"content")
    (top / "loop").symlink_to("loop")
    for path, number in (
        (top / LONG, errno.ENAMETOOLONG),
        (top / "/".join(["x" * 200] * 30), errno.ENAMETOOLONG),
        (top / "file/name", errno.ENOTDIR),
        (top / "missing/name", errno.ENOENT),
        (top / "loop/name", errno.ELOOP),
    ):
        with fails_with(number):
            NAME_CALLS[call](path, top / "file")
    assert sorted(os.listdir(top)) == ["file", "loop"]


def test_longest_names_and_targets_work_everywhere(top: Path):
    name, other = "n" * 255, "o" * 255
    (top / name).touch()
    os.link(top / name, top / other)
    (top / other).rename(top / ("r" * 255))
    (top / other).mkdir()
    (top / ("s" * 255)).symlink_to("t" * 4095)
    with fails_with(errno.ENAMETOOLONG):
        (top / "link").symlink_to("t" * 4096)
    assert sorted(map(len, os.listdir(top))) == [255] * 4


ERRORS: dict[str, tuple[int, Callable[[Path], object]]] = {
    "create over a name": (
        errno.EEXIST,
        lambda d: call_open(d / "file", os.O_CREAT | os.O_EXCL | os.O_RDWR),
    ),
    "create over a symlink": (
        errno.EEXIST,
        lambda d: call_open(d / "loop", os.O_CREAT | os.O_EXCL | os.O_RDWR),
    ),
    "mkdir over a file": (errno.EEXIST, lambda d: os.mkdir(d / "file")),
    "mkdir of .": (errno.EEXIST, lambda d: os.mkdir(f"{d}/.")),
    "symlink over a name": (errno.EEXIST, lambda d: os.symlink("x", d / "file")),
    "link over a name": (errno.EEXIST, lambda d: os.link(d / "file", d / "full")),
    "rmdir of what is not empty": (errno.ENOTEMPTY, lambda d: os.rmdir(d / "full")),
    "rmdir of a file": (errno.ENOTDIR, lambda d: os.rmdir(d / "file")),
    "rmdir of .": (errno.EINVAL, lambda d: os.rmdir(f"{d}/empty/.")),
    "rmdir of ..": (errno.ENOTEMPTY, lambda d: os.rmdir(f"{d}/empty/..")),
    "unlink of a directory": (errno.EISDIR, lambda d: os.unlink(d / "empty")),
    "link of a directory": (errno.EPERM, lambda d: os.link(d / "empty", d / "new")),
    "link out of the mount": (errno.EXDEV, lambda d: os.link(d / "file", "/tmp/new-link")),
    "rename out of the mount": (errno.EXDEV, lambda d: os.rename(d / "file", "/tmp/new-name")),
    "open a directory to write": (errno.EISDIR, lambda d: call_open(d / "empty", os.O_WRONLY)),
    "create over a directory": (
        errno.EISDIR,
        lambda d: call_open(d / "empty", os.O_CREAT | os.O_RDONLY),
    ),
    "read a directory": (
        errno.EISDIR,
        lambda d: with_fd(d / "empty", lambda fd: os.read(fd, 1), os.O_RDONLY),
    ),
    "truncate a directory": (errno.EISDIR, lambda d: os.truncate(d / "empty", 0)),
    "open a file as a directory": (
        errno.ENOTDIR,
        lambda d: call_open(d / "file", os.O_RDONLY | os.O_DIRECTORY),
    ),
    "follow a loop": (errno.ELOOP, lambda d: call_open(d / "loop", os.O_RDONLY)),
    "follow no symlink": (
        errno.ELOOP,
        lambda d: call_open(d / "link", os.O_RDONLY | os.O_NOFOLLOW),
    ),
    "readlink of a file": (errno.EINVAL, lambda d: os.readlink(d / "file")),
    "open a socket": (errno.ENXIO, lambda d: call_open(d / "socket", os.O_RDONLY)),
    "open a fifo that nobody reads": (
        errno.ENXIO,
        lambda d: call_open(d / "fifo", os.O_WRONLY | os.O_NONBLOCK),
    ),
    "truncate a fifo": (errno.EINVAL, lambda d: os.truncate(d / "fifo", 0)),
    "truncate to less than nothing": (
        errno.EINVAL,
        lambda d: with_fd(d / "file", lambda fd: os.ftruncate(fd, -1)),
    ),
    "truncate what is open to read": (
        errno.EINVAL,
        lambda d: with_fd(d / "file", lambda fd: os.ftruncate(fd, 0), os.O_RDONLY),
    ),
    "write what is open to read": (
        errno.EBADF,
        lambda d: with_fd(d / "file", lambda fd: os.write(fd, b"x"), os.O_RDONLY),
    ),
    "read what is open to write": (
        errno.EBADF,
        lambda d: with_fd(d / "file", lambda fd: os.read(fd, 1), os.O_WRONLY),
    ),
    "write to a position that overflows": (
        errno.EINVAL,
        lambda d: with_fd(d / "file", lambda fd: os.pwrite(fd, b"xx", FILE_SIZE_MAX)),
    ),
    "preallocate beyond 8 EiB": (
        errno.EFBIG,
        lambda d: fallocate(d / "file", 0, FILE_SIZE_MAX - 1, 100),
    ),
    "preallocate nothing": (errno.EINVAL, lambda d: fallocate(d / "file", 0, 0, 0)),
    "preallocate in an unknown way": (
        errno.EOPNOTSUPP,
        lambda d: fallocate(d / "file", 0x400, 0, 1),
    ),
    "seek before the start": (
        errno.EINVAL,
        lambda d: with_fd(d / "file", lambda fd: os.lseek(fd, -1, os.SEEK_SET)),
    ),
    "seek data behind the end": (
        errno.ENXIO,
        lambda d: with_fd(d / "file", lambda fd: os.lseek(fd, 100, os.SEEK_DATA)),
    ),
    "seek hole behind the end": (
        errno.ENXIO,
        lambda d: with_fd(d / "file", lambda fd: os.lseek(fd, 100, os.SEEK_HOLE)),
    ),
    "set an xattr that is too large": (
        errno.E2BIG,
        lambda d: os.setxattr(d / "file", "user.a", bytes(XATTR_SIZE_MAX + 1)),
    ),
    "set an xattr with a long name": (
        errno.ERANGE,
        lambda d: os.setxattr(d / "file", f"user.{'a' * 251}", b""),
    ),
    "set an xattr without a namespace": (
        errno.EOPNOTSUPP,
        lambda d: os.setxattr(d / "file", "name", b""),
    ),
    "set an xattr without a name": (
        errno.EINVAL,
        lambda d: os.setxattr(d / "file", "user.", b""),
    ),
    "set a user's xattr of a symlink": (
        errno.EPERM,
        lambda d: os.setxattr(d / "link", "user.a", b"", follow_symlinks=False),
    ),
    "set a user's xattr of a fifo": (errno.EPERM, lambda d: os.setxattr(d / "fifo", "user.a", b"")),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errno_is_linux_s_and_nothing_changes(top: Path, case: str):
    (top / "file").write_bytes(b"content")
    (top / "full/sub").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "loop").symlink_to("loop")
    (top / "link").symlink_to("file")
    os.mkfifo(top / "fifo")
    os.mknod(top / "socket", stat.S_IFSOCK | 0o600)
    before = sorted((path.name, path.lstat().st_nlink) for path in top.rglob("*"))
    number, call = ERRORS[case]
    with fails_with(number):
        call(top)
    assert sorted((path.name, path.lstat().st_nlink) for path in top.rglob("*")) == before
    assert (top / "file").read_bytes() == b"content"


# -- renaming ------------------------------------------------------------------------

RENAMES = [
    # from, to, flags, what it gives
    ("empty", "other", 0, 0),
    ("full", "other", 0, 0),
    ("empty", "full", 0, errno.ENOTEMPTY),
    ("empty", "file", 0, errno.ENOTDIR),
    ("file", "empty", 0, errno.EISDIR),
    ("file", "link", 0, 0),
    ("link", "file", 0, 0),
    ("file", "second", 0, 0),  # the same file: nothing is done
    ("empty", "empty", 0, 0),
    ("full", "full/sub", 0, errno.EINVAL),
    ("full", "full/new", 0, errno.EINVAL),
    ("full/sub", "full", 0, errno.ENOTEMPTY),
    ("full/sub", "empty", 0, 0),
    ("missing", "new", 0, errno.ENOENT),
    ("empty", "missing/new", 0, errno.ENOENT),
    ("file", "file/new", 0, errno.ENOTDIR),
    ("empty/.", "new", 0, errno.EBUSY),
    ("empty/..", "new", 0, errno.EBUSY),
    ("file", "empty/.", 0, errno.EBUSY),
    ("full", "full/sub", RENAME_EXCHANGE, errno.EINVAL),
    ("full/sub", "full", RENAME_EXCHANGE, errno.EINVAL),
    ("full", "file", RENAME_EXCHANGE, 0),
    ("full/sub", "empty", RENAME_EXCHANGE, 0),
    ("full", "missing", RENAME_EXCHANGE, errno.ENOENT),
]


@pytest.mark.parametrize(
    ("source", "target", "flags", "number"),
    [pytest.param(*row, id=f"{row[0]}-{row[1]}-{row[2]}") for row in RENAMES],
)
def test_rename_says_what_linux_says(top: Path, source: str, target: str, flags: int, number: int):
    """(J1) and whatever it says, link counts stay right."""
    (top / "full/sub").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "other").mkdir()
    (top / "file").touch()
    (top / "link").symlink_to("file")
    os.link(top / "file", top / "second")
    source_path, target_path = Path(f"{top}/{source}"), Path(f"{top}/{target}")
    if number:
        with fails_with(number):
            _rename(f"{top}/{source}", f"{top}/{target}", flags)
    else:
        moved = source_path.lstat().st_ino
        _rename(f"{top}/{source}", f"{top}/{target}", flags)
        assert target_path.lstat().st_ino == moved
    for directory in (path for path in (top, *top.rglob("*")) if path.is_dir()):
        inner = sum(entry.is_dir(follow_symlinks=False) for entry in os.scandir(directory))
        assert directory.stat().st_nlink == 2 + inner


def _rename(source: str, target: str, flags: int) -> None:
    """Path would take '/.' away."""
    if flags:
        renameat2(Path(source), Path(target), flags)
    else:
        os.rename(source, target)


# -- rights --------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    ("script", "allowed"),
    [
        ("rm -f sticky/theirs", False),
        ("mv sticky/theirs sticky/new", False),
        ("mv -f sticky/mine sticky/theirs", False),
        ("rmdir sticky/dir", False),
        ("rm -f sticky/mine", True),
        ("mv sticky/mine sticky/new", True),
        ("rm -f own/theirs", True),
        ("mv own/theirs own/new", True),
    ],
)
def test_sticky_directories_keep_names_for_their_owners(top: Path, script: str, allowed: bool):
    (top / "sticky/dir").mkdir(parents=True)
    (top / "own").mkdir()
    (top / "sticky").chmod(0o1777)
    (top / "own").chmod(0o1777)
    os.chown(top / "own", NOBODY, NOBODY)
    for name in ("sticky/theirs", "sticky/mine", "own/theirs"):
        (top / name).touch()
    os.chown(top / "sticky/mine", NOBODY, NOBODY)
    status, said = as_nobody(script, top)
    assert (status == 0) == allowed, said
    assert allowed or "Operation not permitted" in said or "denied" in said


# -- limits that are reached ---------------------------------------------------------


def test_sparse_file_of_8_eib(top: Path):
    """Every position that a signed 64-bit number can say."""
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, FILE_SIZE_MAX)
        assert os.fstat(fd).st_size == FILE_SIZE_MAX
        assert os.pread(fd, 5, FILE_SIZE_MAX - 5) == bytes(5)
        assert os.pwrite(fd, b"the end", FILE_SIZE_MAX - 7) == 7
        assert os.pread(fd, 7, FILE_SIZE_MAX - 7) == b"the end"
        data = os.lseek(fd, 0, os.SEEK_DATA)
        assert FILE_SIZE_MAX - 65536 <= data <= FILE_SIZE_MAX - 7
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
        assert os.lseek(fd, data, os.SEEK_HOLE) == FILE_SIZE_MAX
        with opened(top / "file", os.O_WRONLY | os.O_APPEND) as end, fails_with(errno.EFBIG):
            os.write(end, b"more")
        os.ftruncate(fd, 0)
        assert os.fstat(fd).st_blocks == 0


def test_preallocation_keeps_the_size_if_asked(top: Path):
    fallocate(top / "file", FALLOC_KEEP_SIZE, 1 << 40, 4096)
    assert (top / "file").stat().st_size == 0


def test_largest_xattrs_and_short_buffers(top: Path):
    """ERANGE for a buffer that is too short; size 0 asks how long it must be."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = top / "file"
    file.touch()
    name = f"user.{'a' * 250}"
    os.setxattr(file, name, bytes(XATTR_SIZE_MAX))
    assert len(os.getxattr(file, name)) == XATTR_SIZE_MAX
    buffer = ctypes.create_string_buffer(XATTR_SIZE_MAX)
    get = [bytes(file), name.encode(), buffer]
    assert libc.getxattr(*get, 0) == XATTR_SIZE_MAX
    assert libc.listxattr(bytes(file), buffer, 0) == len(name) + 1
    for result in (libc.getxattr(*get, 100), libc.listxattr(bytes(file), buffer, len(name))):
        assert (result, ctypes.get_errno()) == (-1, errno.ERANGE)
