"""Free space: promises kept, nothing handed out twice, and nothing reused before a commit."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.errors import FsError
from fusefs.space import GROUP_BLOCKS, GROUP_BYTES, Space


def commit(space: Space) -> list[tuple[int, int]]:
    space.begin_commit()
    return space.end_commit()


def refused(space: Space, **request) -> bool:
    with pytest.raises(FsError) as refusal:
        space.allocate(1, **request)
    return refusal.value.errno == errno.ENOSPC


# -- S1 ----------------------------------------------------------------------------------


def test_superblock_is_never_handed_out():
    space = Space(4)
    assert space.allocate(10) == (1, 3)
    assert refused(space)


def test_promised_blocks_are_not_given_to_others():
    """(S1)"""
    space = Space(4)
    space.reserve(2)
    assert space.available_count == 1
    assert space.allocate(10) == (1, 1)
    assert refused(space)
    assert space.allocate(10, reserved=True) == (2, 2)
    assert space.reserved_count == 0


def test_more_than_there_is_cannot_be_promised():
    """(S1)"""
    space = Space(4)
    with pytest.raises(FsError) as refusal:
        space.reserve(4)
    assert refusal.value.errno == errno.ENOSPC
    assert space.reserved_count == 0


def test_promise_given_back_is_available_again():
    space = Space(4)
    space.reserve(3)
    assert refused(space)
    space.unreserve(1)
    assert space.allocate(10) == (1, 1)
    with pytest.raises(AssertionError, match=r"\(S1\)"):
        space.unreserve(3)


# -- S2 ----------------------------------------------------------------------------------


def test_freed_block_waits_for_the_end_of_its_commit():
    """(S2) handed out sooner, its new bytes could be read through the old map after a crash."""
    space = Space(4)
    space.allocate(3)
    space.free([(2, 1)])
    assert refused(space)
    space.begin_commit()
    assert refused(space)
    assert space.end_commit() == [(2, 1)]
    assert space.allocate(3) == (2, 1)


def test_freed_block_is_passed_over_while_others_are_free():
    """(S2) though it is asked for by number."""
    space = Space(8)
    space.allocate(3)
    space.free([(2, 1)])
    assert space.allocate(1, goal=2) == (4, 1)
    space.begin_commit()
    assert space.allocate(1, goal=2) == (5, 1)
    space.end_commit()
    assert space.allocate(1, goal=2) == (2, 1)


def test_block_freed_during_a_commit_waits_for_the_next():
    """(S2) the commit under way does not record that free."""
    space = Space(4)
    space.allocate(3)
    space.free([(1, 1)])
    space.begin_commit()
    space.free([(2, 1)])
    assert space.end_commit() == [(1, 1)]
    assert space.allocate(3) == (1, 1)
    assert refused(space)
    assert commit(space) == [(2, 1)]


def test_commit_stores_as_free_what_it_frees_and_only_that():
    """(S2)"""
    space = Space(16)
    space.allocate(4)
    space.free([(1, 1)])
    space.begin_commit()
    space.free([(2, 1)])
    again = Space(16)
    again.decode(0, space.encode(0))
    assert again.free_count == 15 - 3
    assert again.allocate(1) == (1, 1)


# -- where -------------------------------------------------------------------------------


def test_allocation_goes_on_at_the_goal():
    space = Space(32)
    space.allocate(4)
    assert space.allocate(2, goal=20) == (20, 2)
    assert space.allocate(2, goal=22) == (22, 2)


def test_goal_that_is_used_or_none_is_passed_over():
    space = Space(32)
    space.allocate(4)
    assert space.allocate(1, goal=2) == (5, 1)
    assert space.allocate(1, goal=99) == (6, 1)


def test_search_comes_round_the_end():
    space = Space(8)
    space.allocate(7)
    space.free([(2, 2)])
    commit(space)
    assert space.allocate(9, goal=6) == (2, 2)


def test_allocation_ends_at_the_next_used_block():
    space = Space(16)
    space.allocate(1, goal=5)
    assert space.allocate(9, goal=2) == (2, 3)


def test_allocation_stays_in_its_group():
    space = Space(2 * GROUP_BLOCKS)
    assert space.allocate(9, goal=GROUP_BLOCKS - 2) == (GROUP_BLOCKS - 2, 2)
    assert space.allocate(9, goal=GROUP_BLOCKS) == (GROUP_BLOCKS, 9)
    assert space.groups_dirty == {0, 1}


def test_run_freed_across_groups_comes_back_in_both():
    space = Space(2 * GROUP_BLOCKS)
    space.allocate(2, goal=GROUP_BLOCKS - 2)
    space.allocate(2, goal=GROUP_BLOCKS)
    space.groups_dirty.clear()
    space.free([(GROUP_BLOCKS - 2, 4)])
    commit(space)
    assert space.groups_dirty == {0, 1}
    assert space.free_count == 2 * GROUP_BLOCKS - 1


# -- stored ------------------------------------------------------------------------------


def test_stored_group_is_read_back():
    space = Space(2 * GROUP_BLOCKS)
    space.allocate(5)
    space.allocate(3, goal=GROUP_BLOCKS)
    space.begin_commit()
    again = Space(2 * GROUP_BLOCKS)
    for number in (0, 1):
        again.decode(number, space.encode(number))
    assert again.free_count == space.free_count
    assert again.allocate(1, goal=GROUP_BLOCKS + 2) == (6, 1)


@pytest.mark.parametrize(
    ("number", "used"),
    [
        pytest.param(0, bytes(GROUP_BYTES - 1), id="short"),
        pytest.param(0, bytes(GROUP_BYTES + 1), id="long"),
        pytest.param(1, bytes(GROUP_BYTES), id="beyond the image"),
        pytest.param(0, bytes(GROUP_BYTES - 1) + b"\xff", id="blocks beyond the image"),
    ],
)
def test_damaged_group_is_refused(number, used):
    space = Space(100)
    with pytest.raises(ValueError, match=f"allocation group {number} is damaged"):
        space.decode(number, used)
    assert space.free_count == 99


# -- against a set -----------------------------------------------------------------------

IMAGE_BLOCKS = 24

requests = st.one_of(
    st.tuples(st.just("allocate"), st.integers(1, 9), st.integers(0, IMAGE_BLOCKS)),
    st.tuples(st.just("reserve"), st.integers(1, 9), st.just(0)),
    st.tuples(st.just("take"), st.integers(1, 9), st.integers(0, IMAGE_BLOCKS)),
    st.tuples(st.just("unreserve"), st.integers(1, 9), st.just(0)),
    st.tuples(st.just("free"), st.integers(0, IMAGE_BLOCKS), st.just(0)),
    st.tuples(st.sampled_from(["begin", "end"]), st.just(0), st.just(0)),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(requests, max_size=40))
def test_every_sequence_keeps_both_rules(steps):
    """(S1) (S2) against sets of blocks: free, used, freed, and in the commit under way."""
    space = Space(IMAGE_BLOCKS)
    free, used = set(range(1, IMAGE_BLOCKS)), set[int]()
    freed, committing, reserved = set[int](), set[int](), 0
    for kind, count, goal in steps:
        if kind in ("allocate", "take"):
            limit = reserved if kind == "take" else len(free) - reserved
            try:
                first, taken = space.allocate(count, goal, reserved=kind == "take")
            except FsError:
                assert limit == 0
                continue
            blocks = set(range(first, first + taken))
            assert 1 <= taken <= min(count, limit)
            assert blocks <= free, "(S2) handed out, but not free"
            free, used = free - blocks, used | blocks
            reserved -= taken if kind == "take" else 0
        elif kind == "reserve":
            try:
                space.reserve(count)
            except FsError:
                assert count > len(free) - reserved
                continue
            reserved += count
        elif kind == "unreserve":
            space.unreserve(min(count, reserved))
            reserved -= min(count, reserved)
        elif kind == "free" and count in used:
            space.free([(count, 1)])
            used, freed = used - {count}, freed | {count}
        elif kind == "begin":
            space.begin_commit()
            committing, freed = committing | freed, set()
        elif kind == "end":
            assert {block for block, _ in space.end_commit()} == committing
            free, committing = free | committing, set()
        assert (space.free_count, space.reserved_count) == (len(free), reserved)
        assert space.reserved_count <= space.free_count, "(S1)"
