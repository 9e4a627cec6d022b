"""Which schedules the kernel's FUSE cannot have: said before anything runs, in a line."""

import pytest

from fusefs.litmus.parse import parse
from fusefs.trial.turns import REPLY, START, Turn, under_way, why_impossible

HEAD = "litmus test\npage 1k\nblock 512\nfile f 1k a\nfile g 1k a\n"


def reason(a: str, b: str, schedule: str) -> str | None:
    """Of two tasks; A and B are their turns: the first starts, and . is a step, ; a reply."""
    tasks = [
        f"{name}:\n" + "".join(f"    {line}\n" for line in text.split(", "))
        for name, text in (("A", a), ("B", b))
    ]
    litmus = parse(f"{HEAD}{''.join(tasks)}exists size f = 1024\n", "test")
    begun: set[str] = set()
    turns = []
    for word in schedule.split():
        name, step = word[0], "dio.write.map" if word[1:] == "." else REPLY
        turns.append(Turn(name, step if name in begun else START))
        begun.add(name)
    return why_impossible(litmus, turns)


WRITE = "pwrite f 0 512 b direct"


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("fsync f", "fsync"),
        ("fdatasync f", "fdatasync"),
        ("falloc f 0 512", "falloc"),
        ("fpunch f 0 512", "fpunch"),
        ("fzero f 0 512", "fzero"),
        ("truncate f 512", "truncate"),
        ("seek_data f 0", "seek_data"),
        ("pwrite f 512 1k c direct", "a write that makes it longer"),
        ("copy_range g 0 512 f 0", "copy_range"),
        ("unlink f", "unlink"),
        ("rename g f", "rename"),
    ],
)
def test_what_has_the_file_alone_cannot_come_in_beside_a_write(word: str, what: str):
    told = reason(WRITE, word, "A B A.")
    assert told is not None
    assert told.startswith(f"at turn 2, B's '{word}")
    assert told.endswith(f"the kernel's FUSE has its lock of a file to itself for {what}")
    assert reason(WRITE, word, "A A. B") is None, "one after the other"
    assert reason(word, WRITE, "A B A.") is not None, "nor the other way round"


@pytest.mark.parametrize(
    "word", ["pread f 0 512", "pread f 0 512 direct", "pwrite f 512 512 c", "fsync g"]
)
def test_what_shares_the_lock_or_takes_none_comes_in(word: str):
    assert reason(WRITE, word, "A B A.") is None


def test_a_file_that_has_grown_is_longer():
    """What was behind its end is within it then."""
    far = "pwrite f 1024 512 c direct"
    assert reason(WRITE, far, "A B A.") is not None
    assert reason(f"{far}, {WRITE}", far, "A A. A; B A.") is None
    assert reason(f"truncate f 512, {WRITE}", "pwrite f 512 512 c", "A A. A; B A.") is not None


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("aio h = pwrite f 0 512 c direct, reap h", "which writes are asynchronous"),
        ("mread f 0 512", "mapped pages are the kernel's own"),
        ("mwrite f 0 512 c", "mapped pages are the kernel's own"),
        ("pwrite f end 512 c append", "says where an append begins"),
    ],
)
def test_what_a_mount_does_not_have(word: str, why: str):
    told = reason(WRITE, word, "A A. B")
    assert told is not None
    assert why in told


def test_an_operation_lasts_from_its_first_turn_to_its_last():
    litmus = parse(f"{HEAD}A:\n    {WRITE}\n    fsync f\nexists size f = 1024\n", "test")
    steps = [START, "dio.write.map", "dio.write.submit", REPLY, "fsync.commit"]
    found = under_way(litmus, [Turn("A", step) for step in steps])
    assert [(each.operation.word, each.first, each.last) for each in found] == [
        ("pwrite", 0, 2),
        ("fsync", 3, 4),
    ]
