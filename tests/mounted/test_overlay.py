"""A mount as the upper directory of an overlay: what containers do with a disk."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounted.clients import lacking, needs_root, run

pytestmark = [pytest.mark.mounted, needs_root]


@pytest.fixture
def overlay(top: Path, tmp_path: Path) -> Iterator[Path]:
    """Over a directory with the files 'a', 'b' and 'd/inner'; what changes is in top/upper."""
    lower, merged = tmp_path / "lower", tmp_path / "merged"
    (lower / "d").mkdir(parents=True)
    for name in ("a", "b", "d/inner"):
        (lower / name).write_text(name)
    for directory in (merged, top / "upper", top / "work"):
        directory.mkdir()
    options = f"lowerdir={lower},upperdir={top}/upper,workdir={top}/work"
    if "overlay" not in Path("/proc/filesystems").read_text():
        subprocess.run(["modprobe", "overlay"], capture_output=True, check=False)
        if "overlay" not in Path("/proc/filesystems").read_text():
            lacking("this kernel has no overlay filesystem")
    run("mount", "-t", "overlay", "overlay", "-o", options, merged)
    try:
        yield merged
    finally:
        run("umount", merged)


def test_changes_of_an_overlay_are_kept_here(top: Path, overlay: Path):
    (overlay / "a").unlink()
    (overlay / "b").rename(overlay / "moved")
    (overlay / "d/inner").unlink()
    (overlay / "d").rmdir()
    (overlay / "d").mkdir()
    (overlay / "new").write_text("new")
    (overlay / "new").rename(overlay / "moved")
    assert sorted(os.listdir(overlay)) == ["d", "moved"]
    assert (overlay / "moved").read_text() == "new"
    assert os.listdir(overlay / "d") == []
    for name in ("a", "b"):
        left = (top / "upper" / name).lstat()
        assert (stat.S_IFMT(left.st_mode), left.st_rdev) == (stat.S_IFCHR, 0)
    assert os.getxattr(top / "upper/d", "trusted.overlay.opaque") == b"y"
