"""What the kernel did with a program, beside what the model does: the first thing that differs.

    first_difference    of two runs of one program
    with_results        the program with a name for each result
    difference_text     a few lines for people

Units: as in observed.py.
"""

from collections.abc import Iterator
from dataclasses import replace

from fusefs.conform.observed import Difference, FileLook, Observed
from fusefs.litmus.operations import operation_text
from fusefs.litmus.test import Litmus, Operation, TaskText


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


def first_difference(kernel: Observed, model: Observed) -> Difference | None:
    """The earliest; of one moment in the order of FIELDS, after the result."""
    return next(_differences(kernel, model), None)


def _differences(kernel: Observed, model: Observed) -> Iterator[Difference]:
    for place, (one, other) in enumerate(zip(kernel.looks, model.looks, strict=True)):
        if place:
            results = kernel.results[place - 1], model.results[place - 1]
            if results[0] != results[1]:
                yield Difference(place, "result", "", *results)
        for name in one or ():
            if other is not None and one is not None:
                for what, *found in _fields(one[name], other[name]):
                    if found[0] != found[1]:
                        yield Difference(place, what, name, *found)


def _fields(kernel: FileLook, model: FileLook) -> Iterator[tuple[str, str, str]]:
    yield "size", str(kernel.size), str(model.size)
    yield "map", kernel.map, model.map
    yield "allocated", str(kernel.allocated), str(model.allocated)
    yield "pages", kernel.pages, model.pages


def difference_text(litmus: Litmus, found: Difference) -> str:
    """The operations up to it, and both sides."""
    (task,) = litmus.tasks
    machine = litmus.machine
    files = [
        f"file {each.name} {each.size} {[(r.state, r.count) for r in each.runs]}"
        for each in machine.files
    ]
    lines = [f"block {machine.block} readahead {machine.readahead}", *files]
    lines += [f"    {operation_text(each)}" for each in task.operations[: found.place]]
    about = f"{found.what} {found.file}".strip()
    return "\n".join([*lines, f"{about}: kernel {found.kernel}", f"{about}: model  {found.model}"])
