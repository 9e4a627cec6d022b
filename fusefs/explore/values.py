"""What a file holds, told with one character for each block: fusefs/litmus/test.py has them.

    Letters      which bytes belong to a file, and how they are told
    snapshot()   what the disk and the cache hold of a file when nobody runs
    FileEnd      the same, block by block

Units: pos, start and end are bytes in the file.
"""

from collections.abc import Collection

from fusefs.explore.memory import Memory
from fusefs.model.chunk import MAPPED
from fusefs.model.inode import Inode
from fusefs.model.steps import Buffer

ZEROS = "0"
FOREIGN = "?"
SEVERAL = "!"
BEYOND = "."
UNCACHED = "-"


class Letters:
    """The letters that somebody may have written into a file, and how others are told.

    known is those and zero, as bytes.
    """

    def __init__(self, letters: Collection[str], block: int) -> None:
        self.block = block
        self.characters = {0: ZEROS} | {ord(letter): letter for letter in letters}
        self.known = bytes(self.characters)

    def character(self, data: bytes) -> str:
        """Of one block, or the part of it that counts; at least one byte."""
        first = data[0]
        if data.count(first) == len(data):
            return self.characters.get(first, FOREIGN)
        return SEVERAL if data.translate(None, bytes(set(data) - set(self.known))) else FOREIGN

    def text(self, data: bytes, pos: int, count: int) -> str:
        """Of count blocks, the first of which has pos; what data does not reach is BEYOND."""
        size, end = self.block, pos + len(data)
        characters = []
        at = pos
        while at < end:
            stop = min(at - at % size + size, end)
            characters.append(self.character(data[at - pos : stop - pos]))
            at = stop
        return "".join(characters).ljust(count, BEYOND)

    def foreign_ranges(self, data: bytes, pos: int) -> list[tuple[int, int]]:
        """Where bytes are that nobody wrote into the file, each range from start to end."""
        if not data.translate(None, self.known):
            return []
        ranges: list[tuple[int, int]] = []
        for at, byte in enumerate(data, pos):
            if byte in self.known:
                continue
            if ranges and ranges[-1][1] == at:
                ranges[-1] = ranges[-1][0], at + 1
            else:
                ranges.append((at, at + 1))
        return ranges


CachedPage = tuple[int, bytes, int, int]
"""Its index, its bytes, and which of its blocks are uptodate, and dirty, as bitmaps."""

Snapshot = tuple[int, bytes, tuple[CachedPage, ...]]
"""i_size, the file's bytes as the disk has them, and its pages: equal if nobody can tell."""


def snapshot(world: Memory, inode: Inode) -> Snapshot:
    """A file when nobody runs."""
    block_size, file_size = world.fs.geometry.block_size, inode.size
    pieces: list[Buffer] = []
    for mapping in inode.extents.mappings(0, -(-file_size // block_size)):
        length = mapping.count * block_size
        if mapping.state is MAPPED:
            pieces.append(world.image.read_at(mapping.physical * block_size, length))
        else:
            pieces.append(bytes(length))
    pages = tuple(
        (index, bytes(page.data), page.blocks_uptodate, page.blocks_dirty)
        for index, page in sorted(inode.mapping.pages.items())
    )
    return file_size, b"".join(pieces)[:file_size], pages


class CachedBlock:
    """What is cached of a block below i_size."""

    __slots__ = ("data", "dirty")

    def __init__(self, data: bytes, dirty: bool) -> None:
        self.data = data
        self.dirty = dirty


class FileEnd:
    """A snapshot, block by block.  cached has the uptodate blocks below i_size, by number."""

    def __init__(self, found: Snapshot, block: int, page: int) -> None:
        self.size, self.disk, pages = found
        self.block = block
        self.cached: dict[int, CachedBlock] = {}
        for index, data, uptodate, dirty in pages:
            for bit in range(page // block):
                below = min(block, self.size - index * page - bit * block)
                if below > 0 and uptodate >> bit & 1:
                    content = data[bit * block : bit * block + below]
                    number = index * (page // block) + bit
                    self.cached[number] = CachedBlock(content, bool(dirty >> bit & 1))

    def on_disk(self, block: int) -> bytes:
        return self.disk[block * self.block : (block + 1) * self.block]

    def stale_blocks(self) -> list[int]:
        """(D1) The clean cached blocks that disagree with the disk."""
        return [
            block
            for block, cached in self.cached.items()
            if not cached.dirty and cached.data != self.on_disk(block)
        ]

    def disk_text(self, letters: Letters, count: int) -> str:
        return letters.text(self.disk, 0, count)

    def cache_text(self, letters: Letters, count: int) -> str:
        below = -(-self.size // self.block)
        characters = [UNCACHED] * below + [BEYOND] * (count - below)
        for block, cached in self.cached.items():
            characters[block] = letters.character(cached.data)
        return "".join(characters)
