"""A disk and an SQLite that fail when told to, and the daemon without a mount on top of them.

    Faults           which call fails, counted over all calls, and with what
    FailingImage     an image file on such a disk; it can lose what was not flushed
    FailingSqlite    a connection to a metadata file on such a disk
    Daemon           the real Volume, Driver and Handlers; calls in place of the kernel's requests

A failed write has written its first half, in whole sectors.  A failed flush leaves it open
what of the bytes since the last good one is on the disk: lose_unflushed() takes all of them.
"""

import os
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from fusefs.live.coherence import Coherence
from fusefs.live.driver import Driver
from fusefs.live.extension._lowlevel import Shown
from fusefs.live.gatekeeper import Gatekeeper
from fusefs.live.kernel_pages import KernelPages
from fusefs.live.reclaim import Reclaim
from fusefs.live.requests.atime import Atime
from fusefs.live.requests.control import Control, LogRing
from fusefs.live.requests.handlers import Handlers
from fusefs.live.requests.sync import sync
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.errors import FsError
from fusefs.model.geometry import SECTOR_SIZE
from fusefs.model.options import Options
from fusefs.model.steps import Buffer
from fusefs.store.image_file import ImageFile
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.volume import Volume

OPTIONS = (
    Options(commit=3600)
    .changed("jitter", "0")
    .changed("conversion_delay", "0")
    .changed("cache_size", "64k")
)

IMAGE_CALLS = ("read", "write", "flush", "punch")
SQL_CALLS = ("query", "change", "commit", "begin")


@dataclass(frozen=True)
class Fault:
    """Call number point fails with error, an errno or a result code of SQLite.

    lasting: all later calls of the same side fail, too.  late: a commit is done, and then
    reported as failed.
    """

    point: int
    error: int
    lasting: bool = False
    late: bool = False


class Faults:
    """The calls so far, by kind, and those that failed."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.calls: list[str] = []
        self.failed: list[str] = []
        self.armed = False

    def reach(self, kind: str) -> Fault | None:
        """A call: the fault, if it is to fail."""
        fault = self.fault
        if not self.armed:
            return None
        self.calls.append(kind)
        number = len(self.calls) - 1
        if fault is None or number < fault.point or (number > fault.point and not fault.lasting):
            return None
        first = self.failed[0] if self.failed else kind
        if (kind in IMAGE_CALLS) != (first in IMAGE_CALLS):
            return None
        self.failed.append(kind)
        return fault


class FailingImage:
    """An ImageFile whose calls fail as told."""

    def __init__(self, image: ImageFile, faults: Faults) -> None:
        self.path, self.superblock, self.close = image.path, image.superblock, image.close
        self._image, self._faults = image, faults
        self._unflushed: dict[int, bytes] = {}
        self._lost: dict[int, bytes] = {}

    def read_at(self, addr: int, length: int) -> bytes:
        self._fail("read")
        return self._image.read_at(addr, length)

    def write_at(self, addr: int, data: bytes) -> None:
        before = self._image.read_at(addr, len(data))
        for start in range(0, len(data), SECTOR_SIZE):
            sector = addr + start
            old = self._lost.pop(sector, before[start : start + SECTOR_SIZE])
            self._unflushed.setdefault(sector, old)
        try:
            self._fail("write")
        except OSError:
            self._image.write_at(addr, data[: len(data) // 2 // SECTOR_SIZE * SECTOR_SIZE])
            raise
        self._image.write_at(addr, data)

    def flush(self) -> None:
        """After a failure the host takes the sectors for written: no later flush tries them."""
        try:
            self._fail("flush")
        except OSError:
            self._lost |= self._unflushed
            raise
        finally:
            self._unflushed = {}

    def lose_unflushed(self) -> None:
        """The machine stops: the host's page cache is gone."""
        for sector, old in (self._unflushed | self._lost).items():
            self._image.write_at(sector, old)

    def punch(self, runs: Iterable[tuple[int, int]]) -> None:
        if self._faults.reach("punch") is None:
            self._image.punch(runs)

    def _fail(self, kind: str) -> None:
        fault = self._faults.reach(kind)
        if fault is not None:
            raise OSError(fault.error, os.strerror(fault.error))


class FailingSqlite:
    """A connection whose statements fail as told, and undo as much as SQLite's own would."""

    def __init__(self, db: sqlite3.Connection, faults: Faults) -> None:
        self._db, self._faults, self.close = db, faults, db.close

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, statement: str, parameters: Iterable[Any] = ()) -> sqlite3.Cursor:
        word = statement.split()[0]
        kind = {"SELECT": "query", "COMMIT": "commit", "BEGIN": "begin"}.get(word, "change")
        fault = self._faults.reach(kind) if word not in ("ROLLBACK", "PRAGMA") else None
        if fault is None:
            return self._db.execute(statement, parameters)
        if kind == "commit" and fault.late:
            self._db.execute("COMMIT")
        if self._db.in_transaction and fault.error not in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        ):
            self._db.execute("ROLLBACK")
        if fault.error == sqlite3.SQLITE_NOMEM:
            raise MemoryError
        error = sqlite3.OperationalError(f"result code {fault.error}")
        error.sqlite_errorcode = fault.error
        raise error

    def executemany(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        for row in rows:
            self.execute(statement, row)


class Reply:
    """What the extension's Request is to the daemon: answered once."""

    pid, uid, gid, umask = 1, 0, 0, 0o22

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.came = trio.Event()

    def _answer(self, value: Any, error: FsError | None = None) -> None:
        self.answers.append((error.errno if error is not None else 0, value))
        self.came.set()

    def reply_done(self, nothing: None = None, error: FsError | None = None) -> None:
        self._answer(None, error)

    def reply_buf(self, data: bytes) -> None:
        self._answer(bytes(data))

    def reply_pieces(self, pieces: list[Buffer] | None, error: FsError | None = None) -> None:
        self._answer(b"".join(pieces or []), error)

    def reply_write(self, count: int | None, error: FsError | None = None) -> None:
        self._answer(count, error)

    def reply_lseek(self, pos: int | None, error: FsError | None = None) -> None:
        self._answer(pos, error)

    def reply_attr(self, shown: Shown | None, error: FsError | None = None) -> None:
        self._answer(shown, error)

    def reply_entry(self, shown: Shown) -> None:
        self._answer(shown)

    def reply_open(self, fh: int | None, error: FsError | None = None) -> None:
        self._answer(fh, error)

    def reply_xattr(self, value: bytes, size: int) -> None:
        self._answer(value)

    def reply_statfs(self, *numbers: int) -> None:
        self._answer(numbers)

    def reply_opendir(self, fh: int, cached: bool) -> None:
        self._answer(cached)

    def reply_create(self, shown: Shown, fh: int) -> None:
        self._answer((shown, fh))


class ListingReply(Reply):
    """The same for a listing, with room for so many entries."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.entries: list[tuple[bytes, Shown, int]] = []

    def add(self, name: bytes, shown: Shown, cookie: int) -> bool:
        if len(self.entries) == self.room:
            return False
        self.entries.append((name, shown, cookie))
        return True

    def reply_entries(self) -> None:
        self._answer(self.entries)


class Daemon:
    """What serves a mount, and a kernel that asks: each call raises OSError or returns."""

    def __init__(self, volume: Volume, faults: Faults | None = None) -> None:
        self.volume = volume
        self.faults = faults or Faults()
        self.image = volume.image = FailingImage(volume.image, self.faults)
        volume.metadata._db = FailingSqlite(volume.metadata._db, self.faults)
        trace, timing = Trace(), Timing(volume.fs)
        self.driver = Driver(
            volume.image,
            volume.fs.load_map,
            volume.commit,
            trace,
            timing,
            before_space=Reclaim(volume.deleted, volume.fs).wait_forgotten,
            work=volume.fs.work,
        )
        atime = Atime(volume.nodes, ["noatime"])
        keeper = Gatekeeper(self.driver, volume)
        coherence = Coherence(volume, self.driver, trace)
        told = timing, keeper, coherence, LogRing(), atime
        self.control = control = Control(volume, self.driver, *told, "/mnt", ())
        pages = KernelPages(self.driver, lambda: socket.socketpair()[0])
        self.handlers = Handlers(volume, self.driver, timing, control, atime, pages, coherence)
        self.files, self.data = self.handlers.files, self.handlers.data
        self.names, self.directories = self.handlers.names, self.handlers.directories

    @classmethod
    @asynccontextmanager
    async def on(cls, image: Path, faults: Faults | None = None) -> AsyncIterator["Daemon"]:
        """Serve an image; at the end nothing is written that was not before."""
        volume = Volume.open(
            str(image), f"{image}.meta", OPTIONS, in_thread=trio.to_thread.run_sync
        )
        try:
            async with trio.open_nursery() as nursery:
                daemon = cls(volume, faults)
                nursery.start_soon(daemon.driver.run)
                yield daemon
                nursery.cancel_scope.cancel()
        finally:
            volume.close()

    async def ask_here(self, handler: Callable[..., None], *arguments: Any) -> Any:
        """A request that the extension serves."""
        return await self._answer(Reply(), handler, *arguments)

    async def _answer(self, reply: Reply, handler: Callable[..., None], *arguments: Any) -> Any:
        try:
            handler(reply, *arguments)
        except FsError as error:  # as the extension does
            reply.reply_done(None, error)
        self.driver.run_ready()
        await reply.came.wait()
        [(error, value)] = reply.answers
        if error:
            raise OSError(error, os.strerror(error))
        return value

    # -- the system calls of a workload ------------------------------------------------

    async def create(self, name: bytes) -> tuple[int, int]:
        """A new file in the root, open: its inode number and handle."""
        shown, fh = await self.ask_here(self.names.create, ROOT_INO, name, 0o600, os.O_RDWR)
        return shown.ino, fh

    async def open(self, ino: int, flags: int = os.O_RDWR) -> int:
        fh: int = await self.ask_here(self.files.open, ino, flags)
        return fh

    async def write(self, ino: int, fh: int, pos: int, data: bytes, flags: int = 0) -> int:
        return await self.ask_here(self.data.write, ino, fh, pos, data, flags, False)

    async def read(self, ino: int, fh: int, pos: int, size: int, flags: int = 0) -> bytes:
        return await self.ask_here(self.data.read, ino, fh, pos, size, flags)

    async def fallocate(self, ino: int, mode: int, pos: int, length: int) -> None:
        await self.ask_here(self.data.fallocate, ino, mode, pos, length)

    async def truncate(self, ino: int, size: int) -> None:
        await self.ask_here(self.names.setattr, ino, None, None, None, size, None, None, False)

    async def fsync(self, fh: int) -> None:
        await self.ask_here(self.files.fsync, fh)

    async def rename(self, name: bytes, new: bytes) -> None:
        await self.ask_here(self.names.rename, ROOT_INO, name, ROOT_INO, new, 0)

    async def unlink(self, name: bytes) -> None:
        await self.ask_here(self.names.unlink, ROOT_INO, name)

    async def lookup(self, name: bytes) -> int:
        shown: Shown = await self.ask_here(self.names.lookup, ROOT_INO, name)
        return shown.ino

    async def list(self, cookie: int, room: int) -> list[tuple[bytes, Shown, int]]:
        """Entries of the root behind a cookie, as far as there is room."""
        reply = ListingReply(room)
        entries: list[tuple[bytes, Shown, int]] = await self._answer(
            reply, self.directories.readdir, ROOT_INO, cookie, 160 * room
        )
        return entries

    async def forget(self, ino: int) -> None:
        """The kernel gives all its references to an inode back."""
        node = self.volume.nodes.in_memory.get(ino)
        if node is not None and node.lookups:
            self.names.forget(ino, node.lookups)

    async def close(self, fh: int) -> None:
        await self.ask_here(self.files.release, fh)

    async def sync(self) -> None:
        """What the flusher does every few seconds, and the unmount once."""
        await sync(self.volume, self.driver)
