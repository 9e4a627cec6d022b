"""Bytes of a run, told as letters."""

import pytest

from fusefs.trial.letters import ALPHABETS, Alphabet


def text(data: bytes, pos: int = 0, length: int = 8, letters: str = "ab", run: int = 1) -> str:
    return Alphabet(run).text(data, pos, length, 4, letters)


A, B, C = (Alphabet(1).byte(letter) for letter in "abc")
ZERO = bytes(1)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (A * 4 + B * 4, "ab"),
        (A * 4 + ZERO * 4, "a0"),
        (A * 4, "a."),
        (A * 6, "aa"),
        (b"", ".."),
        (A * 3 + ZERO + B * 4, "!b"),
        (A * 3 + C + B * 4, "!b"),
        (C * 4 + A * 4, "?a"),
        (b"\xff" * 8, "??"),
    ],
)
def test_one_character_for_each_block(data: bytes, told: str):
    assert text(data) == told


def test_blocks_count_from_the_file_s_begin():
    assert text(A * 2 + B * 4 + A * 2, pos=2) == "aba"
    assert text(A * 2, pos=5, length=2) == "a"


def test_bytes_of_other_runs_are_foreign():
    """What a run reads of an earlier one is as foreign as what was on the disk before all."""
    for other in range(2, ALPHABETS + 1):
        assert text(Alphabet(other).byte("a") * 8) == "??"
    assert text(Alphabet(1 + ALPHABETS).byte("a") * 8) == "aa"


def test_no_letter_is_zero_and_each_is_one_byte():
    seen = {Alphabet(run).byte(chr(c)) for run in range(ALPHABETS) for c in range(97, 123)}
    assert len(seen) == ALPHABETS * 26
    assert bytes(1) not in seen
