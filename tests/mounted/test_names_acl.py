"""POSIX ACLs on a real mount: the kernel enforces them, chmod and umask know them."""

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import NOBODY, as_nobody, fails_with, need, needs_root, opened, run
from mounted.mounting import Mount

pytestmark = pytest.mark.mounted

SHARED_OPTIONS = {"allow_other": os.getuid() == 0}

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
NO_ID = 0xFFFFFFFF
STRANGER = 4711

Entries = dict[tuple[int, int], int]

OWNER, GROUP, MASK, OTHER = (0x01, NO_ID), (0x04, NO_ID), (0x10, NO_ID), (0x20, NO_ID)


def user(uid: int) -> tuple[int, int]:
    return (0x02, uid)


def packed(entries: Entries) -> bytes:
    rows = sorted((tag, who, permissions) for (tag, who), permissions in entries.items())
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, w) for t, w, p in rows)


def set_acl(path: Path, entries: Entries, name: str = ACCESS) -> None:
    os.setxattr(path, name, packed(entries))


def get_acl(path: Path, name: str = ACCESS) -> Entries:
    value = os.getxattr(path, name)
    rows = struct.iter_unpack("<HHI", value[4:])
    return {(tag, who): permissions for tag, permissions, who in rows}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_acl_and_mode_agree(top: Path):
    """(A1) after setting, after chmod, and in the eyes of every program."""
    file = top / "file"
    file.touch(mode=0o600)
    set_acl(file, {OWNER: 6, user(STRANGER): 7, GROUP: 4, MASK: 5, OTHER: 1})
    assert mode_of(file) == 0o651
    file.chmod(0o4740)
    assert mode_of(file) == 0o4740
    assert get_acl(file) == {OWNER: 7, user(STRANGER): 7, GROUP: 4, MASK: 4, OTHER: 0}
    assert os.listxattr(file) == [ACCESS]


def test_acl_that_is_only_a_mode_becomes_one(top: Path):
    """(A2)"""
    file = top / "file"
    file.touch(mode=0o600)
    set_acl(file, {OWNER: 6, user(STRANGER): 7, GROUP: 4, MASK: 7, OTHER: 0})
    set_acl(file, {OWNER: 7, GROUP: 5, OTHER: 4})
    assert (mode_of(file), os.listxattr(file)) == (0o754, [])
    with fails_with(errno.ENODATA):
        os.getxattr(file, ACCESS)


def test_removing_an_acl_leaves_the_mode(top: Path):
    set_acl(top, {OWNER: 7, user(STRANGER): 7, GROUP: 0, MASK: 5, OTHER: 0})
    os.removexattr(top, ACCESS)
    os.removexattr(top, DEFAULT)
    assert (mode_of(top), os.listxattr(top)) == (0o750, [])


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(b"\2\0", errno.EINVAL, id="short"),
        pytest.param(b"\1\0\0\0" + packed({OWNER: 7})[4:], errno.EOPNOTSUPP, id="version"),
        pytest.param(packed({OWNER: 7, GROUP: 7, OTHER: 7})[:-1], errno.EINVAL, id="torn"),
        pytest.param(packed({OWNER: 7, GROUP: 7}), errno.EINVAL, id="no-others"),
        pytest.param(packed({OWNER: 8, GROUP: 7, OTHER: 7}), errno.EINVAL, id="permissions"),
        pytest.param(packed({OWNER: 7, user(1): 7, GROUP: 7, OTHER: 7}), errno.EINVAL, id="mask"),
    ],
)
def test_what_is_no_acl_is_refused(top: Path, value: bytes, error: int):
    (top / "file").touch(mode=0o640)
    with fails_with(error):
        os.setxattr(top / "file", ACCESS, value)
    assert (mode_of(top / "file"), os.listxattr(top / "file")) == (0o640, [])


def test_acls_go_where_linux_lets_them(top: Path):
    (top / "file").touch()
    (top / "link").symlink_to("file")
    acl = packed({OWNER: 7, GROUP: 7, OTHER: 7})
    with fails_with(errno.EACCES):
        os.setxattr(top / "file", DEFAULT, acl)
    with fails_with(errno.EOPNOTSUPP):
        os.setxattr(top / "link", ACCESS, acl, follow_symlinks=False)
    with fails_with(errno.EOPNOTSUPP):
        os.setxattr(top / "file", "system.other", b"")


def made_with_umask(directory: Path, umask: int) -> dict[str, Path]:
    """One of each kind, made as open to all as can be."""
    old = os.umask(umask)
    try:
        with opened(directory / "file", os.O_CREAT | os.O_WRONLY) as fd:
            os.fchmod(fd, os.fstat(fd).st_mode)
        os.mkfifo(directory / "fifo", 0o666)
        (directory / "dir").mkdir(mode=0o777)
        (directory / "link").symlink_to("file")
    finally:
        os.umask(old)
    return {name: directory / name for name in ("file", "fifo", "dir", "link")}


def test_new_names_inherit_the_default_acl_instead_of_the_umask(top: Path):
    default: Entries = {OWNER: 7, user(STRANGER): 6, GROUP: 5, MASK: 7, OTHER: 1}
    set_acl(top, default, DEFAULT)
    before = mode_of(top)
    made = made_with_umask(top, 0o077)
    assert mode_of(top) == before
    assert mode_of(made["file"]) == 0o640  # of 0644: what the ACL grants
    assert get_acl(made["file"]) == {OWNER: 6, user(STRANGER): 6, GROUP: 5, MASK: 4, OTHER: 0}
    assert mode_of(made["fifo"]) == 0o660
    assert mode_of(made["dir"]) == 0o771
    assert get_acl(made["dir"]) == get_acl(made["dir"], DEFAULT) == default
    assert DEFAULT not in os.listxattr(made["file"])
    assert os.listxattr(made["link"], follow_symlinks=False) == []


def test_minimal_default_acl_replaces_the_umask_too(top: Path):
    set_acl(top, {OWNER: 6, GROUP: 6, OTHER: 4}, DEFAULT)
    made = made_with_umask(top, 0o777)
    assert (mode_of(made["fifo"]), os.listxattr(made["fifo"])) == (0o664, [])
    assert (mode_of(made["dir"]), os.listxattr(made["dir"])) == (0o664, [DEFAULT])


def test_umask_counts_where_there_is_no_default_acl(top: Path):
    made = made_with_umask(top, 0o027)
    modes = {name: mode_of(path) for name, path in made.items() if name != "link"}
    assert modes == {"file": 0o640, "fifo": 0o640, "dir": 0o750}
    assert stat.S_IMODE(os.lstat(made["link"]).st_mode) == 0o777


@needs_root
@pytest.mark.parametrize(
    ("acl", "script", "allowed"),
    [
        pytest.param({user(NOBODY): 4, MASK: 4}, "cat file", True, id="user"),
        pytest.param({user(NOBODY): 4, MASK: 3}, "cat file", False, id="mask"),
        pytest.param({user(NOBODY): 4, MASK: 7}, "echo x >> file", False, id="user-write"),
        pytest.param(
            {user(NOBODY): 0, MASK: 7, OTHER: 7}, "cat file", False, id="user-before-other"
        ),
        pytest.param({(0x08, NOBODY): 6, MASK: 6}, "echo x >> file", True, id="group"),
        pytest.param({user(STRANGER): 7, MASK: 7}, "cat file", False, id="stranger"),
        pytest.param({user(NOBODY): 7, MASK: 7}, "chmod 777 file", False, id="not-owner"),
        pytest.param({user(NOBODY): 7, MASK: 7}, "setfacl -b file", False, id="not-owner-acl"),
    ],
)
def test_kernel_grants_what_the_acl_says(top: Path, acl: Entries, script: str, allowed: bool):
    if "setfacl" in script:
        need("setfacl")
    (top / "file").write_bytes(b"content")
    set_acl(top / "file", {OWNER: 7, GROUP: 0, OTHER: 0, **acl})
    status, said = as_nobody(script, top)
    assert (status == 0) == allowed, said


@needs_root
def test_chmod_and_removal_take_effect_at_once(top: Path):
    """The kernel keeps ACLs: it must forget what changed."""
    (top / "file").write_bytes(b"content")
    set_acl(top / "file", {OWNER: 6, user(NOBODY): 4, GROUP: 0, MASK: 4, OTHER: 0})
    assert as_nobody("cat file", top)[0] == 0
    (top / "file").chmod(0o600)
    assert as_nobody("cat file", top)[0] != 0
    (top / "file").chmod(0o640)
    assert as_nobody("cat file", top)[0] == 0
    os.removexattr(top / "file", ACCESS)
    assert as_nobody("cat file", top)[0] != 0


@needs_root
@pytest.mark.parametrize(
    ("groups", "kept"),
    [
        pytest.param("--clear-groups", False, id="stranger"),
        pytest.param("--groups=1234", True, id="member"),
    ],
)
def test_setgid_goes_if_its_setter_is_not_in_the_group(top: Path, groups: str, kept: bool):
    """posix_acl_update_mode(): nobody makes a program of a group that is not his."""
    need("setfacl", "setpriv")
    file = top / "file"
    file.touch()
    os.chown(file, NOBODY, 1234)
    file.chmod(0o2755)
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", groups)
    run("setpriv", *ids, "setfacl", "-m", f"u:{STRANGER}:r", "file", cwd=top)
    assert bool(file.stat().st_mode & stat.S_ISGID) == kept


def test_cp_and_getfacl_agree(top: Path):
    """cp -a takes an ACL along."""
    need("setfacl", "getfacl")
    (top / "file").touch(mode=0o640)
    run("setfacl", "-m", f"u:{STRANGER}:rw,g:{STRANGER}:r", "file", cwd=top)
    run("cp", "-a", "file", "copy", cwd=top)
    shown = run("getfacl", "-n", "--omit-header", "copy", cwd=top).split()
    assert shown == [
        *("user::rw-", f"user:{STRANGER}:rw-", "group::r--", f"group:{STRANGER}:r--"),
        *("mask::rw-", "other::---"),
    ]


def test_acls_outlive_the_mount(mount: Callable[..., Mount]):
    m = mount()
    acl: Entries = {OWNER: 7, user(STRANGER): 6, GROUP: 5, MASK: 7, OTHER: 1}
    (m.path / "dir").mkdir()
    set_acl(m.path / "dir", acl)
    set_acl(m.path / "dir", acl, DEFAULT)
    m.remount()
    assert get_acl(m.path / "dir") == get_acl(m.path / "dir", DEFAULT) == acl
    assert mode_of(m.path / "dir") == 0o771
