"""Answers that were wrong once, as a turn did more than its footprint said, or a disk was full."""

import pytest

from fusefs.explore.answer import ask
from fusefs.explore.explain import shrunk
from fusefs.litmus.parse import parse
from fusefs.litmus.test import ALWAYS, SOMETIMES, Litmus
from fusefs.litmus.text import text

FILLED_BLOCK = """litmus filled-block

page 2k
block 512
file f 2k unwritten hole a hole

A:
    u = seek_data f 1536
    s = seek_data f 0
B:
    pwrite f 1124 924 b

exists A.u = 1536 /\\ A.s = 1024
"""
"""B fills the edge of its range, which makes a block uptodate: a seek sees that without a lock."""

SECTOR_IN_PART = """litmus sector-in-part

page 512
block 512
file f 300 z

B:
    pwrite f 0 512 b direct
A:
    r = pread f 0 512 direct

exists A.r = z
"""
"""A reads no further than the file goes, and that is in the sector that B writes."""

PAGE_OF_HOLES = """litmus page-of-holes

page 16k
block 512
file f 0

A:
    truncate f 16k
    r = mwrite f 0 512 a

forall A.r = 0
"""
"""A store makes all of its page dirty, and wants room for it."""


@pytest.mark.parametrize(
    ("file", "answer"),
    [(FILLED_BLOCK, SOMETIMES), (SECTOR_IN_PART, SOMETIMES), (PAGE_OF_HOLES, ALWAYS)],
    ids=["filled block", "sector in part", "page of holes"],
)
def test_outcome_is_found(file: str, answer: str):
    found = ask(parse(file, "missed.litmus"), ())
    assert (found.observation, found.exhausted) == (answer, True)


def test_shrunk_file_is_one():
    """Without A the file could not have the two blocks that are asked for."""
    litmus = parse(
        "litmus longer\n\npage 512\nblock 512\nfile f 512 z\n\n"
        "A:\n    pwrite f 512 512 a direct\nB:\n    pread f 0 512\n\nforall disk f = zz\n",
        "longer.litmus",
    )
    least = shrunk(litmus, ())
    assert isinstance(parse(text(least), "least.litmus"), Litmus)
    assert [task.name for task in least.tasks] == ["A"]
