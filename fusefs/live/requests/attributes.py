"""What stat(2) shows: of nodes and of control files.

Attributes of a regular file are never cached by the kernel, as reads and writes change them;
those of anything else change only through the kernel, which then asks again.
"""

import time

from fusefs.live.extension._lowlevel import Shown
from fusefs.live.requests.control import CONTROL_INO, Control
from fusefs.store.node import Node

NAME_TIMEOUT_S = 3600.0
"""How long the kernel may keep names, and attributes that only it changes."""

CONTROL_PREFERRED_SIZE = 4096


def node_attributes(node: Node, page_size: int) -> Shown:
    inode = node.inode
    return Shown(
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
    return Shown(
        ino=ino,
        mode=control.mode(ino),
        nlink=2 if ino == CONTROL_INO else 1,
        uid=control.uid,
        gid=control.gid,
        rdev=0,
        size=0,
        blocks_512=0,
        preferred_size=CONTROL_PREFERRED_SIZE,
        atime_ns=now,
        mtime_ns=now,
        ctime_ns=now,
        attributes_timeout_s=0.0,
        name_timeout_s=0.0,
    )
