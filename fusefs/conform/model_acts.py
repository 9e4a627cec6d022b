"""The model's turns, as acts: what the kernel's trace would tell of them.

    Watched     a run of the model that tells the acts of each turn

What a step says it is about to do is an act, if the kernel's trace tells of it; what else a turn
has done is seen by looking before and after: pages that came or went, blocks that were converted.
Locks are told by footprints.

Units: as in acts.py.
"""

from collections.abc import Iterator
from typing import Final

from fusefs.conform import acts
from fusefs.conform.acts import Act
from fusefs.explore.execution import Execution, Turn
from fusefs.explore.tasks import REPLY
from fusefs.explore.worlds import LitmusCase, LitmusWorld
from fusefs.litmus.test import Operation
from fusefs.model.chunk import MAPPED
from fusefs.model.footprint import DIRTY, LOCK, Footprint, key
from fusefs.model.inode import Inode
from fusefs.model.page_cache import Page
from fusefs.model.steps import READ_IMAGE, Step

Stream = tuple[int, int]
"""A task, and the place of the asynchronous write whose end it is; -1 for the task itself."""

FOLIO_ORDER_MAX: Final = 9
"""Of XFS on x86: MAX_PAGECACHE_ORDER, 2 MiB."""

_SUBMITTED: Final = frozenset(("dio.write.map", "dio.write.submit"))
"""What follows a map that a direct write makes use of."""

_ZEROING: Final = frozenset(("zero.fill", "lock.page"))
"""What follows a zero.map that found something to zero, if that is not done at once."""

_FILLS: Final = frozenset(("buffered.read.fill", "buffered.write.fill", "zero.fill"))


class Watched:
    """A run.  turn() lets a task go, and has the acts of that turn, and whose they are."""

    def __init__(self, case: LitmusCase) -> None:
        self.world: LitmusWorld = case.world()
        self.world.world.fs.guards_disk_end = False
        self.world.world.fs.folio_order_max = FOLIO_ORDER_MAX
        self.execution = Execution(self.world)
        self._block = case.litmus.machine.block
        self._page = case.litmus.machine.page
        self._tasks = case.litmus.tasks
        self._inodes = dict(self.world.world.names)
        self._names = {inode.ino: name for name, inode in self._inodes.items()}
        self._count = len(self._tasks)
        self._sizes = [0] * self._count
        self._returned: set[tuple[int, int]] = set()
        self._writable: dict[tuple[int, int, int], Page] = {}
        self._places = [-1] * self._count
        self._ends: dict[int, Stream] = {}
        self._locks = {
            key(LOCK, inode.ino, number): (inode.ino, name)
            for inode in self._inodes.values()
            for number, name in enumerate(("inode", "mapping"))
        }

    def stream(self, number: int) -> Stream:
        """Whose acts those of a task of the run are."""
        return (number, -1) if number < self._count else self._ends[number]

    def close(self) -> None:
        self.execution.close()

    def turn(self, number: int, footprint: Footprint) -> tuple[Turn, list[Act]]:
        task = self.execution.tasks[number]
        step = task.step
        begins = number < self._count and (step is None or step.name == REPLY)
        before = self._pages()
        seen = [] if step is None else list(self._before(number, step))
        converted = self._unwritten(number, step) if step is not None else []
        turn = self.execution.turn(number, footprint)
        for started in turn.woke:
            if started >= self._count and started not in self._ends:
                self._ends[started] = (number % self._count, self._places[number % self._count])
        found: list[Act] = []
        if begins:
            found += self._begin(number)
        after = task.step
        if step is not None:
            found += seen
            found += self._after(number, step, after, footprint)
            found += [each for each in converted if self._is_converted(number, step, each)]
        found += self._page_acts(before)
        found += self._lock_acts(number, footprint)
        if number < self._count and after is not None and self._has_returned(number, after):
            found += self._return(number)
        return turn, found

    # -- the ends of a request ---------------------------------------------------------

    def _operation(self, number: int) -> Operation | None:
        task, place = self.stream(number)
        if place < 0:
            place = self._places[task]
        operations = self._tasks[task].operations
        return operations[place] if 0 <= place < len(operations) else None

    def _begin(self, number: int) -> Iterator[Act]:
        """The next operation; after the last one, there is none."""
        begun = [place for task, place in self.world.running.begun if task == number]
        if begun and begun[-1] != self._places[number]:
            self._places[number] = begun[-1]
            yield self._edge(acts.BEGIN, number)

    def _has_returned(self, number: int, after: Step) -> bool:
        """At its reply; or where its task ends with a write in flight, and waits for that."""
        operation = self._operation(number)
        in_flight = operation is not None and bool(operation.handle)
        return after.name == REPLY or (in_flight and after.name == "dio.write.reap")

    def _return(self, number: int) -> Iterator[Act]:
        place = number, self._places[number]
        if place[1] >= 0 and place not in self._returned:
            self._returned.add(place)
            yield self._edge(acts.RETURN, number)

    def _edge(self, kind: str, number: int) -> Act:
        place = self._places[number]
        return acts.edge(kind, self._tasks[number].operations[place], place)

    # -- what a step tells -------------------------------------------------------------

    def _inode(self, number: int, step: Step) -> Inode | None:
        """The file that a step is about: of a copy's two, by which half of it that is."""
        if step.inode is not None:
            return self._inodes.get(self._names[step.inode.ino])
        operation = self._operation(number)
        if operation is None:
            return None
        writes = operation.word == "copy_range" and not step.name.startswith("buffered.read")
        return self._inodes.get(operation.other if writes else operation.file)

    def _before(self, number: int, step: Step) -> Iterator[Act]:
        """What can only be seen before the step is granted, and what needs no look."""
        inode = self._inode(number, step)
        if inode is None:
            return
        pos, end = step.pos, step.pos + step.length
        name = step.name
        if name == "buffered.read.map":
            yield from self._maps(acts.FILL_MAP, inode, pos, end)
        elif name == "dio.read.map":
            block, stop = pos // self._block, -(-end // self._block)
            mapping = inode.extents.find(block, stop)
            readable = -(-inode.size // self._block) * self._block
            end = min(mapping.end * self._block, end, readable)
            yield Act(acts.DIO_MAP, inode.ino, pos, end, mapping.state.value)
        elif name == "dio.read.submit":
            operation = self._operation(number)
            assert operation is not None
            whole = min(-(-end // self._block) * self._block, operation.pos + operation.length)
            yield Act(acts.DIO_READ, inode.ino, pos, whole)
        elif name in _FILLS and step.kind is READ_IMAGE:
            yield from self._missing(inode, pos, end)
        elif name == "dio.write.submit":
            yield self._submission(inode, step)
        elif name == "writeback.submit":
            assert step.data is not None
            self._writable.clear()
            yield Act(acts.WB_WRITE, inode.ino, pos, pos + len(step.data))
        elif name == "dio.write.convert":
            yield Act(acts.CONVERT, inode.ino, pos, end, f"size {inode.size}")
        elif name == "truncate.drop_pages":
            self._sizes[number] = inode.size
        elif name == "truncate.free" and (self._sizes[number] or inode.extents.blocks_allocated):
            yield Act(acts.FREE, inode.ino, state=f"beyond {pos}")
        elif name == "fallocate.free":
            first, stop = -(-pos // self._block), end // self._block
            if first < stop:
                yield Act(acts.PUNCH, inode.ino, first * self._block, stop * self._block)
        elif name == "fallocate.allocate":
            yield Act(acts.ALLOC, inode.ino)

    def _after(
        self, number: int, step: Step, after: Step | None, footprint: Footprint
    ) -> Iterator[Act]:
        """What ->iomap_begin() of a write has found, or made; and whether an edge is zeroed."""
        if step.name == "buffered.write.map":
            end = step.pos + step.length
            if not self._stores_again(number, step):
                yield from self._maps(acts.WRITE_MAP, step.inode, step.pos, end)
        elif step.name == "zero.map":
            yield from self._zeroed(step, after, footprint)
        elif step.name == "dio.write.map" and after is not None and after.name in _SUBMITTED:
            tries_again = any(mode == "exclusive" for _, mode in footprint.locks)
            if not tries_again:
                end = step.pos + step.length
                first = next(self._maps(acts.DIO_MAP, step.inode, step.pos, end))
                yield first._replace(end=min(first.end, end))

    def _stores_again(self, number: int, step: Step) -> bool:
        """A task's further store into a page that it has made writable is no fault.

        Until the page is written back, or another one has come into its place.
        """
        operation = self._operation(number)
        if operation is None or operation.word != "mwrite":
            return False
        place = number, step.inode.ino, step.pos // self._page
        page = step.inode.mapping.pages.get(place[2])
        again = page is not None and self._writable.get(place) is page
        if page is not None:
            self._writable[place] = page
        return again

    def _maps(self, kind: str, inode: Inode, pos: int, end: int) -> Iterator[Act]:
        size = self._block
        for mapping in inode.extents.mappings(pos // size, -(-end // size)):
            start, stop = max(pos, mapping.block * size), mapping.end * size
            yield Act(kind, inode.ino, start, stop, mapping.state.value)

    def _zeroed(self, step: Step, after: Step | None, footprint: Footprint) -> Iterator[Act]:
        """A page became dirty, or is filled or waited for first; else it reads as zeros already."""
        ino = step.inode.ino
        if key(DIRTY, ino) in footprint.adds or (after is not None and after.name in _ZEROING):
            yield Act(acts.ZERO, ino, step.pos, step.pos + step.length)

    def _missing(self, inode: Inode, pos: int, end: int) -> Iterator[Act]:
        """A bio reads what of a page is not uptodate; the model reads all, and copies that."""
        per_page = self._page // self._block
        for block in range(pos // self._block, -(-end // self._block)):
            page = inode.mapping.pages.get(block // per_page)
            if page is None or not page.blocks_uptodate >> block % per_page & 1:
                start = block * self._block
                yield Act(acts.FILL_READ, inode.ino, start, start + self._block)

    def _submission(self, inode: Inode, step: Step) -> Act:
        """The bytes of a direct write, with the zeros around them."""
        assert step.data is not None
        block = step.pos // self._block
        mapping = inode.extents.find(block, block + 1)
        at = mapping.physical * self._block + step.pos - block * self._block
        start = step.pos - (at - step.addr)
        return Act(acts.DIO_WRITE, inode.ino, start, start + len(step.data))

    # -- what a look before and after tells --------------------------------------------

    def _pages(self) -> dict[int, frozenset[int]]:
        return {inode.ino: frozenset(inode.mapping.pages) for inode in self._inodes.values()}

    def _page_acts(self, before: dict[int, frozenset[int]]) -> Iterator[Act]:
        for ino, pages in self._pages().items():
            for kind, indices in (
                (acts.DROP, before[ino] - pages),
                (acts.ADD, pages - before[ino]),
            ):
                for index in sorted(indices):
                    yield Act(kind, ino, index * self._page, (index + 1) * self._page)

    def _unwritten(self, number: int, step: Step) -> list[Act]:
        """The blocks that the end of a writeback may convert."""
        inode = self._inode(number, step)
        if step.name != "writeback.convert" or inode is None:
            return []
        return [
            act._replace(kind=acts.WB_CONVERT, start=start, end=start + self._block, state="")
            for act in self._maps(acts.FILL_MAP, inode, step.pos, step.pos + step.length)
            if act.state == "unwritten"
            for start in range(act.start, act.end, self._block)
        ]

    def _is_converted(self, number: int, step: Step, act: Act) -> bool:
        inode = self._inode(number, step)
        assert inode is not None
        block = act.start // self._block
        return inode.extents.find(block, block + 1).state is MAPPED

    def _lock_acts(self, number: int, footprint: Footprint) -> Iterator[Act]:
        """Of the mapping's lock only the exclusive ones are told, and of truncate's only that."""
        operation = self._operation(number)
        word = "" if operation is None else operation.word
        for shared, mode in footprint.locks:
            ino, name = self._locks.get(shared, (0, ""))
            if name == "inode" and word != "truncate":
                yield Act(acts.LOCK, ino, state=f"inode {mode}")
            elif name == "mapping" and mode == "exclusive":
                yield Act(acts.LOCK, ino, state="mapping exclusive")
