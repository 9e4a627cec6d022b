"""Who has to wait, and who need not: the rule alone, on a clock that stands still."""

import os

import pytest

from fusefs.explore.memory import World
from fusefs.live.timing import IDLE_S, JUST_S, TRY_S, Opened, Timing
from fusefs.model.inode import Inode

MEAN_S = 0.001
"""What each delay takes here: draw() gives the mean."""

A, B, C = 101, 102, 103
"""Threads."""

READ = os.O_RDONLY
WRITE_DIRECT = os.O_WRONLY | os.O_DIRECT
READ_DIRECT = os.O_RDONLY | os.O_DIRECT

PAGES = 16


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Users:
    """A file of PAGES pages, and threads that use it."""

    def __init__(self) -> None:
        self.world = World(page_size=1024)
        self.world.fs.options = self.world.fs.options.changed("jitter", "1ms")
        self.clock = Clock()
        self.timing = Timing(self.world.fs, self.clock, lambda mean_s: mean_s)
        self.inode = Inode(7, PAGES * 1024)

    def open(self, pid: int, flags: int) -> Opened:
        return self.timing.opened(self.inode, pid, flags)

    def writes(self, opened: Opened, pid: int) -> None:
        self.timing.arrives(opened, pid, True, True)

    def reads(self, opened: Opened, pid: int) -> None:
        self.timing.arrives(opened, pid, False, False)

    def conversion_s(self, pid: int, pos: int = 0) -> float:
        """How long a conversion takes that begins now."""
        done = self.timing.conversion(self.inode.ino, pid, pos, MEAN_S)
        return 0.0 if done is None else done - self.clock.now

    def fill_s(self, pid: int) -> float:
        return self.timing.fill_pause(self.inode.ino, pid)

    @property
    def delays(self) -> int:
        delays = self.timing.delays
        return delays.conversions_delayed + delays.fills_delayed


@pytest.fixture
def users() -> Users:
    return Users()


# -- conversions ---------------------------------------------------------------------------


def test_conversion_takes_time_while_another_thread_may_read_the_file(users: Users):
    """(Y1) The bug must be found: another has just opened it, and has not said a word yet."""
    writing = users.open(A, WRITE_DIRECT)
    users.open(B, READ)
    users.clock.now += IDLE_S / 2
    users.writes(writing, A)
    assert users.conversion_s(A) == pytest.approx(MEAN_S)


def test_reader_who_does_not_read_counts_no_more_until_he_does(users: Users):
    """A parent that keeps a file open for its children, who write, and waits for them."""
    writing, reading = users.open(A, WRITE_DIRECT), users.open(B, os.O_RDWR)
    users.clock.now += 2 * IDLE_S
    users.writes(writing, A)
    assert users.conversion_s(A) == 0
    users.reads(reading, B)
    assert users.conversion_s(A) > 0
    users.clock.now += 2 * IDLE_S
    assert users.conversion_s(A) == 0


def test_writer_does_not_meet_what_he_reads_himself(users: Users):
    """Of two who had it open to read, the one who reads is the one who writes."""
    writing, reading = users.open(A, WRITE_DIRECT), users.open(A, READ)
    users.open(B, READ)
    users.clock.now += 2 * IDLE_S
    for _ in range(3):
        users.reads(reading, A)
        users.writes(writing, A)
        waited = users.conversion_s(A)
        users.clock.now += MEAN_S
    assert waited == 0


def test_descriptor_that_several_use_is_read_by_each(users: Users):
    """It is one open file, of a parent and its children."""
    both = users.open(A, os.O_RDWR)
    users.writes(both, A)
    users.writes(both, B)
    users.clock.now += 2 * IDLE_S
    assert users.conversion_s(B) == 0
    users.reads(both, A)
    assert users.conversion_s(B) > 0


@pytest.mark.parametrize(
    "flags",
    [WRITE_DIRECT, READ_DIRECT, os.O_WRONLY, os.O_RDWR | os.O_DIRECT],
    ids=["direct writer", "direct reader", "buffered writer", "direct both"],
)
def test_nobody_waits_for_those_who_fill_no_page(users: Users, flags: int):
    """(Y1) They go around the cache, or are kept out by the lock until the conversion is done."""
    writing = users.open(A, WRITE_DIRECT)
    users.open(B, flags)
    users.writes(writing, A)
    assert users.conversion_s(A) == 0
    assert users.delays == 0


def test_lone_direct_writer_waits_for_nothing(users: Users):
    """(Y1) However often it opens, and whatever it opened before."""
    for _ in range(3):
        opened = users.open(A, WRITE_DIRECT)
        for _ in range(100):
            users.writes(opened, A)
            assert users.conversion_s(A) == 0
        users.timing.closed(opened)
    assert users.delays == 0


def test_reader_that_has_just_closed_the_file_counts(users: Users):
    """A parent prepares a file, closes it and forks: the first child is not alone."""
    users.timing.closed(users.open(A, os.O_RDWR))
    users.open(B, WRITE_DIRECT)
    assert users.conversion_s(B) == pytest.approx(MEAN_S)
    assert users.conversion_s(A) == 0, "nobody else was there"
    users.clock.now += 2 * JUST_S
    assert users.conversion_s(B) == 0


def test_reader_that_closed_counts_although_the_writer_closed_a_reader_of_its_own_since(
    users: Users,
):
    """Somebody else closed it less than JUST_S ago, whoever did so last."""
    for pid in (A, B):
        users.timing.closed(users.open(pid, os.O_RDWR))
        users.clock.now += JUST_S / 4
    users.open(B, WRITE_DIRECT)
    assert users.conversion_s(B) == pytest.approx(MEAN_S)
    assert users.conversion_s(A) > 0
    users.clock.now += JUST_S * 0.6
    assert users.conversion_s(B) == 0
    assert users.conversion_s(A) > 0, "B's is not as long ago"


def test_what_lies_behind_the_last_page_is_converted_unseen(users: Users):
    """(Y1) No page is filled there before the size rises; in the last page, one may be."""
    users.open(A, WRITE_DIRECT)
    users.open(B, READ)
    users.inode.size -= 512
    assert users.conversion_s(A, PAGES * 1024) == 0
    assert users.conversion_s(A, PAGES * 1024 - 512) > 0


def test_conversions_of_one_file_queue(users: Users):
    """(Y2) Each begins when the last that was asked for is done."""
    for pid in (A, B, C):
        users.open(pid, os.O_RDWR)
    assert [users.conversion_s(pid) for pid in (A, B, C)] == pytest.approx(
        [MEAN_S, 2 * MEAN_S, 3 * MEAN_S]
    )


def test_no_conversion_delay_still_lets_others_go_first(users: Users):
    """With conversion_delay=0 somebody else is served between the data and the conversion."""
    users.open(A, WRITE_DIRECT)
    users.open(B, READ)
    assert users.timing.conversion(users.inode.ino, A, 0, 0.0) == users.clock.now
    assert users.delays == 0


def test_direct_reader_counts_where_the_size_is_raised_first(users: Users):
    """Under isize_before_convert he sees blocks that are not converted; else he does not."""
    users.open(A, WRITE_DIRECT)
    users.open(B, READ_DIRECT)
    assert users.conversion_s(A) == 0
    users.world.fs.set_options(users.world.fs.options.changed("order", "isize_before_convert"))
    assert users.conversion_s(A) > 0


# -- one thread that reads what it writes ---------------------------------------------------


def test_thread_that_reads_back_is_tried_now_and_then(users: Users):
    """(Y1) One conversion in each TRY_S, and no more: it waits for each of its requests."""
    writing, reading = users.open(A, WRITE_DIRECT), users.open(A, READ)
    waits = []
    for _ in range(100):
        users.writes(writing, A)
        waits.append(users.conversion_s(A))
        users.clock.now += max(waits[-1], TRY_S / 40)
        users.reads(reading, A)
    assert sum(wait > 0 for wait in waits) in (3, 4)


def test_thread_with_asynchronous_writes_meets_itself(users: Users):
    """It has sent the next request while the tried conversion was under way."""
    writing, reading = users.open(A, WRITE_DIRECT), users.open(A, READ)
    users.writes(writing, A)
    assert users.conversion_s(A) > 0
    users.reads(reading, A)
    for _ in range(10):
        users.writes(writing, A)
        assert users.conversion_s(A) > 0
    users.clock.now += 2 * TRY_S
    assert [users.conversion_s(A) > 0 for _ in range(2)] == [True, False]


# -- whose an open file is ------------------------------------------------------------------


def test_open_file_is_his_who_uses_it_first(users: Users):
    """A shell opens, its child reads and writes: the child is alone."""
    reading, writing = users.open(A, READ), users.open(A, WRITE_DIRECT)
    users.clock.now += 2 * JUST_S
    users.reads(reading, B)
    users.writes(writing, B)
    assert users.conversion_s(B) > 0, "the try of a thread that reads back"
    assert users.conversion_s(B) == 0
    assert users.fill_s(B) == 0


def test_open_file_that_several_use_is_everybodys(users: Users):
    """Threads that share descriptors race as processes do."""
    reading, writing = users.open(A, READ), users.open(A, WRITE_DIRECT)
    users.reads(reading, A)
    users.reads(reading, B)
    for pid in (A, B):
        users.writes(writing, pid)
        assert users.conversion_s(pid) > 0
    users.timing.closed(reading)
    users.timing.closed(writing)


def test_flags_that_were_switched_after_the_open_count(users: Users):
    """fcntl(F_SETFL) takes O_DIRECT away: the open file reads through the cache from then on."""
    users.open(A, WRITE_DIRECT)
    reading = users.open(B, READ_DIRECT)
    assert users.conversion_s(A) == 0
    users.reads(reading, B)
    assert users.conversion_s(A) > 0
    users.timing.closed(reading)
    users.clock.now += 2 * JUST_S
    assert users.conversion_s(A) == 0


# -- fills ------------------------------------------------------------------------------------


def test_fill_waits_if_somebody_else_has_just_written_direct(users: Users):
    """The bug must be found: a read that comes a little too early meets the next writer."""
    reading, writing = users.open(A, READ), users.open(B, WRITE_DIRECT)
    users.reads(reading, A)
    users.clock.now += 60
    assert users.fill_s(A) == 0, "B has not written for a minute"
    users.writes(writing, B)
    assert users.fill_s(A) == MEAN_S
    assert users.fill_s(B) == 0, "its own write"
    users.clock.now += 2 * JUST_S
    assert users.fill_s(A) == 0


def test_fill_waits_for_the_other_writer_although_it_wrote_last_itself(users: Users):
    """Each of several children writes, and reads back at once."""
    users.open(A, READ)
    writing = {pid: users.open(pid, WRITE_DIRECT) for pid in (A, B)}
    users.clock.now += 60
    for pid in (B, A, A):
        users.writes(writing[pid], pid)
    assert users.fill_s(A) == MEAN_S


def test_fill_waits_for_whoever_opens_to_write_direct(users: Users):
    """It has not written yet, but is about to."""
    users.open(A, READ)
    users.open(B, WRITE_DIRECT)
    assert users.fill_s(A) == MEAN_S


def test_fill_waits_for_a_write_that_began_before_anybody_had_the_file_open_to_read(users: Users):
    """However long the writer had it open; and his own do not count."""
    writing = users.open(B, WRITE_DIRECT)
    users.clock.now += 60
    users.writes(writing, B)
    users.clock.now += JUST_S / 10
    for pid in (A, B):
        users.open(pid, READ)
    assert users.fill_s(A) == MEAN_S
    assert users.fill_s(B) == 0


@pytest.mark.parametrize("others", [(), (C,), (C, C + 1), (C, C + 1, C)], ids=str)
def test_fill_waits_for_a_conversion_whoever_wrote_after_it_began(
    users: Users, others: tuple[int, ...]
):
    """They overwrite what was written before, and have ended long before it."""
    users.open(A, READ)
    writing = {pid: users.open(pid, WRITE_DIRECT) for pid in (B, *others)}
    users.writes(writing[B], B)
    users.timing.conversion(users.inode.ino, B, 0, 5.0)
    for pid in others:
        users.writes(writing[pid], pid)
    users.clock.now += 4
    assert users.fill_s(A) == MEAN_S
    assert users.fill_s(B) == 0


def test_fill_waits_while_a_conversion_is_under_way(users: Users):
    """However long conversion_delay is."""
    users.open(A, READ)
    writing = users.open(B, WRITE_DIRECT)
    users.writes(writing, B)
    users.timing.conversion(users.inode.ino, B, 0, 5.0)
    users.clock.now += 4
    assert users.fill_s(A) == MEAN_S


def test_lone_reader_waits_for_nothing(users: Users):
    """(Y1) Nor does one of many readers."""
    for pid in (A, B, C):
        users.reads(users.open(pid, READ), pid)
    assert [users.fill_s(pid) for pid in (A, B, C)] == [0, 0, 0]
    assert users.delays == 0


def test_other_files_do_not_count(users: Users):
    """(Y1) Somebody else is somebody in the same file."""
    users.open(A, WRITE_DIRECT)
    other = Inode(8, 1024)
    users.timing.opened(other, C, READ)
    users.writes(users.timing.opened(other, B, WRITE_DIRECT), B)
    assert users.conversion_s(A) == 0
    assert users.fill_s(A) == 0
    assert users.delays == 0


def test_no_jitter_means_no_pause(users: Users):
    users.world.fs.options = users.world.fs.options.changed("jitter", "0")
    users.open(A, READ)
    users.open(B, WRITE_DIRECT)
    assert users.fill_s(A) == 0
    assert users.delays == 0


# -- what is remembered ------------------------------------------------------------------------


def test_files_are_forgotten_soon_after_their_last_close(users: Users):
    """However many are opened in turn, few are remembered."""
    for ino in range(1000):
        users.timing.closed(users.timing.opened(Inode(ino), A, os.O_RDWR))
        users.clock.now += JUST_S / 10
    assert len(users.timing._files) <= 12
    assert users.timing._files.keys() == users.timing._closed.keys()


def test_threads_that_come_and_go_leave_nothing_behind(users: Users):
    """What is kept follows the open files, however long one of them stays open."""
    users.open(A, os.O_RDWR)
    for pid in range(200, 1200):
        opened = users.open(pid, os.O_RDWR)
        users.writes(opened, pid)
        users.conversion_s(pid)
        users.timing.closed(opened)
    file = users.timing._files[users.inode.ino]
    assert len(file.readers) == 1
    assert not file.writers
    assert not file.converting
