"""Tokens of the gallery's witnesses, kept: each replays as long as its file means what it meant.

A token that is refused, or ends in something else, tells that a step has another name or place,
that a file has changed, or that an order has.  witnesses.txt is written anew by hand then:

    python tests/explore/test_witnesses.py > tests/explore/witnesses.txt
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import fusefs
from fusefs.explore.answer import ask, usual
from fusefs.explore.explain import fails
from fusefs.explore.token import made, parse_token, replay
from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus
from fusefs.model.orders import ERAS, ROWS

GALLERY = Path(fusefs.__file__).parent / "litmus" / "gallery"
STORED = Path(__file__).with_name("witnesses.txt")
TOKENS = STORED.read_text().splitlines() if STORED.exists() else []


WITHOUT_WITNESS = {"lockout"}
"""Another way to be right."""


def gallery(name: str) -> Litmus:
    path = GALLERY / f"{name}.litmus"
    return parse(path.read_text(), path.name)


def orders_of(name: str) -> frozenset[str]:
    return ERAS[name].orders if name in ERAS else frozenset([name])


@pytest.mark.parametrize("token", TOKENS)
def test_witness_replays(token):
    known = parse_token(token)
    litmus = gallery(known.name)
    execution, turns = replay(litmus, known, orders_of)
    assert len(turns) == len(known.turns)
    assert fails(litmus, execution)
    execution.close()


def test_each_order_has_a_witness():
    assert {parse_token(token).era for token in TOKENS} >= ROWS.keys() - WITHOUT_WITNESS


def witnesses() -> Iterator[str]:
    """The token of each file under each order that it names, but for those that end in a crash."""
    for path in sorted(GALLERY.glob("*.litmus")):
        litmus = gallery(path.stem)
        for order, answer in litmus.expected.items():
            if order in ROWS and answer != usual(litmus) and not litmus.crash:
                found = ask(litmus, [order])
                assert found.witness is not None, path.stem
                yield str(made(litmus, order, found.witness.turns))


if __name__ == "__main__":
    print("\n".join(witnesses()))
