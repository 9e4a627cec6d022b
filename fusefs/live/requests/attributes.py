"""What stat(2) shows: from nodes and control files to what the extension replies with.

    (ino, mode, nlink, uid, gid, rdev, size, blocks_512, preferred_size,
     atime_ns, mtime_ns, ctime_ns, attributes_timeout_s, name_timeout_s)

A plain tuple, as every request for a name makes one.  Attributes of a regular file are never
cached by the kernel, as reads and writes change them; those of anything else change only
through the kernel, which then asks again.
"""

import time

from fusefs.live.requests.control import CONTROL_INO, Control
from fusefs.store.nodes import Node

Shown = tuple[int, int, int, int, int, int, int, int, int, int, int, int, float, float]

NAME_TIMEOUT_S = 3600.0
"""How long the kernel may keep names, and attributes that only it changes."""

CONTROL_PREFERRED_SIZE = 4096


def node_attributes(node: Node, page_size: int) -> Shown:
    inode = node.inode
    return (
        node.ino,
        node.mode,
        node.nlink,
        node.uid,
        node.gid,
        node.rdev,
        node.size if inode is None else inode.size,
        0 if inode is None else node.blocks_512,
        page_size,
        node.atime_ns,
        node.mtime_ns,
        node.ctime_ns,
        NAME_TIMEOUT_S if inode is None else 0.0,
        NAME_TIMEOUT_S,
    )


def control_attributes(control: Control, ino: int) -> Shown:
    """Of a file in .fusefs: its size is 0, as in procfs, and nothing is cached."""
    now = time.time_ns()
    mode, nlink = control.mode(ino), 2 if ino == CONTROL_INO else 1
    sizes = (0, 0, CONTROL_PREFERRED_SIZE)
    return (ino, mode, nlink, control.uid, control.gid, 0, *sizes, now, now, now, 0.0, 0.0)
