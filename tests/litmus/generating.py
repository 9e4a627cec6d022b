"""Litmus values as Hypothesis makes them: any that a file can say.

litmuses()    whole files
conditions()  over given atoms
"""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from fusefs.litmus.reach import blocks_of, letters, number_max, result_blocks, size_max
from fusefs.litmus.test import (
    ALWAYS,
    CACHE,
    DISK,
    EXISTS,
    FORALL,
    HOLE,
    NEVER,
    NOT_EXISTS,
    RESULT,
    RULES,
    SIZE,
    SOMETIMES,
    UNWRITTEN,
    And,
    Atom,
    Condition,
    FileText,
    Litmus,
    Machine,
    Not,
    Operation,
    Or,
    Question,
    Run,
    TaskText,
)

LETTERS = st.sampled_from("abcxyz")
FLAGS = st.frozensets(st.sampled_from(("dsync", "append", "direct")))
FILE_NAMES = ("f", "g", "disk", "a_1")
"""A file may be called as a word is."""

PROSE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    page = 512 << draw(st.integers(0, 7))
    block = min(page, 512 << draw(st.integers(0, 7)))
    names = draw(st.lists(st.sampled_from(FILE_NAMES), min_size=1, max_size=3, unique=True))
    files = tuple(draw(files_named(name, block)) for name in names)
    cached = sum(blocks_of(0, file.size, page) for file in files if file.cached)
    cache = draw(st.none() | st.integers(0, 100).map(lambda n: (max(cached, 1) + n) * page))
    return Machine(page, block, draw(st.sampled_from((0, 32))) * page, cache, files)


@st.composite
def files_named(draw: st.DrawFn, name: str, block: int) -> FileText:
    size = draw(st.integers(0, 6 * block))
    left = blocks_of(0, size, block)
    runs: list[Run] = []
    while left:
        states = {HOLE, UNWRITTEN, "a", "b"} - {run.state for run in runs[-1:]}
        run = Run(draw(st.sampled_from(sorted(states))), draw(st.integers(1, left)))
        runs.append(run)
        left -= run.count
    if (not runs or runs[-1].state != UNWRITTEN) and draw(st.booleans()):
        runs.append(Run(UNWRITTEN, draw(st.integers(1, 3))))
    return FileText(name, size, tuple(runs), cached=bool(size) and draw(st.booleans()))


@st.composite
def writes(draw: st.DrawFn, names: Sequence[str]) -> Operation:
    flags, name = draw(FLAGS), draw(st.sampled_from(names))
    unit = 512 if "direct" in flags else 1
    pos = 0 if "append" in flags else draw(st.integers(0, 8)) * unit
    return Operation("pwrite", name, pos, draw(st.integers(1, 8)) * unit, draw(LETTERS), flags)


@st.composite
def others(draw: st.DrawFn, names: Sequence[str], others: Sequence[str]) -> Operation:
    """All that is no pwrite; wait, for the tasks of others."""
    name, pos, length = draw(st.sampled_from(names)), draw(st.integers(0, 9000)), 512
    keep_size = draw(st.sampled_from((frozenset(), frozenset(("keep_size",)))))
    made = [
        Operation("pread", name, pos, length),
        Operation("pread", name, 1024, 2048, flags=frozenset(("direct",))),
        Operation("falloc", name, pos, length, flags=keep_size),
        Operation("fpunch", name, pos, length),
        Operation("fzero", name, pos, length, flags=keep_size),
        Operation("truncate", name, pos),
        Operation("fsync", name),
        Operation("fdatasync", name),
        Operation("seek_data", name, pos),
        Operation("seek_hole", name, pos),
        Operation("copy_range", name, pos, length, other=names[-1], other_pos=pos + length),
        Operation("mwrite", name, pos, length, "m"),
        Operation("mread", name, pos, length),
        Operation("unlink", name),
        Operation("rename", name, other="new"),
        *(Operation("wait", other=task) for task in others),
    ]
    return draw(st.sampled_from(made))


@st.composite
def tasks_of(draw: st.DrawFn, names: Sequence[str], place: int) -> TaskText:
    """It waits for earlier tasks only, so that none waits in a circle."""
    earlier = "ABC"[:place]
    operations: list[Operation] = []
    for number in range(draw(st.integers(1, 5))):
        each = draw(writes(names) | others(names, earlier))
        result = draw(st.sampled_from(("", f"r{number}"))) if each.word != "wait" else ""
        if "direct" in each.flags and each.word == "pwrite" and draw(st.booleans()):
            operations.append(replace(each, handle=f"h{number}"))
            each = Operation("reap", other=f"h{number}")
        operations.append(replace(each, result=result))
    return TaskText("ABC"[place], tuple(operations))


@st.composite
def atoms(draw: st.DrawFn, machine: Machine, tasks: tuple[TaskText, ...]) -> Atom:
    """What a question can say of these tasks."""
    results = [
        (f"{task.name}.{each.result}", submitted(task, each))
        for task in tasks
        for each in task.operations
        if each.result
    ]
    if results and draw(st.booleans()):
        subject, operation = draw(st.sampled_from(results))
        return Atom(RESULT, subject, draw_result(draw, machine, tasks, operation))
    name = draw(st.sampled_from(machine.files)).name
    size = size_max(machine.files, tasks, name)
    count = blocks_of(0, size, machine.block)
    kind = draw(st.sampled_from((CACHE, DISK, SIZE))) if count else SIZE
    if kind == SIZE:
        return Atom(kind, name, str(draw(st.integers(0, size))))
    return Atom(kind, name, draw_blocks(draw, "0?!.-" if kind == CACHE else "0?!.", count))


def submitted(task: TaskText, operation: Operation) -> Operation:
    """What a result is of: that of a reap is of what it reaps."""
    handles = {each.handle: each for each in task.operations}
    return handles[operation.other] if operation.word == "reap" else operation


def draw_result(
    draw: st.DrawFn, machine: Machine, tasks: tuple[TaskText, ...], operation: Operation
) -> str:
    if draw(st.booleans()):
        return draw(st.sampled_from(("EIO", "ENOSPC")))
    count = result_blocks(operation, machine.block)
    if count:
        known = "".join(sorted(letters(machine.files, tasks, operation.file)))
        return draw_blocks(draw, known + "0?!.", count)
    size = size_max(machine.files, tasks, operation.file)
    return str(draw(st.integers(0, number_max(operation, size))))


def draw_blocks(draw: st.DrawFn, characters: str, count: int) -> str:
    """Not each block its own draw: there may be many."""
    each = st.sampled_from(characters)
    return draw(each) * (count - 1) + draw(each)


def draw_condition(draw: st.DrawFn, of: st.SearchStrategy[Atom], depth: int = 0) -> Condition:
    kind = draw(st.sampled_from((Atom, Atom, Not, And, Or))) if depth < 4 else Atom
    if kind is Atom:
        return draw(of)
    first = draw_condition(draw, of, depth + 1)
    return Not(first) if kind is Not else kind(first, draw_condition(draw, of, depth + 1))


@st.composite
def litmuses(draw: st.DrawFn) -> Litmus:
    machine = draw(machines())
    names = [file.name for file in machine.files]
    count = draw(st.integers(1, 3))
    tasks = tuple(draw(tasks_of(names, place)) for place in range(count))
    condition = draw_condition(draw, atoms(machine, tasks))
    answers = st.sampled_from((NEVER, SOMETIMES, ALWAYS))
    eras = st.sampled_from(("linux-4.10", "linux-4.14-rc1", "no_post", "a+b"))
    return Litmus(
        draw(st.sampled_from(("stale-zeros", "x", "4.10_race"))),
        tuple(draw(st.lists(PROSE, max_size=3))),
        machine,
        tasks,
        Question(draw(st.sampled_from((EXISTS, NOT_EXISTS, FORALL))), condition),
        draw(st.dictionaries(eras, answers, max_size=3)),
        tuple(draw(st.lists(st.sampled_from(sorted(RULES)), unique=True, max_size=3))),
        draw(st.booleans()),
    )
