"""Where a file's blocks are: the map that ->iomap_begin() looks into.

A block of a file is in one of four states (Documentation/filesystems/iomap):

    HOLE        nothing; reads as zeros
    DELALLOC    room is reserved for a buffered write, no block is chosen yet
    UNWRITTEN   a block of the image is allocated, but reads as zeros
    MAPPED      a block of the image holds the data

    allocate()  HOLE, DELALLOC -> UNWRITTEN     reserve()  HOLE -> DELALLOC
    convert()   UNWRITTEN -> MAPPED             remove()   any -> HOLE

The map is cut into chunks of CHUNK_BLOCKS blocks, which are what is loaded, changed and
stored: memory and commit cost follow what is allocated, never the file's size.

Units: block and end are block indices of the file, end exclusive; physical is a block of
the image.
Invariants:
    (E1) within a chunk runs are sorted, disjoint, and merged where they could be;
    (E2) a block is unwritten only if it is allocated, and delalloc only if it is not;
    (E3) a chunk whose stored form would differ is in chunks_dirty.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from bitarray import bitarray

from fusefs.geometry import BlockIndex, PhysicalBlock

CHUNK_BLOCKS = 4096


class State(Enum):
    """What a block is; see the module's table."""

    HOLE = "hole"
    DELALLOC = "delalloc"
    UNWRITTEN = "unwritten"
    MAPPED = "mapped"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A run of blocks in one state, contiguous in the image: the kernel's struct iomap.

    physical is 0 for HOLE and DELALLOC.  new says that the blocks were allocated for
    this very write, so that what it does not write must be zeroed (IOMAP_F_NEW).
    """

    state: State
    block: BlockIndex
    count: int
    physical: PhysicalBlock
    new: bool = False

    @property
    def end(self) -> int:
        return self.block + self.count


class Chunk:
    """CHUNK_BLOCKS blocks of a map: runs, and one bitmap for each kind of promise.

    starts, counts and physicals are parallel lists, one entry for a run; starts are
    relative to the chunk.
    """

    __slots__ = ("blocks_delalloc", "blocks_unwritten", "counts", "physicals", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.counts: list[int] = []
        self.physicals: list[int] = []
        self.blocks_unwritten = bitarray(CHUNK_BLOCKS)
        self.blocks_delalloc = bitarray(CHUNK_BLOCKS)

    def find(self, offset: int, limit: int) -> tuple[State, int, int]:
        """The state at offset, the end of its run (at most limit), its physical block."""
        i = bisect_right(self.starts, offset) - 1
        if i >= 0 and offset < self.starts[i] + self.counts[i]:
            end = min(self.starts[i] + self.counts[i], limit)
            physical = self.physicals[i] + offset - self.starts[i]
            unwritten = self.blocks_unwritten[offset]
            change = self.blocks_unwritten.find(not unwritten, offset, end)
            state = State.UNWRITTEN if unwritten else State.MAPPED
            return state, end if change < 0 else change, physical
        end = min(self.starts[i + 1], limit) if i + 1 < len(self.starts) else limit
        delalloc = self.blocks_delalloc[offset]
        change = self.blocks_delalloc.find(not delalloc, offset, end)
        state = State.DELALLOC if delalloc else State.HOLE
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
        self.starts[first:last] = [run[0] for run in kept]
        self.counts[first:last] = [run[1] for run in kept]
        self.physicals[first:last] = [run[2] for run in kept]
        return freed


class ExtentMap:
    """The map of one file.

    complete is false while chunks may exist in storage that are not in memory; a
    driver then loads what a LOAD_MAP step names before the model looks.
    """

    __slots__ = (
        "blocks_allocated",
        "blocks_delalloc",
        "chunks",
        "chunks_dirty",
        "chunks_loaded",
        "complete",
    )

    def __init__(self, *, complete: bool = True, blocks_allocated: int = 0) -> None:
        self.chunks: dict[int, Chunk] = {}
        self.chunks_dirty: set[int] = set()
        self.chunks_loaded: set[int] = set()
        self.complete = complete
        self.blocks_allocated = blocks_allocated
        self.blocks_delalloc = 0

    # -- looking ---------------------------------------------------------------------

    def find(self, block: int, end: int) -> Mapping:
        """The mapping that begins at block; it may be shorter than asked, as iomap's may."""
        number, offset = divmod(block, CHUNK_BLOCKS)
        limit = min(end - block + offset, CHUNK_BLOCKS)
        chunk = self.chunks.get(number)
        if chunk is None:
            hole_end = self._next_chunk(number, end)
            return Mapping(State.HOLE, BlockIndex(block), hole_end - block, PhysicalBlock(0))
        state, run_end, physical = chunk.find(offset, limit)
        return Mapping(state, BlockIndex(block), run_end - offset, PhysicalBlock(physical))

    def mappings(self, block: int, end: int) -> Iterator[Mapping]:
        """All mappings of a range, in order; holes included."""
        while block < end:
            mapping = self.find(block, end)
            yield mapping
            block = mapping.end

    def _next_chunk(self, number: int, end: int) -> int:
        """Where the hole that spans chunk number ends: the next chunk's start, or end."""
        span = -(-end // CHUNK_BLOCKS) - number
        if span <= 1:
            return end
        if span <= len(self.chunks):
            following = (n for n in range(number + 1, number + span) if n in self.chunks)
            return min(next(following, number + span) * CHUNK_BLOCKS, end)
        after = [n for n in self.chunks if n > number]
        return min(min(after) * CHUNK_BLOCKS, end) if after else end

    # -- changing --------------------------------------------------------------------

    def allocate(self, block: int, count: int, physical: int) -> int:
        """Give blocks without storage a place, unwritten; return how many were delalloc.

        The range must lie in one chunk and hold no allocated block.
        """
        number, offset = divmod(block, CHUNK_BLOCKS)
        end = offset + count
        assert end <= CHUNK_BLOCKS, "an allocation crosses a chunk"
        chunk = self._chunk(number)
        reserved = chunk.blocks_delalloc.count(1, offset, end)
        chunk.blocks_delalloc[offset:end] = 0
        chunk.insert(offset, count, physical)
        chunk.blocks_unwritten[offset:end] = 1
        self.chunks_dirty.add(number)
        self.blocks_allocated += count
        self.blocks_delalloc -= reserved
        return reserved

    def reserve(self, block: int, count: int) -> None:
        """Turn HOLE into DELALLOC; the caller has reserved the room."""
        for number, offset, end in _chunk_ranges(block, block + count):
            self._chunk(number).blocks_delalloc[offset:end] = 1
        self.blocks_delalloc += count

    def convert(self, block: int, end: int) -> int:
        """Turn UNWRITTEN into MAPPED; return how many blocks changed."""
        converted = 0
        for number, offset, stop in _chunk_ranges(block, end):
            chunk = self.chunks.get(number)
            if chunk is None:
                continue
            unwritten = chunk.blocks_unwritten.count(1, offset, stop)
            if unwritten:
                chunk.blocks_unwritten[offset:stop] = 0
                self.chunks_dirty.add(number)
                converted += unwritten
        return converted

    def remove(self, block: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """Make a hole; return the freed runs (physical, count) and the delalloc blocks dropped.

        Only chunks in memory are looked at: load the range first.
        """
        freed: list[tuple[int, int]] = []
        dropped = 0
        first, last = block // CHUNK_BLOCKS, -(-end // CHUNK_BLOCKS)
        if last - first > len(self.chunks):
            numbers = sorted(n for n in self.chunks if first <= n < last)
        else:
            numbers = [n for n in range(first, last) if n in self.chunks]
        for number in numbers:
            base = number * CHUNK_BLOCKS
            offset, stop = max(block - base, 0), min(end - base, CHUNK_BLOCKS)
            chunk = self.chunks[number]
            dropped += chunk.blocks_delalloc.count(1, offset, stop)
            chunk.blocks_delalloc[offset:stop] = 0
            runs = chunk.cut(offset, stop)
            if runs:
                chunk.blocks_unwritten[offset:stop] = 0
                self.chunks_dirty.add(number)
                freed += runs
        self.blocks_allocated -= sum(count for _, count in freed)
        self.blocks_delalloc -= dropped
        return freed, dropped

    def _chunk(self, number: int) -> Chunk:
        chunk = self.chunks.get(number)
        if chunk is None:
            chunk = self.chunks[number] = Chunk()
        return chunk

    # -- storing ---------------------------------------------------------------------

    def encode(self, number: int) -> tuple[bytes, bytes] | None:
        """A chunk as stored: its runs, three 64-bit numbers each, and blocks_unwritten.

        None if nothing is allocated in it, so that nothing need be stored.
        """
        chunk = self.chunks.get(number)
        if chunk is None or not chunk.starts:
            return None
        runs = array("Q", chunk.starts)
        runs.extend(chunk.counts)
        runs.extend(chunk.physicals)
        return runs.tobytes(), chunk.blocks_unwritten.tobytes()

    def decode(self, number: int, runs: bytes, blocks_unwritten: bytes) -> None:
        """Take a stored chunk into memory; ValueError if it cannot be one."""
        values = array("Q")
        values.frombytes(runs)
        chunk = Chunk()
        chunk.starts, chunk.counts, chunk.physicals = (
            list(values[i * len(values) // 3 : (i + 1) * len(values) // 3]) for i in range(3)
        )
        chunk.blocks_unwritten = bitarray(buffer=bytearray(blocks_unwritten))
        ends = [0, *(s + c for s, c in zip(chunk.starts, chunk.counts, strict=True))]
        if (
            len(values) % 3
            or len(chunk.blocks_unwritten) != CHUNK_BLOCKS
            or ends[-1] > CHUNK_BLOCKS
            or 0 in chunk.counts
            or 0 in chunk.physicals  # the superblock is no data block
            or any(start < end for start, end in zip(chunk.starts, ends, strict=False))
        ):
            raise ValueError(f"chunk {number} of a map is damaged")
        self.chunks[number] = chunk
        self.chunks_loaded.add(number)


def _chunk_ranges(block: int, end: int) -> Iterator[tuple[int, int, int]]:
    """A range of blocks as (chunk number, first offset, end offset)."""
    while block < end:
        number, offset = divmod(block, CHUNK_BLOCKS)
        stop = min(offset + end - block, CHUNK_BLOCKS)
        yield number, offset, stop
        block += stop - offset
