"""Readahead windows against Linux's, computed by hand from mm/readahead.c (6.12 and later).

Numbers are pages.  32 is Linux's default of 128 KiB in pages of 4 KiB.
"""

import pytest
from model.driving import Task, buffered_read, file_with, read, run, sparse_file

from fusefs.explore.memory import World
from fusefs.model.geometry import PageIndex
from fusefs.model.page_cache import AddressSpace, Page
from fusefs.model.readahead import ReadaheadState, Window, plan_marked, plan_missing
from fusefs.model.truncate import truncate

WINDOW_MAX = 32
PAGE_END = 1 << 40


def caching(*pages: int) -> AddressSpace:
    mapping = AddressSpace()
    mapping.pages = {index: Page(mapping, PageIndex(index), 512) for index in pages}
    return mapping


def missing(index: int, count: int, *, cached=(), ra=None, window_max=WINDOW_MAX, end=PAGE_END):
    ra = ra if ra is not None else ReadaheadState()
    return plan_missing(ra, caching(*cached), index, count, window_max, end)


def marked(
    index: int, count: int, *, cached=(), ra=None, window_max=WINDOW_MAX, end=PAGE_END, order_max=0
):
    ra = ra if ra is not None else ReadaheadState()
    return plan_marked(ra, caching(*cached), index, count, window_max, end, order_max)


@pytest.mark.parametrize(
    ("count", "size", "marker"),
    [
        pytest.param(1, 4, 1, id="read 1"),
        pytest.param(2, 4, 2, id="read 2"),
        pytest.param(3, 8, 3, id="read 3"),
        pytest.param(4, 8, 4, id="read 4"),
        pytest.param(5, 16, 5, id="read 5"),
        pytest.param(8, 16, 8, id="read 8"),
        pytest.param(9, 32, 9, id="read 9"),
        pytest.param(31, 32, 31, id="read 31"),
        pytest.param(32, 32, 16, id="read 32"),
        pytest.param(40, 40, 20, id="read 40"),
    ],
)
def test_first_window_at_the_start_of_a_file(count, size, marker):
    """Rounded up to a power of two, then 4 times for a small read, 2 for a middling one."""
    assert missing(0, count) == Window(0, size, marker)


@pytest.mark.parametrize("previous", [99, 100], ids=["after it", "within it"])
def test_miss_next_to_the_last_read_begins_a_window_there(previous):
    """Sequential, though nothing is cached: index - previous is 0 or 1."""
    assert missing(100, 1, ra=ReadaheadState(previous=previous)) == Window(100, 104, 101)


@pytest.mark.parametrize("previous", [-1, 98, 101], ids=["first read", "gap", "backwards"])
def test_random_miss_reads_what_was_asked_and_leaves_the_state(previous):
    ra = ReadaheadState(start=7, size=4, async_size=3, previous=previous)
    assert missing(100, 2, ra=ra) == Window(100, 102)
    assert ra == ReadaheadState(7, 4, 3, previous)


@pytest.mark.parametrize(
    ("cached", "index", "count", "window"),
    [
        pytest.param(range(97, 100), 100, 1, Window(100, 104, 103), id="3 before"),
        pytest.param(range(97, 100), 100, 2, Window(100, 105, 104), id="3 before-read 2"),
        pytest.param(range(97, 100), 100, 3, Window(100, 103), id="3 before-read 3"),
        pytest.param(range(50, 100), 100, 1, Window(100, 132, 131), id="50 before"),
        pytest.param(range(10), 10, 1, Window(10, 31, 30), id="all before"),
        pytest.param(range(98), 100, 1, Window(100, 101), id="none right before"),
    ],
)
def test_pages_cached_before_tell_of_a_stream(cached, index, count, window):
    """Context: size is their number and the read's; twice theirs from the start of the file."""
    assert missing(index, count, cached=cached) == window


def test_marks_ramp_the_window_up_to_its_maximum():
    """A stream, page by page, from the first read on."""
    ra, windows = ReadaheadState(), []
    windows.append(missing(0, 1, ra=ra))
    for _ in range(5):
        windows.append(marked(windows[-1].marker, 1, ra=ra))
    assert windows == [
        Window(0, 4, 1),
        Window(4, 12, 4),
        Window(12, 28, 12),
        Window(28, 60, 28),
        Window(60, 92, 60),
        Window(92, 124, 92),
    ]


def test_windows_end_where_large_folios_do():
    """As XFS of Linux 6.18 was seen to read 4 KiB after 4 KiB, with 128 KiB of readahead."""
    ra = ReadaheadState()
    missing(0, 1, ra=ra)
    windows = []
    for mark in (1, 4, 12, 16, 24):
        window = marked(mark, 1, ra=ra, order_max=9)
        assert window is not None
        windows.append((window.start, window.end))
    assert windows == [(4, 12), (12, 16), (16, 24), (24, 32), (32, 48)]


def test_window_of_a_large_read_does_not_shrink():
    """64 pages at once, of a maximum of 4: the next windows are as large."""
    ra = ReadaheadState()
    assert missing(0, 64, ra=ra, window_max=4) == Window(0, 64, 32)
    assert marked(32, 32, ra=ra, window_max=4) == Window(64, 128, 64)


def test_small_window_of_a_large_maximum_grows_four_times():
    ra = ReadaheadState(start=0, size=4, async_size=3)
    assert marked(1, 1, ra=ra, window_max=128) == Window(4, 20, 4)


def test_mark_of_somebody_elses_window_begins_one_at_the_next_gap():
    """Interleaved streams through one open file, or two open files."""
    ra = ReadaheadState()
    assert marked(10, 1, cached=(10, 11, 12), ra=ra) == Window(13, 21, 13)
    assert ra == ReadaheadState(13, 8, 8)


def test_mark_without_a_gap_within_the_maximum_reads_nothing():
    assert marked(10, 1, cached=range(10, 10 + 2 * WINDOW_MAX)) is None


def test_window_ends_with_the_file():
    assert missing(0, 1, end=3) == Window(0, 3, 1)


def test_no_readahead_reads_only_what_was_asked():
    assert missing(0, 3, window_max=0) == Window(0, 3)
    assert marked(2, 3, window_max=0) is None


# -- in the cache ------------------------------------------------------------------------

PAGE = 1024


def test_window_is_filled_at_once_and_marked():
    world = World(page_size=PAGE, readahead=32 * PAGE)
    file = sparse_file(100 * PAGE)
    read(world, file, 0, 10)
    pages = file.inode.mapping.pages
    assert sorted(pages) == [0, 1, 2, 3]
    assert [index for index, page in pages.items() if page.readahead] == [1]


def test_marked_page_starts_the_next_window_and_loses_its_mark():
    world = World(page_size=PAGE, readahead=32 * PAGE)
    file = sparse_file(100 * PAGE)
    read(world, file, 0, 10)
    read(world, file, PAGE, 10)
    pages = file.inode.mapping.pages
    assert sorted(pages) == list(range(12))
    assert [index for index, page in pages.items() if page.readahead] == [4]


def test_read_of_nothing_is_not_where_the_next_one_goes_on():
    """Behind the end of the file, which is longer by then: filemap_read() has got nowhere."""
    world = World(page_size=PAGE, readahead=32 * PAGE)
    file = sparse_file(0)
    read(world, file, 50 * PAGE, 10)
    run(world, truncate(world.fs, file.inode, 100 * PAGE))
    read(world, file, 50 * PAGE, 10)
    assert sorted(file.inode.mapping.pages) == [50]


def test_read_does_not_go_on_where_it_is_itself():
    """Page 50 is there, so it misses at 51: that is no sequence, as the read began at 50."""
    world = World(page_size=PAGE, readahead=32 * PAGE)
    file = sparse_file(100 * PAGE)
    read(world, file, 50 * PAGE, 10)
    read(world, file, 10 * PAGE, 10)
    read(world, file, 50 * PAGE, 3 * PAGE)
    assert sorted(file.inode.mapping.pages) == [10, 50, 51, 52]


def test_random_read_caches_no_neighbour():
    """Why 4 KiB pages with 4 KiB blocks hide the bug from random readers."""
    world = World(page_size=PAGE, readahead=32 * PAGE)
    file = sparse_file(100 * PAGE)
    read(world, file, 50 * PAGE, 10)
    assert sorted(file.inode.mapping.pages) == [50]


@pytest.mark.parametrize("pages", [1, 2, 3, 9], ids="read {}".format)
@pytest.mark.parametrize("readahead", [0, 1, 2, 4, 8], ids="window {}".format)
@pytest.mark.parametrize("cache", [1, 2, 3], ids="cache {}".format)
def test_reader_gets_on_though_its_window_does_not_fit_into_the_cache(cache, readahead, pages):
    """page_size=64k, cache_size=64k and the default readahead are such a mount."""
    world = World(page_size=PAGE, cache_size=cache * PAGE, readahead=readahead * PAGE)
    data = bytes(range(1, 10)) * PAGE
    file = file_with(world, data)
    for pos in range(0, len(data), pages * PAGE):
        task = Task(world, buffered_read(world.fs, file, pos, pages * PAGE))
        for _ in range(100):
            if not task.ended:
                task.grant()
        assert task.ended, "the reader goes round in circles"
        assert bytes(task.finish()) == data[pos : pos + pages * PAGE]


def test_page_is_used_though_readahead_has_evicted_it():
    """The reader holds a reference, in Linux; it does not begin again."""
    world = World(page_size=PAGE, cache_size=PAGE, readahead=4 * PAGE)
    file = file_with(world, b"A" * PAGE + b"B" * 7 * PAGE)
    read(world, file, 0, PAGE)
    page = file.inode.mapping.pages[0]
    page.readahead = True
    run(world, buffered_read(world.fs, file, 0, PAGE))
    assert page.mapping is None
    assert world.fs.cache.evicted_count > 0
