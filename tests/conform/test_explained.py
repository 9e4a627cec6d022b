"""Reasons for differences: each goes as far as its sentence, and no further."""

from collections import Counter
from dataclasses import replace

import pytest
from conform.looking import compared, look, program_of

from fusefs.conform import acts
from fusefs.conform.acts import Act, units_of
from fusefs.conform.comparing import compare
from fusefs.conform.explained import (
    COPIED,
    CUT_PAGE,
    EXT4_BEYOND,
    EXT4_LATER,
    EXT4_PAGES,
    EXT4_SEEK,
    EXT4_TREE,
    FOLIO,
    PREALLOCATED,
    REASONS,
    folios_of_write,
)
from fusefs.conform.observed import Observed
from fusefs.conform.trace_reasons import Stop, is_ahead, is_of_a_folio, is_of_extents, is_of_maps

PAGE, BLOCK = 4096, 1024

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
@pytest.mark.parametrize("pages", [("dd", "dc"), ("cc", "c"), ("--cc", "-ccc")], ids=str)
def test_pages_of_a_large_folio_go_together(litmus, pages):
    kernel, model = (look(16384, "w" * 16, each) for each in pages)
    assert found(litmus, kernel, model) == (None, {FOLIO})


def test_page_that_was_read_ahead_looks_as_the_rest_of_its_folio():
    kernel, model = (look(16384, "w" * 16, each) for each in ("c", "cc"))
    assert found(AHEAD, kernel, model) == ("pages", set())


def test_last_page_of_a_file_may_have_no_other():
    litmus = program_of("pread f 0 4k", readahead="16k", file="f 12k a")
    kernel, model = (look(12288, "w" * 12, each) for each in ("ccc", "cc"))
    assert found(litmus, kernel, model) == (None, {FOLIO})
    kernel, model = (look(16384, "w" * 16, each) for each in ("ccc", "cc"))
    assert found(litmus, kernel, model) == ("pages", set())


def test_page_stays_explained_until_it_changes():
    """Its neighbour was of the same folio, and is another page now."""
    litmus = program_of("pread f 0 4k", "pread f 0 4k", readahead="16k", file="f 64k a")
    kernel = [look(16384, "w" * 16, each) for each in ("cc", "", "-c")]
    model = [look(16384, "w" * 16, each) for each in ("cc", "c", "cc")]
    assert compared(litmus, kernel, model).difference is None
    kernel[2] = look(16384, "w" * 16, "-d")
    model[2] = look(16384, "w" * 16, "-c")
    assert compared(litmus, kernel, model).difference.what == "pages"


@pytest.mark.parametrize(
    ("pos", "length", "folios"),
    [
        (0, 16384, [range(4)]),
        (0, 4095, [range(1)]),
        (4096, 8192, [range(1, 2), range(2, 3)]),
        (2572, 12622, [range(2), range(2, 3), range(3, 4)]),
        (53248, 90112, [range(13, 14), range(14, 16), range(16, 32), range(32, 34), range(34, 35)]),
    ],
)
def test_folios_are_as_large_as_their_place_and_the_rest_of_the_write(pos, length, folios):
    """The last two were seen, as far as they are."""
    assert list(folios_of_write(pos, length, PAGE)) == folios


def test_pages_that_cannot_be_one_folio_are_not_explained():
    kernel, model = (look(16384, "w" * 16, each) for each in ("-dd", "-dc"))
    assert found(program_of("pwrite f 4k 8k a"), kernel, model) == ("pages", set())


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


def test_delayed_blocks_get_their_places_with_those_that_were_given():
    kernel = [look(2048, "wdd", "c"), look(2048, "wuu", "c")]
    model = [look(2048, "wd", "c"), look(2048, "wd", "c")]
    both = compared(SMALL, kernel, model)
    assert both.difference is None
    assert both.reasons == {PREALLOCATED}
    kernel, model = look(4096, "wu.u", "c"), look(4096, "wd.u", "c")
    assert found(SMALL, kernel, model) == ("map", set())


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


@pytest.mark.parametrize("operation", ["fpunch f 2k 1k", "fzero f 2k 4k", "truncate f 1k"])
def test_ext4_keeps_or_has_the_page_of_an_edge(operation):
    litmus = program_of(operation, file="f 8k a")
    assert found(litmus, look(1024, "w", "d"), look(1024, "w"), "ext4") == (None, {EXT4_PAGES})
    assert found(litmus, look(1024, "w", "d"), look(1024, "w")) == ("pages", set())


@pytest.mark.parametrize("operation", ["fpunch f 0 4k", "fzero f 4k 8k", "truncate f 4k"])
def test_ext4_has_no_other_page(operation):
    kernel, model = (look(8192, "w" * 8, each) for each in ("cc", "c"))
    assert found(program_of(operation, file="f 8k a"), kernel, model, "ext4") == ("pages", set())
    assert found(program_of(operation, file="f 8k a"), model, kernel, "ext4") == ("pages", set())


def test_read_that_finds_a_page_of_ext4s_reads_nothing_ahead():
    litmus = program_of("fpunch f 100 100", "pread f 0 4k", readahead="16k", file="f 16k a")
    kernel = [look(16384, "w" * 16, each) for each in ("", "d", "d")]
    model = [look(16384, "w" * 16, each) for each in ("", "", "cccc")]
    both = compared(litmus, kernel, model, "ext4")
    assert both.difference is None
    assert EXT4_PAGES in both.reasons
    model[1] = look(16384, "w" * 16, "d")
    assert compared(litmus, kernel, model, "ext4").difference.place == 2


def test_ext4_writes_pages_back_at_other_times():
    kernel, model = (look(8192, "w" * 8, each) for each in ("cd", "dc"))
    assert found(SMALL, kernel, model, "ext4") == (None, {EXT4_LATER})


def test_ext4_punches_the_rest_of_the_page_of_the_end():
    kernel, model = look(1024, "w"), look(1024, "w..u")
    beyond, before = (
        program_of(f"fpunch f 0 {end}", file="f 1k a unwritten*3") for end in ("2k", "1k")
    )
    assert found_from(beyond, look(1024, "wuuu"), kernel, model) == (None, {EXT4_BEYOND})
    assert found_from(before, look(1024, "wuuu"), kernel, model) == ("map", set())
    block_of_the_end = program_of("fpunch f 1k 600", file="f 1500 a*2")
    kernel, model = look(1500, "w"), look(1500, "ww")
    assert found_from(block_of_the_end, model, kernel, model) == (None, {EXT4_BEYOND})
    kernel, model = look(1024, "w"), look(1024, "w...u")
    assert found_from(beyond, look(1024, "wuuuu"), kernel, model) == ("map", set())


def found_from(litmus, before, kernel, model):
    """Of ext4, where both begin alike."""
    both = compared(litmus, [before, kernel], [before, model], "ext4")
    return both.difference and both.difference.what, set(both.reasons)


@pytest.mark.parametrize(
    ("word", "result"),
    [("seek_data", "0"), ("seek_data", "1024"), ("seek_data", "8192"), ("seek_hole", "4096")],
)
def test_ext4_may_find_the_cached_part_of_what_is_preallocated(word, result):
    assert sought(word, result, "ext4") == (None, {EXT4_SEEK})
    assert sought(word, result, "xfs") == ("result", set())


@pytest.mark.parametrize(
    ("word", "result"),
    [("seek_data", "4096"), ("seek_data", "9216"), ("seek_data", "ENXIO"), ("seek_hole", "8192")],
)
def test_ext4_finds_nothing_else(word, result):
    assert sought(word, result, "ext4") == ("result", set())


def sought(word, result, kind):
    """From 0 on, in a file whose first page is cached, and has no data; the third is written."""
    litmus = program_of(f"{word} f 0", file="f 12k unwritten*8 a*4")
    each = {"f": look(12288, "u" * 8 + "w" * 4, "c")}
    kernel, model = (Observed((told,), (each, each)) for told in (result, "never"))
    both = compare(litmus, kernel, model, kind)
    return both.difference and both.difference.what, set(both.reasons)


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_size_has_no_reason(kind):
    assert found(CUT, look(1024, "w"), look(1025, "w"), kind)[0] == "size"


def test_copy_reads_other_pages_ahead():
    """Of the file that it reads, from there on."""
    litmus = program_of("copy_range f 4k 4k g 0", readahead="16k", file="f 64k a\nfile g 64k a")
    kernel, model = look(65536, "w" * 64, "-cccc"), look(65536, "w" * 64, "-ccc")
    assert found(litmus, kernel, model) == (None, {COPIED})
    assert found(litmus, look(65536, "w" * 64, "c"), look(65536, "w" * 64)) == ("pages", set())
    assert found(litmus, look(65536, "w" * 64, "-d"), look(65536, "w" * 64, "-c"))[0] == "pages"


def test_each_reason_has_a_sentence():
    used = {COPIED, CUT_PAGE, FOLIO, PREALLOCATED}
    used |= {EXT4_BEYOND, EXT4_LATER, EXT4_PAGES, EXT4_SEEK, EXT4_TREE}
    assert used == REASONS.keys()


# -- of traces ---------------------------------------------------------------------------

FOLIOS = {(1, 2): range(2, 4), (1, 3): range(2, 4)}
"""One large folio, of the pages 2 and 3 of the first file."""


def stop(
    left: list[Act], refused: Act | None = None, name: str = "", operation: str = "fsync f"
) -> Stop:
    """The kernel has done that of a group, and the model has not."""
    (only,) = program_of(operation).tasks[0].operations
    units = Counter(unit for act in left for unit in units_of(act, PAGE, BLOCK))
    return Stop(only, (), name or acts.group_name(left[0]), units, refused, FOLIOS)


def done(kind: str, first: int, end: int, ino: int = 1) -> Act:
    """To the pages from first on."""
    return Act(kind, ino, first * PAGE, end * PAGE)


@pytest.mark.parametrize("kind", [acts.DROP, acts.WB_WRITE, acts.FILL_MAP, acts.FILL_READ])
def test_pages_of_a_large_folio_go_with_it(kind):
    assert is_of_a_folio(stop([done(kind, 3, 4)]), PAGE, BLOCK)
    assert is_of_a_folio(stop([done(kind, 2, 4)], done(acts.CONVERT, 0, 1)), PAGE, BLOCK)


@pytest.mark.parametrize("kind", [acts.DROP, acts.WB_WRITE, acts.FILL_MAP, acts.FILL_READ])
@pytest.mark.parametrize(
    ("first", "end", "ino"), [(3, 5, 1), (1, 3, 1), (2, 3, 2)], ids=["behind", "before", "another"]
)
def test_other_page_does_not_go_with_a_folio(kind, first, end, ino):
    assert not is_of_a_folio(stop([done(kind, first, end, ino)]), PAGE, BLOCK)


@pytest.mark.parametrize(
    "kind", [acts.ADD, acts.ZERO, acts.DIO_MAP, acts.DIO_WRITE, acts.CONVERT, acts.WRITE_MAP]
)
def test_folio_explains_nothing_that_is_not_done_to_all_of_it(kind):
    assert not is_of_a_folio(stop([done(kind, 2, 3)]), PAGE, BLOCK)


def test_store_maps_all_of_a_folio_and_a_write_its_range():
    fault, write = (
        stop([done(acts.WRITE_MAP, 2, 3)], operation=f"{word} f 12k 4k a")
        for word in ("mwrite", "pwrite")
    )
    assert is_of_a_folio(fault, PAGE, BLOCK)
    assert not is_of_a_folio(write, PAGE, BLOCK)


def test_folio_explains_nothing_that_the_model_does_more():
    """Or in the kernel's stead."""
    drop = done(acts.DROP, 2, 3)
    assert not is_of_a_folio(stop([drop], done(acts.DROP, 3, 4)), PAGE, BLOCK)
    assert not is_of_a_folio(stop([], drop, name=acts.DROP), PAGE, BLOCK)


@pytest.mark.parametrize(
    ("operation", "is_cut"),
    [
        pytest.param("truncate f 9k", True, id="truncate within"),
        pytest.param("truncate f 8k", False, id="truncate before"),
        pytest.param("fpunch f 12k 4k", True, id="punch from within"),
        pytest.param("fpunch f 0 12k", True, id="punch up to within"),
        pytest.param("fzero f 8k 8k", False, id="zero all of it"),
        pytest.param("fsync f", False, id="fsync"),
    ],
)
def test_folio_that_is_cut_may_keep_its_pages(operation, is_cut):
    found = stop([Act(acts.FREE)], done(acts.DROP, 3, 4), operation=operation)
    assert is_of_a_folio(found, PAGE, BLOCK) == is_cut
    found = stop([Act(acts.FREE)], done(acts.DROP, 4, 5), operation=operation)
    assert not is_of_a_folio(found, PAGE, BLOCK)


READ = "pread f 16k 4k"

AHEAD_OF_IT = done(acts.ADD, 5, 7)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(stop([AHEAD_OF_IT], operation=READ), id="more"),
        pytest.param(stop([Act(acts.RETURN)], AHEAD_OF_IT, operation=READ), id="none"),
        pytest.param(stop([done(acts.FILL_MAP, 4, 5)], AHEAD_OF_IT, operation=READ), id="less"),
    ],
)
def test_what_is_read_ahead_may_depend_on_folios(found):
    assert is_ahead(found, PAGE, BLOCK)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(stop([done(acts.ADD, 4, 7)], operation=READ), id="what it asks for"),
        pytest.param(stop([Act(acts.RETURN)], done(acts.ADD, 4, 5), operation=READ), id="not that"),
        pytest.param(stop([done(acts.DROP, 5, 7)], operation=READ), id="dropped"),
        pytest.param(stop([AHEAD_OF_IT], operation="pwrite f 16k 4k a"), id="of a write"),
        pytest.param(stop([AHEAD_OF_IT], operation=f"{READ} direct"), id="of a direct read"),
        pytest.param(stop([Act(acts.RETURN)], operation=READ), id="nothing"),
    ],
)
def test_nothing_else_of_a_read_depends_on_folios(found):
    assert not is_ahead(found, PAGE, BLOCK)


def test_read_that_goes_on_where_the_last_one_ended_is_not_explained():
    (before,) = program_of("pread f 12k 4k").tasks[0].operations
    (elsewhere,) = program_of("pread f 0 4k").tasks[0].operations
    found = stop([AHEAD_OF_IT], operation=READ)
    assert not is_ahead(replace(found, before=(elsewhere, before)), PAGE, BLOCK)
    assert is_ahead(replace(found, before=(before, elsewhere)), PAGE, BLOCK)


def test_read_of_a_file_without_large_folios_is_not_explained():
    assert not is_ahead(replace(stop([AHEAD_OF_IT], operation=READ), folios={}), PAGE, BLOCK)


EXCLUSIVE = Act(acts.LOCK, 1, state="inode exclusive")

WRITTEN = Act(acts.DIO_MAP, 1, 1024, 3072, "mapped")


@pytest.mark.parametrize("both", [(EXCLUSIVE, WRITTEN), (WRITTEN, EXCLUSIVE)], ids=["more", "less"])
def test_part_of_a_block_needs_the_lock_where_extents_end(both):
    kernel, model = both
    part, whole = (
        stop([kernel], model, operation=f"pwrite f {pos} 2k a direct") for pos in ("1536", "1k")
    )
    assert is_of_extents(part, BLOCK)
    assert not is_of_extents(whole, BLOCK)


@pytest.mark.parametrize(
    ("kernel", "model"),
    [
        (EXCLUSIVE, WRITTEN._replace(state="unwritten")),
        (EXCLUSIVE, Act(acts.DIO_WRITE, 1, 1536, 3584)),
        (EXCLUSIVE._replace(state="mapping exclusive"), WRITTEN),
        (EXCLUSIVE, None),
    ],
)
def test_extents_explain_no_other_lock(kernel, model):
    assert not is_of_extents(stop([kernel], model, operation="pwrite f 1536 2k a direct"), BLOCK)


def test_only_maps_of_a_write_may_be_made_again():
    assert is_of_maps(stop([WRITTEN._replace(kind=acts.WRITE_MAP)]))
    assert not is_of_maps(stop([WRITTEN._replace(kind=acts.WRITE_MAP), done(acts.ADD, 0, 1)]))
    assert not is_of_maps(stop([WRITTEN]))
