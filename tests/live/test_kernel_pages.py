"""What the kernel is told to drop, and who waits for it: the test answers in the kernel's place."""

import errno
import logging
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
import trio
from live.test_driver import make_driver
from trio.testing import wait_all_tasks_blocked

from fusefs.live.kernel_pages import PAGE_SIZE, PAGES_MAX, WRITES_WAITING_MAX, KernelPages
from fusefs.live.teller import HEADER, MESSAGE, NUMBER, PACKET_MAX, REFUSAL, REPLY, refuse
from fusefs.model.inode import Inode
from fusefs.model.steps import Step

P = PAGE_SIZE


class Kernel:
    """The other end of the socket, and the calls that the tests count."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = trio.socket.from_stdlib_socket(theirs)
        self.driver = make_driver()
        self.pages = KernelPages(self.driver, lambda: self.ours)
        self.inode = Inode(7, 100 * P)
        self.went_on: list[str] = []

    def start(self, coroutine: Coroutine[Step, Any, None], name: str = "then") -> None:
        """A request that waits for the kernel, and is answered then."""
        self.driver.start(coroutine, lambda *_: self.went_on.append(name), "write")

    def changed(
        self, pos: int, length: int, name: str = "then", inode: Inode | None = None
    ) -> None:
        self.start(self.pages.changed(inode or self.inode, pos, length), name)

    def flush(self, pos: int) -> None:
        self.start(self.pages.flush(self.inode, pos))

    async def told(self) -> tuple[bytes, list[tuple[int, int, int]]]:
        """The next packet: its number, and inode, position and length of each message."""
        packet = await self.theirs.recv(PACKET_MAX)
        messages = [*MESSAGE.iter_unpack(packet[NUMBER.size :])]
        assert all(message[:3] == (MESSAGE.size, 2, 0) for message in messages)
        return packet[: NUMBER.size], [message[3:] for message in messages]

    async def nothing_told(self) -> None:
        await wait_all_tasks_blocked()
        with pytest.raises(BlockingIOError):
            self.theirs._sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)

    async def drops(self, number: bytes, error: int = 0) -> None:
        await self.theirs.send(REPLY.pack(*NUMBER.unpack(number), error))
        await wait_all_tasks_blocked()


@pytest.fixture
async def kernel() -> AsyncIterator[Kernel]:
    each = Kernel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(each.pages.run)
        yield each
        nursery.cancel_scope.cancel()
    each.ours.close()
    each.theirs.close()


async def test_nothing_is_told_of_pages_that_the_kernel_has_not_read(kernel: Kernel):
    kernel.pages.filled(kernel.inode, 3 * P, P)
    kernel.changed(4 * P, 10 * P)
    assert kernel.went_on == ["then"]
    await kernel.nothing_told()


async def test_change_is_answered_when_the_kernel_has_dropped_its_pages(kernel: Kernel):
    """(O1) They are told in one message, from the first to the last; a second change has none."""
    kernel.pages.filled(kernel.inode, 3 * P, 2 * P)
    kernel.pages.filled(kernel.inode, 8 * P, 100)
    kernel.changed(3 * P + 17, 20 * P)
    number, messages = await kernel.told()
    assert messages == [(7, 3 * P, 6 * P)]
    assert (kernel.went_on, kernel.driver.tasks_running) == ([], 1)
    kernel.changed(3 * P, P, "second")
    assert kernel.went_on == ["second"]
    await kernel.drops(number)
    assert kernel.went_on == ["second", "then"]
    assert kernel.driver.tasks_running == 0


async def test_page_that_is_read_while_the_kernel_is_told_is_noted_again(kernel: Kernel):
    """(O1) It may be newer than what was told, or not."""
    kernel.pages.filled(kernel.inode, 0, P)
    kernel.changed(0, P)
    number, _ = await kernel.told()
    kernel.pages.filled(kernel.inode, 0, P)
    await kernel.drops(number)
    kernel.changed(0, P)
    assert (await kernel.told())[1] == [(7, 0, P)]


async def test_inode_that_the_kernel_has_forgotten_is_no_error(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
):
    for error, logged in ((errno.ENOENT, False), (errno.EINVAL, True)):
        kernel.pages.filled(kernel.inode, 0, P)
        kernel.changed(0, P)
        await kernel.drops((await kernel.told())[0], error)
        assert bool(caplog.records) == logged
    assert len(kernel.went_on) == 2


async def test_few_writes_wait_for_the_kernel_at_a_time(kernel: Kernel):
    """(O2) What the kernel waits for needs a place among the asynchronous requests, too."""
    for page in range(WRITES_WAITING_MAX + 1):
        kernel.pages.filled(kernel.inode, page * P, P)
        kernel.changed(page * P, P, str(page))
    assert kernel.went_on == [str(WRITES_WAITING_MAX)]
    numbers = [(await kernel.told())[0] for _ in range(WRITES_WAITING_MAX + 1)]
    for number in numbers:
        await kernel.drops(number)
    assert sorted(kernel.went_on, key=int) == [str(i) for i in range(WRITES_WAITING_MAX + 1)]
    kernel.pages.filled(kernel.inode, 0, P)
    kernel.changed(0, P)  # there are places again
    assert kernel.went_on[-1] != "then"


async def test_flush_reaches_to_the_end_and_is_not_asked_for_twice(kernel: Kernel):
    kernel.pages.filled(kernel.inode, 5 * P, 3 * P)
    kernel.flush(6 * P + 1)
    number, messages = await kernel.told()
    assert messages == [(7, 6 * P, 0)]
    assert kernel.went_on == []
    await kernel.drops(number)
    assert kernel.went_on == ["then"]
    kernel.flush(6 * P)
    assert kernel.went_on == ["then", "then"]
    kernel.flush(0)  # page 5 is still there
    assert (await kernel.told())[1] == [(7, 0, 0)]


async def test_flush_waits_for_what_another_has_not_yet_had_written_back(kernel: Kernel):
    """The pages are not noted any more, but the kernel is only about to write them."""
    kernel.pages.filled(kernel.inode, 5 * P, P)
    kernel.flush(0)
    first, _ = await kernel.told()
    kernel.flush(0)
    second, messages = await kernel.told()
    assert messages == [(7, 0, 0)]
    await kernel.drops(first)
    assert kernel.went_on == ["then"]
    await kernel.drops(second)
    assert kernel.went_on == ["then", "then"]


async def test_of_a_file_with_too_many_pages_any_may_be_held(kernel: Kernel):
    kernel.pages.filled(kernel.inode, 0, (PAGES_MAX + 1) * P)
    other = Inode(8, P)
    kernel.pages.filled(other, 0, P)
    kernel.changed((PAGES_MAX + 50) * P, 2 * P)
    assert (await kernel.told())[1] == [(7, (PAGES_MAX + 50) * P, 2 * P)]
    kernel.changed(0, P, inode=other)
    assert (await kernel.told())[1] == [(8, 0, P)]


async def test_page_in_which_the_file_ended_is_dropped_when_it_grows(kernel: Kernel):
    """Until then, what the kernel writes back of it ends where the file did."""
    inode = kernel.inode
    inode.size = 9 * P + 100
    kernel.pages.filled(inode, 9 * P, P)
    inode.grow_to(20 * P)
    assert inode.counted(9 * P, 10 * P) == [(9 * P, 9 * P + 100)]
    kernel.changed(15 * P, P)
    number, messages = await kernel.told()
    assert messages == [(7, 9 * P, P)]
    await kernel.drops(number)
    assert inode.counted(9 * P, 10 * P) == [(9 * P, 10 * P)]


async def test_growth_while_the_kernel_is_told_of_one_waits_for_its_own(kernel: Kernel):
    inode = kernel.inode
    inode.size = 100
    kernel.pages.filled(inode, 0, P)
    inode.grow_to(200)
    kernel.changed(150, 50)
    first, _ = await kernel.told()
    inode.grow_to(300)
    kernel.pages.truncated(inode)
    second, messages = await kernel.told()
    assert messages == [(7, 0, P)]
    await kernel.drops(first)
    assert inode.counted(0, P) == [(0, 100)]
    await kernel.drops(second)
    assert inode.counted(0, P) == [(0, 300)]


async def test_kernel_that_is_told_although_nobody_waits_is_no_request(kernel: Kernel):
    """Whoever counts requests counts those alone; but trio gets its turn at once."""
    kernel.inode.size = 100
    kernel.pages.filled(kernel.inode, 0, P)
    kernel.inode.grow_to(200)
    kernel.pages.truncated(kernel.inode)
    number, _ = await kernel.told()
    assert kernel.driver.tasks_running == kernel.driver.statistics()["under_way"] == 0
    assert not kernel.driver.run_ready()
    await kernel.drops(number)
    assert kernel.driver.run_ready()


async def test_page_that_is_read_after_a_growth_counts_to_its_end(kernel: Kernel):
    inode = kernel.inode
    inode.size = 100
    kernel.pages.filled(inode, 0, P)
    inode.grow_to(P)
    kernel.pages.filled(inode, 0, P)
    assert inode.counted(0, P) == [(0, P)]


async def test_last_close_forgets_the_pages(kernel: Kernel):
    """The next open(2) makes the kernel drop them."""
    kernel.pages.filled(kernel.inode, 0, P)
    kernel.pages.released(kernel.inode)
    assert kernel.inode.kernel_page == 0
    kernel.pages.filled(kernel.inode, P, P)
    kernel.changed(0, P)
    assert kernel.went_on == ["then"]


async def test_nobody_waits_for_a_teller_that_has_ended(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
):
    kernel.pages.filled(kernel.inode, 0, 2 * P)
    kernel.changed(0, P)
    await kernel.told()
    kernel.theirs.close()
    await wait_all_tasks_blocked()
    assert kernel.went_on == ["then"]
    kernel.changed(P, P)
    assert kernel.went_on == ["then", "then"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_nobody_waits_at_the_end_of_the_mount(kernel: Kernel):
    kernel.pages.filled(kernel.inode, 0, P)
    kernel.changed(0, P)
    kernel.pages.abandon()
    assert (kernel.went_on, kernel.driver.tasks_running) == (["then"], 0)


def test_teller_refuses_what_a_daemon_that_has_ended_was_asked():
    device, kernel_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with device, kernel_end:
        kernel_end.send(HEADER.pack(40, 15, 1234) + bytes(24))
        assert refuse(device.fileno())
        assert REFUSAL.unpack(kernel_end.recv(100)) == (REFUSAL.size, -errno.ECONNABORTED, 1234)
