"""Recordings: what a line says, and files that are none, or not whole: one line each."""

import pytest
from predict.recorded import sealed

from fusefs.engine.events import Event
from fusefs.engine.recording import (
    HEAD,
    Gone,
    Lost,
    Machine,
    Named,
    Record,
    RecordingError,
    State,
    records,
)

SAID: list[Record] = [
    Machine(4096, 512, 131072, "linux-6.18", "none"),
    Named(12, "/a b\n/ü"),
    Named(13, ""),
    State(7, 4096, ((0, ("u-",) * 2 + ("wc",) * 6), (8192, ("hd",)))),
    State(8, 0, ()),
    Event(12_345_678_000, 4711, "write", 12, "-", 0, 512, 7, "began", "direct"),
    Lost(120),
    Gone(),
]


def whole(said: list[Record] = SAID) -> list[bytes]:
    return sealed([f"{HEAD}\n".encode(), *(f"{each}\n".encode() for each in said)])


def test_each_line_is_read_back() -> None:
    assert list(records(whole(), "file")) == SAID


def test_state_is_short() -> None:
    assert str(SAID[3]) == "state 7 4096 0:2u-,6wc 8192:1hd"


def refusal(lines: list[bytes]) -> str:
    with pytest.raises(RecordingError) as error:
        list(records(lines, "file"))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kept", range(1, len(SAID) + 2))
def test_recording_that_is_cut_short_is_refused(kept: int) -> None:
    assert refusal(whole()[:kept]) == (f"file: cut short at line {kept}: the recording did not end")


def test_recording_that_is_cut_within_a_line_is_refused() -> None:
    lines = whole()
    lines[-1] = lines[-1][:-5]
    assert refusal(lines) == "file: it was edited: its lines are not those recorded"


def test_empty_file_is_refused() -> None:
    assert refusal([]) == "file: cut short at line 0: the recording did not end"


def test_recording_that_was_edited_is_refused() -> None:
    lines = whole()
    lines[6] = lines[6].replace(b"4711", b"4712")
    assert refusal(lines) == "file: it was edited: its lines are not those recorded"
    assert refusal(lines[:3] + lines[4:]) == refusal(lines), "a line that was taken out"
    assert refusal([*whole(), b"lost 1\n"]) == "file:11: a line behind the end of the recording"


@pytest.mark.parametrize(
    "line",
    [
        *("state 7", "state 7 4096 0:", "state 7 4096 0:2x-", "state 7 4096 0:2u?", "lost some"),
        *("file twelve '/a'", "file 12 /a", "machine page=4096", "machine page=3 block=512", ""),
        *("12.3 4711 write", "state 7 4096 0:999999999w-", "machine page=512 block=4096"),
    ],
)
def test_line_that_says_nothing_is_named(line: str) -> None:
    said = refusal(sealed([f"{HEAD}\n".encode(), f"{line}\n".encode()]))
    assert said == f"file:2: '{line}' is no line of a recording"


def test_other_files_are_refused() -> None:
    assert refusal([b"fusefs recording 2\n"]).startswith("file: of another version")
    assert refusal([b"litmus a\n"]) == f"file: no recording: it does not begin with '{HEAD}'"
    assert refusal([f"{HEAD}\n".encode(), b"\xff\xfe\n"]) == "file:2: no text"
