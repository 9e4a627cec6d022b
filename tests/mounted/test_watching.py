"""top and the pictures of a live mount, as a user calls them."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S, eventually
from mounted.commands import FAILED, MOUNT_TOOL, refused, tool
from mounted.mounting import Mount

from fusefs.engine.events import parse

pytestmark = pytest.mark.mounted

EACH_S = "0.1"


def write_and_read(path: Path) -> None:
    """A write and two reads: one fills, one hits."""
    path.write_bytes(b"content" * 1000)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for _ in range(2):
            os.pread(fd, 4096, 0)
    finally:
        os.close(fd)


# -- top ---------------------------------------------------------------------------------


def test_status_counts_requests_by_operation(mounted: Mount):
    """Those that pyfuse3 answers, too: statfs."""
    before = mounted.status()["requests"]
    write_and_read(mounted.path / "file")
    os.statvfs(mounted.path)
    now = mounted.status()["requests"]
    counts = {name: count - before["taken"].get(name, 0) for name, count in now["taken"].items()}
    assert counts["create"] == 1
    assert counts["write"] == 1
    assert counts["read"] >= 2
    assert counts["statfs"] == 1
    assert now["begun"] > before["begun"]
    assert not any(name.startswith("opcode") for name in now["taken"])


def test_gates_and_who_is_held_are_counted(mounted: Mount):
    path = mounted.path / "file"
    path.write_bytes(b"content")
    assert mounted.status()["gates"] == {"set": 0, "held": 0}
    assert tool("hold", mounted.path, "begin", "op=fsync", "timeout=60s").returncode == 0
    assert mounted.status()["gates"] == {"set": 1, "held": 0}
    command = [sys.executable, "-c", "import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDWR))"]
    with subprocess.Popen([*command, path]) as held:
        eventually(lambda: mounted.status()["gates"]["held"] == 1, "the fsync is held")
        shown = tool("top", mounted.path, "--count", 1, "--interval", EACH_S).stdout.splitlines()
        columns = dict(zip(*(line.split() for line in shown), strict=True))
        assert (columns["gates.set"], columns["gates.held"]) == ("1", "1")
        assert tool("release", mounted.path, "all").returncode == 0
        assert held.wait(PROGRAM_TIMEOUT_S) == 0


def test_lines_where_there_is_no_terminal(mounted: Mount):
    done = tool("top", mounted.path, "--count", 2, "--interval", EACH_S)
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(len(line.split()) == len(head.split()) for line in lines)
    assert "\x1b" not in done.stdout


def test_an_object_on_a_line_for_scripts(mounted: Mount):
    with subprocess.Popen(
        [*MOUNT_TOOL, "top", mounted.path, "--json", "--interval", EACH_S],
        stdout=subprocess.PIPE,
        text=True,
    ) as top:
        assert top.stdout is not None
        try:
            first = json.loads(top.stdout.readline())
            for _ in range(20):
                write_and_read(mounted.path / "file")
            seen = [json.loads(top.stdout.readline()) for _ in range(3)]
        finally:
            top.kill()
    assert first["seconds"] > 0
    assert max(each["per_s"]["requests"].get("write", 0) for each in seen) > 0
    assert max(each["per_s"]["hits"] for each in seen) > 0
    assert seen[-1]["space"]["bytes"] > seen[-1]["space"]["free"]


def test_terminal_is_kept_up_to_date(mounted: Mount):
    controller, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [*MOUNT_TOOL, "top", mounted.path, "--count", "2", "--interval", EACH_S],
            stdout=terminal,
            stderr=terminal,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "90", "LINES": "40"},
        ) as top:
            os.close(terminal)
            shown = b""
            while True:
                try:
                    piece = os.read(controller, 1 << 16)
                except OSError:  # the last one has closed it
                    break
                shown += piece
            assert top.wait(PROGRAM_TIMEOUT_S) == 0
    finally:
        os.close(controller)
    text = shown.decode()
    assert text.count("requests under way") >= 2
    assert "\x1b[1A" in text, "the second picture is drawn over the first"


def test_mount_that_goes_away_is_one_line(mounted: Mount):
    with subprocess.Popen(
        [*MOUNT_TOOL, "top", mounted.path, "--interval", EACH_S],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as top:
        assert top.stdout is not None
        top.stdout.readline()
        top.stdout.readline()
        eventually(lambda: not tool("umount", mounted.path).returncode, "it is not being read")
        _, err = top.communicate(timeout=PROGRAM_TIMEOUT_S)
    assert top.returncode == FAILED
    assert err.count("\n") == 1
    assert f"{mounted.path}: no fusefs is mounted there: the mount has gone away" in err


def test_top_is_not_in_the_way_of_umount(mounted: Mount):
    """It has no file open between two readings."""
    with subprocess.Popen([*MOUNT_TOOL, "top", mounted.path], stdout=subprocess.DEVNULL) as top:
        try:
            eventually(lambda: not tool("umount", mounted.path).returncode, "it is not being read")
        finally:
            top.kill()


# -- pictures ----------------------------------------------------------------------------


def test_requests_of_a_path_are_drawn(mounted: Mount, tmp_path: Path):
    (mounted.path / "other").write_bytes(b"not shown")
    write_and_read(mounted.path / "file")
    html, trace = tmp_path / "x.html", tmp_path / "x.json"
    words = ("--path", "file", "--ladder", "--html", html, "--perfetto", trace)
    done = tool("trace", mounted.path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Requests of file" in done.stdout
    assert "buffered.write.copy" in done.stdout
    assert "pages of file" in html.read_text()
    entries = json.loads(trace.read_text())["traceEvents"]
    requests = [entry for entry in entries if entry.get("cat") == "request"]
    assert {entry["args"]["file"] for entry in requests} == {"file"}


STALE = """
import mmap, os, sys
path, block = sys.argv[1], 512
fd = os.open(path, os.O_RDWR | os.O_CREAT)
os.posix_fallocate(fd, 0, 8 * block)
reader = os.fork()
if not reader:
    reading = os.open(path, os.O_RDONLY)
    for _ in range(400):
        os.pread(reading, block, 7 * block)
    os._exit(0)
direct = os.open(path, os.O_RDWR | os.O_DIRECT)
data = mmap.mmap(-1, block)
data[:] = b"A" * block
for n in range(7):
    os.pwritev(direct, [data], n * block)
    if os.pread(fd, block, n * block) == bytes(block):
        print("zeros")
        break
os.waitpid(reader, 0)
"""
"""One writer and one reader of a page; says so if the writer reads zeros."""


def run_both(path: Path) -> str:
    command = [sys.executable, "-c", STALE, path]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PROGRAM_TIMEOUT_S
    ).stdout


def test_requests_of_a_stale_page_are_drawn(mount: Callable[..., Mount]):
    """Two processes, the write and the fill, and the read that got the zeros."""
    m = mount(invalidate="before", block_size=512, conversion_delay="5ms")
    for n in range(20):
        tool("trace", m.path, "--clear")
        if run_both(m.path / f"file{n}"):
            break
    else:
        pytest.fail("no read returned zeros")
    done = tool("trace", m.path, "--stale", "--ladder")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("-- stale from here on"))
    before, after = "\n".join(lines[:at]), "\n".join(lines[at:])
    assert before.index("dio.write.invalidate_post") < before.index("buffered.read.fill")
    assert before.index("buffered.read.fill") < before.rindex("dio.write.convert")
    changes = " ".join(before.split())
    assert re.search("-> stale [^>]*zeros", changes)  # what was written before may be there, too
    assert "returns 512" in after


def test_today_nothing_is_stale(mount: Callable[..., Mount]):
    m = mount(invalidate="after", block_size=512, conversion_delay="5ms")
    assert run_both(m.path / "file") == ""
    refused(FAILED, "trace", m.path, "--stale", "--ladder", saying="no page became stale in")


def test_what_was_kept_is_drawn_without_the_mount(mounted: Mount, tmp_path: Path):
    write_and_read(mounted.path / "file")
    with open(mounted.path / "file", "r+b") as file:
        os.fsync(file)  # or the flusher would, between the two looks at the trace
        ino = os.fstat(file.fileno()).st_ino
    kept = tmp_path / "kept"
    kept.write_text(tool("trace", mounted.path).stdout)
    direct = tool("trace", mounted.path, "--ino", ino, "--last", 30).stdout
    mounted.umount()
    assert tool("trace", "--from", kept, "--ino", ino, "--last", 30).stdout == direct
    assert {event.ino for event in parse(direct.splitlines())} == {ino}
    refused(FAILED, "trace", mounted.path, "--ladder", saying="no fusefs is mounted there")


def test_path_that_there_is_not_is_one_line(mounted: Mount):
    refused(FAILED, "trace", mounted.path, "--path", "none", saying="none: No such file")
