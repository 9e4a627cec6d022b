"""Drives coroutines of the model by hand, step by step, on a world in memory.

    run(world, coroutine)       to its end: the result, or the FsError raised
    Task(world, coroutine)      as far as wanted: go_to() stops before a named step, so that
                                another task can come in between; finish() is the rest
    NAMES_SEEN                  every step name that was granted in this session

A step fails if fail has its name: it is not performed, and the model gets the FsError.
before has calls to make right before a step is granted.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fusefs.engine import task as engine
from fusefs.engine.task import perform
from fusefs.explore.memory import World
from fusefs.model import buffered, dio, file_io
from fusefs.model.buffered import mark_dirty
from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.iomap import begin_buffered
from fusefs.model.steps import Step

Coro = Coroutine[Step, Any, Any]

NAMES_SEEN: set[str] = set()

GEOMETRIES = ((512, 4096), (1024, 4096), (4096, 4096), (4096, 65536))
"""(block_size, page_size): sub-page blocks, one block a page, and ppc64's pages."""

STEPS_MAX = 20_000


def geometry_id(geometry: tuple[int, int]) -> str:
    return f"block {geometry[0]}-page {geometry[1]}"


class Task:
    """One coroutine, standing before its next step."""

    def __init__(
        self,
        world: World,
        coroutine: Coro,
        *,
        fail: Mapping[str, int] | None = None,
        before: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self.world = world
        self.names: list[str] = []
        self._task = engine.Task(coroutine)
        self._fail = fail or {}
        self._before = before or {}
        self._task.advance(None, None)

    @property
    def step(self) -> Step | None:
        """None once it has returned."""
        return None if self._task.returned else self._task.step

    @property
    def ended(self) -> bool:
        return self._task.returned

    @property
    def waits(self) -> bool:
        """It stands before a wait that nobody has ended yet."""
        return self._task.waits

    def grant(self) -> None:
        """Perform the pending step, and run to the next."""
        step = self.step
        assert step is not None, "the task has ended"
        assert not self.waits, f"nobody ends the wait at {step.name}, after {self.names}"
        assert len(self.names) < STEPS_MAX, "the task does not end"
        self.names.append(step.name)
        NAMES_SEEN.add(step.name)
        if step.name in self._before:
            self._before[step.name]()
        if step.name in self._fail:
            self._task.advance(None, FsError(self._fail[step.name]))
            return
        try:
            value = perform(self.world, step)
        except FsError as failure:
            self._task.advance(None, failure)
        else:
            self._task.advance(value, None)

    def fail(self, error: int) -> None:
        """Let the pending step fail, this once."""
        assert self.step is not None, "the task has ended"
        self.names.append(self.step.name)
        self._task.advance(None, FsError(error))

    def go_to(self, name: str) -> "Task":
        """Grant until the step of that name is the next."""
        while self.step is not None and self.step.name != name:
            self.grant()
        assert self.step is not None, f"ended without {name}: {self.names}"
        return self

    def go_past(self, name: str) -> "Task":
        self.go_to(name).grant()
        return self

    def finish(self) -> Any:
        """Grant all that is left; the result, or the FsError raised."""
        while not self.ended:
            self.grant()
        if self._task.error is not None:
            raise self._task.error
        return self._task.result


def run(
    world: World,
    coroutine: Coro,
    *,
    fail: Mapping[str, int] | None = None,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> Any:
    """Run a coroutine that meets nobody to its end."""
    return Task(world, coroutine, fail=fail, before=before).finish()


def names_of(world: World, coroutine: Coro) -> list[str]:
    """The steps that a coroutine takes, in order."""
    task = Task(world, coroutine)
    task.finish()
    return task.names


# -- requests, as a program would make them ----------------------------------------------


async def buffered_read(fs: Filesystem, file: OpenFile, pos: int, length: int) -> bytes:
    """The model's, with its pieces put together."""
    return b"".join(await buffered.buffered_read(fs, file, pos, length))


async def direct_read(fs: Filesystem, inode: Inode, pos: int, length: int) -> bytes:
    return b"".join(await dio.direct_read(fs, inode, pos, length))


def read(world: World, file: OpenFile, pos: int, length: int, *, direct: bool = False) -> bytes:
    result: bytes = run(world, file_io.read(world.fs, file, pos, length, direct=direct))
    return result


def write(
    world: World, file: OpenFile, pos: int, data: bytes, *, direct: bool = False, **steps: Any
) -> int:
    coroutine = file_io.write(world.fs, file, pos, data, direct=direct, sync=False)
    written: int = run(world, coroutine, **steps)
    return written


def fsync(world: World, file: OpenFile, **steps: Any) -> None:
    run(world, file_io.fsync(world.fs, file), **steps)


def drop_cache(world: World, inode: Inode) -> None:
    """Drop every clean page: echo 1 > /proc/sys/vm/drop_caches."""
    run(world, world.fs.cache.invalidate_range(inode.mapping, 0, FILE_SIZE_MAX))


def file_with(world: World, data: bytes, ino: int = 1) -> OpenFile:
    """A file that holds data, all of it written and none of it cached."""
    file = OpenFile(Inode(ino))
    if data:
        write(world, file, 0, data)
        fsync(world, file)
        drop_cache(world, file.inode)
    return file


def sparse_file(size: int, ino: int = 1) -> OpenFile:
    return OpenFile(Inode(ino, size))


def file_in_pieces(world: World, count: int, ino: int = 1) -> OpenFile:
    """A file of count written blocks, with a hole behind each: as many runs."""
    file = OpenFile(Inode(ino))
    for number in range(count):
        physical, _ = world.fs.space.allocate(1)
        file.inode.extents.allocate(2 * number, 1, physical)
    file.inode.extents.convert(0, 2 * count)
    file.inode.size = file.inode.disk_size = 2 * count * world.fs.geometry.block_size
    return file


def both_reads(world: World, file: OpenFile) -> tuple[bytes, bytes]:
    """The whole file as a buffered and as a direct reader sees it."""
    length = -(-file.inode.size // 512) * 512
    return read(world, file, 0, length), read(world, file, 0, length, direct=True)


async def mmap_store(fs: Filesystem, inode: Inode, pos: int, data: bytes) -> None:
    """A store to a mapped page: page_mkwrite(), which takes no inode lock.

    It is how a page becomes dirty while a direct write is under way.
    """
    await begin_buffered(fs, inode, pos, len(data))
    index, offset = divmod(pos, fs.geometry.page_size)
    page = inode.mapping.pages.get(index)
    if page is None:
        page = fs.cache.insert_locked(inode.mapping, index)
    else:
        await page.lock()
    page.data[offset : offset + len(data)] = data
    blocks = fs.geometry.block_bits(offset, offset + len(data))
    page.blocks_uptodate |= blocks
    mark_dirty(fs, inode, page, blocks)
    page.unlock()


# -- what must always hold ---------------------------------------------------------------


def check_world(world: World, inodes: list[Inode]) -> None:
    """(D1) (E2) (P1) (S1) (T2) and the sums that others rely on, whenever nobody runs."""
    world.check_space(inodes)
    assert world.fs.space.available_count >= 0, "(S1) more promised than free"
    dirty_count = 0
    for inode in inodes:
        assert not world.stale_blocks(inode), "(D1) a clean page disagrees with the image"
        dirty = set()
        for index, page in inode.mapping.pages.items():
            assert page.index == index
            assert page.mapping is inode.mapping
            assert not page.locked
            assert not page.writeback
            assert page.blocks_dirty & ~page.blocks_uptodate == 0, "(P1)"
            if page.blocks_dirty:
                dirty.add(index)
        assert dirty == inode.mapping.pages_dirty
        assert not dirty or world.fs.inodes_dirty.get(inode.ino) is inode, "(W5)"
        dirty_count += len(dirty)
        assert inode.disk_size <= inode.size
        check_tail(world, inode)
        for chunk in inode.extents.chunks.values():
            owned = sum(chunk.counts)
            assert chunk.blocks_unwritten.count() <= owned, "(E2) unwritten, but not allocated"
    assert dirty_count == world.fs.cache.dirty_count


def check_tail(world: World, inode: Inode) -> None:
    """(T2) what follows i_size in its block is zeros, wherever it would be read from."""
    size = world.fs.geometry.block_size
    block, offset = divmod(inode.size, size)
    if not offset:
        return
    index, bit = divmod(block, world.fs.geometry.blocks_per_page)
    page = inode.mapping.pages.get(index)
    if page is not None and page.blocks_uptodate >> bit & 1:
        content = bytes(page.data[bit * size : (bit + 1) * size])
    else:
        content = world.on_image(inode, block)
    assert not any(content[offset:]), "(T2) bytes beyond i_size are not zeros"
