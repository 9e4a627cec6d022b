"""A schedule of a litmus file as a story: events of a made-up clock, and what the world then was.

    told()    run a schedule again, and note it

A task is a process, and each of its operations a request; a turn takes story.TURN_NS.  A page's
words are one character for each of its blocks, as fusefs/litmus/test.py has them.

Units: as everywhere.
Errors: AssertionError for a schedule that is none of the file.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Final

from fusefs.engine.events import ASKED, BEGAN, ENDED, GRANTED, NOTHING, Event
from fusefs.explore.answer import task_name
from fusefs.explore.execution import START, Execution, Turn
from fusefs.explore.names import NamedWorld
from fusefs.explore.values import Letters
from fusefs.explore.worlds import LitmusCase, LitmusWorld
from fusefs.litmus.operations import operation_text
from fusefs.litmus.reach import size_max
from fusefs.litmus.test import Litmus, Operation
from fusefs.model.extents import State as MapState
from fusefs.model.inode import Inode
from fusefs.model.locks import RwLock
from fusefs.model.page_cache import Page
from fusefs.show.story import (
    ABSENT,
    BLOCKS,
    CLEAN,
    DIRTY,
    FREE,
    HELD,
    HOLE,
    LOCK,
    LOCKED,
    PAGE,
    STALE,
    TURN_NS,
    UNWRITTEN,
    WRITEBACK,
    WRITTEN,
    ZEROS,
    Lane,
    State,
    States,
    Story,
    joined,
)

REPLY: Final = "reply"

LETTERS_MAX: Final = 8
"""Blocks of a page that are told one by one."""

MAP_KINDS: Final = {
    MapState.HOLE: HOLE,
    MapState.DELALLOC: HOLE,
    MapState.UNWRITTEN: UNWRITTEN,
    MapState.MAPPED: WRITTEN,
}


def told(
    litmus: Litmus,
    orders: Collection[str],
    schedule: Sequence[int],
    *,
    title: str,
    decided: int | None = None,
    why: str = "",
    notes: Sequence[str] = (),
) -> Story:
    """A schedule of a file under some orders.  decided is the number of turns, from 1, after which
    nothing could avoid how it ends; why says that.
    """
    case = LitmusCase(litmus, orders)
    world = case.world()
    execution = Execution(world)
    teller = _Teller(litmus, execution, case, world)
    try:
        for number in schedule:
            teller.turn(number)
    finally:
        execution.close()
    events = teller.events
    critical = None
    if decided and why:
        critical = max(i for i, each in enumerate(events) if each.time_ns < decided * TURN_NS)
    lanes, first, after = teller.lanes()
    return Story(
        title,
        tuple(events),
        {number + 1: task_name(litmus, number) for number in {*schedule, *teller.named}},
        teller.requests,
        teller.files,
        lanes,
        first,
        after,
        critical,
        why,
        tuple(notes),
        in_turns=True,
    )


class _Teller:
    """Notes one run.  requests are the operations by number, as they begin."""

    def __init__(
        self, litmus: Litmus, execution: Execution, case: LitmusCase, world: LitmusWorld
    ) -> None:
        self.execution = execution
        self.events: list[Event] = []
        self.requests: dict[int, str] = {}
        self.files = {n: file.name for n, file in enumerate(litmus.machine.files, 1)}
        self.named = range(len(litmus.tasks))
        self._inos = {name: ino for ino, name in self.files.items()}
        self._operations = [iter(task.operations) for task in litmus.tasks]
        self._under_way: dict[int, tuple[int, Operation | None]] = {}
        self._left: dict[int, Operation | None] = {}
        self._turns = 0
        self._results = world.running.results
        self._told = _World(litmus, case, world.world)
        self.first = self._told.states()
        self.after: list[States] = []

    def turn(self, number: int) -> None:
        """Let a task go, and note that."""
        woken_before = {n for n, task in enumerate(self.execution.tasks) if task.waits}
        turn = self.execution.turn(number)
        time_ns = self._turns * TURN_NS
        self._turns += 1
        task = self.execution.tasks[number]
        before = self.after[-1] if self.after else self.first
        if turn.name == REPLY:
            self._end(number, time_ns)
            self.after.append(before)
        if turn.name in (START, REPLY):
            self._begin(number, time_ns)
        else:
            self._note(number, time_ns, GRANTED, turn.name, turn)
        for other in turn.woke:  # or started
            self._left.setdefault(other, self._under_way[number][1])
        self.after.append(self._told.states())
        if task.returned:
            self._end(number, time_ns)
            self.after.append(self.after[-1])
        elif task.waits and number not in woken_before and task.step is not None:
            waiter = task.step.waiter
            owner = self._under_way.get(waiter.owner - 1) if waiter is not None else None
            self._note(number, time_ns, ASKED, task.step.name, None, str(owner[0] if owner else 0))
            self.after.append(self.after[-1])

    def _begin(self, number: int, time_ns: int) -> None:
        request, count = len(self.requests) + 1, len(self._operations)
        if number < count:
            operation = next(self._operations[number], None)
            self.requests[request] = operation_text(operation) if operation else "end"
        else:  # the end of what a task has begun, which may have gone on since
            operation = self._left[number]
            what = f" of {operation_text(operation)}" if operation else ""
            self.requests[request] = f"end{what}"
        self._under_way[number] = request, operation
        self._note(number, time_ns, BEGAN, NOTHING, None)

    def _end(self, number: int, time_ns: int) -> None:
        _, operation = self._under_way[number]
        detail = NOTHING
        if number < len(self._operations) and operation is not None and operation.result:
            name = task_name(self._told.litmus, number)
            detail = self._results.get(("", f"{name}.{operation.result}"), NOTHING)
        self._note(number, time_ns, ENDED, REPLY, None, detail)

    def _note(
        self,
        number: int,
        time_ns: int,
        what: str,
        step: str,
        turn: Turn | None,
        detail: str = NOTHING,
    ) -> None:
        request, operation = self._under_way[number]
        pos = length = 0
        word, ino = "work", 0
        if operation is not None:
            if number < len(self._operations):
                word = operation.word
            pos, length = operation.pos, operation.length
            ino = self._inos.get(operation.file, 0)
        if turn is not None:
            pos, length = turn.pos, turn.length
        where = pos, length
        self.events.append(
            Event(time_ns, number + 1, word, ino, step, *where, request, what, detail)
        )

    def lanes(self) -> tuple[tuple[Lane, ...], States, tuple[States, ...]]:
        """Those in which something happened, blocks alike in all of it as one."""
        histories = [tuple(states) for states in zip(self.first, *self.after, strict=True)]
        pairs = enumerate(zip(self._told.lanes, histories, strict=True))
        kept = [n for n, (lane, own) in pairs if lane.kind == BLOCKS or len(set(own)) > 1]
        left, lanes = joined([self._told.lanes[n] for n in kept], [histories[n] for n in kept])
        kept = [kept[n] for n in left]
        return (
            tuple(lanes),
            tuple(self.first[at] for at in kept),
            tuple(tuple(states[at] for at in kept) for states in self.after),
        )


class _World:
    """Pages, blocks and locks of a world in words, whoever runs."""

    def __init__(self, litmus: Litmus, case: LitmusCase, world: NamedWorld) -> None:
        self.litmus = litmus
        self.world = world
        self._block, self._page = litmus.machine.block, litmus.machine.page
        self._files = [
            (
                file.name,
                world.names[file.name],
                case.judge.files[ino].letters,
                size_max(litmus.machine.files, litmus.tasks, file.name),
            )
            for ino, file in enumerate(litmus.machine.files, 1)
        ]
        self.lanes = list(self._lanes())

    def _lanes(self) -> list[Lane]:
        lanes = []
        for name, _, _, size in self._files:
            lanes += [Lane(PAGE, name, str(n)) for n in range(-(-size // self._page))]
            starts = range(0, size, self._block)
            lanes += [Lane(BLOCKS, name, f"{start}+{self._block}") for start in starts]
            lanes += [Lane(LOCK, name, lock) for lock in ("i_rwsem", "invalidate_lock")]
        return lanes

    def states(self) -> States:
        found: list[State] = []
        for _, inode, letters, size in self._files:
            pages = range(-(-size // self._page))
            found += [self._page_state(inode, letters, n) for n in pages]
            found += [self._blocks_state(inode, letters, n) for n in range(-(-size // self._block))]
            found += [_lock_state(inode.lock), _lock_state(inode.mapping.lock)]
        return tuple(found)

    def _page_state(self, inode: Inode, letters: Letters, index: int) -> State:
        page = inode.mapping.pages.get(index)
        if page is None:
            return State(ABSENT, "not there")
        words = self._page_words(page, letters)
        if page.writeback:
            return State(WRITEBACK, f"writeback {words}")
        if page.blocks_dirty:
            return State(DIRTY, f"dirty {words}")
        if not page.blocks_uptodate:
            return State(LOCKED, "locked" if page.locked else "empty")
        first = index * self._page // self._block
        stale = self.world.stale_blocks(inode)
        if any(first <= block < first + self._page // self._block for block in stale):
            return State(STALE, f"stale {words}")
        return State(ZEROS if not any(memoryview(page.data)) else CLEAN, words)

    def _page_words(self, page: Page, letters: Letters) -> str:
        size = self._block
        return short_runs(
            letters.character(bytes(memoryview(page.data)[bit * size : (bit + 1) * size]))
            if page.blocks_uptodate >> bit & 1
            else "-"
            for bit in range(self._page // size)
        )

    def _blocks_state(self, inode: Inode, letters: Letters, block: int) -> State:
        mapping = inode.extents.find(block, block + 1)
        kind = MAP_KINDS[mapping.state]
        if mapping.state in (MapState.HOLE, MapState.DELALLOC):
            return State(kind, mapping.state.value)
        data = self.world.image.read_at(mapping.physical * self._block, self._block)
        held = letters.character(data)
        return State(kind, held if kind == WRITTEN else f"unwritten, {held}")


def short_runs(characters: Iterable[str]) -> str:
    """Characters of blocks, long runs of one as a file says them: a*12 0*4."""
    runs = [(character, len([*run])) for character, run in groupby(characters)]
    if sum(count for _, count in runs) <= LETTERS_MAX:
        return "".join(character * count for character, count in runs)
    return " ".join(f"{character}*{count}" if count > 1 else character for character, count in runs)


def _lock_state(lock: RwLock) -> State:
    if lock.held_exclusive:
        return State(HELD, "exclusive")
    return State(HELD, "shared") if lock.held_shared else State(FREE, "free")
