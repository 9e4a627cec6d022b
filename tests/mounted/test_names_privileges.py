"""Set-id bits and file capabilities do not survive a change of content or owner.

What each change takes away is what ext4 and XFS take.
"""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from mounted.clients import NOBODY, needs_root, run

pytestmark = [pytest.mark.mounted, needs_root]

SHARED_OPTIONS = {"allow_other": os.getuid() == 0}

GROUP = 1234

CAPABILITY = "security.capability"
NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")

WITH_FD = "fd = os.open('file', os.O_RDWR); "

CHANGES = {
    "write": WITH_FD + "os.write(fd, b'x')",
    "direct": "fd = os.open('file', os.O_RDWR | os.O_DIRECT); os.write(fd, mmap.mmap(-1, 4096))",
    "append": "os.write(os.open('file', os.O_WRONLY | os.O_APPEND), b'x')",
    "splice": WITH_FD + "r, w = os.pipe(); os.write(w, b'x'); os.splice(r, fd, 1)",
    "truncate": "os.truncate('file', 10)",
    "truncate to the same": "os.truncate('file', 5000)",
    "O_TRUNC": "os.open('file', os.O_WRONLY | os.O_TRUNC)",
    "fallocate": WITH_FD + "os.posix_fallocate(fd, 0, 100_000)",
    "copy": WITH_FD + "os.copy_file_range(fd, fd, 100, 0, 1000)",
}


def a_program(directory: Path, mode: int, gid: int) -> Path:
    """A file of NOBODY's with a set-id mode and a capability."""
    file = directory / "file"
    file.write_bytes(bytes(5000))
    os.chown(file, NOBODY, gid)
    os.setxattr(file, CAPABILITY, NET_RAW)
    file.chmod(mode)
    return file


def rights(file: Path) -> tuple[int, bool]:
    return stat.S_IMODE(file.stat().st_mode), CAPABILITY in os.listxattr(file)


def changed_by(file: Path, script: str, *, uid: int, groups: Sequence[int] = ()) -> None:
    """Run a Python script in the file's folder as a user, who may be in more groups."""
    become = f"import mmap, os; os.setgroups({list(groups)}); os.setgid({uid}); os.setuid({uid})"
    run(sys.executable, "-c", f"{become}\n{script}", cwd=file.parent)


@pytest.mark.parametrize("change", CHANGES)
def test_another_user_s_change_takes_all_rights_away(top: Path, change: str):
    """file_remove_privs(): nobody inherits a changed program's rights."""
    file = a_program(top, 0o6777, GROUP)
    changed_by(file, CHANGES[change], uid=NOBODY)
    assert rights(file) == (0o777, False)


@pytest.mark.parametrize("change", CHANGES)
def test_root_s_change_takes_the_capability_only(top: Path, change: str):
    """Root has CAP_FSETID; but no capability belongs to a changed program."""
    file = a_program(top, 0o6777, GROUP)
    changed_by(file, CHANGES[change], uid=0)
    assert rights(file) == (0o6777, False)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("groups", "left"),
    [
        pytest.param([], 0o666, id="stranger"),
        pytest.param([GROUP], 0o2666, id="member"),
    ],
)
def test_setgid_without_x_stays_for_a_member_of_the_group(
    top: Path, change: str, groups: list[int], left: int
):
    """setattr_should_drop_sgid().  Guards xfstests generic/683 and later."""
    file = a_program(top, 0o6666, GROUP)
    changed_by(file, CHANGES[change], uid=NOBODY, groups=groups)
    assert rights(file) == (left, False)


def test_mapped_writes_take_nothing_away(top: Path):
    """As in Linux: page_mkwrite() does not look at them."""
    file = a_program(top, 0o6777, GROUP)
    changed_by(file, WITH_FD + "m = mmap.mmap(fd, 4096); m[0] = 1; m.flush()", uid=NOBODY)
    assert rights(file) == (0o6777, True)


@pytest.mark.parametrize(
    ("mode", "uid", "left"),
    [
        pytest.param(0o6777, 0, 0o777, id="root"),
        pytest.param(0o6766, 0, 0o2766, id="root-without-x"),
        pytest.param(0o6777, NOBODY, 0o777, id="owner"),
        pytest.param(0o6766, NOBODY, 0o766, id="owner-without-x"),
    ],
)
def test_a_new_owner_or_group_takes_rights_away(top: Path, mode: int, uid: int, left: int):
    file = a_program(top, mode, GROUP)
    changed_by(file, f"os.chown('file', -1, {uid if uid else 99})", uid=uid)
    assert rights(file) == (left, False)


def test_directories_keep_setgid_when_chowned(top: Path):
    (top / "dir").mkdir()
    (top / "dir").chmod(0o2775)
    os.chown(top / "dir", NOBODY, GROUP)
    assert stat.S_IMODE((top / "dir").stat().st_mode) == 0o2775


def test_chmod_by_a_stranger_to_the_group_leaves_no_setgid(top: Path):
    file = a_program(top, 0o600, GROUP)
    changed_by(file, "os.chmod('file', 0o6755)", uid=NOBODY)
    assert rights(file) == (0o4755, True)
    changed_by(file, "os.chmod('file', 0o6755)", uid=NOBODY, groups=[GROUP])
    assert rights(file) == (0o6755, True)


def test_new_files_of_a_setgid_directory_get_its_group_and_no_stray_setgid(top: Path):
    """inode_init_owner(); what is made setgid and executable must be by a member."""
    (top / "dir").mkdir()
    os.chown(top / "dir", NOBODY, GROUP)
    (top / "dir").chmod(0o2777)
    make = "os.umask(0); os.open('dir/{}', os.O_CREAT, 0o2775); os.mkdir('dir/{}-d')"
    changed_by(top / "dir", make.format("stranger", "stranger"), uid=NOBODY)
    changed_by(top / "dir", make.format("member", "member"), uid=NOBODY, groups=[GROUP])
    found = {
        path.name: (path.stat().st_gid, path.stat().st_mode) for path in (top / "dir").iterdir()
    }
    assert {name: gid for name, (gid, _) in found.items()} == dict.fromkeys(found, GROUP)
    assert stat.S_IMODE(found["stranger"][1]) == 0o775
    assert stat.S_IMODE(found["member"][1]) == 0o2775
    assert stat.S_IMODE(found["stranger-d"][1]) == stat.S_IMODE(found["member-d"][1]) == 0o2777
