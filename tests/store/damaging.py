"""A small image in use, and all that a program can do with it once it is damaged.

    make_image_in_use()   files, directories, a symlink, a fifo, xattrs, an orphan
    use()                 open it, walk its names, read and write its files, commit

Damage may be answered with a VolumeError of one line, and later with an FsError; any other
exception is a fault of ours.  The driver logs those of a request: use() raises what was logged.
"""

import logging
import stat
import struct
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusefs.live.driver import Driver
from fusefs.live.requests.attributes import node_attributes
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model import file_io
from fusefs.model.errors import FsError
from fusefs.model.inode import OpenFile
from fusefs.model.options import Options
from fusefs.model.steps import Step
from fusefs.model.truncate import SEEK_DATA, SEEK_HOLE, seek, truncate
from fusefs.store.callers import Caller, drop_privileges
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.node import Node
from fusefs.store.volume import Volume, VolumeError, make_image

BLOCK_SIZE = 1024
IMAGE_SIZE = 1 << 20
OPTIONS = Options(jitter=0, conversion_delay=0, readahead=0)
FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
ID = 0xFFFFFFFF
"""Of an entry of an ACL that needs none."""


@dataclass(frozen=True, slots=True)
class Anyone:
    """A caller who is neither root nor in a file's group."""

    uid: int = 1
    gid: int = 1
    pid: int = 0


ANYONE: Caller = Anyone()

NODES_MAX = 300
"""Of a directory cycle there is no end."""


class Daemon:
    """A volume and its driver, without a mount."""

    def __init__(self, image: Path) -> None:
        self.volume = volume = Volume.open(str(image), f"{image}.meta", OPTIONS)
        volume._in_thread = in_place
        self.names = volume.namespace
        self.driver = Driver(
            *(volume.image, volume.fs.load_map, volume.commit, Trace(), Timing(volume.fs))
        )

    def run(self, coroutine: Coroutine[Step, Any, Any]) -> Any:
        """What a request returns or raises; the commits that it asks for are made."""
        said: list[tuple[Any, FsError | None]] = []
        self.driver.start(coroutine, lambda *answer: said.append(answer), "test")
        while not said:
            self._commit_for_those_who_wait()
            self.driver.run_ready()
        [(result, error)] = said
        if error is not None:
            raise error
        return result

    def _commit_for_those_who_wait(self) -> None:
        tasks, self.driver._commit_tasks = self.driver._commit_tasks, []
        failure = None
        if tasks:
            try:
                self.commit()
            except FsError as error:
                failure = error
        self.driver._ready.extend((task, failure) for task in tasks)

    def commit(self) -> None:
        with suppress(StopIteration):
            self.volume.commit().send(None)

    def close(self) -> None:
        self.volume.close()


async def in_place(blocking: Callable[..., Any], *args: Any) -> Any:
    return blocking(*args)


def make_image_in_use(path: Path) -> None:
    """1 MiB of 1 KiB blocks; the metadata has more than one page for most of its trees."""
    make_image(str(path), f"{path}.meta", Options(size=IMAGE_SIZE, block_size=BLOCK_SIZE))
    with closing(Daemon(path)) as daemon:
        names, fs = daemon.names, daemon.volume.fs
        parents = [ROOT_INO]
        for i in range(5):
            parents.append(names.make(parents[-1], b"d%d" % i, DIRECTORY, 0, 0, 0, i).ino)
        for i in range(60):
            node = names.make(parents[i % 6], b"file %d" % i, FILE, 0, 0, 0, i)
            assert node.inode is not None
            file = OpenFile(node.inode)
            if i % 4 == 0:
                daemon.run(file_io.write(fs, file, i * 512, b"x" * 512, direct=True, sync=False))
                daemon.run(file_io.write(fs, file, 0, b"y" * 3000, direct=False, sync=False))
                daemon.run(file_io.writeback_inode(fs, node.inode))
            if i % 10 == 0:
                daemon.volume.xattrs.set(node.ino, b"user.name", b"v" * i * 100, i)
                names.link(node.ino, parents[2], b"link %d" % i, i)
        acl = [(1, 6, ID), (2, 6, 7), (4, 6, ID), (16, 6, ID), (32, 4, ID)]
        entries = struct.pack(
            "<I" + "HHI" * len(acl), 2, *(number for row in acl for number in row)
        )
        daemon.volume.xattrs.set(parents[3], b"system.posix_acl_default", entries, 5)
        names.make(ROOT_INO, b"symlink", stat.S_IFLNK | 0o777, 0, 0, 0, 5, b"file 0")
        names.make(ROOT_INO, b"fifo", stat.S_IFIFO | 0o600, 0, 0, 0, 5)
        names.make(ROOT_INO, b"device", stat.S_IFBLK | 0o600, 0, 0, 0x801, 5)
        names.unlink(ROOT_INO, b"file 12", 7)  # and as nobody closes it, it is an orphan
        daemon.commit()


# -- what a mount does -----------------------------------------------------------------


class Logged(logging.Handler):
    """Exceptions that were logged where a request would have got EIO."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.errors.append(record.exc_info[1])


def use(image: Path) -> bool:
    """Whether it could be opened; what is raised is a fault of ours."""
    try:
        daemon = Daemon(image)
    except VolumeError as error:
        if "\n" in str(error):
            raise
        return False
    logger, logged = logging.getLogger("fusefs"), Logged()
    logger.addHandler(logged)
    logger.propagate = False
    try:
        with closing(daemon):
            assert 0 <= daemon.volume.available_count() < daemon.volume.fs.space.block_count
            for act in (_change, _walk):  # damage that is met ends all changes
                with suppress(FsError):
                    act(daemon)
            with suppress(FsError, OSError):
                daemon.commit()
    finally:
        logger.propagate = True
        logger.removeHandler(logged)
    if logged.errors:
        raise logged.errors[0]
    return True


def _walk(daemon: Daemon) -> None:
    """Every name, attribute, xattr and byte that can be reached."""
    names, todo, seen = daemon.names, [ROOT_INO], {ROOT_INO}
    while todo and len(seen) < NODES_MAX:
        ino = todo.pop()
        for act in (_look_at, _read):
            with suppress(FsError):
                act(daemon, names.nodes.get(ino))
        with suppress(FsError):
            cookie = 0
            while entries := names.entries(ino, cookie, 16):
                for entry in entries:
                    assert isinstance(entry.name, bytes)
                    if entry.ino not in seen:
                        with suppress(FsError):
                            names.lookup(ino, entry.name)
                        seen.add(entry.ino)
                        todo.append(entry.ino)
                    cookie = entry.cookie


def _look_at(daemon: Daemon, node: Node) -> None:
    node_attributes(node, daemon.volume.fs.geometry.page_size)
    for name in daemon.volume.xattrs.names(node.ino):
        assert isinstance(daemon.volume.xattrs.get(node.ino, name), bytes)


def _read(daemon: Daemon, node: Node) -> None:
    if node.inode is None:
        return
    file, fs = OpenFile(node.inode), daemon.volume.fs
    for pos in (0, node.size // 4096 * 4096):
        for direct in (False, True):
            with suppress(FsError):
                daemon.run(file_io.read(fs, file, pos, 8192, direct=direct))
        for whence in (SEEK_DATA, SEEK_HOLE):
            with suppress(FsError):
                daemon.run(seek(fs, node.inode, pos, whence))


def _change(daemon: Daemon) -> None:
    """Names come and go, files grow and shrink, in what is left of the tree."""
    names, fs = daemon.names, daemon.volume.fs
    with suppress(FsError):  # the directory with an ACL that is inherited
        names.make(4, b"heir", FILE, 0, 0, 0, 9)
    for entry in names.entries(ROOT_INO, 2, 20):
        with suppress(FsError):
            node = names.lookup(ROOT_INO, entry.name)
            if node.inode is not None:
                file = OpenFile(node.inode)
                daemon.run(file_io.write(fs, file, 100, b"z" * 5000, direct=False, sync=False))
                daemon.run(file_io.write(fs, file, 8192, b"z" * 512, direct=True, sync=False))
                daemon.run(file_io.writeback_inode(fs, node.inode))
                daemon.run(truncate(fs, node.inode, 2000))
                drop_privileges(ANYONE, node)
                names.nodes.mark_changed(node)
        with suppress(FsError):
            names.rename(ROOT_INO, entry.name, ROOT_INO, b"moved", 0, 9)
            daemon.volume.xattrs.set(names.lookup(ROOT_INO, b"moved").ino, b"user.new", b"v", 9)
            daemon.volume.release(names.unlink(ROOT_INO, b"moved", 9))
    with suppress(FsError):
        node = names.make(ROOT_INO, b"new", FILE, 0, 0, 0, 9)
        assert node.inode is not None
        write = file_io.write(fs, OpenFile(node.inode), 0, b"n" * 512, direct=True, sync=False)
        daemon.run(write)
    with suppress(FsError):
        names.make(ROOT_INO, b"dir", DIRECTORY, 0, 0, 0, 9)
        names.rmdir(ROOT_INO, b"dir", 9)
