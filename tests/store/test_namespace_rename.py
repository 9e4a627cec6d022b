"""rename(2) and its flags: which errno, and what becomes of both names."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from store.name_trees import (
    SHELF,
    at,
    check_link_counts,
    create,
    fill,
    place,
    rename,
    times,
    tree_of,
)

from fusefs.model.errors import FsError
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.namespace import (
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    Namespace,
)

PATHS = [*SHELF, "hard", "none", "full/none", "f/none"]


@pytest.fixture
def names() -> Iterator[Namespace]:
    names = create()
    fill(names)
    yield names
    names.metadata.close()


@pytest.mark.parametrize("old", PATHS)
def test_rename_does_what_the_host_does(tmp_path: Path, old: str) -> None:
    """The same errno, or the same names afterwards, for every new path."""
    for number, new in enumerate(PATHS):
        host = tmp_path / str(number)
        host.mkdir()
        for path, mode in SHELF.items():
            if stat.S_ISDIR(mode):
                (host / path).mkdir()
            else:
                (host / path).touch()
        os.link(host / "f", host / "hard")
        names = create()
        fill(names)
        expected = found = 0
        try:
            os.rename(host / old, host / new)
        except OSError as error:
            expected = error.errno or 0
        try:
            rename(names, old, new)
        except FsError as error:
            found = error.errno
        assert (new, errno.errorcode.get(found)) == (new, errno.errorcode.get(expected))
        on_host = {str(p.relative_to(host)): p.stat().st_nlink for p in host.rglob("*")}
        ours = tree_of(names)
        assert ours.keys() == on_host.keys()
        for path, nlink in on_host.items():
            if (host / path).is_file():  # not every host counts directories in nlink
                assert ours[path].nlink == nlink
        names.metadata.close()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("f", "g", "EEXIST"),
        ("f", "hard", "EEXIST"),
        ("f", "full", "EEXIST"),
        ("full", "full/sub", "EEXIST"),
        ("none", "f", "ENOENT"),
        ("full", "full/none", "EINVAL"),
        ("f", "none", None),
        ("full/sub", "none", None),
    ],
)
def test_rename_noreplace(names: Namespace, old: str, new: str, expected: str | None) -> None:
    if expected is None:
        node = at(names, old)
        rename(names, old, new, RENAME_NOREPLACE)
        assert at(names, new) is node
    else:
        with pytest.raises(FsError, match=f"^{expected}$"):
            rename(names, old, new, RENAME_NOREPLACE)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("f", "none", "ENOENT"),
        ("none", "f", "ENOENT"),
        ("full", "full/sub", "EINVAL"),
        ("full/sub", "full", "EINVAL"),
        ("full/f", "full", "EINVAL"),
        ("f", "g", None),
        ("f", "full", None),
        ("f", "full/sub", None),
        ("empty", "full/f", None),
        ("empty", "full/sub", None),
    ],
)
def test_rename_exchange(names: Namespace, old: str, new: str, expected: str | None) -> None:
    """(J1) the directories' link counts follow their directories."""
    if expected is None:
        first, second = at(names, old), at(names, new)
        assert rename(names, old, new, RENAME_EXCHANGE) is None
        assert (at(names, new), at(names, old)) == (first, second)
        assert (first.ctime_ns, second.ctime_ns) == (20, 20)
        check_link_counts(names)
    else:
        with pytest.raises(FsError, match=f"^{expected}$"):
            rename(names, old, new, RENAME_EXCHANGE)


@pytest.mark.parametrize("new", ["new", "g", "full/f", "full/new"])
def test_rename_leaves_a_whiteout(names: Namespace, new: str) -> None:
    """A device 0:0 without permissions, stored, under a name that keeps its cookie."""
    source = at(names, "f")
    [cookie] = [each.cookie for each in names.entries(ROOT_INO, 0, 99) if each.name == b"f"]
    parent, name = place(names, new)
    names.rename(ROOT_INO, b"f", parent, name, RENAME_WHITEOUT, 20, 1000, 100)
    assert at(names, new) is source
    [entry] = [each for each in names.entries(ROOT_INO, 0, 99) if each.name == b"f"]
    assert entry.cookie == cookie
    whiteout = at(names, "f")
    # The kernel, which does not know of it, never forgets it: the next commit lets it go.
    assert whiteout in names.nodes.save_changed()
    assert names.nodes.drop(entry.ino)
    assert (whiteout.mode, whiteout.rdev, whiteout.nlink) == (stat.S_IFCHR, 0, 1)
    assert (whiteout.uid, whiteout.gid) == (1000, 100)
    check_link_counts(names)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [("full", "f", "ENOTDIR"), ("f", "full", "EISDIR"), ("empty", "full", "ENOTEMPTY")],
)
def test_refused_rename_leaves_no_whiteout(
    names: Namespace, old: str, new: str, expected: str
) -> None:
    before, count = tree_of(names), names.metadata.inode_count
    with pytest.raises(FsError, match=f"^{expected}$"):
        rename(names, old, new, RENAME_WHITEOUT)
    assert (tree_of(names), names.metadata.inode_count) == (before, count)


def test_rename_of_one_file_s_two_names_does_nothing(names: Namespace) -> None:
    for flags in (0, RENAME_EXCHANGE):
        assert rename(names, "f", "hard", flags) is None
        assert at(names, "f").ctime_ns == 10


def test_rename_returns_what_it_replaced_and_sets_times(names: Namespace) -> None:
    source, target, full = at(names, "g"), at(names, "full/f"), at(names, "full")
    assert rename(names, "g", "full/f") is target
    assert (target.nlink, target.ctime_ns) == (0, 20)
    assert (times(source), times(full)) == ((10, 10, 20), (10, 20, 20))
    assert times(names.nodes.get(ROOT_INO)) == (1, 20, 20)
    emptied = at(names, "full/sub/empty")
    assert rename(names, "empty", "full/sub/empty") is emptied
    assert emptied.nlink == 0
    check_link_counts(names)


def test_moved_directory_has_a_new_parent(names: Namespace) -> None:
    rename(names, "full/sub", "empty/sub")
    assert names.lookup(at(names, "empty/sub").ino, b"..") is at(names, "empty")
    check_link_counts(names)
