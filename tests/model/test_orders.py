"""What is known of each order, and that there is a switch for each."""

import errno
import re

import pytest
from model.driving import Task, direct_read, file_with, read, run

from fusefs.explore.memory import World
from fusefs.model.dio import ThroughCache, direct_write
from fusefs.model.errors import FsError
from fusefs.model.file_io import fsync
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.mapped import mapped_write
from fusefs.model.order_rows import INFERRED, MESSAGE, RECALLED, ROWS, SOURCE
from fusefs.model.orders import ERAS, TODAY, Orders, with_implied
from fusefs.model.steps import NAMES

EVIDENCE = {INFERRED, MESSAGE, RECALLED, SOURCE}

COMMIT = re.compile(r"\b[0-9a-f]{12}\b")

LABEL = re.compile(r"\([A-Z]\d\)")


def in_force(names: list[str]) -> set[str]:
    orders = Orders(names)
    return {name for name in ROWS if getattr(orders, name)}


def test_each_order_has_a_row_and_a_switch():
    switches = {name for name in dir(Orders) if not name.startswith("_")} - {"windows"}
    assert switches == set(ROWS)
    assert in_force([]) == set()
    for name in ROWS:
        assert in_force([name]) == with_implied([name])


def test_order_has_with_it_what_it_needs():
    assert in_force(["fallback_undrained"]) == {"fallback_undrained", "holes_by_cache"}
    with pytest.raises(KeyError):
        Orders(["fallback"])


def test_windows_are_of_the_orders_in_force_but_of_the_one_under_study():
    assert Orders(["post_before_end", "no_pre"]).windows == frozenset()
    assert Orders(["punch_beside_fill"]).windows == {"fallocate.free", "buffered.read.page_lock"}


@pytest.mark.parametrize("name", ROWS)
def test_row_says_what_is_known_and_where_from(name: str):
    """Who names no commit says so in the evidence: it is no message's or source's alone."""
    row = ROWS[name]
    found = set(row.evidence.split(", "))
    assert found
    assert found <= EVIDENCE
    assert row.window in {"", *NAMES}
    assert set(row.implies) <= ROWS.keys() - {name}
    if row.breaks:
        assert row.seen_by
        assert row.seen_not or not row.broken
    told = f"{row.broken} {row.fixed}"
    assert COMMIT.search(told) or found & {RECALLED, INFERRED} or name == "lockout"


@pytest.mark.parametrize("name", ROWS)
def test_row_is_a_sentence_or_two(name: str):
    """They are shown in tables: no line ends, and no full stop at an end."""
    row = ROWS[name]
    for text in (row.title, row.broken, row.fixed, row.breaks, row.seen_by, row.seen_not):
        assert text == text.strip()
        assert not text.endswith(".")
        assert "\n" not in text
    assert len(LABEL.findall(row.breaks)) <= 1


def test_eras_are_sets_of_orders_and_today_is_the_empty_one():
    assert ERAS[TODAY].orders == frozenset()
    assert [*ERAS][-1] == TODAY
    for name, era in ERAS.items():
        assert era.orders <= ROWS.keys()
        assert bool(era.orders) == (name != TODAY)
        assert era.evidence.split(":")[0].split(", ")[0] in EVIDENCE
    sets = [era.orders for era in ERAS.values()]
    assert len({*sets}) == len(sets) - 1, "4.9 and 4.11 are alike, and no two others"


def test_order_under_study_came_twice_and_went_twice():
    """c771c14baa33 and 5e25c269e17d; 332391a9935d in between."""
    had = [name for name, era in ERAS.items() if "post_before_end" in era.orders]
    assert had == ["linux-4.10", "linux-4.14-rc1"]


# -- places that are not in the gallery --------------------------------------------------

BLOCK, PAGE = 512, 1024


@pytest.mark.parametrize(
    ("pos", "cached"),
    [
        pytest.param(0, set(), id="all of the file"),
        pytest.param(PAGE, {0, 1, 2}, id="nothing between two pages"),
        pytest.param(PAGE + BLOCK, {0, 2}, id="the page around it"),
    ],
)
def test_drop_of_no_bytes_ends_with_the_byte_before_them(pos: int, cached: set[int]):
    world = World(block_size=BLOCK, page_size=PAGE, order=["zero_length_post"])
    file = OpenFile(Inode(1, 3 * PAGE))

    def read_all():
        read(world, file, 0, 3 * PAGE)

    read_all()
    steps = {"dio.write.invalidate_post": read_all}
    with pytest.raises(ThroughCache):
        run(world, direct_write(world.fs, file.inode, pos, b"D" * BLOCK), before=steps)
    assert set(file.inode.mapping.pages) == cached


@pytest.mark.parametrize("silent", [False, True], ids=["", "busy_drop_silent"])
def test_page_that_a_direct_read_cannot_drop_fails_the_next_fsync(silent: bool):
    """dio_warn_stale_pagecache() was for reads as well, between 5a9d929d6e13 and 54752de928c4."""
    orders = ["read_drops", *(["busy_drop_silent"] if silent else [])]
    world = World(block_size=BLOCK, page_size=PAGE, order=orders)
    file = file_with(world, b"A" * PAGE)
    read(world, file, 0, PAGE)
    store = Task(world, mapped_write(world.fs, file.inode, 0, b"B"))
    steps = {"dio.read.invalidate": store.finish}
    run(world, direct_read(world.fs, file.inode, 0, BLOCK), before=steps)
    error = 0
    try:
        run(world, fsync(world.fs, file))
    except FsError as failure:
        error = failure.errno
    assert error == (0 if silent else errno.EIO)
