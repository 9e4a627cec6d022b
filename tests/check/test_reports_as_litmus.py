"""Each report's litmus file: a search of it finds the same under the orders of the mount."""

from collections.abc import Iterator

import pytest
from check import programs
from check.test_no_false_report import STALE
from check.turns import Turns

from fusefs.check.report import Report
from fusefs.explore.answer import Answer, ask
from fusefs.litmus.parse import parse
from fusefs.litmus.test import NEVER, Litmus
from fusefs.litmus.text import text
from fusefs.model.orders import POST_BEFORE_END

REPORTS = 3
"""Different ones of each order."""

SEEDS_MAX = 4000


def found(name: str) -> Iterator[Report]:
    """Reports of random programs, each with a litmus file that none before it had."""
    order, before = STALE[name]
    seen = set()
    for seed in range(SEEDS_MAX):
        turns = programs.turns(seed, order, before=before)
        programs.run(turns, batches=6)
        for report in turns.checker.reports.values():
            body = report.litmus.partition("page")[2]
            if report.litmus and body not in seen:
                seen.add(body)
                yield report


def answer(litmus: Litmus, orders: frozenset[str]) -> Answer:
    return ask(litmus, orders)


@pytest.mark.parametrize("name", STALE)
def test_search_finds_what_was_reported_and_not_today(name: str) -> None:
    """(D1) (T1)"""
    order, before = STALE[name]
    orders = order | {POST_BEFORE_END} if before else order
    count = 0
    for report in found(name):
        litmus = parse(report.litmus, "report")
        assert text(litmus) == report.litmus
        name = "+".join(sorted(orders))
        assert litmus.expected.keys() == {name}
        assert answer(litmus, orders).observation == litmus.expected[name] != NEVER, report.litmus
        assert answer(litmus, frozenset()).observation == NEVER, report.litmus
        count += 1
        if count == REPORTS:
            return
    raise AssertionError(f"{name}: {count} litmus files in {SEEDS_MAX} schedules")


def test_report_without_the_change_has_no_litmus_file() -> None:
    """It is forgotten: the report says so, and makes nothing up."""
    order, before = STALE["before"]
    for seed in range(SEEDS_MAX):
        turns: Turns = programs.turns(seed, order, before=before)
        turns.between = turns.checker._history.clear
        programs.run(turns)
        for report in turns.checker.reports.values():
            assert report.litmus == ""
            assert report.document()["between"] is None
            return
    raise AssertionError("nothing was found")
