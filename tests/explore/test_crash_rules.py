"""What is promised of crashes, and planted faults that break it."""

import pytest
from explore.crash_faults import (
    CommitBeforeData,
    NoCommit,
    Storage,
    StrayZeros,
    TornDisk,
    broken_with,
)
from explore.crash_files import (
    BESIDE,
    DSYNC,
    PUNCHED,
    SYNCED,
    UNSYNCED,
    answer,
)

HOLE = SYNCED.replace("512 z", "512 hole").replace("disk f = z", "disk f = 0")
DIRECT = UNSYNCED.replace("512 a", "512 a direct")


@pytest.mark.parametrize("text", [SYNCED, DSYNC, BESIDE, PUNCHED, HOLE, DIRECT])
def test_no_rule_is_broken_today(text: str):
    assert answer(text).broken == broken_with(text, Storage) == {}


def test_a_commit_before_its_data_is_found():
    """(C1), (C2)"""
    rules = broken_with(HOLE, CommitBeforeData)
    assert rules == {
        "durable": "(C1) a of A was synced: f, bytes 0 to 512: bytes that nobody wrote into it",
        "exposed": "(C2) f, bytes 0 to 512: bytes that nobody wrote into it",
    }
    rules = broken_with(SYNCED, CommitBeforeData)
    assert rules == {"durable": "(C1) a of A was synced: f, bytes 0 to 512: z (at first)"}


def test_a_punch_that_was_synced_and_comes_back_is_found():
    """(C1) Zeros are promised as well."""
    rules = broken_with(PUNCHED, NoCommit)
    assert rules == {"durable": "(C1) zeros of A was synced: f, bytes 0 to 512: z (at first)"}


def test_a_length_that_was_synced_and_is_gone_is_found():
    """(C1)"""
    text = """
        file f 0
        A:
            pwrite f 0 512 a
            fsync f
        exists after crash: size f = 512
        """
    assert broken_with(text, NoCommit) == {
        "durable": "(C1) a of A was synced: f, bytes 0 to 512: the file ends before"
    }


def test_a_torn_block_is_found():
    """(C3)"""
    rules = broken_with(DIRECT, TornDisk)
    assert rules == {"torn": "(C3) f, bytes 0 to 512: a part of each of several"}


def test_a_value_that_a_block_was_never_given_is_found():
    """(C3)"""
    rules = broken_with(DIRECT, StrayZeros)
    assert rules == {"torn": "(C3) f, bytes 0 to 512: zeros"}


def test_a_block_that_is_written_in_parts_is_not_torn():
    """(C3) Each part is whole."""
    text = """
        file f 1k unwritten
        A:
            pwrite f 256 512 a
            fsync f
        exists after crash: disk f = !!
        """
    assert (answer(text).observation, answer(text).broken) == ("Sometimes", {})


@pytest.mark.parametrize(
    ("text", "order", "rule"),
    [
        (DSYNC, "ret_before_end", "durable"),
        (BESIDE, "written_at_allocation", "exposed"),
    ],
)
def test_an_order_of_the_past_breaks_a_rule(text: str, order: str, rule: str):
    """(C1) or (C2); and never under today's orders."""
    assert answer(text, order).broken.keys() == {rule}
    assert answer(text).broken == {}


def test_bytes_that_fsync_has_told_of_are_not_promised():
    """The end of an asynchronous write meets a dirty page that has the older bytes; the first fsync
    after it fails, and the second writes them over the newer ones.
    """
    text = """
        file f 1k z
        A:
            aio w = pwrite f 0 512 a direct
            r = reap w
        B:
            mwrite f 512 512 b
            wait A
            s = fsync f
            t = fsync f
        exists after crash: B.s = EIO /\\ B.t = 0 /\\ disk f = zb
        """
    assert (answer(text).observation, answer(text).broken) == ("Sometimes", {})


def test_who_is_left_in_the_middle_was_preempted():
    """A could have gone on, and B goes; that the turns end in between says nothing else."""
    found = answer(BESIDE, "written_at_allocation")
    assert found.witness is not None
    assert found.witness.cost[0] == 1
