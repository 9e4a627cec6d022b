"""The Python API: a live mount for a block of code, and nothing left of it afterwards."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S, direct_write, eventually, has_ended

import fusefs
from fusefs.mounts import ROOT, is_mounted

pytestmark = pytest.mark.mounted


@pytest.fixture(autouse=True)
def temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they are made, so that what stays behind is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_mount_is_there_for_the_block_and_gone_afterwards(temporary_folders: Path):
    with fusefs.mounted(invalidate="before", block_size=512) as m:
        assert m.status()["options"]["invalidate"] == "before"
        assert m.status()["space"]["block_size"] == 512
        direct_write(m.path / "file", b"d" * 4096)
        assert (m.path / "file").read_bytes() == b"d" * 4096
        m.set(invalidate="after", readahead=0)
        assert (m.get("invalidate"), m.get("readahead")) == ("after", "0")
        steps = [event.step for event in m.trace() if event.operation == "write"]
        assert steps[0] == "-"
        assert steps[-1] == "reply"
        m.remount(invalidate="before")
        assert (m.path / "file").read_bytes() == b"d" * 4096
        assert " ERROR " not in m.log()
        path, pid = m.path, m.pid
    assert not is_mounted(path)
    assert has_ended(pid)
    assert list(temporary_folders.iterdir()) == []


def test_nothing_is_left_of_a_mount_that_is_in_use(temporary_folders: Path):
    """It is detached, its daemon is ended, and whoever made it is told."""
    held: list[int] = []
    mounts: list[fusefs.Mount] = []

    def keeps_a_file_open() -> None:
        with fusefs.mounted() as m:
            mounts.append(m)
            held.append(os.open(m.path / "file", os.O_CREAT | os.O_RDWR))

    with pytest.raises(fusefs.MountFailed, match="busy"):
        keeps_a_file_open()
    assert not is_mounted(mounts[0].path)
    assert mounts[0].pid == 0
    assert list(temporary_folders.iterdir()) == []
    with pytest.raises(OSError, match=r"not connected|connection abort"):
        os.fstat(held[0])
    os.close(held[0])


def test_image_and_mountpoint_that_are_given_stay(tmp_path: Path):
    for content in (b"first", b"second"):
        with fusefs.mounted(tmp_path / "mnt", tmp_path / "image", size="1m") as m:
            (m.path / content.decode()).write_bytes(content)
            names = sorted(os.listdir(m.path))
    assert names == ["first", "second"]
    assert (tmp_path / "image").exists()


def test_what_cannot_be_mounted_says_why_and_leaves_nothing(temporary_folders: Path):
    with (
        pytest.raises(fusefs.MountFailed, match="unknown option 'invalidte"),
        fusefs.mounted(invalidte="before"),
    ):
        pass
    assert list(temporary_folders.iterdir()) == []


def test_mount_of_somebody_else_is_left_alone(temporary_folders: Path):
    with fusefs.mounted() as outer:
        with pytest.raises(fusefs.MountFailed, match="mounted there already"):
            fusefs.mounted(outer.path).__enter__()
        assert is_mounted(outer.path)
        assert outer.status()["pid"] == outer.pid


def test_paths_are_those_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with fusefs.mounted(Path("mnt"), Path("image"), metadata=Path("meta"), size="1m") as m:
        assert m.path == tmp_path / "mnt"
        assert is_mounted(tmp_path / "mnt")
    assert {"mnt", "image", "meta"} <= set(os.listdir(tmp_path))


def test_interrupted_program_leaves_no_mount(temporary_folders: Path):
    """Ctrl-C in somebody's script: Python ends the block."""
    script = (
        "import fusefs, time\nwith fusefs.mounted() as m: print(m.path, flush=True); time.sleep(60)"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary_folders)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout is not None
    path = Path(program.stdout.readline().strip())
    assert is_mounted(path)
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=PROGRAM_TIMEOUT_S)
    eventually(lambda: not is_mounted(path), "it is unmounted")
    assert list(temporary_folders.iterdir()) == []
