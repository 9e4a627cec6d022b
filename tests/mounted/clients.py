"""What the mounted tests use to reach a mount: programs, direct I/O, and calls os lacks.

    run, as_nobody, python     a process with a timeout; its output
    started, said              one that goes on meanwhile, and what it has said at its end
    lacking, need              skip (fail in CI) when this machine, or a program, is missing
    loop_device                a block device, where the machine gives one
    direct_write, direct_read  through an O_DIRECT descriptor, with an aligned buffer
    fallocate, renameat2, give_name       by their system calls
    kernel_remount             changes what the kernel has of a mount
    watched                    another thread has a file open to read
    fails_with                 the errno that a call must give
    eventually                 for what the kernel tells the daemon later: FORGET, RELEASE
    has_ended                  is a daemon gone?

Units: pos and length are bytes in the file.
Errors: OSError; subprocess.CalledProcessError, whose note holds what the program said.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from fusefs.live.timing import IDLE_S

FAR_BEHIND = 1 << 40
"""A position behind the end of all files."""

PROGRAM_TIMEOUT_S = 300.0
EVENTUALLY_TIMEOUT_S = 120.0
"""Against hanging alone: a busy machine takes a minute for what takes a second."""

NOBODY = 65534

FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.renameat2.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
)


# -- programs ------------------------------------------------------------------------


def lacking(reason: str) -> NoReturn:
    """Skip the test, as this machine cannot run it; where CI is set, fail instead."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, and {reason}", pytrace=False)
    pytest.skip(reason)


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            lacking(f"{program} is missing (apt install {PACKAGES.get(program, program)})")


PRIVATE_MOUNTS = ("unshare", "-m", "--propagation", "private")
"""Runs what follows where nobody else sees what it mounts."""

FORGET_OTHERS = r"""
awk '$3 ~ /^fuse(\.|$)/ { print $2 }' /proc/self/mounts | while read -r each; do
    each=$(printf %b "$each")
    [ "$each" = "${kept:-}" ] || umount -i -l "$each" || true
done
"""
"""First in a script with mounts of its own, which has a copy of every mount: kept is to stay, and
whoever unmounts another meanwhile, as tests beside this one, must not wait for the copy."""


def need_private_mounts() -> None:
    need("unshare")
    tried = subprocess.run(
        [*PRIVATE_MOUNTS, "true"],
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )
    if tried.returncode:
        said = tried.stderr.strip()
        lacking(f"no mounts of its own: {said} (of a chroot the root has to be a mount)")


PACKAGES = {
    "xfs_io": "xfsprogs",
    "setfacl": "acl",
    "getfacl": "acl",
    "chattr": "e2fsprogs",
    "lsattr": "e2fsprogs",
    "dd": "coreutils",
    "fusermount3": "fuse3",
    "losetup": "mount",
    "setpriv": "util-linux",
}
"""./dev installs all of them for 'test'."""


@contextmanager
def loop_device(backing: Path, *part: str) -> Iterator[str]:
    """A block device over a file, or part of it; many a container has none."""
    need("losetup")
    made = subprocess.run(
        ["losetup", "-f", "--show", *part, str(backing)],
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )
    if made.returncode:
        lacking(f"there is no loop device: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        yield device
    finally:
        run("losetup", "-d", device)


def run(
    *command: str | Path,
    cwd: Path | None = None,
    timeout_s: float = PROGRAM_TIMEOUT_S,
    user: int | None = None,
) -> str:
    """What a program printed on stdout; CalledProcessError if it failed."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if result.returncode:
        error = subprocess.CalledProcessError(result.returncode, result.args)
        error.add_note((result.stdout + result.stderr)[-4000:])
        raise error
    return result.stdout


def as_nobody(script: str, cwd: Path) -> tuple[int, str]:
    """Run a shell script as another user: its exit status, and all that it said.

    It starts in cwd, so that it need not pass through the directories above.
    """
    result = subprocess.run(
        ["sh", "-c", script],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    )
    return result.returncode, result.stdout


def python(script: str, *arguments: object, inherits: Sequence[int] = ()) -> subprocess.Popen[str]:
    """Start a Python client; its stdout is piped, and it has the file descriptors it inherits."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=inherits,
    )


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A process, which is killed if it has not ended."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*map(str, words)], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and all that it printed, once it has ended."""
    out, complaint = process.communicate(timeout=PROGRAM_TIMEOUT_S)
    return process.returncode, out + complaint


def all_succeed(clients: list[subprocess.Popen[str]]) -> list[str]:
    """Wait for clients that run side by side; what each one printed."""
    try:
        printed = [client.communicate(timeout=PROGRAM_TIMEOUT_S)[0] for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    assert [client.returncode for client in clients] == [0] * len(clients)
    return printed


# -- direct I/O ----------------------------------------------------------------------


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """Another thread than the caller's reads the file now and then: conversions take their time.

    It reads behind the end, so that it fills no page.
    """
    ended = threading.Event()

    def read_on() -> None:
        with opened(path, os.O_RDONLY) as fd:
            begun.set()
            while not ended.wait(IDLE_S / 4):
                os.pread(fd, 1, FAR_BEHIND)

    begun = threading.Event()
    with ThreadPoolExecutor(1) as other:
        reading = other.submit(read_on)
        try:
            assert begun.wait(PROGRAM_TIMEOUT_S)
            yield
        finally:
            ended.set()
        reading.result()


def direct_write(path: Path, data: bytes, pos: int = 0) -> int:
    """One pwrite(2) with O_DIRECT; the file is made if it is missing."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT) as fd:
        return os.pwrite(fd, aligned(data), pos)


def direct_read(path: Path, length: int, pos: int = 0) -> bytes:
    """One pread(2) with O_DIRECT."""
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        return direct_read_fd(fd, length, pos)


def direct_read_fd(fd: int, length: int, pos: int = 0) -> bytes:
    buffer = mmap.mmap(-1, max(length, 1))
    count = os.preadv(fd, [memoryview(buffer)[:length]], pos)
    return buffer[:count]


def aligned(data: bytes) -> memoryview:
    """The same bytes at the start of a page."""
    buffer = mmap.mmap(-1, max(len(data), 1))
    buffer[: len(data)] = data
    return memoryview(buffer)[: len(data)]


# -- system calls that os does not have ----------------------------------------------


def fallocate(path: Path, mode: int, pos: int, length: int) -> None:
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        if _libc.fallocate(fd, mode, pos, length):
            raise os_error(path)


def renameat2(source: Path, target: Path, flags: int) -> None:
    if _libc.renameat2(AT_FDCWD, bytes(source), AT_FDCWD, bytes(target), flags):
        raise os_error(source)


def give_name(fd: int, path: Path) -> None:
    """linkat(2), as open(2) describes it for O_TMPFILE."""
    source = f"/proc/self/fd/{fd}".encode()
    if _libc.linkat(AT_FDCWD, source, AT_FDCWD, bytes(path), AT_SYMLINK_FOLLOW):
        raise os_error(path)


def kernel_remount(path: Path, options: str) -> None:
    """By mount(8) alone; FUSE refuses fsconfig(2), its newer way."""
    environment = os.environ | {"LIBMOUNT_FORCE_MOUNT2": "always"}
    command = ["mount", "-i", "-o", f"remount,{options}", path]
    subprocess.run(command, check=True, timeout=PROGRAM_TIMEOUT_S, env=environment)


def os_error(path: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def fails_with(*numbers: int) -> Iterator[None]:
    """The body raises OSError with one of these errnos."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        yield
    assert caught.value.errno in numbers, caught.value


# -- what comes later ----------------------------------------------------------------


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Ask until it holds; the kernel sends FORGET and RELEASE after the call returned."""
    deadline = time.monotonic() + EVENTUALLY_TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """A process is gone, or a zombie that nobody has waited for yet."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
