"""Reading directories while they change, from any position; and locks."""

import ctypes
import errno
import fcntl
import os
import random
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounted.clients import (
    RENAME_EXCHANGE,
    all_succeed,
    fails_with,
    give_name,
    opened,
    python,
    renameat2,
)

pytestmark = pytest.mark.mounted

_libc = ctypes.CDLL(None, use_errno=True)


class Dirent(ctypes.Structure):
    """struct dirent of a 64-bit Linux."""

    _fields_ = [
        ("ino", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_uint16),
        ("kind", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    ]


_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.restype = ctypes.POINTER(Dirent)
_libc.telldir.restype = ctypes.c_long
_libc.readdir.argtypes = _libc.telldir.argtypes = (ctypes.c_void_p,)
_libc.rewinddir.argtypes = _libc.closedir.argtypes = (ctypes.c_void_p,)
_libc.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)


class Listing:
    """A DIR stream of the C library."""

    def __init__(self, path: Path) -> None:
        self.stream = _libc.opendir(bytes(path))
        assert self.stream

    def tell(self) -> int:
        return int(_libc.telldir(self.stream))

    def seek(self, position: int) -> None:
        _libc.seekdir(self.stream, position)

    def rewind(self) -> None:
        _libc.rewinddir(self.stream)

    def next(self) -> str | None:
        entry = _libc.readdir(self.stream)
        return entry.contents.name.decode() if entry else None

    def __iter__(self) -> Iterator[str]:
        while (name := self.next()) is not None:
            yield name


@contextmanager
def listing(path: Path) -> Iterator[Listing]:
    each = Listing(path)
    try:
        yield each
    finally:
        _libc.closedir(each.stream)


def test_seekdir_comes_back_to_where_telldir_was(top: Path):
    for number in range(500):
        (top / f"{number:0200}").touch()
    with listing(top) as entries:
        places = []
        while True:
            place = entries.tell()
            name = entries.next()
            if name is None:
                break
            places.append((place, name))
        assert len({name for _, name in places}) == 502
        for place, name in random.Random(1).sample(places, 50):
            entries.seek(place)
            assert entries.next() == name


def test_seekdir_goes_on_behind_what_is_gone(top: Path):
    for number in range(300):
        (top / f"{number:0200}").touch()
    with listing(top) as entries:
        first = [entries.next() for _ in range(100)]
        place = entries.tell()
        rest = list(entries)
        for name in (*first[50:], *rest[:50]):
            (top / str(name)).unlink()
        entries.seek(place)
        assert list(entries) == rest[50:]


def test_rewinddir_sees_what_is_new(top: Path):
    (top / "old").touch()
    with listing(top) as entries:
        assert sorted(entries) == [".", "..", "old"]
        (top / "new").touch()
        (top / "old").unlink()
        entries.rewind()
        assert sorted(entries) == [".", "..", "new"]


def test_readdir_neither_repeats_nor_skips_while_names_come_and_go(top: Path):
    """Two processes rename, make and remove; what they leave alone is listed once."""
    stable = {f"stable-{number:0200}" for number in range(300)}
    for name in stable:
        (top / name).touch()
    script = """
import os, random, sys
os.chdir(sys.argv[1])
mine, choose = sys.argv[2], random.Random(int(sys.argv[2]))
for number in range(600):
    name = f"{mine}-{choose.randrange(50)}-" + "n" * 200
    other = f"{mine}-{choose.randrange(50)}-" + "n" * 200
    try:
        choose.choice((
            lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY)),
            lambda: os.unlink(name),
            lambda: os.rename(name, other),
        ))()
    except FileNotFoundError:
        pass
"""
    clients = [python(script, top, number) for number in (1, 2)]
    listings = 0
    while any(client.poll() is None for client in clients) or not listings:
        names = [name for name in os.listdir(top) if name.startswith("stable")]
        assert len(names) == len(stable)
        assert set(names) == stable
        listings += 1
    all_succeed(clients)


def listed(directory: Path) -> set[tuple[str, int, bool]]:
    """Names, inodes and kinds, as the listing has them: no name is asked for."""
    with os.scandir(directory) as entries:
        return {(each.name, each.inode(), each.is_dir(follow_symlinks=False)) for each in entries}


def make_without_a_name_first(top: Path) -> None:
    with opened(top, os.O_TMPFILE | os.O_RDWR) as fd:
        give_name(fd, top / "new")


CHANGES: dict[str, Callable[[Path], object]] = {
    "create": lambda top: (top / "new").touch(),
    "mkdir": lambda top: (top / "new").mkdir(),
    "mknod": lambda top: os.mkfifo(top / "new"),
    "symlink": lambda top: (top / "new").symlink_to("file"),
    "link": lambda top: (top / "new").hardlink_to(top / "file"),
    "O_TMPFILE": make_without_a_name_first,
    "unlink": lambda top: (top / "file").unlink(),
    "rmdir": lambda top: (top / "empty").rmdir(),
    "rename": lambda top: (top / "file").rename(top / "new"),
    "rename-over": lambda top: (top / "file").rename(top / "other"),
    "rename-in": lambda top: (top / "dir/inner").rename(top / "new"),
    "rename-out": lambda top: (top / "file").rename(top / "dir/new"),
    "exchange": lambda top: renameat2(top / "file", top / "empty", RENAME_EXCHANGE),
    "exchange-across": lambda top: renameat2(top / "file", top / "dir/deep", RENAME_EXCHANGE),
}


def found(directory: Path) -> set[tuple[str, int, bool]]:
    """The same, asked for name by name."""
    names = ("file", "other", "empty", "dir", "new", "inner", "deep")
    there = [path for path in map(directory.joinpath, names) if os.path.lexists(path)]
    return {(path.name, path.lstat().st_ino, stat.S_ISDIR(path.lstat().st_mode)) for path in there}


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_names_ends_the_listing_that_the_kernel_keeps(top: Path, change: str):
    """For whoever lists anew, and for whoever rewinds."""
    for name in ("file", "other"):
        (top / name).touch()
    for name in ("empty", "dir", "dir/deep"):
        (top / name).mkdir()
    (top / "dir/inner").touch()
    with listing(top) as stream:
        for directory in (top, top / "dir") * 3:
            assert listed(directory) == found(directory)
        assert len(list(stream)) == 6  # with '.' and '..'
        before = listed(top)
        CHANGES[change](top)
        for directory in (top, top / "dir"):
            assert listed(directory) == found(directory)
        assert listed(top) != before
        stream.rewind()
        assert {*stream} - {".", ".."} == {name for name, *_ in found(top)}


# -- locks ---------------------------------------------------------------------------

WHOLE_FILE = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def test_flock_excludes_other_opens(top: Path):
    with (
        opened(top / "file", os.O_RDWR | os.O_CREAT) as first,
        opened(top / "file", os.O_RDWR) as second,
    ):
        fcntl.flock(first, fcntl.LOCK_EX)
        with fails_with(errno.EAGAIN):
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(first, fcntl.LOCK_SH)
        fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_ofd_locks_exclude_other_opens_of_one_process(top: Path):
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as first:
        fcntl.fcntl(first, fcntl.F_OFD_SETLK, WHOLE_FILE)
        with opened(top / "file", os.O_RDWR) as second:
            with fails_with(errno.EAGAIN):
                fcntl.fcntl(second, fcntl.F_OFD_SETLK, WHOLE_FILE)
            unlocked = struct.pack("hhqqi", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(first, fcntl.F_OFD_SETLK, unlocked)
            fcntl.fcntl(second, fcntl.F_OFD_SETLK, WHOLE_FILE)


def test_fcntl_locks_exclude_other_processes_by_range(top: Path):
    """A counter that four processes raise under a lock loses nothing."""
    (top / "file").write_bytes(bytes(8))
    script = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for _ in range(50):
    fcntl.lockf(fd, fcntl.LOCK_EX, 8, 0)
    count = int.from_bytes(os.pread(fd, 8, 0), "little")
    os.pwrite(fd, (count + 1).to_bytes(8, "little"), 0)
    fcntl.lockf(fd, fcntl.LOCK_UN, 8, 0)
"""
    all_succeed([python(script, top / "file") for _ in range(4)])
    assert int.from_bytes((top / "file").read_bytes(), "little") == 200
    with opened(top / "file", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 4, 0)
        other = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 4, 4)
try:
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 4, 2)
except BlockingIOError:
    print("locked")
"""
        assert all_succeed([python(other, top / "file")]) == ["locked\n"]
