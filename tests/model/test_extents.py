"""The map of a file's blocks, against a dictionary of blocks that cannot be wrong."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.extents import CHUNK_BLOCKS, ExtentMap, Mapping, State

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
    assert extents.remove(0, 4) == ([(100, 4)], 0)
    assert listed(extents, 0, 4) == [("hole", 0, 4, 0)]


def test_neighbours_in_file_and_image_are_one_run():
    """(E1) in whatever order they come."""
    extents = allocated((2, 1, 102), (0, 1, 100), (1, 1, 101))
    assert extents.chunks[0].counts == [3]
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
        ("hole", 5, CHUNK_BLOCKS, 0),
        ("hole", CHUNK_BLOCKS, far, 0),
        ("hole", far, far + 3, 0),
        ("unwritten", far + 3, far + 4, 200),
        ("hole", far + 4, far + 9, 0),
    ]


def test_remove_of_a_huge_range_looks_only_at_what_is_there():
    extents = allocated((7, 2, 100), (50 * CHUNK_BLOCKS, 1, 200))
    extents.reserve(20, 3)
    assert extents.remove(0, 1 << 53) == ([(100, 2), (200, 1)], 3)
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
        freed, dropped = extents.remove(blocks.start, blocks.stop)
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
    again = ExtentMap(complete=False)
    for number in extents.chunks:
        stored = extents.encode(number)
        assert (stored is None) == (not extents.chunks[number].starts)
        if stored is not None:
            again.decode(number, *stored)
            assert again.encode(number) == stored
    assert as_blocks(again) == {b: v for b, v in oracle.items() if v[0] is not DELALLOC}


# -- damage ------------------------------------------------------------------------------


def stored(*runs: tuple[int, int, int]) -> bytes:
    """(start, count, physical) as a chunk stores them, whether or not they make sense."""
    return b"".join(run[i].to_bytes(8, "little") for i in range(3) for run in runs)


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
        pytest.param(stored((1 << 63, 1 << 63, 9)), BITMAP, id="huge"),
    ],
)
def test_damaged_chunk_is_refused_and_not_taken(runs, bitmap):
    extents = ExtentMap(complete=False)
    with pytest.raises(ValueError):  # noqa: PT011  # whose message does not matter
        extents.decode(0, runs, bitmap)
    assert not extents.chunks
    assert not extents.chunks_loaded


def test_sound_chunk_is_taken():
    """The tests of damage would pass if decode() refused everything."""
    extents = ExtentMap(complete=False)
    extents.decode(0, stored((0, 3, 9), (3, 1, 20)), BITMAP)
    assert extents.find(0, 9) == Mapping(MAPPED, 0, 3, 9)
