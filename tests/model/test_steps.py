"""Every step has a name that is documented, asked for somewhere, and reached by a request."""

import ast
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from model.driving import (
    NAMES_SEEN,
    Task,
    file_in_pieces,
    file_with,
    fsync,
    read,
    run,
    sparse_file,
    write,
)

from fusefs import model
from fusefs.explore.memory import World
from fusefs.model.buffered import buffered_read, buffered_write
from fusefs.model.dio import direct_write
from fusefs.model.file_io import commit_names, submit, writeback_inode
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.iomap import FREE_COST_MAX
from fusefs.model.mapped import mapped_write
from fusefs.model.steps import NAMES, Kind, Waiter
from fusefs.model.truncate import SEEK_DATA, fallocate, seek, truncate

MODEL = Path(model.__file__).parent
NAME = re.compile(r"[a-z]+(\.[a-z_]+){1,2}")


# -- in the source -----------------------------------------------------------------------


def names_in(tree: ast.AST) -> tuple[set[str], list[re.Pattern[str]]]:
    """The strings shaped like a step's name, and patterns for those of locks, put together."""
    nodes = list(ast.walk(tree))
    joined = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for parts in joined for part in parts}
    strings = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in parts)
    literals = {node.value for node in strings if isinstance(node.value, str)}
    patterns = [
        "".join(re.escape(p.value) if isinstance(p, ast.Constant) else "[a-z]+" for p in parts)
        for parts in joined
    ]
    return (
        {text for text in literals if NAME.fullmatch(text)},
        [re.compile(pattern) for pattern in patterns if pattern.startswith("lock")],
    )


@cache
def names_asked_for() -> tuple[set[str], list[re.Pattern[str]]]:
    literals: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    for path in sorted(MODEL.glob("*.py")):
        if path.name != "steps.py":
            found = names_in(ast.parse(path.read_text()))
            literals |= found[0]
            patterns += found[1]
    return literals, patterns


def test_every_name_asked_for_is_documented():
    literals, patterns = names_asked_for()
    assert literals <= NAMES.keys()
    assert patterns
    assert all(any(pattern.fullmatch(name) for name in NAMES) for pattern in patterns)


def test_every_documented_name_is_asked_for():
    literals, patterns = names_asked_for()
    composed = {name for name in NAMES if any(pattern.fullmatch(name) for pattern in patterns)}
    assert NAMES.keys() == literals | composed


def test_name_that_is_not_documented_would_be_found():
    """The two tests above would pass if nothing were recognised as a name."""
    tree = ast.parse('async def f(): await reach("dio.write.guess", 0, 1)')
    assert names_in(tree)[0] == {"dio.write.guess"}


def test_every_name_says_what_has_not_happened_and_where_linux_does_it():
    for name, text in NAMES.items():
        assert NAME.fullmatch(name)
        assert re.fullmatch(r"[^;]+; \S+\(\)(, \S+\(\))*", text), f"{name}: {text}"


# -- on the way of a request -------------------------------------------------------------

BLOCK, PAGE = 512, 1024


def direct_requests(world: World) -> None:
    file = file_with(world, b"A" * PAGE)
    write(world, file, 0, b"B")
    write(world, file, 0, b"C" * BLOCK, direct=True)
    write(world, file, 4 * PAGE, b"D" * PAGE, direct=True)
    write(world, file, 0, b"E" * BLOCK)
    read(world, file, 0, PAGE, direct=True)
    world = World(block_size=BLOCK, page_size=PAGE, order=["read_drops"])
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    read(world, file, 0, PAGE, direct=True)


def buffered_requests(world: World) -> None:
    file = file_with(world, b"A" * PAGE)
    write(world, file, 1, b"B")
    read(world, file, 0, PAGE)
    fsync(world, file)
    run(world, commit_names())


def changes_of_shape(world: World) -> None:
    file = file_with(world, b"A" * 4 * PAGE)
    write(world, file, 0, b"B" * BLOCK)
    run(world, fallocate(world.fs, file.inode, 0x11, 100, PAGE))
    run(world, truncate(world.fs, file.inode, 700))
    write(world, file, 700, b"C" * PAGE)
    run(world, truncate(world.fs, file.inode, 8 * PAGE))
    run(world, seek(world.fs, file.inode, 0, SEEK_DATA))


def shortage(world: World) -> None:
    filler = file_with(world, b"F" * BLOCK * world.fs.space.available_count)
    run(world, truncate(world.fs, filler.inode, 0))
    write(world, sparse_file(PAGE, ino=2), 0, b"A" * BLOCK, direct=True)


def long_changes(_: World) -> None:
    """Of more runs than are freed in one piece."""
    world = World(block_size=BLOCK, page_size=PAGE, block_count=8 * FREE_COST_MAX)
    file = file_in_pieces(world, 6 * FREE_COST_MAX)
    size = file.inode.size
    run(world, fallocate(world.fs, file.inode, 0x3, size // 2, size // 2))
    run(world, truncate(world.fs, file.inode, 0))


def inode_lock(world: World) -> None:
    file = file_with(world, b"A" * PAGE)
    holder = Task(world, buffered_write(world.fs, file.inode, 0, b"B"))
    waiting = [
        Task(world, buffered_read(world.fs, file, 0, 1)),
        Task(world, buffered_write(world.fs, file.inode, 0, b"C")),
    ]
    for task in (holder, *waiting):
        task.finish()


def mapping_lock(world: World) -> None:
    """No two requests of the model meet there: the inode lock keeps them apart, as on XFS."""
    file = file_with(world, b"A" * PAGE)
    lock = file.inode.mapping.lock
    run(world, lock.lock_exclusive())
    reader = Task(world, buffered_read(world.fs, file, 0, 1))
    lock.unlock_exclusive()
    reader.go_to("buffered.read.fill")
    writer = Task(world, lock.lock_exclusive())
    reader.finish()
    writer.finish()


def page_lock_and_writeback(world: World) -> None:
    file = OpenFile(Inode(1))
    write(world, file, 0, b"A" * PAGE)
    flush = Task(world, writeback_inode(world.fs, file.inode)).go_to("writeback.map")
    writer = Task(world, direct_write(world.fs, file.inode, 0, b"B" * PAGE)).go_to("lock.page")
    flush.go_to("writeback.submit")
    writer.go_to("lock.page.writeback")
    flush.finish()
    writer.finish()


def asynchronous_write(world: World) -> None:
    file = sparse_file(PAGE)
    completion = run(world, submit(world.fs, file, 0, b"A" * PAGE, sync=False))
    waiting = [
        Task(world, completion.reap()),
        Task(world, truncate(world.fs, file.inode, 0)).go_to("lock.dio"),
    ]
    run(world, world.fs.work.pop())
    for task in waiting:
        task.finish()


def worker(world: World) -> None:
    """As under post_in_worker."""
    run(world, world.fs.worker.lock_exclusive())
    waiting = Task(world, world.fs.worker.lock_exclusive())
    world.fs.worker.unlock_exclusive()
    waiting.finish()


def mapped_store(world: World) -> None:
    file = file_with(world, b"A" * PAGE)
    run(world, mapped_write(world.fs, file.inode, 0, b"B"))


TOURS: list[Callable[[World], None]] = [
    direct_requests,
    buffered_requests,
    changes_of_shape,
    long_changes,
    shortage,
    inode_lock,
    mapping_lock,
    page_lock_and_writeback,
    asynchronous_write,
    mapped_store,
    worker,
]


@pytest.fixture(scope="module")
def names_reached() -> set[str]:
    NAMES_SEEN.clear()
    for tour in TOURS:
        tour(World(block_size=BLOCK, page_size=PAGE))
    return set(NAMES_SEEN)


@pytest.mark.parametrize("name", NAMES)
def test_step_is_reached(name, names_reached):
    assert name in names_reached


# -- what a step is ----------------------------------------------------------------------


def test_every_kind_of_step_is_asked_for():
    world, file = World(block_size=BLOCK, page_size=PAGE), sparse_file(PAGE)
    kinds = set()
    coroutines = [
        direct_write(world.fs, file.inode, 0, b"A" * PAGE),
        buffered_read(world.fs, file, 0, PAGE),
        commit_names(),
        buffered_write(world.fs, file.inode, 0, b"A"),
    ]
    for coroutine in coroutines:
        task = Task(world, coroutine)
        while not task.ended:
            kinds.add(task.step.kind)
            task.grant()
    run(world, file.inode.lock.lock_exclusive())
    kinds.add(Task(world, file.inode.lock.lock_shared()).step.kind)
    assert kinds == set(Kind)


def test_conversion_takes_the_time_of_the_option():
    world, file = World(block_size=BLOCK, page_size=PAGE), sparse_file(PAGE)
    world.fs.set_options(world.fs.options.changed("conversion_delay", "7ms"))
    task = Task(world, direct_write(world.fs, file.inode, 0, b"A" * PAGE))
    task.go_to("dio.write.convert")
    assert (task.step.kind, task.step.duration_s) == (Kind.DELAY, pytest.approx(0.007))
    task.finish()


def test_woken_waiter_tells_its_driver_once_and_remembers():
    """A driver may look before or after: it misses nothing."""
    waiter, told = Waiter(), []
    waiter.notify = lambda: told.append(waiter.woken)
    waiter.wake()
    assert told == [True]
    silent = Waiter()
    silent.wake()
    assert silent.woken
