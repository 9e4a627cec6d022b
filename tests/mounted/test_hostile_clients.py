"""No input from a client ends the daemon, blocks others for good, or fills its memory.

docs/limits.md has the table of what is kept, and how much of it.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S, eventually, fails_with, opened, python, run, watched
from mounted.commands import MOUNT_TOOL
from mounted.mounting import Mount

pytestmark = pytest.mark.mounted

HOSTILE = Path(__file__).with_name("hostile.py")
MIB = 1 << 20


def resident_bytes(m: Mount) -> int:
    pages = Path(f"/proc/{m.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def still_serves(m: Mount) -> None:
    """Another client's requests are answered, and nothing that was met is a fault of ours."""
    (m.path / "another").write_bytes(b"another client's")
    assert (m.path / "another").read_bytes() == b"another client's"
    assert m.status()["pid"] == m.pid
    assert "Traceback" not in m.log()


def hostile(m: Mount, seed: int, calls: int) -> subprocess.Popen[bytes]:
    (m.path / "hostile").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, HOSTILE, m.path / "hostile", str(seed), str(calls)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd="/",
    )


@pytest.mark.parametrize(
    "calls", [600, pytest.param(20_000, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_random_system_calls(mount: Callable[..., Mount], figures, calls: int):
    """Four clients at once in one directory; one of them is killed on the way."""
    m = mount(size="64m", cache_size="8m", conversion_delay=0, jitter=0)
    m.errors_expected = True  # EIO of a full image's writeback is logged, too
    before = resident_bytes(m)
    clients = [hostile(m, seed, calls) for seed in range(4)]
    try:
        clients[0].send_signal(signal.SIGKILL) if calls < 1000 else None
        outputs = [client.communicate(timeout=PROGRAM_TIMEOUT_S * 20)[0] for client in clients]
    finally:
        for client in clients:
            client.kill()
    for client, output in list(zip(clients, outputs, strict=True))[1:]:
        assert client.returncode == 0
        worked = json.loads(output)
        assert all(worked[call] for call in ("open", "read", "write", "fallocate", "control"))
        figures.add("hostile calls", calls)
    still_serves(m)
    assert resident_bytes(m) - before < (8 + 64) * MIB
    m.umount()
    run(*MOUNT_TOOL, "fsck", m.image)


def test_clients_that_are_interrupted_and_killed_in_a_request(mount: Callable[..., Mount]):
    """A request that nobody waits for any more comes to its end all the same."""
    m = mount(conversion_delay="200ms")
    (m.path / "file").touch()
    os.truncate(m.path / "file", MIB)
    script = """
import mmap, os, signal, sys
data = mmap.mmap(-1, 4096)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
for i in range(3):
    os.pwrite(fd, data, (int(sys.argv[2]) * 3 + i) * 4096)
os.fsync(fd)
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    with watched(m.path / "file"):
        clients = [python(script, m.path / "file", i) for i in range(8)]
        eventually(lambda: m.status()["counters"]["direct_writes"] > 0, "a write is under way")
        for client in clients[::2]:
            client.kill()
        for client in clients:
            client.communicate(timeout=PROGRAM_TIMEOUT_S)
    assert [client.returncode for client in clients[1::2]] == [0] * 4
    still_serves(m)


# -- memory ------------------------------------------------------------------------------


def test_open_control_files_keep_a_limited_amount(mounted: Mount):
    """Each shows what it did when it was opened; too many are refused, until some are closed."""
    m = mounted
    (m.path / "file").write_bytes(bytes(4 * MIB))
    run("dd", f"if={m.path / 'file'}", "of=/dev/null", "bs=512", "iflag=direct")  # 8,192 reads
    trace = m.path / ".fusefs/trace"
    size = len(trace.read_bytes())
    assert size > MIB // 4
    before = resident_bytes(m)
    with ExitStack() as stack:
        with fails_with(errno.ENFILE):
            for _ in range(16 * MIB // size + 1):
                stack.enter_context(opened(trace, os.O_RDONLY))
        stack.enter_context(opened(trace, os.O_WRONLY))  # keeps nothing
        assert resident_bytes(m) - before < 48 * MIB
        (m.path / "file").read_bytes()[:1]
    assert len(trace.read_bytes()) > size // 2
    still_serves(m)


def test_control_files_take_no_more_than_they_can_use(mounted: Mount):
    """Huge values, at any position, are refused and hardly logged."""
    m = mounted
    for name in ("invalidate", "jitter"):
        with opened(m.path / ".fusefs" / name, os.O_WRONLY) as fd:
            for i in range(300):
                with fails_with(errno.EINVAL):
                    os.pwrite(fd, b"\nERROR " * 500 + bytes(i), 1 << 40)
            with fails_with(errno.EINVAL):
                os.pwrite(fd, bytes(MIB), 0)
    log = m.log()
    assert len(log) < 300 * 2 * 500
    assert "\nERROR" not in log
    still_serves(m)


def test_open_files_and_names_follow_the_clients(mounted: Mount):
    """3,000 open files and as many names that are forgotten: nothing of them stays."""
    m = mounted
    script = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(3500, hard), hard))
os.chdir(sys.argv[1])
for i in range(3000):
    os.open(f"{i}", os.O_RDWR | os.O_CREAT)
for i in range(3000):
    os.unlink(f"{i}")
    try:
        os.stat(f"no-{i}")
    except FileNotFoundError:
        pass
"""
    client = python(script, m.path)
    client.communicate(timeout=PROGRAM_TIMEOUT_S)
    assert client.returncode == 0
    eventually(lambda: m.status()["inodes"]["in_memory"] < 10, "all are forgotten")
    still_serves(m)


def test_long_path_of_directories_is_no_recursion(mounted: Mount):
    """1,500 directories in each other: deeper than Python's stack, longer than PATH_MAX."""
    m = mounted
    with opened(m.path, os.O_RDONLY) as top:
        at = os.dup(top)
        for _ in range(1500):
            os.mkdir("directory", dir_fd=at)
            below = os.open("directory", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        os.mkdir("beside", dir_fd=top)
        os.rename("beside", "beside", src_dir_fd=top, dst_dir_fd=at)
        with fails_with(errno.EINVAL):  # into itself
            os.rename("directory", "loop", src_dir_fd=top, dst_dir_fd=at)
        os.close(at)
    still_serves(m)
    m.umount()
    run(*MOUNT_TOOL, "fsck", m.image)
    m.start()
    with suppress(OSError):
        run("rm", "-rf", m.path / "directory")
    still_serves(m)
