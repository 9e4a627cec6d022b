"""Commands with timeouts, in sessions of their own: what hangs can be ended, with its children.

Errors: BenchmarkError, one line.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress

END_TIMEOUT_S = 10.0


class BenchmarkError(Exception):
    """Something cannot be measured; one line says why."""


def run(
    command: Sequence[str], timeout_s: float, interrupt: Callable[[], None] = lambda: None
) -> str:
    """What a command printed.

    interrupt() is called when time has run out, before the command is killed: it ends the
    daemon that the command waits for, without which the command could not end either.
    """
    name = os.path.basename(command[0])
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            interrupt()
            raise BenchmarkError(f"{name}: not done after {timeout_s:.0f} s") from None
        finally:
            kill(process)
        said.seek(0)
        complaints.seek(0)
        output = said.read().decode(errors="replace")
        if status:
            raise BenchmarkError(last_line(complaints.read()) or f"{name}: exit status {status}")
        return output


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children, unless it has ended."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_TIMEOUT_S)


def last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
