"""One client of the crash test: random calls on a mount, each logged before and after it.

    python -m crash.kill.client MOUNTPOINT LOG NUMBER SEED GENERATION

It prints a line when it begins, and goes on until the daemon is gone or SIGTERM comes.

What belongs to it: the directory c<NUMBER>, the names c<NUMBER>-* in the directory common,
and one region of the file shared.  It takes them as it finds them, from the round before.

The log is outside of the mount and appended to by one write(2) for each line of JSON, so
that it has all that was acknowledged, whatever happens next:

    {"call": "write", "path": "c0/a", "pos": 0, "length": 512, "generation": 7, ...}
    {"done": 512}

Each sector that is written says whose it is, of which write and where it belongs: what a
crash puts in a wrong place can be recognised.

Units: pos and length are bytes in the file.
Errors: exit status 0 if the daemon went away; any other OSError is logged as "failed", and
the status is 1.
"""

import ctypes
import errno
import json
import mmap
import os
import random
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECTOR_SIZE = 512
FILE_SIZE_MAX = 192 << 10
FILES_MAX = 10
DIRECTORIES_MAX = 3
HELD_MAX = 3
REGION_SIZE = 37_373
"""Of the shared file; odd, so that regions meet within a page, a block and a sector."""

FALLOC_MODES = (0x00, 0x01, 0x02 | 0x01, 0x10, 0x10 | 0x01)
"""0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, and ZERO_RANGE with KEEP_SIZE."""

DAEMON_GONE = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def content(owner: int, generation: int, pos: int, length: int) -> bytes:
    """What a write of this generation puts at pos: the same 32 bytes 16 times in each sector."""
    first, end = pos // SECTOR_SIZE, -(-(pos + length) // SECTOR_SIZE)
    sectors = [
        b"client %02d: %08x at %08x\n" % (owner, generation, sector) * 16
        for sector in range(first, end)
    ]
    start = pos - first * SECTOR_SIZE
    return b"".join(sectors)[start : start + length]


def is_of_a_kill(error: OSError) -> bool:
    """Whether a call failed because the daemon went away under it.

    A request that the daemon was just reading, or answering, when it was killed fails with EIO:
    fuse_dev_do_read() and fuse_dev_do_write().  statvfs() then tells: the kernel itself has no
    answer to it.
    """
    if error.errno != errno.EIO:
        return error.errno in DAEMON_GONE
    try:
        os.statvfs(".")
    except OSError as second:
        return second.errno in DAEMON_GONE
    return False


def moved(path: str, old: str, new: str) -> str:
    """Where a path leads after the rename of old, which may be a directory above it."""
    return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path


class Client:
    """paths are those of the files with a name, directories those it may make names in."""

    def __init__(self, top: Path, log_fd: int, number: int, seed: int, generation: int) -> None:
        self.top = top
        self.log_fd = log_fd
        self.number = number
        self.rng = random.Random(f"{seed} {number}")
        self.generation = generation
        self.held: list[int] = []
        self.stopped = False
        self.paths: list[str] = []
        self.links: list[str] = []
        self.directories: list[str] = []
        self._find_what_is_there()

    def _find_what_is_there(self) -> None:
        for path in sorted((self.top / f"c{self.number}").rglob("*")):
            mode = path.lstat().st_mode
            kind = (
                self.directories
                if stat.S_ISDIR(mode)
                else self.links
                if stat.S_ISLNK(mode)
                else self.paths
            )
            kind.append(str(path.relative_to(self.top)))
        common = sorted((self.top / "common").glob(f"c{self.number}-*"))
        self.paths += [str(path.relative_to(self.top)) for path in common]

    def run(self) -> None:
        actions, weights = zip(*ACTIONS.items(), strict=True)
        while not self.stopped:
            [action] = self.rng.choices(actions, weights)
            action(self)

    def call(self, name: str, /, **arguments: Any) -> None:
        self._log({"call": name, **arguments})
        try:
            result = getattr(self, f"do_{name}")(**arguments)
        except OSError as error:
            if not is_of_a_kill(error):
                self._log({"failed": str(error)})
            raise
        self._log({"done": result})

    def _log(self, line: dict[str, Any]) -> None:
        os.write(self.log_fd, json.dumps(line).encode() + b"\n")

    # -- the calls, as they are logged ------------------------------------------------

    def do_create(self, path: str) -> int:
        fd = os.open(self.top / path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)

    def do_mkdir(self, path: str) -> int:
        os.mkdir(self.top / path, 0o700)
        return os.stat(self.top / path).st_ino

    def do_symlink(self, path: str, target: str) -> int:
        os.symlink(target, self.top / path)
        return os.lstat(self.top / path).st_ino

    def do_rmdir(self, path: str) -> None:
        os.rmdir(self.top / path)

    def do_unlink(self, path: str) -> None:
        os.unlink(self.top / path)

    def do_link(self, path: str, target: str) -> None:
        os.link(self.top / path, self.top / target)

    def do_rename(self, path: str, target: str) -> None:
        os.rename(self.top / path, self.top / target)

    def do_setxattr(self, path: str, name: str, value: str) -> None:
        os.setxattr(self.top / path, name, value.encode())

    def do_removexattr(self, path: str, name: str) -> None:
        os.removexattr(self.top / path, name)

    def do_chmod(self, path: str, mode: int) -> None:
        os.chmod(self.top / path, mode)

    def do_write(
        self, path: str, pos: int, length: int, generation: int, direct: bool, sync: str
    ) -> int:
        flags = os.O_WRONLY | (os.O_DIRECT if direct else 0)
        flags |= {"": 0, "O_DSYNC": os.O_DSYNC, "O_SYNC": os.O_SYNC}[sync]
        buffer = mmap.mmap(-1, length)  # begins at a page, as O_DIRECT wants
        buffer[:] = content(self.number, generation, pos, length)
        written: int = self._with_fd(path, flags, lambda fd: os.pwrite(fd, buffer, pos))
        if written != length:
            raise OSError(errno.EIO, f"{written} bytes of {length} written")
        return written

    def do_truncate(self, path: str, size: int) -> None:
        os.truncate(self.top / path, size)

    def do_fallocate(self, path: str, mode: int, pos: int, length: int) -> None:
        self._with_fd(path, os.O_RDWR, lambda fd: _fallocate(fd, mode, pos, length))

    def do_fsync(self, path: str) -> None:
        self._with_fd(path, os.O_RDONLY, os.fsync)

    def do_fdatasync(self, path: str) -> None:
        self._with_fd(path, os.O_RDONLY, os.fdatasync)

    def _with_fd(self, path: str, flags: int, use: Callable[[int], Any]) -> Any:
        fd = os.open(self.top / path, flags)
        try:
            return use(fd)
        finally:
            os.close(fd)

    # -- which call is next -----------------------------------------------------------

    def a_path(self) -> str | None:
        return self.rng.choice(self.paths) if self.paths else None

    def a_directory(self) -> str:
        return self.rng.choice([f"c{self.number}", *self.directories])

    def a_new_path(self) -> str:
        name = f"{self.rng.randrange(1 << 32):08x}"
        if self.rng.random() < 0.2:
            return f"common/c{self.number}-{name}"
        return f"{self.a_directory()}/{name}"

    def a_range(self, end_max: int, unit: int = 1) -> tuple[int, int]:
        """Within a file of that size: short or long, often aligned to something."""
        unit = max(unit, self.rng.choice((1, 1, 512, 1024, 4096)))
        count_max = end_max // unit
        longest = min(count_max, self.rng.choice((1, 4, 16, 128, 1000)))
        length = self.rng.randint(1, longest)
        return self.rng.randint(0, count_max - length) * unit, length * unit

    def create(self) -> None:
        if len(self.paths) < FILES_MAX:
            path = self.a_new_path()
            self.call("create", path=path)
            self.paths.append(path)

    def write(self, path: str | None = None, sync: str = "") -> None:
        path = path or self.a_path()
        if path is not None:
            direct = self.rng.random() < 0.4
            pos, length = self.a_range(FILE_SIZE_MAX, SECTOR_SIZE if direct else 1)
            self._write(path, pos, length, direct, sync)

    def write_synced(self) -> None:
        self.write(sync=self.rng.choice(("O_DSYNC", "O_SYNC")))

    def write_shared(self) -> None:
        """Within its own region; the sectors, blocks and pages at its edges are others', too."""
        direct = self.rng.random() < 0.4
        start, end = self.number * REGION_SIZE, (self.number + 1) * REGION_SIZE
        if direct:
            start, end = -(-start // SECTOR_SIZE) * SECTOR_SIZE, end // SECTOR_SIZE * SECTOR_SIZE
        pos, length = self.a_range(end - start, SECTOR_SIZE if direct else 1)
        sync = self.rng.choice(("", "", "", "O_DSYNC"))
        self._write("shared", start + pos, length, direct, sync)

    def _write(self, path: str, pos: int, length: int, direct: bool, sync: str) -> None:
        self.generation += 1
        self.call(
            "write",
            path=path,
            pos=pos,
            length=length,
            generation=self.generation,
            direct=direct,
            sync=sync,
        )

    def truncate(self) -> None:
        if path := self.a_path():
            size = sum(self.a_range(FILE_SIZE_MAX)) * self.rng.choice((0, 1, 1, 1))
            self.call("truncate", path=path, size=size)

    def fallocate(self) -> None:
        if path := self.a_path():
            pos, length = self.a_range(FILE_SIZE_MAX)
            mode = self.rng.choice(FALLOC_MODES)
            self.call("fallocate", path=path, mode=mode, pos=pos, length=length)

    def fsync(self) -> None:
        path = self.rng.choice(["shared", *self.paths])
        self.call(self.rng.choice(("fsync", "fdatasync")), path=path)

    def fsync_directory(self) -> None:
        self.call("fsync", path=self.rng.choice([self.a_directory(), "common"]))

    def link(self) -> None:
        if (path := self.a_path()) and len(self.paths) < FILES_MAX:
            target = self.a_new_path()
            self.call("link", path=path, target=target)
            self.paths.append(target)

    def rename(self) -> None:
        if path := self.a_path():
            target = self.a_new_path()
            self.call("rename", path=path, target=target)
            self.paths[self.paths.index(path)] = target

    def rename_directory(self) -> None:
        if self.directories:
            path = self.rng.choice(self.directories)
            target = f"c{self.number}/d{self.rng.randrange(1 << 32):08x}"
            self.call("rename", path=path, target=target)
            for names in (self.paths, self.links, self.directories):
                names[:] = [moved(each, path, target) for each in names]

    def replace(self) -> None:
        """A new file takes the place of an old one, as an editor saves: often not synced."""
        target = self.a_path()
        if target is None:
            return
        path = self.a_new_path()
        self.call("create", path=path)
        for _ in range(self.rng.randint(1, 3)):
            self.write(path)
        if self.rng.random() < 0.5:
            self.call("fsync", path=path)
        self.call("rename", path=path, target=target)

    def unlink(self) -> None:
        path = self.rng.choice([*self.paths, *self.links]) if self.paths or self.links else None
        if path is not None:
            self.call("unlink", path=path)
            (self.paths if path in self.paths else self.links).remove(path)

    def mkdir(self) -> None:
        if len(self.directories) < DIRECTORIES_MAX:
            path = f"{self.a_directory()}/d{self.rng.randrange(1 << 32):08x}"
            self.call("mkdir", path=path)
            self.directories.append(path)

    def rmdir(self) -> None:
        everything = [*self.paths, *self.links, *self.directories]
        for path in self.directories:
            if not any(other.startswith(f"{path}/") for other in everything):
                self.call("rmdir", path=path)
                self.directories.remove(path)
                return

    def symlink(self) -> None:
        if len(self.links) < DIRECTORIES_MAX:
            path = f"{self.a_directory()}/l{self.rng.randrange(1 << 32):08x}"
            self.call("symlink", path=path, target="wherever")
            self.links.append(path)

    def setxattr(self) -> None:
        if path := self.a_path():
            name, value = f"user.{self.rng.randrange(3)}", f"{self.rng.random()}"
            self.call("setxattr", path=path, name=name, value=value)

    def removexattr(self) -> None:
        if path := self.a_path():
            names = os.listxattr(self.top / path)
            if names:
                self.call("removexattr", path=path, name=self.rng.choice(names))

    def chmod(self) -> None:
        if path := self.a_path():
            self.call("chmod", path=path, mode=0o600 | self.rng.randrange(0o200))

    def write_deleted(self) -> None:
        """Write to files that nobody can name: nobody may ever see these bytes."""
        if len(self.held) < HELD_MAX:
            path = self.a_new_path()
            self.call("create", path=path)
            self.held.append(os.open(self.top / path, os.O_RDWR))
            self.call("unlink", path=path)
        elif self.rng.random() < 0.2:
            os.close(self.held.pop(0))
        for fd in self.held:
            pos, length = self.a_range(FILE_SIZE_MAX)
            os.pwrite(fd, b"deleted\n" * (length // 8 + 1), pos)


ACTIONS: dict[Callable[[Client], None], int] = {
    Client.write: 40,
    Client.write_synced: 4,
    Client.write_shared: 12,
    Client.truncate: 6,
    Client.fallocate: 8,
    Client.fsync: 6,
    Client.fsync_directory: 1,
    Client.create: 8,
    Client.link: 2,
    Client.rename: 3,
    Client.rename_directory: 1,
    Client.replace: 3,
    Client.unlink: 5,
    Client.mkdir: 2,
    Client.rmdir: 1,
    Client.symlink: 1,
    Client.setxattr: 2,
    Client.removexattr: 1,
    Client.chmod: 2,
    Client.write_deleted: 2,
}
"""How often each is chosen."""


def _fallocate(fd: int, mode: int, pos: int, length: int) -> None:
    if _libc.fallocate(fd, mode, pos, length):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main(mountpoint: str, log: str, number: str, seed: str, generation: str) -> int:
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        os.chdir(mountpoint)  # to stay there when the mount is taken out of the tree
        client = Client(Path(), log_fd, int(number), int(seed), int(generation))

        def stop(*_: object) -> None:
            client.stopped = True

        signal.signal(signal.SIGTERM, stop)
        print("begins", flush=True)
        client.run()
    except OSError as error:
        if not is_of_a_kill(error):
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
