"""The turns of a schedule, and whether a mount can have them: FUSE has locks and pages of its own.

    Turn              which task goes, and what it stands before
    why_impossible()  what of it no mount can show, in a line

The kernel's FUSE takes an inode's lock before it asks the daemon, and keeps it for the answer:

    nobody        a read
    shared        a write that stays within the file; FOPEN_PARALLEL_DIRECT_WRITES
    exclusive     a write that makes the file longer, fsync, fallocate, truncate, SEEK_DATA and
                  SEEK_HOLE, the target of copy_file_range, and the names' unlink and rename

fs/fuse/file.c: fuse_dio_lock(), fuse_fsync(), fuse_file_fallocate(), fuse_file_llseek(),
__fuse_copy_file_range(); fs/open.c: do_truncate(); fs/namei.c: vfs_unlink(), vfs_rename().

Units: pos, length and sizes are bytes in the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from fusefs.litmus.operations import operation_text
from fusefs.litmus.test import Litmus, Operation
from fusefs.model.order_rows import NOT_MAPPED, NOT_PLACED, NOT_TOLD

START: Final = "start"
REPLY: Final = "reply"

NOBODY, SHARED, EXCLUSIVE = range(3)


class Turn(NamedTuple):
    """task is a name of the file, or kworker1; step is START, REPLY or one of the model's."""

    task: str
    step: str


@dataclass(slots=True)
class UnderWay:
    """An operation from its first turn to its last, both from 0."""

    task: str
    operation: Operation
    first: int
    last: int
    locks: int = NOBODY


def why_impossible(litmus: Litmus, turns: Sequence[Turn]) -> str | None:
    """None if a mount may show it."""
    for task in litmus.tasks:
        for each in task.operations:
            text = f"{task.name}'s '{operation_text(each)}'"
            if each.word in ("mread", "mwrite"):
                return f"{text}: {NOT_MAPPED}"
            if each.handle or each.word == "reap":
                return f"{text}: {NOT_TOLD}"
            if "append" in each.flags:
                return f"{text}: {NOT_PLACED}"
    return _locked_out(litmus, turns)


def under_way(litmus: Litmus, turns: Sequence[Turn]) -> list[UnderWay]:
    """The operations in the order in which they begin."""
    found: list[UnderWay] = []
    now: dict[str, UnderWay] = {}
    left = {task.name: iter(task.operations) for task in litmus.tasks}
    for number, turn in enumerate(turns):
        if turn.task not in left:
            continue
        if turn.step in (START, REPLY):
            new = UnderWay(turn.task, next(left[turn.task]), number, number)
            now[turn.task] = new
            found.append(new)
        else:
            now[turn.task].last = number
    return found


def _locked_out(litmus: Litmus, turns: Sequence[Turn]) -> str | None:
    """The first operation that would come in beside one that has the lock that it needs."""
    sizes = {file.name: file.size for file in litmus.machine.files}
    before: list[UnderWay] = []
    for each in under_way(litmus, turns):
        for ended in [other for other in before if other.last < each.first]:
            _resize(sizes, ended.operation)
            before.remove(ended)
        each.locks = _locks(each.operation, sizes)
        for other in before:
            locks = each.locks, other.locks
            same = _files(each.operation) & _files(other.operation)
            if same and EXCLUSIVE in locks and NOBODY not in locks:
                return _line(each, other)
        before.append(each)
    return None


def _line(new: UnderWay, other: UnderWay) -> str:
    alone = new if new.locks == EXCLUSIVE else other
    word = alone.operation.word
    what = "a write that makes it longer" if word == "pwrite" else word
    return (
        f"at turn {new.first + 1}, {new.task}'s '{operation_text(new.operation)}' cannot come in"
        f" beside {other.task}'s '{operation_text(other.operation)}': the kernel's FUSE has its"
        f" lock of a file to itself for {what}"
    )


def _files(operation: Operation) -> set[str]:
    """Those whose lock it takes."""
    if operation.word == "copy_range":
        return {operation.other}
    return {operation.file, operation.other} - {""}


def _locks(operation: Operation, sizes: dict[str, int]) -> int:
    if operation.word in ("pread", "wait"):
        return NOBODY
    if operation.word == "pwrite":
        is_within = operation.pos + operation.length <= sizes.get(operation.file, 0)
        return SHARED if is_within else EXCLUSIVE
    return EXCLUSIVE


def _resize(sizes: dict[str, int], operation: Operation) -> None:
    """What an operation has done to a file's size, as far as it can be told."""
    if operation.word == "truncate":
        sizes[operation.file] = operation.pos
    elif operation.word == "copy_range":
        end = operation.other_pos + operation.length
        sizes[operation.other] = max(sizes.get(operation.other, 0), end)
    elif operation.word in ("pwrite", "falloc", "fzero") and "keep_size" not in operation.flags:
        end = operation.pos + operation.length
        sizes[operation.file] = max(sizes.get(operation.file, 0), end)
