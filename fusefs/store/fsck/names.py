"""What fsck looks for in names: that each leads somewhere, and all directories to the root.

Invariants: (K1) of check.py.
"""

import os
import stat
from dataclasses import dataclass

from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import DOT_COOKIES, ROOT_INO

DEPTH_MAX = 256
"""Names in a path that is told; what lies deeper, or in a cycle, goes by its number."""

CYCLE_LISTED_MAX = 20

Statement = tuple[str, *tuple[int | bytes | str, ...]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; repairs is empty if that would be a guess."""

    kind: str
    inode: int | None
    message: str
    repairs: tuple[Statement, ...] = ()

    @property
    def key(self) -> tuple[str, int | None, str]:
        return self.kind, self.inode, self.message


class NameCheck:
    """The findings of one check, and the part of it that looks at names."""

    def __init__(self, metadata: Metadata) -> None:
        self.query = metadata.query
        self.found: list[Finding] = []

    def find(self, kind: str, ino: int | None, message: str, *repairs: Statement) -> None:
        self.found.append(Finding(kind, ino, message, repairs))

    def find_at(self, kind: str, ino: int, message: str, *repairs: Statement) -> None:
        """The message goes on after the inode and its path."""
        self.find(kind, ino, f"{self.where(ino)} {message}", *repairs)

    def where(self, ino: int) -> str:
        """An inode, with the path that leads to it if there is one."""
        names: list[bytes] = []
        at = ino
        while at != ROOT_INO:
            rows = self.query("SELECT parent, name FROM dentry WHERE ino = ? LIMIT 1", at)
            if not rows or len(names) == DEPTH_MAX:
                return f"inode {ino}"
            at, name = rows[0]
            names.append(name)
        return f"inode {ino} ({os.fsdecode(b'/' + b'/'.join(reversed(names)))!r})"

    def check_names(self) -> None:
        for parent, name, ino, mode, cookie, exists in self.query(
            "SELECT d.parent, d.name, d.ino, p.mode, d.cookie, i.ino IS NOT NULL FROM dentry AS d"
            " LEFT JOIN inode AS p ON p.ino = d.parent LEFT JOIN inode AS i ON i.ino = d.ino"
            " WHERE i.ino IS NULL OR p.ino IS NULL OR (p.mode & 61440) <> 16384"
            f" OR d.cookie <= {DOT_COOKIES} OR d.name IN (x'2e', x'2e2e') OR instr(d.name, x'2f')"
            " OR instr(d.name, x'00') OR length(d.name) NOT BETWEEN 1 AND 255"
        ):
            text = f"the name {os.fsdecode(name)!r} in {self.where(parent)}"
            if not exists:
                message = f"{text} leads to inode {ino}, which is not there; restore it from a copy"
                self.find("dangling", ino, message)
            elif mode is None or not stat.S_ISDIR(mode & 0xFFFF):
                message = f"{text}, which is no directory, leads to inode {ino}; restore it"
                self.find("parent", ino, message)
            else:
                message = f"{text} (cookie {cookie}) cannot be a name; restore it from a copy"
                self.find("name", ino, message)

    def check_tree(self) -> None:
        """Directories with a name that no path from the root leads to."""
        seen: set[int] = set()
        in_cycle: set[int] = set()
        for (ino,) in self.query(
            "WITH RECURSIVE reached (ino) AS (VALUES (1) UNION SELECT d.ino FROM reached"
            "  JOIN dentry AS d ON d.parent = reached.ino JOIN inode AS i ON i.ino = d.ino"
            "  WHERE (i.mode & 61440) = 16384)"
            " SELECT ino FROM inode WHERE (mode & 61440) = 16384 AND ino NOT IN reached"
            " AND ino IN (SELECT ino FROM dentry) ORDER BY ino"
        ):
            above: dict[int, None] = {}
            at: int | None = ino
            while at is not None and at not in above and at not in seen:
                above[at] = None
                rows = self.query("SELECT parent FROM dentry WHERE ino = ? LIMIT 1", at)
                at = rows[0][0] if rows else None
            seen.update(above)
            if at in above:
                held = list(above)
                cycle = held[held.index(at) :]
                in_cycle.update(cycle)
                listed = " in ".join(str(each) for each in [*cycle, at][:CYCLE_LISTED_MAX])
                message = f"directories hold each other: inode {listed}; restore a name from a copy"
                self.find("cycle", min(cycle), message)
            if ino not in in_cycle:
                message = f"directory inode {ino} cannot be reached from the root; restore its path"
                self.find("unreachable", ino, message)
