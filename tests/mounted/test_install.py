"""'./dev install' puts the helpers of mount(8) in place, and takes away only what is its own."""

import os
import subprocess
from pathlib import Path

import pytest
from mounted.clients import needs_root, run
from mounted.installing import dev

from fusefs.mounts import ROOT

pytestmark = [pytest.mark.mounted, needs_root]

NAMES = ["fsck.fusefs", "mkfs.fusefs", "mount.fuse.fusefs", "mount.fusefs"]
NAMES += ["umount.fuse.fusefs", "umount.fusefs"]


def test_install_puts_helpers_there_and_uninstall_takes_them_away(tmp_path: Path):
    for _ in range(2):  # again over its own
        done = dev("install", tmp_path)
        assert done.returncode == 0
        assert done.stdout.endswith(f"dev: put into {tmp_path}/sbin: {' '.join(NAMES)}\n")
    assert sorted(os.listdir(tmp_path / "sbin")) == NAMES
    assert "'/" in (tmp_path / "sbin/mount.fusefs").read_text(), "whatever the folder it starts in"
    for gone in (NAMES, ["nothing, as no helper of ours was there"]):
        done = dev("uninstall", tmp_path)
        assert (done.returncode, os.listdir(tmp_path / "sbin")) == (0, [])
        said, _, names = done.stdout.partition(": taken out of ")[2].partition(": ")
        assert said == f"{tmp_path}/sbin"
        assert sorted(names.split()) == sorted(" ".join(gone).split())


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_what_somebody_else_put_there_stays(tmp_path: Path, command: str):
    (tmp_path / "sbin").mkdir()
    other = tmp_path / "sbin/umount.fusefs"
    other.write_text("#!/bin/sh\n")
    result = dev(command, tmp_path)
    assert (result.returncode, os.listdir(tmp_path / "sbin")) == (1, ["umount.fusefs"])
    assert "umount.fusefs is somebody else's; nothing was changed" in result.stderr


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_word_too_many_and_relative_destdir_are_refused(tmp_path: Path, command: str):
    """Else helpers would come into /sbin that were meant for elsewhere, or into the clone."""
    result = dev(command, tmp_path, f"DESTDIR={tmp_path}")
    assert (result.returncode, os.listdir(tmp_path)) == (1, [])
    assert result.stderr == f"dev: {command}: takes no 'DESTDIR={tmp_path}'; see ./dev --help\n"
    relative = os.path.relpath(tmp_path, ROOT)
    result = dev(command, relative)
    assert (result.returncode, os.listdir(tmp_path)) == (1, [])
    assert result.stderr.endswith(f"dev: DESTDIR={relative}: must be an absolute path\n")


def moved(helper: Path, clone: Path) -> None:
    """A helper as another clone has made it."""
    helper.write_text(helper.read_text().replace(str(ROOT), str(clone)))


def test_helpers_of_another_clone_are_not_taken_away(tmp_path: Path, helpers: Path):
    clone = tmp_path / "it's another"
    clone.mkdir()
    (clone / "mount_tool.py").touch()
    run("cp", "-a", helpers, tmp_path / "sbin")
    for name in NAMES:
        moved(tmp_path / "sbin" / name, Path(str(clone).replace("'", "'\\''")))
    result = dev("uninstall", tmp_path)
    assert (result.returncode, sorted(os.listdir(tmp_path / "sbin"))) == (1, NAMES)
    assert "'./dev uninstall' there takes them away" in result.stderr
    result = dev("install", tmp_path)
    assert result.returncode == 0
    assert f"now they call {ROOT}\n" in result.stdout
    assert dev("uninstall", tmp_path).returncode == 0


def test_helpers_of_a_clone_that_is_gone_are_taken_away(tmp_path: Path, helpers: Path):
    run("cp", "-a", helpers, tmp_path / "sbin")
    moved(tmp_path / "sbin/fsck.fusefs", tmp_path / "gone")
    assert dev("uninstall", tmp_path).returncode == 0
    assert os.listdir(tmp_path / "sbin") == []


@pytest.mark.parametrize("name", NAMES)
def test_helper_whose_clone_has_moved_says_so(tmp_path: Path, helpers: Path, name: str):
    """With a status of its own: 127 means nothing to mount(8), and 1 to fsck(8) 'repaired'."""
    helper = tmp_path / name
    helper.write_text((helpers / name).read_text())
    moved(helper, tmp_path / "gone")
    result = subprocess.run(["sh", helper, "a", "b"], capture_output=True, text=True, check=False)
    assert result.returncode == {"mkfs": 1, "fsck": 8}.get(name.partition(".")[0], 32)
    assert result.stderr == (
        f"{name}: cannot run {tmp_path}/gone/.venv/bin/python on {tmp_path}/gone/mount_tool.py:"
        " moved, or not open to you\n"
    )
