"""A file that is printed is the same file, and no text whatever makes the parser fail otherwise."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from litmus.generating import litmuses

from fusefs.litmus.parse import LitmusError, parse
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import text

CANONICAL = r"""litmus stale-zeros
    A direct write to an unwritten block, beside a buffered read of its neighbour.

    # 4.10; fixed by c771c14baa33.

page 4k
block 512
readahead 128k
cache 1m
crash
file f 4k a b*2 unwritten cached
file g 0
file h 100 hole unwritten*3

A:
    aio x = pwrite f 0 512 a direct
    r = reap x
    pwrite f end 1 z dsync append
    n = copy_range f 0 1k g 512
B:
    wait A
    falloc f 0 4k keep_size
    truncate f 1m
    s = seek_data f 0

exists after crash: ~(A.r = 512 \/ B.s = 4k) /\ (disk h = . /\ ~~(size g = 0))
sometimes linux-4.10 linux-4.14-rc1
always no_post
never linux-6.18
breaks coherence deadlock
"""


def test_canonical_file_is_printed_as_it_is():
    assert text(parse(CANONICAL, "canonical.litmus")) == CANONICAL


def test_other_spellings_become_the_canonical_one():
    other = CANONICAL.replace("4k", "4096").replace("    ", "\t").replace("\nA:", "A: # one")
    other = other.replace("b*2", "b b").replace("/\\", "/\\\n  ").replace(" = ", "=")
    assert text(parse(other, "other.litmus")) == CANONICAL


@given(litmuses())
@settings(max_examples=100, deadline=None)
def test_what_is_printed_is_read_back(litmus: Litmus):
    printed = text(litmus)
    assert parse(printed, "x.litmus") == litmus
    assert text(parse(printed, "x.litmus")) == printed


LINES = [line for line in CANONICAL.split("\n") if line]
PIECES = st.sampled_from([*LINES, *CANONICAL.split(), "=", "(", "*", " ", "\n", "¾", "9" * 30])


@given(
    st.lists(st.sampled_from(LINES) | st.lists(PIECES).map(" ".join)).map("\n".join)
    | st.tuples(st.integers(0, len(CANONICAL)), st.integers(0, 40), PIECES).map(
        lambda cut: CANONICAL[: cut[0]] + cut[2] + CANONICAL[cut[0] + cut[1] :]
    )
)
@settings(max_examples=200, deadline=None)
def test_anything_else_is_an_error_of_one_line(anything: str):
    try:
        litmus = parse(anything, "x.litmus")
    except LitmusError as error:
        told = str(error)
    else:
        assert parse(text(litmus), "x.litmus") == litmus
        return
    assert re.fullmatch(r"x\.litmus:[0-9]+: .+; .+", told)
