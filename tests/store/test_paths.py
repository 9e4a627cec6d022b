"""What a file is called, for a reader of a recording: Namespace.path()."""

from collections.abc import Iterator

import pytest
from store.name_trees import DIRECTORY, create, make, rename

from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.namespace import Namespace


@pytest.fixture
def names() -> Iterator[Namespace]:
    names = create()
    yield names
    names.metadata.close()


def test_path_goes_up_to_the_root(names: Namespace) -> None:
    folder = make(names, "folder", DIRECTORY)
    node = names.make(folder.ino, b"file \xff", 0o100644, 0, 0, 0, 10)
    assert names.path(node.ino) == "/folder/file \\xff"
    assert names.path(folder.ino) == "/folder"
    assert names.path(ROOT_INO) == "/"


def test_path_follows_a_rename_and_ends_with_the_name(names: Namespace) -> None:
    node = make(names, "old")
    names.link(node.ino, ROOT_INO, b"newer", 11)
    assert names.path(node.ino) == "/old", "the oldest of two"
    rename(names, "old", "moved")
    assert names.path(node.ino) == "/moved"
    names.unlink(ROOT_INO, b"moved", 12)
    assert names.path(node.ino) == "/newer"
    names.unlink(ROOT_INO, b"newer", 13)
    assert names.path(node.ino) == ""
    assert names.path(12345) == ""
