"""The map of a file's blocks, against a dictionary of blocks that cannot be wrong."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.explore.memory import World
from fusefs.model.extents import CHUNK_BLOCKS, Chunk, ChunkCache, ExtentMap, State
from fusefs.model.filesystem import LOAD_CHUNKS_MAX
from fusefs.model.inode import Inode

HOLE, DELALLOC, UNWRITTEN, MAPPED = State.HOLE, State.DELALLOC, State.UNWRITTEN, State.MAPPED
LOW = CHUNK_BLOCKS - 16
HIGH = CHUNK_BLOCKS + 16
"""Blocks [LOW, HIGH) lie on both sides of the border between two chunks."""


def allocated(*runs: tuple[int, int, int]) -> ExtentMap:
    """A map of unwritten runs (block, count, physical)."""
    extents = ExtentMap()
    for run in runs:
        extents.allocate(*run)
    return extents


def listed(extents: ExtentMap, block: int = 0, end: int = 16) -> list[tuple[str, int, int, int]]:
    return [(m.state.value, m.block, m.end, m.physical) for m in extents.mappings(block, end)]


def remove(extents: ExtentMap, block: int, end: int) -> tuple[list[tuple[int, int]], int]:
    """Make a hole of all of a range; returns all freed runs, and the delalloc blocks dropped."""
    freed, dropped = [], 0
    while block < end:
        end, runs, count = extents.remove(block, end)
        freed += runs
        dropped += count
    return freed, dropped


def test_empty_map_is_one_hole_however_far():
    assert listed(ExtentMap(), 0, 1 << 53) == [("hole", 0, 1 << 53, 0)]


def test_states_follow_each_other_from_hole_to_mapped():
    extents = ExtentMap()
    extents.reserve(0, 4)
    assert listed(extents, 0, 4) == [("delalloc", 0, 4, 0)]
    assert extents.allocate(0, 4, 100) == 4
    assert listed(extents, 0, 4) == [("unwritten", 0, 4, 100)]
    assert extents.convert(1, 3) == 2
    assert listed(extents, 0, 4) == [
        ("unwritten", 0, 1, 100),
        ("mapped", 1, 3, 101),
        ("unwritten", 3, 4, 103),
    ]
    assert extents.remove(0, 4) == (0, [(100, 4)], 0)
    assert listed(extents, 0, 4) == [("hole", 0, 4, 0)]


def test_neighbours_in_file_and_image_are_one_run():
    """(E1) in whatever order they come."""
    extents = allocated((2, 1, 102), (0, 1, 100), (1, 1, 101))
    assert list(extents.chunks[0].counts) == [3]
    assert listed(extents, 0, 3) == [("unwritten", 0, 3, 100)]


def test_neighbours_in_the_file_alone_are_two_runs():
    """(E1)"""
    assert listed(allocated((0, 1, 100), (1, 1, 200)), 0, 2) == [
        ("unwritten", 0, 1, 100),
        ("unwritten", 1, 2, 200),
    ]


def test_mapping_ends_where_the_chunk_does():
    """It may be shorter than asked, as iomap's may; mappings() goes on."""
    extents = allocated((LOW, 16, 100), (CHUNK_BLOCKS, 4, 116))
    assert extents.find(LOW, HIGH).end == CHUNK_BLOCKS
    assert [m.count for m in extents.mappings(LOW, CHUNK_BLOCKS + 4)] == [16, 4]


def test_hole_ends_where_the_next_chunk_begins():
    far = 1000 * CHUNK_BLOCKS
    extents = allocated((0, 1, 100), (far + 3, 1, 200))
    assert listed(extents, 5, far + 9) == [
        ("hole", 5, far, 0),
        ("hole", far, far + 3, 0),
        ("unwritten", far + 3, far + 4, 200),
        ("hole", far + 4, far + 9, 0),
    ]


def test_remove_of_a_huge_range_looks_only_at_what_is_there():
    extents = allocated((7, 2, 100), (50 * CHUNK_BLOCKS, 1, 200))
    extents.reserve(20, 3)
    assert remove(extents, 0, 1 << 53) == ([(200, 1), (100, 2)], 3)
    assert (extents.blocks_allocated, extents.blocks_delalloc) == (0, 0)


def test_allocation_across_chunks_is_our_fault():
    with pytest.raises(AssertionError, match="crosses a chunk"):
        ExtentMap().allocate(CHUNK_BLOCKS - 1, 2, 100)


# -- against a dictionary ----------------------------------------------------------------

Oracle = dict[int, tuple[State, int]]

changes = st.tuples(
    st.sampled_from(["allocate", "reserve", "convert", "remove"]),
    st.integers(LOW, HIGH - 1),
    st.integers(1, 12),
    st.booleans(),
)


def runs_of(blocks: list[int]) -> list[tuple[int, int]]:
    """Ascending blocks as (first, count), cut at chunks."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and sum(runs[-1]) == block and block % CHUNK_BLOCKS:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    return runs


def change(extents: ExtentMap, oracle: Oracle, physical: int, step: tuple) -> int:
    """Make one change to both; returns the next physical block to use."""
    kind, block, count, leave_gap = step
    blocks = range(block, min(block + count, HIGH))
    if kind == "allocate":
        free = [b for b in blocks if oracle.get(b, (HOLE, 0))[0] in (HOLE, DELALLOC)]
        for first, length in runs_of(free):
            run = range(first, first + length)
            reserved = sum(oracle.get(b, (HOLE, 0))[0] is DELALLOC for b in run)
            assert extents.allocate(first, length, physical) == reserved
            oracle |= {b: (UNWRITTEN, physical + b - first) for b in run}
            physical += length + leave_gap
    elif kind == "reserve":
        holes = [b for b in blocks if b not in oracle]
        for first, length in runs_of(holes):
            extents.reserve(first, length)
        oracle |= dict.fromkeys(holes, (DELALLOC, 0))
    elif kind == "convert":
        unwritten = [b for b in blocks if oracle.get(b, (HOLE, 0))[0] is UNWRITTEN]
        assert extents.convert(blocks.start, blocks.stop) == len(unwritten)
        oracle |= {b: (MAPPED, oracle[b][1]) for b in unwritten}
    else:
        gone = [oracle.pop(b) for b in blocks if b in oracle]
        freed, dropped = remove(extents, blocks.start, blocks.stop)
        assert dropped == sum(state is DELALLOC for state, _ in gone)
        assert sorted(p + i for p, n in freed for i in range(n)) == sorted(p for _, p in gone if p)
    return physical


def as_blocks(extents: ExtentMap) -> Oracle:
    """What the map says, block by block; its mappings must be in order and without gap."""
    blocks: Oracle = {}
    at = LOW
    for mapping in extents.mappings(LOW, HIGH):
        assert mapping.block == at
        at = mapping.end
        for i in range(mapping.count):
            if mapping.state is not HOLE:
                physical = mapping.physical + i if mapping.physical else 0
                blocks[mapping.block + i] = (mapping.state, physical)
    assert at == HIGH
    return blocks


def check_runs(extents: ExtentMap) -> None:
    """(E1) (E2)"""
    for chunk in extents.chunks.values():
        runs = list(zip(chunk.starts, chunk.counts, chunk.physicals, strict=True))
        for (start, count, physical), (after, _, physical_after) in pairwise(runs):
            assert start + count <= after, "(E1) not disjoint"
            merged = (start + count, physical + count) != (after, physical_after)
            assert merged, "(E1) not merged"
        has_place = {b for start, count, _ in runs for b in range(start, start + count)}
        assert set(chunk.blocks_unwritten.search(1)) <= has_place, "(E2)"
        assert not set(chunk.blocks_delalloc.search(1)) & has_place, "(E2)"


@settings(max_examples=20, deadline=None)
@given(st.lists(changes, max_size=20))
def test_every_sequence_leaves_what_a_dictionary_holds(steps):
    """(E1) (E2) (E3) after every change, and the sums."""
    extents, oracle, physical = ExtentMap(), Oracle(), 1
    for step in steps:
        stored = {number: extents.encode(number) for number in (0, 1)}
        extents.chunks_dirty.clear()
        physical = change(extents, oracle, physical, step)
        assert as_blocks(extents) == oracle
        check_runs(extents)
        differ = {number for number in (0, 1) if extents.encode(number) != stored[number]}
        assert differ <= extents.chunks_dirty, "(E3) changed, but not dirty"
        states = [state for state, _ in oracle.values()]
        assert extents.blocks_delalloc == states.count(DELALLOC)
        assert extents.blocks_allocated == len(states) - states.count(DELALLOC)


@settings(max_examples=20, deadline=None)
@given(st.lists(changes, max_size=12))
def test_stored_map_is_read_back(steps):
    """Delayed blocks have no place yet, and are holes after a crash."""
    extents, oracle, physical = ExtentMap(), Oracle(), 1
    for step in steps:
        physical = change(extents, oracle, physical, step)
    again = ExtentMap()
    for number in extents.chunks:
        stored = extents.encode(number)
        assert (stored is None) == (not extents.chunks[number].starts)
        if stored is not None:
            again.chunks[number] = Chunk.decode(number, *stored)
            assert again.encode(number) == stored
    assert as_blocks(again) == {b: v for b, v in oracle.items() if v[0] is not DELALLOC}


# -- damage ------------------------------------------------------------------------------


def stored(*runs: tuple[int, int, int]) -> bytes:
    """(start, count, physical) as a chunk stores them, whether or not they make sense."""
    return b"".join(
        run[i].to_bytes(size, "little") for i, size in enumerate((2, 2, 8)) for run in runs
    )


BITMAP = bytes(CHUNK_BLOCKS // 8)


@pytest.mark.parametrize(
    ("runs", "bitmap"),
    [
        pytest.param(stored((0, 1, 9))[:-1], BITMAP, id="a byte short"),
        pytest.param(stored((0, 1, 9))[:-8], BITMAP, id="a number short"),
        pytest.param(stored((0, 1, 9)), BITMAP[1:], id="bitmap short"),
        pytest.param(stored((0, 1, 9)), BITMAP + b"\0", id="bitmap long"),
        pytest.param(stored((CHUNK_BLOCKS - 1, 2, 9)), BITMAP, id="beyond the chunk"),
        pytest.param(stored((0, 3, 9), (2, 1, 20)), BITMAP, id="overlap"),
        pytest.param(stored((5, 1, 9), (0, 1, 20)), BITMAP, id="unsorted"),
        pytest.param(stored((0, 0, 9)), BITMAP, id="empty run"),
        pytest.param(stored((0, 1, 0)), BITMAP, id="superblock as data"),
        pytest.param(stored(((1 << 16) - 1, (1 << 16) - 1, 9)), BITMAP, id="huge"),
    ],
)
def test_damaged_chunk_is_refused(runs, bitmap):
    with pytest.raises(ValueError):  # noqa: PT011  # whose message does not matter
        Chunk.decode(0, runs, bitmap)


def test_sound_chunk_is_taken():
    """The tests of damage would pass if decode() refused everything."""
    extents = ExtentMap()
    for bitmap in (BITMAP, b""):
        extents.chunks[0] = Chunk.decode(0, stored((0, 3, 9), (3, 1, 20)), bitmap)
        mapping = extents.find(0, 9)
        assert (mapping.state, mapping.end, mapping.physical) == (MAPPED, 3, 9)


# -- what is stored, and what is in memory -----------------------------------------------


class Shelf:
    """A StoredMap in memory; loads counts what was read."""

    def __init__(self, limit_bytes: int = 1 << 20) -> None:
        self.cache = ChunkCache(limit_bytes)
        self.stored: dict[int, tuple[bytes, bytes]] = {}
        self.loads: list[int] = []

    def load(self, number: int) -> Chunk | None:
        self.loads.append(number)
        return Chunk.decode(number, *self.stored[number]) if number in self.stored else None

    def first_stored(self, number: int) -> int | None:
        return min((n for n in self.stored if n >= number), default=None)

    def last_stored(self, end: int) -> int | None:
        return max((n for n in self.stored if n < end), default=None)

    def save(self, extents: ExtentMap) -> None:
        for number in extents.chunks_dirty:
            encoded = extents.encode(number)
            if encoded is None:
                self.stored.pop(number, None)
            else:
                self.stored[number] = encoded
        extents.chunks_dirty.clear()


def shelved(*blocks: int, limit_bytes: int = 1 << 20) -> tuple[ExtentMap, Shelf]:
    """A map with one stored block at each of the places, as the next mount finds it."""
    shelf = Shelf(limit_bytes)
    made = ExtentMap(shelf)
    for physical, block in enumerate(blocks, start=1):
        made.allocate(block, 1, physical)
    shelf.save(made)
    shelf.loads.clear()
    return ExtentMap(shelf, len(blocks)), shelf


def test_chunk_is_read_once_and_only_when_it_is_looked_at():
    extents, shelf = shelved(0, CHUNK_BLOCKS, 9 * CHUNK_BLOCKS)
    for _ in range(2):
        assert extents.find(CHUNK_BLOCKS, CHUNK_BLOCKS + 1).physical == 2
    assert extents.find(2 * CHUNK_BLOCKS, 2 * CHUNK_BLOCKS + 1).state is HOLE
    assert extents.find(2 * CHUNK_BLOCKS, 2 * CHUNK_BLOCKS + 1).state is HOLE
    assert shelf.loads == [1, 2]


def test_long_hole_is_passed_without_reading_what_is_not_there():
    far = (1 << 40) * CHUNK_BLOCKS
    extents, shelf = shelved(0, far)
    assert [m.block for m in extents.mappings(0, far + 1)] == [0, 1, far]
    assert shelf.loads == [0, 1 << 40]


def test_long_hole_ends_at_what_is_not_stored_yet():
    """Also before a stored chunk, and also if that is only promised."""
    extents, _ = shelved(0, 900 * CHUNK_BLOCKS)
    extents.allocate(500 * CHUNK_BLOCKS, 1, 70)
    extents.reserve(300 * CHUNK_BLOCKS, 1)
    found = [(m.state, m.block) for m in extents.mappings(1, 901 * CHUNK_BLOCKS)]
    assert [(s, b // CHUNK_BLOCKS) for s, b in found if s is not HOLE] == [
        (DELALLOC, 300),
        (UNWRITTEN, 500),
        (UNWRITTEN, 900),
    ]


@pytest.mark.parametrize("limit_bytes", [0, 1 << 20])
def test_what_is_not_stored_is_never_let_go(limit_bytes):
    """(E4) and (E3), with a cache for nothing, and with one for everything."""
    blocks = [n * CHUNK_BLOCKS for n in range(20)]
    extents, shelf = shelved(*blocks, limit_bytes=limit_bytes)
    assert extents.convert(0, 1) == 1
    extents.allocate(CHUNK_BLOCKS + 5, 1, 99)
    extents.reserve(2 * CHUNK_BLOCKS + 5, 1)
    for block in blocks * 2:
        assert extents.find(block, block + 1).physical == block // CHUNK_BLOCKS + 1
    assert len(extents.chunks) in (range(4, 7) if limit_bytes == 0 else [20])
    assert extents.find(0, 1).state is MAPPED
    assert extents.find(CHUNK_BLOCKS + 5, CHUNK_BLOCKS + 6).physical == 99
    assert extents.find(2 * CHUNK_BLOCKS + 5, 2 * CHUNK_BLOCKS + 6).state is DELALLOC
    shelf.save(extents)
    for block in blocks * 2:
        extents.find(block, block + 1)
    assert set(extents.chunks) >= {2}, "(E4) a promise is in memory alone"
    assert extents.find(0, 1).state is MAPPED
    assert extents.find(CHUNK_BLOCKS + 5, CHUNK_BLOCKS + 6).physical == 99


def test_change_that_was_let_go_unsaved_would_be_seen():
    """The test above would pass if let_go() did nothing."""
    extents, _ = shelved(0)
    extents.convert(0, 1)
    extents.chunks_dirty.clear()  # the fault: dirty, and nobody knows
    assert extents.let_go(0, extents.chunks[0])
    assert extents.find(0, 1).state is UNWRITTEN


def test_cache_counts_what_maps_hold_together():
    cache = ChunkCache(limit_bytes=1 << 17)
    maps = []
    for _ in range(3):
        extents, shelf = shelved(*(n * CHUNK_BLOCKS for n in range(150)))
        shelf.cache = cache
        maps.append(extents)
    for number in range(150):
        for extents in maps:
            extents.find(number * CHUNK_BLOCKS, number * CHUNK_BLOCKS + 1)
    held = sum(chunk.memory_bytes for extents in maps for chunk in extents.chunks.values())
    assert held == cache.bytes
    assert held < (1 << 17) + 4096


def test_whole_map_is_removed_from_the_end_whatever_is_in_memory():
    blocks = [n * CHUNK_BLOCKS for n in (0, 1, 40, 1 << 30)]
    extents, shelf = shelved(*blocks)
    extents.find(CHUNK_BLOCKS, CHUNK_BLOCKS + 1)
    extents.allocate(7 * CHUNK_BLOCKS, 1, 70)
    extents.reserve(3 * CHUNK_BLOCKS, 2)
    freed, dropped = remove(extents, 0, 1 << 53)
    assert freed == [(4, 1), (3, 1), (70, 1), (2, 1), (1, 1)]
    assert (dropped, extents.blocks_allocated, extents.blocks_delalloc) == (2, 0, 0)
    shelf.save(extents)
    assert not shelf.stored


def test_a_map_is_in_memory_where_a_range_begins_and_before_it():
    """LOAD_MAP: of a long range not all at once; what is there is not read again."""
    world, shelf = World(), Shelf()
    inode, size = Inode(1, extents=ExtentMap(shelf)), world.fs.geometry.block_size
    world.fs.load_map(inode, 2 * CHUNK_BLOCKS * size, size)
    assert shelf.loads == [1, 2]
    world.fs.load_map(inode, (2 * CHUNK_BLOCKS + 1) * size, 100 * CHUNK_BLOCKS * size)
    assert shelf.loads == [1, 2, *range(3, 2 + LOAD_CHUNKS_MAX)]
