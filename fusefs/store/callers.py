"""Who sent a request, as far as rights depend on it.

Capabilities are not in a request: root stands for CAP_FSETID, and must have CAP_SYS_ADMIN by
/proc where that is asked for.  Nor are supplementary groups; they are read from /proc, and a
caller that cannot be found there has none.
"""

import re
import stat
from typing import Protocol

from fusefs.store.node import Node

CAP_SYS_ADMIN = 21


class Caller(Protocol):
    """What a request says: Request of the extension."""

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def pid(self) -> int: ...


def may_keep_setgid(caller: Caller, node: Node) -> bool:
    """in_group_or_capable(): the caller is root, or a member of the file's group."""
    return caller.uid == 0 or caller.gid == node.gid or node.gid in _other_groups(caller.pid)


def is_sys_admin(caller: Caller) -> bool:
    """capable(CAP_SYS_ADMIN): in a container root may lack it, and who can set it is not seen."""
    return caller.uid == 0 and bool(_capabilities(caller.pid) >> CAP_SYS_ADMIN & 1)


def drop_privileges(caller: Caller, node: Node) -> None:
    """setattr_should_drop_suidgid(): nobody changes a program and inherits its rights.

    Without S_IXGRP the setgid bit gives no right; then it stays for a member of the group.
    """
    if not caller.uid:
        return
    node.mode &= ~stat.S_ISUID
    if node.mode & stat.S_IXGRP or (node.mode & stat.S_ISGID and not may_keep_setgid(caller, node)):
        node.mode &= ~stat.S_ISGID


def _capabilities(pid: int) -> int:
    """The effective ones, as a bitmap; all if the caller cannot be found."""
    found = _status(pid, "CapEff")
    return -1 if found is None else int(found, 16)


def _other_groups(pid: int) -> set[int]:
    return {int(gid) for gid in (_status(pid, "Groups") or "").split()}


def _status(pid: int, field: str) -> str | None:
    """A line of what /proc says of a process; None if it cannot be found."""
    try:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(rf"^{field}:[ \t]*(.*)$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None
