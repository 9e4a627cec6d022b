"""--ladder, --html and --perfetto of litmus files and of files of events; and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from show.stories import BUG, GALLERY, LIVE

from fusefs.commands.main import main
from fusefs.engine.recording import HEAD, Machine, Seal
from fusefs.model.orders import TODAY
from fusefs.show.ladder import WIDTH

FILE = str(GALLERY / "post-before-end.litmus")


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events"
    path.write_text(f"# what somebody kept\n{LIVE}")
    return str(path)


def said(capsys, *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys, status: int, *words: object) -> str:
    assert main([str(word) for word in words]) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("mount_tool.py: ")
    return err


# -- witnesses ---------------------------------------------------------------------------


def test_witness_is_drawn_three_times(tmp_path, capsys):
    html, trace = tmp_path / "w.html", tmp_path / "w.json"
    words = (
        "--era",
        "post_before_end",
        "--jobs",
        1,
        "--ladder",
        "--html",
        html,
        "--perfetto",
        trace,
    )
    out = said(capsys, "litmus", FILE, *words)
    assert "page 0: 00 -> stale 00" in out
    page = html.read_text()
    assert "post-before-end, post_before_end" in page
    assert "A writes a block that is allocated and not written yet" in page
    assert f"--replay {BUG}" in page
    document = json.loads(trace.read_text())
    assert {entry["ph"] for entry in document["traceEvents"]} == {"M", "X", "s", "f", "i"}
    assert "no network" not in out


def test_token_is_drawn_as_its_witness_was(tmp_path, capsys):
    main(["litmus", FILE, "--replay", BUG, "--perfetto", str(tmp_path / "one.json")])
    era = ("--era", "post_before_end", "--jobs", "1")
    main(["litmus", FILE, *era, "--perfetto", str(tmp_path / "other.json")])
    one, other = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "other"))
    assert [e for e in one["traceEvents"] if e["ph"] == "X"] == [
        e for e in other["traceEvents"] if e["ph"] == "X"
    ]


def test_crash_is_said_beside_the_picture(capsys):
    path = GALLERY / "crash-fsync.litmus"
    words = ("--era", "written_at_allocation", "--jobs", 1, "--ladder")
    out = said(capsys, "litmus", path, *words)
    assert "then it crashes" in out


def test_without_a_witness_there_is_nothing_to_draw(tmp_path, capsys):
    words = ("litmus", FILE, "--era", TODAY, "--jobs", 1, "--html", tmp_path / "w.html")
    assert f"nothing to draw: no witness in {TODAY}" in refused(capsys, 1, *words)
    assert not (tmp_path / "w.html").exists()


@pytest.mark.parametrize(
    "words",
    [(FILE, FILE, "--ladder"), (FILE, "--shrink", "--era", "no_post", "--ladder")],
    ids=["two files", "shrink"],
)
def test_picture_is_of_one_witness(words, capsys):
    assert "a picture is of one file's witness" in refused(capsys, 2, "litmus", *words)


def test_two_pictures_are_two_files(tmp_path, capsys):
    path = tmp_path / "same"
    line = refused(capsys, 2, "litmus", FILE, "--html", path, "--perfetto", path)
    assert "two different files" in line


# -- files of events ---------------------------------------------------------------------


def test_events_of_a_file_are_shown_as_they_were(events, capsys):
    assert said(capsys, "trace", "--from", events) == LIVE


def test_events_are_read_from_standard_input(events):
    with open(events) as file:
        done = subprocess.run(
            [sys.executable, "-m", "mount_tool", "trace", "--from", "-", "--ino", "9"],
            stdin=file,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.count("\n") == 2


def test_ladder_of_a_file_of_events(events, capsys):
    out = said(capsys, "trace", "--from", events, "--geometry", "4k,512", "--stale", "--ladder")
    assert "page 0: zeros in part -> stale zeros" in out
    assert "process 103" not in out
    assert max(map(len, out.splitlines())) <= WIDTH


def test_page_says_what_it_leaves_out(events, capsys):
    page = said(capsys, "trace", "--from", events, "--last", 4, "--html", "-")
    assert "the last 4 of 16 events" in page
    assert "--geometry PAGE,BLOCK says how large they are" in page


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "a mountpoint, or --from and a file"),
        (("mnt", "--from", "x"), "a mountpoint, or --from and a file"),
        (("--from", "x", "--clear"), "--clear is of a mount"),
        (("--from", "x", "--last", "0"), "--last takes a number from 1 on"),
        (("--from", "x", "--path", "y"), "--path needs a mount"),
        (("--from", "x", "--geometry", "4k"), "no geometry: PAGE,BLOCK"),
        (("--from", "x", "--geometry", "4k,3k"), "no geometry: PAGE,BLOCK"),
        (("mnt", "--geometry", "4k,512", "--ladder"), "a mount knows its own"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_words_that_do_not_fit_are_refused(words, line, capsys):
    assert line in refused(capsys, 2, "trace", *words)


@pytest.mark.parametrize("words", ["0", "512", "0+0", "a+512", "512+", "-1+5"])
def test_range_is_position_and_length(words, events, capsys):
    assert "no range: POS+LEN" in refused(capsys, 2, "trace", "--from", events, f"--range={words}")


def test_ranges_are_spelled_as_sizes_are(events, capsys):
    exact = said(capsys, "trace", "--from", events, "--range", "2048+512")
    assert said(capsys, "trace", "--from", events, "--range", "2k+512") == exact
    assert exact.count("\n") < LIVE.count("\n")


def test_stale_page_that_there_is_not(tmp_path, capsys):
    path = tmp_path / "few"
    path.write_text("".join(f"{line}\n" for line in LIVE.splitlines()[:5]))
    line = refused(capsys, 1, "trace", "--from", path, "--geometry", "4k,512", "--stale")
    assert "no page became stale in these 5 events" in line
    assert "needs --geometry" in refused(capsys, 2, "trace", "--from", path, "--stale")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"{LIVE}1.2 half a li", "17: '1.2 half a li' is no event of a trace"),
        (LIVE.replace("2048+512", "2048-512", 1), "6: '1.000371 102 read"),
    ],
    ids=["cut short", "edited"],
)
def test_bad_file_is_one_line(content, line, tmp_path, capsys):
    path = tmp_path / "bad"
    path.write_text(content)
    assert f"{path}:{line}" in refused(capsys, 1, "trace", "--from", path)


def recording(tmp_path: Path, *more: str) -> Path:
    """LIVE as a recording, with its seal."""
    lines = [HEAD, str(Machine(4096, 512, 0, "none", "post_before_end")), 'file 2 "/data"', *more]
    seal, text = Seal(), "".join(f"{line}\n" for line in [*lines, *LIVE.splitlines()]).encode()
    seal.add(text)
    path = tmp_path / "recording"
    path.write_bytes(text + f"{seal}\n".encode())
    return path


def test_recording_is_drawn_with_its_names_and_sizes(tmp_path, capsys):
    path = recording(tmp_path, "lost 3")
    out = said(capsys, "trace", "--from", path, "--stale", "--ladder")
    assert "page 0: zeros in part -> stale zeros" in out
    assert "3 lines of the recording were lost" in out
    assert "pages of /data" in said(capsys, "trace", "--from", path, "--html", "-")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda data: data[: data.rindex(b"end ")], "cut short"),
        (lambda data: data[:-60], "is no line of a recording"),
        (lambda data: data.replace(b"2048+512", b"2560+512"), "it was edited"),
        (lambda data: data.replace(b"recording 1", b"recording 9"), "of another version"),
        (lambda data: data.replace(b"file 2", b"fish 2"), "is no line of a recording"),
    ],
    ids=["cut", "cut within a line", "edited", "version", "line"],
)
def test_bad_recording_is_one_line(change, line, tmp_path, capsys):
    path = recording(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    assert line in refused(capsys, 1, "trace", "--from", path, "--ladder")


def test_file_that_is_no_text_is_one_line(tmp_path, capsys):
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not text" in refused(capsys, 1, "trace", "--from", path, "--ladder")
    assert "No such file" in refused(capsys, 1, "trace", "--from", tmp_path / "none")


def test_picture_that_cannot_be_written_names_its_file(events, tmp_path, capsys):
    path = tmp_path / "none" / "x.html"
    assert f"{path}: No such file" in refused(capsys, 1, "trace", "--from", events, "--html", path)
