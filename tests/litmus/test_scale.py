"""A scaled file is a file, and asks the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from litmus.generating import litmuses

from fusefs.explore.answer import ask
from fusefs.litmus.machine import BLOCK_SIZE_MAX, PAGE_SIZE_MAX
from fusefs.litmus.parse import parse
from fusefs.litmus.scale import scaled
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import text

GALLERY = Path(parse.__code__.co_filename).parent / "gallery"

RUNS_MAX = 500


@settings(max_examples=200)
@given(litmuses())
def test_it_is_a_file_that_can_be_written_down(litmus: Litmus):
    machine = replace(litmus.machine, readahead=0)  # it has a limit of its own
    litmus = replace(litmus, machine=machine)
    assert scaled(litmus, 1) == litmus
    if machine.page * 2 <= PAGE_SIZE_MAX and machine.block * 2 <= BLOCK_SIZE_MAX:
        twice = scaled(litmus, 2)
        assert parse(text(twice), "twice") == twice
        assert scaled(twice, 2) == scaled(litmus, 4)


def test_numbers_are_scaled_and_blocks_are_not():
    file = """litmus numbers
page 1k
block 512
cache 1m
readahead 4k
file f 1k a
file g 100 b
A:
    n = pwrite f 512 512 a direct
    r = pread f 0 1k
    c = copy_range f 512 100 g 100
    aio h = pwrite f 512 512 a direct
    m = reap h
exists A.n = 512 /\\ (A.r = 00 \\/ ~A.c = 100) /\\ size g = 200 /\\ disk f = 00 /\\ A.m = EIO
"""
    assert text(scaled(parse(file, "test"), 4)).splitlines() == [
        "litmus numbers",
        "",
        "page 4k",
        "block 2k",
        "readahead 16k",
        "cache 4m",
        "file f 4k a",
        "file g 400 b",
        "",
        "A:",
        "    n = pwrite f 2k 2k a direct",
        "    r = pread f 0 4k",
        "    c = copy_range f 2k 400 g 400",
        "    aio h = pwrite f 2k 2k a direct",
        "    m = reap h",
        "",
        "exists A.n = 2k /\\ (A.r = 00 \\/ ~(A.c = 400)) /\\ size g = 800 /\\ disk f = 00"
        " /\\ A.m = EIO",
    ]


@pytest.mark.parametrize("path", sorted(GALLERY.glob("*.litmus")), ids=lambda path: path.stem)
def test_the_gallery_answers_the_same(path: Path):
    """Under the orders that a file is about, and under today's; as far as RUNS_MAX goes."""
    litmus = parse(path.read_text(), path.name)
    orders = [name for name in litmus.expected if "linux" not in name]
    for names in [(), *((name,) for name in orders)]:
        once, larger = (ask(each, names, runs_max=RUNS_MAX) for each in (litmus, scaled(litmus, 8)))
        assert larger.observation == once.observation
        assert (larger.class_count, larger.run_count) == (once.class_count, once.run_count)
        assert sorted(larger.histogram.values()) == sorted(once.histogram.values())
