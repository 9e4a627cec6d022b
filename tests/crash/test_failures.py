"""Each call to the disk and to SQLite fails in turn; what was promised is there all the same.

A workload runs over the real Volume, Driver and handlers, without a mount.  Whatever fails,
    what can be read is what was written, or an error;
    what an fsync returned 0 for is there after the end, be it an unmount or a crash that
    loses all that was not flushed; nobody reads what he never wrote;
    fsck finds nothing, and the log has no fault of ours and at most one read-only line.
"""

import errno
import logging
import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import trio
from crash.failing import IMAGE_CALLS, SQL_CALLS, Daemon, Fault, Faults

from fusefs.model.options import Options
from fusefs.store.fsck.check import check
from fusefs.store.health import Health
from fusefs.store.volume import Volume, make_image

BLOCK = 512
ZEROS = bytes(BLOCK)

EXPECTED = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""What a workload may be told; ENOENT and EBADF would come of a name or handle that is lost."""


@dataclass
class File:
    """What was written to each block of a file, what it has now, and what was promised."""

    ino: int
    fh: int
    given: dict[int, set[bytes]] = field(default_factory=dict)
    now: dict[int, bytes] = field(default_factory=dict)
    promised: dict[int, bytes] = field(default_factory=dict)
    is_promised: bool = False

    def changes(self, blocks: range, value: bytes) -> None:
        """A request that gives value to blocks is about to begin."""
        for block in blocks:
            self.given.setdefault(block, {ZEROS}).add(value)
            self.now.pop(block, None)
            self.promised.pop(block, None)

    def differs(self, content: bytes, expected: dict[int, bytes]) -> str:
        """What is wrong with the content; "" for nothing."""
        for start in range(0, len(content), BLOCK):
            found = content[start : start + BLOCK]
            if found not in self.given.get(start // BLOCK, {ZEROS}):
                return f"block {start // BLOCK} has {found[:4]!r}, which was never written there"
        for block, value in expected.items():
            if content[block * BLOCK : (block + 1) * BLOCK] != value:
                return f"block {block} has not its {value[:4]!r}"
        return ""


class Client:
    """Runs a workload, and keeps what it was told."""

    def __init__(self, daemon: Daemon, prefix: bytes = b"") -> None:
        self.daemon = daemon
        self.prefix = prefix
        self.files: list[File] = []
        self.names: dict[bytes, File] = {}
        self.names_promised: dict[bytes, File | None] = {}
        self.ever: dict[bytes, dict[int, File]] = defaultdict(dict)
        self.errors: list[int] = []
        self._values = count(1)

    async def done(self, request: Awaitable[object]) -> bool:
        """Whether a request succeeded; its error is kept, and must be one that may come."""
        try:
            await request
        except OSError as error:
            self._hear(error)
            return False
        return True

    def _hear(self, error: OSError) -> None:
        assert error.errno in EXPECTED, error
        assert self.daemon.faults.failed, f"an error without a fault: {error}"
        self.errors.append(error.errno)

    async def create(self, name: bytes) -> File:
        name = self.prefix + name
        self.names_promised.pop(name, None)
        file = File(0, 0)

        async def create() -> None:
            file.ino, file.fh = await self.daemon.create(name)

        if await self.done(create()):
            self.files.append(file)
            self.names[name] = self.ever[name][file.ino] = file
        return file

    async def write(self, file: File, block: int, number: int = 1, flags: int = 0) -> None:
        value, blocks = bytes([next(self._values)]) * BLOCK, range(block, block + number)
        file.changes(blocks, value)
        data = value * number
        if file.ino and await self.done(
            self.daemon.write(file.ino, file.fh, block * BLOCK, data, flags)
        ):
            file.now |= dict.fromkeys(blocks, value)
            if flags & os.O_DSYNC:
                self._promise(file)

    async def truncate(self, file: File, block_count: int) -> None:
        file.changes(range(block_count, 32), ZEROS)
        if file.ino:
            await self.done(self.daemon.truncate(file.ino, block_count * BLOCK))

    async def punch(self, file: File, block: int, number: int) -> None:
        file.changes(range(block, block + number), ZEROS)
        length = number * BLOCK
        if file.ino and await self.done(
            self.daemon.fallocate(file.ino, 0x03, block * BLOCK, length)
        ):
            file.now |= dict.fromkeys(range(block, block + number), ZEROS)

    async def preallocate(self, file: File, block: int, number: int) -> None:
        if file.ino:
            await self.done(self.daemon.fallocate(file.ino, 0, block * BLOCK, number * BLOCK))

    async def fsync(self, file: File) -> None:
        if not file.ino:
            return
        if await self.done(self.daemon.fsync(file.fh)):
            self._promise(file)
        else:
            file.now.clear()  # pages that could not be written are clean all the same

    def _promise(self, file: File) -> None:
        """The file is durable, and all names: a commit has everything."""
        file.promised, file.is_promised = dict(file.now), True
        gone = dict.fromkeys((name for name in self.names_promised if name not in self.names), None)
        self.names_promised = gone | self.names

    async def rename(self, name: bytes, new: bytes) -> None:
        name, new = self.prefix + name, self.prefix + new
        self.names_promised.pop(name, None)
        self.names_promised.pop(new, None)
        replaced = self.names.get(new)
        if replaced is not None:
            replaced.is_promised = False
        if name in self.names and await self.done(self.daemon.rename(name, new)):
            self.names[new] = file = self.names.pop(name)
            self.ever[new][file.ino] = file
            self.names_promised.pop(name, None)
            await self._let_go(replaced)

    async def unlink(self, name: bytes) -> None:
        name = self.prefix + name
        self.names_promised.pop(name, None)
        file = self.names.get(name)
        if file is not None:
            file.is_promised = False
            if await self.done(self.daemon.unlink(name)):
                del self.names[name]
                await self._let_go(file)

    async def _let_go(self, file: File | None) -> None:
        if file is not None:
            await self.daemon.close(file.fh)
            await self.daemon.forget(file.ino)
            self.files.remove(file)

    async def check_names(self) -> None:
        """A name leads to its file; once changes are undone, to an earlier one, all of it."""
        for name, files in self.ever.items():
            try:
                ino = await self.daemon.lookup(name)
                fh = await self.daemon.open(ino, os.O_RDONLY)
                content = await self.daemon.read(ino, fh, 0, 32 * BLOCK)
                await self.daemon.close(fh)
            except FileNotFoundError:
                assert name not in self.names or self.daemon.faults.failed, name
            except OSError as error:
                self._hear(error)
            else:
                is_whole = not {"read", "write"} & set(self.daemon.faults.failed)
                wrong = files[ino].differs(content, files[ino].promised if is_whole else {})
                assert not wrong, f"{name!r} leads to inode {ino}: {wrong}"

    async def check_reads(self) -> None:
        """What can be read is what was written; after a failed write it may be older.

        A read that fails after its first page is short.
        """
        for file in self.files:
            for flags in (0, os.O_DIRECT):
                try:
                    content = await self.daemon.read(file.ino, file.fh, 0, 32 * BLOCK, flags)
                except OSError as error:
                    self._hear(error)
                else:
                    is_whole = not {"read", "write"} & set(self.daemon.faults.failed)
                    wrong = file.differs(content, file.now if is_whole else {})
                    assert not wrong, f"inode {file.ino} read with flags {flags}: {wrong}"


async def workload(c: Client) -> None:
    """Direct, buffered and synchronous writes; every kind of change; the frees come to use."""
    a = await c.create(b"a")
    await c.write(a, 0, 3)
    await c.fsync(a)
    b = await c.create(b"b")
    await c.write(b, 0, 4, os.O_DIRECT)
    await c.write(b, 1, 1, os.O_DIRECT)
    await c.fsync(b)
    await c.write(a, 1)
    await c.write(a, 5, 2)
    await c.check_reads()
    await c.truncate(a, 6)
    await c.write(a, 4, 1, os.O_DIRECT)
    await c.fsync(a)
    await c.preallocate(b, 4, 4)
    await c.write(b, 5, 2)
    await c.punch(b, 1, 2)
    g = await c.create(b"g")
    await c.write(g, 0, 3)
    await c.daemon.sync()
    await c.fsync(g)
    await c.rename(b"a", b"c")
    await c.fsync(b)
    d = await c.create(b"d")
    await c.write(d, 2, 2, os.O_DSYNC)
    await c.write(d, 0, 2, os.O_DSYNC | os.O_DIRECT)
    await c.unlink(b"b")
    e = await c.create(b"e")
    await c.write(e, 0, 6)
    await c.rename(b"e", b"c")
    await c.fsync(e)
    await c.write(d, 1, 2)
    await c.truncate(d, 1)
    await c.write(e, 3, 8)
    await c.fsync(e)
    await c.check_reads()
    await c.check_names()


@dataclass
class Run:
    """What a run left: its clients' view of it, the calls, and why the mount was read-only.

    asked: the first failure came while somebody asked for something, and not at the unmount.
    """

    clients: list[Client]
    faults: Faults
    failure: str
    asked: bool

    @property
    def errors(self) -> list[int]:
        return [error for client in self.clients for error in client.errors]


def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = tmp_path_factory.mktemp("template") / "image"
    make_image(str(image), f"{image}.meta", Options(size=1 << 20, block_size=BLOCK))
    return image


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 1 MiB with nothing in it."""
    return template(tmp_path_factory)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: the disk under test is none of the machine's."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        yield tmp_path
        return
    path = shm / f"fusefs-failures-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def run_with(
    empty: Path,
    folder: Path,
    fault: Fault | None,
    *,
    crash: bool,
    health: Health | None = None,
    client_count: int = 1,
) -> Run:
    """Run the workload on a copy of the empty image, then stop; the copy stays."""
    image = folder / "image"
    for suffix in ("", ".meta", ".meta-wal"):
        Path(f"{image}{suffix}").unlink(missing_ok=True)
    for suffix in ("", ".meta"):
        shutil.copyfile(f"{empty}{suffix}", f"{image}{suffix}")
    faults = Faults(fault)

    async def main() -> Run:
        async with Daemon.on(image, faults) as daemon:
            if health is not None:
                daemon.volume.health = daemon.volume.metadata.health = health
            clients = [Client(daemon, b"%d-" % i) for i in range(client_count)]
            faults.armed = True
            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(workload, client)
            asked = bool(faults.failed)
            if not crash:
                await daemon.sync()
            faults.armed = False
            assert daemon.driver.tasks_running == 0
            if crash or "flush" in faults.failed:
                daemon.image.lose_unflushed()
            return Run(clients, faults, daemon.volume.health.failure, asked)

    return trio.run(main)


def check_left(folder: Path, run: Run) -> None:
    """The image is opened as the next mount does it."""
    image = folder / "image"

    async def main() -> None:
        async with Daemon.on(image) as daemon:
            found = {}
            for entry in daemon.volume.namespace.entries(1, 2, 100):
                found[entry.name] = entry.ino
            for client in run.clients:
                for name, file in client.names_promised.items():
                    assert found.get(name) == (file and file.ino), f"{name!r} is not as promised"
            for file in [file for client in run.clients for file in client.files]:
                if file.ino not in found.values():
                    assert not file.is_promised, f"inode {file.ino} is gone"
                    continue
                fh = await daemon.open(file.ino)
                content = await daemon.read(file.ino, fh, 0, 64 * BLOCK)
                wrong = file.differs(content, file.promised)
                assert not wrong, f"inode {file.ino} after the end: {wrong}"
                await daemon.close(fh)
            await daemon.sync()

    trio.run(main)
    volume = Volume.open(str(image), f"{image}.meta", Options())
    try:
        assert check(volume.metadata, volume.image.superblock) == []
    finally:
        volume.close()


def check_log(records: list[logging.LogRecord], run: Run) -> None:
    read_only = [record for record in records if "read-only now" in record.getMessage()]
    assert len(read_only) == bool(run.failure)
    assert [record for record in records if record.exc_info] == []


def check_told(run: Run) -> None:
    """Whoever asked for what failed was told, and the mount is read-only where it must be.

    A page that readahead could not fill is read again: one failed read may go unseen.
    """
    failed = set(run.faults.failed)
    if failed & {"flush", *SQL_CALLS}:
        assert run.failure, "nobody can say what is on the disk"
    else:
        assert not run.failure, run.failure
    if run.asked and (failed - {"punch", "read"} or len(run.faults.failed) > 1):
        assert run.errors, f"{failed} failed, and nobody was told"


ERRORS = {
    "image": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "metadata": (
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOMEM,
    ),
}
ENDS = {
    "once, then a crash": {"lasting": False, "crash": True},
    "once, then an unmount": {"lasting": False, "crash": False},
    "from then on": {"lasting": True, "crash": False},
}


def points(empty: Path, folder: Path, kinds: tuple[str, ...], *, crash: bool) -> list[int]:
    """The calls of these kinds in a run without a fault, which is checked as the others are."""
    run = run_with(empty, folder, None, crash=crash)
    assert run.errors == []
    check_left(folder, run)
    return [point for point, kind in enumerate(run.faults.calls) if kind in kinds]


def fail_each(
    empty: Path, folder: Path, side: str, end: str, errors: int, caplog: pytest.LogCaptureFixture
) -> int:
    """Fail each call with as many of its errors, in turn; returns how many faults were tried."""
    lasting, crash, late = ENDS[end]["lasting"], ENDS[end]["crash"], end.endswith("unmount")
    tried, kinds = 0, IMAGE_CALLS if side == "image" else SQL_CALLS
    for point in points(empty, folder, kinds, crash=crash):
        for i in range(errors):
            caplog.clear()
            error = ERRORS[side][(point + i) % len(ERRORS[side])]
            fault = Fault(point, error, lasting=lasting, late=late)
            try:
                run = run_with(empty, folder, fault, crash=crash)
                assert run.faults.failed, "the point was not reached"
                check_told(run)
                check_log(caplog.records, run)
                check_left(folder, run)
            except* AssertionError as wrong:
                raise AssertionError(str(fault)) from wrong
            tried += 1
    return tried


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("side", ERRORS)
def test_each_failure_is_told_and_takes_nothing_that_was_promised(
    empty: Path, folder: Path, side: str, end: str, caplog: pytest.LogCaptureFixture
):
    """Every call of the workload, with one of the errors that it can have."""
    tried = fail_each(empty, folder, side, end, 1, caplog)
    print(f"{side}, {end}: {tried} faults tried")
    assert tried > 30


@pytest.mark.long
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("side", ERRORS)
def test_each_failure_with_each_error(
    empty: Path, folder: Path, side: str, end: str, caplog: pytest.LogCaptureFixture
):
    tried = fail_each(empty, folder, side, end, len(ERRORS[side]), caplog)
    print(f"{side}, {end}: {tried} faults tried")
    assert tried > 100


@pytest.mark.parametrize("side", ERRORS)
def test_failure_in_a_crowd_takes_nothing_that_was_promised(
    empty: Path, folder: Path, side: str, caplog: pytest.LogCaptureFixture
):
    """Requests that run beside the one that fails, and some that wait for the same commit."""
    kinds = IMAGE_CALLS if side == "image" else SQL_CALLS
    calls = run_with(empty, folder, None, crash=True, client_count=3).faults.calls
    all_points = [point for point, kind in enumerate(calls) if kind in kinds]
    for i, point in enumerate(all_points[:: max(1, len(all_points) // 40)]):
        caplog.clear()
        fault = Fault(point, ERRORS[side][i % len(ERRORS[side])], late=i % 2 == 1)
        try:
            run = run_with(empty, folder, fault, crash=True, client_count=3)
            if run.faults.failed:  # else another kind of call had that number this time
                check_told(run)
                check_log(caplog.records, run)
            check_left(folder, run)
        except* AssertionError as wrong:
            raise AssertionError(str(fault)) from wrong


class Forgiving(Health):
    """Takes every failure for the last one, and lets the mount go on."""

    def fail(self, reason: str) -> None:
        pass


def test_going_on_after_a_failed_flush_is_found(empty: Path, folder: Path):
    """The check above, and a commit that is tried again: a promise is broken somewhere."""
    broken = []
    for point in points(empty, folder, ("flush",), crash=True):
        run = run_with(empty, folder, Fault(point, errno.EIO), crash=True, health=Forgiving())
        try:
            check_left(folder, run)
        except* AssertionError:
            broken.append(point)
    assert broken


def test_going_on_after_a_failed_statement_is_found(empty: Path, folder: Path):
    """SQLite has undone the names of before, and a later fsync returns 0 all the same."""
    fault = Fault(points(empty, folder, ("change",), crash=True)[2], sqlite3.SQLITE_IOERR)
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True, allow_unwrapped=True):
        run = run_with(empty, folder, fault, crash=True, health=Forgiving())
        check_told(run)
        check_left(folder, run)
