"""What Linux 6.18's XFS left between the operations of a few programs: the model does the same."""

from dataclasses import replace

import pytest
from conform.looking import SEEDS, of_seed, recorded

from fusefs.conform.comparing import compare, difference_text
from fusefs.conform.on_model import run_on_model
from fusefs.model.orders import ROWS

RECORDED = recorded()

SHARP = {
    "no_pre": 19,
    "ret_before_end": 1,
    "written_at_allocation": 42,
    "zero_length_post": 3,
    "fallback_undrained": 3,
    "holes_by_cache": 3,
    "page_granular_dirty": 43,
    "read_drops": 43,
    "zero_range_ignores_dirty": 93,
    "truncate_writeback_first": 93,
}
"""The orders that one task can show, and a program that does."""


def difference(seed, orders=()):
    litmus = of_seed(seed)
    return compare(litmus, RECORDED[seed], run_on_model(litmus, orders), "xfs").difference


@pytest.mark.parametrize("seed", SEEDS)
def test_model_does_what_the_kernel_did(seed):
    found = difference(seed)
    assert found is None, difference_text(of_seed(seed), found)


@pytest.mark.parametrize("order", SHARP)
def test_wrong_order_is_rejected(order):
    found = difference(SHARP[order], [order])
    assert found is not None
    assert difference_text(of_seed(SHARP[order]), found)


@pytest.mark.parametrize("order", sorted(ROWS.keys() - SHARP.keys()))
def test_order_that_shows_in_races_alone_is_not(order):
    """docs/evidence.md says so; whoever makes the comparison sharper changes SHARP."""
    assert all(difference(seed, [order]) is None for seed in SEEDS)


@pytest.mark.parametrize("field", ["size", "allocated", "map", "pages"])
def test_any_field_that_differs_is_found(field):
    """At the last look, of the first file."""
    litmus, kernel = of_seed(0), RECORDED[0]
    name, last = next(iter(kernel.looks[-1].items()))
    value = getattr(last, field)
    wrong = replace(last, **{field: value + 1 if isinstance(value, int) else value + "w"})
    changed = replace(kernel, looks=(*kernel.looks[:-1], {**kernel.looks[-1], name: wrong}))
    found = compare(litmus, changed, run_on_model(litmus), "xfs").difference
    assert found is not None
    assert (found.place, found.what, found.file) == (len(kernel.results), field, name)


def test_result_that_differs_is_found():
    litmus, kernel = of_seed(0), RECORDED[0]
    wrong = replace(kernel, results=("EIO", *kernel.results[1:]))
    found = compare(litmus, wrong, run_on_model(litmus), "xfs").difference
    assert (found.place, found.what, found.kernel) == (1, "result", "EIO")
