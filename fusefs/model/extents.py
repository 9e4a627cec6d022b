"""Where a file's blocks are: the map that ->iomap_begin() looks into.

    allocate()  HOLE, DELALLOC -> UNWRITTEN     reserve()  HOLE -> DELALLOC
    convert()   UNWRITTEN -> MAPPED             remove()   any -> HOLE
    forget_delalloc()  DELALLOC -> HOLE

The map is cut into chunks of CHUNK_BLOCKS blocks; see chunk.py, also for the states.  A
chunk is read when it is first looked at, and may be let go again once it is stored: memory
and commit cost follow what is used and what has changed, never the file's size.

Units: block and end are block indices of the file, end exclusive; physical is a block of
the image.
Errors: FsError(EIO) if a chunk cannot be read, with nothing changed.
Invariants:
    (E1) within a chunk runs are sorted, disjoint, and merged where they could be;
    (E2) a block is unwritten only if it is allocated, and delalloc only if it is not;
    (E3) a chunk whose stored form would differ is in chunks_dirty, until the file is deleted;
    (E4) a chunk that is dirty or has delalloc blocks is not let go.
"""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from fusefs.model.chunk import CHUNK_BLOCKS, HOLE, Chunk, State
from fusefs.model.geometry import BlockIndex, PhysicalBlock
from fusefs.model.steps import current

__all__ = ["CHUNK_BLOCKS", "Chunk", "ChunkCache", "ExtentMap", "Mapping", "State", "StoredMap"]

CACHE_BYTES_MAX = 24 << 20
"""Enough for a file of 64 GiB in a million extents, in blocks of 1 KiB."""


class StoredMap(Protocol):
    """Where the chunks of one map are stored; FsError(EIO) if that cannot be read."""

    cache: "ChunkCache"

    def load(self, number: int) -> Chunk | None:
        """None if nothing is stored, as nothing is allocated there."""

    def first_stored(self, number: int) -> int | None:
        """The first stored chunk from number on."""

    def last_stored(self, end: int) -> int | None:
        """The last stored chunk before end."""


class Mapping:
    """A run of blocks in one state, contiguous in the image: the kernel's struct iomap.

    end is block + count; physical is 0 for HOLE and DELALLOC.
    """

    __slots__ = ("block", "count", "end", "physical", "state")

    def __init__(
        self, state: State, block: BlockIndex, count: int, physical: PhysicalBlock
    ) -> None:
        self.state = state
        self.block = block
        self.count = count
        self.end = block + count
        self.physical = physical


class ExtentMap:
    """The map of one file.  Without a StoredMap, all of it is in memory.

    ino is the file's: its inode sets it.
    """

    __slots__ = (
        "blocks_allocated",
        "blocks_delalloc",
        "chunks",
        "chunks_delalloc",
        "chunks_dirty",
        "ino",
        "stored",
    )

    def __init__(self, stored: StoredMap | None = None, blocks_allocated: int = 0) -> None:
        self.ino = 0
        self.stored = stored
        self.chunks: dict[int, Chunk] = {}
        self.chunks_dirty: set[int] = set()
        self.chunks_delalloc: set[int] = set()
        self.blocks_allocated = blocks_allocated
        self.blocks_delalloc = 0

    # -- what is in memory -----------------------------------------------------------

    def load(self, first: int, end: int) -> None:
        """Have the chunks of a range in memory."""
        for number in range(first, end):
            if number not in self.chunks:
                self._look(number)

    def _look(self, number: int) -> Chunk | None:
        """A chunk, read if need be; None only where nothing is stored."""
        chunk = self.chunks.get(number)
        if chunk is None and self.stored is not None:
            chunk = self.chunks[number] = self.stored.load(number) or Chunk()
            self.stored.cache.add(self, number, chunk)
        return chunk

    def _chunk(self, number: int) -> Chunk:
        """A chunk that is to be changed."""
        chunk = self._look(number)
        if chunk is None:
            chunk = self.chunks[number] = Chunk()
        return chunk

    def let_go(self, number: int, chunk: Chunk) -> bool:
        """Forget a chunk, unless it is newer than what is stored (E4)."""
        if self.chunks.get(number) is chunk:
            if number in self.chunks_dirty or number in self.chunks_delalloc:
                return False
            del self.chunks[number]
        return True

    def forget_changes(self) -> None:
        """The file is deleted, and all that is stored of it goes: nothing waits to be stored (E3).

        What is in memory still says that the blocks are free, until it is let go.
        """
        self.chunks_dirty.clear()
        self.chunks_delalloc.clear()

    # -- looking ---------------------------------------------------------------------

    def find(self, block: int, end: int) -> Mapping:
        """The mapping that begins at block; it may be shorter than asked, as iomap's may."""
        number, offset = divmod(block, CHUNK_BLOCKS)
        limit = min(end - block + offset, CHUNK_BLOCKS)
        chunk = self._look(number)
        if chunk is None:
            state, run_end, physical = HOLE, limit, 0
        else:
            state, run_end, physical = chunk.find(offset, limit)
        stop = block - offset + run_end
        if state is HOLE and run_end == CHUNK_BLOCKS and stop < end:
            stop = self._next_run(number + 1, end)
        footprint = current.footprint
        if footprint is not None:
            footprint.read_map(self.ino, block, min(stop + 1, end))
        return Mapping(state, BlockIndex(block), stop - block, PhysicalBlock(physical))

    def mappings(self, block: int, end: int) -> Iterator[Mapping]:
        """All mappings of a range, in order; holes included."""
        while block < end:
            mapping = self.find(block, end)
            yield mapping
            block = mapping.end

    def _next_run(self, number: int, end: int) -> int:
        """Where the hole ends that goes on in chunk number: where the next used chunk begins."""
        last = -(-end // CHUNK_BLOCKS)
        if last - number <= 1:  # the mapping is a little shorter than it might be
            return number * CHUNK_BLOCKS
        if self.stored is None:
            used = [n for n, chunk in self.chunks.items() if n >= number and not chunk.is_hole]
        else:
            used = [n for n in self.chunks_dirty | self.chunks_delalloc if n >= number]
            first = self.stored.first_stored(number)
            used += [] if first is None else [first]
        return min(min(used, default=last) * CHUNK_BLOCKS, end)

    def _last_used(self, block: int, end: int) -> int | None:
        """The last chunk of a range with anything in it, as far as that can be told unread."""
        first, last = block // CHUNK_BLOCKS, -(-end // CHUNK_BLOCKS)
        if last - first == 1:
            return first
        if self.stored is None:
            used = [n for n in self.chunks if first <= n < last]
        else:
            used = [n for n in self.chunks_dirty | self.chunks_delalloc if first <= n < last]
            stored = self.stored.last_stored(last)
            used += [] if stored is None or stored < first else [stored]
        return max(used, default=None)

    def delalloc_run(self, block: int) -> tuple[BlockIndex, int]:
        """The run of delayed blocks that a delayed block is in, as far as its chunk goes."""
        number, offset = divmod(block, CHUNK_BLOCKS)
        chunk = self._look(number)
        assert chunk is not None, "a delayed block in a hole"
        assert chunk.blocks_delalloc[offset], "a block that is not delayed"
        bits, base = chunk.blocks_delalloc, number * CHUNK_BLOCKS
        start = bits.find(0, 0, offset, right=True) + 1
        end = bits.find(0, offset, CHUNK_BLOCKS)
        end = CHUNK_BLOCKS if end < 0 else end
        footprint = current.footprint
        if footprint is not None:
            footprint.read_map(self.ino, base + max(start - 1, 0), base + end + 1)
        return BlockIndex(base + start), base + end

    # -- changing --------------------------------------------------------------------

    def _note_change(self, block: int, end: int) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.write_map(self.ino, block, end)

    def allocate(self, block: int, count: int, physical: int) -> int:
        """Give blocks without storage a place, unwritten; return how many were delalloc.

        The range must lie in one chunk and hold no allocated block.
        """
        self._note_change(block, block + count)
        number, offset = divmod(block, CHUNK_BLOCKS)
        end = offset + count
        assert end <= CHUNK_BLOCKS, "an allocation crosses a chunk"
        chunk = self._chunk(number)
        reserved = self._drop_delalloc(number, chunk, offset, end)
        chunk.insert(offset, count, physical)
        chunk.own_unwritten()[offset:end] = 1
        self.chunks_dirty.add(number)
        self.blocks_allocated += count
        return reserved

    def reserve(self, block: int, count: int) -> None:
        """Turn HOLE into DELALLOC; the caller has reserved the room."""
        self._note_change(block, block + count)
        for number, offset, end in _chunk_ranges(block, block + count):
            self._chunk(number).own_delalloc()[offset:end] = 1
            self.chunks_delalloc.add(number)
            self.blocks_delalloc += end - offset

    def convert(self, block: int, end: int) -> int:
        """Turn UNWRITTEN into MAPPED; return how many blocks changed."""
        self._note_change(block, end)
        converted = 0
        for number, offset, stop in _chunk_ranges(block, end):
            chunk = self._look(number)
            unwritten = 0 if chunk is None else chunk.blocks_unwritten.count(1, offset, stop)
            if chunk is not None and unwritten:
                chunk.blocks_unwritten[offset:stop] = 0
                self.chunks_dirty.add(number)
                converted += unwritten
        return converted

    def remove(self, block: int, end: int) -> tuple[int, list[tuple[int, int]], int]:
        """Make a hole of the last blocks of a range, within one chunk.

        Returns where the hole begins, the freed runs (physical, count), and how many
        delalloc blocks were dropped.
        """
        self._note_change(block, end)
        number = self._last_used(block, end)
        if number is None:
            return block, [], 0
        base = number * CHUNK_BLOCKS
        offset, stop = max(block - base, 0), min(end - base, CHUNK_BLOCKS)
        chunk = self._look(number)
        if chunk is None:
            return max(block, base), [], 0
        dropped = self._drop_delalloc(number, chunk, offset, stop)
        runs = chunk.cut(offset, stop)
        if runs:
            if chunk.blocks_unwritten.any():
                chunk.blocks_unwritten[offset:stop] = 0
            self.chunks_dirty.add(number)
        self.blocks_allocated -= sum(count for _, count in runs)
        return max(block, base), runs, dropped

    def forget_delalloc(self, block: int) -> int:
        """Turn DELALLOC into HOLE from block on; returns how many were.  Reads nothing (E4)."""
        dropped = 0
        for number in sorted(self.chunks_delalloc):
            base = number * CHUNK_BLOCKS
            if block < base + CHUNK_BLOCKS:
                self._note_change(max(block, base), base + CHUNK_BLOCKS)
                offset, chunk = max(block - base, 0), self.chunks[number]
                dropped += self._drop_delalloc(number, chunk, offset, CHUNK_BLOCKS)
        return dropped

    def _drop_delalloc(self, number: int, chunk: Chunk, offset: int, end: int) -> int:
        """Blocks get a place, or go: they are promised no more; returns how many were."""
        dropped = chunk.blocks_delalloc.count(1, offset, end)
        if dropped:
            chunk.blocks_delalloc[offset:end] = 0
            self.blocks_delalloc -= dropped
            if not chunk.blocks_delalloc.any():
                self.chunks_delalloc.discard(number)
        return dropped

    # -- storing ---------------------------------------------------------------------

    def encode(self, number: int) -> tuple[bytes, bytes] | None:
        """A chunk as stored; None if nothing is allocated in it, so that nothing need be."""
        chunk = self.chunks.get(number)
        return chunk.encode() if chunk is not None and chunk.starts else None


class ChunkCache:
    """The chunks in memory of all maps that are stored, oldest first.

    A chunk that is stored as it is may go once there are more than limit_bytes; of many
    that must stay, a few are looked at each time.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES_MAX) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._queue: deque[tuple[ExtentMap, int, Chunk, int]] = deque()

    def add(self, extents: ExtentMap, number: int, chunk: Chunk) -> None:
        """A chunk came into memory; older ones may go."""
        for _ in range(min(3, len(self._queue))):
            if self.bytes <= self.limit_bytes:
                break
            oldest = self._queue.popleft()
            self.bytes -= oldest[3]
            if not oldest[0].let_go(oldest[1], oldest[2]):
                self._append(*oldest[:3])
        self._append(extents, number, chunk)

    def _append(self, extents: ExtentMap, number: int, chunk: Chunk) -> None:
        self._queue.append((extents, number, chunk, chunk.memory_bytes))
        self.bytes += chunk.memory_bytes


def _chunk_ranges(block: int, end: int) -> Iterator[tuple[int, int, int]]:
    """A range of blocks as (chunk number, first offset, end offset)."""
    while block < end:
        number, offset = divmod(block, CHUNK_BLOCKS)
        stop = min(offset + end - block, CHUNK_BLOCKS)
        yield number, offset, stop
        block += stop - offset
