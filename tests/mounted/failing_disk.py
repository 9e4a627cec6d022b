"""System calls of a live daemon that fail or take long: strace's injection, for one file at a time.

    failing_calls(m, path, "fdatasync", "EIO")     while the body runs, all of them fail
    slow_calls(m, path, "fdatasync", 3.0)          they take some seconds more

Needs strace and the right to trace the daemon.  Where that is missing the test is skipped
with the reason, but fails if CI is set.
"""

import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mounted.clients import lacking, need
from mounted.mounting import Mount

ATTACH_TIMEOUT_S = 120.0

PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
"""Above 0 only root may trace what is not his child."""


def _strace() -> list[str]:
    need("strace")
    if os.getuid() and PTRACE_SCOPE.exists() and PTRACE_SCOPE.read_text().strip() != "0":
        if not shutil.which("sudo"):
            lacking(f"{PTRACE_SCOPE} is not 0, and there is no sudo")
        return ["sudo", "-n", "strace"]
    return ["strace"]


@contextmanager
def failing_calls(m: Mount, path: Path, calls: str, error: str) -> Iterator[None]:
    """Those system calls of the daemon fail that concern the file; afterwards none does."""
    with _injected(m, path, calls, f"error={error}"):
        yield


@contextmanager
def slow_calls(m: Mount, path: Path, calls: str, delay_s: float) -> Iterator[None]:
    """Those system calls of the daemon that concern the file begin so much later."""
    with _injected(m, path, calls, f"delay_enter={round(delay_s * 1e6)}"):
        yield


@contextmanager
def _injected(m: Mount, path: Path, calls: str, what: str) -> Iterator[None]:
    command = [*_strace(), "-f", "-p", str(m.pid), "-P", str(path), "-o", "/dev/null"]
    command += ["-e", f"trace={calls}", "-e", f"inject={calls}:{what}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stderr is not None
    try:
        assert select.select([process.stderr], [], [], ATTACH_TIMEOUT_S)[0], "strace is silent"
        said = process.stderr.readline().decode()
        if "attached" not in said:
            lacking(f"strace cannot attach: {said.strip()}")
        yield
    finally:
        process.terminate()
        process.communicate(timeout=ATTACH_TIMEOUT_S)
