"""An image in memory, and a filesystem on it: no files, no clock, no threads."""

import errno
from collections.abc import Collection
from typing import ClassVar

from fusefs.model.extents import State
from fusefs.model.filesystem import Filesystem
from fusefs.model.footprint import COMMIT, IMAGE, SECTOR, key
from fusefs.model.geometry import SECTOR_SIZE, Geometry
from fusefs.model.inode import Inode
from fusefs.model.options import Invalidate, Options
from fusefs.model.space import Space
from fusefs.model.steps import Buffer, current


class MemoryImage:
    """Bytes that read_at() and write_at() address as an image file's are.

    New bytes are GARBAGE, not zeros, so that whoever reads what was never written is seen.
    """

    GARBAGE: ClassVar[int] = 0xDB

    def __init__(self, size: int) -> None:
        self.data = bytearray([self.GARBAGE]) * size

    @classmethod
    def holding(cls, data: bytes) -> "MemoryImage":
        """An image that begins with these bytes."""
        image = cls(0)
        image.data += data
        return image

    def read_at(self, addr: int, length: int) -> bytes:
        if addr < 0 or addr + length > len(self.data):
            raise OSError(errno.EIO, "read beyond the end of the image")
        return bytes(self.data[addr : addr + length])

    def write_at(self, addr: int, data: Buffer) -> None:
        if addr < 0 or addr + len(data) > len(self.data):
            raise OSError(errno.EIO, "write beyond the end of the image")
        self.data[addr : addr + len(data)] = data


def _sectors(addr: int, length: int) -> range:
    """Those of which any byte is in a range: a read ends where the file does."""
    return range(addr // SECTOR_SIZE, -(-(addr + length) // SECTOR_SIZE))


class Memory:
    """A filesystem in memory, the storage under it, and what its files must hold."""

    def __init__(self, fs: Filesystem, image: MemoryImage) -> None:
        self.fs = fs
        self.image = image
        self.commit_count = 0

    def read_at(self, addr: int, length: int) -> Buffer:
        footprint = current.footprint
        if footprint is not None:
            for sector in _sectors(addr, length):
                footprint.read(key(SECTOR, 0, sector))
        return self.image.read_at(addr, length)

    def write_at(self, addr: int, data: Buffer) -> None:
        footprint = current.footprint
        if footprint is not None:
            for sector in _sectors(addr, len(data)):
                footprint.write(key(SECTOR, 0, sector))
            footprint.add(key(IMAGE))
        self.image.write_at(addr, data)

    def load_map(self, inode: Inode, pos: int, length: int) -> None:
        """All maps are in memory."""

    def commit(self) -> None:
        """What a COMMIT step does here: freed blocks become free."""
        footprint = current.footprint
        if footprint is not None:
            footprint.write(key(COMMIT))
            footprint.read(key(IMAGE))
        self.fs.space.begin_commit()
        self.fs.space.end_commit()
        self.commit_count += 1

    def on_image(self, inode: Inode, block: int) -> bytes:
        """A block as its map says it reads: what no page may disagree with."""
        size = self.fs.geometry.block_size
        mapping = inode.extents.find(block, block + 1)
        if mapping.state is State.MAPPED:
            return self.image.read_at(mapping.physical * size, size)
        return bytes(size)

    def stale_blocks(self, inode: Inode) -> list[int]:
        """(D1) The clean cached blocks below i_size that disagree with the image."""
        geometry = self.fs.geometry
        size, per_page = geometry.block_size, geometry.blocks_per_page
        stale = []
        for index, page in sorted(inode.mapping.pages.items()):
            for bit in range(per_page):
                block = index * per_page + bit
                below = min(size, inode.size - block * size)
                clean = page.blocks_uptodate & ~page.blocks_dirty
                if below <= 0 or not clean >> bit & 1:
                    continue
                cached = bytearray(memoryview(page.data)[bit * size : bit * size + below])
                if cached != self.on_image(inode, block)[:below]:
                    stale.append(block)
        return stale

    def check_space(self, inodes: Collection[Inode]) -> None:
        """No block is owned twice, none is used without an owner, reservations add up."""
        fault = self.space_fault(inodes)
        assert fault is None, fault

    def space_fault(self, inodes: Collection[Inode]) -> str | None:
        """What of the above does not hold, in a sentence; inodes are all that own blocks."""
        owned: list[int] = []
        for inode in inodes:
            for chunk in inode.extents.chunks.values():
                for physical, count in zip(chunk.physicals, chunk.counts, strict=True):
                    owned += range(physical, physical + count)
        space = self.fs.space
        waiting = sum(count for _, count in space.freed + space.committing)
        if len(owned) != len(set(owned)):
            return "a block has two owners"
        if len(owned) + waiting + space.free_count != space.block_count - 1:
            return "blocks leaked"
        reserved = sum(inode.extents.blocks_delalloc for inode in inodes)
        if reserved != space.reserved_count:
            return "reservations do not add up"
        return None


class World(Memory):
    """A small one, out of the options that tests and scenarios differ in."""

    def __init__(
        self,
        *,
        invalidate: Invalidate = Invalidate.AFTER,
        order: Collection[str] = (),
        block_size: int = 512,
        page_size: int = 1024,
        block_count: int = 64,
        readahead: int = 0,
        cache_size: int = 1 << 20,
    ) -> None:
        options = Options(
            invalidate=invalidate,
            order=frozenset(order),
            page_size=page_size,
            readahead=readahead,
            cache_size=cache_size,
        )
        fs = Filesystem(Geometry(block_size, page_size), options, Space(block_count))
        super().__init__(fs, MemoryImage(block_size * block_count))
