"""The three times: kept to the nanosecond, and moved by what POSIX says, or mount options."""

import mmap
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    RENAME_EXCHANGE,
    direct_read,
    direct_write,
    fallocate,
    lacking,
    opened,
    renameat2,
    run,
)
from mounted.mounting import Mount

pytestmark = pytest.mark.mounted

LONG_AGO_NS = 1_000_000_000_123_456_789
DAY_NS = 24 * 3600 * 1_000_000_000

PUNCH = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE


def mapped_write(path: Path) -> None:
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 4096) as memory:
        memory[0] = 1
        memory.flush()


def sent(source: Path, target: Path, call: Callable[[int, int], object]) -> None:
    with opened(source, os.O_RDONLY) as fd_in, opened(target, os.O_RDWR) as fd_out:
        call(fd_in, fd_out)


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "read": ("file a", lambda d: (d / "file").read_bytes()),
    "read direct": ("file a", lambda d: direct_read(d / "file", 4096)),
    "write": ("file mc", lambda d: direct_write(d / "file", bytes(512))),
    "write mapped": ("file amc", lambda d: mapped_write(d / "file")),
    "truncate": ("file mc", lambda d: os.truncate(d / "file", 10)),
    "truncate to the same": ("", lambda d: os.truncate(d / "file", 5000)),
    "truncate nothing to nothing": ("", lambda d: os.truncate(d / "other", 0)),
    "ftruncate to the same": (
        "file mc",
        lambda d: sent(d / "other", d / "file", lambda _, fd: os.ftruncate(fd, 5000)),
    ),
    "ftruncate nothing to nothing": (
        "other mc",
        lambda d: sent(d / "file", d / "other", lambda _, fd: os.ftruncate(fd, 0)),
    ),
    "O_TRUNC": ("file mc", lambda d: (d / "file").open("w").close()),
    "O_TRUNC of nothing": ("other mc", lambda d: (d / "other").open("w").close()),
    "open": ("", lambda d: (d / "file").open("a").close()),
    "fallocate": ("file mc", lambda d: fallocate(d / "file", 0, 0, 8192)),
    "punch": ("file mc", lambda d: fallocate(d / "file", PUNCH, 0, 4096)),
    "zero": ("file mc", lambda d: fallocate(d / "file", FALLOC_ZERO_RANGE, 0, 4096)),
    "chmod": ("file c", lambda d: (d / "file").chmod(0o600)),
    "chmod to the same": ("file c", lambda d: (d / "file").chmod(0o644)),
    "chown to the same": ("file c", lambda d: os.chown(d / "file", os.getuid(), os.getgid())),
    "setxattr": ("file c", lambda d: os.setxattr(d / "file", "user.a", b"")),
    "listxattr": ("", lambda d: os.listxattr(d / "file")),
    "fsync": ("", lambda d: sent(d / "file", d / "other", lambda _, fd: os.fsync(fd))),
    "link": (". mc, file c", lambda d: os.link(d / "file", d / "new")),
    "unlink one of two": (". mc, second c", lambda d: (d / "first").unlink()),
    "rename": (". mc, file c", lambda d: (d / "file").rename(d / "new")),
    "rename over": (". mc, file c, second c", lambda d: (d / "file").rename(d / "first")),
    "rename into": (". mc, file c, sub mc", lambda d: (d / "file").rename(d / "sub/file")),
    "rename directory": (". mc, sub c", lambda d: (d / "sub").rename(d / "new")),
    "exchange": (
        ". mc, file c, sub c",
        lambda d: renameat2(d / "file", d / "sub", RENAME_EXCHANGE),
    ),
    "create": (". mc", lambda d: (d / "new").touch()),
    "create in sub": ("sub mc", lambda d: (d / "sub/new").touch()),
    "mkdir": (". mc", lambda d: (d / "new").mkdir()),
    "rmdir": (". mc", lambda d: (d / "sub").rmdir()),
    "symlink": (". mc", lambda d: (d / "new").symlink_to("file")),
    "mkfifo": (". mc", lambda d: os.mkfifo(d / "new")),
    "readdir": (". a", lambda d: os.listdir(d)),
    "readlink": ("link a", lambda d: (d / "link").readlink()),
    "follow": ("link a", lambda d: (d / "link").stat()),
    "lookup": ("", lambda d: (d / "file").stat()),
    "copy": (
        "file a, other mc",
        lambda d: sent(d / "file", d / "other", lambda i, o: os.copy_file_range(i, o, 100)),
    ),
}


def times_below(directory: Path) -> dict[str, os.stat_result]:
    names = [".", *(entry.name for entry in os.scandir(directory))]
    return {name: os.lstat(directory / name) for name in names}


@pytest.mark.parametrize("change", CHANGES)
def test_change_moves_its_times_only(top: Path, change: str):
    """What is named moves, nothing else: a access, m modification, c change."""
    directory = top / "dir"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_bytes(bytes(5000))
    (directory / "other").touch()
    (directory / "first").touch()
    os.link(directory / "first", directory / "second")
    (directory / "link").symlink_to("file")
    os.listdir(directory)
    names = ("sub", "file", "other", "first", "link", ".")
    for name in names:
        times = (LONG_AGO_NS, LONG_AGO_NS + 5)
        os.utime(directory / name, ns=times, follow_symlinks=False)
    before = {name: os.lstat(directory / name) for name in (*names, "second")}
    expected, call = CHANGES[change]
    call(directory)
    found = [directory / name for name in (*before, "new", "sub/file")]
    after = {path.lstat().st_ino: path.lstat() for path in found if os.path.lexists(path)}
    moved = []
    for name, old in sorted(before.items()):
        if name == "first":  # the same inode as second
            continue
        new = after.get(old.st_ino, old)
        letters = (
            ("a", old.st_atime_ns != new.st_atime_ns),
            ("m", old.st_mtime_ns != new.st_mtime_ns),
            ("c", old.st_ctime_ns != new.st_ctime_ns),
        )
        if any(moves for _, moves in letters):
            moved.append(f"{name} {''.join(letter for letter, moves in letters if moves)}")
    assert ", ".join(moved) == expected


def test_times_are_kept_to_the_nanosecond(top: Path):
    (top / "file").touch()
    for times in [(LONG_AGO_NS, LONG_AGO_NS + 1), (-1, -LONG_AGO_NS), (1 << 33, 1 << 62)]:
        os.utime(top / "file", ns=times)
        found = (top / "file").stat()
        assert (found.st_atime_ns, found.st_mtime_ns) == times


def test_times_that_cannot_be_stored_become_the_nearest(mount: Callable[..., Mount]):
    """timestamp_truncate(): at once, so that a remount shows no other time."""
    m = mount()
    (m.path / "file").touch()
    os.utime(m.path / "file", ns=(1 << 70, -(1 << 70)))
    first = (m.path / "file").stat()
    m.remount()
    again = (m.path / "file").stat()
    assert (first.st_atime_ns, first.st_mtime_ns) == ((1 << 63) - 1, -(1 << 63))
    assert (again.st_atime_ns, again.st_mtime_ns) == (first.st_atime_ns, first.st_mtime_ns)


def test_times_outlive_the_mount(mount: Callable[..., Mount]):
    m = mount()
    (m.path / "dir").mkdir()
    (m.path / "dir/file").write_bytes(b"content")
    (m.path / "dir/link").symlink_to("file")
    before = times_below(m.path / "dir")
    m.remount()
    after = {name: os.lstat(m.path / "dir" / name) for name in before}
    for name in ("file", "link"):
        assert after[name].st_atime_ns == before[name].st_atime_ns
    for name, old in before.items():
        new = after[name]
        assert (new.st_mtime_ns, new.st_ctime_ns) == (old.st_mtime_ns, old.st_ctime_ns)


def births(*paths: Path) -> list[float]:
    """statx(2)'s btime in seconds, which Python does not show; 0 if it is not known."""
    return [float(line) for line in run("stat", "-c", "%.W", *paths).split()]


def test_birth_time_stays(mount: Callable[..., Mount]):
    """Of whatever has an inode, to the nanosecond, over writes, changes of times and a remount."""
    m = mount()
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 6):
        lacking("before Linux 6.6 FUSE asks for no birth time")
    before = time.time()
    (m.path / "dir").mkdir()
    (m.path / "dir/file").write_bytes(b"content")
    (m.path / "dir/link").symlink_to("file")
    paths = [m.path, *sorted(m.path.rglob("*"))]
    first = births(*paths)
    assert 0 < first[0] <= before
    assert all(before <= birth <= time.time() for birth in first[1:])
    with (m.path / "dir/file").open("ab") as file:
        file.write(b"more")
    os.utime(m.path / "dir/file", ns=(LONG_AGO_NS, LONG_AGO_NS))
    (m.path / "dir").chmod(0o700)
    assert births(*paths) == first
    m.remount()
    assert births(*paths) == first


def test_statx_shows_what_stat_shows(top: Path):
    """An answer of its own: each of its fields is in its place."""
    (top / "file").write_bytes(bytes(5000))
    (top / "file").chmod(0o640)
    os.utime(top / "file", ns=(LONG_AGO_NS, LONG_AGO_NS + DAY_NS))
    (top / "dir").mkdir()
    if os.getuid() == 0:
        os.chown(top / "file", 1000, 100)
        os.mknod(top / "device", 0o20600, os.makedev(511, 70000))
    for path in top.iterdir():
        shown = "%f %h %u %g %s %b %o %i %t %T %.X %.Y %.Z"
        with_birth, _, birth = run("stat", "-c", f"{shown} %W", path).strip().rpartition(" ")
        s = path.lstat()
        device = f"{os.major(s.st_rdev):x} {os.minor(s.st_rdev):x}"
        times = " ".join(
            f"{ns // 10**9}.{ns % 10**9:09}" for ns in (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)
        )
        numbers = f"{s.st_uid} {s.st_gid} {s.st_size} {s.st_blocks} {s.st_blksize} {s.st_ino}"
        assert with_birth == f"{s.st_mode:x} {s.st_nlink} {numbers} {device} {times}"
        assert birth != ""


# -- atime and mount options ---------------------------------------------------------


def read_all(directory: Path) -> set[str]:
    """Read a directory, a file and a symlink; which of their atimes moved?"""
    paths = {"dir": directory, "file": directory / "file", "link": directory / "link"}
    old = {name: os.lstat(path).st_atime_ns for name, path in paths.items()}
    os.listdir(directory)
    (directory / "file").read_bytes()
    (directory / "link").readlink()
    return {name for name, path in paths.items() if os.lstat(path).st_atime_ns != old[name]}


def make_all(directory: Path) -> None:
    directory.mkdir()
    (directory / "file").write_bytes(b"content")
    (directory / "link").symlink_to("file")


def set_all(directory: Path, atime_ns: int, mtime_ns: int) -> None:
    for path in (directory / "file", directory / "link", directory):
        os.utime(path, ns=(atime_ns, mtime_ns), follow_symlinks=False)


def test_relatime_moves_atime_once_after_a_change(top: Path):
    make_all(top / "dir")
    set_all(top / "dir", LONG_AGO_NS, LONG_AGO_NS)
    assert read_all(top / "dir") == {"dir", "file", "link"}
    assert read_all(top / "dir") == set()


@pytest.mark.parametrize(
    ("option", "moved"),
    [
        pytest.param("ro", set[str](), id="ro"),
        pytest.param("noatime", set[str](), id="noatime"),
        pytest.param("nodiratime", {"file", "link"}, id="nodiratime"),
        pytest.param("strictatime", {"dir", "file", "link"}, id="strictatime"),
        pytest.param("relatime", set[str](), id="relatime"),
    ],
)
def test_mount_options_say_when_atime_moves(
    mount: Callable[..., Mount], option: str, moved: set[str]
):
    """strictatime and relatime with an atime that is newer than all, the others with an old one."""
    m = mount()
    make_all(m.path / "dir")
    far = option in ("strictatime", "relatime")
    set_all(m.path / "dir", time.time_ns() + DAY_NS if far else LONG_AGO_NS, LONG_AGO_NS)
    m.remount(**{option: True})
    assert read_all(m.path / "dir") == moved


def test_reading_with_o_noatime_changes_no_time(top: Path):
    (top / "file").write_bytes(b"content")
    os.utime(top / "file", ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    with opened(top / "file", os.O_RDONLY | os.O_NOATIME) as fd:
        assert os.read(fd, 10) == b"content"
    assert (top / "file").stat().st_atime_ns == LONG_AGO_NS
