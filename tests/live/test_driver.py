"""The live driver alone: an image in memory, trio's own clock, no mount."""

import errno
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from fusefs.engine.events import ASKED, BEGAN, ENDED, GRANTED, Event, Request, parse
from fusefs.explore.memory import World
from fusefs.live.driver import ERRORS_LOGGED_MAX, Driver
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.errors import FsError
from fusefs.model.file_io import commit_names
from fusefs.model.inode import Inode
from fusefs.model.locks import RwLock
from fusefs.model.steps import Step, commit, delay, reach, read_image, write_image


class Outcome:
    """What done() was told, and how often."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, FsError | None]] = []

    def __call__(self, result: Any, error: FsError | None) -> None:
        self.calls.append((result, error))


def make_driver(
    world: World | None = None,
    commit: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    schedule: Any = None,
) -> Driver:
    world = world or World()
    schedule = schedule or Timing(world.fs)
    work = world.fs.work
    return Driver(
        world.image, lambda inode, pos, length: None, commit, Trace(), schedule, work=work
    )


def granted(driver: Driver) -> list[Event]:
    return [event for event in driver.trace.events() if event.event == GRANTED]


def use_by_two(driver: Driver, ino: int) -> None:
    """Threads 1 and 2 have a file of 1 MiB open, for reading and to write direct."""
    for pid in (1, 2):
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_DIRECT):
            driver.schedule.opened(Inode(ino, 1 << 20), pid, flags)


async def write_and_read() -> bytes:
    await write_image("dio.write.submit", 512, b"x" * 512, 0, 512)
    return bytes(await read_image("dio.read.submit", 512, 0, 512))


async def test_a_request_that_need_not_wait_ends_inside_start():
    """(V1) No trio round, no other task: the reply is out before the next request is read."""
    outcome = Outcome()
    make_driver().start(write_and_read(), outcome, "write")
    assert outcome.calls == [(b"x" * 512, None)]


async def test_an_fs_error_reaches_whoever_started_the_request():
    """(V1) An errno of the image's host is thrown into the model at its step."""

    async def beyond_the_end() -> None:
        await read_image("dio.read.submit", 1 << 40, 0, 512)

    outcome = Outcome()
    make_driver().start(beyond_the_end(), outcome, "read")
    ((result, error),) = outcome.calls
    assert result is None
    assert error is not None
    assert error.errno == errno.EIO


async def test_any_other_exception_becomes_eio_and_is_logged(caplog: pytest.LogCaptureFixture):
    """(V1) The request fails, the driver goes on."""

    async def broken() -> None:
        await reach("seek.map", 0, 0)
        raise RuntimeError("ours")

    driver, outcome = make_driver(), Outcome()
    with caplog.at_level(logging.ERROR):
        driver.start(broken(), outcome, "lseek", 7)
    assert [error.errno for _, error in outcome.calls if error] == [errno.EIO]
    assert "lseek of inode 7 failed" in caplog.text
    assert "RuntimeError: ours" in caplog.text
    driver.start(write_and_read(), again := Outcome(), "write")
    assert len(again.calls) == 1
    assert driver.tasks_running == 0


async def test_a_waiter_goes_on_only_after_the_one_who_woke_it_yields():
    """(V2) Whoever releases a lock runs on to its own next step first."""
    lock, order = RwLock("inode"), []

    async def hold() -> None:
        await lock.lock_exclusive()
        await commit("fsync.commit", None)
        lock.unlock_exclusive()
        order.append("released")

    async def wait() -> None:
        await lock.lock_exclusive()
        order.append("taken")
        lock.unlock_exclusive()

    driver = make_driver()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        driver.start(hold(), Outcome(), "fsync")
        driver.start(wait(), Outcome(), "write")
        await driver.call(wait(), "write")
        nursery.cancel_scope.cancel()
    assert order == ["released", "taken", "taken"]


async def test_what_a_request_leaves_to_be_done_begins_when_it_has_ended_or_waits():
    """(V2) In the order in which it was left, each a request of its own, of the same place."""
    order: list[str] = []

    async def rest(name: str) -> None:
        order.append(name)

    async def leaves() -> None:
        world.fs.work.extend((rest("first"), rest("second")))
        order.append("leaves")
        await reach("seek.map", 0, 0)
        world.fs.work.append(rest("third"))
        order.append("ends")

    world = World()
    driver = make_driver(world)
    driver.start(leaves(), outcome := Outcome(), "write", 7, 42, 512, 1024)
    assert (order, outcome.calls) == (["leaves", "ends"], [(None, None)])
    driver.run_ready()
    assert order == ["leaves", "ends", "first", "second", "third"]
    assert (driver.tasks_running, world.fs.work) == (0, [])
    left = [event for event in driver.trace.events() if event.operation == "work"]
    where = {(event.ino, event.pid, event.pos, event.length) for event in left}
    assert where == {(7, 42, 512, 1024)}


async def test_requests_that_wait_for_a_commit_share_it():
    """Two fsyncs that arrive before a commit begins cost one."""
    count = 0

    async def commit_once() -> None:
        nonlocal count
        count += 1

    async def ask() -> None:
        await commit("fsync.commit", None)

    driver, outcomes = make_driver(commit=commit_once), [Outcome(), Outcome()]
    for outcome in outcomes:
        driver.start(ask(), outcome, "fsync")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await driver.call(ask(), "fsync")
        nursery.cancel_scope.cancel()
    assert [len(outcome.calls) for outcome in outcomes] == [1, 1]
    assert count == 1


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(FsError(errno.ENOSPC), errno.ENOSPC), (MemoryError(), errno.EIO)],
    ids=["host full", "out of memory"],
)
async def test_failed_commit_fails_all_who_asked_and_no_one_else(raised: Exception, expected: int):
    """Each gets an exception of its own; the next commit is tried as if nothing had been."""
    failures = [raised]

    async def fail_once() -> None:
        if failures:
            raise failures.pop()

    async def ask() -> None:
        await commit("fsync.commit", None)

    driver, outcomes = make_driver(commit=fail_once), [Outcome(), Outcome()]
    for outcome in outcomes:
        driver.start(ask(), outcome, "fsync")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        with pytest.raises(FsError) as caught:
            await driver.call(ask(), "fsync")
        await driver.call(ask(), "fsync")
        nursery.cancel_scope.cancel()
    errors = [caught.value, *(error for outcome in outcomes for _, error in outcome.calls)]
    assert [error.errno for error in errors if error is not None] == [expected] * 3
    assert len(set(map(id, errors))) == 3


@pytest.mark.parametrize("raised", [MemoryError(), RecursionError(), ZeroDivisionError()], ids=repr)
async def test_exception_at_the_image_is_eio_for_that_request(
    raised: Exception, caplog: pytest.LogCaptureFixture
):
    """(V1) Also one that no disk raises: it is logged with its traceback."""
    world = World()

    class Broken:
        def read_at(self, addr: int, length: int) -> bytes:
            raise raised

        write_at = world.image.write_at

    world.image = Broken()
    make_driver(world).start(write_and_read(), outcome := Outcome(), "read")
    assert [error.errno for _, error in outcome.calls if error] == [errno.EIO]
    assert "Traceback" in caplog.text


async def test_failing_disk_does_not_fill_the_log(caplog: pytest.LogCaptureFixture):
    """Ten lines in five seconds, as printk_ratelimited() has it; each request gets its error."""

    async def beyond_the_end() -> None:
        await read_image("dio.read.submit", 1 << 40, 0, 512)

    driver, outcome = make_driver(), Outcome()
    for _ in range(100):
        driver.start(beyond_the_end(), outcome, "read")
    assert len(outcome.calls) == 100
    assert len(caplog.records) == ERRORS_LOGGED_MAX


async def test_conversions_of_one_file_are_done_in_the_order_of_asking():
    """(Y2) A log is served first come, first served, however long each one takes."""
    driver, order = make_driver(), []
    use_by_two(driver, 1)

    async def convert(number: int) -> None:
        await delay("dio.write.convert", 0, 512, 0.0005)
        order.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        for number in range(20):
            driver.start(convert(number), Outcome(), "write", 1, 1)
        await driver.call(convert(20), "write", 1, 1)
        nursery.cancel_scope.cancel()
    assert order == list(range(21))


async def test_lone_thread_is_converted_inside_start():
    """(Y1) No timer, no round of the loop: it ends before the next request is read."""
    driver = make_driver()
    driver.schedule.opened(Inode(1, 1 << 20), 1, os.O_WRONLY | os.O_DIRECT)

    async def convert() -> None:
        await delay("dio.write.convert", 0, 512, 10.0)

    driver.start(convert(), outcome := Outcome(), "write", 1, 1)
    assert outcome.calls == [(None, None)]
    assert [step.step for step in granted(driver)] == ["dio.write.convert"]


async def test_jitter_pauses_before_a_missing_page_and_nowhere_else():
    """With it, a fill does not end inside start(); without it, it does."""
    world = World()
    world.fs.options = world.fs.options.changed("jitter", "0")
    driver = make_driver(world)
    use_by_two(driver, 1)

    async def fill() -> None:
        await reach("buffered.read.page_lock", 0, 512)

    async def walk() -> None:
        await reach("buffered.read.fill", 0, 512)

    driver.start(fill(), without := Outcome(), "read", 1, 1)
    assert len(without.calls) == 1
    world.fs.options = world.fs.options.changed("jitter", "1ms")
    driver.start(walk(), elsewhere := Outcome(), "read", 1, 1)
    assert len(elsewhere.calls) == 1
    driver.start(fill(), paused := Outcome(), "read", 1, 1)
    assert not paused.calls
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while not paused.calls:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert len(paused.calls) == 1


# -- events ------------------------------------------------------------------------------


async def test_a_step_that_waits_is_granted_later_than_it_is_asked_for():
    driver, inode = make_driver(), Inode(3)
    use_by_two(driver, 3)

    async def convert() -> int:
        await delay("dio.write.convert", 0, 512, 0.001)
        await reach("dio.write.invalidate_post", 0, 512)
        return 512

    driver.start(convert(), outcome := Outcome(), "write", inode.ino, 42, 0, 512, "direct")
    assert [(e.event, e.step) for e in driver.trace.events()] == [
        (BEGAN, "-"),
        (ASKED, "dio.write.convert"),
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while not outcome.calls:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    events = driver.trace.events()
    assert {(e.request, e.operation, e.ino, e.pid) for e in events} == {(1, "write", 3, 42)}
    assert [(e.event, e.step, e.detail) for e in events] == [
        (BEGAN, "-", "direct"),
        (ASKED, "dio.write.convert", "-"),
        (GRANTED, "dio.write.convert", "-"),
        (GRANTED, "dio.write.invalidate_post", "-"),
        (ENDED, "reply", "512"),
    ]
    read_back = parse(driver.trace.text().splitlines())
    assert [e._replace(time_ns=0) for e in read_back] == [e._replace(time_ns=0) for e in events]


async def test_a_wait_names_the_request_that_owns_the_lock():
    driver, inode = make_driver(), Inode(3)

    async def holds() -> None:
        await inode.lock.lock_exclusive()
        await commit("fsync.commit", inode)
        inode.lock.unlock_exclusive()

    async def wants() -> None:
        await inode.lock.lock_shared()
        inode.lock.unlock_shared()
        raise FsError(errno.ENOSPC)

    driver.start(holds(), Outcome(), "fsync", 3)
    driver.start(wants(), outcome := Outcome(), "write", 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while not outcome.calls:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    of_two = [(e.event, e.step, e.detail) for e in driver.trace.events() if e.request == 2]
    assert of_two == [
        (BEGAN, "-", "-"),
        (ASKED, "lock.inode.shared", "1"),
        (GRANTED, "lock.inode.shared", "-"),
        (ENDED, "reply", "ENOSPC"),
    ]


async def test_a_commit_is_granted_when_it_begins():
    """And not when it is done: what became durable lies before that moment."""
    seen: list[str] = []

    async def committing() -> None:
        seen.extend(event.event for event in driver.trace.events())

    driver = make_driver(commit=committing)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await driver.call(commit_names(), "commit")
        nursery.cancel_scope.cancel()
    assert seen == [BEGAN, ASKED, GRANTED]
    assert [event.event for event in driver.trace.events()] == [BEGAN, ASKED, GRANTED, ENDED]


# -- a schedule --------------------------------------------------------------------------


class Held:
    """Holds one step for a time."""

    def __init__(self, name: str) -> None:
        self.watched = {name}

    def until(self, request: Request, step: Step) -> float | None:
        return time.monotonic() + 0.01


@pytest.mark.parametrize(
    ("name", "happened"),
    [("dio.write.submit", False), ("dio.read.submit", True), ("reply", True)],
)
async def test_a_step_that_is_held_is_performed_when_it_is_released(name: str, happened: bool):
    """Also one of the image, and the reply; until then nothing of it has happened."""
    world, outcome = World(), Outcome()
    driver = make_driver(world, schedule=Held(name))
    driver.start(write_and_read(), outcome, "write")
    assert (world.image.read_at(512, 1) == b"x") is happened
    assert outcome.calls == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while not outcome.calls:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert outcome.calls == [(b"x" * 512, None)]


class Holding:
    """A keeper of gates that holds everyone before a step."""

    def __init__(self, name: str) -> None:
        self.gated = {name}
        self.held: list[Any] = []

    def holds(self, task: Any, step: Step) -> bool:
        self.held.append(task)
        return True


@pytest.mark.parametrize("by", ["schedule", "keeper"])
async def test_a_read_whose_reply_is_held_has_what_it_read(by: str):
    """And not what somebody has written into the page since."""
    page, outcome = bytearray(b"old"), Outcome()

    async def reads() -> list[memoryview]:
        return [memoryview(page)]

    keeper = Holding("reply")
    driver = make_driver(schedule=Held("reply") if by == "schedule" else None)
    if by == "keeper":
        driver.keep_gates(keeper)
    driver.start(reads(), outcome, "read")
    page[:] = b"new"
    for task in keeper.held:
        driver.let_go(task)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while not outcome.calls:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert outcome.calls == [([b"old"], None)]


async def test_a_schedule_that_fails_holds_nobody(caplog: pytest.LogCaptureFixture):
    """(V1)"""

    class Failing(Held):
        def until(self, request: Request, step: Step) -> float | None:
            raise ZeroDivisionError("on purpose")

    driver = make_driver(schedule=Failing("dio.write.submit"))
    driver.start(write_and_read(), outcome := Outcome(), "write")
    assert outcome.calls == [(b"x" * 512, None)]
    assert driver.tasks_running == 0
    assert "on purpose" in caplog.text


async def test_a_drop_that_waits_for_a_writeback_names_who_writes_back():
    """And not the one that holds the page lock meanwhile, which is the waiter itself."""
    driver, world = make_driver(), World()
    mapping = Inode(3).mapping
    page = world.fs.cache.insert_locked(mapping, 0)

    async def writes_back() -> None:
        page.begin_writeback()
        page.unlock()
        await commit("fsync.commit", None)
        page.end_writeback()

    driver.start(writes_back(), Outcome(), "writeback", 3)
    drop = world.fs.cache.invalidate_range(mapping, 0, 1)
    driver.start(drop, outcome := Outcome(), "write", 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while not outcome.calls:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    asked = [event for event in driver.trace.events() if event.event == ASKED]
    assert [(e.step, e.detail) for e in asked if e.request == 2] == [("lock.page.writeback", "1")]
