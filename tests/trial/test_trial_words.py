"""Each word of a litmus file, as real processes see it on this machine's own file system.

One task at a time, or one that waits for another, so each file has one outcome.
"""

import mmap
from pathlib import Path

import pytest
from trial.trying import block_of, tried, values
from trial.words import WORDS, does_what_it_says

from fusefs.litmus.parse import parse
from fusefs.litmus.source import format_size
from fusefs.trial.on_directory import on_directory


@pytest.mark.parametrize("name", WORDS)
def test_word_does_what_it_says(name: str, tmp_path: Path):
    """Three runs: nothing is left of one in the next."""
    does_what_it_says(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_size_within_a_block(tmp_path: Path):
    """Of the last block those bytes count that are there."""
    text = "file f 1000 a\nA:\n    r = pread f 0 1B\nexists A.r = 0 \\/ size f = 0 \\/ disk f = 0"
    assert values(tried(tmp_path, text)) == {"A.r": "a", "size f": "1000", "disk f": "a"}


def test_cache_has_what_was_read_or_written_and_no_more(tmp_path: Path):
    """Whole pages are read; of a page that is written, only the blocks that were."""
    blocks, page = mmap.PAGESIZE // block_of(tmp_path), mmap.PAGESIZE
    found = values(
        tried(
            tmp_path,
            f"""file f {2 * page} a cached
file g {2 * page} b
file h {2 * page} unwritten
file i {page} c
A:
    pread h {page} 1B
    pwrite i 0 1B d
exists cache f = {"a" * 2 * blocks} \\/ cache g = {"-" * 2 * blocks}
    \\/ cache h = {"0" * 2 * blocks} \\/ cache i = {"c" * blocks}""",
            runs=3,
        )
    )
    assert found == {
        "cache f": "a" * 2 * blocks,
        "cache g": "-" * 2 * blocks,
        "cache h": "-" * blocks + "0" * blocks,
        "cache i": "d" + "-" * (blocks - 1),
    }


def test_a_file_about_smaller_pages_is_tried_in_larger_ones(tmp_path: Path):
    """As many blocks share a page; counts and sizes are as much larger."""
    factor = 4
    page, block = mmap.PAGESIZE // factor, block_of(tmp_path) // factor
    if block < 512:
        pytest.skip(f"a block has {block_of(tmp_path)} bytes here")
    text = f"""litmus small
page {page}
block {block}
file f {2 * block} a
A:
    n = pwrite f {block} {block} b direct
    r = pread f 0 {2 * block}
exists A.n = {block} /\\ A.r = ab /\\ size f = {2 * block}"""
    seen = on_directory(parse(text, "small"), tmp_path, 2)
    if seen.skipped:
        pytest.skip("; ".join(seen.skipped))
    larger = str(block * factor)
    assert values(seen) == {"A.n": larger, "A.r": "ab", "size f": str(2 * block * factor)}
    assert seen.observation == "Always"
    shown = format_size(page), format_size(page * factor)
    assert f"\nScale={factor}: page {shown[0]} is tried as {shown[1]}\n" in seen.text()


def test_two_processes_meet(tmp_path: Path):
    """They are real, and let go together: each sees the other's write late and early."""
    seen = tried(
        tmp_path,
        """file f 2B hole
A:
    pwrite f 0 1B a
    r = pread f 1B 1B
B:
    pwrite f 1B 1B b
    r = pread f 0 1B
exists A.r = 0 /\\ B.r = 0""",
        runs=100,
    )
    states = {tuple(value for _, _, value in state) for state in seen.counts}
    assert {("0", "a"), ("b", "0")} <= states
    assert ("0", "0") not in states
