"""Who pays for the default delays on a real mount: counts of delays, not how long they were.

Each client has default options, and is a process or a thread of its own.
"""

import mmap
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import aligned, all_succeed, opened, python, watched
from mounted.mounting import Mount

from fusefs.live.timing import TRY_S

pytestmark = pytest.mark.mounted

BLOCK = 4096
BLOCKS = 64


def sparse(m: Mount) -> Path:
    path = m.path / "file"
    with opened(path, os.O_WRONLY | os.O_CREAT) as fd:
        os.ftruncate(fd, BLOCKS * BLOCK)
    return path


def write_all(path: Path) -> None:
    """One direct write into each block, all of them holes."""
    data = aligned(bytes(BLOCK))
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT) as fd:
        for number in range(BLOCKS):
            assert os.pwrite(fd, data, number * BLOCK) == BLOCK


def delays(m: Mount) -> dict[str, int]:
    counters: dict[str, int] = m.status()["counters"]
    return {name: count for name, count in counters.items() if name.endswith("_delayed")}


NONE = {"conversions_delayed": 0, "fills_delayed": 0, "windows_delayed": 0}


def test_lone_cold_reader_waits_for_nothing(mount: Callable[..., Mount]):
    """(Y1) Nobody writes direct: there is nothing that a pause could show."""
    m = mount(readahead=0)
    (m.path / "file").write_bytes(bytes(BLOCKS * BLOCK))
    m.remount()
    with opened(m.path / "file", os.O_RDONLY) as fd:
        for number in random.sample(range(BLOCKS), BLOCKS):
            assert len(os.pread(fd, BLOCK, number * BLOCK)) == BLOCK
    assert m.status()["counters"]["pages_filled"] == BLOCKS
    assert delays(m) == NONE


def test_lone_direct_writer_waits_for_nothing(mount: Callable[..., Mount]):
    """(Y1) Into holes of a file, and at the end of another: nobody could see a conversion."""
    m = mount()
    write_all(sparse(m))
    write_all(m.path / "new")
    assert m.status()["counters"]["conversions"] == 2 * BLOCKS
    assert delays(m) == NONE


def test_each_conversion_takes_time_while_another_thread_may_look(mount: Callable[..., Mount]):
    """The bug must be found: the same writes, beside somebody who has the file open to read."""
    m = mount()
    path = sparse(m)
    with watched(path):
        write_all(path)
    assert m.status()["counters"]["conversions"] == BLOCKS
    assert delays(m)["conversions_delayed"] == BLOCKS


def test_appends_are_converted_at_once_whoever_looks(mount: Callable[..., Mount]):
    """Nobody fills a page behind the end of the file."""
    m = mount()
    path = m.path / "file"
    path.touch()
    with watched(path):
        write_all(path)
    assert m.status()["counters"]["conversions"] == BLOCKS
    assert delays(m)["conversions_delayed"] == 0


def test_fills_wait_beside_a_direct_writer_in_another_process(mount: Callable[..., Mount]):
    """As in generic/418: children that write their own block and read it back."""
    m = mount(block_size=512)
    path = sparse(m)
    script = """
import mmap, os, sys
path, start, me = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = mmap.mmap(-1, 512)
reading, writing = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY | os.O_DIRECT)
print("open", flush=True)
os.read(start, 1)  # returns when the other end is closed
for number in range(me, 512, 4):
    os.pwrite(writing, data, number * 512)
    os.pread(reading, 512, number * 512)
"""
    start, go = os.pipe()
    try:
        clients = [python(script, path, start, me, inherits=[start]) for me in range(4)]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "open\n"
    finally:
        os.close(start)
        os.close(go)
    all_succeed(clients)
    assert delays(m)["conversions_delayed"] > 0
    assert delays(m)["fills_delayed"] > 0


def test_thread_that_reads_back_what_it_wrote_is_hardly_delayed(mount: Callable[..., Mount]):
    """(Y1) One conversion in each TRY_S is tried, and its fills are not delayed."""
    m = mount()
    path = sparse(m)
    data = mmap.mmap(-1, BLOCK)
    with (
        opened(path, os.O_RDONLY) as reading,
        opened(path, os.O_WRONLY | os.O_DIRECT) as writing,
    ):
        begun = time.monotonic()
        for number in range(BLOCKS):
            os.pwrite(writing, data, number * BLOCK)
            os.pread(reading, BLOCK, number * BLOCK)
        duration_s = time.monotonic() - begun
    assert 1 <= delays(m)["conversions_delayed"] <= 1 + duration_s / TRY_S
    assert delays(m)["fills_delayed"] == 0
