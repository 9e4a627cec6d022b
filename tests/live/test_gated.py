"""Requests that are answered in one turn, as the driver's while a gate names them; no mount."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from crash.failing import Daemon, Reply

from fusefs.engine.events import ENDED
from fusefs.engine.gate import AT_ONCE
from fusefs.engine.held import MOUNT
from fusefs.live.requests.control import CONTROL_INO
from fusefs.live.requests.gated import OPERATIONS
from fusefs.model.errors import FsError
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.options import Options
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.volume import make_image


class KeptReply(Reply):
    """A request whose answer may be kept; sent is what the kernel has."""

    def __init__(self) -> None:
        super().__init__()
        self.call: Callable[[], object] | None = None
        self.sent: list[tuple[int, Any]] = []

    def keep_answer(self, call: Callable[[], object]) -> None:
        self.call = call

    @property
    def kept_errno(self) -> int:
        return self.answers[0][0]

    def _answer(self, value: Any, error: FsError | None = None) -> None:
        super()._answer(value, error)
        if self.call is None:
            self.sent = self.answers
        else:
            self.call()

    def send_kept(self, nothing: None = None, error: FsError | None = None) -> None:
        self.sent = self.answers or [(error.errno if error else 0, None)]

    def reply_statx(self, *shown: object) -> None:
        self._answer(shown)

    def reply_entries(self) -> None:
        self._answer([])

    def add(self, *entry: object) -> bool:
        return False


class Mounted:
    """A daemon, and requests as the extension hands them over."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.keeper = daemon.control.keeper

    def ask(self, method: Callable[..., None], *arguments: Any) -> KeptReply:
        reply = KeptReply()
        try:
            self.daemon.handlers.carry_out(method, (reply, *arguments))
        except FsError as error:
            reply.reply_done(None, error)
        self.daemon.driver.run_ready()
        return reply

    def hold(self, line: str) -> None:
        self.keeper.hold(line.split(), MOUNT)

    def release(self, name: str) -> None:
        """Whoever waited for the one that goes on comes next."""
        self.keeper.release(name)
        self.daemon.driver.run_ready()
        self.daemon.driver.run_ready()

    @property
    def held(self) -> list[tuple[str, int, str]]:
        holds = [hold for report in self.keeper.reports() for hold in report["held"]]  # type: ignore
        return [(hold["operation"], hold["ino"], hold["step"]) for hold in holds]

    def has(self, name: bytes) -> bool:
        return self.daemon.volume.namespace.dentries.find(ROOT_INO, name) is not None


@pytest.fixture
async def mounted(tmp_path: Path) -> AsyncIterator[Mounted]:
    image = tmp_path / "image"
    make_image(str(image), f"{image}.meta", Options(size=1 << 20))
    async with Daemon.on(image) as daemon:
        mounted = Mounted(daemon)
        yield mounted
        mounted.keeper.release_all()
        daemon.driver.run_ready()
        assert not daemon.driver.tasks_running


async def test_no_gate_and_the_driver_has_no_request(mounted: Mounted):
    """The handler is called as it stands, whatever gates there are for others."""
    names, driver = mounted.daemon.names, mounted.daemon.driver
    await mounted.daemon.create(b"a")
    mounted.hold("begin count=all as a")
    mounted.hold("reply op=write,open,unlink count=all as b")
    begun = driver.request_count
    assert mounted.ask(names.lookup, ROOT_INO, b"a").sent
    assert mounted.ask(names.getattr, ROOT_INO).sent
    assert driver.request_count == begun
    assert mounted.daemon.handlers.gated == {"open", "unlink"}
    mounted.release("all")
    assert mounted.daemon.handlers.gated == set()


async def test_held_before_it_begins_nothing_has_happened_and_at_the_reply_all_has(
    mounted: Mounted,
):
    names = mounted.daemon.names
    await mounted.daemon.create(b"a")
    mounted.hold("begin op=unlink as a")
    mounted.hold("reply op=unlink as b")
    reply = mounted.ask(names.unlink, ROOT_INO, b"a")
    assert mounted.held == [("unlink", ROOT_INO, "begin")]
    assert (mounted.has(b"a"), reply.sent) == (True, [])
    mounted.release("a")
    assert mounted.held == [("unlink", ROOT_INO, "reply")]
    assert (mounted.has(b"a"), reply.sent) == (False, [])
    mounted.release("b")
    assert reply.sent == [(0, None)]


@pytest.mark.parametrize("step", ["begin", "reply"])
async def test_error_is_the_same_and_in_the_trace(mounted: Mounted, step: str):
    mounted.hold(f"{step} op=lookup as a")
    reply = mounted.ask(mounted.daemon.names.lookup, ROOT_INO, b"none")
    assert mounted.held == [("lookup", ROOT_INO, step)]
    mounted.release("a")
    assert [error for error, _ in reply.sent] == [errno.ENOENT]
    (ended,) = [each for each in mounted.daemon.driver.trace.events() if each.event == ENDED]
    assert (ended.operation, ended.detail) == ("lookup", "ENOENT")


async def test_file_or_directory_of_a_name(mounted: Mounted):
    """ino= is that of the directory, or of what the name leads to."""
    names = mounted.daemon.names
    a, _ = await mounted.daemon.create(b"a")
    b, _ = await mounted.daemon.create(b"b")
    mounted.hold(f"begin op=lookup,link,rename ino={a} count=all as a")
    mounted.hold(f"begin op=lookup ino={ROOT_INO} as b")
    assert mounted.ask(names.getattr, b).sent
    mounted.ask(names.lookup, ROOT_INO, b"b")
    assert mounted.held == [("lookup", ROOT_INO, "begin")]
    mounted.release("b")
    assert mounted.ask(names.lookup, ROOT_INO, b"b").sent
    asked = [
        mounted.ask(names.lookup, ROOT_INO, b"a"),
        mounted.ask(names.link, a, ROOT_INO, b"c"),
        mounted.ask(names.rename, ROOT_INO, b"b", ROOT_INO, b"a", 0),
    ]
    assert [operation for operation, _, _ in mounted.held] == ["lookup", "link", "rename"]
    mounted.release("all")
    assert all(reply.sent for reply in asked)


async def test_truncate_of_an_open_is_a_request_for_which_the_open_waits(mounted: Mounted):
    """Either can be held, and the answer is the open's."""
    daemon = mounted.daemon
    ino, fh = await daemon.create(b"a")
    await daemon.write(ino, fh, 0, b"x" * 512)
    mounted.hold("reply op=open as a")
    mounted.hold("begin op=truncate as b")
    reply = mounted.ask(daemon.files.open, ino, os.O_RDWR | os.O_TRUNC)
    assert mounted.held == [("truncate", ino, "begin")]
    assert daemon.volume.nodes.get(ino).size == 512
    mounted.release("b")
    assert mounted.held == [("open", ino, "reply")]
    assert (daemon.volume.nodes.get(ino).size, reply.sent) == (0, [])
    mounted.release("a")
    [(error, value)] = reply.sent
    assert (error, daemon.files.handles[value].node.ino) == (0, ino)


async def test_signal_before_the_truncate_of_an_open_is_the_open_s_error(mounted: Mounted):
    daemon = mounted.daemon
    ino, fh = await daemon.create(b"a")
    await daemon.write(ino, fh, 0, b"x" * 512)
    mounted.hold("reply op=open as a")
    mounted.hold("begin op=truncate as b")
    reply = mounted.ask(daemon.files.open, ino, os.O_RDWR | os.O_TRUNC)
    mounted.keeper._interrupt(daemon.driver.request_count)
    mounted.release("a")
    assert reply.sent == [(errno.EINTR, None)]
    ended = [each for each in daemon.driver.trace.events() if each.event == ENDED][-2:]
    assert [(each.operation, each.detail) for each in ended] == [
        ("truncate", "EINTR"),
        ("open", "EINTR"),
    ]
    assert daemon.volume.nodes.get(ino).size == 512


async def test_truncate_of_a_setattr_that_is_refused_is_its_error(mounted: Mounted):
    ino, _ = await mounted.daemon.create(b"a")
    mounted.hold("reply op=setattr as a")
    nothing, size = (None, None, None), FILE_SIZE_MAX + 1
    reply = mounted.ask(mounted.daemon.names.setattr, ino, *nothing, size, None, None, False)
    assert mounted.held == [("setattr", ino, "reply")]
    mounted.release("a")
    assert [error for error, _ in reply.sent] == [errno.EFBIG]


async def test_requests_for_the_control_files_pass_all_gates(mounted: Mounted):
    """Their names, attributes, opens and closes, and the lookup of .fusefs."""
    daemon = mounted.daemon
    mounted.hold(f"* op={','.join(AT_ONCE)} count=all as a")
    begun = daemon.driver.request_count
    ino = daemon.control.inos["status"]
    asked = [
        mounted.ask(daemon.names.lookup, ROOT_INO, b".fusefs"),
        mounted.ask(daemon.names.lookup, CONTROL_INO, b"status"),
        mounted.ask(daemon.names.getattr, ino),
        mounted.ask(daemon.names.statx, CONTROL_INO),
        mounted.ask(daemon.files.open, ino, os.O_RDONLY),
        mounted.ask(daemon.directories.opendir, CONTROL_INO),
    ]
    fh = asked[4].sent[0][1]
    asked.append(mounted.ask(daemon.files.release, fh))
    assert [reply.sent[0][0] for reply in asked] == [0] * 7
    assert daemon.driver.request_count == begun


async def test_every_operation_without_steps_can_be_held(mounted: Mounted):
    """One call for each, of those that there are."""
    daemon = mounted.daemon
    names, files, directories = daemon.names, daemon.files, daemon.directories
    xattrs = daemon.handlers.xattrs
    ino, fh = await daemon.create(b"a")
    directory = await daemon.ask_here(names.mkdir, ROOT_INO, b"d", 0o700)
    link = await daemon.ask_here(names.symlink, ROOT_INO, b"l", b"a")
    calls: list[tuple[Any, ...]] = [
        (names.lookup, ROOT_INO, b"a"),
        (names.getattr, ino),
        (names.statx, ino),
        (names.setattr, ino, 0o600, None, None, None, None, None, False),
        (names.readlink, link.ino),
        (names.statfs, ino),
        (names.create, ROOT_INO, b"new", 0o600, os.O_RDWR),
        (names.mknod, ROOT_INO, b"fifo", 0o010600, 0),
        (names.mkdir, ROOT_INO, b"e", 0o700),
        (names.symlink, ROOT_INO, b"m", b"a"),
        (names.link, ino, ROOT_INO, b"b"),
        (names.unlink, ROOT_INO, b"b"),
        (names.rmdir, ROOT_INO, b"e"),
        (files.open, ino, os.O_RDWR),
        (files.release, fh),
        (directories.opendir, directory.ino),
        (directories.readdir, directory.ino, 0, 4096),
        (directories.releasedir, directory.ino),
        (xattrs.setxattr, ino, b"user.a", b"value", 0),
        (xattrs.getxattr, ino, b"user.a", 0),
        (xattrs.listxattr, ino, 0),
        (xattrs.removexattr, ino, b"user.a"),
    ]
    found = set()
    for method, *arguments in calls:
        operation = OPERATIONS.get(method.__name__, method.__name__)
        mounted.hold(f"begin op={operation} as a")
        mounted.hold(f"reply op={operation} as b")
        reply = mounted.ask(method, *arguments)
        assert [(each, step) for each, _, step in mounted.held] == [(operation, "begin")]
        mounted.release("a")
        assert [(each, step) for each, _, step in mounted.held] == [(operation, "reply")]
        assert not reply.sent
        mounted.release("b")
        assert [error for error, _ in reply.sent] == [0], operation
        found.add(operation)
    assert found == {*AT_ONCE}
