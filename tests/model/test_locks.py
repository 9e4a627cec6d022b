"""The inode lock and invalidate_lock: who may hold them together, and who comes next."""

import pytest
from model.driving import Task

from fusefs.engine import task as engine
from fusefs.explore.memory import World
from fusefs.model.locks import RwLock


class Holders:
    """A lock, and tasks that ask for it."""

    def __init__(self) -> None:
        self.lock = RwLock("inode")
        self.world = World()

    def shared(self) -> Task:
        return Task(self.world, self.lock.lock_shared())

    def exclusive(self) -> Task:
        return Task(self.world, self.lock.lock_exclusive())


@pytest.fixture
def holders() -> Holders:
    return Holders()


def test_free_lock_is_taken_without_a_step(holders):
    assert holders.shared().names == []
    holders.lock.unlock_shared()
    assert holders.exclusive().ended
    assert holders.lock.held_exclusive


def test_shared_holders_share(holders):
    assert all(holders.shared().ended for _ in range(3))


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("shared", "exclusive", "lock.inode.exclusive"),
        ("exclusive", "shared", "lock.inode.shared"),
        ("exclusive", "exclusive", "lock.inode.exclusive"),
    ],
)
def test_exclusive_excludes_until_it_is_handed_over(holders, first, second, name):
    getattr(holders, first)()
    waiting = getattr(holders, second)()
    assert waiting.waits
    getattr(holders.lock, f"unlock_{first}")()
    waiting.finish()
    assert waiting.names == [name]


def test_waiting_exclusive_holds_back_later_shared(holders):
    """Nobody starves: first come, first served, as in rwsem."""
    holders.shared()
    writer, reader = holders.exclusive(), holders.shared()
    assert writer.waits
    assert reader.waits
    holders.lock.unlock_shared()
    assert not writer.waits
    assert reader.waits
    holders.lock.unlock_exclusive()
    assert not reader.waits


def test_handed_over_lock_is_held_before_its_owner_runs(holders):
    """Nobody slips in between the unlock and the owner's next step."""
    holders.shared()
    writer = holders.exclusive()
    holders.lock.unlock_shared()
    assert holders.lock.held_exclusive
    assert holders.shared().waits
    writer.finish()


def test_all_shared_that_wait_next_go_together(holders):
    holders.exclusive()
    readers = [holders.shared(), holders.shared()]
    writer = holders.exclusive()
    holders.lock.unlock_exclusive()
    assert [task.waits for task in (*readers, writer)] == [False, False, True]


def test_demoted_lock_lets_readers_in_but_no_writer(holders):
    """A direct write beyond i_size is exclusive only while it zeroes the gap."""
    holders.exclusive()
    reader, writer = holders.shared(), holders.exclusive()
    holders.lock.demote()
    assert not reader.waits
    assert writer.waits
    assert not holders.lock.held_exclusive


@pytest.mark.parametrize("release", ["unlock_shared", "unlock_exclusive", "demote"])
def test_release_of_a_free_lock_is_our_fault(holders, release):
    with pytest.raises(AssertionError, match="of a lock that is not"):
        getattr(holders.lock, release)()


def test_those_who_wait_wait_for_whoever_has_got_the_lock():
    """And no longer for him who had it when they asked."""
    lock = RwLock("inode")
    first, second, third, reader = (
        engine.Task(asks(), number)
        for number, asks in enumerate([lock.lock_exclusive] * 3 + [lock.lock_shared], 1)
    )
    for task in (first, second, third, reader):
        task.advance(None, None)
    owners = []
    for _ in range(2):
        owners.append([task.step.waiter.owner for task in (second, third, reader) if task.waits])
        lock.unlock_exclusive()
    owners.append([task.step.waiter.owner for task in (second, third, reader) if task.waits])
    assert owners == [[1, 1, 1], [2, 2], [3]]
    lock.unlock_exclusive()
    for task in (second, third, reader):
        task.close()
