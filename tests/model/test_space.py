"""Free space: promises kept, nothing handed out twice, and nothing reused before a commit."""

import errno

import pytest
from bitarray import bitarray
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.model.errors import FsError
from fusefs.model.space import GROUP_BLOCKS, GROUP_BYTES, GROUPS_MAX, Space, decode_group


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
    assert space.free_count_stored == 15 - 3
    again = Space(16, lambda number: decode_group(number, space.encode(number), 16))
    assert again.allocate(1) == (1, 1)


def test_commit_frees_neighbours_as_one_run():
    """A file in many pieces, freed from its end, is punched out of the image in few calls."""
    space = Space(64)
    space.allocate(60)
    space.free([(40, 2), (7, 1)])
    space.begin_commit()
    space.free((block, 1) for block in (39, 5, 8, 6, 50))
    space.begin_commit()
    assert space.end_commit() == [(5, 4), (39, 3), (50, 1)]


def test_commit_stores_a_freed_run_in_both_groups_that_it_lies_in():
    """(S2)"""
    space = Space(3 * GROUP_BLOCKS)
    for first in (GROUP_BLOCKS - 4, GROUP_BLOCKS):
        space.allocate(4, goal=first)
    space.free([(GROUP_BLOCKS, 3), (GROUP_BLOCKS - 3, 3), (GROUP_BLOCKS - 4, 1)])
    space.begin_commit()
    assert space.committing == [(GROUP_BLOCKS - 4, 7)]
    groups = [decode_group(n, space.encode(n), 3 * GROUP_BLOCKS) for n in range(3)]
    assert [list(group.search(1)) for group in groups] == [[0], [3], []]


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


def test_run_of_a_host_page_begins_on_one_if_there_is_room():
    space = Space(32, alignment_blocks=4)
    assert space.allocate(4) == (4, 4)
    assert space.allocate(9) == (8, 9)
    assert space.allocate(3) == (17, 3)  # fills no page
    assert space.allocate(4) == (20, 4)
    assert space.allocate(4, goal=25) == (25, 4)  # goes on where a file ends
    assert space.allocate(4) == (29, 3)  # no page begins there any more
    assert space.allocate(4) == (1, 3)


def test_run_is_not_cut_short_for_a_page_that_is_used():
    space = Space(32, alignment_blocks=4)
    space.allocate(1, goal=8)
    space.allocate(1, goal=4)
    assert space.allocate(4) == (5, 3)


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


class Shelf:
    """Stored groups, and the Space of a mount that finds them; loads are those it has read."""

    def __init__(self, stored: Space, block_count: int) -> None:
        self.groups = {number: stored.encode(number) for number in stored.groups}
        self.loads: list[int] = []
        self.space = Space(block_count, self.load)
        self.space.free_count = stored.free_count_stored
        self.space.decode_full(0, stored.encode_full(0))

    def load(self, number: int) -> bitarray | None:
        self.loads.append(number)
        used = self.groups.get(number)
        return None if used is None else decode_group(number, used, self.space.block_count)

    def save(self, *, begun: bool = False) -> None:
        if not begun:
            self.space.begin_commit()
        self.groups |= {number: self.space.encode(number) for number in self.space.groups_dirty}
        self.space.groups_dirty.clear()
        if not begun:
            self.space.end_commit()


# -- stored ------------------------------------------------------------------------------


def test_stored_group_is_read_back():
    space = Space(2 * GROUP_BLOCKS)
    space.allocate(5)
    space.allocate(3, goal=GROUP_BLOCKS)
    space.begin_commit()
    again = Shelf(space, 2 * GROUP_BLOCKS).space
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
    with pytest.raises(ValueError, match=f"allocation group {number} is damaged"):
        decode_group(number, used, 100)


@pytest.mark.parametrize(
    ("row", "full"),
    [
        pytest.param(0, bytes(GROUP_BYTES - 1), id="short"),
        pytest.param(1, bytes(GROUP_BYTES), id="beyond the image"),
        pytest.param(-1, bytes(GROUP_BYTES), id="before the image"),
        pytest.param(0, b"\x02" + bytes(GROUP_BYTES - 1), id="groups beyond the image"),
    ],
)
def test_damaged_row_of_full_groups_is_refused(row, full):
    with pytest.raises(ValueError, match=f"row {row} of the full allocation groups is damaged"):
        Space(100).decode_full(row, full)


def test_only_groups_that_are_looked_at_are_read():
    shelf = Shelf(Space(1000 * GROUP_BLOCKS), 1000 * GROUP_BLOCKS)
    assert shelf.space.allocate(1, goal=700 * GROUP_BLOCKS) == (700 * GROUP_BLOCKS, 1)
    assert shelf.loads == [700]


def test_full_groups_are_passed_over_unread():
    """Also by the next mount."""
    count = 9 * GROUP_BLOCKS
    space = Space(count)
    for _ in range(7):
        space.allocate(GROUP_BLOCKS)
    shelf = Shelf(space, count)
    assert shelf.space.allocate(1) == (7 * GROUP_BLOCKS, 1)
    assert shelf.loads == [0, 7]  # the first is where a search begins


def test_group_that_gets_room_is_full_no_more():
    """When the commit that frees it has ended (S2), and not before; the stored bit says so, too."""
    space = Space(3 * GROUP_BLOCKS)
    space.allocate(GROUP_BLOCKS)
    space.allocate(GROUP_BLOCKS, goal=GROUP_BLOCKS)
    space.free([(GROUP_BLOCKS + 5, 1)])
    assert list(space.groups_full) == [1, 1, 0]
    space.begin_commit()
    assert list(space.groups_full) == [1, 1, 0]
    assert space.encode_full(0)[0] == 0b1000_0000
    space.end_commit()
    assert list(space.groups_full) == [1, 0, 0]


def test_wrong_bit_costs_a_look_and_no_more():
    """A group said to have room, but full: the search goes on."""
    space = Space(3 * GROUP_BLOCKS)
    space.allocate(GROUP_BLOCKS)
    space.groups_full.setall(0)
    assert space.allocate(1, goal=1) == (GROUP_BLOCKS, 1)
    assert list(space.groups_full) == [0, 0, 0]
    space.allocate(GROUP_BLOCKS)
    space.allocate(GROUP_BLOCKS, goal=2 * GROUP_BLOCKS)
    with pytest.raises(FsError):
        space.allocate(1)


def test_groups_that_must_stay_in_memory_stay():
    """(S3) dirty ones and those of the commit under way; of the others there is a limit."""
    count = 3 * GROUPS_MAX * GROUP_BLOCKS
    shelf = Shelf(Space(count), count)
    space = shelf.space
    for number in range(2):
        space.allocate(9, goal=number * GROUP_BLOCKS + 100)
    shelf.save()
    space.free([(104, 1)])
    space.begin_commit()
    shelf.save(begun=True)
    space.allocate(1, goal=2 * GROUP_BLOCKS + 7)
    for number in range(3, 3 * GROUPS_MAX):
        assert space.allocate(1, goal=number * GROUP_BLOCKS)[0] == number * GROUP_BLOCKS
        space.groups_dirty.discard(number)  # as if a commit had stored it
    assert {0, 2} <= space.groups.keys(), "(S3)"
    assert 1 not in space.groups
    assert len(space.groups) <= GROUPS_MAX + 3
    assert space.allocate(1, goal=104)[0] != 104, "(S2)"
    space.end_commit()
    assert space.allocate(1, goal=104) == (104, 1)


def test_group_read_again_during_its_commit_would_break_a_rule():
    """(S3) is not for nothing: what is stored says free, while the commit has not ended."""
    shelf = Shelf(Space(GROUP_BLOCKS), GROUP_BLOCKS)
    shelf.space.allocate(9)
    shelf.save()
    shelf.space.free([(4, 1)])
    shelf.space.begin_commit()
    shelf.save(begun=True)
    shelf.space.groups.clear()  # the fault
    assert shelf.space.allocate(1, goal=4) == (4, 1)


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
            runs = space.end_commit()
            assert {b for first, count in runs for b in range(first, first + count)} == committing
            free, committing = free | committing, set()
        assert (space.free_count, space.reserved_count) == (len(free), reserved)
        assert space.reserved_count <= space.free_count, "(S1)"
