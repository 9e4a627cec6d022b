"""Less of a program that still fails: fewer tasks and operations, simpler files, shorter ranges.

    shrunk    the smallest that was found; what failing is, the caller says

Every smaller program is a litmus file as well: it is written, and parsed again, so that whatever
the format forbids is not tried.

Units: as everywhere.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from fusefs.litmus.parse import parse
from fusefs.litmus.source import LitmusError
from fusefs.litmus.test import FileText, Litmus, Operation, Run, TaskText
from fusefs.litmus.text import text

TRIES_MAX: Final = 400
"""Smaller programs that are tried at most."""


def shrunk(litmus: Litmus, fails: Callable[[Litmus], bool], tries_max: int = TRIES_MAX) -> Litmus:
    """A program that fails, and of which nothing more could be left out."""
    tries = 0
    smaller = _smaller(litmus)
    while tries < tries_max:
        candidate = next(smaller, None)
        if candidate is None:
            break
        try:
            parse(text(candidate), litmus.name)
        except LitmusError:
            continue
        tries += 1
        if fails(candidate):
            litmus, smaller = candidate, _smaller(candidate)
    return litmus


def _smaller(litmus: Litmus) -> Iterator[Litmus]:
    """Each leaves out a little; what leaves out most comes first."""
    for place, task in enumerate(litmus.tasks):
        if len(litmus.tasks) > 1:
            yield replace(litmus, tasks=litmus.tasks[:place] + litmus.tasks[place + 1 :])
        for operations in _fewer(task.operations):
            yield _with_task(litmus, place, operations)
    for number, file in enumerate(litmus.machine.files):
        for other in _simpler_files(file, litmus.machine.block):
            files = list(litmus.machine.files)
            files[number : number + 1] = [other] if other else []
            yield replace(litmus, machine=replace(litmus.machine, files=tuple(files)))
    for place, task in enumerate(litmus.tasks):
        for number, operation in enumerate(task.operations):
            for simpler in _simpler_operations(operation, litmus.machine.block):
                before, after = task.operations[:number], task.operations[number + 1 :]
                yield _with_task(litmus, place, (*before, simpler, *after))


def _with_task(litmus: Litmus, place: int, operations: tuple[Operation, ...]) -> Litmus:
    tasks = list(litmus.tasks)
    tasks[place] = TaskText(tasks[place].name, operations)
    return replace(litmus, tasks=tuple(tasks))


def _fewer(operations: tuple[Operation, ...]) -> Iterator[tuple[Operation, ...]]:
    """Without some that follow each other; a submission goes with what reaps it."""
    count = len(operations)
    length = count // 2
    while length:
        for start in range(0, count, length):
            kept = operations[:start] + operations[start + length :]
            handles = {each.handle for each in kept if each.handle}
            reaped = {each.other for each in kept if each.word == "reap"}
            yield tuple(
                each
                for each in kept
                if (each.word != "reap" or each.other in handles)
                and (not each.handle or each.handle in reaped)
            )
        length //= 2


def _simpler_files(file: FileText, block: int) -> Iterator[FileText | None]:
    yield None
    if file.size:
        yield replace(file, size=0, runs=(), cached=False)
    if file.cached:
        yield replace(file, cached=False)
    states = dict.fromkeys(run.state for run in file.runs)
    for state in states if len(file.runs) > 1 else ():
        yield replace(file, runs=(Run(state, -(-file.size // block)),))
    if file.size % block:
        yield replace(file, size=file.size + -file.size % block)
    count = -(-file.size // block)
    if count > 1 and len(file.runs) == 1:
        for fewer in (count // 2, count - 1):
            yield replace(file, size=fewer * block, runs=(Run(file.runs[0].state, fewer),))


def _simpler_operations(operation: Operation, block: int) -> Iterator[Operation]:
    for flag in ("dsync", "keep_size"):
        if flag in operation.flags:
            yield replace(operation, flags=operation.flags - {flag})
    if operation.length > block:
        yield replace(operation, length=block)
        yield replace(operation, length=operation.length - operation.length % block)
    if operation.pos % block:
        yield replace(operation, pos=operation.pos - operation.pos % block)
    if operation.pos > block and "append" not in operation.flags:
        yield replace(operation, pos=operation.pos // 2 // block * block)
