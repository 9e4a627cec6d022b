"""Who is measured, and how each is mounted and surely unmounted.

    fusefs          mount defaults; growth has mounts of its own
    pyfuse3-null    peers/pyfuse3_null.py
    c-null          peers/c_null.c
    passthrough_ll  libfuse's example, on a directory beside the images: what one would pick instead
    host            the directory that holds the images
    others          --peer NAME='COMMAND that mounts on {mnt}'; {dir} is an empty directory

Each daemon stays in front, a child of ours in a session of its own; a peer that does not is
unmounted all the same.  Nothing is killed but what was started here.

Errors: BenchmarkError, one line.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError, kill, last_line, run
from benchmarks.works import Place
from fusefs.mounts import is_mounted, lazy_umount

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
IMAGE_SIZE = "16g"
LIVE_TIMEOUT_S = 60.0
UNMOUNT_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0

FUSEFS, PYFUSE3_NULL, C_NULL, HOST = "fusefs", "pyfuse3-null", "c-null", "host"
PASSTHROUGH_LL = "passthrough_ll"

PASSTHROUGH_LL_SOURCE = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")
"""Where Debian puts it; without it this contender is left out."""

Command = Callable[[Path, Path, Place], list[str]]
"""The words that mount on a mountpoint, with an empty directory of its own."""


@dataclass(frozen=True, slots=True)
class Contender:
    """command is None for a plain directory.

    has_places: fusefs alone is mounted once for each place; the others have nothing to
    set, and nothing that grows.
    may_refuse: what it cannot do it is not measured at, and no failure of the run.
    """

    name: str
    command: Command | None
    has_places: bool = False
    may_refuse: bool = False

    def place(self, wanted: Place) -> Place | None:
        """Where this contender does the work of a place; None if it does not."""
        if self.has_places:
            return wanted
        return None if wanted.is_growth else Place.MAIN


def built_in(c_null: Path, passthrough_ll: Path | None) -> list[Contender]:
    """The contenders of every run, of the compiled programs that there are."""

    def fusefs(mnt: Path, scratch: Path, _: Place) -> list[str]:
        words = ["mount", "-f", str(scratch / "image"), str(mnt), "-o", f"size={IMAGE_SIZE}"]
        return [sys.executable, str(ROOT / "mount_tool.py"), *words]

    return [
        Contender(FUSEFS, fusefs, has_places=True),
        Contender(
            PYFUSE3_NULL,
            lambda mnt, *_: [sys.executable, str(PEERS / "pyfuse3_null.py"), str(mnt)],
        ),
        Contender(C_NULL, lambda mnt, *_: [str(c_null), str(mnt)]),
        *([] if passthrough_ll is None else [_passthrough_ll(passthrough_ll)]),
        Contender(HOST, None),
    ]


def _passthrough_ll(program: Path) -> Contender:
    """With libfuse before 3.15 its O_DIRECT writes fail with EINVAL: buffers are not aligned."""
    return Contender(
        PASSTHROUGH_LL,
        lambda mnt, scratch, _: [str(program), "-f", "-o", f"source={scratch}", str(mnt)],
        may_refuse=True,
    )


def peer(text: str) -> Contender:
    """NAME=COMMAND as a contender; ValueError says what is wrong."""
    name, equals, command = text.partition("=")
    words = shlex.split(command)
    if not name or not equals or not any("{mnt}" in word for word in words):
        raise ValueError("say NAME='COMMAND that mounts on {mnt}'")
    if name in (FUSEFS, PYFUSE3_NULL, C_NULL, PASSTHROUGH_LL, HOST):
        raise ValueError(f"'{name}' is measured anyway; choose another name")
    return Contender(
        name,
        lambda mnt, scratch, _: [
            word.replace("{mnt}", str(mnt)).replace("{dir}", str(scratch)) for word in words
        ],
    )


class Mount:
    """One contender at one place, from start() to close()."""

    def __init__(self, contender: Contender, place: Place, folder: Path) -> None:
        name = f"{contender.name}-{place.value}"
        self.name = contender.name
        self.path = folder / name / "mnt"
        self.scratch = folder / name / "dir"
        self.path.mkdir(parents=True)
        self.scratch.mkdir()
        self._command = contender.command and contender.command(self.path, self.scratch, place)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to mount; a plain directory is there already."""
        if self._command is None:
            return
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchmarkError(
                f"{self.name}: cannot run {self._command[0]}: {error.strerror}"
            ) from None

    def wait_live(self) -> None:
        """Return when it is mounted; BenchmarkError with the daemon's last line."""
        if self._process is None:
            return
        deadline = time.monotonic() + LIVE_TIMEOUT_S
        while not is_mounted(self.path):
            if self._process.poll():  # 0 is a peer that goes on as a daemon
                raise BenchmarkError(f"{self.name}: not mounted: {self.said()}")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name}: not mounted after {LIVE_TIMEOUT_S:.0f} s")
            time.sleep(0.01)

    def interrupt(self) -> None:
        """Kill the daemon, so that whoever waits for it goes on."""
        if self._process is not None:
            kill(self._process)

    def close(self) -> None:
        """Unmount, by force if it must be; no daemon of ours is left.  BenchmarkError."""
        try:
            if self._process is not None and is_mounted(self.path):
                run(umount(self.path), UNMOUNT_TIMEOUT_S, self.interrupt)
            if self._process is not None and (status := self._process.wait(END_TIMEOUT_S)):
                raise BenchmarkError(f"{self.name}: ended with status {status}: {self.said()}")
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{self.name}: unmounted, but does not end") from None
        finally:
            self.interrupt()
            if self._process is not None and is_mounted(self.path):
                with suppress(BenchmarkError):
                    run(lazy_umount(self.path), UNMOUNT_TIMEOUT_S)
            self._log.close()

    def said(self) -> str:
        self._log.seek(0)
        return last_line(self._log.read()) or "it said nothing"


def umount(path: Path) -> list[str]:
    """The command that unmounts whatever is mounted there."""
    words = ["umount"] if os.getuid() == 0 else ["fusermount3", "-u"]
    return [*words, str(path)]


# -- what must be there ----------------------------------------------------------------


def check_programs() -> None:
    """BenchmarkError for the first thing that is missing, with what installs it."""
    for program, package in (
        ("fio", "fio"),
        ("gcc", "gcc"),
        ("pkg-config", "pkg-config"),
        ("umount" if os.getuid() == 0 else "fusermount3", "fuse3"),
    ):
        if shutil.which(program) is None:
            raise BenchmarkError(f"{program} is missing; 'apt-get install {package}'")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise BenchmarkError(f"/dev/fuse: {error.strerror}; 'modprobe fuse'") from None


def compile_c(source: Path, program: Path, *, with_fuse: bool) -> None:
    """Compile one C file; BenchmarkError with what is missing."""
    flags: list[str] = []
    if with_fuse:
        try:
            flags = run(["pkg-config", "--cflags", "--libs", "fuse3"], 60).split()
        except BenchmarkError:
            raise BenchmarkError("libfuse 3 is missing; 'apt-get install libfuse3-dev'") from None
    run(["gcc", "-O2", "-o", str(program), str(source), *flags], 120)


def compile_passthrough_ll(folder: Path) -> Path | None:
    """libfuse's example, or None after one line that says why it is left out."""
    program = folder / PASSTHROUGH_LL
    if not PASSTHROUGH_LL_SOURCE.exists():
        reason = f"no {PASSTHROUGH_LL_SOURCE}"
    else:
        try:
            compile_c(PASSTHROUGH_LL_SOURCE, program, with_fuse=True)
            return program
        except BenchmarkError as error:
            reason = str(error)
    print(f"benchmarks: {PASSTHROUGH_LL} is left out: {reason}", file=sys.stderr)
    return None
