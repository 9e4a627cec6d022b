"""What the kernel did with a program, beside what the model does: the first thing that differs.

    compare             of two runs of one program: what differs, and what that is explained by
    with_results        the program with a name for each result
    difference_text     a few lines for people

Units: as in observed.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fusefs.conform.explained import EXT4_SEEK, History
from fusefs.conform.observed import Difference, FileLook, Observed
from fusefs.litmus.test import Litmus, Operation, TaskText
from fusefs.litmus.text import setting


def with_results(litmus: Litmus) -> Litmus:
    """Each operation that can have a result has a name for it."""
    tasks = [
        TaskText(
            task.name,
            tuple(_named(number, each) for number, each in enumerate(task.operations, 1)),
        )
        for task in litmus.tasks
    ]
    return replace(litmus, tasks=tuple(tasks))


def _named(number: int, operation: Operation) -> Operation:
    if operation.handle or operation.word == "wait":
        return operation
    return replace(operation, result=f"r{number}")


@dataclass(frozen=True, slots=True)
class Compared:
    """difference is None if there is none but those that reasons explain."""

    difference: Difference | None
    reasons: frozenset[str]


def compare(litmus: Litmus, kernel: Observed, model: Observed, kind: str) -> Compared:
    """The earliest difference; of one moment in the order of _fields(), after the result."""
    reasons: set[str] = set()
    (task,) = litmus.tasks
    histories = {file.name: History(litmus.machine, kind) for file in litmus.machine.files}
    sizes = {file.name: file.size for file in litmus.machine.files}
    for place, looks in enumerate(zip(kernel.looks, model.looks, strict=True)):
        if place:
            results = kernel.results[place - 1], model.results[place - 1]
            if results[0] != results[1]:
                operation, looked = task.operations[place - 1], kernel.looks[place - 1]
                file = operation.file
                if looked is not None and results[0] in histories[file].seeks(
                    looked[file], operation
                ):
                    reasons.add(EXT4_SEEK)
                    results = results[0], results[0]
            if results[0] != results[1]:
                return Compared(Difference(place, "result", "", *results), frozenset(reasons))
            for name, history in histories.items():
                history.note_operation(task.operations[place - 1], name, sizes[name])
        if looks[0] is None or looks[1] is None:
            continue
        for name, found in looks[0].items():
            sizes[name] = found.size
            histories[name].note_size(found.size)
            settled = histories[name].settle(found, looks[1][name])
            reasons |= settled.reasons
            for what, *values in _fields(found, settled.look):
                if values[0] != values[1]:
                    return Compared(Difference(place, what, name, *values), frozenset(reasons))
    return Compared(None, frozenset(reasons))


def _fields(kernel: FileLook, model: FileLook) -> Iterator[tuple[str, str, str]]:
    yield "size", str(kernel.size), str(model.size)
    yield "map", kernel.map, model.map
    yield "allocated", str(kernel.allocated), str(model.allocated)
    yield "pages", kernel.pages, model.pages


def difference_text(litmus: Litmus, found: Difference) -> str:
    """The operations up to it, and both sides."""
    (task,) = litmus.tasks
    shown = replace(litmus, tasks=(replace(task, operations=task.operations[: found.place]),))
    about = f"{found.what} {found.file}".strip()
    lines = [setting(shown), f"{about}: kernel {found.kernel}", f"{about}: model  {found.model}"]
    return "\n".join(lines)
