"""What is on the disk if everything stops here: the driver that stops at every step.

A CrashWorld remembers what a real image would have lost: writes since the last flush are
pending, and after a crash each of them is there or not.  The metadata is what the last
commit saved.  crash_states() runs one coroutine, and yields what the next mount could find
at each of its steps.

Units: as everywhere; a DiskState's map and image belong together.
Invariants, for whoever checks a DiskState:
    (C1) what an fsync returned for is there;
    (C2) a block never shows bytes that no one wrote into that file: not another file's,
         not what the image held before;
    (C3) each block is whole: one of the values it was given.
"""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fusefs.engine.task import REPLY, Task, perform
from fusefs.explore.memory import MemoryImage, World
from fusefs.model.errors import FsError
from fusefs.model.extents import Chunk, ExtentMap, State
from fusefs.model.inode import Inode
from fusefs.model.steps import Buffer, Step

SUBSETS_MAX = 64
"""Subsets of pending writes tried at one step; smaller losses first."""


class PendingImage(MemoryImage):
    """An image whose writes are durable only after flush()."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.flushed = bytes(self.data)
        self.pending: list[tuple[int, bytes]] = []

    def write_at(self, addr: int, data: Buffer) -> None:
        super().write_at(addr, data)
        self.pending.append((addr, bytes(data)))

    def flush(self) -> None:
        self.flushed = bytes(self.data)
        self.pending.clear()

    def after_crash(self) -> Iterator[bytes]:
        """The images that may be found: flushed, plus each subset of the pending writes."""
        count, tried = len(self.pending), 0
        for lost in range(count + 1):
            for kept in combinations(range(count), count - lost):
                if tried == SUBSETS_MAX:
                    return
                tried += 1
                image = bytearray(self.flushed)
                for i in kept:
                    addr, data = self.pending[i]
                    image[addr : addr + len(data)] = data
                yield bytes(image)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the last commit saved it."""

    size: int
    chunks: dict[int, tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class DiskState:
    """What a mount finds after a crash before the step named: image, and files by number."""

    step: str
    image: bytes
    files: dict[int, StoredFile]
    block_size: int

    def read(self, ino: int) -> bytes:
        """All of a file, as the next mount would read it; b'' if it was never committed."""
        stored = self.files.get(ino)
        if stored is None:
            return b""
        extents, size = ExtentMap(), self.block_size
        for number, (runs, blocks_unwritten) in stored.chunks.items():
            extents.chunks[number] = Chunk.decode(number, runs, blocks_unwritten)
        content = bytearray()
        for mapping in extents.mappings(0, -(-stored.size // size)):
            addr, length = mapping.physical * size, mapping.count * size
            written = mapping.state is State.MAPPED
            content += self.image[addr : addr + length] if written else bytes(length)
        return bytes(content[: stored.size])


class CrashWorld(World):
    """A world that knows what would survive.  inodes are the files that commits save."""

    def __init__(self, inodes: list[Inode], **options: Any) -> None:
        super().__init__(**options)
        self.image = self.pending_image = PendingImage(len(self.image.data))
        self.inodes = inodes
        self.files: dict[int, StoredFile] = {}

    def commit(self) -> None:
        """The protocol of a commit; no step is inside, so (C1) begins when it returns."""
        saved = {inode.ino: stored(inode) for inode in self.inodes}
        self.pending_image.flush()
        self.files = saved
        super().commit()

    def disk_states(self, step: str) -> Iterator[DiskState]:
        """What a crash now may leave: also half-way through a commit that has not returned."""
        for image in self.pending_image.after_crash():
            yield DiskState(step, image, self.files, self.fs.geometry.block_size)


def stored(inode: Inode) -> StoredFile:
    """What a commit now saves of a file."""
    extents = inode.extents
    encoded = {number: extents.encode(number) for number in extents.chunks}
    return StoredFile(
        inode.disk_size, {n: chunk for n, chunk in encoded.items() if chunk is not None}
    )


def crash_states(
    world: CrashWorld, workload: Callable[[], Coroutine[Step, Any, Any]]
) -> Iterator[DiskState]:
    """Run a workload to its end; before each step, and after the last, yield all DiskStates.

    The caller sees the world between two steps, and so knows what had been promised.
    """
    task = Task(workload())
    value: Any = None
    error: FsError | None = None
    while (step := task.advance(value, error)) is not REPLY:
        yield from world.disk_states(step.name)
        assert not task.waits, "a single task waits for itself"
        value = error = None
        try:
            value = perform(world, step)
        except FsError as failure:
            error = failure
    if task.error is not None:
        raise task.error
    yield from world.disk_states("the end")
