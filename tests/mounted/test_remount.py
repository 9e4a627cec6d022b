"""mount -o remount: flags, live options, and what cannot change.

mount_tool.py mount IMAGE MOUNTPOINT -o remount,... is what mount(8) comes to through its helper;
tests/mounted/test_mount8.py goes through mount(8) itself.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import fails_with, need, needs_root
from mounted.commands import FAILED, USAGE, nothing_changes, refused, tool
from mounted.mounting import Mount

from fusefs.store import mount_table

pytestmark = [pytest.mark.mounted, needs_root]


def remount(m: Mount, options: str) -> None:
    result = tool("mount", m.image, m.path, "-o", f"remount,{options}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def flags(m: Mount) -> set[str]:
    mounted = mount_table.find(str(m.path))
    assert mounted is not None
    return {*mounted.flags} - {"relatime"}


def test_read_only_and_back(mounted: Mount):
    (mounted.path / "file").write_text("text")
    remount(mounted, "ro")
    assert flags(mounted) == {"ro", "nosuid", "nodev"}
    assert mounted.status()["read_only"] == "mounted ro"
    with fails_with(errno.EROFS):
        (mounted.path / "new").touch()
    assert (mounted.path / "file").read_text() == "text"
    remount(mounted, "rw")
    assert flags(mounted) == {"rw", "nosuid", "nodev"}
    assert mounted.status()["read_only"] is False
    (mounted.path / "new").touch()


@pytest.mark.parametrize("how", ["remount,ro", "fsync of .fusefs", "nothing"])
def test_read_only_mount_has_all_on_the_disk(mount: Callable[..., Mount], tmp_path: Path, how: str):
    """A daemon that is killed then loses nothing; without it, all that nobody synced."""
    m = mount(commit="3600s")
    (m.path / "file").write_bytes(b"x" * 300_000)
    (m.path / "directory").mkdir()
    if how == "remount,ro":
        remount(m, "ro")
    elif how == "fsync of .fusefs":
        directory = os.open(m.path / ".fusefs", os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
    m.kill()
    m.start()
    names = {path.name for path in m.path.iterdir()}
    if how == "nothing":
        assert names == set()
    else:
        assert names == {"file", "directory"}
        assert (m.path / "file").read_bytes() == b"x" * 300_000


def test_sync_commits_each_write(mounted: Mount):
    """The kernel sets O_DSYNC on each; the same write without it waits for the next commit."""
    mounted.set(commit="3600s")

    def commits() -> int:
        before = mounted.status()["counters"]["commits"]
        (mounted.path / "file").write_bytes(b"text")
        after = mounted.status()["counters"]["commits"]
        assert isinstance(before, int)
        assert isinstance(after, int)
        return after - before

    assert commits() == 0
    remount(mounted, "sync")
    assert commits() > 0
    remount(mounted, "async")
    assert commits() == 0


def test_file_open_for_writing_keeps_it_writable(mounted: Mount):
    """All or nothing: options that came with it are what they were."""
    before = mounted.status()["options"]
    with (mounted.path / "file").open("w") as file:
        options = "remount,ro,invalidate=before,jitter=5ms,noatime"
        words = ("mount", mounted.image, mounted.path, "-o", options)
        refused(FAILED, *words, saying="cannot remount: a file is open for writing")
        assert flags(mounted) == {"rw", "nosuid", "nodev"}
        assert (mounted.status()["options"], mounted.get("flags")) == (before, "rw")
        file.write("text")


def test_live_options_change_and_others_with_them(mounted: Mount):
    remount(mounted, "invalidate=before,noexec,conversion_delay=2ms,noatime")
    assert flags(mounted) == {"rw", "nosuid", "nodev", "noexec", "noatime"}
    options = mounted.status()["options"]
    assert (options["invalidate"], options["conversion_delay"]) == ("before", "2ms")
    remount(mounted, "ro,invalidate=after")
    assert flags(mounted) == {"ro", "nosuid", "nodev", "noexec", "noatime"}
    assert mounted.get("invalidate") == "after"
    words = ("mount", mounted.image, mounted.path, "-o", "remount,invalidate=before")
    refused(FAILED, *words, saying="'remount,rw,invalidate=before' can")
    words = ("mount", mounted.image, mounted.path, "-o", "remount,ro,strictatime,jitter=2ms,noexec")
    saying = "read-only, so strictatime, jitter cannot change; 'remount,rw,strictatime,jitter=2ms'"
    refused(FAILED, *words, saying=saying)
    remount(mounted, "rw,invalidate=before,exec,suid,dev,atime")
    assert flags(mounted) == {"rw"}
    assert mounted.get("invalidate") == "before"


def test_what_is_so_already_is_no_error(mount: Callable[..., Mount]):
    """An fstab line and /proc/mounts are passed on with each remount."""
    need("fusermount3")
    options = {"block_size": 512, "page_size": "4k", "max_read": "64k", "auto_unmount": True}
    m = mount(size="64m", invalidate="before", **options)
    before = m.status()["options"]
    fstab = "defaults,nofail,_netdev,size=65536k,block_size=512,page_size=4096,max_read=65536"
    kernel = "rw,nosuid,nodev,user_id=0,group_id=0,default_permissions,subtype=fusefs,auto_unmount"
    names = f"metadata={m.image}.meta,fsname={m.image}"
    remount(m, f"{fstab},{kernel},{names},x-a")
    assert (m.status()["options"], flags(m)) == (before, {"rw", "nosuid", "nodev"})


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ("page_size=64k", "page_size cannot change while mounted (it is 4k); these can: "),
        ("block_size=512", "block_size cannot change while mounted (it is 1k)"),
        ("size=2g", "size cannot change while mounted"),
        ("metadata=elsewhere", "metadata cannot change while mounted"),
        ("allow_other", "allow_other cannot change while mounted"),
        ("fsname=x", "fsname cannot change while mounted"),
        ("subtype=", "subtype cannot change while mounted"),
        ("user_id=1", "user_id cannot change while mounted"),
        ("max_read=4k", "max_read cannot change while mounted"),
        ("auto_unmount", "auto_unmount cannot change while mounted"),
        ("allow_root", "allow_root cannot change while mounted"),
        ("dirsync", "dirsync cannot change while mounted"),
        ("invalidate=never", "bad value 'never' for invalidate"),
        ("bogus", "unknown option 'bogus'"),
    ],
)
def test_what_cannot_change_is_refused_by_name(mounted: Mount, options: str, saying: str):
    """And nothing that was asked for with it changes."""
    words = ("mount", mounted.image, mounted.path, "-o")
    refused(USAGE, *words, f"remount,ro,invalidate=before,{options}", saying=saying)
    assert (flags(mounted), mounted.get("invalidate")) == ({"rw", "nosuid", "nodev"}, "after")


def test_place_where_nothing_is_mounted_is_refused(tmp_path: Path):
    with nothing_changes(tmp_path):
        refused(FAILED, "mount", "image", tmp_path, "-o", "remount,ro", saying="not mounted")


def test_dry_run_checks_and_changes_nothing(mounted: Mount):
    words = ("mount", "--dry-run", mounted.image, mounted.path, "-o")
    assert tool(*words, "remount,ro").returncode == 0
    refused(USAGE, *words, "remount,size=2g", saying="size cannot change")
    assert flags(mounted) == {"rw", "nosuid", "nodev"}


def test_reads_move_atime_as_the_remount_says(mounted: Mount):
    file = mounted.path / "file"
    file.write_text("text")

    def moves() -> bool:
        os.utime(file, ns=(10**18, 10**18))
        file.read_text()
        moved = file.stat().st_atime_ns != 10**18
        before = file.stat().st_atime_ns
        file.read_text()
        return moved and file.stat().st_atime_ns != before

    assert not moves()  # relatime: once
    remount(mounted, "strictatime")
    assert moves()
    remount(mounted, "ro")
    remount(mounted, "rw")
    assert moves()
    remount(mounted, "noatime")
    assert not moves()


def test_flags_that_are_none_are_refused(mounted: Mount):
    for flags_text in ("nosuid", "rw,x", ""):
        with pytest.raises(Exception, match="Invalid argument"):
            mounted.set(flags=flags_text)
    assert mounted.get("flags") == "rw"
