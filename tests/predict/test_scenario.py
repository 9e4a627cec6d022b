"""A meeting as a litmus file: as small as it can be, and the same for those that are alike."""

import pytest
from predict.recorded import A, B, C, Run, stale

from fusefs.litmus.parse import parse
from fusefs.litmus.text import setting, text
from fusefs.predict.shapes import PLACES_MAX, Shape


def shapes(run: Run, **bounds: int | bool) -> list[Shape]:
    return run.shapes(**bounds).by_size()


def only(run: Run, **bounds: int | bool) -> str:
    (shape,) = shapes(run, **bounds)
    assert parse(text(shape.litmus), "test") == shape.litmus
    return setting(shape.litmus)


MAIL = """\
page 1k
block 512
file f 1k unwritten

A:
    pwrite f 0 512 a direct
B:
    r = pread f 512 512"""


def test_the_mail_s_a_and_b_are_two_blocks() -> None:
    """Six of the eight blocks of the page are like the second one."""
    run = Run()
    run.call(0, A, "write", 0, 512, "direct", blocks="8u-")
    run.call(1, B, "read", 512, 3584, blocks="8u-")
    (shape,) = shapes(run)
    assert setting(shape.litmus) == MAIL
    assert shape.places[0].scenario.blocks == (0, 512, 4096)
    assert shape.places[0].scenario.tasks == (A, B)


def test_larger_pages_and_blocks_and_other_places_are_the_same_question() -> None:
    run = Run(65536, 4096)
    base = 5 << 20
    run.call(0, B, "read", base + 8192, 57344, blocks="16u-", size=6 << 20)
    run.call(1, A, "write", base, 8192, "direct", blocks="16u-", size=6 << 20)
    assert only(run) == MAIL, "whoever began first, too"


def test_alike_meetings_are_counted() -> None:
    run = stale()
    for ms in range(1000, 10000, 1000):
        run.call(ms, A, "write", 0, 512, "direct", blocks="8u-")
        run.call(ms + 3, B, "read", 512, 512, blocks="8u-")
    (shape,) = shapes(run)
    assert (shape.count, shape.overlapped_count, len(shape.places)) == (10, 1, 3)
    assert shape.nearest_ns == pytest.approx(1e6)


def test_truncates_to_different_sizes_are_different_questions() -> None:
    """However often one of them came up before."""
    run = Run()
    for at, size in enumerate([512] * PLACES_MAX + [0] * 2):
        run.call(at * 1000, A, "truncate", size, size=4096)
        run.call(at * 1000 + 3, B, "read", 0, 4096)
    some, none = shapes(run)
    assert "    truncate f 512\n" in setting(some.litmus)
    assert "    truncate f 0\n" in setting(none.litmus)
    assert (some.count, none.count) == (PLACES_MAX, 2)


def test_truncates_behind_a_page_are_one_question() -> None:
    run = Run()
    for at, size in enumerate((8192, 12288)):
        run.call(at * 1000, A, "truncate", size, size=2048, blocks="4w-,4h-")
        run.call(at * 1000 + 3, B, "read", 0, 4096, size=2048, blocks="4w-,4h-")
    (shape,) = shapes(run)
    assert shape.count == 2


def test_what_was_cached_is_cached() -> None:
    run = Run()
    run.call(0, A, "write", 0, 4096, "direct", blocks="8wc")
    run.call(1, B, "read", 0, 4096, blocks="8wc")
    assert "file f 512 z cached\n" in only(run)


def test_what_was_dirty_is_made_so_first() -> None:
    run = Run()
    run.call(0, A, "write", 0, 512, "direct", blocks="1hd,7w-")
    run.call(1, B, "read", 0, 512, blocks="1hd,7w-")
    assert only(run) == (
        "page 1k\nblock 512\nfile f 1k hole z\n\n"
        "S:\n    pwrite f 0 512 y\n"
        "A:\n    wait S\n    pwrite f 0 512 a direct\n"
        "B:\n    wait S\n    r = pread f 0 512"
    )


def test_read_that_touches_a_page_by_readahead_alone_has_no_result() -> None:
    """What it brings there nobody gets; it is in the cache all the same."""
    run = Run()
    run.call(0, A, "write", 4096, 512, "direct", size=8192, blocks="8u-")
    run.call(1, B, "read", 0, 512, size=8192, blocks="8w-,8u-", filled=(0, 8192))
    run.call(2, C, "read", 4096, 512, size=8192, blocks="8u-")
    first, second = (setting(shape.litmus) for shape in shapes(run))
    assert "B:\n    pread f 0 1k" in first + second
    assert "B:\n    r = pread f 0 512" in first + second


def test_end_of_the_file_within_a_block_divides_it() -> None:
    run = Run()
    run.call(0, A, "write", 512, 512, "direct", size=100, blocks="1wc,7h-")
    run.call(1, B, "read", 0, 4096, size=100, blocks="1wc,7h-")
    assert only(run) == (
        "page 4k\nblock 1k\nfile f 512 z cached\n\n"
        "A:\n    pwrite f 1k 1k a direct\n"
        "B:\n    r = pread f 0 4k"
    )


def test_write_with_append_begins_where_the_file_ends() -> None:
    run = Run()
    run.call(0, A, "write", 512, 512, "direct,append", size=512, blocks="1w-,7h-")
    run.call(1, B, "write", 512, 512, "append", size=1024, blocks="1w-,7h-")
    assert "pwrite f end 512 b direct append" in only(run)
    assert "pwrite f 512 512 a\n" in only(run), "of one that did not, the position is the kernel's"


def test_each_word_is_written() -> None:
    run = Run()
    run.call(0, A, "fallocate", 0, 512, "punch,keep_size")
    run.call(1, B, "fallocate", 512, 512, "zero,keep_size")
    assert only(run).endswith("A:\n    fpunch f 0 512\nB:\n    fzero f 512 512 keep_size")
    run = Run()
    run.call(0, A, "truncate", 512)
    run.call(1, B, "fallocate", 0, 1024)
    assert only(run).endswith("A:\n    falloc f 0 1k\nB:\n    truncate f 512")
    run = Run()
    run.call(0, A, "fsync", blocks="8wd")
    run.call(1, B, "read", 0, 4096, "direct")
    assert only(run).endswith(
        "A:\n    wait S\n    r = fsync f\nB:\n    wait S\n    r = pread f 0 512 direct"
    )


def test_asynchronous_write_is_submitted() -> None:
    run = Run()
    run.call(0, A, "write", 0, 4096, "direct", lasts_ms=5)
    run.call(1, A, "read", 8192, 512)
    run.call(2, B, "read", 0, 4096)
    assert "    aio h = pwrite f 0 512 a direct\n" in only(run)


def test_tasks_of_three_threads_wait_for_one_setup() -> None:
    run = stale()
    run.call(1.5, 103, "read", 0, 512, blocks="8u-")
    three = shapes(run, calls_max=3)[-1]
    assert [task.name for task in three.litmus.tasks] == ["A", "B", "C"]


@pytest.mark.parametrize("blocks", ["1u-,1w-,1h-,1u-,1w-,1h-,1u-,1w-", "1u-,1w-,1h-,1u-,4h-"])
def test_page_of_eight_different_blocks_is_searched(blocks: str) -> None:
    run = Run()
    run.call(0, A, "write", 0, 512, "direct", blocks=blocks)
    run.call(1, B, "read", 0, 512, blocks=blocks)
    assert run.shapes().left_count == 0
    assert "page 4k\nblock 512\n" in only(run)


def test_what_is_too_finely_divided_or_was_not_told_is_left() -> None:
    run = Run(8192, 512)
    run.call(0, A, "write", 0, 512, "direct", blocks=",".join(["1u-", "1w-"] * 8), size=8192)
    run.call(1, B, "read", 0, 512, size=8192)
    run.call(1000, A, "write", 0, 512, "direct", blocks="")
    run.call(1001, B, "read", 0, 512)
    found = run.shapes()
    assert (found.meeting_count, found.left_count, found.by_size()) == (2, 2, [])


def test_two_pages_are_divided_alike() -> None:
    """As many blocks in each; what only one of them had cached is read first."""
    run = Run()
    run.call(0, A, "write", 0, 8192, size=16384, blocks="1u-,7w-,8wc")
    run.call(1, B, "read", 4096, 4096, size=16384, blocks="8wc")
    one, both = shapes(run, pages_max=2)
    assert one.page_count == 1
    assert setting(both.litmus) == (
        "page 1k\nblock 512\nfile f 2k unwritten z\n\n"
        "S:\n    pread f 1k 1k\n"
        "A:\n    wait S\n    pwrite f 0 2k a\n"
        "B:\n    wait S\n    r = pread f 1k 1k"
    )
    assert both.places[0].scenario.blocks == (0, 512, 4096, 4096, 8192)
