"""mount_tool.py as a script runs it, and what it must do when it refuses."""

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mounted.clients import PROGRAM_TIMEOUT_S

from fusefs.mounts import ROOT, mountpoints

FAILED, USAGE = 1, 2

MOUNT_TOOL = (sys.executable, str(ROOT / "mount_tool.py"))


def tool(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MOUNT_TOOL, *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )


def snapshot(directory: Path) -> dict[str, str]:
    """Every file of a directory, with a hash of its bytes and the time of its last change."""
    return {
        str(path.relative_to(directory)): f"{path.stat().st_mtime_ns}: "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else f"mode {path.lstat().st_mode:o}"
        for path in sorted(directory.rglob("*"))
    }


@contextlib.contextmanager
def nothing_changes(directory: Path) -> Iterator[None]:
    before = snapshot(directory), [path for path in mountpoints() if directory in path.parents]
    yield
    after = snapshot(directory), [path for path in mountpoints() if directory in path.parents]
    assert after == before


def refused(status: int, *words: object, saying: str) -> None:
    """The command fails with this status, and its one line says so; with --json stdout, too."""
    result = tool(*words)
    line = result.stderr.removeprefix("mount_tool.py: ").rstrip("\n")
    document = f"{json.dumps({'error': line, 'status': status})}\n" if "--json" in words else ""
    assert (result.returncode, result.stdout) == (status, document), result
    assert saying in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("mount_tool.py: ")
    assert "Traceback" not in result.stderr
