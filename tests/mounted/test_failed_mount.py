"""A mount that fails half-way: one line, and nothing is left in the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mounted.clients import needs_root

from fusefs.mounts import ROOT, is_mounted

pytestmark = pytest.mark.mounted

TIMEOUT_S = 60

PROGRAM = """
import os, signal, sys
from fusefs.commands.main import main
from fusefs.live.extension import _lowlevel
{fault}
sys.exit(main(["mount", *sys.argv[1:], "-o", "size=16m"]))
"""


def mount_with(
    fault: str,
    image: Path,
    mountpoint: Path,
    *,
    under: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """fault is a line of Python that runs before the mount; under is a command to run it with."""
    mountpoint.mkdir()
    return subprocess.run(
        [*under, sys.executable, "-c", PROGRAM.format(fault=fault), image, mountpoint],
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
            "_lowlevel.interposed = lambda: os.kill(os.getpid(), signal.SIGTERM) or (True, False)",
            "cannot be interposed",
            id="daemon-told-to-end-once-the-kernel-has-the-mount",
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
    assert_nothing_left(mountpoint)


def assert_nothing_left(mountpoint: Path) -> None:
    assert not is_mounted(mountpoint)
    assert list(mountpoint.iterdir()) == []


@needs_root  # fusermount3, which mounts for others, has no privileges under strace
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here to make a read fail")
def test_session_that_cannot_begin_is_not_reported_as_mounted(tmp_path: Path) -> None:
    """The first read of /dev/fuse finds the connection gone: no daemon would ever serve it."""
    mountpoint = tmp_path / "mnt"
    fault = ("strace", "-f", "-qq", "-o", str(tmp_path / "strace"), "-P", "/dev/fuse")
    inject = ("-e", "trace=read", "-e", "inject=read:error=ENODEV")
    result = mount_with("", tmp_path / "image", mountpoint, under=(*fault, *inject))
    assert "(INJECTED)" in (tmp_path / "strace").read_text()
    assert result.returncode == 1
    assert "mounting failed" in result.stderr.splitlines()[-1]
    assert_nothing_left(mountpoint)
    assert not (tmp_path / "image").exists()


def test_libfuse_that_does_not_fit_the_extension_is_told_of_in_one_line(tmp_path: Path) -> None:
    """As after an upgrade of the system: a library of the same name, which lacks functions."""
    for number in (3, 4):
        library = tmp_path / f"libfuse3.so.{number}"
        command = ["gcc", "-shared", "-x", "c", os.devnull, f"-Wl,-soname,{library.name}"]
        subprocess.run([*command, "-o", library], check=True)
    result = subprocess.run(
        [sys.executable, "-m", "mount_tool", "mount", tmp_path / "image", tmp_path],
        cwd=ROOT,
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "undefined symbol: fuse_" in result.stderr or "libfuse3.so" in result.stderr


def test_functions_of_libfuse_are_looked_for() -> None:
    """The check would hold if it found everything, or nothing."""
    from fusefs.live.extension import _lowlevel

    assert _lowlevel.missing() == []
    assert _lowlevel.libfuse_version().startswith("3.")
