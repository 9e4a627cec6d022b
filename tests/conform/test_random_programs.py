"""Random programs, and what is left of one that fails."""

import hashlib

import pytest

from fusefs.conform.programs import MAPPED, WORDS, program
from fusefs.conform.shrinking import shrunk
from fusefs.litmus.parse import parse
from fusefs.litmus.reach import operations
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import text

SEEDS = range(200)

SEVEN = "84d5d181287a5a83"
"""The hash of seed 7's."""


def words(litmus: Litmus) -> set[str]:
    return {each.word for each in operations(litmus.tasks)}


def test_seed_is_the_same_program_for_ever():
    """Else a seed in a report would be worth nothing."""
    made = text(program(7, block=1024, tasks=3))
    assert hashlib.sha256(made.encode()).hexdigest()[:16] == SEVEN


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("block", [1024, 2048, 4096])
def test_program_is_a_litmus_file(tasks, block):
    for seed in SEEDS[:40]:
        made = program(seed, block=block, tasks=tasks, wide=bool(seed % 2))
        assert parse(text(made), "made") == made
        assert len(made.tasks) == tasks


def test_each_word_is_drawn():
    found = set().union(*(words(program(seed, block=1024)) for seed in SEEDS))
    drawn = {word for word in WORDS if "_" not in word or word == "copy_range"} - {"append"}
    assert drawn - {"aio", "seek"} <= found
    assert {"reap", "seek_data", "seek_hole", "fdatasync"} <= found


def test_range_of_a_narrow_write_is_in_one_page():
    """So the kernel's folios are single pages."""
    for seed in SEEDS:
        for each in operations(program(seed, block=1024).tasks):
            if each.word == "pwrite" and "append" not in each.flags:
                assert each.pos // 4096 == (each.pos + each.length - 1) // 4096


def test_nothing_is_mapped_where_there_is_readahead():
    found = set().union(*(words(program(each, block=1024, readahead=16384)) for each in SEEDS))
    assert not found & set(MAPPED)


def test_program_is_shrunk_to_what_fails():
    litmus = program(3, block=1024, operations=12)
    assert "pread" in words(litmus)
    left = shrunk(litmus, lambda each: "pread" in words(each))
    assert [each.word for each in operations(left.tasks)] == ["pread"]
    assert [file.size for file in left.machine.files] == [0, 0]


def test_whatever_is_tried_is_a_litmus_file():
    tried = []

    def fails(litmus: Litmus) -> bool:
        tried.append(text(litmus))
        return len(tried) % 3 == 0

    shrunk(program(11, block=1024, tasks=3, operations=6), fails)
    assert len(tried) > 20
    assert all(parse(each, "tried") for each in tried)


def test_submission_goes_with_what_reaps_it():
    seed = next(each for each in SEEDS if "reap" in words(program(each, block=1024)))
    left = shrunk(program(seed, block=1024), lambda litmus: "reap" in words(litmus))
    assert [each.word for each in operations(left.tasks)] == ["pwrite", "reap"]
