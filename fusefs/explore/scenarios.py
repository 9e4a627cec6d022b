"""Small cases worth searching: few tasks on one page, and what must hold afterwards."""

from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from fusefs.explore.memory import World
from fusefs.model.buffered import buffered_read
from fusefs.model.dio import direct_read, direct_write
from fusefs.model.file_io import write
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.options import Invalidate
from fusefs.model.steps import Step
from fusefs.model.truncate import fallocate, truncate

VERBS = ("write", "grow", "read", "dread", "store", "punch")

Coro = Coroutine[Step, Any, Any]


class OnePage:
    """Tasks on one file, sparse and as large as its pages; afterwards (D1) must hold.

    If one of them grows the file, it is empty at first, and (D5) must hold for each direct read of
    a block that only its own writer can bring within the size.

    names are the tasks, one word each:

        writeN    direct write of block N, filled with the byte N + 1
        growN     the same, where the file is empty at first
        readN     buffered read of block N
        dreadN    direct read of block N
        storeN    buffered write of block N, filled with the byte N + 1
        punchN    fallocate(PUNCH_HOLE) of block N
        cut       truncate to nothing and back to full size
    """

    def __init__(
        self,
        names: Sequence[str],
        invalidate: Invalidate = Invalidate.AFTER,
        *,
        order: Collection[str] = (),
        block_count: int = 2,
        page_size: int = 1024,
    ) -> None:
        self.world = World(invalidate=invalidate, order=order, block_size=512, page_size=page_size)
        self.size = block_count * 512
        self.grows = any(name.startswith("grow") for name in names)
        self.inode = Inode(1, 0 if self.grows else self.size)
        self.names = names
        self.read_directly: list[tuple[int, bytes]] = []
        self.spawned: list[Coro] = []
        self.watches_lru = False

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
        if verb not in VERBS or not 0 <= block * 512 < self.size:
            raise ValueError(f"'{name}' is no task: cut, or {', '.join(VERBS)} and a block number")
        pos, data = block * 512, bytes([block + 1]) * 512
        makers: dict[str, Callable[[], Coro]] = {
            "write": lambda: direct_write(fs, inode, pos, data),
            "grow": lambda: direct_write(fs, inode, pos, data),
            "read": lambda: buffered_read(fs, OpenFile(inode), pos, 512),
            "dread": lambda: self._read_directly(block),
            "store": lambda: write(fs, OpenFile(inode), pos, data, direct=False, sync=False),
            "punch": lambda: fallocate(fs, inode, 0x03, pos, 512),
        }
        return makers[verb]()

    async def _read_directly(self, block: int) -> None:
        pieces = await direct_read(self.world.fs, self.inode, block * 512, 512)
        self.read_directly.append((block, b"".join(pieces)))

    async def _cut(self) -> None:
        await truncate(self.world.fs, self.inode, 0)
        await truncate(self.world.fs, self.inode, self.size)

    def check(self) -> str | None:
        self.world.check_space([self.inode])
        stale = self.world.stale_blocks(self.inode)
        if stale:
            return f"(D1) cached blocks {stale} disagree with the image"
        for block, found in self.read_directly:
            if self._grows_alone(block) and found.strip(bytes([block + 1])):
                return f"(D5) a direct read of block {block} got what nobody wrote"
        return None

    def _grows_alone(self, block: int) -> bool:
        """Whether zeros in a block within i_size can be nothing but a write's that is half done."""
        changing = [name for name in self.names if not name.startswith(("read", "dread"))]
        return f"grow{block}" in changing and all(
            name.startswith("grow") and int(name.removeprefix("grow")) <= block for name in changing
        )
