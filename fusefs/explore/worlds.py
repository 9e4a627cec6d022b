"""A litmus file on the model: worlds in memory in its first state, with its tasks.

    LitmusCase    what all worlds of one file under some orders have in common
    LitmusWorld   one of them, for one run: a Scenario

The same each time: blocks lie in the order of the file, and nothing depends on time or chance.
Blocks that were never written hold what no file has.

Units: as everywhere; values are text, as fusefs/litmus/test.py has it.
Errors: ValueError for orders that there are not.
"""

from collections.abc import Collection

from fusefs.explore.crash import PendingImage
from fusefs.explore.crash_memory import CrashMemory
from fusefs.explore.memory import MemoryImage
from fusefs.explore.names import NamedWorld
from fusefs.explore.tasks import Action, Coro, Running
from fusefs.explore.values import snapshot
from fusefs.explore.verdicts import Judge, Violation
from fusefs.litmus.reach import MOVES, blocks_of, operations
from fusefs.litmus.test import (
    HOLE,
    UNWRITTEN,
    FileText,
    Litmus,
    Machine,
    Operation,
    Outcome,
    TaskText,
)
from fusefs.model.extents import CHUNK_BLOCKS, ExtentMap
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import Geometry
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.options import Options
from fusefs.model.orders import ROWS
from fusefs.model.space import Space
from fusefs.model.steps import current

CACHE_SIZE = 1 << 40
"""Bytes; of a machine that names no limit."""

SPARE_BLOCKS = 8


class LitmusCase:
    """A litmus file under some orders, ready to be run many times."""

    def __init__(self, litmus: Litmus, orders: Collection[str] = ()) -> None:
        unknown = sorted(set(orders) - ROWS.keys())
        if unknown:
            raise ValueError(f"no order {unknown[0]}: there are {', '.join(ROWS)}")
        self.litmus = litmus
        machine = litmus.machine
        self._geometry = Geometry(machine.block, machine.page)
        self._options = Options(
            order=frozenset(orders),
            page_size=machine.page,
            readahead=machine.readahead,
            cache_size=machine.cache or CACHE_SIZE,
        )
        self.judge = Judge(litmus)
        inos = {file.name: ino for ino, file in enumerate(machine.files, 1)}
        self.actions = [self._actions(number, inos) for number in range(len(litmus.tasks))]
        self._task_names = [task.name for task in litmus.tasks]
        self._opened = [_files_used(task) for task in litmus.tasks]
        self.counts_opens = any(each.word in MOVES for each in operations(litmus.tasks))
        self._block_count = _block_count(litmus)
        self._pages: list[list[tuple[int, bytes]]] = [[] for _ in machine.files]
        self._image = self._first_image()
        self._pages = self._first_pages()

    def world(self) -> "LitmusWorld":
        """A new one, in its first state."""
        current.number = 0
        image: MemoryImage
        if self.litmus.crash:
            image = PendingImage(0)
            image.data += self._image
        else:
            image = MemoryImage.holding(self._image)
        memory = self.memory(image)
        files = [
            {name: OpenFile.opened(memory.names[name]) for name in names} for names in self._opened
        ]
        running = Running(
            memory, self.actions, files, self._task_names, counts_opens=self.counts_opens
        )
        return LitmusWorld(self, memory, running)

    def memory(self, image: MemoryImage) -> NamedWorld:
        """The files in their first states, on an image whose blocks hold their bytes."""
        fs = Filesystem(self._geometry, self._options, Space(self._block_count))
        names, open_counts = {}, {}
        for ino, file in enumerate(self.litmus.machine.files, 1):
            names[file.name] = inode = Inode(ino, file.size, _first_extents(fs.space, file))
            open_counts[ino] = sum(file.name in names for names in self._opened)
            for index, data in self._pages[ino - 1]:
                page = fs.cache.insert_locked(inode.mapping, index)
                page.data[:] = data
                page.blocks_uptodate = self._geometry.page_mask
                page.unlock()
        if isinstance(image, PendingImage):
            return CrashMemory(fs, image, names, open_counts)
        return NamedWorld(fs, image, names, open_counts)

    def _actions(self, number: int, inos: dict[str, int]) -> list[Action]:
        task = self.litmus.tasks[number]
        files = self.judge.files
        return [
            Action(
                *((number, index), task.name, each),
                *(files[inos.get(each.file, 1)].letters, self.litmus.machine.block),
            )
            for index, each in enumerate(task.operations)
        ]

    def _first_image(self) -> bytes:
        """What the disk holds before anybody runs: letters up to each file's end, then zeros."""
        size = self.litmus.machine.block
        memory = self.memory(MemoryImage(size * self._block_count))
        for file in self.litmus.machine.files:
            block, extents = 0, memory.names[file.name].extents
            for run in file.runs:
                if run.state not in (HOLE, UNWRITTEN):
                    content = run.state.encode() * (run.count * size)
                    below = file.size - block * size
                    content = content[:below].ljust(run.count * size, b"\0")
                    for mapping in extents.mappings(block, block + run.count):
                        at = (mapping.block - block) * size
                        part = content[at : at + mapping.count * size]
                        memory.image.write_at(mapping.physical * size, part)
                block += run.count
        return bytes(memory.image.data)

    def _first_pages(self) -> list[list[tuple[int, bytes]]]:
        """The pages of each file that are cached at first, with what a fill finds."""
        memory = self.memory(MemoryImage.holding(self._image))
        page, found = self.litmus.machine.page, []
        for file in self.litmus.machine.files:
            _, disk, _ = snapshot(memory, memory.names[file.name])
            count = blocks_of(0, file.size, page) if file.cached else 0
            found.append(
                [(n, disk[n * page : (n + 1) * page].ljust(page, b"\0")) for n in range(count)]
            )
        return found


class LitmusWorld:
    """One run's: world and tasks(), as a Scenario has them; then what it ended with."""

    def __init__(self, case: LitmusCase, world: NamedWorld, running: Running) -> None:
        self.case = case
        self.world = world
        self.running = running
        self.watches_lru = case.litmus.machine.cache is not None

    @property
    def spawned(self) -> list[Coro]:
        """The ends of asynchronous writes."""
        return self.world.fs.work

    def tasks(self) -> list[Coro]:
        return self.running.tasks()

    # -- when all have ended ---------------------------------------------------------

    def outcome(self) -> Outcome:
        """Each task's results, and of each name its file's cache, disk and size."""
        return self.case.judge.outcome(self.world, self.running.results)

    def violations(self) -> list[Violation]:
        """The rules that were broken, each with a sentence."""
        self.world.evict()
        return self.case.judge.violations(self.world, self.running)

    def check(self) -> str | None:
        """The first of violations(), in one sentence."""
        violations = self.violations()
        return f"{violations[0][0]}: {violations[0][1]}" if violations else None


# -- what is counted once ----------------------------------------------------------------


def _files_used(task: TaskText) -> list[str]:
    """The files that a task has open."""
    used: dict[str, None] = {}
    for each in task.operations:
        if each.file and each.word not in MOVES:
            used[each.file] = None
        if each.word == "copy_range":
            used[each.other] = None
    return list(used)


def _first_extents(space: Space, file: FileText) -> ExtentMap:
    """The map of a file at first, its blocks taken in order."""
    extents, block = ExtentMap(), 0
    for run in file.runs:
        end = block + run.count
        while run.state != HOLE and block < end:
            count = min(end - block, CHUNK_BLOCKS - block % CHUNK_BLOCKS)
            physical, count = space.allocate(count)
            extents.allocate(block, count, physical)
            if run.state != UNWRITTEN:
                extents.convert(block, block + count)
            block += count
        block = end
    return extents


def _block_count(litmus: Litmus) -> int:
    """Blocks of a disk on which no operation can lack room: freed ones need not be used again."""
    held = sum(run.count for file in litmus.machine.files for run in file.runs)
    taken = sum(_blocks_taken(each, litmus.machine) for each in operations(litmus.tasks))
    return 1 + held + taken + SPARE_BLOCKS


def _blocks_taken(operation: Operation, machine: Machine) -> int:
    """The most blocks that it can need: of an append, wherever it begins; of a store through a
    mapping, for all of each page."""
    if operation.word == "mwrite":
        pages = blocks_of(operation.pos, operation.pos + operation.length, machine.page)
        return pages * (machine.page // machine.block)
    return blocks_of(0, operation.length, machine.block) + 1
