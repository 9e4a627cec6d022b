"""mount(8), umount(8), mkfs(8) and fsck(8) themselves, with our helpers in /sbin.

Nothing is installed: a mount namespace of the test's own has another /sbin, /etc/fstab and
/run/mount, and all that it mounted goes with it.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    FORGET_OTHERS,
    PRIVATE_MOUNTS,
    need,
    need_private_mounts,
    needs_root,
    run,
)

from fusefs.mounts import ROOT

pytestmark = [pytest.mark.mounted, needs_root]

PRELUDE = """
PATH=/usr/sbin:/usr/bin:/sbin:/bin
trap 'umount -i -l "$mnt" 2>/dev/null || true' EXIT
mount --bind "$sbin" "$(readlink -f /sbin)"
mkdir -p /run/mount
mount --bind "$work/run" /run/mount
[ -e /etc/fstab ] && mount --bind "$work/fstab" /etc/fstab
shown() { findmnt -n -o "$1" "$mnt"; }
pid() { sed -n 's/.*"pid": \\([0-9]*\\),/\\1/p' "$mnt/.fusefs/status"; }
has_ended() { ! grep -aq . "/proc/$1/cmdline" 2>/dev/null; }
fails() { status=$1; shift; "$@" 2>"$work/said" && exit 90; [ $? = "$status" ] || exit 91; }
"""
"""fails STATUS COMMAND: that must be its exit status; $work/said is what it said.
has_ended PID: nothing of it is left, but for a zombie that nobody has waited for."""

Shell = Callable[..., str]


@pytest.fixture(scope="module")
def sbin(helpers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of /sbin, and our helpers."""
    copy = tmp_path_factory.mktemp("sbin")
    run("cp", "-a", f"{os.path.realpath('/sbin')}/.", f"{helpers}/.", copy)
    return copy


@pytest.fixture
def shell(sbin: Path, tmp_path: Path) -> Shell:
    """shell(script, fstab="") -> what it printed; $image, $mnt and $work are paths."""
    need("findmnt")
    need_private_mounts()
    (tmp_path / "run").mkdir()
    (tmp_path / "mnt").mkdir()

    def run_script(script: str, fstab: str = "") -> str:
        names = {"work": tmp_path, "image": tmp_path / "image", "mnt": tmp_path / "mnt"}
        (tmp_path / "fstab").write_text(fstab.format_map(names))
        return run(
            *("env", *(f"{name}={path}" for name, path in names.items()), f"sbin={sbin}"),
            *(*PRIVATE_MOUNTS, "sh", "-euc", FORGET_OTHERS + PRELUDE + script),
        )

    return run_script


# -- mount and umount ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fusefs", "fuse.fusefs"])
def test_mount_by_type_and_umount_waits(shell: Shell, kind: str):
    """umount(8) asks statfs(2) for the type, gets 'fuse', and would not call a helper of ours."""
    said = shell(f"""
        mount -t {kind} -o size=8m,commit=3600s "$image" "$mnt"
        shown FSTYPE; shown SOURCE; pid=$(pid)
        head -c 1000000 /dev/zero >"$mnt/file"
        umount "$mnt"
        has_ended $pid
        cat /run/mount/utab
        fsck -t fusefs "$image"
    """)
    assert said.splitlines()[0] == "fuse.fusefs"
    assert said.splitlines()[1].endswith("/image")
    assert "/mnt" not in said.split("\n", 2)[2], "the record is gone"
    assert said.endswith("/image: clean\n")


def test_fstab_line_is_mounted_by_mount_a(shell: Shell):
    fstab = (
        "{image} {mnt} fusefs defaults,noauto,nofail,_netdev,x-systemd.automount,X-a,comment=b,"
        "size=8m,noatime,lazytime,fsname=a,subtype=b,max_read=4k 0 2\n"
    )
    mount_it = 'mount "$mnt"; shown SOURCE,FSTYPE,OPTIONS; pid=$(pid); umount "$mnt"'
    said = shell(f"{mount_it}; has_ended $pid", fstab)
    assert said.split() == ["a", "fuse.b", said.split()[2]]
    assert {"rw", "noatime", "max_read=4096"} < set(said.split()[2].split(","))
    said = shell('mount -a; shown SOURCE; umount "$mnt"', fstab.replace("noauto,", ""))
    assert said == "a\n"


@pytest.mark.parametrize(("options", "status"), [("defaults", 0), ("fsname=a", 32)])
def test_second_mount_a_finds_a_mount_by_its_source(shell: Shell, options: str, status: int):
    """As docs/mount.md has it; with another source no helper can know who asks, and why."""
    said = shell(
        """
        mkfs -t fusefs -o size=8m "$image"; mount -a
        status=0; mount -a 2>/dev/null || status=$?; echo $status
        umount "$image" 2>/dev/null || { umount a; echo by name; }
        findmnt "$mnt" || echo unmounted
        """,
        f"{{image}} {{mnt}} fusefs {options} 0 0\n",
    )
    assert said.splitlines() == [str(status), *["by name"] * bool(status), "unmounted"]


def test_mount_a_says_nothing_of_a_missing_image_with_nofail(shell: Shell):
    """As of a missing device of any other type."""
    said = shell('mount -a 2>&1; mount "$mnt" 2>&1', "{image} {mnt} fusefs nofail 0 0\n")
    assert said == ""
    said = shell('fails 32 mount "$mnt"; cat "$work/said"', "{image} {mnt} fusefs defaults 0 0\n")
    assert "no such image" in said


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ("dev,suid", set()),
        ("defaults", set()),
        ("auto_unmount", set()),
        ("auto_unmount,nodev,suid", {"nodev"}),
        ("nosuid", {"nosuid"}),
        ("user", {"nosuid", "nodev", "noexec"}),
        ("user,exec,dev", {"nosuid"}),
    ],
)
def test_root_mounts_with_suid_and_dev_through_mount_8(shell: Shell, options: str, taken: set[str]):
    """They are its defaults, of which it tells a helper nothing; libfuse's own does the same."""
    said = shell(f"""
        mount -t fusefs -o size=8m,{options} "$image" "$mnt"
        shown OPTIONS
        mknod "$mnt/null" c 1 3
        if echo x 2>/dev/null >"$mnt/null"; then echo device; fi
    """)
    flags, *device = said.splitlines()
    assert {"nosuid", "nodev", "noexec"} & set(flags.split(",")) == taken
    assert device == ([] if "nodev" in taken else ["device"])


def test_mount_by_hand_has_what_libfuse_gives_it(shell: Shell):
    said = shell(f"""
        {sys.executable} {ROOT}/mount_tool.py "$image" "$mnt" -o size=8m
        shown OPTIONS
    """)
    assert {"nosuid", "nodev"} < set(said.strip().split(","))


def test_fake_mount_checks_and_does_nothing(shell: Shell, tmp_path: Path):
    """mount -f; from a person's hand -f is --foreground, and --dry-run is this."""
    said = shell(f"""
        mount -f -t fusefs -o size=8m "$image" "$mnt"
        fails 32 mount -f -t fusefs "$image" "$mnt"; cat "$work/said"
        mkfs -t fusefs -o size=8m "$work/busy"
        mount -t fusefs "$work/busy" "$mnt"
        mkdir "$work/other"
        fails 32 mount -f -t fusefs "$work/busy" "$work/other"; cut -d : -f 3- "$work/said"
        umount "$mnt"
        fails 1 mount -f -t fusefs -o bogus "$image" "$mnt"; cut -c 1-36 "$work/said"
        fails 32 {sys.executable} {ROOT}/mount_tool.py mount.fusefs -f "$image" /missing
        {sys.executable} {ROOT}/mount_tool.py mount --dry-run "$image" "$mnt" -o size=8m
        findmnt "$mnt" || echo nothing
    """)
    assert said.splitlines() == [
        f"mount.fusefs: {tmp_path}/image: no such image; -o size=1g makes one of that size",
        f" already mounted, or in use: it is mounted on {tmp_path}/mnt",
        "mount.fusefs: unknown option 'bogus'",
        "nothing",
    ]
    assert not (tmp_path / "image").exists()


def test_sloppy_mount_takes_unknown_options(shell: Shell):
    said = shell("""
        fails 1 mount -t fusefs -o size=8m,bogus "$image" "$mnt"
        mount -s -t fusefs -o size=8m,bogus "$image" "$mnt"; shown FSTYPE
    """)
    assert said == "fuse.fusefs\n"


@pytest.mark.parametrize(
    ("options", "kind"), [("subtype=", "fuse"), ("subtype=x", "fuse.x"), ("ro", "fuse.fusefs")]
)
def test_type_that_is_shown_may_be_chosen(shell: Shell, options: str, kind: str):
    said = shell(f"""
        mkfs -t fusefs -o size=8m "$image"
        mount -t fusefs -o {options} "$image" "$mnt"; shown FSTYPE; pid=$(pid)
        umount "$mnt"; has_ended $pid
    """)
    assert said == f"{kind}\n"


def test_requests_are_no_larger_than_max_read(shell: Shell):
    """libfuse ends the session if the daemon does not agree to it."""
    said = shell("""
        mount -t fusefs -o size=8m,max_read=8k "$image" "$mnt"
        head -c 32768 /dev/zero | dd of="$mnt/file" bs=32k 2>/dev/null
        echo clear >"$mnt/.fusefs/trace"
        dd if="$mnt/file" bs=32k iflag=direct 2>/dev/null | wc -c
        grep -c "dio.read.submit" "$mnt/.fusefs/trace"
    """)
    assert said.split() == ["32768", "4"]


def test_umount_by_a_relative_path_waits_without_a_note(shell: Shell):
    """It reads the type in the kernel's table of mounts then, and not from statfs(2)."""
    shell("""
        mount -n -t fusefs -o size=64m,commit=3600s "$image" "$mnt"; pid=$(pid)
        head -c 30000000 /dev/zero >"$mnt/file"
        [ ! -s /run/mount/utab ]
        cd "$work"; umount mnt; has_ended $pid
    """)


def test_umount_of_one_of_two_places_waits_for_nobody(shell: Shell):
    said = shell("""
        mount -t fusefs -o size=8m "$image" "$mnt"; pid=$(pid)
        mkdir "$work/second"; mount --bind "$mnt" "$work/second"
        timeout 30 umount "$mnt"; echo through >"$work/second/file"
        has_ended $pid || echo served
        umount.fusefs "$work/second"; has_ended $pid; fsck -t fusefs "$image"
    """)
    assert said.startswith("served\n")


def test_loop_device_of_mount_8_ends_with_the_mount(shell: Shell):
    """mount(8) has it open until its helper ends; the image is in use by either name."""
    need("losetup")
    said = shell("""
        mkfs -t fusefs -o size=8m "$image"
        mount -t fusefs -o loop,metadata="$image.meta" "$image" "$mnt"; shown SOURCE
        mkdir "$work/second"
        fails 32 mount -t fusefs "$image" "$work/second"; cut -d : -f 3- "$work/said"
        umount "$mnt"
        losetup -n -O NAME -j "$image"
        mount -t fusefs "$image" "$mnt"; shown SOURCE
    """)
    device, refusal, image = said.splitlines()
    assert device.startswith("/dev/loop")
    assert refusal.startswith(" already mounted, or in use")
    assert image.endswith("/image")


def test_lazy_umount_waits_for_nobody(shell: Shell):
    said = shell("""
        mount -t fusefs -o size=8m "$image" "$mnt"; pid=$(pid)
        exec 5>"$mnt/file"
        fails 32 umount "$mnt"
        umount -l "$mnt"
        findmnt "$mnt" || echo detached
        kill -0 $pid && echo serves
        exec 5>&-
    """)
    assert said.split() == ["detached", "serves"]


def test_forced_umount_of_a_mount_in_use_leaves_it_dead_and_loses_nothing(shell: Shell):
    """The kernel aborts the connection before it looks whether somebody uses the mount."""
    said = shell("""
        mount -t fusefs -o size=8m,commit=3600s "$image" "$mnt"; pid=$(pid)
        exec 5>"$mnt/file"; echo text >&5
        fails 32 umount -f "$mnt"; cut -d : -f 4 "$work/said"
        fails 1 cat "$mnt/file"; cut -d : -f 3 "$work/said"
        exec 5>&-; umount -l "$mnt"
        while ! has_ended $pid; do sleep 0.1; done
        mount -t fusefs "$image" "$mnt"; cat "$mnt/file"
    """)
    assert said.splitlines() == [
        " target is busy.",
        " Transport endpoint is not connected",
        "text",
    ]


def test_remount_of_a_mount_with_a_subtype_goes_by_type_and_image(shell: Shell):
    """By its mountpoint alone mount(8) finds libfuse's helper, which runs the subtype."""
    said = shell("""
        mount -t fusefs -o size=8m,subtype=not-a-program "$image" "$mnt"
        mount -t fusefs -o remount,ro "$image" "$mnt"; shown FSTYPE,VFS-OPTIONS
    """)
    assert said.split() == ["fuse.not-a-program", "ro,relatime"]


def test_remount_through_mount_8(shell: Shell):
    """Also where mount(8) would use the calls by which FUSE refuses every change."""
    said = shell("""
        mount -t fusefs -o size=8m,invalidate=before "$image" "$mnt"
        mount -o remount,ro "$mnt"; shown VFS-OPTIONS
        if touch "$mnt/new" 2>/dev/null; then echo made; fi
        mount -o remount,rw,invalidate=after "$mnt"; shown VFS-OPTIONS
        cat "$mnt/.fusefs/invalidate"; touch "$mnt/new"
        fails 1 mount -o remount,page_size=64k "$mnt"; cut -d "(" -f 1 "$work/said"
    """)
    assert said.splitlines() == [
        "ro,relatime",
        "rw,relatime",
        "after",
        "mount.fusefs: page_size cannot change while mounted ",
    ]


@pytest.mark.parametrize(
    ("flag", "undone"),
    [
        *[("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("sync", "async")],
        ("nodiratime", "diratime"),
    ],
)
def test_remount_undoes_a_flag(shell: Shell, flag: str, undone: str):
    """Of both words mount(8) tells its helper nothing then."""
    said = shell(f"""
        mount -t fusefs -o size=8m,{flag} "$image" "$mnt"; cat "$mnt/.fusefs/flags"; shown OPTIONS
        mount -o remount,{undone} "$mnt"; cat "$mnt/.fusefs/flags"; shown OPTIONS
    """)
    told_before, before, told, after = said.splitlines()
    assert flag in (told_before, *before.split(","))
    assert "rw" in after.split(",")
    assert flag not in (told, *after.split(","))


def test_remount_leaves_the_atime_rule_if_none_is_said(shell: Shell):
    said = shell("""
        mount -t fusefs -o size=8m,noatime,nodiratime "$image" "$mnt"
        mount -t fusefs -o remount,ro "$image" "$mnt"; cat "$mnt/.fusefs/flags"
    """)
    assert said.strip() == "ro,noatime,nodiratime"


def test_remount_with_an_fstab_line(shell: Shell):
    """mount(8) passes all of it on, and takes the type from there, whatever the subtype."""
    options = "noauto,nofail,nosuid,size=8m,commit=9s,fsname=a,max_read=64k,subtype=not-a-program"
    fstab = f"{{image}} {{mnt}} fusefs {options} 0 0"
    said = shell(
        """
        mount "$mnt"
        mount -o remount,ro "$mnt"; shown VFS-OPTIONS,SOURCE
        mount -o remount,rw "$mnt"; shown VFS-OPTIONS,SOURCE
        """,
        fstab,
    )
    assert said.split() == ["ro,nosuid,relatime", "a", "rw,nosuid,relatime", "a"]


# -- mkfs and fsck -------------------------------------------------------------------


def test_mkfs_takes_a_size_in_blocks(shell: Shell, tmp_path: Path):
    shell('mkfs -t fusefs -b 4096 "$image" 1024; fails 1 mkfs -t fusefs -x "$image"')
    shell('fails 1 mkfs.fusefs -b 1k -o block_size=4k "$image"; grep -q twice "$work/said"')
    assert (tmp_path / "image").stat().st_size == 4 << 20


@pytest.mark.parametrize("words", ["$image -o size=8m", "$image 8m -o size=8m", "$image -f"])
def test_image_that_mkfs_8_loses_is_missed_with_the_way_out(
    shell: Shell, tmp_path: Path, words: str
):
    said = shell(f'fails 1 mkfs -t fusefs {words}; cat "$work/said"')
    assert "say mkfs -t fusefs -o size=1g IMAGE" in said
    assert not (tmp_path / "image").exists()


def test_fsck_has_the_statuses_of_fsck_8(shell: Shell):
    said = shell("""
        mkfs -t fusefs -o size=8m "$image"
        for flag in -a -p -y -n; do fsck -t fusefs $flag "$image"; done
        fails 8 fsck.fusefs -a "$work/missing"
        damage() { python3 -c "import sqlite3; sqlite3.connect('$image.meta', isolation_level=None)\
            .execute('UPDATE inode SET nlink = 7')"; }
        damage; fails 4 fsck -t fusefs -n "$image"
        for flag in -a -p -y; do fails 1 fsck -t fusefs $flag "$image"; damage; done
        fails 16 fsck.fusefs -a -n "$image"; cat "$work/said"
    """)
    assert said.count("/image: clean\n") == 4
    assert said.count("/image: 1 found, 1 repaired\n") == 3
    assert said.endswith("fsck.fusefs: only one of -a, -p, -y and -n may be said\n")
