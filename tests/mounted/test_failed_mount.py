"""A mount that fails half-way: one line, and nothing is left in the tree."""

import subprocess
import sys
from pathlib import Path

import pytest
from mounted.mounting import ROOT, is_mounted

pytestmark = pytest.mark.mounted

TIMEOUT_S = 60

PROGRAM = """
import os, signal, sys
from fusefs.commands.main import main
from fusefs.live import _lowlevel
{fault}
sys.exit(main(["mount", *sys.argv[1:], "-o", "size=16m"]))
"""


def mount_with(fault: str, image: Path, mountpoint: Path) -> subprocess.CompletedProcess[str]:
    """fault is a line of Python that runs before the mount."""
    mountpoint.mkdir()
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(fault=fault), image, mountpoint],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("fault", "saying"),
    [
        pytest.param(
            "_lowlevel.interposed = lambda: (True, False)",
            "cannot be interposed",
            id="not-reached-through-the-extension",
        ),
        pytest.param(
            "_lowlevel.missing = lambda: ['fuse_session_fd']",
            "lacks fuse_session_fd",
            id="libfuse-lacks-a-function",
        ),
        pytest.param(
            "_lowlevel.interposed = lambda: os.kill(os.getpid(), signal.SIGKILL)",
            "ended before it was mounted",
            id="daemon-killed-once-the-kernel-has-the-mount",
        ),
        pytest.param(
            "_lowlevel.interposed = lambda: 1 / 0",
            "ended before it was mounted",
            id="daemon-fails-once-the-kernel-has-the-mount",
        ),
    ],
)
def test_failed_mount_leaves_nothing(tmp_path: Path, fault: str, saying: str) -> None:
    mountpoint = tmp_path / "mnt"
    result = mount_with(fault, tmp_path / "image", mountpoint)
    assert result.returncode == 1
    assert saying in result.stderr.splitlines()[-1]
    assert not is_mounted(mountpoint)
    assert list(mountpoint.iterdir()) == []


def test_functions_of_libfuse_are_looked_for() -> None:
    """The check would hold if it found everything, or nothing."""
    from fusefs.live import _lowlevel

    assert _lowlevel.missing() == []
    assert _lowlevel.libfuse_version().startswith("3.")
