"""A run on a mount is recorded, whatever happens meanwhile, and other kernels' bugs are predicted.

Mounts are today's: what is predicted never showed there.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounted.clients import eventually
from mounted.commands import FAILED, MOUNT_TOOL, USAGE, refused, tool
from mounted.mounting import Mount

from fusefs import litmus
from fusefs.engine.events import Event
from fusefs.engine.recording import Gone, Lost, Machine, Named, Record, records
from fusefs.litmus.parse import parse

pytestmark = pytest.mark.mounted

GALLERY = Path(litmus.__file__).parent / "gallery"

SHARED_OPTIONS = {"block_size": "512", "page_size": "4k", "readahead": "0", "commit": "3600s"}
"""A flusher that comes meanwhile is recorded as well, and shares pages with all who write."""

RUNS = 30


def read_back(path: Path) -> list[Record]:
    with path.open("rb") as file:
        return list(records(file, path.name))


def test_every_request_of_a_command_is_in_its_recording(shared: Mount, top: Path, tmp_path: Path):
    recording = tmp_path / "run"
    script = f"printf abc >{top}/one; cat {top}/one; mv {top}/one {top}/two; exit 3"
    result = tool("record", shared.path, "-o", recording, "--", "sh", "-c", script)
    assert (result.returncode, result.stdout) == (3, "abc")
    said = read_back(recording)
    assert isinstance(said[0], Machine)
    assert (said[0].page, said[0].block, said[0].era) == (4096, 512, "linux-6.18")
    named = [each for each in said if isinstance(each, Named)]
    assert [each.path for each in named] == [f"/{top.name}/one", f"/{top.name}"]
    begun = [e for e in said if isinstance(e, Event) and e.event == "began"]
    of = {event.operation: event.ino for event in begun}
    assert list(of) == ["write", "read", "rename"]
    assert list(of.values()) == [named[0].ino, named[0].ino, named[1].ino]
    ended = [e.request for e in said if isinstance(e, Event) and e.event == "ended"]
    assert ended == [event.request for event in begun]
    assert not any(isinstance(each, Lost | Gone) for each in said)


def test_flags_of_requests_are_told(shared: Mount, top: Path, tmp_path: Path):
    """What a litmus file needs of them."""
    recording = tmp_path / "run"
    script = (
        "import os, sys; from mounted.clients import fallocate; from pathlib import Path\n"
        "p = Path(sys.argv[1]); a = os.open(p, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_DSYNC)\n"
        "os.write(a, b'x' * 8192)\n"
        "fallocate(p, 0x03, 0, 4096); fallocate(p, 0x11, 0, 4096)\n"
        "os.lseek(a, 0, os.SEEK_HOLE); os.lseek(a, 0, os.SEEK_DATA)\n"
        "b = os.open(str(p) + '2', os.O_RDWR | os.O_CREAT)\n"
        "os.copy_file_range(a, b, 4096, 4096, 0)\n"
    )
    environment = f"PYTHONPATH={Path(__file__).parents[1]}"
    tool(
        *("record", shared.path, "-o", recording, "--", "env", environment),
        *(sys.executable, "-c", script, top / "file"),
    )
    told = {
        (event.operation, event.detail.partition("=")[0])
        for event in read_back(recording)
        if isinstance(event, Event) and event.event == "began"
    }
    assert told >= {
        *(("write", "dsync,append"), ("fallocate", "keep_size,punch")),
        *(("fallocate", "keep_size,zero"), ("lseek", "hole"), ("lseek", "data")),
        ("copy_file_range", "from"),
    }


def test_second_recording_is_refused_until_the_first_has_ended(shared: Mount, tmp_path: Path):
    with recording_of(shared, tmp_path / "first", "cat") as first:
        saying = f"{shared.path}: somebody else records it"
        refused(
            FAILED, "record", shared.path, "-o", tmp_path / "second", "--", "true", saying=saying
        )
        first.communicate(timeout=60)  # its standard input ends, and so does cat
        assert first.returncode == 0
    assert tool("record", shared.path, "-o", tmp_path / "third", "--", "true").returncode == 0


@contextmanager
def recording_of(m: Mount, path: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A record that has begun, and is ended with the block."""
    words = [*MOUNT_TOOL, "record", str(m.path), "-o", str(path), "--", *command]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        eventually(lambda: path.exists() and m.status()["recording"], "it is recorded")
        yield process
    finally:
        process.kill()
        if process.stdin is not None and not process.stdin.closed:
            process.communicate()


def test_recording_of_a_mount_that_is_killed_says_so(mount: Callable[..., Mount], tmp_path: Path):
    m, path = mount(), tmp_path / "run"
    with recording_of(m, path, "cat") as process:
        (m.path / "file").write_bytes(b"x")
        eventually(lambda: b" write " in path.read_bytes(), "the write is recorded")
        m.kill()
        _, said = process.communicate(timeout=60)
    assert process.returncode == FAILED
    assert said.count(b"\n") == 1
    assert b"the daemon ended" in said
    found = read_back(path)
    assert isinstance(found[-1], Gone)
    assert [e.operation for e in found if isinstance(e, Event)][:1] == ["write"]


def test_recording_that_is_killed_is_none(shared: Mount, top: Path, tmp_path: Path):
    """And the mount goes on, with nobody who records it."""
    path = tmp_path / "run"
    with recording_of(shared, path, "cat") as process:
        (top / "file").write_bytes(b"x")
        process.send_signal(signal.SIGKILL)
        process.wait()
    refused(USAGE, "predict", path, saying="cut short at line")
    eventually(lambda: not shared.status()["recording"], "nobody records it")


def children(pid: int) -> bytes:
    """What a process has started: their command lines."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return b"".join(Path(f"/proc/{child}/cmdline").read_bytes() for child in found)


def test_interrupt_is_the_command_s(shared: Mount, tmp_path: Path):
    """As a terminal sends it, to both."""
    path = tmp_path / "run"
    words = [*MOUNT_TOOL, "record", str(shared.path), "-o", str(path), "--", "sleep", "100"]
    process = subprocess.Popen(words, start_new_session=True)
    eventually(lambda: path.exists() and b"machine" in path.read_bytes(), "it is recorded")
    eventually(lambda: b"sleep" in children(process.pid), "the command runs")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    assert read_back(path)


@pytest.mark.parametrize(
    ("output", "command", "status", "saying"),
    [
        ("run", ["/no/such"], 127, "/no/such: not found"),
        ("run", ["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        ("/no/such/file", ["true"], FAILED, "/no/such: No such file"),
        ("/dev/full", ["true"], FAILED, "No space left on device"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(
    shared: Mount, tmp_path: Path, output: str, command: list[str], status: int, saying: str
):
    refused(status, "record", shared.path, "-o", tmp_path / output, "--", *command, saying=saying)


def test_recording_within_the_mount_would_record_itself(shared: Mount, top: Path):
    refused(USAGE, "record", shared.path, "-o", top / "run", "--", "true", saying="elsewhere")
    assert list(top.iterdir()) == []


def test_nothing_is_recorded_of_what_is_no_mount(tmp_path: Path):
    refused(FAILED, "record", tmp_path, "-o", tmp_path / "run", "--", "true", saying="no fusefs")
    assert list(tmp_path.iterdir()) == []


# -- what is predicted ---------------------------------------------------------------------


def predicted(recording: Path, *words: str) -> list[dict]:
    result = tool("predict", recording, "--json", *words)
    assert result.returncode in (0, 1), result.stderr
    found: list[dict] = json.loads(result.stdout)["predictions"]
    return found


TRY = """
import sys
from pathlib import Path
from fusefs.litmus.parse import parse
from fusefs.trial.on_directory import on_directory
path = Path(sys.argv[1])
on_directory(parse(path.read_text(), path.name), Path(sys.argv[2]), int(sys.argv[3]), seed=1)
"""


def tried(m: Mount, name: str, recording: Path) -> None:
    """Run a file of the gallery with real processes, and record them."""
    words = (sys.executable, "-c", TRY, GALLERY / f"{name}.litmus", m.path, RUNS)
    assert tool("record", m.path, "-o", recording, "--", *words).returncode == 0


SHOWN = {
    "append-range-early": ("512", "1k", ()),
    "flush-without-wait": ("512", "512", ()),
    "isize-after-post": ("512", "1k", ()),
    "isize-before-convert": ("512", "512", ()),
    "map-before-insert": ("512", "1k", ()),
    "no-post": ("512", "512", ()),
    "no-pre": ("512", "512", ("--alone",)),
    "post-before-end": ("512", "1k", ()),
    "punch-beside-fill": ("512", "512", ()),
    "ret-before-end": ("512", "512", ("--alone",)),
    "unaligned-shared": ("1k", "1k", ()),
    "unaligned-unwaited": ("1k", "1k", ("--aio", "--alone")),
    "unlocked-reads": ("512", "512", ("--pages", "2")),
    "written-at-allocation": ("512", "512", ()),
    "zero-length-post": ("512", "512", ("--pages", "2", "--alone")),
}
"""Block and page of the gallery's files, and the options with which their order is predicted:
docs/predict.md has the table, and why others are not."""


@pytest.mark.parametrize("name", SHOWN)
def test_order_of_a_gallery_file_is_predicted_from_a_run_under_today_s(
    mount: Callable[..., Mount], tmp_path: Path, name: str
):
    block, page, options = SHOWN[name]
    m, recording = mount(block_size=block, page_size=page, readahead=0), tmp_path / "run"
    tried(m, name, recording)
    order = name.replace("-", "_")
    found = predicted(recording, "--era", order, *options)
    assert found
    for each in found:
        assert order in each["eras"]
        assert parse(each["litmus"], name).expected.get(order) in ("Sometimes", "Always", None)
    assert predicted(recording, "--era", "linux-6.18", *options) == []


def test_recall_is_told_of_each_gallery_file():
    """A file that is new is tried, and the table says what came of it."""
    page = (Path(__file__).parents[2] / "docs" / "predict.md").read_text()
    told = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert {path.stem for path in GALLERY.glob("*.litmus")} <= told


SEPARATE = """
import mmap, os, sys
from mounted.clients import direct_write
from pathlib import Path
path, base = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(20):
    for pos in range(base, base + (1 << 16), 4096):
        direct_write(path, b"x" * 4096, pos)
        with path.open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, pos) == b"x" * 4096
"""


def test_nothing_is_predicted_of_processes_that_share_no_page(
    shared: Mount, top: Path, tmp_path: Path
):
    """They write and read one file at the same time, each its own pages."""
    (top / "file").write_bytes(bytes(1 << 17))
    script = 'python=$1; "$python" -c "$2" "$3" 0 & "$python" -c "$2" "$3" 65536; wait'
    environment = f"PYTHONPATH={Path(__file__).parents[1]}"
    words = ("env", environment, "sh", "-c", script, "sh", sys.executable, SEPARATE, top / "file")
    recording = tmp_path / "run"
    assert tool("record", shared.path, "-o", recording, "--", *words).returncode == 0
    result = tool("predict", recording)
    assert result.returncode == 0, result
    said = " ".join(result.stdout.split())  # its lines break where numbers have it
    assert "no two threads touched a page within the window" in said
    threads = {e.pid for e in read_back(recording) if isinstance(e, Event) and e.length == 4096}
    assert len(threads) == 2
