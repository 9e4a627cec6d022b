"""The coherence checker on a mount: what real programs meet, and what the commands say of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S, all_succeed, python
from mounted.commands import FAILED, MOUNT_TOOL, USAGE, refused, tool
from mounted.mounting import Mount
from mounted.test_orders_of_the_past import BATCH, RUNS_MAX, seen

from fusefs.explore.answer import ask
from fusefs.litmus.parse import parse
from fusefs.litmus.test import NEVER, SOMETIMES
from fusefs.model.options import Options
from fusefs.model.order_rows import ROWS
from fusefs.mounts import is_mounted

pytestmark = pytest.mark.mounted

FILES = {
    "post_before_end": ("512", "1k"),
    "no_post": ("512", "512"),
    "isize_after_post": ("512", "1k"),
    "map_before_insert": ("512", "1k"),
    "punch_beside_fill": ("512", "512"),
}
"""Orders whose file of the gallery leaves a stale page, with block and page."""

PROVOKE = Path(__file__).parent / "provoke.py"


def reports(m: Mount) -> list[dict[str, object]]:
    return [json.loads(line) for line in (m.path / ".fusefs" / "reports").read_text().splitlines()]


def switch(m: Mount, order: str) -> None:
    if order == "post_before_end":
        m.set(invalidate="before")
    else:
        m.set(order=order)


@pytest.mark.parametrize("order", FILES)
def test_stale_page_of_each_order_is_reported_and_none_today(
    mount: Callable[..., Mount], order: str
):
    """(D1) (T1) The report's own litmus file shows the same in a search, and not today."""
    block, page = FILES[order]
    m = mount(block_size=block, page_size=page, readahead=0, conversion_delay="5ms", check="report")
    seen(m, order, BATCH)
    assert reports(m) == []
    assert tool("report", m.path).returncode == 0
    switch(m, order)
    runs = 0
    while not (found := [each for each in reports(m) if each["litmus"]]):
        seen(m, order, BATCH)
        runs += BATCH
        assert runs < RUNS_MAX, f"{order}: nothing was reported in {runs} runs"
    litmus = parse(str(found[0]["litmus"]), "report")
    orders = Options().changed(*order_option(order)).order_names
    assert ask(litmus, orders).observation == SOMETIMES
    assert ask(litmus, ()).observation == NEVER
    said = tool("report", m.path)
    assert said.returncode == 1
    assert "coherence: (D1)" in said.stdout
    assert all(len(line) <= 72 for line in said.stdout.splitlines() if not line.startswith("    "))


def order_option(order: str) -> tuple[str, str]:
    return ("invalidate", "before") if order == "post_before_end" else ("order", order)


def test_orders_that_are_tried_are_those_whose_pages_disagree():
    """no_pre and ret_before_end break it in passing; tests/check has them."""
    told = {name for name, row in ROWS.items() if row.breaks[:4] in ("(D1)", "(T1)")}
    on_mount = {name for name in told if not ROWS[name].on_mount}
    assert on_mount <= {*FILES}


def provoked(m: Mount, name: str) -> dict[str, int]:
    client = python(PROVOKE.read_text(), m.path / name, 512, "preallocated")
    counts: dict[str, int] = json.loads(all_succeed([client])[0])
    return counts


def test_whoever_reads_a_stale_page_gets_an_error_if_that_is_asked_for(
    mount: Callable[..., Mount],
):
    """And not what is there, however often it is read."""
    m = mount(block_size=512, invalidate="before", readahead=0, conversion_delay="2ms")
    path, counts = m.path / "0", {"zeros": 0}
    for number in range(20):
        path = m.path / str(number)
        counts = provoked(m, path.name)
        if b"\0" * 512 in path.read_bytes():
            break
    assert counts["zeros"], "no page is stale after 20 runs"
    assert reports(m) == []
    m.set(check="fail")
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
    assert m.status()["check"]["reads_failed"] >= 2
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    m.set(check="report")
    assert path.read_bytes().count(b"\0") > 0
    m.errors_expected = True


def test_option_is_switched_live_and_reports_are_forgotten_when_asked(
    mount: Callable[..., Mount],
):
    m = mount(block_size=512, invalidate="before", readahead=0, conversion_delay="2ms")
    refused(FAILED, "report", m.path, saying="check is off, so nothing is compared")
    m.set(check="report")
    for number in range(20):
        provoked(m, str(number))
        if reports(m):
            break
    said = tool("report", m.path, "--json", "--clear")
    found = json.loads(said.stdout)
    assert said.returncode == 1
    told = [each for each in found if each["between"]]
    assert "dio.write.convert" in [each["between"][1] for each in told]
    assert {each["change"]["flags"] for each in told} == {"direct"}
    assert all(each["file"].startswith("/") for each in found)
    assert tool("report", m.path).returncode == 0
    m.set(check="off")
    compared = m.status()["check"]["pages_compared"]
    provoked(m, "off")
    assert m.status()["check"]["pages_compared"] == compared


def test_report_of_what_is_no_mount_is_one_line(tmp_path: Path):
    refused(FAILED, "report", tmp_path, saying="no fusefs is mounted there")
    refused(FAILED, "report", tmp_path / "missing", saying="no fusefs is mounted there")


# -- a command on a mount of its own -----------------------------------------------------

WRITE = "import os; open(os.environ['TMPDIR'] + '/f', 'w').write('x'); print(os.getcwd())"


def test_command_runs_on_a_mount_that_is_gone_afterwards(tmp_path: Path):
    """Where it is stays as it is."""
    said = tool("check", "--", sys.executable, "-c", WRITE)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines()[0] == os.getcwd()
    assert "0 stale pages" in said.stdout


@pytest.mark.parametrize(
    ("script", "status"), [("exit 3", 3), ("kill -9 $$", 137), ("test -d $TMPDIR/.fusefs", 0)]
)
def test_exit_status_is_the_command_s(script: str, status: int):
    assert tool("check", "--", "sh", "-c", script).returncode == status


def test_reports_are_a_failure(tmp_path: Path):
    """The command succeeds, as provoke.py only counts; so the status is 1."""
    again = f"for n in $(seq 20); do {sys.executable} {PROVOKE} $TMPDIR/$n 512 preallocated; done"
    options = "invalidate=before,block_size=512,readahead=0,conversion_delay=2ms"
    said = tool("check", "-o", options, "--", "sh", "-c", again)
    assert said.returncode == 1
    assert "between A's dio.write.invalidate_post and" in said.stdout
    options = options.replace("before", "after")
    assert tool("check", "-o", options, "--", "sh", "-c", again).returncode == 0


@pytest.mark.parametrize(("script", "status"), [("exit 0", 1), ("exit 3", 3)])
def test_reports_are_told_although_the_mount_is_in_use_at_the_end(script: str, status: int):
    """By what the command has left behind: nothing stays mounted, and that is told as well."""
    left = "(cd $TMPDIR; exec sleep 1000 >/dev/null 2>&1) & echo $!"
    said = tool("check", "--", "sh", "-c", f"{left}; {script}")
    pid, *told = said.stdout.splitlines()
    os.kill(int(pid), signal.SIGKILL)
    assert told == ["0 stale pages in 0 comparisons, 0 kinds of them"]
    assert said.stderr.count("\n") == 1
    assert "busy" in said.stderr
    assert said.returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_check_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path, number: signal.Signals):
    """timeout(1) says SIGTERM, a terminal that is closed SIGHUP: the command gets it, and ends."""
    script = "echo $$ $TMPDIR; exec sleep 1000 >/dev/null 2>&1"
    with subprocess.Popen(
        [*MOUNT_TOOL, "check", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as check:
        assert check.stdout is not None
        pid, path = check.stdout.readline().split()
        try:
            check.send_signal(number)
            _, err = check.communicate(timeout=PROGRAM_TIMEOUT_S)
            assert (check.returncode, err) == (128 + number, b"")
            assert not is_mounted(Path(os.fsdecode(path)))
            assert list(tmp_path.iterdir()) == []
            assert not Path(f"/proc/{int(pid)}").exists()
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def test_command_that_is_missing_or_a_bad_option_is_one_line():
    refused(127, "check", "--", "/no/such/command", saying="/no/such/command: No such file")
    refused(USAGE, "check", "-o", "check=perhaps", "--", "true", saying="off, report or fail")
    refused(USAGE, "check", saying="COMMAND")
