"""Who sent a request, as far as rights depend on it.

Capabilities are not in a request: root stands for CAP_FSETID.  Nor are supplementary
groups; they are read from /proc, and a caller that cannot be found there has none.
"""

import stat
from typing import Protocol

import pyfuse3

from fusefs.live.nodes import Node


class Caller(Protocol):
    """What a request says: RequestContext of pyfuse3, and Request of the extension."""

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def pid(self) -> int: ...


def may_keep_setgid(caller: Caller, node: Node) -> bool:
    """in_group_or_capable(): the caller is root, or a member of the file's group."""
    return caller.uid == 0 or caller.gid == node.gid or node.gid in _other_groups(caller.pid)


def drop_privileges(caller: Caller, node: Node) -> None:
    """setattr_should_drop_suidgid(): nobody changes a program and inherits its rights.

    Without S_IXGRP the setgid bit gives no right; then it stays for a member of the group.
    """
    if not caller.uid:
        return
    node.mode &= ~stat.S_ISUID
    if node.mode & stat.S_IXGRP or (node.mode & stat.S_ISGID and not may_keep_setgid(caller, node)):
        node.mode &= ~stat.S_ISGID


def _other_groups(pid: int) -> set[int]:
    try:
        groups: set[int] = pyfuse3.get_sup_groups(pid)
    except (OSError, RuntimeError):
        return set()
    return groups
