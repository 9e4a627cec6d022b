"""The gallery: each file is answered as it says, and there is one for each order.

Under all orders and in all eras it is asked by tests/commands/test_gallery.py.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from fusefs import compiled, litmus
from fusefs.explore.answer import Answer, ask, is_as_expected
from fusefs.litmus.parse import parse
from fusefs.litmus.test import ALWAYS, FORALL, NEVER, Litmus
from fusefs.litmus.text import text
from fusefs.model.inode import Inode
from fusefs.model.orders import ERAS, ROWS, TODAY
from fusefs.model.page_cache import Page

PATHS = {path.stem: path for path in Path(litmus.__file__).parent.glob("gallery/*.litmus")}

FILES = {name: parse(path.read_text(), path.name) for name, path in sorted(PATHS.items())}

COMMIT = re.compile(r"\b[0-9a-f]{12}\b")

THE_MAIL_S = "post-before-end", "stale-zeros-64k"


@cache
def answer(name: str, orders: frozenset[str] = frozenset()) -> Answer:
    found = ask(FILES[name], orders)
    assert found.exhausted
    return found


def orders_of(name: str) -> frozenset[str]:
    """Of an era or an order."""
    return ERAS[name].orders if name in ERAS else frozenset([name])


def told(file: str, names: list[str]) -> list[str]:
    """Under which of these a file is not answered as it says."""
    return [
        f"{name}: {found.observation}, {found.broken}"
        for name in names
        if not is_as_expected(FILES[file], found := answer(file, orders_of(name)), [name])
    ]


def own_file(order: str) -> str:
    return order.replace("_", "-")


def names_in(file: Litmus) -> list[str]:
    return [name for name in file.expected if name in ERAS or name in ROWS]


# -- what is there -----------------------------------------------------------------------


def test_each_order_has_a_file():
    assert {own_file(order) for order in ROWS} <= FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_file_is_written_as_it_is_printed_and_says_what_happens(name: str):
    file = FILES[name]
    assert text(file) == PATHS[name].read_text()
    assert file.name == name
    assert file.prose
    assert all(len(line) <= 100 for line in PATHS[name].read_text().splitlines())
    assert file.expected.keys() <= ERAS.keys() | ROWS.keys()
    assert TODAY not in file.expected


@pytest.mark.parametrize("order", ROWS)
def test_file_names_the_commits_of_its_order(order: str):
    """Of those that broke it and mended it at least one, so that one leads to the other."""
    row, prose = ROWS[order], " ".join(FILES[own_file(order)].prose)
    commits = COMMIT.findall(f"{row.broken} {row.fixed}")
    assert not commits or any(commit in prose for commit in commits)


# -- what it is answered -----------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_today_s_kernel_never_does_it_and_breaks_no_rule(name: str):
    found = answer(name)
    assert found.observation == (ALWAYS if FILES[name].question.quantifier == FORALL else NEVER)
    assert found.broken == {}


@pytest.mark.parametrize("order", ROWS)
def test_order_shows_in_its_file(order: str):
    """But for one that is here because it is right in another way."""
    name = own_file(order)
    found = answer(name, frozenset([order]))
    assert told(name, [order]) == []
    unusual = found.observation != answer(name).observation
    assert unusual == (order != "lockout")
    if not ROWS[order].breaks:
        assert found.broken == {}
    elif "(D1)" in ROWS[order].breaks:
        assert found.broken.get("coherence")


@pytest.mark.parametrize("name", FILES)
def test_file_is_answered_as_it_says_where_it_says_something(name: str):
    assert told(name, names_in(FILES[name])) == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", THE_MAIL_S)
def test_the_bug_came_twice_and_went_twice(name: str, era: str):
    """(D1) c771c14baa33 and 5e25c269e17d; one preemption shows it, on either size of page."""
    found = answer(name, ERAS[era].orders)
    had_it = era in ("linux-2.6.20", "linux-4.10", "linux-4.14-rc1")
    assert (found.observation != NEVER) == had_it
    if found.witness is not None and era != "linux-2.6.20":
        assert found.witness.cost[0] == 1
        names = [turn.name for turn in found.witness.turns]
        drop, end = names.index("dio.write.invalidate_post"), names.index("dio.write.convert")
        assert drop < names.index("buffered.read.map") < end


# -- races that no order of the past shows -----------------------------------------------


async def does_not_wait(_: object) -> None:
    pass


@pytest.mark.skipif(compiled.CURRENT, reason="compiled code calls what it was compiled with")
@pytest.mark.parametrize(
    ("name", "owner", "method"),
    [
        ("truncate-beside-aio", Inode, "dio_wait"),
        ("writeback-under-drop", Page, "wait_writeback"),
    ],
)
def test_race_shows_if_nobody_waits(
    name: str, owner: type, method: str, monkeypatch: pytest.MonkeyPatch
):
    """(D6) (W1) These are Never under each order, so it takes a fault to see that they could be
    answered otherwise."""
    monkeypatch.setattr(owner, method, does_not_wait)
    found = ask(FILES[name], ())
    assert found.observation != NEVER or found.broken
