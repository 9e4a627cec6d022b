"""Inodes in memory and what of them a commit saves."""

import stat
from uuid import uuid4

from store.name_trees import over

from fusefs.store.metadata import Metadata


def test_a_map_that_changes_after_it_was_saved_is_saved_again():
    """(N2) Whoever changes it: here a writeback, long after the write marked its node.

    A commit for another file comes between the write and its writeback; the fsync that
    follows must still store the map.
    """
    metadata = Metadata.create(":memory:", uuid4(), 1024, 4096, 0, 0, 1)
    names = over(metadata)
    node = names.make(1, b"file", stat.S_IFREG | 0o600, 0, 0, 0, 2)
    assert node.inode is not None
    names.nodes.mark_changed(node)
    names.nodes.save_changed()
    node.inode.extents.allocate(0, 1, 7)
    node.inode.size = node.inode.disk_size = 1024
    node.inode.changed = True
    assert names.nodes.save_changed() == [node]
    stored = names.nodes.rows.load(node.ino)
    assert stored is not None
    assert (stored.size, stored.blocks) == (1024, 1)
    assert names.nodes.save_changed() == []
    metadata.close()
