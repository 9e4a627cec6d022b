"""Names and attributes: what POSIX promises, call by call."""

import itertools
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store.name_trees import (
    DIRECTORY,
    FILE,
    SYMLINK,
    at,
    create,
    fill,
    make,
    rename,
    reopen,
    times,
    tree_of,
    xattrs,
)

from fusefs.model.errors import FsError
from fusefs.model.extents import State
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.namespace import (
    LINK_COUNT_MAX,
    RENAME_EXCHANGE,
    Namespace,
)
from fusefs.store.stored import NAME_LENGTH_MAX, TIME_NS_MAX
from fusefs.store.xattrs import XATTR_LIST_MAX, XATTR_SIZE_MAX


@pytest.fixture
def names() -> Iterator[Namespace]:
    names = create()
    yield names
    names.metadata.close()


# -- making ----------------------------------------------------------------------------


def test_new_file_has_its_attributes_and_an_empty_map(names: Namespace) -> None:
    node = make(names, "a")
    assert names.lookup(ROOT_INO, b"a") is node
    assert (node.mode, node.nlink, node.uid, node.gid, node.size) == (FILE, 1, 1000, 100, 0)
    assert times(node) == (10, 10, 10)
    assert node.inode is not None
    assert [m.state for m in node.inode.extents.mappings(0, 1)] == [State.HOLE]


def test_new_directory_counts_in_its_parent(names: Namespace) -> None:
    """(J1)"""
    node = make(names, "d", DIRECTORY)
    assert (node.nlink, node.size, node.inode) == (2, 1024, None)
    root = names.nodes.get(ROOT_INO)
    assert (root.nlink, times(root)) == (3, (1, 10, 10))


def test_symlink_and_device_keep_what_they_point_at(names: Namespace) -> None:
    link = names.make(ROOT_INO, b"l", SYMLINK, 0, 0, 0, 10, target=b"to/where")
    device = names.make(ROOT_INO, b"c", stat.S_IFCHR | 0o600, 0, 0, 0x501, 10)
    assert (link.target, link.size, link.blocks_512) == (b"to/where", 8, 0)
    assert (device.rdev, device.size, device.inode) == (0x501, 0, None)


def test_file_without_a_name_gets_one_or_is_an_orphan(names: Namespace) -> None:
    kept, lost = (names.make(ROOT_INO, None, FILE, 0, 0, 0, 10) for _ in range(2))
    assert names.nodes.get(ROOT_INO).mtime_ns < 10
    names.link(kept.ino, ROOT_INO, b"f", 20)
    assert (kept.nlink, names.lookup(ROOT_INO, b"f")) == (1, kept)
    assert names.nodes.rows.orphans() == [(lost.ino, 0)]
    names.unlink(ROOT_INO, b"f", 30)
    with pytest.raises(FsError, match="ENOENT"):
        names.link(kept.ino, ROOT_INO, b"again", 40)


def test_dot_is_the_inode_itself_unless_it_is_deleted(names: Namespace) -> None:
    """open_by_handle_at(2).  Guards xfstests generic/467."""
    file = make(names, "f")
    assert names.lookup(file.ino, b".") is file
    file.opens = 1
    names.unlink(ROOT_INO, b"f", 20)
    assert names.lookup(file.ino, b".") is file
    file.opens = 0
    with pytest.raises(FsError, match="ESTALE"):
        names.lookup(file.ino, b".")


def test_setgid_directory_passes_its_group_on(names: Namespace) -> None:
    parent = names.make(ROOT_INO, b"d", DIRECTORY | stat.S_ISGID, 0, 77, 0, 10)
    file = names.make(parent.ino, b"f", FILE, 1000, 100, 0, 10)
    directory = names.make(parent.ino, b"s", DIRECTORY, 1000, 100, 0, 10)
    assert (file.gid, file.mode) == (77, FILE)
    assert (directory.gid, directory.mode) == (77, DIRECTORY | stat.S_ISGID)


ERRORS: dict[str, tuple[str, Callable[[Namespace], object]]] = {
    "make over a name": ("EEXIST", lambda n: make(n, "f")),
    "make over .": ("EEXIST", lambda n: n.make(ROOT_INO, b".", DIRECTORY, 0, 0, 0, 1)),
    "make with a long name": ("ENAMETOOLONG", lambda n: make(n, "x" * (NAME_LENGTH_MAX + 1))),
    "make without a name": ("ENOENT", lambda n: n.make(ROOT_INO, b"", FILE, 0, 0, 0, 1)),
    "make with a slash": ("EINVAL", lambda n: n.make(ROOT_INO, b"a/b", FILE, 0, 0, 0, 1)),
    "make in a file": ("ENOTDIR", lambda n: make(n, "f/x")),
    "lookup in a file": ("ENOTDIR", lambda n: n.lookup(at(n, "f").ino, b"x")),
    "lookup of no name": ("ENOENT", lambda n: n.lookup(ROOT_INO, b"none")),
    "node of no inode": ("ESTALE", lambda n: n.nodes.get(99)),
    "node of what can be no inode": ("ESTALE", lambda n: n.nodes.get((1 << 64) - 1)),
    "unlink of no name": ("ENOENT", lambda n: n.unlink(ROOT_INO, b"none", 1)),
    "unlink of a directory": ("EISDIR", lambda n: n.unlink(ROOT_INO, b"d", 1)),
    "unlink of ..": ("EISDIR", lambda n: n.unlink(ROOT_INO, b"..", 1)),
    "rmdir of a file": ("ENOTDIR", lambda n: n.rmdir(ROOT_INO, b"f", 1)),
    "rmdir of what is not empty": ("ENOTEMPTY", lambda n: n.rmdir(ROOT_INO, b"d", 1)),
    "rmdir of .": ("EINVAL", lambda n: n.rmdir(ROOT_INO, b".", 1)),
    "rmdir of ..": ("ENOTEMPTY", lambda n: n.rmdir(ROOT_INO, b"..", 1)),
    "link of a directory": ("EPERM", lambda n: n.link(at(n, "d").ino, ROOT_INO, b"x", 1)),
    "link over a name": ("EEXIST", lambda n: n.link(at(n, "f").ino, ROOT_INO, b"d", 1)),
    "rename of .": ("EBUSY", lambda n: n.rename(ROOT_INO, b".", ROOT_INO, b"x", 0, 1)),
    "rename, exchange and noreplace": ("EINVAL", lambda n: rename(n, "f", "x", 3)),
    "rename, exchange and whiteout": ("EINVAL", lambda n: rename(n, "f", "x", 6)),
    "rename, no such flag": ("EINVAL", lambda n: rename(n, "f", "x", 8)),
    "entries of a file": ("ENOTDIR", lambda n: n.entries(at(n, "f").ino, 0, 9)),
    "xattr that is not there": ("ENODATA", lambda n: xattrs(n).get(ROOT_INO, b"user.a")),
    "remove no xattr": ("ENODATA", lambda n: xattrs(n).remove(ROOT_INO, b"user.a", 1)),
    "xattr with a long name": ("ERANGE", lambda n: xattrs(n).set(ROOT_INO, b"x" * 256, b"", 1)),
    "xattr without a name": ("ERANGE", lambda n: xattrs(n).set(ROOT_INO, b"", b"", 1)),
    "xattr too large": (
        "E2BIG",
        lambda n: xattrs(n).set(ROOT_INO, b"x", b"v" * (XATTR_SIZE_MAX + 1), 1),
    ),
    "xattr of no namespace": ("ENOTSUP", lambda n: xattrs(n).set(ROOT_INO, b"x.a", b"", 1)),
    "xattr of the system's": ("ENOTSUP", lambda n: xattrs(n).set(ROOT_INO, b"system.a", b"", 1)),
    "xattr that is a namespace": ("EINVAL", lambda n: xattrs(n).set(ROOT_INO, b"user.", b"", 1)),
    "get xattr of no namespace": ("ENOTSUP", lambda n: xattrs(n).get(ROOT_INO, b"x.a")),
    "remove xattr of no namespace": ("ENOTSUP", lambda n: xattrs(n).remove(ROOT_INO, b"x.a", 1)),
    "xattr of no inode": ("ESTALE", lambda n: xattrs(n).set(99, b"x", b"v", 1)),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errno_is_linux_s_and_nothing_changes(names: Namespace, case: str) -> None:
    make(names, "f")
    make(names, "d", DIRECTORY)
    make(names, "d/f")
    before = tree_of(names)
    expected, call = ERRORS[case]
    with pytest.raises(FsError, match=f"^{expected}$"):
        call(names)
    assert tree_of(names) == before


def test_link_counts_have_a_limit(names: Namespace) -> None:
    file, directory = make(names, "f"), make(names, "d", DIRECTORY)
    make(names, "d/s", DIRECTORY)
    file.nlink = names.nodes.get(ROOT_INO).nlink = LINK_COUNT_MAX
    calls: list[Callable[[], object]] = [
        lambda: names.link(file.ino, ROOT_INO, b"g", 1),
        lambda: make(names, "e", DIRECTORY),
        lambda: rename(names, "d/s", "s"),
        lambda: rename(names, "d/s", "f", RENAME_EXCHANGE),
        lambda: rename(names, "f", "d/s", RENAME_EXCHANGE),
    ]
    for call in calls:
        with pytest.raises(FsError, match="EMLINK"):
            call()
    rename(names, "d", "e")
    assert names.lookup(ROOT_INO, b"e") is directory


# -- removing --------------------------------------------------------------------------


def test_file_without_a_name_stays_until_deleted(names: Namespace) -> None:
    node = make(names, "a")
    node.opens = 1
    assert names.unlink(ROOT_INO, b"a", 20) is node
    assert (node.nlink, node.ctime_ns) == (0, 20)
    assert names.nodes.rows.orphans() == [(node.ino, 0)]
    with pytest.raises(FsError, match="ENOENT"):
        names.link(node.ino, ROOT_INO, b"b", 30)
    node.opens = 0
    names.nodes.mark_changed(node)
    names.nodes.evict(node)
    names.nodes.rows.delete(node.ino)
    names.nodes.save_changed()
    with pytest.raises(FsError, match="ESTALE"):
        names.nodes.get(node.ino)


def test_removed_directory_holds_no_names_and_takes_none(names: Namespace) -> None:
    node = make(names, "d", DIRECTORY)
    assert names.rmdir(ROOT_INO, b"d", 20) is node
    assert (node.nlink, names.nodes.get(ROOT_INO).nlink) == (0, 2)
    calls: list[Callable[[], object]] = [
        lambda: names.make(node.ino, b"x", FILE, 0, 0, 0, 1),
        lambda: names.lookup(node.ino, b".."),
        lambda: names.entries(node.ino, 0, 9),
    ]
    for call in calls:
        with pytest.raises(FsError, match="ENOENT"):
            call()


def test_link_and_unlink_change_ctime_and_the_directory_s_times(names: Namespace) -> None:
    node, directory = make(names, "a"), make(names, "d", DIRECTORY)
    names.link(node.ino, directory.ino, b"b", 20)
    assert (node.nlink, times(node), times(directory)) == (2, (10, 10, 20), (10, 20, 20))
    names.unlink(directory.ino, b"b", 30)
    assert (node.nlink, times(node), times(directory)) == (1, (10, 10, 30), (10, 30, 30))


# -- reading directories ---------------------------------------------------------------


def test_entries_begin_with_the_directory_and_its_parent(names: Namespace) -> None:
    directory = make(names, "d", DIRECTORY)
    make(names, "d/a")
    found = [(e.cookie, e.name, e.ino) for e in names.entries(directory.ino, 0, 9)]
    assert found[:2] == [(1, b".", directory.ino), (2, b"..", ROOT_INO)]
    assert found[2][1] == b"a"
    assert names.entries(ROOT_INO, 0, 2)[1].ino == ROOT_INO


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_reader_neither_repeats_nor_skips_while_names_come_and_go(
    names: Namespace, limit: int
) -> None:
    for number in range(20):
        make(names, f"stays{number}")
        make(names, f"goes{number}")
        make(names, f"moves{number}")
    seen: list[bytes] = []
    cookie = 0
    for number in itertools.count():
        page = names.entries(ROOT_INO, cookie, limit)
        if not page:
            break
        assert len(page) <= limit
        seen += [entry.name for entry in page]
        cookie = page[-1].cookie
        if number < 20:
            names.unlink(ROOT_INO, f"goes{number}".encode(), 1)
            make(names, f"new{number}")
            rename(names, f"moves{number}", f"moved{number}")
            rename(names, f"new{number}", f"stays{number}")
    assert len(seen) == len(set(seen))
    assert {name for name in seen if name.startswith(b"stays")} == {
        f"stays{number}".encode() for number in range(20)
    }
    moves = [name.removeprefix(b"moves").removeprefix(b"moved") for name in seen]
    assert all(moves.count(str(number).encode()) == 1 for number in range(20))


def test_cookies_outlive_a_remount(tmp_path: Path) -> None:
    names = create(tmp_path / "disk.meta")
    for name in "abcd":
        make(names, name)
    cookie = names.entries(ROOT_INO, 0, 4)[-1].cookie
    names.unlink(ROOT_INO, b"d", 1)
    names = reopen(names)
    make(names, "e")
    assert [entry.name for entry in names.entries(ROOT_INO, cookie, 9)] == [b"c", b"e"]
    names.metadata.close()


# -- attributes and memory -------------------------------------------------------------


def test_reopen_brings_names_attributes_and_maps_back(tmp_path: Path) -> None:
    names = create(tmp_path / "disk.meta")
    fill(names)
    names.make(ROOT_INO, b"l", SYMLINK, 0, 0, 0, 10, target=b"to")
    xattrs(names).set(at(names, "f").ino, b"user.b", b"\0v", 20)
    xattrs(names).set(at(names, "f").ino, b"user.a", b"", 20)
    node = at(names, "full/f")
    assert node.inode is not None
    node.inode.size = node.inode.disk_size = 2500
    node.inode.extents.allocate(1, 2, 50)
    node.mode, node.uid, node.atime_ns, node.mtime_ns = FILE | 0o4000, 7, 1 << 90, 98
    names.nodes.mark_changed(node)
    assert names.nodes.save_changed() == [node]
    assert names.nodes.save_changed() == []
    before = tree_of(names)

    names = reopen(names)
    assert tree_of(names) == before
    assert at(names, "l").target == b"to"
    ino = at(names, "f").ino
    assert xattrs(names).names(ino) == [b"user.a", b"user.b"]
    assert xattrs(names).get(ino, b"user.b") == b"\0v"
    xattrs(names).remove(ino, b"user.b", 30)
    assert (xattrs(names).names(ino), names.nodes.get(ino).ctime_ns) == ([b"user.a"], 30)
    node = at(names, "full/f")
    assert (node.mode, node.uid, times(node)) == (FILE | 0o4000, 7, (TIME_NS_MAX, 98, 10))
    assert node.inode is not None
    assert (node.size, node.blocks_512, node.inode.extents.chunks) == (2500, 4, {})
    assert node.inode.extents.find(1, 3).physical == 50
    names.metadata.close()


def test_blocks_count_what_delayed_writes_were_promised(names: Namespace) -> None:
    node = make(names, "a")
    assert node.inode is not None
    node.inode.extents.allocate(0, 3, 50)
    node.inode.extents.reserve(3, 2)
    assert node.blocks_512 == 10


def test_forgotten_node_can_be_dropped_once_it_is_stored(names: Namespace) -> None:
    """(N3)"""
    node = make(names, "a")
    node.lookups, node.opens = 3, 1
    assert not names.nodes.forget(node.ino, 2)
    assert not names.nodes.forget(node.ino, 1)
    node.opens = 0
    assert names.nodes.forget(node.ino, 0)
    node.mode = FILE | 0o4000
    names.nodes.mark_changed(node)
    assert not names.nodes.drop(node.ino)
    names.nodes.save_changed()
    assert node.inode is not None
    node.inode.changed = True
    assert not names.nodes.drop(node.ino)
    node.inode.changed = False
    node.inode.mapping.pages_dirty.add(0)
    assert not names.nodes.drop(node.ino)
    node.inode.mapping.pages_dirty.clear()
    node.inode.size = 1
    assert not names.nodes.drop(node.ino)
    node.inode.size = 0
    assert names.nodes.drop(node.ino)
    assert node.ino not in names.nodes.in_memory
    assert names.nodes.get(node.ino).mode == FILE | 0o4000


def test_name_without_an_inode_is_an_io_error(names: Namespace) -> None:
    node = make(names, "a")
    names.nodes.save_changed()
    del names.nodes.in_memory[node.ino]
    names.nodes.rows.delete(node.ino)
    with pytest.raises(FsError, match="EIO"):
        names.lookup(ROOT_INO, b"a")


# -- limits ------------------------------------------------------------------------------


def test_xattrs_of_an_inode_have_a_limit_together(names: Namespace) -> None:
    """Their names as many as listxattr(2) can give, their values 1 MiB; to replace is no more."""
    ino = make(names, "f").ino
    value = bytes(XATTR_SIZE_MAX)
    for i in range(15):
        xattrs(names).set(ino, b"user.%d" % i, value, 1)
    with pytest.raises(FsError, match="ENOSPC"):
        xattrs(names).set(ino, b"user.15", value, 1)
    xattrs(names).set(ino, b"user.0", value, 1)
    xattrs(names).remove(ino, b"user.1", 1)
    xattrs(names).set(ino, b"user.x", value, 1)
    other = make(names, "g").ino
    fit = XATTR_LIST_MAX // 246
    for i in range(fit):
        xattrs(names).set(other, b"user.%0240d" % i, b"", 1)
    with pytest.raises(FsError, match="ENOSPC"):
        xattrs(names).set(other, b"user.%0240d" % fit, b"", 1)


def test_inodes_are_as_many_as_sectors() -> None:
    """Empty files take no block, but the metadata grows with each; deleted ones do not count."""
    names = create(block_count=25)  # of two sectors each
    for i in range(49):
        make(names, f"f{i}")
    with pytest.raises(FsError, match="ENOSPC"):
        make(names, "one more")
    names.unlink(ROOT_INO, b"f0", 1)
    make(names, "one more")
    names.metadata.close()
