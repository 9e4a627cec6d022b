"""The checker finds nothing in today's order, whatever happens, and something in each stale one."""

from collections.abc import Callable

import pytest
from check import programs
from check.turns import Turns

from fusefs.check.compare import compare, is_comparable

SEEDS = 150
SEEDS_LONG = 20_000
SEEDS_MAX = 4000
"""Until a stale order must have shown."""

STALE = {
    "before": (frozenset[str](), True),
    "no_post": (frozenset(["no_post"]), False),
    "no_pre": (frozenset(["no_pre"]), False),
    "isize_after_post": (frozenset(["isize_after_post"]), False),
    "map_before_insert": (frozenset(["map_before_insert"]), False),
    "punch_beside_fill": (frozenset(["punch_beside_fill"]), False),
    "ret_before_end": (frozenset(["ret_before_end"]), False),
}
"""The orders of a mount that leave a page which is not as the image is."""

SOUND = (
    *("holes_by_cache", "lockout", "read_drops", "unlocked_reads", "flush_without_wait"),
    *("isize_before_convert", "stale_iomap_in_write", "unaligned_shared", "zero_length_post"),
)
"""The others: what they break, if they do, is not that."""


def after_every_turn(turns: Turns) -> Callable[[], None]:
    """All pages are looked at, and what the checker remembers is compared once more."""
    inode, checker = turns.inodes[1], turns.checker
    fs = turns.world.fs
    length = 100 * fs.geometry.page_size

    def check() -> None:
        checker.look(inode, 0, length)
        if inode.mapping.lock.held_exclusive:
            return
        since = checker._changed_at.get(1, checker._others_changed_at)
        for page in inode.mapping.pages.values():
            if page.compared >= since and is_comparable(page):
                found = compare(page, inode, fs.geometry, turns.image.look_at)
                assert found.difference is None, "(X2) remembered as equal, and differs"

    return check


def reports_of(turns: Turns) -> int:
    turns.between = after_every_turn(turns)
    programs.run(turns)
    return len(turns.checker.reports)


def told(turns: Turns, seed: int) -> str:
    return f"seed {seed}: " + "\n".join(str(each) for each in turns.checker.reports.values())


@pytest.mark.parametrize("fault_rate", [0.0, 0.05], ids=["sound disk", "failing disk"])
def test_today_s_order_is_never_reported(fault_rate: float) -> None:
    """(D1) (X1) (X2) Whatever the schedule, at every moment, and with errors of the image."""
    compared = 0
    for seed in range(SEEDS):
        turns = programs.turns(seed, fault_rate=fault_rate)
        assert reports_of(turns) == 0, told(turns, seed)
        compared += turns.checker.counts.pages_compared
    assert compared > 10 * SEEDS


@pytest.mark.long
@pytest.mark.parametrize("fault_rate", [0.0, 0.05], ids=["sound disk", "failing disk"])
def test_today_s_order_is_never_reported_in_many_schedules(fault_rate: float) -> None:
    """(D1) In ten minutes."""
    for seed in range(SEEDS, SEEDS_LONG):
        turns = programs.turns(seed, fault_rate=fault_rate)
        assert reports_of(turns) == 0, told(turns, seed)


@pytest.mark.parametrize("order", SOUND)
def test_order_that_leaves_no_stale_page_is_never_reported(order: str) -> None:
    for seed in range(SEEDS // 4):
        turns = programs.turns(seed, frozenset([order]))
        assert reports_of(turns) == 0, told(turns, seed)


@pytest.mark.parametrize("name", STALE)
def test_order_that_leaves_stale_pages_is_reported(name: str) -> None:
    """(D1) (T1)"""
    order, before = STALE[name]
    for seed in range(SEEDS_MAX):
        if reports_of(programs.turns(seed, order, before=before)):
            return
    raise AssertionError(f"{name}: nothing in {SEEDS_MAX} schedules")
