"""The claim: `before` shows zeros to those who wrote data, and `after` never does.

The client is provoke.py.  A conversion takes 5 ms on average here, so that readers meet
it in every run.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted import provoke
from mounted.clients import run
from mounted.mounting import Mount

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

    m.set("invalidate", "after")
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


def test_trace_shows_the_read_between_drop_and_conversion(mount: Callable[..., Mount]):
    """In BEFORE order a page is filled after a writer's last drop and before its conversion."""
    m = mount(invalidate="before", conversion_delay="5ms")
    assert zeros_seen(m.path / "file", 1024, "sparse") > 0
    steps: dict[str, list[str]] = {}
    between = 0
    for line in m.trace().splitlines():
        _, pid, _, _, step, _ = line.split()
        if step == "buffered.read.fill":
            between += sum(last[-1] == "dio.write.invalidate_post" for last in steps.values())
        steps.setdefault(pid, []).append(step)
    assert between > 0
