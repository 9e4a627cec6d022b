"""The predict command: what it says of a recording, its files, and what it refuses."""

import argparse
import json
import re
from pathlib import Path

import pytest
from predict.recorded import A, B, Run, stale

from fusefs.commands import predict, record
from fusefs.commands.main import main
from fusefs.engine.recording import Gone, Lost

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return saved(stale(), tmp_path)


def saved(run: Run, folder: Path) -> Path:
    path = folder / "run"
    path.write_bytes(b"".join(run.lines()))
    return path


def report(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:
    status = main(["predict", "--jobs", "1", "--json", *map(str, words)])
    return status, json.loads(capsys.readouterr().out)


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = main(["predict", "--jobs", "1", *map(str, words)])
    return status, capsys.readouterr().out


def test_it_says_where_who_which_eras_how_often_and_how(recording, capsys):
    status, text = said(capsys, recording)
    assert status == 1
    head, _, text = text.partition("\n\n")  # a long path breaks the head's lines elsewhere
    assert "2 requests of 2 threads" in " ".join(head.split())
    for part in (
        "1. /data, bytes 0 to 512: coherence",
        "under linux-2.6.20, linux-4.10, linux-4.14-rc1",
        f"A: pwrite 0+512 direct, thread {A}, at 1.000000",
        f"B: pread 512+512, thread {B}, at 1.001000",
        "such requests met once: in 1 of these under way at the same time",
        "it takes 2 switches between them",
        "       litmus predicted-1\n",
        "Bounds:\n  At most 2 requests of two threads or more at a time",
        "At most 20,000 classes a search.",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


def test_json_has_the_same(recording, capsys):
    """In two processes, too."""
    status, found = report(capsys, recording, "--jobs", "2")
    assert status == 1
    (prediction,) = found["predictions"]
    assert (prediction["file"], prediction["start"], prediction["end"]) == ("/data", 0, 512)
    assert set(prediction["eras"]) == {"linux-2.6.20", "linux-4.10", "linux-4.14-rc1"}
    assert prediction["switches"] == 2
    assert [each["thread"] for each in prediction["places"][0]] == [A, B]
    assert found["exhausted"]
    assert len(found["eras"]) == 9


@pytest.mark.parametrize(
    ("era", "status"),
    [("linux-4.10", 1), ("post_before_end", 1), ("linux-4.11", 0), ("linux-4.11,linux-4.10", 1)],
)
def test_only_what_is_asked_for_is_predicted(recording, capsys, era: str, status: int):
    assert said(capsys, recording, "--era", era)[0] == status


def test_litmus_files_answer_what_was_predicted(recording, tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    _, text = said(capsys, recording, "--write", folder)
    (path,) = folder.iterdir()
    assert str(path) in text
    assert "litmus predicted-1\n" not in text
    assert main(["litmus", str(path), "--era", "all", "--jobs", "1"]) == 0


def test_nothing_is_said_of_threads_that_share_no_page(tmp_path, capsys):
    run = Run()
    for ms in range(20):
        run.call(ms, A, "write", 0, 4096, "direct", blocks="8u-", size=8192)
        run.call(ms + 0.5, B, "read", 4096, 4096, blocks="8u-", size=8192)
    status, text = said(capsys, saved(run, tmp_path))
    assert status == 0
    assert "Nothing is predicted: no two threads touched a page within the window." in text


def test_what_one_thread_does_alone_is_asked_for(tmp_path, capsys):
    run = Run()
    run.call(0, A, "write", 0, 4096, "direct", blocks="8wd")
    path = saved(run, tmp_path)
    assert said(capsys, path, "--era", "no_pre")[0] == 0
    assert said(capsys, path, "--era", "no_pre", "--alone")[0] == 1


def test_call_that_is_the_last_but_many_is_predicted_of_its_page(tmp_path, capsys):
    """The writes that came after it were to other pages."""
    run, size = Run(), 9 * 4096
    for page in range(9):
        blocks = "8w-" if page else "8u-"
        run.call(page / 10, A, "write", page * 4096, 512, "direct", size=size, blocks=blocks)
    run.call(1, B, "read", 0, size, size=size, blocks="8u-,64w-")
    status, text = said(capsys, saved(run, tmp_path), "--era", "linux-4.10")
    assert status == 1
    assert "1. /data, bytes 0 to 512: coherence" in text


@pytest.mark.parametrize(("calls", "fewer"), [(2, False), (3, True)])
def test_bounds_say_how_many_partners_three_have(recording, capsys, calls: int, fewer: bool):
    _, text = said(capsys, recording, "--calls", calls)
    bound = "the last 8 that touch the page, for three or more the last 4."
    assert (bound in " ".join(text.split())) == fewer


def test_asynchronous_writes_are_asked_for(tmp_path, capsys):
    """They drop nothing afterwards in Linux 4.11, and a mount does not see that they are."""
    run = Run()
    run.call(0, A, "write", 0, 4096, "direct")
    run.call(1, B, "read", 0, 4096)
    path = saved(run, tmp_path)
    assert said(capsys, path, "--era", "linux-4.11")[0] == 0
    assert said(capsys, path, "--era", "linux-4.11", "--aio")[0] == 1


def test_what_bounds_it_is_said(tmp_path, capsys):
    run = stale()
    run.call(500, A, "write", 0, 512, blocks="8w-")
    run.call(501, B, "read", 0, 512, blocks="8w-")
    run.call(1000, A, "write", 0, 512, blocks="")
    run.call(1001, B, "read", 0, 512, blocks="", lasts_ms=float("inf"))
    run.add(600, Lost(7))
    run.add(1002, Gone())
    _, text = said(capsys, saved(run, tmp_path), "--shapes", 1, "--runs-max", 1)
    for part in (
        "Not searched: 1 rarer shape (--shapes).",
        "searches (--runs-max).",
        "Too finely divided, or not told of: 1 meeting.",
        "Lost while it was recorded: 7 lines.",
        "Not at their end when the recording was: 1 request.",
        "The daemon ended before the recording did.",
    ):
        assert part in " ".join(text.split())


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["predict", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_recording_that_was_cut_short_or_edited_is_refused_in_one_line(recording, capsys):
    whole = recording.read_bytes()
    recording.write_bytes(whole[: len(whole) // 2].rpartition(b"\n")[0] + b"\n")
    assert "cut short at line" in refused(capsys, recording)
    recording.write_bytes(whole.replace(b" 512+512 ", b" 513+512 ", 1))
    assert "it was edited" in refused(capsys, recording)
    recording.write_text("hello\n")
    assert "no recording" in refused(capsys, recording)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--era", "linux-1"], "is no era and no order"),
        (["--window", "soon"], "--window soon: a time such as"),
        (["--calls", "1"], "--calls 1: 2 to 4 is allowed"),
        (["--shapes", "0"], "numbers from 1 on"),
    ],
)
def test_wrong_words_are_told_in_one_line(recording, capsys, words: list[str], why: str):
    assert why in refused(capsys, recording, *words)


def test_reference_tells_of_each_option():
    """docs/predict.md has them all, and the command no other."""
    parser = argparse.ArgumentParser(add_help=False)
    predict.add_arguments(parser)
    record.add_arguments(parser)
    options = {word for action in parser._actions for word in action.option_strings[-1:]}
    text = (ROOT / "docs" / "predict.md").read_text()
    assert set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE)) == options


def test_missing_recording_is_an_error(tmp_path, capsys):
    assert main(["predict", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
