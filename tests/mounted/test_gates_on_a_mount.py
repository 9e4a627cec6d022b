"""Gates on a real mount, to programs that know nothing of them: who is held, what frees him."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S, eventually, has_ended, need, run, said, started
from mounted.commands import FAILED, MOUNT_TOOL, USAGE, refused, tool
from mounted.mounting import Mount

from fusefs.gates import GateRefused, Gates
from fusefs.mounts import ROOT, lazy_umount

pytestmark = pytest.mark.mounted

WRITE = """
import mmap, os, sys
buffer = mmap.mmap(-1, 4096)
buffer[:] = b"a" * 4096
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
print(os.pwrite(fd, memoryview(buffer)[:int(sys.argv[2])], 0))
"""


@pytest.fixture
def mnt(mount: Callable[..., Mount]) -> Mount:
    return mount(invalidate="before")


@pytest.fixture
def gates(mnt: Mount) -> Iterator[Gates]:
    with mnt.gates() as gates:
        yield gates


def preallocated(mnt: Mount, name: str = "file") -> Path:
    path = mnt.path / name
    run("fallocate", "-l", "4k", path)
    return path


@contextmanager
def writer(path: Path, length: int = 1024) -> Iterator[subprocess.Popen[str]]:
    """Writes with O_DIRECT, and prints how much."""
    with started(sys.executable, "-c", WRITE, path, length) as process:
        yield process


# -- README ------------------------------------------------------------------------------


def readme_s_schedule() -> tuple[str, str]:
    """The commands of its section, as they stand there: what is said once, and the schedule."""
    _, _, rest = (ROOT / "README.md").read_text().partition("## Hold a request")
    section, _, _ = rest.partition("\n## ")
    assert len(section.splitlines()) <= 24
    lines = [line[4:] for line in section.splitlines() if line[:4] == "    "]
    return "\n".join(lines[:2]), "\n".join(lines[2:])


RUNS = 100


@pytest.mark.parametrize(("order", "zeros"), [("before", RUNS), ("after", 0)])
def test_readme_s_two_dd_meet_each_time_before_and_never_after(
    mount: Callable[..., Mount], order: str, zeros: int
):
    """(D1) The mail's schedule.  Guards kernel c771c14baa33 (xfstests generic/418)."""
    need("dd", "bash")
    m = mount(invalidate=order)
    assert m.path.name == "mnt0"
    opened, schedule = readme_s_schedule()
    script = f"{opened}\nfor run in $(seq {RUNS}); do\nrm -f mnt/file\n{schedule}\ndone"
    begun = time.monotonic()
    result = subprocess.run(
        ["bash", "-e", "-c", script.replace("mnt/", "mnt0/")],
        cwd=m.path.parent,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "seek" not in result.stderr, "what reads an answer must not go back in it"
    found = Counter(re.findall(r"^0000000 +(.*)", result.stdout, re.MULTILINE))
    print(f"{order}: {found}, {time.monotonic() - begun:.1f} s")
    stale, data = "  ".join(["\\0"] * 8), "   ".join(["y", "\\n"] * 4)
    seen = {re.sub(r"\s+", " ", text): count for text, count in found.items()}
    both = {re.sub(r"\s+", " ", stale): zeros, re.sub(r"\s+", " ", data): RUNS - zeros}
    assert seen == {text: count for text, count in both.items() if count}


# -- the file ----------------------------------------------------------------------------


def test_every_step_of_two_programs_can_be_held_the_first_and_the_reply(mnt: Mount, gates: Gates):
    """Nothing of a step has happened before it is released."""
    path = preallocated(mnt)
    gates.hold("*", "path=file", "count=all", "as each")
    steps = []
    with writer(path) as process:
        while not steps or steps[-1] != "reply":
            held = gates.wait("each", 60)
            assert held["pid"] == process.pid
            steps.append(held["step"])
            assert process.poll() is None
            gates.release("each")
        assert said(process) == (0, "1024\n")
    assert steps == [
        *("begin", "dio.write.map", "dio.write.submit", "dio.write.invalidate_post"),
        *("dio.write.convert", "reply"),
    ]
    gates.release("all")


def test_release_before_the_hold_is_remembered(mnt: Mount, gates: Gates):
    path = preallocated(mnt)
    gates.hold("begin", "op=write", "timeout=300s", "as a")
    gates.release("a")
    with writer(path) as process:
        assert said(process) == (0, "1024\n")


def test_until_another_one_passes(mnt: Mount, gates: Gates):
    """Two programs, one gate, and nobody who releases: A reads zeros all the same."""
    path = preallocated(mnt)
    gates.hold("dio.write.convert", "timeout=300s", "until=buffered.read.fill", "as a")
    with writer(path) as process:
        gates.wait("a", 60)
        run("dd", f"if={path}", "bs=1k", "skip=1", "count=1", "status=none", "of=/dev/null")
        assert said(process) == (0, "1024\n")
    assert path.read_bytes()[:1024] == bytes(1024)


def test_time_out_ends_a_hold_and_the_log_has_a_line(mnt: Mount, gates: Gates):
    path = preallocated(mnt)
    gates.hold("dio.write.convert", "timeout=200ms", "as a")
    with writer(path) as process:
        assert said(process) == (0, "1024\n")
    line = f"gate a: write [0-9]+ of pid {process.pid} was held before dio.write.convert for its"
    assert re.search(line, mnt.log())


def test_requests_for_the_control_files_pass_all_gates(mnt: Mount, gates: Gates):
    gates.hold("*", "count=all", "timeout=300s", "as all-of-them")
    assert mnt.status()["pid"] == mnt.pid
    mnt.set(jitter="0")
    with mnt.gates() as others:
        others.hold("reply", "as b")
    assert gates.all()[0]["met"] == 0
    gates.release("all")


def test_wait_keeps_nobody_out(mnt: Mount, gates: Gates):
    """It waits in a read, so whoever sets and releases gates meanwhile is not locked out."""
    path = preallocated(mnt)
    gates.hold("begin", "op=fsync", "timeout=300s", "as a")
    answers: list[object] = []
    with mnt.gates() as waiting:
        thread = threading.Thread(target=lambda: answers.append(waiting.wait("a", 60)))
        thread.start()
        with mnt.gates() as others:
            others.hold("begin", "op=write", "as b")
            others.release("b")
        mnt.set(jitter="0")
        with started("sync", path):
            thread.join(PROGRAM_TIMEOUT_S)
            assert answers
            gates.release("a")


def test_whoever_writes_only_waits_in_the_write(mnt: Mount):
    """As a shell's echo does."""
    control = mnt.path / ".fusefs" / "gates"
    script = 'exec env printf "%s\\n" "$1" >"$2"'
    run("sh", "-c", script, "sh", "hold begin op=write as a keep", control)
    with writer(preallocated(mnt)) as process:
        run("sh", "-c", script, "sh", "wait a timeout=60s", control)
        run("sh", "-c", script, "sh", "release a", control)
        assert said(process)[0] == 0
    failed = subprocess.run(
        ["sh", "-c", script, "sh", "wait a", str(control)],
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )
    assert os.strerror(errno.ENOENT) in failed.stderr
    assert json.loads(b"[" + control.read_bytes() + b"]") == []


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("hold", errno.EINVAL),
        ("hold dio.write.covert", errno.EINVAL),
        ("hold begin path=none", errno.ENOENT),
        ("release none", errno.ENOENT),
        ("wait none", errno.ENOENT),
        ("wait", errno.EINVAL),
        ("wait a timeout=never", errno.EINVAL),
        ("open", errno.EINVAL),
        ("hold begin " + "x" * 5000, errno.EINVAL),
        ("hold begin \x00\x7f", errno.EINVAL),
    ],
)
def test_bad_command_is_an_errno_and_a_line(gates: Gates, command: str, error: int):
    with pytest.raises((GateRefused, OSError)) as caught:
        gates.ask(command)
    told = caught.value
    assert (told.number if isinstance(told, GateRefused) else told.errno) == error
    assert "\n" not in str(told)


# -- what frees whom ---------------------------------------------------------------------


def test_killed_holder_holds_nobody(mnt: Mount):
    """kill -9 of whoever has the file open, here of the command that stays in front."""
    path = preallocated(mnt)
    words = [*MOUNT_TOOL, "hold", mnt.path, "dio.write.convert", "timeout=300s", "as", "a"]
    with started(*words, "--own") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "a\n"
        with writer(path) as process, mnt.gates() as gates:
            gates.wait("a", 60)
            holder.kill()
            assert said(process) == (0, "1024\n")
            assert gates.all() == []


def test_killed_holder_that_waits_holds_nobody(mnt: Mount):
    """Its wait is interrupted: else it would not end, and its file stay open."""
    script = f"""
import sys
from fusefs.gates import Gates
with Gates({str(mnt.path)!r}) as gates:
    gates.hold("begin", "op=write", "timeout=300s", "as a")
    gates.hold("begin", "op=fsync", "as b")
    print("waits", flush=True)
    gates.wait("b", 300)
"""
    path = preallocated(mnt)
    with started(sys.executable, "-c", script) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "waits\n"
        with writer(path) as process, mnt.gates() as gates:
            gates.wait("a", 60)
            holder.kill()
            assert said(process) == (0, "1024\n")


def test_killed_before_it_began_has_done_nothing(mnt: Mount, gates: Gates):
    """SIGKILL is answered at once, and not at the time-out."""
    path = preallocated(mnt)
    gates.hold("begin", "op=write", "timeout=300s", "as a")
    with writer(path) as process:
        gates.wait("a", 60)
        process.kill()
        assert said(process) == (-signal.SIGKILL, "")
    eventually(lambda: gates.all() == [], "nobody is held")
    assert path.read_bytes() == bytes(4096)
    assert [(e.event, e.detail) for e in mnt.trace() if e.operation == "write"][-1] == (
        "ended",
        "EINTR",
    )


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("rename", "os.rename(sys.argv[1], sys.argv[1] + '2')"),
        ("fsyncdir", "os.fsync(os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY))"),
    ],
)
def test_killed_before_its_names_are_durable_or_moved(
    mnt: Mount, gates: Gates, operation: str, call: str
):
    path = preallocated(mnt)
    gates.hold("begin", f"op={operation}", "timeout=300s", "as a")
    with started(sys.executable, "-c", f"import os, sys; {call}", path) as process:
        assert gates.wait("a", 60)["pid"] == process.pid
        process.kill()
        assert said(process)[0] == -signal.SIGKILL
    ended = [event.detail for event in mnt.trace() if event.operation == operation][-1]
    assert (ended, path.exists()) == ("EINTR", True)


def test_signal_before_it_began_is_eintr(mnt: Mount, gates: Gates):
    path = preallocated(mnt)
    gates.hold("begin", "op=read", "timeout=300s", "as a")
    script = "import os, signal, sys; signal.signal(signal.SIGUSR1, signal.default_int_handler)\n"
    script += "os.pread(os.open(sys.argv[1], os.O_RDONLY), 512, 0)"
    with started(sys.executable, "-c", script, path) as process:
        gates.wait("a", 60)
        process.send_signal(signal.SIGUSR1)
        assert "KeyboardInterrupt" in said(process)[1]


def test_killed_under_way_goes_on_to_its_end(mnt: Mount, gates: Gates):
    """As in Linux, where a direct write under way is not undone: its bytes are there."""
    path = preallocated(mnt)
    gates.hold("dio.write.submit", "timeout=300s", "as a")
    gates.hold("dio.write.convert", "timeout=300s", "as b")
    with writer(path) as process:
        gates.wait("a", 60)
        process.kill()
        assert said(process)[0] == -signal.SIGKILL
    assert path.read_bytes()[:1024] == b"a" * 1024
    eventually(lambda: gates.all() == [], "both gates are over")


def test_hold_for_one_who_waits_for_the_held_one_ends_at_once(mnt: Mount, gates: Gates):
    """(U3) A truncate waits for the write's lock; the write is not held for the truncate.

    The kernel locks the file of a truncate, so it is an unaligned direct write that waits here.
    """
    path = preallocated(mnt)
    gates.hold("dio.write.submit", "count=1", "until=dio.write.submit", "timeout=300s", "as a")
    with writer(path, 512) as first:
        gates.wait("a", 60)
        with writer(path, 512) as second:
            assert said(second) == (0, "512\n")
        assert said(first) == (0, "512\n")
    assert "which it awaits, waits for it, before lock.inode.shared" in mnt.log()


def test_wait_for_one_who_waits_for_a_held_one_is_told_at_once(mnt: Mount, gates: Gates):
    path = preallocated(mnt)
    gates.hold("dio.write.submit", "path=file", "timeout=300s", "as a")
    with writer(path, 512) as first:
        gates.wait("a", 60)
        gates.hold("dio.write.convert", "path=file", "as b")
        with writer(path, 512) as second:
            with pytest.raises(GateRefused, match=r"waits before lock\.inode\.shared") as caught:
                gates.wait("b", 60)
            assert caught.value.number == errno.EDEADLK
            gates.release("all")
            assert [said(first)[0], said(second)[0]] == [0, 0]


# -- the end of a mount --------------------------------------------------------------------


def test_unmount_of_a_mount_that_is_in_use_is_refused_and_a_lazy_one_waits(mnt: Mount):
    """A held request has its file open, as any other: then it ends, and the daemon does."""
    path, pid = preallocated(mnt), mnt.pid
    with mnt.gates() as gates:
        gates.hold("dio.write.convert", "timeout=300s", "as a")
        with writer(path) as process:
            gates.wait("a", 60)
            refused(FAILED, "umount", mnt.path, saying="busy")
            run(*lazy_umount(mnt.path))
            assert process.poll() is None
            gates.release("a")
            assert said(process) == (0, "1024\n")
    eventually(lambda: has_ended(pid), "the daemon has ended")


def test_daemon_that_is_told_to_end_lets_all_go(mnt: Mount):
    """SIGTERM unmounts; whoever is held is answered, and nothing of it is lost."""
    path, pid = preallocated(mnt), mnt.pid
    with mnt.gates() as gates:
        gates.hold("dio.write.convert", "timeout=300s", "as a")
        with writer(path) as process:
            gates.wait("a", 60)
            os.kill(pid, signal.SIGTERM)
            assert said(process) == (0, "1024\n")
    eventually(lambda: has_ended(pid), "the daemon has ended")
    mnt.remount()
    assert path.read_bytes()[:1024] == b"a" * 1024


def test_daemon_that_is_told_to_end_lets_a_held_commit_go(mnt: Mount):
    """Also that of an fsync of .fusefs, which pyfuse3 waits for before it ends."""
    path, pid = preallocated(mnt), mnt.pid
    with mnt.gates() as gates:
        gates.hold("begin", "op=commit", "timeout=3600s", "as a")
        with started("sync", mnt.path / ".fusefs") as process:
            gates.wait("a", 60)
            os.kill(pid, signal.SIGTERM)
            assert said(process) == (0, "")
            eventually(lambda: has_ended(pid), "the daemon has ended")
    mnt.remount()
    assert path.stat().st_size == 4096


# -- the commands --------------------------------------------------------------------------


def test_four_commands(mnt: Mount):
    path = preallocated(mnt)
    words = f"dio.write.convert path={path} timeout=300s as a".split()
    held = tool("hold", mnt.path, *words)
    assert (held.returncode, held.stdout) == (0, "a\n")
    with writer(path) as process:
        waited = tool("wait", mnt.path, "a", "--timeout", "60s")
        assert waited.stdout.endswith("before dio.write.convert, bytes 0+1024 of inode 2\n")
        shown = tool("gates", mnt.path).stdout
        assert shown.startswith("a: hold dio.write.convert ino=2 count=1 timeout=300s as a\n")
        assert f"held: write 3 of pid {process.pid} before dio.write.convert" in shown
        (gate,) = json.loads(tool("gates", mnt.path, "--json").stdout)
        assert gate["met"] == 1
        assert tool("release", mnt.path, "a").returncode == 0
        assert said(process) == (0, "1024\n")
    refused(FAILED, "wait", mnt.path, "a", "--json", saying="gate a is over: released")
    refused(FAILED, "release", mnt.path, "b", saying="no gate 'b': there are none")
    refused(USAGE, "hold", mnt.path, "dio.write.covert", saying="is no step; some that are: dio.")
    refused(USAGE, "hold", mnt.path, "begin", "pid=me", saying="pid=me: it is a number")
    assert tool("hold", mnt.path, "begin", "as", "c").returncode == 0
    refused(FAILED, "wait", mnt.path, "c", "--timeout", "50ms", saying="nobody came")
    assert tool("release", mnt.path, "all").returncode == 0
    assert tool("gates", mnt.path).stdout == ""


def test_commands_without_a_mount(tmp_path: Path):
    for words in (["gates"], ["hold", "begin"], ["wait", "a"], ["release", "a"]):
        word, *rest = words
        refused(FAILED, word, tmp_path, *rest, saying=f"{tmp_path}: no fusefs is mounted there")
