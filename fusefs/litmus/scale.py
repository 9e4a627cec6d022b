"""A litmus file with all bytes taken several times: the same question on a machine of larger pages.

What happens depends on which blocks share a page, and not on how large they are; so a file about
pages of 512 bytes asks a kernel with pages of 4 KiB the same, eight times as large.  Larger only:
half a sector cannot be written directly.

Units: sizes are bytes.
"""

from dataclasses import replace

from fusefs.litmus.reach import result_blocks
from fusefs.litmus.test import (
    RESULT,
    SIZE,
    Atom,
    Condition,
    Litmus,
    Machine,
    Not,
    Operation,
    TaskText,
)


def scaled(litmus: Litmus, factor: int) -> Litmus:
    """The file with every size, position and number factor times as large; factor is 1 or more."""
    block = litmus.machine.block
    reads = {
        f"{task.name}.{each.result}"
        for task in litmus.tasks
        for each in task.operations
        if each.result and result_blocks(each, block)
    }
    question = litmus.question
    return replace(
        litmus,
        machine=_machine(litmus.machine, factor),
        tasks=tuple(_task(task, factor) for task in litmus.tasks),
        question=replace(question, condition=_condition(question.condition, reads, factor)),
    )


def _machine(machine: Machine, factor: int) -> Machine:
    return Machine(
        page=machine.page * factor,
        block=machine.block * factor,
        readahead=machine.readahead * factor,
        cache=None if machine.cache is None else machine.cache * factor,
        files=tuple(replace(file, size=file.size * factor) for file in machine.files),
    )


def _task(task: TaskText, factor: int) -> TaskText:
    return TaskText(task.name, tuple(_operation(each, factor) for each in task.operations))


def _operation(operation: Operation, factor: int) -> Operation:
    return replace(
        operation,
        pos=operation.pos * factor,
        length=operation.length * factor,
        other_pos=operation.other_pos * factor,
    )


def _condition(condition: Condition, reads: set[str], factor: int) -> Condition:
    """reads are the results that are blocks, and no numbers."""
    if isinstance(condition, Atom):
        is_number = condition.kind == SIZE or (
            condition.kind == RESULT and condition.subject not in reads
        )
        if is_number and condition.value.isdigit():
            return replace(condition, value=str(int(condition.value) * factor))
        return condition
    if isinstance(condition, Not):
        return Not(_condition(condition.condition, reads, factor))
    return replace(
        condition,
        left=_condition(condition.left, reads, factor),
        right=_condition(condition.right, reads, factor),
    )
