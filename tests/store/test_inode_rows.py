"""Rows of inodes: which wait, what is written when, and what a crash leaves of them."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from store.test_metadata import FILE, UUID_OURS, crashed_copy, create

from fusefs.model.errors import FsError
from fusefs.model.geometry import Geometry
from fusefs.store.inode_rows import ROWS_NAMED_MAX, InodeRows
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.node import Node
from fusefs.store.nodes import NodeTable
from fusefs.store.stored import TIME_NS_MAX, TIME_NS_MIN, Attributes

NEW = FILE._replace(size=0, blocks=0)
"""A new file, whose size and map no commit has saved yet."""


def over(metadata: Metadata) -> NodeTable:
    return NodeTable(InodeRows(metadata), Geometry())


def new(nodes: NodeTable, row: Attributes) -> Node:
    """A new inode that is to have this row."""
    node = nodes.new(*row[:6], row.ctime_ns, row.target)
    node.atime_ns, node.mtime_ns = row.atime_ns, row.mtime_ns
    return node


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.img.meta"


@pytest.fixture
def nodes() -> Iterator[NodeTable]:
    metadata = create(":memory:")
    yield over(metadata)
    metadata.close()


def commit(nodes: NodeTable) -> None:
    """As the volume does: parts 1 and 3."""
    nodes.save_changed()
    nodes.metadata.commit(nodes.rows.write_named)


def reopen(nodes: NodeTable) -> NodeTable:
    nodes.metadata.close()
    return over(Metadata.open(nodes.metadata.path, UUID_OURS))


def stored(nodes: NodeTable, ino: int = FILE.ino) -> Attributes | None:
    """What the table has, whatever waits."""
    rows = nodes.metadata.query("SELECT * FROM inode WHERE ino = ?", ino)
    return Attributes(*rows[0]) if rows else None


def stored_inos(nodes: NodeTable) -> list[int]:
    rows = nodes.metadata.query("SELECT ino FROM inode WHERE ino > 1 ORDER BY ino")
    return [ino for (ino,) in rows]


# -- with a name -----------------------------------------------------------------------


def test_rows_that_wait_are_in_the_next_commit(path: Path, tmp_path: Path) -> None:
    """(I1) Also if part 1 of it was over when the name came."""
    nodes = over(create(path))
    root = nodes.get(ROOT_INO)
    nodes.save_changed()
    with nodes.metadata.whole:
        new(nodes, NEW._replace(ino=nodes.metadata.new_ino()))
        root.mtime_ns = 50
        nodes.touch(root, 60, links=1)
    assert stored_inos(nodes) == []
    nodes.metadata.commit(nodes.rows.write_named)
    copy = over(Metadata.open(crashed_copy(path, tmp_path / "copy"), UUID_OURS))
    assert stored(copy) == NEW
    found = stored(copy, ROOT_INO)
    assert found is not None
    assert (found.nlink, found.mtime_ns, found.ctime_ns) == (3, 50, 60)
    copy.metadata.close()
    nodes.metadata.close()


def test_rows_that_wait_are_counted(nodes: NodeTable) -> None:
    node = new(nodes, NEW)
    assert nodes.rows.count_linked() == 2
    nodes.touch(node, 9, links=-1)
    assert nodes.rows.orphans() == [(FILE.ino, 0)]
    nodes.touch(node, 9, links=1)
    assert nodes.rows.count_linked() == 2


def test_mode_of_an_acl_is_written_with_a_name(nodes: NodeTable) -> None:
    """(A1)"""
    node = new(nodes, NEW)
    commit(nodes)
    node.mode = 0o100600
    nodes.rows.named(node)
    nodes.rows.write_named()
    assert stored(nodes) == NEW._replace(mode=0o100600)


def test_name_that_changes_later_leaves_size_and_map(nodes: NodeTable) -> None:
    """(N2) Of a file whose row was new in the same transaction, too."""
    node = new(nodes, NEW)
    assert node.inode is not None
    node.inode.size = node.inode.disk_size = 4096
    node.inode.changed = True
    nodes.touch(node, 9, links=1)
    nodes.rows.write_named()
    row = stored(nodes)
    assert row is not None
    assert (row.size, row.nlink) == (0, 2)
    assert nodes.save_changed() == [node]
    nodes.touch(node, 10, links=1)
    nodes.rows.write_named()
    row = stored(nodes)
    assert row is not None
    assert (row.size, row.nlink, row.ctime_ns) == (4096, 3, 10)


def test_row_is_not_new_once_it_was_saved_with_the_rest(nodes: NodeTable) -> None:
    """(N2) What waited with its name is not written over it."""
    node = new(nodes, NEW)
    assert node.inode is not None
    node.inode.size = node.inode.disk_size = 4096
    nodes.mark_changed(node)
    nodes.save_changed()
    nodes.touch(node, 10)
    commit(nodes)
    row = stored(nodes)
    assert row is not None
    assert (row.size, row.ctime_ns) == (4096, 10)


def test_few_rows_wait(nodes: NodeTable) -> None:
    for ino in range(2, ROWS_NAMED_MAX + 1):
        new(nodes, NEW._replace(ino=ino))
    assert stored_inos(nodes) == []
    new(nodes, NEW._replace(ino=ROWS_NAMED_MAX + 1))
    assert len(stored_inos(nodes)) == ROWS_NAMED_MAX


# -- nodes that come and go meanwhile --------------------------------------------------


def test_node_whose_row_waits_stays_until_the_next_commit(nodes: NodeTable) -> None:
    """(N3)"""
    node = new(nodes, NEW)
    assert not nodes.drop(node.ino)
    assert nodes.get(node.ino) is node
    assert nodes.save_changed() == [node]
    assert nodes.drop(node.ino)
    assert nodes.get(node.ino) is not node


@pytest.mark.parametrize("is_stored", [True, False])
def test_deleted_inode_is_not_found_although_its_row_waits(
    nodes: NodeTable, is_stored: bool
) -> None:
    """Its name is gone, so a handle that NFS kept leads nowhere."""
    node = new(nodes, NEW)
    if is_stored:
        commit(nodes)
    nodes.touch(node, 9, links=-1)
    nodes.evict(node)
    for _ in range(2):
        with pytest.raises(FsError) as caught:
            nodes.get(node.ino)
        assert caught.value.errno == errno.ESTALE
        nodes.rows.write_named()
    assert nodes.rows.orphans() == [(FILE.ino, 0)]


def test_row_that_waits_can_be_deleted(nodes: NodeTable) -> None:
    node = new(nodes, NEW)
    nodes.touch(node, 9, links=-1)
    nodes.evict(node)
    nodes.rows.delete(node.ino)
    commit(nodes)
    assert stored_inos(nodes) == []
    assert nodes.metadata.inode_count == nodes.rows.count_linked() == 1


def test_deleted_inode_leaves_nothing(nodes: NodeTable) -> None:
    new(nodes, NEW)
    commit(nodes)
    metadata = nodes.metadata
    metadata.change("INSERT INTO xattr VALUES (?, x'61', x'62')", FILE.ino)
    metadata.change("INSERT INTO chunk VALUES (?, 0, x'', x'')", FILE.ino)
    nodes.rows.delete(FILE.ino)
    assert stored(nodes) is None
    assert metadata.query("SELECT ino FROM xattr UNION SELECT ino FROM chunk") == []
    assert metadata.inode_count == 1


# -- failing ---------------------------------------------------------------------------


def test_rows_that_wait_are_undone_with_the_rest(path: Path) -> None:
    """(M2) They are never written to the file by themselves."""
    nodes = over(create(path))
    new(nodes, NEW)
    nodes.touch(nodes.get(ROOT_INO), 9, links=7)
    with pytest.raises(FsError, match="EIO"):
        nodes.metadata.change("INSERT INTO nowhere VALUES (2)")
    nodes.rows.write_named()
    root = stored(nodes, ROOT_INO)
    assert root is not None
    assert root.nlink == 2
    nodes = reopen(nodes)
    assert stored_inos(nodes) == []
    nodes.metadata.close()


def test_what_was_accepted_is_seen_when_nothing_is_committed_any_more(nodes: NodeTable) -> None:
    """The image's flush failed: SQLite has not, and reads go on."""
    node = new(nodes, NEW)
    nodes.metadata.health.fail("the flush failed")
    assert nodes.get(node.ino) is node
    assert nodes.rows.count_linked() == 2
    assert stored(nodes) == NEW
    with pytest.raises(FsError, match="EROFS"):
        new(nodes, NEW._replace(ino=3))
    assert nodes.metadata.inode_count == 2


def test_row_that_cannot_be_stored_ends_all_changes(nodes: NodeTable) -> None:
    """(M2) Later than it was made, but before a commit."""
    new(nodes, NEW._replace(rdev=1 << 70))
    with pytest.raises(FsError, match="EIO"):
        commit(nodes)
    assert nodes.metadata.health.failure


@pytest.mark.parametrize("with_name", [True, False])
def test_times_beyond_what_is_stored_are_clamped(nodes: NodeTable, with_name: bool) -> None:
    node = new(nodes, NEW)
    node.atime_ns, node.mtime_ns, node.ctime_ns = -(10**30), 10**30, 5
    if not with_name:
        nodes.mark_changed(node)
    commit(nodes)
    times = {"atime_ns": TIME_NS_MIN, "mtime_ns": TIME_NS_MAX, "ctime_ns": 5}
    assert stored(nodes) == NEW._replace(**times)


# -- birth times -----------------------------------------------------------------------


def test_birth_time_is_what_the_first_ctime_was(path: Path) -> None:
    nodes = over(create(path))
    node = new(nodes, NEW._replace(ino=nodes.metadata.new_ino(), ctime_ns=30))
    node.ctime_ns = 40
    nodes.mark_changed(node)
    assert (nodes.rows.birth_ns(ROOT_INO), nodes.rows.birth_ns(FILE.ino)) == (7, 30)
    commit(nodes)
    nodes = reopen(nodes)
    node = nodes.get(FILE.ino)
    node.ctime_ns = 50
    nodes.mark_changed(node)
    commit(nodes)
    assert (nodes.rows.birth_ns(ROOT_INO), nodes.rows.birth_ns(FILE.ino)) == (7, 30)
    nodes.metadata.close()


@pytest.mark.parametrize("is_stored", [True, False])
def test_birth_time_goes_with_its_inode(nodes: NodeTable, is_stored: bool) -> None:
    new(nodes, NEW)
    if is_stored:
        commit(nodes)
    nodes.rows.delete(FILE.ino)
    commit(nodes)
    assert nodes.metadata.query("SELECT ino FROM birth") == [(ROOT_INO,)]


def test_image_of_an_older_version_has_unknown_births(path: Path) -> None:
    """It gets the table with the first commit: a check, which makes none, changes nothing."""
    create(path).close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE birth")
    db.close()
    before = path.read_bytes()
    Metadata.open(path, UUID_OURS).close()
    assert path.read_bytes() == before
    nodes = over(Metadata.open(path, UUID_OURS))
    assert nodes.metadata.new_ino() == FILE.ino
    new(nodes, NEW)
    commit(nodes)
    nodes = reopen(nodes)
    assert (nodes.rows.birth_ns(ROOT_INO), nodes.rows.birth_ns(FILE.ino)) == (0, FILE.ctime_ns)
    nodes.metadata.close()


def test_births_that_wait_are_bounded(nodes: NodeTable) -> None:
    """By what is saved with the rest as well."""
    for ino in range(2, 2 + ROWS_NAMED_MAX):
        nodes.mark_changed(new(nodes, NEW._replace(ino=ino)))
        nodes.save_changed()
    assert not nodes.rows._births
    [[count]] = nodes.metadata.query("SELECT count(*) FROM birth")
    assert count == ROWS_NAMED_MAX + 1
