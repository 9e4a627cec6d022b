""".fusefs/gates as a client has it open: what is written, and what is read of it."""

import errno
import json
import os
from typing import Any

import pytest

from fusefs.engine.events import Request as Arrived
from fusefs.live.gatekeeper import Gatekeeper
from fusefs.live.requests.gate_files import COMMAND_BYTES_MAX, GateFile
from fusefs.live.trace import Trace
from fusefs.live.under_way import LiveTask, Waiting
from fusefs.model.errors import FsError
from fusefs.model.steps import reach


class Driver:
    """What a keeper needs of one."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.waiting = Waiting()
        self.gone_on: list[LiveTask] = []
        self.let_go = self.gone_on.append

    def keep_gates(self, keeper: Gatekeeper) -> None:
        self.keeper = keeper


class Request:
    """One of the kernel's; answer is what it was answered with."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.interrupt: Any = None

    def when_interrupted(self, call: Any) -> None:
        self.interrupt = call

    def reply_write(self, count: int) -> None:
        self.answer = count

    def reply_buf(self, data: bytes) -> None:
        self.answer = data

    def reply_done(self, nothing: None, error: FsError) -> None:
        self.answer = error.errno


class Client:
    """One open file."""

    def __init__(self, keeper: Gatekeeper, number: int = 7, flags: int = os.O_RDWR) -> None:
        self.kept, self.most = 0, 4000
        self.file = GateFile(keeper, number, flags, self.account)

    def account(self, count: int) -> None:
        if count > 0 and self.kept + count > self.most:
            raise FsError(errno.ENFILE)
        self.kept += count

    def write(self, command: str) -> Any:
        request = Request()
        try:
            self.file.write(request, command.encode())  # type: ignore[arg-type]
        except FsError as error:
            return -error.errno
        return request if request.answer is None else request.answer

    def read(self, size: int = 4096) -> Any:
        request = Request()
        try:
            self.file.read(request, size)  # type: ignore[arg-type]
        except FsError as error:
            return -error.errno
        return request if request.answer is None else request.answer

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read().splitlines()]


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    Gatekeeper(driver, None)  # type: ignore[arg-type]
    return driver


@pytest.fixture
def client(driver: Driver) -> Client:
    return Client(driver.keeper)


async def step() -> None:
    await reach("seek.map", 0, 0)


def arrives(driver: Driver, number: int = 1) -> bool:
    """A request stands before seek.map."""
    task = LiveTask(step(), lambda result, error: None, Arrived(number, 0, "lseek", 5, 42))
    try:
        return driver.keeper.holds(task, task.advance(None, None))
    finally:
        task.close()


def test_answer_is_read_once_wherever_it_is_read_from(client: Client):
    assert client.write("hold seek.map as a") == 18
    first = client.read(5)
    assert first == b'{"nam'
    assert json.loads(first + client.read())["name"] == "a"
    assert client.read() == b""


def test_who_asks_for_nothing_reads_the_list(driver: Driver, client: Client):
    client.write("hold seek.map as a")
    other = Client(driver.keeper, 8)
    assert [gate["name"] for gate in other.answers()] == ["a"]
    assert other.read() == b""


def test_several_lines_are_several_commands(client: Client):
    client.write("hold begin as a\nhold reply as b\n\nlist\n")
    assert [answer["name"] for answer in client.answers()] == ["a", "b", "a", "b"]


def test_read_waits_for_the_answer_to_a_wait(driver: Driver, client: Client):
    client.write("hold seek.map as a")
    assert client.write("wait a") == 6
    read = client.read()
    assert isinstance(read, Request)
    assert client.read() == -errno.EBUSY
    assert client.write("list") == -errno.EBUSY
    assert arrives(driver)
    assert json.loads(read.answer)["request"] == 1
    client.write("wait a")
    assert json.loads(client.read())["request"] == 1, "at once"


def test_byte_by_byte_too(driver: Driver, client: Client):
    """As a shell's read does."""
    client.write("hold seek.map as a")
    client.write("wait a")
    read = client.read(1)
    arrives(driver)
    text = read.answer
    while piece := client.read(1):
        text += piece
    assert json.loads(text)["request"] == 1


def test_who_cannot_read_waits_in_the_write(driver: Driver):
    client = Client(driver.keeper, flags=os.O_WRONLY)
    client.write("hold seek.map as a")
    write = client.write("wait a")
    assert isinstance(write, Request)
    assert arrives(driver)
    assert write.answer == 6
    client.write("hold seek.map as b")
    write = client.write("wait b")
    client.write("release b")
    driver.keeper.release_all()
    assert write.answer == errno.ENOENT


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY], ids=["read", "write"])
def test_signal_ends_the_wait(driver: Driver, flags: int):
    client = Client(driver.keeper, flags=flags)
    client.write("hold seek.map as a")
    waits = client.write("wait a")
    if flags == os.O_RDWR:
        waits = client.read()
    waits.interrupt()
    driver.keeper._reached.popleft()()
    assert waits.answer == errno.EINTR
    assert arrives(driver)
    client.file.close()


def test_close_takes_the_gates_along_but_those_that_are_kept(driver: Driver, client: Client):
    client.write("hold seek.map as a")
    client.write("hold seek.map as b keep")
    assert arrives(driver)
    client.file.close()
    assert [gate["name"] for gate in driver.keeper.reports()] == ["b"]
    driver.keeper.release("b")
    assert [task.number for task in driver.gone_on] == [1]
    assert client.kept == 0


def test_bad_command_is_an_errno_and_a_line(client: Client):
    assert client.write("hold nothing") == -errno.EINVAL
    (answer,) = client.answers()
    assert answer["errno"] == "EINVAL"
    assert client.write("release a") == -errno.ENOENT
    assert client.write("x" * (COMMAND_BYTES_MAX + 1)) == -errno.EINVAL
    assert client.write("wait a now") == -errno.EINVAL
    assert client.write("wait") == -errno.EINVAL
    assert client.write("release a b") == -errno.EINVAL


def test_too_much_that_nobody_reads_is_refused_and_nobody_is_lost(driver: Driver, client: Client):
    for name in "abcd":
        client.write(f"hold seek.map as {name}")
    client.most = 300
    assert client.write("list") == -errno.ENFILE
    client.most = 0
    client.write("wait a")
    read = client.read()
    assert arrives(driver), "whoever waits cannot be told, and the request is held all the same"
    assert read.answer == b""
    driver.keeper.release_all()
    assert len(driver.gone_on) == 1
