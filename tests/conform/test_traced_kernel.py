"""The comparison with the kernel that runs here, small; and what is told where it cannot be.

Root, tracefs, loop devices and mkfs.xfs are needed; without them these tests are skipped, with the
reason.  A kernel other than those of docs/evidence.md may show something new: a rejection is that,
or a mistake.
"""

import json
import os
from pathlib import Path

import pytest

from fusefs.commands.main import main
from fusefs.conform import disk, tracefs, traces
from fusefs.conform.disk import disk as made_disk
from fusefs.conform.report import Asked
from fusefs.conform.sharpness import RACES
from fusefs.conform.tracefs import LostEvents, Trace, traced
from fusefs.litmus.parse import parse


@pytest.fixture
def kernel() -> None:
    """Skips where there is nothing to compare with."""
    if reason := tracefs.missing() or disk.missing("xfs", 1024):
        pytest.skip(reason)


def asked(*litmus: str, programs: int = 12, runs: int = 3) -> Asked:
    files = tuple(parse(text, "race") for text in litmus)
    return Asked(files, programs, runs, 0, lambda name: None)


@pytest.mark.usefixtures("kernel")
def test_kernel_does_what_the_model_does():
    with made_disk("xfs", 1024) as made, traced(made.device) as trace:
        section = traces.alone(made, trace, asked())
    assert section.rejected == 0, section.first
    assert section.accepted > 5
    assert section.events > 200


@pytest.mark.usefixtures("kernel")
def test_race_in_the_kernel_is_one_that_the_model_has():
    with made_disk("xfs", 1024) as made, traced(made.device) as trace:
        section = traces.files(made, trace, asked(RACES["post_before_end"]))
    assert section.rejected == 0, section.first
    assert section.runs == 3


@pytest.mark.usefixtures("kernel")
def test_lost_events_are_no_trace(monkeypatch):
    monkeypatch.setattr(tracefs, "BUFFER_KIB", 4)
    with made_disk("xfs", 1024) as made, traced(made.device) as trace:
        with pytest.raises(LostEvents, match="its buffer is too small"):
            record_too_much(trace)
        with trace.recording() as found:
            trace.mark("begin 0 0")
        assert len(found.lines) == 1


def record_too_much(trace: Trace) -> None:
    with trace.recording():
        for number in range(20_000):
            trace.mark(f"begin 0 {number}")


@pytest.mark.usefixtures("kernel")
def test_nothing_is_left():
    """Whatever happens: here an error in the middle."""
    places: list[Path] = []
    with pytest.raises(ZeroDivisionError):
        make_and_fail(places)
    assert len(places) == 2
    assert not any(place.exists() for place in places)


def make_and_fail(places: list[Path]) -> None:
    with made_disk("xfs", 4096) as made, traced(made.device) as trace:
        places += [made.path, trace.directory]
        assert all(place.is_dir() for place in places)
        raise ZeroDivisionError


@pytest.mark.usefixtures("kernel")
def test_command_tells_in_json(tmp_path, capsys):
    file = tmp_path / "race.litmus"
    file.write_text(RACES["aio_no_post"].lstrip())
    status = main(["conform", "--fs", "xfs", "--block", "1k", "--runs", "2", "--json", str(file)])
    report = json.loads(capsys.readouterr().out)
    traced_files = report["sections"][0]
    assert status == 0
    assert traced_files["name"] == "xfs 1024: traces, litmus files"
    assert traced_files["runs"] == 2
    assert traced_files["rejected"] == 0, traced_files["first"]
    assert set(report["steps_seen"]).isdisjoint(report["steps_unseen"])


def test_command_needs_root(monkeypatch, capsys):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert main(["conform", "--programs", "1"]) == 1
    assert capsys.readouterr().err == (
        "mount_tool.py: only root can make a loop device and mount a file system\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--block", "x"], "--block x is no size, such as 1k"),
        (["--runs", "0"], "--runs is a number from 1 on, --programs and --seed from 0 on"),
    ],
)
def test_wrong_words_are_told(words, line, capsys):
    assert main(["conform", *words]) == 2
    assert capsys.readouterr().err == f"mount_tool.py: {line}\n"
