"""Files that are not what they should be, and disks that take no more.

For each command: one clear line, the right exit status, and not a byte, a time or a file
changed.  fsck says that it cannot check with exit status 8.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mounted.clients import eventually, has_ended, loop_device, need, needs_root, run
from mounted.commands import FAILED, MOUNT_TOOL, USAGE, nothing_changes, refused, tool
from mounted.mounting import Mount

from fusefs.mounts import is_mounted

pytestmark = pytest.mark.mounted

NOT_CHECKED = 8


@pytest.fixture
def mnt(tmp_path: Path) -> Path:
    path = tmp_path / "mnt"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def new_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("new") / "image"
    assert tool("mkfs", path, "-o", "size=1m").returncode == 0
    return path


@pytest.fixture
def made(tmp_path: Path, new_image: Path) -> Path:
    """An image of 1 MiB, not mounted."""
    for suffix in ("", ".meta"):
        shutil.copy(f"{new_image}{suffix}", f"{tmp_path}/image{suffix}")
    return tmp_path / "image"


def refused_by_all(image: Path, mnt: Path, saying: str) -> None:
    """By mount, with a size or without one, and by fsck, with --repair or without it."""
    refused(FAILED, "mount", image, mnt, saying=saying)
    refused(FAILED, "mount", image, mnt, "-o", "size=1m,ro", saying=saying)
    refused(NOT_CHECKED, "fsck", image, saying=saying)
    refused(NOT_CHECKED, "fsck", image, "--repair", saying=saying)


# -- what is no image ------------------------------------------------------------------


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


NO_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (os.mkfifo, "not a regular file"),
    "directory": (os.mkdir, "not a regular file"),
    "socket": (make_socket, "not a regular file"),
    "empty": (Path.touch, "not a fusefs image"),
    "short": (lambda path: path.write_bytes(b"fusefs image\n\0\0\0"), "not a fusefs image"),
    "noise": (lambda path: path.write_bytes(os.urandom(1 << 16)), "not a fusefs image"),
    "symlink loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "terminal": (lambda path: path.symlink_to("/dev/ptmx"), "not a regular file"),
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_image_is_refused(tmp_path: Path, mnt: Path, kind: str):
    """Nothing waits: for the other end of a fifo, for one."""
    make, saying = NO_IMAGES[kind]
    make(tmp_path / "image")
    loops = kind == "symlink loop"
    with nothing_changes(tmp_path):
        if not loops:
            refused_by_all(tmp_path / "image", mnt, saying)
        refused(NOT_CHECKED, "fsck", tmp_path / "image", saying=saying)
        if kind != "empty":
            exists = "Too many levels" if loops else "exists already"
            refused(FAILED, "mkfs", tmp_path / "image", saying=exists)


@pytest.mark.parametrize("kind", ["fifo", "directory", "empty", "noise", "symlink loop"])
def test_what_is_no_metadata_is_refused(tmp_path: Path, mnt: Path, made: Path, kind: str):
    meta = Path(f"{made}.meta")
    meta.unlink()
    NO_IMAGES[kind][0](meta)
    with nothing_changes(tmp_path):
        refused_by_all(made, mnt, str(meta))
        refused(FAILED, "mkfs", tmp_path / "new", "-o", f"metadata={meta}", saying=str(meta))
    assert not (tmp_path / "new").exists()


def test_link_to_nowhere_is_refused(tmp_path: Path, mnt: Path):
    (tmp_path / "image").symlink_to(tmp_path / "nowhere")
    with nothing_changes(tmp_path):
        saying = f"no such image: a link to {tmp_path}/nowhere, which leads nowhere"
        refused(FAILED, "mount", tmp_path / "image", mnt, saying=saying)
        refused(FAILED, "mount", tmp_path / "image", mnt, "-o", "size=1m", saying="cannot create")
        refused(FAILED, "mkfs", tmp_path / "image", saying="No such file")


@needs_root
@pytest.mark.parametrize("command", ["mount", "fsck", "mkfs"])
def test_device_that_is_in_use_is_left_alone(tmp_path: Path, mnt: Path, command: str):
    """The kernel is asked for a device of one's own, as mkfs.ext4 does, and mount(2)."""
    backing = tmp_path / "backing"
    backing.write_bytes(bytes(1 << 20))
    with loop_device(backing) as loop:
        holder = os.open(loop, os.O_RDWR | os.O_EXCL)
        with nothing_changes(tmp_path):
            words: dict[str, list[object]] = {
                "mount": ["mount", loop, mnt],
                "fsck": ["fsck", loop],
                "mkfs": ["mkfs", loop, "-o", f"metadata={tmp_path / 'meta'}"],
            }
            status = NOT_CHECKED if command == "fsck" else FAILED
            refused(status, *words[command], saying="already mounted, or in use")
        os.close(holder)


# -- disks that take nothing -----------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", path)
    try:
        yield path
    finally:
        run("umount", path)


@needs_root
def test_mkfs_on_a_full_disk_leaves_nothing(disk: Path, mnt: Path):
    (disk / "filler").write_bytes(bytes(196 << 10))
    with nothing_changes(disk):
        refused(FAILED, "mkfs", disk / "image", "-o", "size=1m", saying=str(disk / "image"))
        words = ["mount", disk / "image", mnt, "-o", "size=1m"]
        refused(FAILED, *words, saying=str(disk / "image"))
    assert not is_mounted(mnt)


@needs_root
@pytest.mark.parametrize("left_kib", [0, 4, 8, 60, 100])
def test_mkfs_on_a_disk_with_some_room_makes_both_files_or_none(disk: Path, left_kib: int):
    """The metadata of a new image takes some 100 KiB until it is closed."""
    (disk / "filler").write_bytes(bytes((200 - left_kib) << 10))
    result = tool("mkfs", disk / "image", "-o", "size=1m")
    files = sorted(path.name for path in disk.iterdir())
    if result.returncode:
        assert (result.returncode, result.stderr.count("\n")) == (FAILED, 1), result.stderr
        assert files == ["filler"]
    else:
        assert files == ["filler", "image", "image.meta"]


@needs_root
def test_read_only_disk_is_refused(disk: Path, mnt: Path):
    assert tool("mkfs", disk / "image", "-o", "size=1m").returncode == 0
    run("mount", "-o", "remount,ro", disk)
    with nothing_changes(disk):
        for image in ("image", "new"):
            words = ["mount", disk / image, mnt, "-o", "size=1m"]
            refused(FAILED, *words, saying="Read-only file system")
        refused(FAILED, "mkfs", disk / "new", saying="Read-only file system")
    assert not is_mounted(mnt)


@needs_root
@pytest.mark.parametrize("suffix", ["", ".meta"])
def test_immutable_file_is_refused(tmp_path: Path, mnt: Path, made: Path, suffix: str):
    need("chattr")
    if subprocess.run(["chattr", "+i", f"{made}{suffix}"], check=False).returncode:
        pytest.skip("this filesystem has no immutable files")
    try:
        with nothing_changes(tmp_path):
            cannot = ": cannot be opened for writing" if suffix else ": cannot open the image"
            saying = f"{made}{suffix}{cannot}: Operation not permitted"
            for options in ("ro", "rw"):
                refused(FAILED, "mount", made, mnt, "-o", options, saying=saying)
            refused(NOT_CHECKED, "fsck", made, "--repair", saying=saying)
            saying = f"{made}{suffix}: " + "cannot create the image: " * (not suffix)
            words = ("mkfs", made, "--force")
            refused(FAILED, *words, saying=f"{saying}Operation not permitted")
    finally:
        run("chattr", "-i", f"{made}{suffix}")


@needs_root
def test_write_protected_device_is_refused(tmp_path: Path, mnt: Path):
    """open(2) for writing succeeds, and so would all buffered writes."""
    with (tmp_path / "backing").open("wb") as backing:
        backing.truncate(1 << 20)
    metadata = f"metadata={tmp_path / 'meta'}"
    with loop_device(tmp_path / "backing") as loop:
        assert tool("mkfs", loop, "-o", metadata).returncode == 0
        need("blockdev")
        run("blockdev", "--setro", loop)
        with nothing_changes(tmp_path):
            for options in (metadata, f"{metadata},ro"):
                refused(FAILED, "mount", loop, mnt, "-o", options, saying="is write-protected")
            words = ("mkfs", loop, "--force", "-o", metadata)
            refused(FAILED, *words, saying="is write-protected")
            assert tool("fsck", loop, "-o", metadata).returncode == 0
        run("blockdev", "--setrw", loop)
    assert not is_mounted(mnt)


# -- mountpoints -----------------------------------------------------------------------


def test_image_inside_its_own_mountpoint_is_refused(tmp_path: Path, mnt: Path, made: Path):
    """The daemon would wait for itself: SQLite looks its file up by name."""
    inside = mnt / "folder"
    inside.mkdir()
    for suffix in ("", ".meta"):
        shutil.copy(f"{made}{suffix}", f"{inside}/image{suffix}")
    (tmp_path / "link").symlink_to(mnt)
    saying = "is inside its own mountpoint"
    with nothing_changes(tmp_path):
        refused(FAILED, "mount", inside / "image", mnt, saying=saying)
        refused(FAILED, "mount", tmp_path / "link/folder/image", mnt, saying=saying)
        refused(FAILED, "mount", inside / "image", tmp_path / "link", saying=saying)
        refused(FAILED, "mount", inside / "new", mnt, "-o", "size=1m", saying=saying)
        option = f"metadata={inside}/image.meta"
        refused(FAILED, "mount", made, mnt, "-o", option, saying=saying)
    assert not is_mounted(mnt)


def test_mountpoint_that_is_not_empty_is_covered(mount: Callable[..., Mount], tmp_path: Path):
    """As with mount(8): what was there is back afterwards."""
    (tmp_path / "mnt0").mkdir()
    (tmp_path / "mnt0/below").write_text("below")
    m = mount()
    assert os.listdir(m.path) == []
    m.umount()
    assert (m.path / "below").read_text() == "below"


def test_umount_takes_the_mount_of_a_dead_daemon_away(mount: Callable[..., Mount]):
    m = mount()
    m.interrupt()
    eventually(lambda: has_ended(m.pid), "the daemon is gone")
    assert tool("status", m.path).stderr == f"mount_tool.py: {m.path}: " + os.strerror(107) + "\n"
    assert tool("umount", m.path).returncode == 0
    assert not is_mounted(m.path)


# -- what only looks like a mount --------------------------------------------------------


@pytest.mark.parametrize("content", ["", "no JSON", "[]", "{}", '{"pid": "x"}', "\0" * 100])
def test_control_directory_of_something_else_is_refused(tmp_path: Path, content: str):
    (tmp_path / ".fusefs").mkdir()
    for name in ("status", "invalidate"):
        (tmp_path / ".fusefs" / name).write_text(content)
    with nothing_changes(tmp_path):
        for words in (["status"], ["status", "--json"], ["umount"], ["set"]):
            setting = ["invalidate=before"] if words == ["set"] else []
            refused(FAILED, *words, tmp_path, *setting, saying="no fusefs is mounted there")
        refused(FAILED, "trace", tmp_path, "--clear", saying="fusefs is mounted")


# -- words -------------------------------------------------------------------------------


def test_names_that_are_no_text_are_told_as_they_are(tmp_path: Path, mnt: Path):
    """A path is bytes: no encoding error, in a refusal or in what is printed."""
    name = os.fsencode(tmp_path) + b"/\xff\xfe\xed\xa0\x80"
    path = os.fsdecode(name)
    refused(FAILED, "mount", path, mnt, saying="no such image")
    assert tool("mkfs", path, "-o", "size=1m").returncode == 0
    result = subprocess.run(
        ["env", "PYTHONUTF8=1", *MOUNT_TOOL, "fsck", path],
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, name + b": clean\n")
    refused(FAILED, "mkfs", path, saying="exists already")
    Path(path).unlink()
    refused(NOT_CHECKED, "fsck", path, saying="cannot open the image")


@pytest.mark.parametrize("length", [300, 5000])
def test_path_that_is_too_long_is_refused(tmp_path: Path, mnt: Path, length: int):
    long = tmp_path / ("x" * length)
    refused(FAILED, "mount", long, mnt, saying="no such image")
    refused(FAILED, "mount", long, mnt, "-o", "size=1m", saying="File name too long")
    refused(FAILED, "mkfs", long, saying="File name too long")
    refused(NOT_CHECKED, "fsck", long, saying="File name too long")
    refused(FAILED, "status", long, saying="File name too long")
    refused(FAILED, "mount", tmp_path / "image", long, saying="File name too long")


def test_lost_working_directory_is_one_line(tmp_path: Path):
    """os.getcwd() fails in a directory that is gone."""
    script = 'mkdir gone && cd gone && rmdir ../gone && "$@"'
    result = subprocess.run(
        ["sh", "-c", script, "sh", *MOUNT_TOOL, "mount", "image", "mnt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr.count("\n")) == (FAILED, 1), result.stderr


def test_output_that_nobody_takes_is_one_line(made: Path):
    """A full disk under stdout."""
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*MOUNT_TOOL, "fsck", str(made)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode not in (0, USAGE)
    assert "Traceback" not in result.stderr
