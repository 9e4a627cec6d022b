"""Programs that run on a disk while the kernel is traced.

    Played          what one run has left: the program, its files' inode numbers, lines of the trace
    play_alone      a program of one task, in this process
    play_together   runs of a program of several tasks, each a process of its own
    reasons_to_skip     why a program's trace cannot be compared

Each run has files of its own, which are gone afterwards.  The first write to an inode takes its
lock exclusive to look whether there are privileges to remove; that is had behind it before anything
is recorded.

Units: sizes are bytes.
Errors: NotPlayed; OSError of what is not an operation; TrialError of processes; LostEvents.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fusefs.conform.disk import Disk
from fusefs.conform.kernel_acts import BEGIN_MARK, END_MARK
from fusefs.conform.tracefs import Trace
from fusefs.litmus.parse import parse
from fusefs.litmus.reach import operations
from fusefs.litmus.test import EXISTS, SIZE, Atom, Litmus, Question
from fusefs.litmus.text import text
from fusefs.trial.aio import AioContext
from fusefs.trial.calls import Calls
from fusefs.trial.cast import started
from fusefs.trial.files import make_files
from fusefs.trial.system_calls import KEEP_SIZE, PUNCH_HOLE, fallocate

NOT_TRACED: Final = {
    "unlink": "the files' names change",
    "rename": "the files' names change",
}
"""Words whose path in the kernel has steps that the model's has not."""

BEYOND: Final = 1 << 40
"""Where no file of a program has a byte."""

READAHEAD: Final = 128 << 10
"""Of a disk, for programs that want none: they tell the kernel so of each open file."""

RUN_TIMEOUT_S: Final = 20.0

_TRACE_LINE: Final = "trace:"


class NotPlayed(Exception):
    """Why a program cannot be run here, in a line."""


@dataclass(frozen=True, slots=True)
class Played:
    """inos are in the order of the litmus file's files."""

    litmus: Litmus
    inos: tuple[int, ...]
    lines: tuple[str, ...]

    def text(self) -> str:
        """To a file, and back with played()."""
        inos, program = " ".join(map(str, self.inos)), text(self.litmus).rstrip("\n")
        return "\n".join([program, "", f"{_TRACE_LINE} {inos}", *self.lines, ""])


def played(stored: str, name: str) -> Played:
    """From the text of one; ValueError, LitmusError if it is none."""
    head, _, tail = stored.partition(f"\n{_TRACE_LINE}")
    inos, *lines = tail.splitlines()
    numbers = tuple(int(word) for word in inos.split())
    return Played(parse(head + "\n", name), numbers, tuple(line for line in lines if line))


def reasons_to_skip(litmus: Litmus, block: int, page: int) -> list[str]:
    """Each is one line; none if it can be traced on a disk with such blocks."""
    words = sorted({each.word for each in operations(litmus.tasks)} & NOT_TRACED.keys())
    found = [f"{word}: {NOT_TRACED[word]}" for word in words]
    machine = litmus.machine
    if (machine.block, machine.page) != (block, page):
        found.append(f"it asks for pages of {machine.page} and blocks of {machine.block}")
    if machine.cache is not None:
        found.append("the kernel's page cache has no limit of its own")
    if litmus.crash or litmus.question.after_crash:
        found.append("no machine is stopped here")
    return found


def play_alone(litmus: Litmus, disk: Disk, trace: Trace, run: int) -> Played:
    """A program of one task, once."""
    (task,) = litmus.tasks
    disk.set_readahead(litmus.machine.readahead or READAHEAD)
    own = disk.path / f"alone-{run}"
    own.mkdir()
    handles = sum(bool(each.handle) for each in task.operations)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, own)
        make_files(litmus, own, run)
        aio = AioContext(handles) if handles else None
        if aio is not None:
            undo.callback(aio.close)
        calls = Calls(litmus, task, aio)
        undo.callback(calls.close)
        calls.open(own, run)
        inos = _prepared(litmus, own)
        with trace.recording() as found:
            for place in range(len(task.operations)):
                trace.mark(f"{BEGIN_MARK} 0 {place}")
                calls.perform(place)
                trace.mark(f"{END_MARK} 0 {place}")
            calls.finish()
    return Played(litmus, inos, tuple(found.lines))


def play_together(
    litmus: Litmus, disk: Disk, trace: Trace, runs: int, seed: int = 0
) -> Iterator[Played]:
    """A program of several tasks, so many times; NotPlayed if it cannot be tried there.

    What the file asks is nobody's concern.
    """
    size = Atom(SIZE, litmus.machine.files[0].name, "0")
    litmus = replace(litmus, question=Question(EXISTS, size))
    found: list[Played] = []
    disk.set_readahead(litmus.machine.readahead or READAHEAD)

    @contextlib.contextmanager
    def watching(directory: Path) -> Iterator[None]:
        inos = _prepared(litmus, directory)
        with trace.recording() as recorded:
            yield
        found.append(Played(litmus, inos, tuple(recorded.lines)))

    with started(litmus, disk.path, seed, RUN_TIMEOUT_S, trace.mark_fd) as cast:
        reasons = cast.reasons_to_skip()
        if reasons:
            raise NotPlayed(reasons[0])
        cast.start_tasks()
        for run in range(1, runs + 1):
            cast.run(run, watching)
            yield found.pop()


def _prepared(litmus: Litmus, directory: Path) -> tuple[int, ...]:
    """The files' inode numbers.  Nothing is punched, but IS_NOSEC() is true afterwards."""
    inos = []
    for file in litmus.machine.files:
        fd = os.open(directory / file.name, os.O_RDWR)
        try:
            fallocate(fd, PUNCH_HOLE | KEEP_SIZE, BEYOND, litmus.machine.page)
            inos.append(os.fstat(fd).st_ino)
        finally:
            os.close(fd)
    return tuple(inos)
