"""For how long a crash does harm: from the witness's last turn on, until a flush has come."""

from explore.crash_files import DSYNC, UNSYNCED, answer, litmus

from fusefs.explore.crash_memory import CrashMemory
from fusefs.explore.explain import crash_until
from fusefs.explore.telling import crash_window


def until(text: str, *orders: str) -> list[tuple[int, str]]:
    """The turns after the witness's crash that it takes until none does harm."""
    witness = answer(text, *orders).witness
    assert witness is not None
    assert witness.lost is not None
    return [(turn.task, turn.name) for turn in crash_until(litmus(text), orders, witness.schedule)]


WITH_SYNC = """
    file f 512 z
    A:
        r = pwrite f 0 512 a
        fsync f
    exists after crash: A.r = 512 /\\ disk f = z
    """

BY_ANOTHER = """
    file f 512 z
    A:
        r = pwrite f 0 512 a
    B:
        fsync f
    exists after crash: A.r = 512 /\\ disk f = z
    """


def test_it_ends_with_the_commit_that_makes_the_bytes_durable():
    assert until(WITH_SYNC)[-1] == (0, "fsync.commit")
    assert until(BY_ANOTHER)[-1] == (1, "fsync.commit")


def test_what_nobody_syncs_is_in_danger_to_the_end():
    assert until(UNSYNCED) == []
    assert until(DSYNC, "ret_before_end") == [], "the worker converts, and nobody commits that"


def test_it_is_told():
    found = litmus(WITH_SYNC)
    witness = answer(WITH_SYNC).witness
    assert witness is not None
    told = " ".join(crash_window(found, crash_until(found, (), witness.schedule)))
    assert told == (
        "A crash does no harm any more after the 5 next turns, the last of them A's fsync.commit."
    )
    assert crash_window(found, ()) == ["A crash at any later time does harm as well."]


def test_a_commit_that_saves_nothing_ends_nothing(monkeypatch):
    monkeypatch.setattr(CrashMemory, "commit", lambda memory: None)
    assert until(WITH_SYNC) == []
