"""mount_tool.py with one fault in the daemon: what the rounds must find.

python -m crash.kill.broken FAULT mount IMAGE MOUNTPOINT ...

commit-skipped      the transaction is never committed
map-overlooked      a commit stores only the inodes whose attributes changed
writeback-skipped   fsync commits without writing back
freed-too-early     a freed block may be used again before the commit that freed it
"""

import sys
from collections.abc import Callable

from fusefs.commands.main import main
from fusefs.model import file_io
from fusefs.model.space import Space, mark_free
from fusefs.store.metadata import Metadata
from fusefs.store.nodes import NodeTable

FAULTS: dict[str, Callable[[], None]] = {}


def fault(function: Callable[[], None]) -> None:
    FAULTS[function.__name__.replace("_", "-")] = function


@fault
def commit_skipped() -> None:
    Metadata.commit = lambda self, last: None


@fault
def map_overlooked() -> None:
    save_changed = NodeTable.save_changed

    def save_some(self):
        self._inodes_changed.clear()
        return save_changed(self)

    NodeTable.save_changed = save_some


@fault
def writeback_skipped() -> None:
    async def nothing(fs, inode, first, end):
        pass

    file_io.writeback_range = nothing


@fault
def freed_too_early() -> None:
    free = Space.free

    def free_at_once(self, runs):
        runs = list(runs)
        free(self, runs)
        mark_free(runs, self.groups)
        self._cursor = min([self._cursor, *(first for first, _ in runs)])

    Space.free = free_at_once


if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
