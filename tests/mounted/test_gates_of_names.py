"""Names, attributes, opens and closes, held on a real mount: what others see, what ends it."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen

import pytest
from mounted.clients import eventually, has_ended, run, said, started
from mounted.commands import FAILED, MOUNT_TOOL, refused, tool
from mounted.mounting import Mount

from fusefs.engine.gate import AT_ONCE
from fusefs.gates import Gates
from fusefs.mounts import lazy_umount

pytestmark = pytest.mark.mounted


@pytest.fixture
def mnt(mount: Callable[..., Mount]) -> Mount:
    return mount()


@pytest.fixture
def gates(mnt: Mount) -> Iterator[Gates]:
    with mnt.gates() as gates:
        yield gates


def calls(script: str, path: Path) -> AbstractContextManager[Popen[str]]:
    """A process that runs a line; path is what it is about, d its directory."""
    begun = "import os, sys; path = sys.argv[1]; d = os.path.dirname(path)"
    return started(sys.executable, "-c", f"{begun}; {script}", path)


def made(mnt: Mount, name: str = "file") -> Path:
    path = mnt.path / name
    path.write_bytes(b"x")
    return path


CALLS = {
    "lookup": "os.path.exists(f'{path}-none')",
    "getattr": "os.stat(path)",
    "setattr": "os.chmod(path, 0o600)",
    "readlink": "os.readlink(f'{d}/symlink')",
    "statfs": "os.statvfs(path)",
    "create": "os.open(f'{d}/new', os.O_CREAT | os.O_WRONLY)",
    "mknod": "os.mkfifo(f'{d}/new')",
    "mkdir": "os.mkdir(f'{d}/new')",
    "symlink": "os.symlink('file', f'{d}/new')",
    "link": "os.link(path, f'{d}/new')",
    "unlink": "os.unlink(path)",
    "rmdir": "os.rmdir(f'{d}/empty')",
    "rename": "os.rename(path, f'{d}/new')",
    "open": "os.open(path, os.O_RDONLY)",
    "release": "os.close(os.open(path, os.O_RDONLY))",
    "opendir": "os.open(d, os.O_RDONLY)",
    "readdirplus": "os.listdir(d)",
    "releasedir": "os.close(os.open(d, os.O_RDONLY))",
    "getxattr": "os.getxattr(path, 'user.there')",
    "setxattr": "os.setxattr(path, 'user.new', b'')",
    "listxattr": "os.listxattr(path)",
    "removexattr": "os.removexattr(path, 'user.there')",
    "fsyncdir": "os.fsync(os.open(d, os.O_RDONLY))",
}
"""A line of Python for each operation, which ends well."""

NOBODY_S = ("release", "releasedir")
"""For these nobody waits, and the kernel says of nobody that he has asked."""


def test_there_is_a_call_for_each_operation():
    assert {*AT_ONCE} <= {*CALLS}


@pytest.mark.parametrize("operation", CALLS)
def test_every_operation_is_held_before_it_begins_and_before_its_reply(
    mnt: Mount, gates: Gates, operation: str
):
    directory = mnt.path / "d"
    directory.mkdir()
    (directory / "empty").mkdir()
    (directory / "symlink").symlink_to("file")
    path = made(mnt, "d/file")
    os.setxattr(path, "user.there", b"")
    gates.hold("begin", f"op={operation}", "timeout=300s", "as a")
    gates.hold("reply", f"op={operation}", "timeout=300s", "as b")
    with calls(CALLS[operation], path) as process:
        for gate in "ab":
            held = gates.wait(gate, 60)
            assert held["operation"] == operation
            assert held["pid"] == (0 if operation in NOBODY_S else process.pid)
            assert operation in NOBODY_S or process.poll() is None
            gates.release(gate)
        assert said(process) == (0, "")


# -- what others see -----------------------------------------------------------------------


def test_name_is_there_before_an_unlink_begins_and_gone_before_its_reply(mnt: Mount, gates: Gates):
    path = made(mnt)
    gates.hold("begin", "op=unlink", "path=file", "timeout=300s", "as a")
    gates.hold("reply", "op=unlink", "path=file", "timeout=300s", "as b")
    with calls("os.unlink(path)", path) as process:
        assert gates.wait("a", 60)["pid"] == process.pid
        assert path.stat().st_nlink == 1
        gates.release("a")
        gates.wait("b", 60)
        assert process.poll() is None
        with path.open("rb") as there:  # the kernel has the name until it is told
            assert os.fstat(there.fileno()).st_nlink == 0
        gates.release("b")
        assert said(process) == (0, "")
    assert not path.exists()


def test_path_of_a_directory_is_all_its_names_and_of_a_file_that_name(mnt: Mount, gates: Gates):
    for name in ("d", "e"):
        (mnt.path / name).mkdir()
    paths = [made(mnt, name) for name in ("d/a", "d/b", "e/c")]
    gates.hold("begin", "op=unlink", "path=d", "count=all", "timeout=300s", "as d")
    gates.hold("begin", "op=unlink,rename", "path=d/b", "count=all", "timeout=300s", "as b")
    with calls("os.unlink(path)", paths[2]) as process:
        assert said(process) == (0, "")
    with calls("os.unlink(path)", paths[0]) as process:
        gates.wait("d", 60)
        gates.release("d")
        assert said(process) == (0, "")
    assert [gate["met"] for gate in gates.all()] == [1, 0]
    with calls("os.rename(path, path + '2')", paths[1]) as process:
        gates.wait("b", 60)
        gates.release("b")
        assert said(process) == (0, "")


def test_rename_is_held_as_one_request_with_what_makes_it_durable(mnt: Mount, gates: Gates):
    """Before it begins nothing is moved; before its reply all is."""
    made(mnt, "target").chmod(0o600)
    source = made(mnt, "source")
    source.chmod(0o400)
    gates.hold("*", "op=rename", "path=source", "count=all", "timeout=300s", "as a")
    steps = []
    with calls("os.rename(path, f'{d}/target')", source) as process:
        while not steps or steps[-1] != "reply":
            steps.append(gates.wait("a", 60)["step"])
            with mnt.gates() as others:  # on the way to which nothing is held
                assert others.all()[0]["met"] == len(steps)
            assert process.poll() is None
            gates.release("a")
        assert said(process) == (0, "")
    assert (steps[0], steps[-2:]) == ("begin", ["names.commit", "reply"])
    assert (mnt.path / "target").stat().st_mode & 0o777 == 0o400
    gates.release("all")


def test_until_a_name_is_gone(mnt: Mount, gates: Gates):
    """A read waits until the file that it reads has no name any more.

    A write would hold the unlink up: the kernel locks the file for both.
    """
    path = made(mnt)
    gates.hold("begin", "op=read", "timeout=300s", "until=reply", "op=unlink", "as a")
    with calls("print(os.read(os.open(path, os.O_RDONLY), 2))", path) as process:
        gates.wait("a", 60)
        run("rm", made(mnt, "other"))
        assert process.poll() is None
        os.unlink(path)
        assert said(process) == (0, "b'x'\n")
    assert "time-out" not in mnt.log()


# -- who is not held -------------------------------------------------------------------------


def test_nobody_pays_who_is_not_named(mnt: Mount, gates: Gates):
    """The driver never hears of names as long as no gate says op=: their handlers are called."""
    gates.hold("*", "count=all", "timeout=300s", "as a")
    gates.hold("begin", "op=setxattr", "count=all", "timeout=300s", "as b")
    path = mnt.path / "file"
    begun = mnt.status()["requests"]["begun"]
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    os.fstat(fd)
    os.close(fd)
    os.link(path, mnt.path / "b")
    os.unlink(path)
    os.listdir(mnt.path)
    (mnt.path / "d").mkdir()
    assert [event.operation for event in mnt.trace() if event.operation in CALLS] == []
    assert mnt.status()["requests"]["begun"] - begun < 10  # the flusher's
    assert [gate["met"] for gate in gates.all()] == [0, 0]
    gates.release("all")


def test_whoever_releases_gets_there_whatever_is_held(mnt: Mount, gates: Gates):
    """A process that never was on the mount: nothing on its way to .fusefs/gates is held."""
    path = made(mnt)
    os.chmod(mnt.path, 0o755)  # so that the kernel asks for the root's attributes again
    operations = ",".join(AT_ONCE)
    gates.hold("*", f"op={operations}", "count=all", "timeout=300s", "as a")
    with calls("os.unlink(path)", path) as process:
        gates.wait("a", 60)
        gates.hold("begin", "op=unlink", "timeout=300s", "as b")
        assert tool("gates", mnt.path).stdout.startswith("a: hold * op=lookup,getattr")
        assert tool("release", mnt.path, "all").returncode == 0
        assert said(process) == (0, "")


def test_attributes_of_the_root_are_held_if_it_is_named(mnt: Mount, gates: Gates):
    gates.hold("begin", "op=getattr", "path=/", "timeout=300s", "as a")
    os.chmod(mnt.path, 0o755)
    os.mkdir(mnt.path / "d")
    with calls("os.stat(d)", mnt.path / "d") as process:
        assert gates.wait("a", 60)["ino"] == 1
        gates.release("a")
        assert said(process) == (0, "")


# -- what ends a hold ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["unlink", "create", "getattr", "setxattr", "rename"])
def test_killed_before_it_began_has_done_nothing(mnt: Mount, gates: Gates, operation: str):
    path = made(mnt)
    gates.hold("begin", f"op={operation}", "timeout=300s", "as a")
    with calls(CALLS[operation], path) as process:
        gates.wait("a", 60)
        process.kill()
        assert said(process)[0] == -signal.SIGKILL
    eventually(lambda: gates.all() == [], "nobody is held")
    assert sorted(os.listdir(mnt.path)) == ["file"]
    assert os.listxattr(path) == []
    ended = [event.detail for event in mnt.trace() if event.operation == operation][-1]
    assert ended == "EINTR"


def test_signal_before_it_began_is_eintr(mnt: Mount, gates: Gates):
    path = made(mnt)
    gates.hold("begin", "op=unlink", "timeout=300s", "as a")
    line = "import signal; signal.signal(signal.SIGUSR1, signal.default_int_handler); "
    with calls(f"{line}os.unlink(path)", path) as process:
        gates.wait("a", 60)
        process.send_signal(signal.SIGUSR1)
        assert "KeyboardInterrupt" in said(process)[1]
    assert path.exists()


def test_killed_before_its_reply_has_done_all_and_keeps_nothing_open(mnt: Mount, gates: Gates):
    """The kernel has the answer all the same, and closes and forgets what it was given."""
    gates.hold("reply", "op=create", "timeout=300s", "as a")
    gates.hold("reply", "op=release", "timeout=300s", "as b")
    with calls(CALLS["create"], mnt.path / "file") as process:
        ino = gates.wait("a", 60)["ino"]
        process.kill()
        assert said(process)[0] == -signal.SIGKILL
    new = mnt.path / "new"
    assert gates.wait("b", 60)["ino"] == new.stat().st_ino != ino
    gates.release("b")
    before = mnt.status()["inodes"]["in_memory"]
    new.unlink()
    eventually(lambda: mnt.status()["inodes"]["in_memory"] < before, "it is forgotten")


def test_time_out_answers(mnt: Mount, gates: Gates):
    gates.hold("reply", "op=mkdir", "timeout=200ms", "as a")
    os.mkdir(mnt.path / "d")
    assert "gate a: mkdir " in mnt.log()


def test_error_is_the_handler_s(mnt: Mount, gates: Gates):
    path = made(mnt)
    of_control = errno.EACCES if os.getuid() else errno.EPERM  # the kernel looks at modes first
    gates.hold("*", "op=rmdir,getxattr,create", "count=all", "timeout=50ms", "as a")
    for call, number in [
        (lambda: os.rmdir(path), errno.ENOTDIR),
        (lambda: os.getxattr(path, "user.none"), errno.ENODATA),
        (lambda: os.open(mnt.path / ".fusefs" / "new", os.O_CREAT), of_control),
    ]:
        with pytest.raises(OSError, match=os.strerror(number)):
            call()
    gates.release("all")


# -- the end of a mount ------------------------------------------------------------------------


def test_unmount_with_a_close_held_ends_the_mount(mnt: Mount):
    """Nobody uses it any more; what the close has to do is done."""
    path, pid = made(mnt), mnt.pid
    run(*MOUNT_TOOL, "hold", mnt.path, "begin", "op=release", "count=all", "timeout=300s")
    with calls("os.write(os.open(path, os.O_WRONLY), b'y')", path) as process:
        assert said(process) == (0, "")
    eventually(lambda: mnt.status()["gates"]["held"] == 1, "the close is held")
    mnt.umount()
    eventually(lambda: has_ended(pid), "the daemon has ended")
    mnt.remount()
    assert path.read_bytes() == b"y"


def test_lazy_unmount_waits_for_a_held_name(mnt: Mount):
    path, pid = made(mnt), mnt.pid
    with calls("os.unlink(path)", path) as process:
        with mnt.gates() as gates:
            gates.hold("begin", "op=unlink", "timeout=300s", "as a")
            gates.wait("a", 60)
            refused(FAILED, "umount", mnt.path, saying="busy")
            run(*lazy_umount(mnt.path))
            assert process.poll() is None
        assert said(process) == (0, "")
    eventually(lambda: has_ended(pid), "the daemon has ended")
    mnt.remount()
    assert not path.exists()


def test_daemon_that_is_told_to_end_lets_all_go(mnt: Mount):
    """SIGTERM unmounts; a name that was made before its reply stays."""
    path, pid = made(mnt), mnt.pid
    with mnt.gates() as gates, calls("os.link(path, path + '2')", path) as process:
        gates.hold("reply", "op=link", "timeout=300s", "as a")
        gates.wait("a", 60)
        os.kill(pid, signal.SIGTERM)
        said(process)
    eventually(lambda: has_ended(pid), "the daemon has ended")
    mnt.remount()
    assert sorted(os.listdir(mnt.path)) == ["file", "file2"]
    assert path.stat().st_nlink == 2
