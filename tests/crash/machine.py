"""A machine that can stop at any moment: real volumes and model, a disk that forgets.

    Disk        the image as the medium has it, writes that no flush has reached, and the
                metadata as the last commit left it
    Machine     runs clients and commits, one step at a time, in an order drawn from a seed
    recover()   what the next mount finds: a Volume, opened as after a crash

A disk changes only with a write, a flush, a punch and a transaction's commit.  Each of
them, and each promise made to a client, is a moment at which run() calls moment(): so what is
checked there is checked for a stop at every step in between.

What is taken on trust: a block reaches the medium whole or not at all, and SQLite's COMMIT is
atomic and durable.  The daemon is killed for real in tests/mounted/.

Units: addr and length are bytes of the image.
"""

import random
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from uuid import UUID

from fusefs.engine.task import Task, perform
from fusefs.explore.memory import MemoryImage
from fusefs.model.errors import FsError
from fusefs.model.options import Options
from fusefs.model.steps import Buffer, Kind, Step, Waiter
from fusefs.store.image_file import Superblock
from fusefs.store.metadata import Metadata
from fusefs.store.volume import Volume

BLOCK = 512
SUBSETS_MAX = 12
"""Sets of surviving writes tried at one moment, where there are more."""

UUID_OURS = UUID("6f756f75-0000-4000-8000-000000000002")


class DiskImage(MemoryImage):
    """What ImageFile is to a Volume; changed is called after each change of the disk."""

    def __init__(self, block_count: int, changed: Callable[[], None]) -> None:
        super().__init__(block_count * BLOCK)
        self.path = "image"
        self.superblock = Superblock(UUID_OURS, BLOCK, block_count)
        self.flushed = bytes(self.data)
        self.pending: list[tuple[int, bytes]] = []
        self._changed = changed

    def write_at(self, addr: int, data: Buffer) -> None:
        super().write_at(addr, data)
        for start in range(0, len(data), BLOCK):
            self.pending.append((addr + start, bytes(data[start : start + BLOCK])))
        self._changed()

    def flush(self) -> None:
        self.flushed = bytes(self.data)
        self.pending.clear()
        self._changed()

    def punch(self, runs: list[tuple[int, int]]) -> None:
        for first, count in runs:
            self.write_at(first * BLOCK, bytes(count * BLOCK))

    def close(self) -> None:
        pass

    def after_crash(self, rng: random.Random) -> Iterator[bytes]:
        """What the medium may hold: flushed, plus each of some sets of the pending writes."""
        for kept in _subsets(len(self.pending), rng):
            image = bytearray(self.flushed)
            for i in kept:
                addr, data = self.pending[i]
                image[addr : addr + len(data)] = data
            yield bytes(image)


def _subsets(count: int, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """All sets of range(count) if they are few; else all, none, all but one, and some more."""
    everything = range(count)
    if 2**count <= SUBSETS_MAX:
        for size in everything:
            yield from combinations(everything, size)
        yield tuple(everything)
        return
    yield ()
    yield tuple(everything)
    yield tuple(everything[:-1])
    for _ in range(SUBSETS_MAX - 3):
        yield tuple(i for i in everything if rng.random() < 0.5)


@dataclass(frozen=True, slots=True)
class Wreck:
    """What a crash leaves."""

    image: bytes
    metadata: bytes


class VolumeStorage:
    """What steps of a request on a volume are performed on; commits are the machine's own."""

    def __init__(self, volume: Volume) -> None:
        self.read_at, self.write_at = volume.image.read_at, volume.image.write_at
        self.load_map = volume.fs.load_map

    def commit(self) -> None:
        pass


async def _others_first() -> None:
    await Step(Kind.PASS, "others")


class Machine:
    """Clients and commits on one volume; run() them.

    promise_count tells promises apart: with each, a wreck must hold more than before.
    """

    def __init__(
        self,
        seed: int,
        options: Options,
        block_count: int,
        volume_class: type[Volume] = Volume,
    ) -> None:
        self.rng = random.Random(seed)
        self._loss_rng = random.Random(seed)  # another, so that looking changes nothing
        self.promise_count = 0
        self._moment: Callable[[], None] = lambda: None
        metadata = Metadata.create(":memory:", UUID_OURS, BLOCK, block_count, 0, 0, 1)
        self.committed = _file_of(metadata)
        self.image = DiskImage(block_count, self.look)
        self.volume = volume_class(self.image, metadata, options, self._in_thread)
        self._storage = VolumeStorage(self.volume)
        self._tasks: list[Task] = []
        self._commit_waiters: list[Waiter] = []
        self._commit_runs = False

    def close(self) -> None:
        self.volume.close()

    def look(self) -> None:
        """Something durable changed."""
        self._moment()

    def promised(self) -> None:
        """A client was told that something is durable."""
        self.promise_count += 1
        self._moment()

    def wrecks(self) -> Iterator[Wreck]:
        """All that may be found after a crash now."""
        for image in self.image.after_crash(self._loss_rng):
            yield Wreck(image, self.committed)

    def run(
        self, *clients: Coroutine[Any, Any, None], moment: Callable[[], None] = lambda: None
    ) -> None:
        """Run clients to their ends, and the commits that they ask for.

        moment() is called whenever a crash would leave something new.
        """
        self._moment = moment
        self._tasks += [Task(client) for client in clients]
        try:
            while self._tasks:
                ready = [task for task in self._tasks if not task.waits]
                assert ready, "all wait for each other"
                self._go_on(self.rng.choice(ready))
        finally:
            for task in self._tasks:
                task.close()

    def _go_on(self, task: Task) -> None:
        """Carry out a task's step, and let it run to the next."""
        value: Any = None
        error: FsError | None = None
        try:
            value = perform(self._storage, task.step) if task.step is not None else None
        except FsError as failure:
            error = failure
        step = task.advance(value, error)
        if task.error is not None:
            raise task.error
        if task.returned:
            self._tasks.remove(task)
        elif step.kind is Kind.COMMIT:
            task.step = Step(Kind.WAIT, step.name, waiter=Waiter())
            self._commit_waiters.append(task.step.waiter)
            self._start_commit()

    # -- commits: one at a time; all who asked before it began share it -----------------

    def _start_commit(self) -> None:
        if self._commit_waiters and not self._commit_runs:
            self._commit_runs = True
            self._tasks.append(Task(self._commit()))

    async def _commit(self) -> None:
        waiters, self._commit_waiters = self._commit_waiters, []
        await self.volume.commit()
        for waiter in waiters:
            waiter.wake()
        self._commit_runs = False
        self._start_commit()

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """What the daemon does in a thread, while its other requests go on."""
        await _others_first()
        function(*arguments)
        if function == self.volume.metadata.commit:
            self.committed = _file_of(self.volume.metadata)
            self.look()
        await _others_first()


def _file_of(metadata: Metadata) -> bytes:
    """The bytes of the SQLite file; just committed, they have nothing of the next transaction."""
    return metadata._db.serialize()


def metadata_of(wreck: Wreck) -> Metadata:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(wreck.metadata)
    return Metadata(db, ":memory:")


def recover(wreck: Wreck, options: Options) -> Volume:
    """Open what a crash left, as a mount does."""
    image = DiskImage(len(wreck.image) // BLOCK, lambda: None)
    image.data[:] = wreck.image

    async def at_once(function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)

    return Volume(image, metadata_of(wreck), options, at_once)
