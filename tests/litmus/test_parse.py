"""A litmus file becomes data, or one line that says what is wrong where."""

import ast
import sys
import traceback
from pathlib import Path

import pytest

from fusefs.litmus import check, condition, machine, operations
from fusefs.litmus.parse import LitmusError, parse
from fusefs.litmus.test import (
    ALWAYS,
    HOLE,
    NEVER,
    SOMETIMES,
    UNWRITTEN,
    And,
    Atom,
    FileText,
    Machine,
    Not,
    Operation,
    Or,
    Question,
    Run,
    TaskText,
)

WHOLE = """\
litmus stale-zeros   # a name
    Prose, with a # in it.

      Indented further.
# a comment between
    Its end.

page 4k
block 1k
readahead 128k
cache 1m
crash
file f 6k a b*2 unwritten cached
file g 0

A:   # the writer
    pwrite f 0 512 c direct dsync
    r = pread f 512 2k
    aio x = pwrite f 1k 1k d direct
    s = reap x
    pwrite g end 10 e append
B:
    wait A
    rename g h
    t=seek_hole f 3k

exists A.r = ca! /\\ (size h = 10 \\/
    ~B.t = 4k) \\/ A.s = EIO
sometimes linux-4.10 no_post
never linux-6.18
always linux-4.9
breaks coherence lost
"""

SMALL = """\
litmus small
page 4k
block 512
file f 2k a
file g 1k hole
A:
    r = pwrite f 0 512 b
    s = pread f 0 1k
B:
    fsync g
exists A.s = ab
"""


# -- what a file says --------------------------------------------------------------------


def test_whole_file():
    litmus = parse(WHOLE, "whole.litmus")
    assert litmus.name == "stale-zeros"
    assert litmus.prose == ("Prose, with a # in it.", "", "  Indented further.", "Its end.")
    files = (
        FileText("f", 6144, (Run("a", 1), Run("b", 2), Run(UNWRITTEN, 3)), cached=True),
        FileText("g", 0, ()),
    )
    assert litmus.machine == Machine(4096, 1024, 131072, 1 << 20, files)
    assert litmus.crash
    assert litmus.expected == {
        "linux-4.10": SOMETIMES,
        "no_post": SOMETIMES,
        "linux-6.18": NEVER,
        "linux-4.9": ALWAYS,
    }
    assert litmus.breaks == ("coherence", "lost")


def test_tasks_of_whole_file():
    direct = frozenset(("direct",))
    assert parse(WHOLE, "whole.litmus").tasks == (
        TaskText(
            "A",
            (
                Operation("pwrite", "f", 0, 512, "c", direct | {"dsync"}),
                Operation("pread", "f", 512, 2048, result="r"),
                Operation("pwrite", "f", 1024, 1024, "d", direct, handle="x"),
                Operation("reap", other="x", result="s"),
                Operation("pwrite", "g", 0, 10, "e", frozenset(("append",))),
            ),
        ),
        TaskText(
            "B",
            (
                Operation("wait", other="A"),
                Operation("rename", "g", other="h"),
                Operation("seek_hole", "f", 3072, result="t"),
            ),
        ),
    )


def test_question_of_whole_file():
    """Its numbers are as outcomes have them."""
    both = And(Atom("", "A.r", "ca!"), Or(Atom("size", "h", "10"), Not(Atom("", "B.t", "4096"))))
    question = Question("exists", Or(both, Atom("", "A.s", "EIO")))
    assert parse(WHOLE, "whole.litmus").question == question


def test_operations_know_their_lines():
    litmus = parse(WHOLE, "whole.litmus")
    assert [each.line for each in litmus.tasks[1].operations] == [23, 24, 25]


@pytest.mark.parametrize(
    ("states", "runs"),
    [
        ("a", (Run("a", 4),)),
        ("hole", (Run(HOLE, 4),)),
        ("a b", (Run("a", 1), Run("b", 3))),
        ("a b hole*2", (Run("a", 1), Run("b", 1), Run(HOLE, 2))),
        ("a*2 a unwritten*1", (Run("a", 3), Run(UNWRITTEN, 1))),
        ("a*4 unwritten*8", (Run("a", 4), Run(UNWRITTEN, 8))),
        ("unwritten*9", (Run(UNWRITTEN, 9),)),
    ],
)
def test_states_of_a_file_of_four_blocks(states: str, runs: tuple[Run, ...]):
    text = SMALL.replace("2k a", f"2000 {states}").replace("= ab", "= 0?")
    assert parse(text, "small.litmus").machine.files[0].runs == runs


@pytest.mark.parametrize(
    "line",
    [
        "falloc f 0 8k keep_size",
        "falloc f 0 8k",
        "fpunch f 0 512",
        "fzero f 0 512 keep_size",
        "truncate f 0",
        "fdatasync f",
        "n = seek_data f 0",
        "n = copy_range f 0 512 g 512",
        "n = copy_range f 0 512 f 512",
        "mwrite f 0 1 z",
        "n = mread f 0 4k",
        "unlink f",
        "rename f g",
        "pread f 512 512 direct",
        "pwrite f end 512 z append direct",
    ],
)
def test_every_operation_is_taken(line: str):
    text = SMALL.replace("fsync g", line)
    assert parse(text, "small.litmus").tasks[1].operations[0].word in line


def test_result_of_a_copy_is_its_own_whatever_handles_are_called():
    """A handle may have the name of a file, and is none."""
    parse(
        "litmus l\npage 1k\nblock 512\nfile f 1k z\nfile g 1k y\n"
        "A:\n    aio g = pwrite f 0 512 a direct\n    n = copy_range f 0 1k g 0\nexists A.n = 1k\n",
        "l.litmus",
    )


def test_crash_question_may_ask_what_had_returned():
    text = SMALL.replace("file f", "crash\nfile f").replace("exists", "exists after crash:")
    litmus = parse(text.replace("= ab", "= ab /\\ disk f = aaa0"), "small.litmus")
    assert litmus.question.after_crash
    assert litmus.crash


# -- what is none ------------------------------------------------------------------------

WORDS = (
    "pwrite, pread, falloc, fpunch, fzero, truncate, fsync, fdatasync, seek_data, seek_hole, "
    "copy_range, mwrite, mread, unlink, rename, reap or wait"
)
ATOM = "TASK.RESULT = VALUE, or cache, disk or size FILE = VALUE, is allowed"
STATES = "a state is hole, unwritten or a letter from a to z, and how many blocks of it: a*4"
MACHINE = "page, block, readahead, cache, crash or file, or a task such as A:, begins a line here"
NAME = "a name is lower case letters, digits and _, and begins with a letter"
WRITE = "pwrite FILE POS LEN LETTER [direct] [dsync] [append] is allowed"

CRASHED = """\
crash
file f 2k a
A:
    fsync f
B:
    fsync f
exists after crash: disk f = aaaa
"""

BROKEN = [
    # the head and the machine
    ("litmus small\n", "", "1: 'page 4k'; litmus NAME is the first line"),
    ("small", "s/m", "1: litmus s/m; litmus NAME, of letters, digits and _.+-, is allowed"),
    ("page 4k\n", "", "3: no line 'page SIZE'; page and block come before the files"),
    ("page 4k", "page 3k", "2: page 3k; a power of two from 512 to 1m"),
    ("block 512", "block 128k", "3: block 128k; a power of two from 512 to 64k"),
    ("block 512", "block 8k", "4: block 8k and page 4k; a block is at most a page"),
    ("block 512", "block 512\nblock 512", "4: block a second time; one line block"),
    ("block 512", "  block 512", "3: 'block 512' with blanks before it; only prose and operations"),
    ("block 512", "blok 512", "3: no line 'block SIZE'; page and block come before the files"),
    ("page 4k", "readahead 20m\npage 4k", "2: readahead 20m; off, or bytes, at most 16m"),
    ("page 4k", "readahead 1k\npage 4k", "7: a readahead of 1k; off, or at least a page"),
    ("page 4k", "cache\npage 4k", "2: cache; cache SIZE is allowed"),
    ("page 4k", "cache 1k\npage 4k", "7: a cache of 1k; at least 4k for this file"),
    ("page 4k", "crash now\npage 4k", "2: crash now; crash stands alone"),
    ("file g 1k hole", "pages 2", f"5: 'pages 2'; {MACHINE}"),
    (
        *("file f 2k a\nfile g 1k hole\n", ""),
        "4: no file; file NAME SIZE STATE… [cached] is allowed",
    ),
    ("file g 1k hole", "file g", "5: file g; file NAME SIZE STATE… [cached] is allowed"),
    ("file g", "file f", "5: file f a second time; one line for each file"),
    ("file g", "file G", f"5: file G; {NAME}"),
    ("1k hole", "1g hole", "5: size 1g; bytes, at most 16m"),
    ("1k hole", "1k", "5: file g 1k; file NAME SIZE STATE… [cached] is allowed"),
    ("1k hole", "0 cached", "5: cached with size 0; cached takes a file with at least one byte"),
    ("1k hole", "1k zeros", f"5: state zeros; {STATES}"),
    ("1k hole", "1k a*0", f"5: state a*0; {STATES}"),
    ("1k hole", "1k a*1", "5: states for 1 block; the file has 2 blocks"),
    ("1k hole", "1k a*2 b", "5: nothing is left for b; the file has 2 blocks"),
    (
        *("1k hole", "1k a*3"),
        "5: states for 3 blocks; the file has 2 blocks; behind its end only unwritten",
    ),
    # tasks and operations
    ("A:", "a:", "6: task a; a task's name begins with a capital letter, such as A"),
    ("B:", "A:", "9: task A a second time; each task once"),
    ("    fsync g\n", "", "9: B: with no operation; its operations, indented, below it"),
    ("fsync g", "write g", f"10: write; an operation is {WORDS}"),
    ("fsync g", "n =", f"10: n =; an operation comes after =: {WORDS}"),
    ("fsync g", "N = fsync g", f"10: result N; {NAME}"),
    ("fsync g", "fsync", "10: fsync; fsync FILE is allowed"),
    ("fsync g", "fsync G", f"10: FILE G; {NAME}"),
    ("fsync g", "fsync h", "10: file h; the files are f and g"),
    ("fsync g", "copy_range g 0 1 h 0", "10: file h; the files are f and g"),
    ("fsync g", "unlink h", "10: file h; the files are f and g"),
    ("0 512 b", "0 512", f"7: r = pwrite f 0 512; {WRITE}"),
    ("0 512 b", "0 512 bb", "7: bytes bb; a letter from a to z"),
    ("0 512 b", "0 0 b", "7: LEN 0; at least 1"),
    ("0 512 b", "x 512 b", "7: POS x; it is bytes, such as 0, 512 or 4k"),
    ("0 512 b", "17m 512 b", "7: POS 17m; at most 16m"),
    ("0 512 b", "16m 512 b", "7: a range up to 16777728; at most 16m"),
    ("0 512 b", "0 512 b sync", f"7: 'sync' after pwrite; {WRITE}"),
    ("0 512 b", "0 512 b dsync dsync", f"7: 'dsync' after pwrite; {WRITE}"),
    ("0 512 b", "0 512 b append", "7: position 0; with append it is 'end'"),
    ("0 512 b", "end 512 b", "7: position end; it is of a pwrite with append"),
    (
        *("0 512 b", "0 500 b direct"),
        "7: pwrite direct at 0, 500 bytes; position and length are multiples of 512 with direct",
    ),
    ("fsync g", "rename g g", "10: rename of g to itself; another name"),
    (
        *("fsync g", "copy_range g 0 512 g 511"),
        "10: copy_range onto itself; ranges of one file that do not overlap",
    ),
    ("fsync g", "wait B", "10: task B waits for itself; the other tasks are A"),
    ("fsync g", "wait C", "10: task B waits for task C; the other tasks are A"),
    ("fsync g", "wait c", "10: task c; a task's name begins with a capital letter, such as A"),
    (
        *("fsync g", "wait C\nC:\n    wait D\nD:\n    wait B"),
        "14: D waits for B, which waits for D; tasks that do not wait for each other",
    ),
    ("fsync g", "n = wait A", "10: n = wait A; wait has no result"),
    ("r = pwrite", "s = pwrite", "8: result s a second time; one line for each result"),
    ("fsync g", "reap x", "10: reap of x; the task has none in flight here"),
    (
        *("fsync g", "aio x = pwrite g 0 512 z direct\n    reap y"),
        "11: reap of y; x is allowed",
    ),
    (
        *("fsync g", "aio x = pwrite g 0 512 z direct\n    reap x\n    reap x"),
        "12: reap of x; the task has none in flight here",
    ),
    (
        *("fsync g", "aio x = pwrite g 0 512 z direct\n    aio x = pwrite g 0 512 y direct"),
        "11: handle x a second time; one line for each",
    ),
    (
        *("fsync g", "aio x = pwrite g 0 512 z"),
        "10: aio x = pwrite g 0 512 z; aio takes a pwrite with direct: others return complete",
    ),
    ("fsync g", "aio = fsync g", "10: aio = fsync g; aio NAME = pwrite … is allowed"),
    (
        *("fsync g", "n = aio x = pwrite g 0 512 z direct"),
        "10: n = aio x = pwrite g 0 512 z direct; the result is told later: n = reap NAME",
    ),
    # the question
    (
        *("exists A.s = ab\n", ""),
        "10: the end of the file; exists, ~exists or forall, and a condition, come after the tasks",
    ),
    ("exists A.s = ab", "page 4k", "11: 'page 4k'; page comes before the tasks"),
    ("= ab", "= abc", "11: A.s = abc; 2 characters of a b 0 ? ! .; or an errno's name"),
    ("= ab", "= a", "11: A.s = a; 2 characters of a b 0 ? ! .; or an errno's name"),
    ("= ab", "= az", "11: A.s = az; 2 characters of a b 0 ? ! .; or an errno's name"),
    ("= ab", "= EBAD", "11: error EBAD; the names of errno.h are allowed"),
    ("A.s = ab", "A.r = 513", "11: A.r = 513; 0 to 512 is allowed, or an errno's name"),
    ("A.s = ab", "A.t = 0", "11: result A.t; the results are A.r and A.s"),
    ("A.s = ab", "size f = 4k", "11: size f = 4k; 0 to 2k is allowed"),
    ("A.s = ab", "size h = 4k", "11: file h; the files are f and g"),
    ("A.s = ab", "cache g = --.", "11: cache g = --.; 2 characters of 0 ? ! . -"),
    ("A.s = ab", "disk g = -0", "11: disk g = -0; 2 characters of 0 ? ! ."),
    ("A.s = ab", "A.s ab", "11: 'ab' in a condition; A.s = VALUE is allowed"),
    ("A.s = ab", "A.s =", "11: a condition that ends too early; a value comes after ="),
    ("A.s = ab", "A.s = ab B", "11: 'B' after a condition; /\\ or \\/ is allowed"),
    ("A.s = ab", "(A.s = ab", "11: a condition that ends too early; ) is allowed"),
    ("A.s = ab", "disk", f"11: a condition that ends too early; {ATOM}"),
    ("A.s = ab", "r = 0", f"11: 'r' in a condition; {ATOM}"),
    (
        "A.s = ab",
        "A.s = ab / ab",
        "11: '/' in a condition; ~, /\\, \\/ and parentheses are allowed",
    ),
    ("A.s = ab", "~" * 40 + "A.s = ab", "11: a condition 33 deep; at most 32"),
    ("A.s = ab", " /\\ ".join(["A.s = ab"] * 65), "11: 65 comparisons; at most 64"),
    (
        *("exists", "exists after crash:"),
        "11: 'after crash:'; with a line 'crash' before the tasks",
    ),
    (
        *(f"file f{SMALL.partition('file f')[2]}", CRASHED.replace("exists", "forall")),
        "10: 'forall after crash:'; 'exists after crash:' is allowed",
    ),
    (
        *(f"file f{SMALL.partition('file f')[2]}", CRASHED.replace("disk", "cache")),
        "10: the cache after a crash; disk, size and results are allowed",
    ),
    # what is expected
    (
        *("= ab\n", "= ab\nmaybe a\n"),
        "12: 'maybe a'; sometimes, always, never or breaks, and names, come after the question",
    ),
    ("= ab\n", "= ab\nnever\n", "12: never; never NAME… is allowed"),
    ("= ab\n", "= ab\nnever A\n", "12: 'A'; eras and orders, such as linux-4.10 or no_post"),
    ("= ab\n", "= ab\nnever a\nalways a\n", "13: a a second time; each name once"),
    (
        *("= ab\n", "= ab\nbreaks D1\n"),
        "12: rule D1; the rules are coherence, foreign, lost, deadlock, space, "
        "durable, exposed and torn",
    ),
]


@pytest.mark.parametrize(("old", "new", "error"), BROKEN, ids=[each[2] for each in BROKEN])
def test_broken_file_is_told_in_one_line(old: str, new: str, error: str):
    assert old in SMALL
    with pytest.raises(LitmusError) as caught:
        parse(SMALL.replace(old, new, 1), "small.litmus")
    assert str(caught.value) == f"small.litmus:{error}"


def places_of_errors() -> set[tuple[str, int]]:
    """The file and first line of each call of Line.error()."""
    files = [Path(module.__file__) for module in (check, condition, machine, operations)]
    files.append(Path(sys.modules["fusefs.litmus.parse"].__file__))
    return {
        (str(file), node.lineno)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "error"
    }


def test_every_error_has_a_broken_file():
    """docs/litmus.md says so: no rule is there that no file above breaks."""
    told = set()
    for old, new, _ in BROKEN:
        with pytest.raises(LitmusError) as caught:
            parse(SMALL.replace(old, new, 1), "small.litmus")
        raised = traceback.extract_tb(caught.value.__traceback__)[-1]
        told.add((raised.filename, raised.lineno))
    assert len(told) > 50
    assert told == places_of_errors()
