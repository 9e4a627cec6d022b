"""Whether a condition holds of an outcome, and how it is grouped."""

import pytest

from fusefs.litmus.condition import atoms, condition_text, holds, parse_condition
from fusefs.litmus.source import Line
from fusefs.litmus.test import And, Atom, Condition, Not, Or

OUTCOME = {("", "A.r"): "ab", ("cache", "f"): "-.", ("size", "f"): "512"}

YES, NO = Atom("", "A.r", "ab"), Atom("size", "f", "4096")
P, Q, R = (Atom("disk", name, "0") for name in "pqr")


def parsed(text: str) -> Condition:
    return parse_condition(Line("x.litmus", 1, text, text), text)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (YES, True),
        (NO, False),
        (Atom("cache", "f", "-."), True),
        (Atom("disk", "f", "-."), False),
        (Atom("", "B.r", ""), False),
        (Not(NO), True),
        (Not(YES), False),
        (And(YES, NO), False),
        (And(YES, YES), True),
        (Or(NO, YES), True),
        (Or(NO, NO), False),
    ],
)
def test_condition_holds(condition: Condition, expected: bool):
    assert holds(condition, OUTCOME) is expected


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("disk p = 0 \\/ disk q = 0 /\\ disk r = 0", Or(P, And(Q, R))),
        ("(disk p = 0 \\/ disk q = 0) /\\ disk r = 0", And(Or(P, Q), R)),
        ("disk p = 0 /\\ disk q = 0 /\\ disk r = 0", And(And(P, Q), R)),
        ("disk p = 0 /\\ (disk q = 0 /\\ disk r = 0)", And(P, And(Q, R))),
        ("disk p = 0 \\/ (disk q = 0 \\/ disk r = 0)", Or(P, Or(Q, R))),
        ("~(disk p = 0) /\\ disk q = 0", And(Not(P), Q)),
        ("~(disk p = 0 /\\ disk q = 0)", Not(And(P, Q))),
    ],
)
def test_grouping_is_read_and_printed(text: str, condition: Condition):
    assert parsed(text) == condition
    assert condition_text(condition) == text


def test_negation_binds_tightest():
    assert parsed("~disk p = 0 /\\ disk q = 0") == And(Not(P), Q)


def test_atoms_come_in_the_order_of_the_text():
    assert atoms(And(Or(P, Not(Q)), R)) == [P, Q, R]
