"""Small cases worth searching: few tasks on one page, and what must hold afterwards."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fusefs.explore.memory import World
from fusefs.model.buffered import buffered_read
from fusefs.model.dio import direct_read, direct_write
from fusefs.model.file_io import write
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.options import Invalidate
from fusefs.model.steps import Step
from fusefs.model.truncate import fallocate, truncate

VERBS = ("write", "read", "dread", "store", "punch")

Coro = Coroutine[Step, Any, Any]


class OnePage:
    """Tasks on one file, sparse and as large as its pages; afterwards (D1) must hold.

    names are the tasks, one word each:

        writeN    direct write of block N, filled with the byte N + 1
        readN     buffered read of block N
        dreadN    direct read of block N
        storeN    buffered write of block N, filled with the byte N + 1
        punchN    fallocate(PUNCH_HOLE) of block N
        cut       truncate to nothing and back to full size
    """

    def __init__(
        self,
        names: Sequence[str],
        invalidate: Invalidate,
        *,
        block_count: int = 2,
        page_size: int = 1024,
    ) -> None:
        self.world = World(invalidate=invalidate, block_size=512, page_size=page_size)
        self.inode = Inode(1, block_count * 512)
        self.names = names

    def close(self) -> None:
        """Make the tasks and drop them: ValueError if a name is none."""
        for task in self.tasks():
            task.close()

    def tasks(self) -> list[Coro]:
        return [self._task(name) for name in self.names]

    def _task(self, name: str) -> Coro:
        fs, inode = self.world.fs, self.inode
        if name == "cut":
            return self._cut()
        verb, digits = name.rstrip("0123456789"), name.lstrip("abcdefghijklmnopqrstuvwxyz")
        block = int(digits) if verb + digits == name and digits else -1
        if verb not in VERBS or not 0 <= block * 512 < inode.size:
            raise ValueError(f"'{name}' is no task: cut, or {', '.join(VERBS)} and a block number")
        pos, data = block * 512, bytes([block + 1]) * 512
        makers: dict[str, Callable[[], Coro]] = {
            "write": lambda: direct_write(fs, inode, pos, data),
            "read": lambda: buffered_read(fs, OpenFile(inode), pos, 512),
            "dread": lambda: direct_read(fs, inode, pos, 512),
            "store": lambda: write(fs, OpenFile(inode), pos, data, direct=False, sync=False),
            "punch": lambda: fallocate(fs, inode, 0x03, pos, 512),
        }
        return makers[verb]()

    async def _cut(self) -> None:
        size = self.inode.size
        await truncate(self.world.fs, self.inode, 0)
        await truncate(self.world.fs, self.inode, size)

    def check(self) -> str | None:
        self.world.check_space([self.inode])
        stale = self.world.stale_blocks(self.inode)
        if stale:
            return f"(D1) cached blocks {stale} disagree with the image"
        return None
