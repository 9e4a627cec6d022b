"""klitmus' words, and what counts as unexpected."""

from dataclasses import replace

import pytest

from fusefs.litmus.parse import parse
from fusefs.litmus.test import ALWAYS, NEVER, SOMETIMES, Litmus
from fusefs.trial.histogram import Histogram, has_foreign_bytes, state_of
from fusefs.trial.on_directory import expected_of

FILE = """\
litmus two-blocks
page 4k
block 512
file f 1k unwritten
A:
    pwrite f 0 512 a direct
    r = pread f 0 1k
{question}
"""


def litmus(question: str) -> Litmus:
    return parse(FILE.format(question=question), "test")


def histogram(question: str, counts: dict[tuple[str, str], int]) -> Histogram:
    """counts: how often A.r and `disk f` had these values."""
    asked = litmus(question)
    states = {(("", "A.r", r), ("disk", "f", disk)): count for (r, disk), count in counts.items()}
    return Histogram(asked, "/mnt", 42, 1, expected_of(asked), states, seconds=0.4172)


SEEN = {("a0", "a0"): 988, ("00", "a0"): 12}


def test_text_is_klitmus():
    assert (
        histogram("exists A.r = 00 /\\ disk f = a0", SEEN).text()
        == """\
Test two-blocks Allowed
Histogram (2 states)
12      *>A.r=00; disk f=a0;
988     :>A.r=a0; disk f=a0;
Ok

Witnesses
Positive: 12, Negative: 988
Condition exists (A.r = 00 /\\ disk f = a0) is validated
Directory=/mnt
Seed=42
Observation two-blocks Sometimes 12 988
Time two-blocks 0.42
Unexpected: 12 of 1000 runs; expected: Never"""
    )


def test_report_has_the_same_figures():
    report = histogram("exists A.r = 00 /\\ disk f = a0", SEEN).report()
    assert (report["runs"], report["positive"], report["negative"]) == (1000, 12, 988)
    assert (report["seed"], report["scale"], report["expected"]) == (42, 1, NEVER)
    assert report["histogram"] == [
        {"outcome": {"A.r": "00", "disk f": "a0"}, "runs": 12, "positive": True},
        {"outcome": {"A.r": "a0", "disk f": "a0"}, "runs": 988, "positive": False},
    ]


def test_what_was_not_seen_is_not_called_impossible():
    text = histogram("exists A.r = 00 /\\ disk f = 00", {("a0", "a0"): 5}).text()
    assert "Histogram (1 state)\n5       :>A.r=a0; disk f=a0;\nNo\n" in text
    assert "is NOT validated" in text
    assert "Observation two-blocks Never 0 5" in text
    assert text.endswith("Seen in 5 runs: what was not seen may happen all the same")


def test_of_not_exists_the_other_runs_are_the_witnesses():
    """herd7 and klitmus7 count the states that validate the question."""
    text = histogram("~exists A.r = 00 /\\ disk f = a0", SEEN).text()
    assert text.startswith("Test two-blocks Forbidden\n")
    assert "12      *>A.r=00;" in text
    assert "\nNo\n" in text
    assert "Positive: 988, Negative: 12" in text
    assert "Observation two-blocks Sometimes 12 988" in text


def test_of_forall_the_states_that_break_it_are_marked():
    text = histogram("forall A.r = a0 /\\ disk f = a0", SEEN).text()
    assert text.startswith("Test two-blocks Required\n")
    assert "12      *>A.r=00;" in text
    assert "988     :>A.r=a0;" in text
    assert "Positive: 988, Negative: 12" in text
    assert "\nNo\n" in text


@pytest.mark.parametrize(
    ("question", "expected", "forbidden"),
    [
        ("exists A.r = 00 /\\ disk f = a0", NEVER, 12),
        ("~exists A.r = 00 /\\ disk f = a0", NEVER, 12),
        ("forall A.r = a0 /\\ disk f = a0", ALWAYS, 12),
        ("exists A.r = 00 /\\ disk f = 00", NEVER, 0),
        ("exists A.r = 00 /\\ disk f = a0\nsometimes linux-6.18", SOMETIMES, 0),
        ("exists A.r = 00 /\\ disk f = a0\nalways linux-6.18", ALWAYS, 988),
        ("exists A.r = 00 /\\ disk f = a0\nsometimes linux-4.10", NEVER, 12),
    ],
)
def test_exit_status_is_1_if_today_s_kernel_should_not(
    question: str, expected: str, forbidden: int
):
    seen = histogram(question, SEEN)
    assert (seen.expected, seen.forbidden) == (expected, forbidden)
    assert seen.exit_status == (1 if forbidden else 0)


def test_foreign_bytes_are_told_whatever_was_asked():
    outcome = {("", "A.r"): "a0", ("disk", "f"): "a?", ("", "A.unasked"): "EIO"}
    assert has_foreign_bytes(outcome)
    assert not has_foreign_bytes(outcome | {("disk", "f"): "a0"})
    seen = replace(histogram("exists A.r = 00 /\\ disk f = 00", {("a0", "a?"): 3}), foreign=3)
    assert seen.exit_status == 1
    assert seen.text().endswith("Foreign: 3 of 3 runs read what nobody wrote there")


def test_a_skipped_file_has_no_observation():
    """It must not look like one that was tried and passed."""
    skipped = replace(
        histogram("exists A.r = 00", {}), skipped=("aio: ENOSYS here", "block 512: no")
    )
    assert (
        skipped.text()
        == """\
Test two-blocks Allowed
Skipped two-blocks: aio: ENOSYS here
Skipped two-blocks: block 512: no"""
    )


def test_state_has_what_the_condition_asks_for_once_and_in_its_order():
    asked = litmus("exists disk f = a0 /\\ (A.r = 00 \\/ A.r = a0)")
    outcome = {("", "A.r"): "a0", ("disk", "f"): "00", ("", "A.x"): "0"}
    assert state_of(asked, outcome) == (("disk", "f", "00"), ("", "A.r", "a0"))
