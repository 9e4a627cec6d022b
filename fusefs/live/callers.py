"""Who sent a request, as far as a change of rights depends on it.

Capabilities are not in a request: root stands for CAP_FSETID.  Nor are supplementary
groups; they are read from /proc, and a caller that cannot be found there has none.
"""

import pyfuse3


def may_keep_setgid(uid: int, gid: int, pid: int, group: int) -> bool:
    """in_group_or_capable(): the caller is root, or a member of the file's group."""
    return uid == 0 or gid == group or group in _supplementary_groups(pid)


def _supplementary_groups(pid: int) -> set[int]:
    try:
        groups: set[int] = pyfuse3.get_sup_groups(pid)
    except (OSError, RuntimeError):
        return set()
    return groups
