"""Mappings, splice and sendfile: the kernel's own pages agree with what went past them.

Clients are processes of their own: see mapping_clients.py.  On XFS each of these ends so, too.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
from mounted.clients import (
    PROGRAM_TIMEOUT_S,
    eventually,
    has_ended,
    need,
    needs_root,
    opened,
    run,
)
from mounted.mapping_clients import FLUSHES, GROWTHS, READERS, STRESS
from mounted.mounting import Mount

from fusefs.mounts import lazy_umount

pytestmark = pytest.mark.mounted

TESTS = Path(__file__).parents[1]

PAGE = mmap.PAGESIZE
LONG_AGO_NS = 1_000_000_000_123_456_789

STRESS_S = 4.0
every_geometry = pytest.mark.parametrize(
    "shared",
    [{"block_size": 512}, {"block_size": "4k"}],
    ids=["block512", "block4k"],
    indirect=True,
)


def client(*words: object) -> str:
    return run(sys.executable, "-m", "mounted.mapping_clients", *words, cwd=TESTS)


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mounted.mapping_clients", *map(str, words)],
        cwd=TESTS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# -- what asynchronous direct writes leave ---------------------------------------------------


@every_geometry
@pytest.mark.parametrize("fill", ["hole", "preallocated"])
@pytest.mark.parametrize("reader", READERS)
def test_mapping_shows_an_asynchronous_write_once_it_has_ended(top: Path, fill: str, reader: str):
    """Nothing of it is lost either, when a byte of the page is stored through the mapping.

    The kernel drops no pages after such a write (its commit 2b0408d0284f of 2026 does): 150 to
    400 of 1,000 pages were stale for ever, and written back.
    """
    assert json.loads(client("race", top / "file", fill, reader, 100)) == [0, 0, 0]


def test_kernel_is_told_only_of_files_whose_pages_it_holds(mount):
    """The process that tells it is not even there before somebody maps a file."""
    m = mount()
    file = m.path / "file"
    file.write_bytes(bytes(8 * PAGE))
    assert tellers(m.pid) == []
    with opened(file, os.O_RDWR) as fd:
        os.sendfile(os.memfd_create("target"), fd, 0, PAGE)
        os.pwrite(fd, b"x", 0)
        assert len(tellers(m.pid)) == 1


def tellers(pid: int) -> list[int]:
    """The daemon's child processes, as far as they run."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for each in children for word in each.read_text().split()]


# -- what was stored behind the end ----------------------------------------------------------


@every_geometry
@pytest.mark.parametrize("growth", GROWTHS)
def test_what_was_stored_behind_the_end_does_not_come_back(top: Path, growth: str):
    """In the mapping, by read(2), and after a new open; later stores there are kept.

    Guards xfstests generic/363 and generic/729.
    """
    found = json.loads(client("eof", top / "file", growth))
    assert found == {flush: [0, 0, 0] for flush in FLUSHES}


# -- times -----------------------------------------------------------------------------------


@contextmanager
def mapped_file(path: Path) -> Iterator[tuple[int, mmap.mmap]]:
    """A new file of 8 pages, open and mapped."""
    path.write_bytes(b"o" * 8 * PAGE)
    with opened(path, os.O_RDWR) as fd:
        os.fsync(fd)
        with mmap.mmap(fd, 8 * PAGE) as memory:
            yield fd, memory


SET_TIMES: dict[str, Callable[[Path, int], object]] = {
    "utimensat": lambda path, fd: os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS)),
    "futimens": lambda path, fd: os.utime(fd, ns=(LONG_AGO_NS, LONG_AGO_NS)),
}


@pytest.mark.parametrize("how", SET_TIMES)
def test_time_that_was_set_after_a_mapped_store_stays(top: Path, how: str):
    """As cp -p, rsync and linkers set it: the store came first, its writeback comes later."""
    with mapped_file(top / "file") as (fd, memory):
        os.stat(fd)  # a new time in the answer would make the kernel write back by itself
        memory[:4] = b"more"
        SET_TIMES[how](top / "file", fd)
        memory.flush()
        assert os.stat(top / "file").st_mtime_ns == LONG_AGO_NS
    assert (top / "file").read_bytes()[:4] == b"more"
    assert os.stat(top / "file").st_mtime_ns == LONG_AGO_NS


def test_mapped_store_after_a_time_was_set_moves_it(top: Path):
    with mapped_file(top / "file") as (fd, memory):
        memory[:4] = b"more"
        os.utime(fd, ns=(LONG_AGO_NS, LONG_AGO_NS))
        before = time.time_ns()
        memory[:4] = b"late"
        memory.flush()
        assert os.stat(top / "file").st_mtime_ns >= before


# -- what is only in the kernel's pages ------------------------------------------------------


def data_ranges(fd: int) -> list[tuple[int, int]]:
    found, pos, size = [], 0, os.fstat(fd).st_size
    while pos < size:
        with suppress(OSError):  # there may be no more data
            start = os.lseek(fd, pos, os.SEEK_DATA)
            found.append((start, os.lseek(fd, start, os.SEEK_HOLE)))
        pos = found[-1][1] if found and found[-1][1] > pos else size
    return found


@every_geometry
def test_seek_sees_what_was_stored_through_a_mapping(top: Path):
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 1 << 20)
        with mmap.mmap(fd, 1 << 20) as memory:
            memory[17 * PAGE] = memory[200 * PAGE + 5] = 1
            assert data_ranges(fd) == [(17 * PAGE, 18 * PAGE), (200 * PAGE, 201 * PAGE)]
            memory[19 * PAGE] = 1  # again, after its pages were dropped
            assert (19 * PAGE, 20 * PAGE) in data_ranges(fd)


@every_geometry
@pytest.mark.parametrize("mode", ["always", "auto"])
def test_sparse_copy_has_what_was_stored_through_a_mapping(top: Path, mode: str):
    need("cp")
    with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 1 << 20)
        with mmap.mmap(fd, 1 << 20) as memory:
            memory[70_000:70_004] = b"here"
            run("cp", f"--sparse={mode}", top / "file", top / "copy")
            assert (top / "copy").read_bytes() == bytes(memory)


READ_ALL = {
    "read": "os.pread(fd, size, 0)",
    "direct read": "os.preadv(direct, [buffer], 0) and bytes(buffer)",
    "copy_file_range": "os.copy_file_range(fd, other, size, 0, 0) and os.pread(other, size, 0)",
    "sendfile": "os.sendfile(other, fd, 0, size) and os.pread(other, size, 0)",
    "mapping": "mmap.mmap(fd, size)[:]",
}


@pytest.mark.parametrize("how", READ_ALL)
def test_whoever_reads_sees_what_was_stored_through_a_mapping(top: Path, how: str):
    """The reader has the file open before: open(2) would write back what was stored."""
    script = f"""
import mmap, os, sys
fd, direct = os.open(sys.argv[1], os.O_RDWR), os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
other = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
size = os.fstat(fd).st_size
buffer = mmap.mmap(-1, size)
print("open", flush=True)
sys.stdin.read(1)
sys.stdout.buffer.write({READ_ALL[how]})
"""
    with mapped_file(top / "file") as (_, memory):
        with subprocess.Popen(
            [sys.executable, "-c", script, top / "file", top / "other"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"open\n"
            memory[5 * PAGE + 1 : 5 * PAGE + 5] = b"here"
            printed, _ = reader.communicate(b"x", timeout=PROGRAM_TIMEOUT_S)
        assert printed == memory[:]


def test_what_was_stored_through_a_mapping_and_synced_survives_a_kill(mount):
    m = mount()
    (m.path / "file").write_bytes(b"o" * 2 * PAGE)
    with opened(m.path / "file", os.O_RDWR) as fd, mmap.mmap(fd, 2 * PAGE) as memory:
        memory[PAGE : PAGE + 4] = b"kept"
        memory.flush()
        m.kill()
    m.remount()
    assert (m.path / "file").read_bytes() == b"o" * PAGE + b"kept" + b"o" * (PAGE - 4)


def test_sync_of_the_whole_mount_has_what_was_stored_through_mappings(mount):
    """As syncfs(2) has; also of a file whose process does nothing else."""
    m = mount(commit="3600s")
    files = [m.path / f"file{i}" for i in range(3)]
    with ExitStack() as stack:
        for fd, memory in [stack.enter_context(mapped_file(file)) for file in files]:
            os.stat(fd)  # a new time in the answer would make the kernel write back by itself
            memory[PAGE : PAGE + 4] = memory[7 * PAGE : 7 * PAGE + 4] = b"kept"
        with opened(m.path / ".fusefs", os.O_RDONLY) as everything:
            os.fsync(everything)  # not by a program: that closes our files, which writes back
        m.kill()
    m.remount()
    for file in files:
        content = file.read_bytes()
        assert content[PAGE : PAGE + 4] == content[7 * PAGE : 7 * PAGE + 4] == b"kept"


def test_rename_over_a_file_has_what_was_stored_through_a_live_mapping(mount):
    """A crash leaves the old or the new, whole: ext4's auto_da_alloc writes that back as well."""
    m = mount(commit="3600s")
    (m.path / "old").write_bytes(b"old")
    with mapped_file(m.path / "new") as (_, memory):
        memory[PAGE : PAGE + 4] = b"kept"
        (m.path / "new").rename(m.path / "old")
        with opened(m.path, os.O_RDONLY) as fd:
            os.fsync(fd)  # the name is there
        m.kill()
    m.remount()
    assert (m.path / "old").read_bytes() == b"o" * PAGE + b"kept" + b"o" * (7 * PAGE - 4)


def test_daemon_that_is_told_to_end_waits_for_no_mapping(mount):
    """Nobody reads the kernel's writes any more, and a sync that waits for them is no success."""
    m = mount()
    pid, said = m.pid, []
    with mapped_file(m.path / "file") as (fd, memory), m.gates() as gates:
        os.stat(fd)
        memory[:] = b"n" * len(memory)
        gates.hold("begin", "op=write", "timeout=20s", "as a")

        def sync() -> None:
            with suppress(OSError), opened(m.path / ".fusefs", os.O_RDONLY) as everything:
                os.fsync(everything)
                said.append("is on the disk")

        thread = Thread(target=sync, daemon=True)
        thread.start()
        gates.wait("a", 10)
        os.kill(pid, signal.SIGTERM)
        thread.join(10)
        assert not thread.is_alive()
        assert said == []
    eventually(lambda: has_ended(pid), "the daemon has ended")


# -- nobody waits for ever -------------------------------------------------------------------


@contextmanager
def stress(m: Mount) -> Iterator[list[subprocess.Popen[str]]]:
    """All kinds of clients at once, on pages of one file."""
    (m.path / "file").write_bytes(bytes(256 * PAGE))
    roles = [*STRESS, "mapped reader", "aio"]
    clients = [start("stress", role, m.path / "file", STRESS_S) for role in roles]
    try:
        yield clients
    finally:
        for each in clients:
            each.kill()
            each.communicate(timeout=PROGRAM_TIMEOUT_S)


@pytest.mark.parametrize("options", [{"block_size": 512}, {"block_size": "4k", "jitter": "20ms"}])
def test_mapped_readers_and_writers_and_all_others_go_on(mount, options: dict[str, str | int]):
    m = mount(**options)
    with stress(m) as clients:
        said = [each.communicate(timeout=PROGRAM_TIMEOUT_S) for each in clients]
    assert [each.returncode for each in clients] == [0] * len(clients), said
    assert all(int(printed) for printed, _ in said)


@needs_root
@pytest.mark.parametrize("how", ["umount -l", "SIGTERM", "SIGKILL"])
def test_mount_that_ends_under_mapped_clients_leaves_nobody_waiting(mount, how: str):
    """Neither the clients, nor the daemon, nor the process that tells the kernel."""
    m = mount(jitter="50ms")
    pid = m.pid
    with stress(m) as clients:
        eventually(lambda: tellers(pid) != [], "the kernel is told of something")
        processes = [pid, *tellers(pid)]
        if how == "umount -l":
            subprocess.run(lazy_umount(m.path), check=True, timeout=PROGRAM_TIMEOUT_S)
        elif how == "SIGTERM":
            os.kill(pid, 15)
        else:
            m.kill()
        for each in clients:
            each.communicate(timeout=PROGRAM_TIMEOUT_S)
    for each_pid in processes:
        eventually(lambda gone=each_pid: has_ended(gone), f"process {each_pid} ends")
