"""The tasks of a litmus file as coroutines on a world, and what they found.

    Action     an operation, with what can be prepared of it once for many runs
    Running    the tasks of one run

Each task has the files that it uses open from the beginning until it has ended; its end waits for
its asynchronous writes, as exit(2) does.  Between two operations others may go first: there is the
step "reply", which is the end of the first of the two.

A write with append is at the end of the file that nobody else can move meanwhile: it excludes all
others that change the size, as the kernel's FUSE has it.  The lock for that is there only in files
that have such a write.

Units: as everywhere; results are text, as fusefs/litmus/test.py has it.
Errors: an operation's FsError is its result.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from fusefs.explore.kept import Place
from fusefs.explore.names import NamedWorld
from fusefs.explore.values import Letters
from fusefs.litmus.reach import EXTENDS, result_blocks
from fusefs.litmus.test import Operation
from fusefs.model import file_io, truncate
from fusefs.model.errors import FsError
from fusefs.model.footprint import ENDED, key
from fusefs.model.inode import OpenFile
from fusefs.model.locks import RwLock
from fusefs.model.steps import Step, Waiter, current, reach, wait

Coro = Coroutine[Step, Any, Any]

REPLY: Final = "reply"
WAIT: Final = "task.wait"
REAP: Final = "aio.reap"


class Action:
    """An operation that is run again and again.

    key      by which outcomes have its result; None if nobody wants it
    data     what a write writes
    letters  how the bytes of its file are told
    count    characters of a read's result
    """

    __slots__ = ("count", "data", "key", "letters", "operation", "place")

    def __init__(
        self, place: Place, task: str, operation: Operation, letters: Letters, block: int
    ) -> None:
        self.place = place
        self.operation = operation
        self.key = ("", f"{task}.{operation.result}") if operation.result else None
        self.data = operation.value.encode() * operation.length
        self.letters = letters
        self.count = result_blocks(operation, block)


class Ending:
    """Of a task, or of an asynchronous write: whether it came, with what, and who waits for it."""

    __slots__ = ("_key", "_name", "_owner", "_waiters", "value")

    def __init__(self, name: str, place: Place, owner: int) -> None:
        self.value: str | None = None
        self._name = name
        self._key = key(ENDED, 0, (place[0] << 12) + place[1] + 1)
        self._owner = owner
        self._waiters: list[Waiter] = []

    def come(self, value: str) -> None:
        if current.footprint is not None:
            current.footprint.write(self._key)
        self.value = value
        for waiter in self._waiters:
            waiter.wake()

    async def waited(self) -> str:
        """Its value, once it has come."""
        if current.footprint is not None:
            current.footprint.read(self._key)
        if self.value is None:
            waiter = Waiter(self._owner)
            self._waiters.append(waiter)
            await wait(self._name, waiter)
        assert self.value is not None
        return self.value


class ForeignRead:
    """A read got bytes that nobody wrote into the file."""

    __slots__ = ("action", "ranges")

    def __init__(self, action: Action, ranges: list[tuple[int, int]]) -> None:
        self.action = action
        self.ranges = ranges


class Running:
    """The tasks of one run.

    files           of each task, the open files by name
    append_locks    of each file that somebody appends to
    counts_opens    whether a file's last close matters, as it may have no name
    spawned         what the last turn started; whoever takes it empties the list
    results         by the keys of outcomes
    complete        the operations that have changed all that they could
    positions       where appends began to write
    foreign_reads   what the rule "foreign" forbids
    """

    def __init__(
        self,
        world: NamedWorld,
        actions: Sequence[Sequence[Action]],
        files: Sequence[Mapping[str, OpenFile]],
        names: Sequence[str],
        append_locks: Mapping[str, RwLock],
        *,
        counts_opens: bool,
    ) -> None:
        self.world = world
        self.spawned: list[Coro] = []
        self.results: dict[tuple[str, str], str] = {}
        self.complete: set[Place] = set()
        self.positions: dict[Place, int] = {}
        self.foreign_reads: list[ForeignRead] = []
        self._actions = actions
        self._files = files
        self._append_locks = append_locks
        self._counts_opens = counts_opens
        self._endings = {
            name: Ending(WAIT, (number, -1), number + 1) for number, name in enumerate(names)
        }

    def tasks(self) -> list[Coro]:
        """New coroutines, in the order of the file."""
        return [self._task(number, ending) for number, ending in enumerate(self._endings.values())]

    async def _task(self, number: int, ending: Ending) -> None:
        in_flight: dict[str, Ending] = {}
        previous: Operation | None = None
        for action in self._actions[number]:
            if previous is not None:
                await reach(REPLY, previous.pos, previous.length)
            previous = action.operation
            value = await self._value(number, action, in_flight)
            if action.key is not None:
                self.results[action.key] = value
        for aio in in_flight.values():
            await aio.waited()
        if self._counts_opens:
            for file in self._files[number].values():
                self.world.close(file.inode)
        ending.come("0")

    async def _value(self, number: int, action: Action, in_flight: dict[str, Ending]) -> str:
        operation = action.operation
        if operation.word == "wait":
            return await self._endings[operation.other].waited()
        if operation.word == "reap":
            return await in_flight[operation.other].waited()
        if operation.handle:
            ending = in_flight[operation.handle] = Ending(REAP, action.place, 0)
            self.spawned.append(self._request(number, action, ending))
            return "0"
        return await self._perform(number, action)

    async def _request(self, number: int, action: Action, ending: Ending) -> None:
        """An asynchronous write: a task beside the one that submitted it."""
        ending.come(await self._perform(number, action))

    async def _perform(self, number: int, action: Action) -> str:
        """The result of an operation, as text."""
        operation = action.operation
        target = operation.other if operation.word == "copy_range" else operation.file
        lock = self._append_locks.get(target) if operation.word in EXTENDS else None
        try:
            if lock is None:
                return str(await OPERATIONS[operation.word](self, number, action))
            return str(await self._perform_alone(number, action, lock))
        except FsError as error:
            return str(error)

    async def _perform_alone(self, number: int, action: Action, lock: RwLock) -> int | str:
        """A change of a file that somebody appends to."""
        perform = OPERATIONS[action.operation.word]
        if "append" not in action.operation.flags:
            await lock.lock_shared()
            try:
                return await perform(self, number, action)
            finally:
                lock.unlock_shared()
        await lock.lock_exclusive()
        try:
            return await perform(self, number, action)
        finally:
            lock.unlock_exclusive()

    def file(self, number: int, name: str) -> OpenFile:
        return self._files[number][name]


# -- one function for each word ----------------------------------------------------------


async def _pwrite(run: Running, number: int, action: Action) -> int:
    operation = action.operation
    file, flags, pos = run.file(number, operation.file), operation.flags, operation.pos
    if "append" in flags:
        pos = run.positions[action.place] = file.inode.size
    written = await file_io.write(
        run.world.fs, file, pos, action.data, direct="direct" in flags, sync="dsync" in flags
    )
    if written == operation.length:
        run.complete.add(action.place)
    return written


async def _pread(run: Running, number: int, action: Action) -> str:
    operation = action.operation
    file, pos = run.file(number, operation.file), operation.pos
    direct = "direct" in operation.flags
    data = await file_io.read(run.world.fs, file, pos, operation.length, direct=direct)
    ranges = action.letters.foreign_ranges(data, pos)
    if ranges:
        run.foreign_reads.append(ForeignRead(action, ranges))
    return action.letters.text(data, pos, action.count)


def _fallocate(mode: int) -> Callable[[Running, int, Action], Awaitable[int]]:
    async def perform(run: Running, number: int, action: Action) -> int:
        operation = action.operation
        inode = run.file(number, operation.file).inode
        keep_size = truncate.Mode.KEEP_SIZE if "keep_size" in operation.flags else 0
        await truncate.fallocate(
            run.world.fs, inode, mode | keep_size, operation.pos, operation.length
        )
        run.complete.add(action.place)
        return 0

    return perform


async def _truncate(run: Running, number: int, action: Action) -> int:
    operation = action.operation
    await truncate.truncate(run.world.fs, run.file(number, operation.file).inode, operation.pos)
    run.complete.add(action.place)
    return 0


async def _fsync(run: Running, number: int, action: Action) -> int:
    await file_io.fsync(run.world.fs, run.file(number, action.operation.file))
    return 0


def _seek(whence: int) -> Callable[[Running, int, Action], Awaitable[int]]:
    async def perform(run: Running, number: int, action: Action) -> int:
        inode = run.file(number, action.operation.file).inode
        return await truncate.seek(run.world.fs, inode, action.operation.pos, whence)

    return perform


async def _copy_range(run: Running, number: int, action: Action) -> int:
    operation = action.operation
    source, target = run.file(number, operation.file), run.file(number, operation.other)
    where = operation.pos, target, operation.other_pos, operation.length
    copied = await file_io.copy_range(run.world.fs, source, *where)
    if copied == operation.length:
        run.complete.add(action.place)
    return copied


async def _unlink(run: Running, number: int, action: Action) -> int:
    run.world.unlink(action.operation.file)
    return 0


async def _rename(run: Running, number: int, action: Action) -> int:
    await run.world.rename(action.operation.file, action.operation.other)
    return 0


OPERATIONS: Final[Mapping[str, Callable[[Running, int, Action], Awaitable[int | str]]]] = {
    "pwrite": _pwrite,
    "pread": _pread,
    "falloc": _fallocate(0),
    "fpunch": _fallocate(truncate.Mode.PUNCH_HOLE | truncate.Mode.KEEP_SIZE),
    "fzero": _fallocate(truncate.Mode.ZERO_RANGE),
    "truncate": _truncate,
    "fsync": _fsync,
    "fdatasync": _fsync,
    "seek_data": _seek(truncate.SEEK_DATA),
    "seek_hole": _seek(truncate.SEEK_HOLE),
    "copy_range": _copy_range,
    "unlink": _unlink,
    "rename": _rename,
}
