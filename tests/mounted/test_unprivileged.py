"""An ordinary user's mount, and who gets into whose.

    OWNER      mounts, through fusermount3
    STRANGER   somebody else

Needs root to become both.  /dev/fuse has mode 0666 wherever udev runs; where it has not, it
is given that for the time of the tests.
"""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mounted.clients import (
    NOBODY,
    PROGRAM_TIMEOUT_S,
    eventually,
    has_ended,
    need,
    needs_root,
    opened,
    python,
    run,
)
from mounted.mounting import Mount

from fusefs.mounts import ROOT, is_mounted, lazy_umount

pytestmark = [pytest.mark.mounted, needs_root]

OWNER, STRANGER = NOBODY, NOBODY - 1


def run_as(user: int, *words: object) -> tuple[int, str]:
    """Exit status and all that was said."""
    result = subprocess.run(
        [str(word) for word in words],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
        user=user,
        group=user,
        extra_groups=[],
    )
    return result.returncode, result.stdout


BECOME = """
import ctypes, os, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import fusefs
from fusefs.commands.main import main
for module in pkgutil.walk_packages(fusefs.__path__, "fusefs."):  # which he may have no way to
    __import__(module.name)
user, umask = int(sys.argv[2]), int(sys.argv[3])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, as after an exec
if umask >= 0:
    os.umask(umask)
sys.exit(main(sys.argv[4:]))
"""
"""mount_tool.py as a user who could not read this Python, or these files."""


def tool_as(user: int, *words: object, umask: int = -1) -> tuple[int, str]:
    """Exit status and all that mount_tool.py said; a daemon would hold a pipe open."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.run(
            [sys.executable, "-c", BECOME, *map(str, [ROOT, user, umask, *words])],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
        )
        said.seek(0)
        return process.returncode, said.read().decode()


@pytest.fixture(scope="module", autouse=True)
def everyone_may_mount() -> Iterator[None]:
    need("fusermount3")
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)
    yield
    os.chmod("/dev/fuse", mode)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of OWNER's that everyone may enter, with a mountpoint in it."""
    path = Path(tempfile.mkdtemp())
    (path / "mnt").mkdir()
    for each in (path, path / "mnt"):
        os.chown(each, OWNER, OWNER)
        each.chmod(0o755)
    try:
        yield path
    finally:
        if is_mounted(path / "mnt"):
            run(*lazy_umount(path / "mnt"))
        shutil.rmtree(path)


def mounted_by_owner(home: Path, options: str = "size=4m") -> Path:
    status, said = tool_as(OWNER, "mount", home / "image", home / "mnt", "-o", options)
    assert (status, said) == (0, "")
    return home / "mnt"


# -- what a user can do ------------------------------------------------------------------


def test_user_mounts_uses_and_checks_an_image(home: Path):
    """mkfs, mount, write, set, status, trace, umount, fsck; and it comes back."""
    image, mnt = home / "image", home / "mnt"
    assert tool_as(OWNER, "mkfs", image, "-o", "size=4m") == (0, "")
    mounted_by_owner(home)
    script = f"cd {mnt} && echo text > file && mkdir d && ln file d/link && chmod 4755 file"
    assert run_as(OWNER, "sh", "-c", script) == (0, "")
    direct = ("dd", "if=/dev/zero", f"of={mnt}/direct", "bs=4k", "count=9", "oflag=direct")
    assert run_as(OWNER, *direct)[0] == 0
    assert tool_as(OWNER, "set", mnt, "invalidate=before") == (0, "")
    status = json.loads(tool_as(OWNER, "status", mnt, "--json")[1])
    assert status["options"]["invalidate"] == "before"
    assert "dio.write.convert" in tool_as(OWNER, "trace", mnt, "--clear")[1]
    busy = tool_as(OWNER, "fsck", image)
    assert busy == (
        8,
        f"mount_tool.py: {image}: already mounted, or in use: it is mounted on {mnt}\n",
    )
    assert tool_as(OWNER, "umount", mnt) == (0, "")
    assert has_ended(status["pid"])
    assert tool_as(OWNER, "fsck", image) == (0, f"{image}: clean\n")
    mounted_by_owner(home)
    said = run_as(OWNER, "stat", "-c", "%u %g %a %s", mnt / "file", mnt)[1]
    assert said == f"{OWNER} {OWNER} 4755 5\n{OWNER} {OWNER} 755 1024\n"
    assert tool_as(OWNER, "umount", mnt) == (0, "")


def test_user_mount_takes_no_set_id_bits_and_no_devices(home: Path):
    mnt = mounted_by_owner(home, "size=4m,suid,dev")
    [options] = [
        line.split()[5]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if line.split()[4] == str(mnt)
    ]
    assert {"nosuid", "nodev"} <= set(options.split(","))


@pytest.mark.parametrize("umask", [0o000, 0o777, 0o022])
def test_image_and_metadata_belong_to_their_maker_alone(home: Path, umask: int):
    """0600 whatever the umask, made by mkfs or by mount; the log beside them, too."""
    for words in (["mkfs", home / "image"], ["mount", home / "second", home / "mnt"]):
        assert tool_as(OWNER, *words, "-o", "size=1m", umask=umask) == (0, "")
    run_as(OWNER, "touch", home / "mnt/file")
    files = ["image", "image.meta", "second", "second.meta", "second.meta-wal"]
    assert sorted(os.listdir(home)) == sorted([*files, "mnt"])
    for name in files:
        found = (home / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, OWNER), name


def test_metadata_that_may_only_be_read_is_not_called_damaged(home: Path):
    """SQLite, asked to write, calls it a disk I/O error."""
    image, mnt = home / "image", home / "mnt"
    assert tool_as(OWNER, "mkfs", image, "-o", "size=1m") == (0, "")
    (home / "image.meta").chmod(0o400)
    refusal = f"mount_tool.py: {image}.meta: cannot be opened for writing: Permission denied\n"
    assert tool_as(OWNER, "mount", image, mnt) == (1, refusal)
    assert tool_as(OWNER, "mount", image, mnt, "-o", "ro") == (1, refusal)
    assert tool_as(OWNER, "fsck", image, "--repair") == (8, refusal)
    assert tool_as(OWNER, "fsck", image) == (0, f"{image}: clean\n")


def test_folder_in_which_sqlite_can_make_no_log_is_named(home: Path):
    image = home / "image"
    assert tool_as(OWNER, "mkfs", image, "-o", "size=1m") == (0, "")
    home.chmod(0o555)
    status, said = tool_as(OWNER, "mount", image, home / "mnt")
    assert (status, f"you may make no files in {home}," in said) == (1, True), said


# -- what root can do to it --------------------------------------------------------------


def test_root_unmounts_a_users_mount_and_waits(home: Path):
    """Root is not let in, so it cannot ask in the mount which daemon it is to wait for."""
    mnt = mounted_by_owner(home, "size=4m,commit=3600s")
    run_as(OWNER, "sh", "-c", f"echo text > {mnt}/file")
    pid = json.loads(tool_as(OWNER, "status", mnt, "--json")[1])["pid"]
    assert run_as(0, "ls", mnt)[0], "root is let in, so this test shows nothing"
    assert tool_as(0, "umount", mnt) == (0, "")
    assert has_ended(pid)
    assert not is_mounted(mnt)


def test_root_takes_a_users_dead_mount_away(home: Path):
    mnt = mounted_by_owner(home)
    pid = json.loads(tool_as(OWNER, "status", mnt, "--json")[1])["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: has_ended(pid), "the daemon has ended")
    assert tool_as(0, "umount", mnt) == (0, "")
    assert not is_mounted(mnt)


def test_root_is_told_that_a_users_mountpoint_is_in_use(home: Path):
    """The kernel does not let root look at it."""
    mnt = mounted_by_owner(home)
    status, said = tool_as(0, "mount", home / "other", mnt, "-o", "size=1m")
    line = f"mount_tool.py: {mnt}: in use: something is mounted there already\n"
    assert (status, said) == (1, line)


def test_root_sees_and_changes_a_users_mount(home: Path):
    mnt = mounted_by_owner(home)
    assert tool_as(0, "set", mnt, "invalidate=before") == (0, "")
    assert '"invalidate": "before"' in tool_as(0, "status", mnt, "--json")[1]
    assert tool_as(0, "mount", "image", mnt, "-o", "remount,ro") == (0, "")
    assert "Read-only file system" in run_as(OWNER, "touch", mnt / "new")[1]


def test_stranger_is_refused(home: Path):
    mnt = mounted_by_owner(home)
    for words in (["umount", mnt], ["status", mnt], ["set", mnt, "jitter=0"]):
        assert tool_as(STRANGER, *words)[0] == 1
    assert is_mounted(mnt)


# -- who gets in -------------------------------------------------------------------------


def test_nobody_else_gets_in_without_allow_other(home: Path):
    """Not even root: that is the kernel's rule for a user's mount."""
    mnt = mounted_by_owner(home)
    run_as(OWNER, "chmod", "777", mnt)
    for user in (STRANGER, 0):
        for words in (["ls", mnt], ["touch", mnt / "new"], ["cat", mnt / ".fusefs/status"]):
            status, said = run_as(user, *words)
            assert status, words
            assert "Permission denied" in said
    assert run_as(OWNER, "ls", mnt) == (0, "")


def test_allow_other_is_the_administrators_to_allow(home: Path):
    """One line that says what to do, and no image is left."""
    fuse_conf = Path("/etc/fuse.conf")
    if fuse_conf.exists() and "\nuser_allow_other" in f"\n{fuse_conf.read_text()}":
        pytest.skip("/etc/fuse.conf has user_allow_other")
    image, mnt = home / "image", home / "mnt"
    status, said = tool_as(OWNER, "mount", image, mnt, "-o", "size=1m,allow_other")
    assert status == 1
    assert "user_allow_other" in said
    assert said.count("\n") == 1
    assert sorted(os.listdir(home)) == ["mnt"]


def test_mountpoint_of_somebody_else_is_refused(home: Path):
    image = home / "image"
    (home / "roots").mkdir(mode=0o755)
    status, said = tool_as(OWNER, "mount", image, home / "roots", "-o", "size=1m")
    assert status == 1
    assert "no write access to mountpoint" in said
    assert said.count("\n") == 1
    assert not image.exists()


@pytest.mark.parametrize("option", ["ro", "noexec"])
def test_user_may_ask_for_less(home: Path, option: str):
    mounted_by_owner(home)
    tool_as(OWNER, "umount", home / "mnt")
    mnt = mounted_by_owner(home, option)
    _, said = run_as(OWNER, "touch", mnt / "new")
    assert ("Read-only file system" in said) == (option == "ro"), said


@pytest.fixture
def open_to_all(mount: Callable[..., Mount], tmp_path: Path) -> Iterator[Path]:
    """Root's mount with allow_other, where everyone can reach it."""
    m = mount(allow_other=True)
    m.path.chmod(0o777)
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    run("mount", "--bind", m.path, place)
    try:
        yield place
    finally:
        run("umount", place)
        place.rmdir()


def test_others_get_in_by_permissions_with_allow_other(open_to_all: Path):
    (open_to_all / "mine").write_text("mine")
    (open_to_all / "mine").chmod(0o600)
    assert run_as(STRANGER, "sh", "-c", f"echo theirs > {open_to_all}/theirs") == (0, "")
    assert (open_to_all / "theirs").stat().st_uid == STRANGER
    assert "Permission denied" in run_as(STRANGER, "cat", open_to_all / "mine")[1]
    assert "Permission denied" in run_as(OWNER, "tee", open_to_all / "theirs")[1]


CONTROL_CALLS = {
    "lookup": "os.stat('.fusefs/nothing')",
    "stat": "os.stat('.fusefs/status')",
    "list": "os.listdir('.fusefs')",
    "open": "os.open('.fusefs/status', os.O_RDONLY)",
    "open path": "os.open('.fusefs/status', os.O_PATH)",
    "write": "os.open('.fusefs/invalidate', os.O_WRONLY)",
    "clear": "os.open('.fusefs/trace', os.O_WRONLY | os.O_TRUNC)",
    "create": "os.open('.fusefs/new', os.O_WRONLY | os.O_CREAT)",
    "truncate": "os.truncate('.fusefs/trace', 0)",
    "unlink": "os.unlink('.fusefs/trace')",
    "link": "os.link('.fusefs/status', 'status')",
    "rename": "os.rename('.fusefs/status', 'status')",
    "rename in": "os.rename('own', '.fusefs/own')",
    "chmod": "os.chmod('.fusefs/status', 0o777)",
    "chdir": "os.chdir('.fusefs')",
    "xattr": "os.listxattr('.fusefs/status')",
    "through a directory": "os.open('status', os.O_RDONLY, dir_fd=directory)",
}


@pytest.mark.parametrize("call", CONTROL_CALLS)
def test_control_directory_is_the_owners_alone(open_to_all: Path, call: str):
    """Whoever is let into the mount is not let into .fusefs; a directory handed over is no way."""
    script = f"""
import os, sys
os.chdir({str(open_to_all)!r})
os.setgroups([])
os.setresgid({STRANGER}, {STRANGER}, {STRANGER})
os.setresuid({STRANGER}, {STRANGER}, {STRANGER})
directory = int(sys.argv[1])
try:
    {CONTROL_CALLS[call]}
except PermissionError as error:
    sys.exit(error.errno)
"""
    (open_to_all / "own").touch()
    os.chown(open_to_all / "own", STRANGER, STRANGER)
    with opened(open_to_all / ".fusefs", os.O_RDONLY | os.O_DIRECTORY) as directory:
        client = python(script, directory, inherits=[directory])
        client.communicate(timeout=PROGRAM_TIMEOUT_S)
    assert client.returncode in (errno.EPERM, errno.EACCES)
