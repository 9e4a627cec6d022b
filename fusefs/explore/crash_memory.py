"""A world in memory that knows what a crash would leave of it: of litmus files that say `crash`.

    CrashMemory    a NamedWorld, and what is stored of it
    Left           what a mount could then find of its files

A write is pending until the next flush of the disk: a crash loses it, or does not.  A commit
flushes, and stores the names, and each file's disk_size and map; they are found as the last one
left them.  Pending writes into blocks that no stored map calls written change nothing that a mount
can find, and are left out.

Units: as everywhere.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from fusefs.explore.crash import PendingImage, StoredFile, stored
from fusefs.explore.names import NamedWorld
from fusefs.model.chunk import MAPPED
from fusefs.model.extents import Chunk, ExtentMap
from fusefs.model.filesystem import Filesystem
from fusefs.model.footprint import MAP, key
from fusefs.model.inode import Inode
from fusefs.model.steps import Buffer, current

SUBSETS_MAX: Final = 1024
"""Sets of lost writes that are tried at one moment; small ones first."""


class Left:
    """contents has each stored file's bytes, by the number of its inode.

    lost says which of the pending writes the disk has lost, by their places among them.
    """

    __slots__ = ("contents", "lost")

    def __init__(self, lost: tuple[int, ...], contents: dict[int, bytes]) -> None:
        self.lost = lost
        self.contents = contents


class CrashMemory(NamedWorld):
    """stored_names and stored_files are of the last commit, files by the number of their inode.

    write_count is how many writes the disk got since all began.
    exhausted is false once left() has come to SUBSETS_MAX.
    """

    def __init__(
        self,
        fs: Filesystem,
        image: PendingImage,
        names: dict[str, Inode],
        open_counts: dict[int, int],
    ) -> None:
        super().__init__(fs, image, names, open_counts)
        self._inodes = list(names.values())
        self.disk = image
        self.write_count = 0
        self.exhausted = True
        self.stored_names: dict[str, int] = {}
        self.stored_files: dict[int, StoredFile] = {}
        self.flush()
        self.store()

    def write_at(self, addr: int, data: Buffer) -> None:
        super().write_at(addr, data)
        self.write_count += 1

    def commit(self) -> None:
        """All maps and sizes are read; the names are by evict()."""
        footprint = current.footprint
        if footprint is not None:
            for inode in self._inodes:
                footprint.read(key(MAP, inode.ino))
        self.evict()
        self.flush()
        self.store()
        super().commit()

    def flush(self) -> None:
        """The first half of a commit: what the disk was given is there."""
        self.disk.flush()

    def store(self) -> None:
        """The second half: so are names, sizes and maps as they are now."""
        self.stored_names = {name: inode.ino for name, inode in self.names.items()}
        self.stored_files = {inode.ino: stored(inode) for inode in self._inodes}

    @property
    def pending_count(self) -> int:
        return len(self.disk.pending)

    def left(self) -> Iterator[Left]:
        """What a mount can find after a crash now, each once; small losses first."""
        ranges = {ino: self._ranges(ino) for ino in self.stored_names.values()}
        written = [each for some in ranges.values() for each in some if each[0]]
        visible = [
            number
            for number, (addr, data) in enumerate(self.disk.pending)
            if any(addr < at + length and at < addr + len(data) for at, length in written)
        ]
        seen: set[tuple[bytes, ...]] = set()
        tried = 0
        for count in range(len(visible) + 1):
            for lost in combinations(visible, count):
                if tried == SUBSETS_MAX:
                    self.exhausted = False
                    return
                tried += 1
                contents = _contents(ranges, self._image(lost))
                found = tuple(contents.values())
                if found not in seen:
                    seen.add(found)
                    yield Left(lost, contents)

    def left_without(self, lost: tuple[int, ...]) -> Left:
        """What a mount finds if these of the pending writes are lost."""
        ranges = {ino: self._ranges(ino) for ino in self.stored_names.values()}
        return Left(lost, _contents(ranges, self._image(lost)))

    def _image(self, lost: tuple[int, ...]) -> bytes:
        image = bytearray(self.disk.flushed)
        for number, (addr, data) in enumerate(self.disk.pending):
            if number not in lost:
                image[addr : addr + len(data)] = data
        return bytes(image)

    def _ranges(self, ino: int) -> list[tuple[int, int]]:
        """Where a stored file's bytes are, in order, as (addr, length); of zeros addr is 0."""
        file, size = self.stored_files[ino], self.fs.geometry.block_size
        extents = ExtentMap()
        for number, (runs, blocks_unwritten) in file.chunks.items():
            extents.chunks[number] = Chunk.decode(number, runs, blocks_unwritten)
        found, left = [], file.size
        for mapping in extents.mappings(0, -(-file.size // size)):
            length = min(mapping.count * size, left)
            left -= length
            found.append((mapping.physical * size if mapping.state is MAPPED else 0, length))
        return found


def _contents(ranges: dict[int, list[tuple[int, int]]], image: bytes) -> dict[int, bytes]:
    """The bytes of each file, out of an image."""
    return {
        ino: b"".join(
            [image[addr : addr + length] if addr else bytes(length) for addr, length in some]
        )
        for ino, some in ranges.items()
    }
