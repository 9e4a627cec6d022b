"""What the lines of a litmus file must fulfil together; a mistake is told at its line.

    check_tasks()       files, handles and tasks that operations name
    check_condition()   results and files that the question names, and values that they can have

Errors: LitmusError.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from errno import errorcode

from fusefs.litmus.operations import USAGE
from fusefs.litmus.reach import (
    MOVES,
    blocks_of,
    joined,
    letters,
    number_max,
    operations,
    result_blocks,
    size_max,
)
from fusefs.litmus.source import ERRNO_NAME, Line, format_size, listed, parse_size
from fusefs.litmus.test import (
    CACHE,
    NO_FILE,
    RESULT,
    SIZE,
    And,
    Atom,
    Condition,
    Machine,
    Not,
    Operation,
    Or,
    TaskText,
)

LineOf = Mapping[int, Line]
"""Lines by their number."""


# -- tasks -------------------------------------------------------------------------------


def check_tasks(machine: Machine, tasks: tuple[TaskText, ...], lines: LineOf) -> None:
    files = [file.name for file in machine.files]
    targets = [each.other for each in operations(tasks) if each.word == "rename"]
    for task in tasks:
        handles: dict[str, bool] = {}
        results: set[str] = set()
        for each in task.operations:
            line = lines[each.line]
            _check_names(line, each, files, [*files, *targets])
            _check_handles(line, each, handles)
            if each.result in results:
                raise line.error(f"result {each.result} a second time", "one line for each result")
            results |= {each.result} - {""}
    _check_waits(tasks, lines)


def _check_names(line: Line, operation: Operation, files: list[str], names: list[str]) -> None:
    known = names if operation.word in MOVES else files
    if operation.file and operation.file not in known:
        raise line.error(f"file {operation.file}", _known_files(known))
    if "TARGET" in USAGE[operation.word].split() and operation.other not in files:
        raise line.error(f"file {operation.other}", _known_files(files))


def _known_files(names: list[str]) -> str:
    return f"the files are {listed(sorted(set(names)), 'and')}" if names else "there is no file"


def _check_handles(line: Line, operation: Operation, handles: dict[str, bool]) -> None:
    """handles: those of the task so far, true once they are reaped."""
    if operation.handle:
        if operation.handle in handles:
            raise line.error(f"handle {operation.handle} a second time", "one line for each")
        handles[operation.handle] = False
    if operation.word == "reap":
        open_ = [name for name, reaped in handles.items() if not reaped]
        if operation.other not in open_:
            known = f"{listed(open_)} is allowed" if open_ else "the task has none in flight here"
            raise line.error(f"reap of {operation.other}", known)
        handles[operation.other] = True


def _check_waits(tasks: tuple[TaskText, ...], lines: LineOf) -> None:
    """Waiting for a task is waiting for all that it waits for."""
    waits: dict[str, set[str]] = {task.name: set() for task in tasks}
    for task in tasks:
        others = [name for name in waits if name != task.name]
        for each in task.operations:
            if each.word != "wait":
                continue
            line, other = lines[each.line], each.other
            if other not in others:
                what = "for itself" if other == task.name else f"for task {other}"
                known = f"the other tasks are {listed(others, 'and')}" if others else "none"
                raise line.error(f"task {task.name} waits {what}", known)
            waits[task.name].add(other)
            if task.name in _reached(waits, other):
                raise line.error(
                    f"{task.name} waits for {other}, which waits for {task.name}",
                    "tasks that do not wait for each other",
                )


def _reached(waits: Mapping[str, set[str]], name: str) -> set[str]:
    """The task and all that it waits for."""
    found, left = {name}, [name]
    while left:
        new = waits[left.pop()] - found
        found |= new
        left += new
    return found


# -- the question ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """The question's line, and what it is about."""

    line: Line
    machine: Machine
    tasks: tuple[TaskText, ...]
    after_crash: bool


def check_condition(
    line: Line,
    machine: Machine,
    tasks: tuple[TaskText, ...],
    condition: Condition,
    *,
    after_crash: bool,
) -> Condition:
    """The condition with values as outcomes have them: a size 4k becomes 4096."""
    return _checked(_Asked(line, machine, tasks, after_crash), condition)


def _checked(asked: _Asked, condition: Condition) -> Condition:
    if isinstance(condition, Not):
        return Not(_checked(asked, condition.condition))
    if isinstance(condition, And | Or):
        left, right = _checked(asked, condition.left), _checked(asked, condition.right)
        return replace(condition, left=left, right=right)
    if condition.kind == RESULT:
        return _checked_result(asked, condition)
    return _checked_end(asked, condition)


def _results(tasks: tuple[TaskText, ...]) -> Iterator[tuple[str, Operation]]:
    """Each result as the question names it, and what returns it: for reap, what it reaps."""
    for task in tasks:
        submitted = {each.handle: each for each in task.operations if each.handle}
        for each in task.operations:
            if each.result:
                reaped = submitted[each.other] if each.word == "reap" else each
                yield f"{task.name}.{each.result}", reaped


def _checked_result(asked: _Asked, atom: Atom) -> Atom:
    results = dict(_results(asked.tasks))
    if atom.subject not in results:
        known = f"the results are {listed(list(results), 'and')}" if results else "there are none"
        raise asked.line.error(f"result {atom.subject}", known)
    if ERRNO_NAME.fullmatch(atom.value):
        if atom.value not in errorcode.values():
            raise asked.line.error(f"error {atom.value}", "the names of errno.h are allowed")
        return atom
    operation = results[atom.subject]
    count = result_blocks(operation, asked.machine.block)
    if count:
        return _checked_blocks(asked, atom, operation.file, count, "0?!.", "an errno's name")
    size = size_max(asked.machine.files, asked.tasks, operation.file)
    return _checked_number(asked, atom, number_max(operation, size), "an errno's name")


def _checked_end(asked: _Asked, atom: Atom) -> Atom:
    """cache, disk or size of a file, when all have ended."""
    machine, tasks = asked.machine, asked.tasks
    targets = {each.other for each in operations(tasks) if each.word == "rename"}
    names = sorted(targets | {file.name for file in machine.files})
    if atom.subject not in names:
        raise asked.line.error(f"file {atom.subject}", _known_files(names))
    if atom.kind == CACHE and asked.after_crash:
        raise asked.line.error("the cache after a crash", "disk, size and results are allowed")
    moved = any(each.word in MOVES for each in operations(tasks))
    if moved and atom.value == NO_FILE:
        return atom
    other = NO_FILE if moved else ""
    end = size_max(machine.files, tasks, atom.subject)
    if atom.kind == SIZE:
        return _checked_number(asked, atom, end, other)
    marks = "0?!.-" if atom.kind == CACHE else "0?!."
    count = blocks_of(0, end, machine.block)
    return _checked_blocks(asked, atom, atom.subject, count, marks, other)


def _checked_blocks(
    asked: _Asked, atom: Atom, name: str, count: int, marks: str, other: str
) -> Atom:
    """A value of one character for each block."""
    names = joined(asked.tasks, name)
    found = {letter for each in names for letter in letters(asked.machine.files, asked.tasks, each)}
    allowed = [*sorted(found), *marks]
    subject = f"{atom.kind} {atom.subject}".strip()
    if len(atom.value) != count or not set(atom.value) <= set(allowed):
        blocks = "1 character" if count == 1 else f"{count} characters"
        also = f"; or {other}" if other else ""
        raise asked.line.error(
            f"{subject} = {atom.value}",
            f"{blocks} of {' '.join(allowed)}{also}",
        )
    return atom


def _checked_number(asked: _Asked, atom: Atom, most: int, other: str) -> Atom:
    number = parse_size(atom.value)
    if number is None or number > most:
        also = f", or {other}" if other else ""
        allowed = f"0 to {format_size(most)} is allowed{also}" if most else f"0 is allowed{also}"
        subject = f"{atom.kind} {atom.subject}".strip()
        raise asked.line.error(f"{subject} = {atom.value}", allowed)
    return replace(atom, value=str(number))
