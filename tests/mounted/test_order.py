"""The claim: `before` shows zeros to those who wrote data, and `after` never does.

The client is provoke.py.  A conversion takes 5 ms on average here, so that readers meet
it in every run.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted import provoke
from mounted.clients import all_succeed, python, run
from mounted.mounting import Mount

from fusefs.engine.events import ENDED, GRANTED

pytestmark = pytest.mark.mounted

READS = provoke.BLOCKS

GEOMETRIES = [("512", "4k"), ("1k", "4k"), ("4k", "4k"), ("4k", "64k")]

every_geometry = pytest.mark.parametrize(
    ("block_size", "page_size"),
    GEOMETRIES,
    ids=[f"block {block}-page {page}" for block, page in GEOMETRIES],
)

every_preparation = pytest.mark.parametrize("prepared", ["sparse", "preallocated"])


def zeros_seen(file: Path, block_size: int, prepared: str) -> int:
    """Run the client once on a new file; how many of its reads saw zeros."""
    client = run(sys.executable, provoke.__file__, file, str(block_size), prepared)
    counts = json.loads(client)
    assert counts["reads"] == READS
    assert counts["others"] == 0
    return counts["zeros"]


@every_geometry
@every_preparation
def test_before_shows_zeros_and_after_never(
    mount: Callable[..., Mount], block_size: str, page_size: str, prepared: str
):
    """(D1) in AFTER order no cached page disagrees with the image; in BEFORE order some do.

    Guards kernel c771c14baa33 (xfstests generic/418).
    """
    m = mount(
        invalidate="before",
        block_size=block_size,
        page_size=page_size,
        conversion_delay="5ms",
    )
    length = m.status()["space"]["block_size"]
    assert zeros_seen(m.path / "before", length, prepared) > 0
    assert m.status()["counters"]["pages_stale_possible"] > 0

    m.set(invalidate="after")
    stale = m.status()["counters"]["pages_stale_possible"]
    for i in range(3):
        assert zeros_seen(m.path / f"after{i}", length, prepared) == 0
    assert m.status()["counters"]["pages_stale_possible"] == stale


def test_order_is_switched_on_a_live_mount_by_writing_a_file(mount: Callable[..., Mount]):
    """echo before > .fusefs/invalidate turns the bug on, echo after turns it off."""
    m = mount(conversion_delay="5ms")
    for i, order in enumerate(["after", "before", "after", "before", "after"]):
        (m.path / ".fusefs/invalidate").write_text(f"{order}\n")
        assert m.status()["options"]["invalidate"] == order
        zeros = zeros_seen(m.path / f"file{i}", 1024, "sparse")
        assert (zeros > 0) == (order == "before")


def fills_between_drop_and_end(m: Mount) -> int:
    """Pages filled after a write's last step was its drop, and before it was answered."""
    last: dict[int, str] = {}
    between = 0
    for event in m.trace():
        if event.event == ENDED:
            last.pop(event.request, None)
        elif event.event == GRANTED:
            if event.step == "buffered.read.fill":
                between += "dio.write.invalidate_post" in last.values()
            last[event.request] = event.step
    return between


def test_trace_shows_the_read_between_drop_and_conversion(mount: Callable[..., Mount]):
    """In BEFORE order a page is filled after a writer's last drop and before its conversion."""
    m = mount(invalidate="before", conversion_delay="5ms")
    assert zeros_seen(m.path / "file", 1024, "sparse") > 0
    assert fills_between_drop_and_end(m) > 0
    m.set(invalidate="after")
    m.clear_trace()
    assert zeros_seen(m.path / "after", 1024, "sparse") == 0
    assert fills_between_drop_and_end(m) == 0


# -- other orders that kernels had, or nearly had ----------------------------------------


def test_map_before_insert_shows_zeros_and_today_s_order_does_not(mount: Callable[..., Mount]):
    """(D1) (P3) The page comes into the cache after the drop that should have removed it."""
    m = mount(order="map_before_insert", conversion_delay="5ms", jitter="5ms")
    assert zeros_seen(m.path / "then", 1024, "sparse") > 0
    m.set(order="none")
    assert zeros_seen(m.path / "now", 1024, "sparse") == 0


APPENDS = 50

APPENDER = """
import mmap, os, sys
data = mmap.mmap(-1, 4096)
data.write(b"x" * 4096)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
print("open", flush=True)
os.read(int(sys.argv[3]), 1)  # returns when the other end is closed
for number in range(int(sys.argv[2])):
    os.pwrite(fd, data, number * 4096)
"""

FOLLOWER = """
import mmap, os, sys
data = mmap.mmap(-1, 4096)
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
print("open", flush=True)
os.read(int(sys.argv[3]), 1)
number = zeros = 0
while number < int(sys.argv[2]):
    if os.preadv(fd, [data], number * 4096):
        zeros += data[0] == 0
        number += 1
print(zeros)
"""


def zeros_followed(file: Path) -> int:
    """One process appends directly, another reads directly: how many blocks it saw as zeros."""
    file.touch()
    start, go = os.pipe()
    try:
        clients = [
            python(script, file, APPENDS, start, inherits=[start])
            for script in (APPENDER, FOLLOWER)
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "open\n"
    finally:
        os.close(start)
        os.close(go)
    return int(all_succeed(clients)[1])


def test_isize_before_convert_shows_zeros_and_today_s_order_does_not(mount: Callable[..., Mount]):
    """(D5) Guards kernel ee70daaba82d (xfstests generic/465)."""
    m = mount(order="isize_before_convert", conversion_delay="5ms")
    assert zeros_followed(m.path / "then") > 0
    m.set(order="none")
    assert zeros_followed(m.path / "now") == 0
