"""Command lines that people type, and what is said to them: one line that helps."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S
from mounted.commands import FAILED, MOUNT_TOOL, USAGE, refused, tool

from fusefs.commands.mount_options import MOUNT_OPTIONS


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag: str):
    result = tool(flag)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("fusefs ")


@pytest.mark.mounted  # what cannot mount says that first
@pytest.mark.parametrize(
    ("word", "meant"),
    [
        *[("unmount", "umount"), ("stats", "status"), ("stat", "status"), ("mkf", "mkfs")],
        *[("help", "--help"), ("version", "--version")],
    ],
)
def test_word_that_is_nearly_a_command_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, meant: str
):
    monkeypatch.chdir(tmp_path)
    Path("mnt").mkdir()
    refused(USAGE, word, "mnt", saying=f"did you mean '{meant}'?")
    Path(word).write_bytes(b"an image may have that name")
    refused(FAILED, word, "mnt", saying="not a fusefs image")


def test_lone_word_that_is_neither_command_nor_image_is_told_so(tmp_path: Path):
    saying = "'frobnicate' is neither a command nor an image; see 'mount_tool.py --help'"
    refused(USAGE, "frobnicate", saying=saying)
    (tmp_path / "image").touch()
    refused(USAGE, tmp_path / "image", saying="are required: mountpoint")


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["mount"], "the following arguments are required: image, mountpoint"),
        (["status"], "the following arguments are required: mountpoint"),
        (["status", "a", "b"], "unrecognized arguments: b"),
        (["demo", "--jsno"], "unrecognized arguments: --jsno"),
        (["explore"], "the following arguments are required: TEXT"),
        (["explore", "writ0"], "explore:6: writ0; an operation is pwrite"),
        (["explore", "fsync f", "--era", "linux"], "'linux' is no era and no order"),
        (["explore", "fsync f", "--replay", "9"], "'9' is no token"),
        (["set", ".", "conversion_delay=5"], "it takes a time such as 500us, 1ms, 5s"),
        (["set", ".", "jitter=5"], "it takes a time such as 500us, 1ms, 5s"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_error_is_one_line(words: list[str], saying: str):
    refused(USAGE, *words, saying=saying)


def test_path_with_a_newline_is_told_in_one_line():
    refused(FAILED, "status", "no\nmount", saying="no\\nmount: no fusefs is mounted there")
    refused(USAGE, "explore", "fsync\nf", saying="explore:")


def test_help_of_mkfs_lists_what_it_takes():
    said = tool("mkfs", "--help").stdout
    assert "metadata" in said
    assert "jitter" not in said
    assert "mean time" in tool("mount", "--help").stdout


def test_help_of_mount_lists_the_options_of_mount_8_as_well():
    said = tool("mount", "--help").stdout
    listed = set(said.partition("\noptions:\n  era")[2].replace(",", " ").split())
    assert {*MOUNT_OPTIONS} - listed == {"user_id", "group_id"}
    assert "check command line, image and mountpoint, and mount nothing" in " ".join(said.split())


# -- scripts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["status", "/", "--json"], FAILED),
        (["status", "--json"], USAGE),
        (["fsck", "/nowhere", "--json"], 8),
        (["explore", "fsync", "--json"], USAGE),
        (["status", "/", "--js"], FAILED),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_json_has_an_object_on_stdout_when_it_fails(words: list[str], status: int):
    result = tool(*words)
    assert result.returncode == status
    said = json.loads(result.stdout)
    assert said == {
        "error": result.stderr.removeprefix("mount_tool.py: ").strip(),
        "status": status,
    }


@pytest.mark.mounted
def test_demo_that_fails_has_an_object_on_stdout():
    """Its image is larger than a file may be here."""
    result = in_shell(f"ulimit -f 1024; {TOOL} demo --json")
    assert result.returncode == FAILED
    said = json.loads(result.stdout)
    assert said["error"].endswith("File too large")
    assert said["error"].startswith("demo: ")
    assert said["error"] in result.stderr


# -- what a shell may do to a program ------------------------------------------------------

TOOL = f"'{sys.executable}' '{MOUNT_TOOL[1]}'"


def in_shell(script: str, cwd: Path | None = None, **environment: str):
    return subprocess.run(
        ["sh", "-c", script],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )


def test_interrupt_while_it_imports_ends_it_without_a_word(tmp_path: Path):
    """A module of the standard library comes with the signal."""
    (tmp_path / "difflib.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    result = in_shell(f"{TOOL} --version", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


LONG = [f"pwrite f {512 * n} 512 {letter} direct; pread f 0 2k" for n, letter in enumerate("abcd")]


def test_interrupt_ends_it_without_a_word():
    with subprocess.Popen(
        [*MOUNT_TOOL, "explore", "--jobs", "1", *LONG],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        while not _runs_the_search(process.pid):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PROGRAM_TIMEOUT_S)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def _runs_the_search(pid: int) -> bool:
    """It has imported what it needs, and taken a tenth of a second of the processor since."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) > 100


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["--version", "status /", "mkfs new -o size=1m"])
def test_closed_streams_are_survived(tmp_path: Path, closed: str, words: str):
    """What is opened must not become stdout, and what cannot be told has a status."""
    result = in_shell(f"{TOOL} {words} {closed}", tmp_path)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr
    if words.startswith("mkfs"):
        assert result.returncode == 0
        assert tool("fsck", tmp_path / "new").returncode == 0
    elif words == "--version" and ">&-" in closed.split():
        assert result.returncode == FAILED
    elif words == "--version":
        assert result.returncode == 0


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("lost", [">&-", ">/dev/full"])
@pytest.mark.parametrize(
    ("words", "status"), [("--help", FAILED), ("status / --json", FAILED), ("set --json", USAGE)]
)
def test_lost_stdout_is_told_and_changes_no_failure(
    words: str, status: int, lost: str, unbuffered: str
):
    result = in_shell(f"{TOOL} {words} {lost}", PYTHONUNBUFFERED=unbuffered)
    assert "Traceback" not in result.stderr
    assert "stdout: " in result.stderr
    assert result.returncode == status


@pytest.mark.parametrize("lost", ["2>&-", "2>/dev/full"])
def test_status_of_fsck_does_not_depend_on_stderr(lost: str):
    assert in_shell(f"{TOOL} fsck /nowhere {lost}").returncode == 8


def test_lost_working_directory_is_named(tmp_path: Path):
    result = in_shell(f"mkdir d; cd d; rmdir ../d; {TOOL} mount image mnt", tmp_path)
    assert result.returncode == FAILED
    assert "working directory" in result.stderr
    assert result.stderr.count("\n") == 1
