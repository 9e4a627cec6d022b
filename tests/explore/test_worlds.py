"""A litmus file on the model: its first state, each operation's result, and names."""

import contextlib

import pytest
from explore.playing import Play, case, play
from hypothesis import given, settings
from hypothesis import strategies as st
from litmus.generating import litmuses

from fusefs.explore.execution import Execution
from fusefs.explore.tasks import OPERATIONS
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.operations import USAGE
from fusefs.litmus.test import Litmus

# -- as it is before anybody runs --------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "cache", "disk", "read"),
    [
        ("file f 2k hole", "----", "0000", "0000"),
        ("file f 2k unwritten", "----", "0000", "0000"),
        ("file f 2k a", "----", "aaaa", "aaaa"),
        ("file f 2k a hole b unwritten", "----", "a0b0", "a0b0"),
        ("file f 2k a hole b unwritten cached", "a0b0", "a0b0", "a0b0"),
        ("file f 1100 a cached", "aaa", "aaa", "aaa."),
        ("file f 1k a*2 unwritten*2 cached", "aa", "aa", "aa.."),
        ("file f 0", "", "", "...."),
    ],
)
@pytest.mark.parametrize("flag", ["", "direct"])
def test_first_state_is_what_is_read(file: str, cache: str, disk: str, read: str, flag: str):
    task = f"A:\n    unlink g\nB:\n    r = pread f 0 2k {flag}\n"
    before = Play(f"{file}\nfile g 0\n{task}").go("A")
    assert before.values("cache f", "disk f") == [cache, disk]
    assert before.finish().value("B.r") == read


def test_what_follows_the_end_of_a_file_in_its_block_is_zeros():
    """(T2) Also in the first state, on the disk and in the cache."""
    played = play("file f 700 a cached\nA:\n    truncate f 1k\n    r = pread f 700 100\n")
    assert played.values("A.r", "disk f", "cache f") == ["0", "a!", "a!"]


def test_blocks_of_files_are_their_own():
    played = play("file f 1k a\nfile g 1k b\nA:\n    r = pread f 0 1k\n    s = pread g 0 1k\n")
    assert played.values("A.r", "A.s") == ["aa", "bb"]


def test_worlds_of_a_case_know_nothing_of_each_other():
    """Or the second run of a search would not begin where the first one did."""
    made = case("file f 1k a cached\nA:\n    r = pread f 0 1k\n    pwrite f 0 1k b direct\n")
    outcomes = []
    for _ in range(2):
        world = made.world()
        execution = Execution(world)
        while enabled := execution.enabled():
            execution.turn(enabled[0])
        outcomes.append(world.outcome())
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["", "A.r"] == "aa"


def test_readahead_and_the_cache_s_limit_are_the_file_s():
    text = "file f 8k a\nA:\n    r = pread f 0 512\n    pread f 4k 1k\n"
    assert play(f"readahead 4k\n{text}").value("cache f") == "aaaa----aa------"
    assert play(f"cache 1k\n{text}").value("cache f") == "--------aa------"
    assert play(text).value("cache f") == "aa------aa------"


# -- each operation ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "operation", "result", "disk", "cache", "size"),
    [
        ("2k a", "pwrite f 512 1k b", "1024", "aaaa", "-bb-", "2048"),
        ("2k a cached", "pwrite f 512 512 b direct", "512", "abaa", "--aa", "2048"),
        ("2k hole", "pwrite f 512 512 b direct", "512", "0b00", "----", "2048"),
        ("2k unwritten", "pwrite f 512 512 b dsync", "512", "0b00", "-b--", "2048"),
        ("1k a", "pwrite f end 1k b append direct", "1024", "aabb", "----", "2048"),
        ("100 a", "pwrite f end 100 b append", "100", "!", "!", "200"),
        ("1k a", "pwrite f 512 1k b direct dsync", "1024", "abb", "---", "1536"),
        ("2k a b a b", "pread f 512 1k", "ba", "abab", "abab", "2048"),
        ("2k a b a b", "pread f 512 1k direct", "ba", "abab", "----", "2048"),
        ("1k a b", "pread f 512 1k", "b.", "ab", "ab", "1024"),
        ("2k a b a b", "pread f 511 2", "ab", "abab", "ab--", "2048"),
        ("1k hole", "falloc f 0 2k", "0", "0000", "----", "2048"),
        ("1k hole", "falloc f 0 2k keep_size", "0", "00", "--", "1024"),
        ("2k a cached", "fpunch f 0 512", "0", "0aaa", "--aa", "2048"),
        ("2k a cached", "fzero f 0 512", "0", "0aaa", "--aa", "2048"),
        ("1k a", "fzero f 512 1k keep_size", "0", "a0", "--", "1024"),
        ("2k a cached", "truncate f 512", "0", "a...", "a...", "512"),
        ("1k a", "truncate f 2k", "0", "aa00", "----", "2048"),
        ("2k hole*2 a*2", "seek_data f 0", "1024", "00aa", "----", "2048"),
        ("2k a*2 hole*2", "seek_hole f 0", "1024", "aa00", "----", "2048"),
        ("2k hole", "seek_data f 0", "ENXIO", "0000", "----", "2048"),
        ("1k a b", "copy_range f 0 512 f 512", "512", "ab", "aa", "1024"),
        ("2k a", "fsync f", "0", "aaaa", "----", "2048"),
        ("2k a", "fdatasync f", "0", "aaaa", "----", "2048"),
        ("2k a", "mwrite f 512 512 b", "0", "aaaa", "ab--", "2048"),
        ("2k a b a b", "mread f 512 1k", "ba", "abab", "abab", "2048"),
        ("1k a", "mread f 1k 512", "EFAULT", "aa", "--", "1024"),
    ],
)
def test_operation(file: str, operation: str, result: str, disk: str, cache: str, size: str):
    played = play(f"file f {file}\nA:\n    r = {operation}\n")
    assert played.values("A.r", "disk f", "cache f", "size f") == [result, disk, cache, size]


def test_every_operation_can_be_run():
    assert USAGE.keys() - OPERATIONS.keys() == {"wait", "reap"}


def test_unknown_order_is_refused():
    with pytest.raises(ValueError, match="no order no_such_thing"):
        case("file f 1k a\nA:\n    fsync f\n", ["no_such_thing"])


def test_dirty_pages_reach_the_disk_with_fsync():
    played = play("file f 1k a\nA:\n    pwrite f 0 512 b\n    fsync f\n")
    assert played.values("disk f", "cache f") == ["ba", "b-"]


def test_error_is_a_result_and_the_task_goes_on():
    """An append that begins within a sector cannot be direct."""
    text = "file f 100 a\nA:\n    r = pwrite f end 512 b append direct\n    s = pread f 0 512\n"
    assert play(text).values("A.r", "A.s") == ["EINVAL", "a"]


def test_copy_between_files_is_told_by_the_letters_of_both():
    played = play("file f 1k a\nfile g 1k b\nA:\n    r = copy_range f 0 512 g 512\n")
    assert played.values("A.r", "cache g", "disk g") == ["512", "-a", "bb"]


def test_block_of_several_letters_is_a_mixture():
    played = play("file f 512 a\nA:\n    pwrite f 100 100 b\n    r = pread f 0 512\n")
    assert played.value("A.r") == "!"


# -- who goes when -----------------------------------------------------------------------


def test_between_two_operations_others_may_go():
    """A's read finds its page cached, without a step of its own."""
    text = "file f 1k a cached\nA:\n    fsync f\n    r = pread f 0 512\nB:\n    pwrite f 0 512 b\n"
    assert Play(text).past("A", "fsync.commit").go("B").finish().value("A.r") == "b"
    assert play(text).value("A.r") == "a"


def test_wait_is_until_the_other_task_has_ended():
    text = """
        file f 1k hole
        A:
            pwrite f 0 512 a
            pwrite f 512 512 b
        B:
            wait A
            r = pread f 0 1k
        """
    played = Play(text).go("B").past("A", "reply").go("B")
    assert played.stands_before("B") == "task.wait"
    assert played.finish().value("B.r") == "ab"


def test_wait_for_a_task_that_has_ended_is_none():
    text = "file f 1k a\nA:\n    fsync f\nB:\n    wait A\n    r = pread f 0 512\n"
    played = Play(text).go("A").go("B")
    assert "task.wait" not in played.seen
    assert played.value("B.r") == "a"


def test_asynchronous_write_is_a_task_that_reap_waits_for():
    text = """
        file f 1k hole
        A:
            aio x = pwrite f 0 512 a direct
            r = pread f 0 512 direct
            s = reap x
            t = pread f 0 512 direct
        """
    played = Play(text).go("A")
    assert played.stands_before("A") == "dio.write.reap"
    assert played.finish().values("A.r", "A.s", "A.t") == ["0", "512", "a"]


def test_end_of_a_task_waits_for_what_it_has_not_reaped():
    text = "file f 1k hole\nA:\n    aio x = pwrite f 0 512 a direct\nB:\n    wait A\n"
    text += "    r = pread f 0 512 direct\n"
    played = Play(text).go("A").go("B")
    assert played.stands_before("B") == "task.wait"
    assert played.finish().value("B.r") == "a"


def test_two_appends_do_not_meet():
    """Although each is stopped right before it submits, if it can be."""
    text = "file f 1k a\nA:\n    r = pwrite f end 512 b append direct\n"
    text += "B:\n    s = pwrite f end 512 c append direct\n"
    played = Play(text).go("A", "dio.write.submit").go("B")
    assert played.stands_before("B") == "lock.inode.exclusive"
    assert played.finish().values("disk f", "size f") == ["aabc", "2048"]


# -- names -------------------------------------------------------------------------------


def test_unlinked_file_is_read_until_its_last_close():
    text = "file f 1k a\nA:\n    unlink f\nB:\n    r = pread f 0 512\nC:\n    s = unlink f\n"
    played = Play(text).go("A")
    assert [inode.ino for inode in played.world.world.unlinked] == [1]
    played.go("B")
    assert played.world.world.unlinked == []
    played.finish()
    assert played.rules == []
    assert played.values("B.r", "C.s") == ["a", "ENOENT"]
    assert played.values("cache f", "disk f", "size f") == ["ENOENT"] * 3


def test_blocks_of_an_unlinked_file_come_free():
    played = play("file f 2k a cached\nfile g 0\nA:\n    unlink f\n    fsync g\n")
    space = played.world.world.fs.space
    assert (space.free_count, space.freed) == (space.block_count - 1, [])


def test_unlinked_file_s_dirty_pages_go_with_it():
    played = play("file f 2k a\nA:\n    pwrite f 0 1k b\n    unlink f\n")
    assert not played.world.world.fs.cache.dirty_count
    assert not played.world.world.fs.inodes_dirty


def test_unlinked_file_waits_for_its_pages_under_writeback():
    """B, which writes back what it finds too much of, has f's page when its last close comes."""
    text = "cache 1k\nfile f 1k a\nfile g 2k a\n"
    text += "A:\n    pwrite f 0 1k b\n    unlink f\nB:\n    pwrite g 0 1k b\n    fsync g\n"
    played = Play(text).past("A", "buffered.write.copy").go("A", "reply")
    played.go("B", "writeback.submit").go("A")
    assert played.world.world.fs.inodes_unlinked == {1}
    played.finish()
    assert played.rules == []
    assert played.world.world.fs.inodes_unlinked == set()
    assert played.world.world.fs.space.freed_count == 0


def test_rename_takes_another_file_s_place():
    text = """
        file f 1k a
        file g 2k c
        A:
            pwrite f 0 512 b
            rename f g
            s = rename f h
        B:
            r = pread g 0 512
        """
    played = play(text)
    assert played.values("disk g", "size g", "disk f", "A.s") == [
        "ba..",
        "1024",
        "ENOENT",
        "ENOENT",
    ]
    assert played.value("B.r") == "c"


def test_rename_to_a_new_name():
    played = play("file f 1k a\nA:\n    r = rename f h\n")
    assert played.values("A.r", "disk h", "size f") == ["0", "aa", "ENOENT"]


@pytest.mark.parametrize("silent", [False, True], ids=["today", "busy_drop_silent"])
def test_asynchronous_write_and_a_buffered_one_collide(silent: bool):
    """(D1) In today's kernel, too: dio_warn_stale_pagecache(), and fsync says so."""
    text = """
        file f 1k unwritten
        A:
            aio x = pwrite f 512 512 b direct
        B:
            pread f 0 512
            pwrite f 0 512 c
            r = fsync f
        """
    played = Play(text, ["busy_drop_silent"] if silent else [])
    played.go("A", "dio.write.submit").past("B", "buffered.read.fill")
    played.past("A", "dio.write.submit").go("B", "reply").go("B", "buffered.write.page_lock")
    played.past("B", "buffered.write.copy").go(2).finish()
    assert played.value("B.r") == ("0" if silent else "EIO")
    told = "(D1) f, bytes 512 to 1024: zeros in the cache, b (of A) on the disk"
    assert played.world.violations() == ([("coherence", told)] if silent else [])


# -- all together ------------------------------------------------------------------------


@given(litmuses(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_today_s_kernel_breaks_no_rule(litmus: Litmus, random):
    """Whatever a file does, and whoever goes next: else a rule would be told that is none."""
    world = LitmusCase(litmus).world()
    execution = Execution(world)
    with contextlib.closing(execution):  # Hypothesis may end the run at any choice
        while enabled := execution.enabled():
            execution.turn(random.choice(enabled))
    assert not execution.is_stuck
    assert world.violations() == []
    assert all(task.error is None for task in execution.tasks)
