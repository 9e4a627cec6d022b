"""What stat(2) shows: from nodes and control files to what pyfuse3 replies with."""

import time

from pyfuse3 import EntryAttributes

from fusefs.geometry import Geometry
from fusefs.live.control import CONTROL_INO, Control
from fusefs.live.nodes import Node

NAME_TIMEOUT_S = 3600.0
"""How long the kernel may keep names, and attributes that only it changes."""


def node_attributes(node: Node, geometry: Geometry) -> EntryAttributes:
    """Attributes of an inode; those of a regular file are never cached by the kernel."""
    entry = EntryAttributes()
    entry.st_ino = node.ino
    entry.st_mode = node.mode
    entry.st_nlink = node.nlink
    entry.st_uid = node.uid
    entry.st_gid = node.gid
    entry.st_rdev = node.rdev
    entry.st_size = node.size
    entry.st_blocks = node.blocks_512
    entry.st_blksize = geometry.page_size
    entry.st_atime_ns = node.atime_ns
    entry.st_mtime_ns = node.mtime_ns
    entry.st_ctime_ns = node.ctime_ns
    entry.entry_timeout = NAME_TIMEOUT_S
    entry.attr_timeout = 0.0 if node.inode is not None else NAME_TIMEOUT_S
    return entry


def control_attributes(control: Control, ino: int) -> EntryAttributes:
    """Attributes of a file in .fusefs: its size is 0, as in procfs, and nothing is cached."""
    entry = EntryAttributes()
    entry.st_ino = ino
    entry.st_mode = control.mode(ino)
    entry.st_nlink = 2 if ino == CONTROL_INO else 1
    entry.st_uid, entry.st_gid = control.uid, control.gid
    entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = time.time_ns()
    entry.entry_timeout = entry.attr_timeout = 0.0
    return entry
