"""The tasks of a litmus file as coroutines on a world, and what they found.

    Action     an operation, with what can be prepared of it once for many runs
    Running    the tasks of one run

Each task has the files that it uses open from the beginning until it has ended; its end waits for
its asynchronous writes, as exit(2) does.  Between two operations others may go first: there is the
step "reply", which is the end of the first of the two.

Units: as everywhere; results are text, as fusefs/litmus/test.py has it.
Errors: an operation's FsError is its result.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from fusefs.explore.kept import Place
from fusefs.explore.names import NamedWorld
from fusefs.explore.values import Letters
from fusefs.litmus.reach import result_blocks
from fusefs.litmus.test import RESULT, Operation
from fusefs.model.dio_complete import Completion
from fusefs.model.errors import FsError
from fusefs.model.file_io import copy_range, fsync, read, submit, write
from fusefs.model.footprint import ENDED, key
from fusefs.model.inode import Append, OpenFile
from fusefs.model.mapped import mapped_read, mapped_write
from fusefs.model.steps import Step, Waiter, current, reach, wait
from fusefs.model.truncate import SEEK_DATA, SEEK_HOLE, Mode, fallocate, seek, truncate

Coro = Coroutine[Step, Any, Any]

REPLY: Final = "reply"
WAIT: Final = "task.wait"


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
        self.key = (RESULT, f"{task}.{operation.result}") if operation.result else None
        self.data = operation.value.encode() * operation.length
        self.letters = letters
        self.count = result_blocks(operation, block)


class Submitted:
    """An asynchronous write, until it is reaped."""

    __slots__ = ("action", "append", "completion")

    def __init__(self, action: Action, completion: Completion, append: Append | None) -> None:
        self.action = action
        self.completion = completion
        self.append = append


class Ending:
    """Of a task, counted from 1: whether it came, and who waits for it."""

    __slots__ = ("_key", "_number", "_waiters", "came")

    def __init__(self, number: int) -> None:
        self.came = False
        self._number = number
        self._key = key(ENDED, 0, number)
        self._waiters: list[Waiter] = []

    def come(self) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.write(self._key)
        self.came = True
        for waiter in self._waiters:
            waiter.wake()

    async def wait(self) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.read(self._key)
        if not self.came:
            waiter = Waiter(self._number)
            self._waiters.append(waiter)
            await wait(WAIT, waiter)


class ForeignRead:
    """A read got bytes that nobody wrote into the file."""

    __slots__ = ("action", "ranges")

    def __init__(self, action: Action, ranges: list[tuple[int, int]]) -> None:
        self.action = action
        self.ranges = ranges


class Running:
    """The tasks of one run.

    files           of each task, the open files by name
    counts_opens    whether a file's last close matters, as it may have no name
    results         by the keys of outcomes
    begun, ended    the operations that have; an asynchronous write ends when it is reaped
    complete        those that have changed all that they could; fsync and rename without an error
    appends         those that have begun: told where they begin to write, once that is known
    positions       where appends began that have ended
    foreign_reads   what the rule "foreign" forbids
    """

    def __init__(
        self,
        world: NamedWorld,
        actions: Sequence[Sequence[Action]],
        files: Sequence[Mapping[str, OpenFile]],
        names: Sequence[str],
        *,
        counts_opens: bool,
    ) -> None:
        self.world = world
        self.results: dict[tuple[str, str], str] = {}
        self.begun: list[Place] = []
        self.ended: list[Place] = []
        self.complete: set[Place] = set()
        self.appends: dict[Place, Append] = {}
        self.positions: dict[Place, int] = {}
        self.foreign_reads: list[ForeignRead] = []
        self._actions = actions
        self._files = files
        self._counts_opens = counts_opens
        self._endings = {name: Ending(number) for number, name in enumerate(names, 1)}

    def tasks(self) -> list[Coro]:
        """New coroutines, in the order of the file."""
        return [self._task(number, ending) for number, ending in enumerate(self._endings.values())]

    async def _task(self, number: int, ending: Ending) -> None:
        in_flight: dict[str, Submitted] = {}
        previous: Operation | None = None
        for action in self._actions[number]:
            if previous is not None:
                await reach(REPLY, previous.pos, previous.length)
            previous = action.operation
            self.begun.append(action.place)
            value = await self._value(number, action, in_flight)
            if action.key is not None:
                self.results[action.key] = value
            if not previous.handle:
                self.ended.append(action.place)
        for submitted in in_flight.values():
            await self._reap(submitted)
        if self._counts_opens:
            for file in self._files[number].values():
                self.world.close(file.inode)
        ending.come()

    async def _value(self, number: int, action: Action, in_flight: dict[str, Submitted]) -> str:
        """The result of an operation, as text."""
        operation = action.operation
        if operation.word == "wait":
            await self._endings[operation.other].wait()
            return "0"
        if operation.word == "reap":
            return await self._reap(in_flight.pop(operation.other))
        try:
            if operation.handle:
                in_flight[operation.handle] = await self._submit(number, action)
                return "0"
            return str(await OPERATIONS[operation.word](self, number, action))
        except FsError as error:
            return str(error)

    async def _submit(self, number: int, action: Action) -> Submitted:
        """An asynchronous write: it goes on by itself."""
        operation = action.operation
        file, sync = self.file(number, operation.file), "dsync" in operation.flags
        append = self.append(action)
        completion = await submit(
            *(self.world.fs, file, operation.pos, action.data), sync=sync, append=append
        )
        return Submitted(action, completion, append)

    async def _reap(self, submitted: Submitted) -> str:
        """The result of an asynchronous write."""
        try:
            written = await submitted.completion.reap()
        except FsError as error:
            return str(error)
        finally:
            self.note_append(submitted.action, submitted.append)
            self.ended.append(submitted.action.place)
        self.note_changed(submitted.action, written)
        return str(written)

    # -- for the functions below -----------------------------------------------------

    def append(self, action: Action) -> Append | None:
        """For a write that begins where the file ends."""
        if "append" not in action.operation.flags:
            return None
        append = self.appends[action.place] = Append()
        return append

    def note_append(self, action: Action, append: Append | None) -> None:
        if append is not None and append.pos >= 0:
            self.positions[action.place] = append.pos

    def note_changed(self, action: Action, count: int) -> None:
        """So many bytes, of all that it could change."""
        if count == action.operation.length:
            self.complete.add(action.place)

    def told(self, action: Action, data: bytes) -> str:
        """What a read returned."""
        pos = action.operation.pos
        ranges = action.letters.foreign_ranges(data, pos)
        if ranges:
            self.foreign_reads.append(ForeignRead(action, ranges))
        return action.letters.text(data, pos, action.count)

    def file(self, number: int, name: str) -> OpenFile:
        return self._files[number][name]


# -- one function for each word ----------------------------------------------------------


async def _pwrite(run: Running, number: int, action: Action) -> int:
    operation, append = action.operation, run.append(action)
    direct, sync = "direct" in operation.flags, "dsync" in operation.flags
    try:
        written = await write(
            *(run.world.fs, run.file(number, operation.file), operation.pos, action.data),
            direct=direct,
            sync=sync,
            append=append,
        )
    finally:
        run.note_append(action, append)
    run.note_changed(action, written)
    return written


async def _pread(run: Running, number: int, action: Action) -> str:
    operation = action.operation
    file, direct = run.file(number, operation.file), "direct" in operation.flags
    data = await read(run.world.fs, file, operation.pos, operation.length, direct=direct)
    return run.told(action, data)


async def _mread(run: Running, number: int, action: Action) -> str:
    operation = action.operation
    inode = run.file(number, operation.file).inode
    data = await mapped_read(run.world.fs, inode, operation.pos, operation.length)
    return run.told(action, data)


async def _mwrite(run: Running, number: int, action: Action) -> int:
    operation = action.operation
    inode = run.file(number, operation.file).inode
    await mapped_write(run.world.fs, inode, operation.pos, action.data)
    run.complete.add(action.place)
    return 0


def _fallocate(mode: int) -> Callable[[Running, int, Action], Awaitable[int]]:
    async def perform(run: Running, number: int, action: Action) -> int:
        operation = action.operation
        inode = run.file(number, operation.file).inode
        keep_size = Mode.KEEP_SIZE if "keep_size" in operation.flags else 0
        await fallocate(run.world.fs, inode, mode | keep_size, operation.pos, operation.length)
        run.complete.add(action.place)
        return 0

    return perform


async def _truncate(run: Running, number: int, action: Action) -> int:
    operation = action.operation
    await truncate(run.world.fs, run.file(number, operation.file).inode, operation.pos)
    run.complete.add(action.place)
    return 0


async def _fsync(run: Running, number: int, action: Action) -> int:
    await fsync(run.world.fs, run.file(number, action.operation.file))
    run.complete.add(action.place)
    return 0


def _seek(whence: int) -> Callable[[Running, int, Action], Awaitable[int]]:
    async def perform(run: Running, number: int, action: Action) -> int:
        inode = run.file(number, action.operation.file).inode
        return await seek(run.world.fs, inode, action.operation.pos, whence)

    return perform


async def _copy_range(run: Running, number: int, action: Action) -> int:
    operation = action.operation
    source, target = run.file(number, operation.file), run.file(number, operation.other)
    where = operation.pos, target, operation.other_pos, operation.length
    copied = await copy_range(run.world.fs, source, *where)
    run.note_changed(action, copied)
    return copied


async def _unlink(run: Running, number: int, action: Action) -> int:
    run.world.unlink(action.operation.file)
    return 0


async def _rename(run: Running, number: int, action: Action) -> int:
    await run.world.rename(action.operation.file, action.operation.other)
    run.complete.add(action.place)
    return 0


OPERATIONS: Final[Mapping[str, Callable[[Running, int, Action], Awaitable[int | str]]]] = {
    "pwrite": _pwrite,
    "pread": _pread,
    "falloc": _fallocate(0),
    "fpunch": _fallocate(Mode.PUNCH_HOLE | Mode.KEEP_SIZE),
    "fzero": _fallocate(Mode.ZERO_RANGE),
    "truncate": _truncate,
    "fsync": _fsync,
    "fdatasync": _fsync,
    "seek_data": _seek(SEEK_DATA),
    "seek_hole": _seek(SEEK_HOLE),
    "copy_range": _copy_range,
    "mread": _mread,
    "mwrite": _mwrite,
    "unlink": _unlink,
    "rename": _rename,
}
