"""Clients that note what they did and what they were promised, and what a wreck must hold.

A Client works alone in its own directory, and shares one file with others, of which it
writes every other block.  For each file it keeps the versions that the file went through;
a promise makes one of them the oldest that may be found.

What check() demands of a wreck, for each client:
    (C1) what was promised is there: names as of the last promise or later, and of each file
         and each block its version as of the last promise or later;
    (C2) a block shows only what its own file held there once: no other's bytes, no garbage;
    (C3) a block is whole;
    (C4) names are as they were between two operations of the client;
    (C5) what a rename replaced is there whole, or what it was replaced with is, whole.

And of all of it: (C6) fsck finds nothing but inodes that were deleted while open, and after
the next mount's first commit nothing at all.
"""

import errno
import random
import stat
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from crash.machine import BLOCK, Machine, VolumeStorage

from fusefs.engine.task import REPLY, Task, perform
from fusefs.model.errors import FsError
from fusefs.model.file_io import commit_names, fsync, make_durable, read, write, writeback_inode
from fusefs.model.inode import OpenFile
from fusefs.model.steps import Buffer
from fusefs.model.truncate import fallocate, truncate
from fusefs.store.node import Node
from fusefs.store.volume import Volume

T = TypeVar("T")

ROOT = 1
FILE_BLOCKS_MAX = 8
NAMES = [b"a", b"b", b"c", b"d"]
FALLOCATE_MODES = (0x00, 0x01, 0x03, 0x10)


@dataclass(slots=True)
class File:
    """One file's past: contents[floor:] may be found.  blocks limits what is the client's own.

    ranges are those of synchronous writes, which promise no more: version, pos, end.
    """

    ino: int
    contents: list[bytes] = field(default_factory=lambda: [b""])
    floor: int = 0
    blocks: range | None = None
    ranges: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def now(self) -> bytes:
        return self.contents[-1]

    def check(self, found: bytes, floor: int) -> None:
        """(C1, C2, C3)"""
        floor = max(floor, self.floor)
        ranges = [each for each in self.ranges if each[0] >= floor]
        if self.blocks is None:
            sizes = [len(content) for content in self.contents[floor:]]
            least = [min(end, *sizes[version - floor :]) for version, _, end in ranges]
            assert max(min(sizes), *least, 0) <= len(found) <= max(sizes), (
                f"(C1) inode {self.ino} has {len(found)} bytes, not {sorted(set(sizes))}, or more"
                f" than {least}"
            )
        for block in self.blocks or range(-(-len(found) // BLOCK)):
            start, stop = block * BLOCK, (block + 1) * BLOCK
            synced = [version for version, pos, end in ranges if pos <= start and stop <= end]
            possible, piece = self.contents[max([floor, *synced]) :], found[start:stop]
            assert any(_block(content, block).startswith(piece) for content in possible), (
                f"(C1, C2, C3) inode {self.ino}, block {block} has {piece[:8]!r}"
            )


def _block(content: bytes, block: int) -> bytes:
    """A block of a file; zeros beyond its end."""
    return content[block * BLOCK : (block + 1) * BLOCK].ljust(BLOCK, b"\0")


@dataclass(frozen=True, slots=True)
class Tree:
    """The client's names at one time; floors has the oldest version of a file that may be
    found under them."""

    names: dict[bytes, int]
    floors: dict[int, int]


class Client:
    """One process of the workload."""

    def __init__(self, machine: Machine, number: int, client_count: int, shared: Node) -> None:
        self.machine, self.volume = machine, machine.volume
        self.rng = random.Random(machine.rng.random())
        self.number = number
        self.directory = self.volume.namespace.make(
            ROOT, b"client %d" % number, stat.S_IFDIR | 0o755, 0, 0, 0, 1
        )
        self.directory.opens += 1
        own_blocks = range(number, FILE_BLOCKS_MAX, client_count)
        self.shared = File(shared.ino, [bytes(shared.size)], blocks=own_blocks)
        self.files = {shared.ino: self.shared}
        self.trees = [Tree({}, {})]
        self.tree_floor = 0
        self.write_count = 0

    # -- what it does ------------------------------------------------------------------

    async def work(self, operation_count: int) -> None:
        for _ in range(operation_count):
            operation = self.rng.choices(*zip(*OPERATIONS, strict=True))[0]
            try:
                await operation(self)
            except FsError:  # no room left: what was begun may still be found
                continue

    @property
    def names(self) -> dict[bytes, int]:
        return dict(self.trees[-1].names)

    def _named(self, names: dict[bytes, int], *, whole: int | None = None) -> None:
        """The names are now these; of the file `whole`, no older version may be found there."""
        floors = dict(self.trees[-1].floors)
        if whole is not None:
            floors[whole] = len(self.files[whole].contents) - 1
        self.trees.append(Tree(names, floors))

    def _any_file(self) -> File:
        mine = [self.files[ino] for ino in self.names.values() if ino in self.files]
        return self.rng.choice([self.shared, *mine, *mine])

    async def _with(self, file: File, operation: Callable[[OpenFile], Awaitable[T]]) -> T:
        """Run operation(open file) with the file open."""
        node = self.volume.nodes.get(file.ino)
        node.opens += 1
        try:
            return await operation(OpenFile(node.inode))
        finally:
            node.opens -= 1
            released(self.volume, node)

    async def _change(
        self, file: File, content: bytes, operation: Callable[[OpenFile], Awaitable[object]]
    ) -> int:
        """Give a file a new content; return its version.

        Where that fails half-way, for want of room, the file tells how far it went.
        """
        file.contents.append(content)
        try:
            await self._with(file, operation)
        except FsError:
            size = self.volume.nodes.get(file.ino).inode.size
            file.contents.append(bytes(await self._with(file, partial(self._read, size))))
            raise
        return len(file.contents) - 1

    async def _read(self, size: int, opened: OpenFile) -> Buffer:
        return await read(self.volume.fs, opened, 0, size, direct=False)

    def _make(self, name: bytes, mode: int) -> Node:
        with self.volume.changing:
            return self.volume.namespace.make(self.directory.ino, name, mode, 0, 0, 0, 1)

    async def create(self) -> None:
        name = self.rng.choice(NAMES)
        node = self._make(name, stat.S_IFREG | 0o644)
        self.files[node.ino] = File(node.ino)
        self._named(self.names | {name: node.ino})

    async def make_directory(self) -> None:
        name = self.rng.choice(NAMES)
        node = self._make(name, stat.S_IFDIR | 0o755)
        self._named(self.names | {name: node.ino})

    async def remove(self) -> None:
        names = self.names
        name = self.rng.choice(NAMES)
        is_file = names.get(name) in self.files
        remove = self.volume.namespace.unlink if is_file else self.volume.namespace.rmdir
        with self.volume.changing:
            removed = remove(self.directory.ino, name, 1)
        released(self.volume, removed)
        del names[name]
        self._named(names)

    async def link(self) -> None:
        old, new = self.rng.sample(NAMES, 2)
        names = self.names
        if old in names:
            with self.volume.changing:
                self.volume.namespace.link(names[old], self.directory.ino, new, 1)
            self._named(names | {new: names[old]})

    async def rename(self) -> None:
        old, new = self.rng.sample(NAMES, 2)
        names, parent = self.names, self.directory.ino
        if old not in names:
            return
        if inode := self.volume.unsaved_replacement(parent, old, parent, new):
            await make_durable(self.volume.fs, inode)
        with self.volume.changing:
            replaced = self.volume.namespace.rename(parent, old, parent, new, 0, 1)
        if replaced is not None:
            released(self.volume, replaced)
        if names.get(new) != names[old]:
            whole = names[old] if new in names and names[old] in self.files else None
            names[new] = names.pop(old)
            self._named(names, whole=whole)

    async def write(self) -> None:
        """Direct or buffered, with O_SYNC or without, anywhere in the first blocks."""
        file, direct, sync = self._any_file(), self.rng.random() < 0.5, self.rng.random() < 0.2
        if file.blocks is not None:
            pos, length = self.rng.choice(file.blocks) * BLOCK, BLOCK
        elif direct:
            block = self.rng.randrange(FILE_BLOCKS_MAX)
            pos, length = block * BLOCK, self.rng.randint(1, FILE_BLOCKS_MAX - block) * BLOCK
        else:
            pos = self.rng.randrange(FILE_BLOCKS_MAX * BLOCK)
            length = self.rng.randint(1, FILE_BLOCKS_MAX * BLOCK - pos)
        self.write_count += 1
        stamp = b"%d.%d.%d " % (self.number, file.ino, self.write_count)
        data = (stamp * (length // len(stamp) + 1))[:length]
        content = bytearray(file.now.ljust(pos + length, b"\0"))
        content[pos : pos + length] = data

        async def run(opened: OpenFile) -> None:
            written = await write(self.volume.fs, opened, pos, data, direct=direct, sync=sync)
            if written < length:
                raise FsError(errno.ENOSPC)

        version = await self._change(file, bytes(content), run)
        if sync:
            file.ranges.append((version, pos, pos + length))
            self.machine.promised()

    async def truncate(self) -> None:
        file = self._any_file()
        if file is self.shared:
            return
        size = self.rng.randrange(FILE_BLOCKS_MAX * BLOCK)
        content = file.now[:size].ljust(size, b"\0")
        await self._change(
            file, content, lambda opened: truncate(self.volume.fs, opened.inode, size)
        )

    async def fallocate(self) -> None:
        file, mode = self._any_file(), self.rng.choice(FALLOCATE_MODES)
        if file is self.shared:
            return
        pos = self.rng.randrange(FILE_BLOCKS_MAX * BLOCK)
        length = self.rng.randint(1, FILE_BLOCKS_MAX * BLOCK - pos)
        content = bytearray(file.now if mode & 1 else file.now.ljust(pos + length, b"\0"))
        if mode & 0x12:
            stop = min(pos + length, len(content))
            content[pos:stop] = bytes(max(stop - pos, 0))
        await self._change(
            file,
            bytes(content),
            lambda opened: fallocate(self.volume.fs, opened.inode, mode, pos, length),
        )

    async def sync_file(self) -> None:
        file = self._any_file()
        version, tree = len(file.contents) - 1, len(self.trees) - 1
        await self._with(file, lambda opened: fsync(self.volume.fs, opened))
        self.tree_floor = max(self.tree_floor, tree)
        self._promised(file, version)

    async def sync_directory(self) -> None:
        tree = len(self.trees) - 1
        await commit_names()
        self.tree_floor = max(self.tree_floor, tree)
        self.machine.promised()

    def _promised(self, file: File, version: int) -> None:
        file.floor = max(file.floor, version)
        self.machine.promised()

    # -- what must be there ------------------------------------------------------------

    def check(self, volume: Volume) -> None:
        found: dict[bytes, int] = {}
        try:
            directory = volume.namespace.lookup(ROOT, b"client %d" % self.number)
        except FsError:
            assert not self.tree_floor, "(C1) the directory is gone"
        else:
            entries = volume.namespace.entries(directory.ino, 2, 2 * len(NAMES))
            found = {entry.name: entry.ino for entry in entries}
        trees = [tree for tree in self.trees[self.tree_floor :] if tree.names == found]
        assert trees, f"(C1, C4) names {found}, last {self.trees[-1].names}"
        for ino in set(found.values()) & set(self.files):
            floor = min(tree.floors.get(ino, 0) for tree in trees)  # (C5)
            self.files[ino].check(content_of(volume, ino), floor)
        self.shared.check(content_of(volume, self.shared.ino), 0)


OPERATIONS = [
    (Client.write, 12),
    (Client.create, 4),
    (Client.rename, 4),
    (Client.sync_file, 3),
    (Client.truncate, 2),
    (Client.fallocate, 2),
    (Client.remove, 2),
    (Client.sync_directory, 1),
    (Client.link, 1),
    (Client.make_directory, 1),
]
"""What a client does, and how often beside the others."""


async def flusher(machine: Machine, round_count: int) -> None:
    """What the daemon does every few seconds: write all back, and commit."""
    for _ in range(round_count):
        for inode in list(machine.volume.fs.inodes_dirty.values()):
            await writeback_inode(machine.volume.fs, inode)
        await commit_names()


def released(volume: Volume, node: Node) -> None:
    """As NameRequests does when a file is closed or has lost a name."""
    dirty = node.inode is not None and node.inode.mapping.pages_dirty
    if not (node.is_idle and node.nlink and dirty):
        volume.release(node)


def content_of(volume: Volume, ino: int) -> bytes:
    """All of a file, read through the model."""
    inode = volume.nodes.get(ino).inode
    return bytes(run_alone(volume, read(volume.fs, OpenFile(inode), 0, inode.size, direct=False)))


def run_alone(volume: Volume, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run one request on a volume that nobody else uses."""
    storage, task = VolumeStorage(volume), Task(coroutine)
    step = task.advance(None, None)
    while step is not REPLY:
        step = task.advance(perform(storage, step), None)
    if task.error is not None:
        raise task.error
    return task.result
