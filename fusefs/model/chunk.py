"""A piece of a file's map: what is loaded, changed, stored and let go as one.

A block of a file is in one of four states (Documentation/filesystems/iomap):

    HOLE        nothing; reads as zeros
    DELALLOC    room is reserved for a buffered write, no block is chosen yet
    UNWRITTEN   a block of the image is allocated, but reads as zeros
    MAPPED      a block of the image holds the data

Units: offset and end are blocks from the start of the chunk, end exclusive; physical is a
block of the image.
Invariants: (E1) and (E2) of extents.py.
"""

from array import array
from bisect import bisect_right
from enum import Enum
from operator import add, lt
from typing import Final

from bitarray import bitarray, frozenbitarray

from fusefs.model.geometry import FILE_SIZE_MAX, SECTOR_SIZE

CHUNK_BLOCKS: Final = 4096

CHUNK_END = FILE_SIZE_MAX // (SECTOR_SIZE * CHUNK_BLOCKS) + 1
"""No map, whatever the block size, has a chunk of this number or a later one."""

CHUNK_BYTES = 580
RUN_BYTES = 12
"""What a chunk takes in memory, and each of its runs there and as stored."""

_NONE: Final = frozenbitarray(CHUNK_BLOCKS)
"""The bitmap of a chunk that has no such block; shared by all."""


class State(Enum):
    """What a block is; see the module's table."""

    HOLE = "hole"
    DELALLOC = "delalloc"
    UNWRITTEN = "unwritten"
    MAPPED = "mapped"


HOLE: Final = State.HOLE
DELALLOC: Final = State.DELALLOC
UNWRITTEN: Final = State.UNWRITTEN
MAPPED: Final = State.MAPPED
"""An attribute of an Enum costs much more than one of these."""


class Chunk:
    """CHUNK_BLOCKS blocks of a map: runs, and one bitmap for each kind of promise.

    starts, counts and physicals are parallel, one entry for a run.  Whoever writes to a
    bitmap gets it from own_unwritten() or own_delalloc().
    """

    __slots__ = ("blocks_delalloc", "blocks_unwritten", "counts", "physicals", "starts")

    def __init__(self) -> None:
        self.starts = array("H")
        self.counts = array("H")
        self.physicals = array("Q")
        self.blocks_unwritten: bitarray = _NONE
        self.blocks_delalloc: bitarray = _NONE

    @property
    def is_hole(self) -> bool:
        return not self.starts and not self.blocks_delalloc.any()

    @property
    def memory_bytes(self) -> int:
        return CHUNK_BYTES + RUN_BYTES * len(self.starts)

    def own_unwritten(self) -> bitarray:
        if self.blocks_unwritten is _NONE:
            self.blocks_unwritten = bitarray(CHUNK_BLOCKS)
        return self.blocks_unwritten

    def own_delalloc(self) -> bitarray:
        if self.blocks_delalloc is _NONE:
            self.blocks_delalloc = bitarray(CHUNK_BLOCKS)
        return self.blocks_delalloc

    def find(self, offset: int, limit: int) -> tuple[State, int, int]:
        """The state at offset, the end of its run (at most limit), its physical block."""
        starts = self.starts
        i = bisect_right(starts, offset) - 1
        if i >= 0:
            start: int = starts[i]
            run_end: int = start + self.counts[i]
            if offset < run_end:
                end = min(run_end, limit)
                physical = self.physicals[i] + offset - start
                if self.blocks_unwritten is _NONE:
                    return MAPPED, end, physical
                unwritten = self.blocks_unwritten[offset]
                change = self.blocks_unwritten.find(not unwritten, offset, end)
                state = UNWRITTEN if unwritten else MAPPED
                return state, end if change < 0 else change, physical
        end = min(starts[i + 1], limit) if i + 1 < len(starts) else limit
        if self.blocks_delalloc is _NONE:
            return HOLE, end, 0
        delalloc = self.blocks_delalloc[offset]
        change = self.blocks_delalloc.find(not delalloc, offset, end)
        state = DELALLOC if delalloc else HOLE
        return state, end if change < 0 else change, 0

    def insert(self, offset: int, count: int, physical: int) -> None:
        """Add a run to blocks that have none, and merge it with its neighbours (E1)."""
        i = bisect_right(self.starts, offset)
        if i and self._continues(i - 1, offset, physical):
            i -= 1
            self.counts[i] += count
        else:
            self.starts.insert(i, offset)
            self.counts.insert(i, count)
            self.physicals.insert(i, physical)
        if i + 1 < len(self.starts) and self._continues(
            i, self.starts[i + 1], self.physicals[i + 1]
        ):
            self.counts[i] += self.counts.pop(i + 1)
            del self.starts[i + 1], self.physicals[i + 1]

    def _continues(self, i: int, offset: int, physical: int) -> bool:
        return (
            self.starts[i] + self.counts[i] == offset
            and self.physicals[i] + self.counts[i] == physical
        )

    def cut(self, offset: int, end: int) -> list[tuple[int, int]]:
        """Take all runs out of a range; return them as (physical, count)."""
        first = bisect_right(self.starts, offset) - 1
        if first < 0 or self.starts[first] + self.counts[first] <= offset:
            first += 1
        last = bisect_right(self.starts, end - 1)
        freed = []
        kept: list[tuple[int, int, int]] = []
        for i in range(first, last):
            start, count, physical = self.starts[i], self.counts[i], self.physicals[i]
            low, high = max(start, offset), min(start + count, end)
            freed.append((physical + low - start, high - low))
            if start < low:
                kept.append((start, low - start, physical))
            if high < start + count:
                kept.append((high, start + count - high, physical + high - start))
        self.starts[first:last] = array("H", [run[0] for run in kept])
        self.counts[first:last] = array("H", [run[1] for run in kept])
        self.physicals[first:last] = array("Q", [run[2] for run in kept])
        return freed

    # -- storing ---------------------------------------------------------------------

    def encode(self) -> tuple[bytes, bytes]:
        """As stored: starts and counts of 16 bits, physicals of 64; blocks_unwritten if any is."""
        if not self.blocks_unwritten.any():
            self.blocks_unwritten = _NONE
        runs = self.starts.tobytes() + self.counts.tobytes() + self.physicals.tobytes()
        return runs, b"" if self.blocks_unwritten is _NONE else self.blocks_unwritten.tobytes()

    @classmethod
    def decode(cls, number: int, runs: bytes, blocks_unwritten: bytes) -> "Chunk":
        """A chunk as stored; ValueError if it cannot be one."""
        count, rest = divmod(len(runs), RUN_BYTES)
        if rest:
            raise ValueError(f"chunk {number} of a map is damaged")
        chunk = cls()
        chunk.starts.frombytes(runs[: 2 * count])
        chunk.counts.frombytes(runs[2 * count : 4 * count])
        chunk.physicals.frombytes(runs[4 * count :])
        if blocks_unwritten:
            chunk.blocks_unwritten = bitarray(buffer=bytearray(blocks_unwritten))
        ends = [0, *map(add, chunk.starts, chunk.counts)]
        if (
            len(chunk.blocks_unwritten) != CHUNK_BLOCKS
            or ends[-1] > CHUNK_BLOCKS
            or 0 in chunk.counts
            or 0 in chunk.physicals  # the superblock is no data block
            or any(map(lt, chunk.starts, ends))
        ):
            raise ValueError(f"chunk {number} of a map is damaged")
        return chunk
