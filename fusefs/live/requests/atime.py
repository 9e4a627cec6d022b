"""When reading moves atime: relatime, and the mount options that say otherwise.

    relatime       the default: if atime is not newer than the last change, or a day old
    strictatime    always
    noatime, ro    never
    nodiratime     not that of a directory

Units: times are nanoseconds since 1970.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not compiled: see setup.py
    from fusefs.store.node import Node
    from fusefs.store.nodes import NodeTable

FLAGS = ("ro", "noatime", "strictatime", "nodiratime")

RELATIME_AGE_NS = 24 * 3600 * 1_000_000_000


class Atime:
    """The rule of one mount."""

    def __init__(self, nodes: "NodeTable", flags: Collection[str]) -> None:
        self._nodes = nodes
        self.set_flags(flags)

    def set_flags(self, flags: Collection[str]) -> None:
        """Mount options, of which those named above count; the others may be any."""
        self.flags = [flag for flag in FLAGS if flag in flags]
        self._never = bool({"ro", "noatime"}.intersection(flags))
        self._never_of_directories = "nodiratime" in flags
        self._always = "strictatime" in flags

    def touch(self, node: "Node", now_ns: int) -> None:
        """Somebody reads it: touch_atime()."""
        if self.moves(node, now_ns):
            node.atime_ns = now_ns
            self._nodes.mark_changed(node)

    def moves(self, node: "Node", now_ns: int) -> bool:
        """Whether a read now would move it: atime_needs_update()."""
        if self._never or (self._never_of_directories and node.is_directory):
            return False
        atime = node.atime_ns
        return (
            self._always
            or atime <= node.mtime_ns
            or atime <= node.ctime_ns
            or now_ns - atime > RELATIME_AGE_NS
        ) and not self._nodes.metadata.health.failure  # else nothing can be stored any more
