"""ACLs: what is one, how it and a mode agree, and what new files inherit."""

import stat
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.name_trees import DIRECTORY, FILE, SYMLINK, at, create, make, permissions, xattrs

from fusefs.model.errors import FsError
from fusefs.store.acl import (
    ACCESS,
    DEFAULT,
    GROUP,
    GROUP_OBJ,
    MASK,
    NO_ID,
    OTHER,
    USER,
    USER_OBJ,
    Acl,
    Entry,
    decode,
)
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.namespace import Namespace

ENTRIES = {"u": USER_OBJ, "U": USER, "g": GROUP_OBJ, "G": GROUP, "m": MASK, "o": OTHER}


def an_acl(text: str) -> Acl:
    """'u7 U5:1000 g5 m5 o0': owner, user 1000, owning group, mask and others."""
    entries = []
    for word in text.split():
        permissions, _, owner = word[1:].partition(":")
        entries.append(Entry(ENTRIES[word[0]], int(permissions), int(owner or NO_ID)))
    return Acl(tuple(entries))


NAMED = an_acl("u7 U6:1000 U4:1001 g5 G1:7 m7 o4")
MINIMAL = an_acl("u6 g4 o0")


@pytest.fixture
def names() -> Iterator[Namespace]:
    names = create()
    yield names
    names.metadata.close()


def acl_of(names: Namespace, path: str, name: bytes = ACCESS) -> Acl | None:
    ino = at(names, path).ino
    return decode(xattrs(names).get(ino, name)) if name in xattrs(names).names(ino) else None


# -- bytes -----------------------------------------------------------------------------


@pytest.mark.parametrize("acl", [NAMED, MINIMAL, an_acl("u7 g5 m1 o0"), an_acl("u7 U1:0 g0 m7 o0")])
def test_acl_is_read_back_as_it_was_written(acl: Acl) -> None:
    assert decode(acl.encode()) == acl


@pytest.mark.parametrize(
    "text",
    [
        *("", "u7", "u7 g5", "g5 u7 o4", "u7 o4 g5", "u7 u7 g5 o4", "u7 g5 o4 o4", "u7 g5 g5 o4"),
        *("u7 U5:1 g5 o4", "u7 g5 G5:1 o4", "u7 g5 U5:1 m7 o4", "u7 g5 m7 m7 o4", "u7 g5 m7"),
        *("u8 g5 o4", "u7 U5 g5 m7 o4", "u7 g5 G5 m7 o4"),
    ],
)
def test_what_posix_acl_valid_refuses_is_refused(text: str) -> None:
    with pytest.raises(FsError, match="EINVAL"):
        decode(an_acl(text).encode())


def test_what_is_no_acl_is_refused() -> None:
    whole = NAMED.encode()
    for value in (b"", whole[:3], whole[:-1], whole + b"\0", whole.replace(b"\x08\0", b"\x09\0")):
        with pytest.raises(FsError, match="EINVAL"):
            decode(value)
    with pytest.raises(FsError, match="ENOTSUP"):
        decode(b"\1" + whole[1:])


def test_ids_of_entries_that_have_none_do_not_matter() -> None:
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, 5, 99) for t in (1, 4, 32))
    assert decode(value) == an_acl("u5 g5 o5")


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: b"\2\0\0\0" + tail))
def test_any_bytes_are_an_acl_or_refused(value: bytes) -> None:
    try:
        acl = decode(value)
    except FsError:
        return
    assert decode(acl.encode()) == acl


# -- modes -----------------------------------------------------------------------------


def test_group_bits_are_the_mask_where_there_is_one() -> None:
    assert an_acl("u7 g5 o4").mode == 0o754
    assert an_acl("u7 U7:1 g5 m1 o4").mode == 0o714


def test_chmod_sets_owner_mask_and_others() -> None:
    assert NAMED.with_mode(0o4321) == an_acl("u3 U6:1000 U4:1001 g5 G1:7 m2 o1")
    assert MINIMAL.with_mode(0o777) == an_acl("u7 g7 o7")


@given(mode=st.integers(0, 0o7777), user=st.integers(0, 7), mask=st.integers(0, 7))
def test_inherited_acl_and_mode_agree(mode: int, user: int, mask: int) -> None:
    """(A1) and neither grants what the other, or the default ACL, does not."""
    default = an_acl(f"u{user} U7:5 g7 m{mask} o5")
    new_mode, access = default.inherit(mode)
    assert access.mode == new_mode & 0o777 == mode & default.mode
    assert new_mode & ~0o777 == mode & ~0o777


# -- inodes ----------------------------------------------------------------------------


def test_setting_an_access_acl_sets_the_mode(names: Namespace) -> None:
    """(A1)"""
    node = make(names, "f", FILE | stat.S_ISUID)
    xattrs(names).set(node.ino, ACCESS, NAMED.encode(), 20)
    assert (node.mode, node.ctime_ns) == (stat.S_IFREG | stat.S_ISUID | 0o774, 20)
    assert acl_of(names, "f") == NAMED


def test_minimal_access_acl_is_only_a_mode(names: Namespace) -> None:
    """(A2)"""
    node = make(names, "f")
    xattrs(names).set(node.ino, ACCESS, NAMED.encode(), 20)
    xattrs(names).set(node.ino, ACCESS, MINIMAL.encode(), 21)
    assert node.mode == stat.S_IFREG | 0o640
    assert xattrs(names).names(node.ino) == []


def test_setgid_goes_if_its_setter_may_not_keep_it(names: Namespace) -> None:
    """posix_acl_update_mode()."""
    node = make(names, "f", FILE | stat.S_ISGID)
    xattrs(names).set(node.ino, ACCESS, NAMED.encode(), 20, keeps_setgid=True)
    assert node.mode & stat.S_ISGID
    xattrs(names).set(node.ino, ACCESS, NAMED.encode(), 20, keeps_setgid=False)
    assert not node.mode & stat.S_ISGID


def test_chmod_takes_the_acl_along(names: Namespace) -> None:
    """(A1)"""
    node = make(names, "f")
    xattrs(names).set(node.ino, ACCESS, NAMED.encode(), 20)
    permissions(names).set_mode(node, 0o4600)
    assert node.mode == stat.S_IFREG | 0o4600
    assert acl_of(names, "f") == NAMED.with_mode(0o600)


def test_removing_an_acl_leaves_the_mode(names: Namespace) -> None:
    node = make(names, "d", DIRECTORY)
    xattrs(names).set(node.ino, ACCESS, NAMED.encode(), 20)
    xattrs(names).set(node.ino, DEFAULT, NAMED.encode(), 21)
    for name in (ACCESS, DEFAULT, ACCESS, DEFAULT):  # gone already: no error
        xattrs(names).remove(node.ino, name, 22)
    assert node.mode == stat.S_IFDIR | 0o774
    assert xattrs(names).names(node.ino) == []


def test_new_files_inherit_the_default_acl_instead_of_the_umask(names: Namespace) -> None:
    parent = make(names, "d", DIRECTORY)
    xattrs(names).set(parent.ino, DEFAULT, NAMED.encode(), 20)
    assert parent.mode == DIRECTORY  # a default ACL is not for the directory itself
    file = names.make(parent.ino, b"f", stat.S_IFREG | 0o666, 0, 0, 0, 30, umask=0o077)
    inner = names.make(parent.ino, b"s", stat.S_IFDIR | 0o777, 0, 0, 0, 30, umask=0o077)
    fifo = names.make(parent.ino, b"p", stat.S_IFIFO | 0o600, 0, 0, 0, 30, umask=0o077)
    assert (file.mode & 0o777, inner.mode & 0o777, fifo.mode & 0o777) == (0o664, 0o774, 0o600)
    assert acl_of(names, "d/f") == NAMED.with_mode(0o664)
    assert acl_of(names, "d/f", DEFAULT) is None
    assert acl_of(names, "d/s") == acl_of(names, "d/s", DEFAULT) == NAMED.with_mode(0o774)
    assert acl_of(names, "d/p") == NAMED.with_mode(0o600)


def test_minimal_default_acl_leaves_only_a_mode(names: Namespace) -> None:
    """(A2)"""
    parent = make(names, "d", DIRECTORY)
    xattrs(names).set(parent.ino, DEFAULT, MINIMAL.encode(), 20)
    file = names.make(parent.ino, b"f", stat.S_IFREG | 0o666, 0, 0, 0, 30, umask=0o777)
    assert file.mode & 0o777 == 0o640
    assert xattrs(names).names(file.ino) == []


def test_umask_counts_where_there_is_no_default_acl(names: Namespace) -> None:
    file = names.make(ROOT_INO, b"f", stat.S_IFREG | 0o4666, 0, 0, 0, 30, umask=0o027)
    assert file.mode == stat.S_IFREG | 0o4640


def test_symlinks_have_neither_acl_nor_umask(names: Namespace) -> None:
    parent = make(names, "d", DIRECTORY)
    xattrs(names).set(parent.ino, DEFAULT, NAMED.encode(), 20)
    link = names.make(parent.ino, b"l", SYMLINK, 0, 0, 0, 30, target=b"x", umask=0o777)
    assert link.mode == SYMLINK
    assert xattrs(names).names(link.ino) == []
    with pytest.raises(FsError, match="ENOTSUP"):
        xattrs(names).set(link.ino, ACCESS, NAMED.encode(), 1)


def test_default_acl_of_a_file_is_refused(names: Namespace) -> None:
    node = make(names, "f")
    with pytest.raises(FsError, match="EACCES"):
        xattrs(names).set(node.ino, DEFAULT, NAMED.encode(), 1)


def test_stored_bytes_that_are_no_acl_are_the_disk_s_fault(names: Namespace) -> None:
    parent = make(names, "d", DIRECTORY)
    names.metadata.change("INSERT INTO xattr VALUES (?, ?, ?)", parent.ino, DEFAULT, b"noise")
    with pytest.raises(FsError, match="EIO"):
        make(names, "d/f")
    assert names.metadata.inode_count == 2  # as there are rows


def test_chmod_that_fails_at_the_acl_takes_no_effect(names: Namespace) -> None:
    """(A1) Its caller was told EIO, and had the new mode all the same."""
    node = make(names, "f", FILE)
    names.metadata.change("INSERT INTO xattr VALUES (?, ?, x'00')", node.ino, ACCESS)
    with pytest.raises(FsError, match="EIO"):
        permissions(names).set_mode(node, 0o777)
    assert node.mode == FILE
