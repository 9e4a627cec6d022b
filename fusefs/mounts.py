"""Mounts from Python: live ones, each served by a process of its own, and gone when they must.

    with fusefs.mounted(invalidate="before", block_size=512) as m:
        (m.path / "file").write_bytes(b"through a real mount")
        m.set(invalidate="after")
        print(m.status()["counters"], m.trace()[-1])

    mounted()        a new image in a temporary folder, or one that is given
    Mount.start      mount_tool mount, in a process of its own; the daemon goes on
    Mount.umount     unmounts, and waits for the daemon
    Mount.remount    the same image again, with some options changed
    Mount.kill       SIGKILL the daemon, as a crash does
    Mount.close      whatever happened before: nothing stays mounted, no daemon is left

All that goes through the mount runs in a process with a timeout.  When one runs out the
daemon is killed first: a process that waits for it cannot be ended otherwise.  For the same
reason a thread of one's own must not enter a mount while it holds the interpreter's lock and
the daemon is in the same process; here it never is.

Errors: MountFailed, with what the command said.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fusefs.engine.events import Event, parse
from fusefs.gates import Gates
from fusefs.store import mount_table

ROOT = Path(__file__).parents[1]
"""Where commands run, so that Python finds this fusefs and no other."""

COMMAND_TIMEOUT_S = 300.0
CONTROL_TIMEOUT_S = 120.0
DAEMON_END_TIMEOUT_S = 120.0
"""Against hanging alone: a busy machine takes a minute for what takes a second."""

OptionValue = str | int | float | bool | Path


class MountFailed(Exception):
    """A command failed; the message is what it said, without its last newline."""


class Mount:
    """One mountpoint, its image, and the daemon that serves it.

    Options are mount options by name: invalidate="before", page_size="64k".  True stands
    for a bare word, and False for none: allow_other=True.
    pid is the daemon's, 0 while it is not mounted.
    """

    def __init__(self, path: Path, image: Path, options: dict[str, OptionValue]) -> None:
        self.path = path.absolute()  # commands run elsewhere
        self.image = image.absolute()
        self.options = {
            name: value.absolute() if isinstance(value, Path) else value
            for name, value in options.items()
        }
        self.pid = 0
        self._is_ours = False  # what is mounted there

    # -- its life --------------------------------------------------------------------

    def start(self) -> None:
        """Mount; returns when the mount is live.  An image that is missing is made."""
        if is_mounted(self.path):
            raise MountFailed(f"{self.path}: something is mounted there already")
        self._is_ours = True
        options = dict(self.options)
        if not self.image.exists():
            options.setdefault("size", "1g")
        words = [
            name if value is True else f"{name}={value}"
            for name, value in options.items()
            if value is not False
        ]
        self.path.mkdir(exist_ok=True)
        self._mount_tool(
            "mount", str(self.image), str(self.path), *(["-o", ",".join(words)] if words else [])
        )
        self.pid = self.status()["pid"]

    def umount(self) -> None:
        """Unmount and wait for the daemon: all is on the disk."""
        self._mount_tool("umount", str(self.path))
        self.pid = 0
        self._is_ours = False

    def remount(self, **options: OptionValue) -> None:
        """Unmount if mounted, then mount the same image; options given here replace others."""
        if is_mounted(self.path):
            self.umount()
        self.options |= options
        self.start()

    def kill(self) -> None:
        """End the daemon without warning, and take its mount away."""
        self._kill_daemon()
        self._detach()

    def close(self) -> None:
        """Unmount if mounted, by force if it must be; MountFailed if it had to be."""
        if not self._is_ours:
            return
        try:
            if is_mounted(self.path):
                self.umount()
        finally:
            self._detach()
            self._kill_daemon()

    def interrupt(self) -> None:
        """Kill the daemon so that whoever waits for it goes on, with ENOTCONN."""
        if self._is_daemon():
            os.kill(self.pid, signal.SIGKILL)

    # -- its control directory -------------------------------------------------------

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self._control("status"))
        return status

    def trace(self) -> list[Event]:
        """The last events of all requests, oldest first."""
        return parse(self._control("trace").splitlines())

    def gates(self) -> Gates:
        """Holds requests before their steps; it is for a with block.

        It waits for the daemon in this process: interrupted_after() ends that, too.
        """
        return Gates(self.path)

    def log(self) -> str:
        return self._control("log")

    def get(self, name: str) -> str:
        """A live option's value, as .fusefs has it."""
        return self._control(name).strip()

    def set(self, **options: OptionValue) -> None:
        """Change live options, as 'echo value > .fusefs/name' does; MountFailed has the errno."""
        for name, value in options.items():
            self._write_control(name, value)

    def _write_control(self, name: str, value: OptionValue) -> None:
        file = str(self.path / ".fusefs" / name)
        script = 'exec env printf "%s\\n" "$1" >"$2"'  # a shell's own echo hides the errno
        self._run(["sh", "-c", script, "sh", str(value), file], CONTROL_TIMEOUT_S)

    def clear_trace(self) -> None:
        self._write_control("trace", "clear")

    def _control(self, name: str) -> str:
        return self._run(["cat", str(self.path / ".fusefs" / name)], CONTROL_TIMEOUT_S)

    # -- how -------------------------------------------------------------------------

    def _mount_tool(self, *arguments: str) -> None:
        self._run([sys.executable, "-m", "mount_tool", *arguments], COMMAND_TIMEOUT_S)

    def _run(self, command: Sequence[str], timeout_s: float) -> str:
        """What a command printed.  Output goes to files: a daemon would hold a pipe open."""
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=complaints,
                start_new_session=True,
            )
            try:
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.interrupt()
                process.kill()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(DAEMON_END_TIMEOUT_S)
                raise MountFailed(f"{command}: not done after {timeout_s:.0f} s") from None
            except BaseException:  # a Ctrl-C: what a mount that comes later would be is not known
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout_s)
                process.kill()
                raise
            said.seek(0)
            complaints.seek(0)
            if status:
                complaint = complaints.read().decode(errors="replace").rstrip("\n")
                raise MountFailed(complaint or f"{command}: exit status {status}")
            return said.read().decode(errors="replace")

    def _is_daemon(self) -> bool:
        """Whether pid is still our daemon: never end a process that is not."""
        try:
            return os.fsencode(self.path) in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False

    def _kill_daemon(self) -> None:
        deadline = time.monotonic() + DAEMON_END_TIMEOUT_S
        self.interrupt()
        while self._is_daemon():  # a zombie has no command line
            if time.monotonic() > deadline:
                raise MountFailed(f"the daemon {self.pid} does not end")
            time.sleep(0.005)
        self.pid = 0

    def _detach(self) -> None:
        """Take the mount out of the tree even if somebody uses it, or nobody serves it."""
        if is_mounted(self.path):
            self._run(lazy_umount(self.path), COMMAND_TIMEOUT_S)


@contextmanager
def mounted(
    path: Path | None = None, image: Path | None = None, **options: OptionValue
) -> Iterator[Mount]:
    """A Mount, from its start to its close.

    Without a path it is mounted in a temporary folder, which also has the image if none is given;
    both are gone afterwards.
    """
    folder = tempfile.mkdtemp(prefix="fusefs-")
    mount = Mount(path or Path(folder, "mnt"), image or Path(folder, "image"), options)
    try:
        try:
            mount.start()
            yield mount
        finally:
            mount.close()
    finally:
        if not is_mounted(mount.path):
            shutil.rmtree(folder)


@contextmanager
def interrupted_after(timeout_s: float, mount: Mount) -> Iterator[None]:
    """Kill the daemon if the body takes longer, so that nobody waits for it for ever."""
    watchdog = threading.Timer(timeout_s, mount.interrupt)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def lazy_umount(path: Path) -> list[str]:
    """The command that takes a mount out of the tree, whoever uses it."""
    words = ["umount", "-l"] if os.getuid() == 0 else ["fusermount3", "-u", "-z"]
    return [*words, str(path)]


def mountpoints() -> list[Path]:
    """From the list of mounts, not from the tree: that might wait for a daemon."""
    return [Path(each.mountpoint) for each in mount_table.seen_by("self")]


def is_mounted(path: Path) -> bool:
    return path.parent.resolve() / path.name in mountpoints()
