"""What is known of each order, and that there is a switch for each."""

import re

import pytest

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
