"""Orders and eras on a mount: what each shows to real processes, and that today's shows none of it.

Files of the gallery are tried under the order that each is about.  How often it shows depends on
the machine, so runs go on until it does; a run that never shows it fails at RUNS_MAX.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import all_succeed, direct_read, direct_write, python
from mounted.commands import USAGE, refused
from mounted.mounting import Mount

from fusefs import litmus
from fusefs.litmus.parse import parse
from fusefs.model.options import ORDERS
from fusefs.model.orders import ERAS, ROWS, TODAY
from fusefs.trial.on_directory import on_directory

pytestmark = pytest.mark.mounted

GALLERY = Path(litmus.__file__).parent / "gallery"

BATCH, RUNS_MAX, RUNS_TODAY = 40, 4000, 40

GEOMETRIES = {
    "flush_without_wait": ("512", "512"),
    "isize_after_post": ("512", "1k"),
    "isize_before_convert": ("512", "512"),
    "map_before_insert": ("512", "1k"),
    "no_post": ("512", "512"),
    "no_pre": ("512", "512"),
    "punch_beside_fill": ("512", "512"),
    "ret_before_end": ("512", "512"),
    "unaligned_shared": ("1k", "1k"),
    "unlocked_reads": ("512", "512"),
    "zero_length_post": ("512", "512"),
}
"""Block and page of the orders that show in what a program reads."""

BY_STATUS = {"holes_by_cache", "lockout", "read_drops"}
"""These are right, and show in the mount's status."""

BY_EVICTION = {"stale_iomap_in_write"}
"""Its file has a cache of one page, which no mount has."""


def seen(m: Mount, order: str, runs: int) -> int:
    """How many runs of an order's file showed it."""
    path = GALLERY / f"{order.replace('_', '-')}.litmus"
    return on_directory(parse(path.read_text(), path.name), m.path, runs).positive


def test_each_order_that_a_mount_can_show_is_tried():
    assert {*GEOMETRIES} | BY_STATUS | BY_EVICTION == {*ORDERS}


@pytest.mark.parametrize("order", GEOMETRIES)
def test_order_shows_to_real_processes_and_today_s_does_not(
    mount: Callable[..., Mount], order: str
):
    block, page = GEOMETRIES[order]
    m = mount(block_size=block, page_size=page, readahead=0, conversion_delay="5ms", order=order)
    runs = 0
    while not seen(m, order, BATCH):
        runs += BATCH
        assert runs < RUNS_MAX, f"{order} did not show in {runs} runs"
    m.set(order="none")
    assert seen(m, order, RUNS_TODAY) == 0


def test_hole_that_is_filled_through_the_cache_is_dirty_there(mount: Callable[..., Mount]):
    m = mount(order="holes_by_cache")
    direct_write(m.path / "then", b"x" * 4096)
    assert m.status()["cache"]["pages_dirty"] == 1
    m.set(order="none")
    direct_write(m.path / "now", b"x" * 4096)
    assert m.status()["cache"]["pages_dirty"] == 1


def test_direct_read_drops_what_is_cached(mount: Callable[..., Mount]):
    m = mount()
    (m.path / "file").write_bytes(b"x" * 4096)
    os.sync()
    (m.path / "file").read_bytes()
    direct_read(m.path / "file", 4096)
    assert m.status()["cache"]["pages"] == 1
    m.set(order="read_drops")
    direct_read(m.path / "file", 4096)
    assert m.status()["cache"]["pages"] == 0


def test_lockout_drops_nothing_afterwards_and_shows_no_zeros(mount: Callable[..., Mount]):
    m = mount(block_size=512, page_size="1k", conversion_delay="5ms", order="lockout")
    assert seen(m, "lockout", RUNS_TODAY) == 0
    assert m.status()["counters"]["invalidations_post"] == 0
    assert m.status()["counters"]["conversions"] > 0


STORE_HALVES = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
lost = 0
for _ in range(int(sys.argv[2])):
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"a" * 512, 0)
    os.pwrite(fd, b"b" * 512, 512)
    lost += os.pread(fd, 512, 0) != b"a" * 512
print(lost)
"""

FILL_CACHE = """
import os, sys
used, other = (os.open(path, os.O_RDWR | os.O_CREAT) for path in sys.argv[1:3])
while not os.path.exists(sys.argv[3]):
    os.pwrite(other, b"x" * (128 << 10), 0)
"""


def halves_lost(m: Mount, rounds: int) -> int:
    """One process stores a block in halves; another has pages written back and evicted."""
    end = m.path / "end"
    filling = python(FILL_CACHE, m.path / "halves", m.path / "other", end)
    lost = int(all_succeed([python(STORE_HALVES, m.path / "halves", rounds)])[0])
    end.touch()
    all_succeed([filling])
    end.unlink()
    return lost


def test_stale_map_loses_half_a_block_that_was_written_back_and_evicted(
    mount: Callable[..., Mount],
):
    """Guards kernel d7b64041164c."""
    options = {"block_size": 1024, "page_size": "1k", "cache_size": "64k"}
    m = mount(order="stale_iomap_in_write", conversion_delay="20ms", jitter=0, **options)
    rounds = 0
    while not halves_lost(m, 20):
        rounds += 20
        assert rounds < 400, f"no half was lost in {rounds} rounds"
    m.set(order="none")
    assert halves_lost(m, 20) == 0


# -- options -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.on_mount])
def test_order_that_no_mount_can_show_is_refused_with_the_reason(shared: Mount, name: str):
    saying = f"{name} shows on no mount: {ROWS[name].on_mount}"
    refused(USAGE, "set", shared.path, f"order=no_pre+{name}", saying=saying)
    assert shared.status()["options"]["order"] == "none"


def shown(m: Mount) -> tuple[str, str, str]:
    options = m.status()["options"]
    return options["era"], options["invalidate"], options["order"]


@pytest.mark.parametrize("era", ERAS)
def test_era_is_switched_live_and_shown(shared: Mount, era: str):
    shared.set(era=era)
    name, invalidate, order = shown(shared)
    had = {each for each in ERAS[era].orders if not ROWS[each].on_mount}
    assert name == era
    assert invalidate == ("before" if "post_before_end" in had else "after")
    assert {*order.split("+")} - {"none"} == had - {"post_before_end"}
    shared.set(era=TODAY)
    assert shown(shared) == (TODAY, "after", "none")


def test_of_era_order_and_invalidate_the_last_one_counts(mount: Callable[..., Mount]):
    """At a mount, live, and at a remount; one of them may come twice."""
    m = mount(order="lockout", era="linux-4.10")
    assert shown(m)[:2] == ("linux-4.10", "before")
    m.set(era="linux-5.9", order="none")
    assert shown(m) == (TODAY, "after", "none")
    m.remount(era="linux-4.10", invalidate="after")
    era, invalidate, order = shown(m)
    assert (era, invalidate) == ("none", "after")
    assert "isize_before_convert" in order
