"""Reasons for differences: each goes as far as its sentence, and no further."""

import pytest
from conform.looking import compared, look, program_of

from fusefs.conform.explained import (
    CUT_PAGE,
    EXT4_BEYOND,
    EXT4_LATER,
    EXT4_PAGES,
    EXT4_TREE,
    FOLIO,
    PREALLOCATED,
    REASONS,
)

CUT = program_of("pwrite f 0 2k a", "truncate f 1k")
SMALL = program_of("pread f 0 1k")
LARGE = program_of("pwrite f 0 16k a")
AHEAD = program_of("pread f 0 4k", readahead="16k", file="f 64k a")
NOTHING = look()


def found(litmus, kernel, model, kind="xfs"):
    """What differs at the last look; there is nothing before it."""
    before = [NOTHING] * len(litmus.tasks[0].operations)
    both = compared(litmus, [*before, kernel], [*before, model], kind)
    return both.difference and both.difference.what, set(both.reasons)


def test_cut_page_may_be_dirty():
    assert found(CUT, look(1024, "w", "d"), look(1024, "w", "c")) == (None, {CUT_PAGE})


def test_cut_page_may_not_be_clean():
    assert found(CUT, look(1024, "w", "c"), look(1024, "w", "d")) == ("pages", set())


def test_page_that_was_not_cut_may_not_be_dirty():
    assert found(SMALL, look(8192, "wwwwwwww", "dc"), look(8192, "wwwwwwww", "cc")) == (
        "pages",
        set(),
    )


@pytest.mark.parametrize("litmus", [LARGE, AHEAD], ids=["write", "readahead"])
@pytest.mark.parametrize("pages", [("dd", "dc"), ("cc", "c"), ("c", "cc")], ids=str)
def test_pages_of_a_large_folio_go_together(litmus, pages):
    kernel, model = (look(16384, "w" * 16, each) for each in pages)
    assert found(litmus, kernel, model) == (None, {FOLIO})


def test_blocks_of_a_large_folio_are_written_together():
    kernel, model = (look(16384, each, "cccc") for each in ("w" * 16, "w" * 12 + "u" * 4))
    assert found(LARGE, kernel, model) == (None, {FOLIO})


def test_hole_is_never_one_of_a_folio():
    kernel, model = (look(16384, each, "cccc") for each in ("w" * 16, "w" * 15))
    assert found(LARGE, kernel, model) == ("map", set())


def test_small_write_makes_no_large_folio():
    kernel, model = (look(4096, "wwww", each) for each in ("d", "c"))
    assert found(SMALL, kernel, model) == ("pages", set())


def test_blocks_given_ahead_are_behind_the_end():
    assert found(SMALL, look(1024, "wddd", "c"), look(1024, "w", "c")) == (None, {PREALLOCATED})
    assert found(SMALL, look(4096, "wddd", "c"), look(4096, "w", "c")) == ("map", set())


def test_blocks_given_ahead_stay_when_the_file_grows():
    kernel = [look(1024, "wuu", "c"), look(3072, "wuu", "c")]
    model = [look(1024, "w", "c"), look(3072, "w", "c")]
    both = compared(SMALL, kernel, model)
    assert both.difference is None
    assert both.reasons == {PREALLOCATED}


def test_written_block_is_not_one_that_was_given_ahead():
    assert found(SMALL, look(1024, "ww", "c"), look(1024, "w", "c")) == ("map", set())


def test_ext4_may_be_later():
    kernel, model = look(4096, "wdd", "c"), look(4096, "www", "c")
    assert found(SMALL, kernel, model, "ext4") == (None, {EXT4_LATER})
    assert found(SMALL, kernel, model) == ("map", set())


def test_ext4_has_the_same_blocks():
    kernel, model = look(4096, "wd", "c"), look(4096, "w", "c", allocated=2048)
    assert found(SMALL, kernel, model, "ext4") == ("map", set())


def test_ext4_keeps_what_is_punched_behind_the_end():
    assert found(SMALL, look(1024, "wu"), look(1024, "w"), "ext4") == (None, {EXT4_BEYOND})


def test_ext4_has_one_block_for_extents():
    kernel, model = look(1024, "w", allocated=2048), look(1024, "w")
    assert found(SMALL, kernel, model, "ext4") == (None, {EXT4_TREE})
    assert found(SMALL, look(1024, "w", allocated=3072), model, "ext4") == ("allocated", set())
    assert found(SMALL, kernel, model) == ("allocated", set())


def test_pages_of_ext4_are_its_own():
    assert found(SMALL, look(1024, "w", "c"), look(1024, "w"), "ext4") == (None, {EXT4_PAGES})


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_size_has_no_reason(kind):
    assert found(CUT, look(1024, "w"), look(1025, "w"), kind)[0] == "size"


def test_each_reason_has_a_sentence():
    used = {CUT_PAGE, FOLIO, PREALLOCATED, EXT4_BEYOND, EXT4_LATER, EXT4_PAGES, EXT4_TREE}
    assert used == REASONS.keys()
