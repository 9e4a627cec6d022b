"""What a litmus file can do at most: sizes, letters and results.

    blocks_max()     characters of `cache f` and `disk f`
    letters()        what may stand for a block of a file
    result_blocks()  characters of a read's result
    joined()         names that renames can give to each other's files

Units: sizes are bytes.
"""

from collections.abc import Iterator, Sequence

from fusefs.litmus.test import FileText, Litmus, Operation, TaskText

EXTENDS = ("pwrite", "falloc", "fzero", "copy_range", "truncate")

MOVES = ("unlink", "rename")
"""The operations that change what a name means."""


def operations(tasks: Sequence[TaskText]) -> Iterator[Operation]:
    for task in tasks:
        yield from task.operations


def joined(tasks: Sequence[TaskText], name: str) -> set[str]:
    """The name, and all those whose files may come to be called so, or once were."""
    names = {name}
    renames = [{each.file, each.other} for each in operations(tasks) if each.word == "rename"]
    while grown := [pair for pair in renames if pair & names and not pair <= names]:
        names |= set().union(*grown)
    return names


def size_max(files: Sequence[FileText], tasks: Sequence[TaskText], name: str) -> int:
    """No file of that name is ever larger, in bytes."""
    names = joined(tasks, name)
    return max([_size_max(tasks, file) for file in files if file.name in names], default=0)


def _size_max(tasks: Sequence[TaskText], file: FileText) -> int:
    size, appended = file.size, 0
    for each in operations(tasks):
        target = each.other if each.word == "copy_range" else each.file
        if target != file.name or each.word not in EXTENDS or "keep_size" in each.flags:
            continue
        if "append" in each.flags:
            appended += each.length
        elif each.word == "copy_range":
            size = max(size, each.other_pos + each.length)
        else:
            size = max(size, each.pos + each.length)
    return size + appended


def blocks_max(litmus: Litmus, name: str) -> int:
    """The number of characters of `cache name` and `disk name`."""
    return blocks_of(0, size_max(litmus.machine.files, litmus.tasks, name), litmus.machine.block)


def blocks_of(pos: int, end: int, block: int) -> int:
    """How many blocks have bytes of a range."""
    return -(-end // block) - pos // block if end > pos else 0


def letters(files: Sequence[FileText], tasks: Sequence[TaskText], name: str) -> set[str]:
    """What somebody writes into a file, or what it began with; through copies as well."""
    found: set[str] = set()
    sources, seen = [name], {name}
    while sources:
        target = sources.pop()
        for each in operations(tasks):
            if each.word in ("pwrite", "mwrite") and each.file == target:
                found.add(each.value)
            if each.word == "copy_range" and each.other == target and each.file not in seen:
                seen.add(each.file)
                sources.append(each.file)
        found |= {run.state for file in files if file.name == target for run in file.runs}
    return {each for each in found if len(each) == 1}


def result_blocks(operation: Operation, block: int) -> int:
    """The number of characters of a read's result; 0 for what returns a number."""
    if operation.word not in ("pread", "mread"):
        return 0
    return blocks_of(operation.pos, operation.pos + operation.length, block)


def number_max(operation: Operation, size: int) -> int:
    """The largest number that an operation on a file of at most size bytes returns."""
    if operation.word in ("pwrite", "copy_range"):
        return operation.length
    return size if operation.word.startswith("seek") else 0
