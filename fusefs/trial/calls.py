"""The operations of one task, as system calls on descriptors that it has open beforehand.

    Calls.open      descriptors, mappings, buffers: all that must not happen in between
    Calls.perform   one operation: one system call, and what it gave
    Calls.results   what all gave, as a litmus file's question has it
    Calls.close

A file that is written or read in several ways is open several times: O_DIRECT, O_DSYNC and
O_APPEND belong to a descriptor.  mread and mwrite beyond the end of a file are EFAULT here, where
a program gets SIGBUS.

Units: pos and length are bytes in the file.
Errors: OSError of open(); those of operations are their results.
"""

import errno
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from fusefs.litmus.reach import letters
from fusefs.litmus.test import Litmus, Operation, TaskText
from fusefs.trial.aio import AioContext
from fusefs.trial.letters import Alphabet
from fusefs.trial.system_calls import (
    KEEP_SIZE,
    PUNCH_HOLE,
    ZERO_RANGE,
    MappedFile,
    aligned_buffer,
    fallocate,
)

FLAGS = {"direct": os.O_DIRECT, "dsync": os.O_DSYNC, "append": os.O_APPEND}

BY_NAME = ("unlink", "rename")
NO_CALL = ("wait", "reap")

Value = int | bytes
"""What a call returned, or read; a negative number is an errno."""


class Calls:
    """One task in one run."""

    def __init__(self, litmus: Litmus, task: TaskText, aio: AioContext | None) -> None:
        self._litmus = litmus
        self._operations = task.operations
        self._aio = aio
        self._directory = Path()
        self._alphabet = Alphabet(0)
        self._fds: dict[tuple[str, int], int] = {}
        self._mappings: dict[str, MappedFile] = {}
        self._buffers: list[mmap.mmap | None] = []
        self._values: dict[int, Value] = {}
        self._submitted: set[int] = set()
        self._handles = {each.handle: i for i, each in enumerate(self._operations) if each.handle}
        self._calls: Mapping[str, Callable[[int, Operation], Value]] = {
            "pwrite": self._pwrite,
            "pread": self._pread,
            "copy_range": self._copy_range,
            "mwrite": self._mwrite,
            "mread": self._mread,
            "reap": self._reap,
            **dict.fromkeys(ON_DESCRIPTOR, self._on_descriptor),
            **dict.fromkeys(BY_NAME, self._on_name),
        }

    # -- before, and after -------------------------------------------------------------

    def open(self, directory: Path, run: int) -> None:
        """For a run in that directory, whose files are there."""
        self._directory, self._alphabet = directory, Alphabet(run)
        self._values.clear()
        for each in self._operations:
            if each.word not in BY_NAME and each.word not in NO_CALL:
                self._open_file(each.file, _open_flags(each))
            if each.word == "copy_range":
                self._open_file(each.other, 0)
            if each.word in ("mread", "mwrite"):
                self._map(each.file)
            self._buffers.append(self._buffer(each))

    def _open_file(self, name: str, flags: int) -> None:
        if (name, flags) in self._fds:
            return
        self._fds[name, flags] = fd = os.open(self._directory / name, os.O_RDWR | flags)
        if not self._litmus.machine.readahead:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

    def _map(self, name: str) -> None:
        if name not in self._mappings:
            mapped = [each for each in self._operations if each.word in ("mread", "mwrite")]
            end = max(each.pos + each.length for each in mapped if each.file == name)
            self._mappings[name] = MappedFile(self._fds[name, 0], end)

    def _buffer(self, operation: Operation) -> mmap.mmap | None:
        if operation.word == "pread":
            return aligned_buffer(operation.length)
        if operation.word == "pwrite":
            return aligned_buffer(operation.length, self._alphabet.byte(operation.value))
        return None

    @property
    def in_flight(self) -> bool:
        """Something was submitted that was not reaped."""
        return bool(self._submitted)

    def finish(self) -> None:
        """Wait for all that was submitted and not reaped."""
        while self._submitted:
            self._await_one()

    def close(self) -> None:
        for mapping in self._mappings.values():
            mapping.close()
        for fd in self._fds.values():
            os.close(fd)
        self._mappings.clear()
        self._fds.clear()
        self._buffers.clear()

    def results(self) -> dict[str, str]:
        """By the names that the file gives them."""
        return {
            each.result: self._text(number, each)
            for number, each in enumerate(self._operations)
            if each.result
        }

    def _text(self, number: int, operation: Operation) -> str:
        value = self._values[number]
        if isinstance(value, int):
            return errno.errorcode[-value] if value < 0 else str(value)
        litmus = self._litmus
        known = letters(litmus.machine.files, litmus.tasks, operation.file)
        return self._alphabet.text(
            value, operation.pos, operation.length, litmus.machine.block, known
        )

    # -- in between --------------------------------------------------------------------

    def perform(self, number: int) -> None:
        """The operation of that number, from 0; not wait, which is about other tasks."""
        operation = self._operations[number]
        try:
            self._values[number] = self._calls[operation.word](number, operation)
        except OSError as error:
            self._values[number] = -(error.errno or errno.EIO)

    def _fd(self, operation: Operation) -> int:
        return self._fds[operation.file, _open_flags(operation)]

    def _pwrite(self, number: int, operation: Operation) -> Value:
        buffer = self._buffers[number]
        assert buffer is not None
        if operation.handle:
            assert self._aio is not None
            self._aio.submit(number, self._fd(operation), buffer, operation.pos)
            self._submitted.add(number)
            return 0
        return os.pwritev(self._fd(operation), [buffer], operation.pos)

    def _pread(self, number: int, operation: Operation) -> Value:
        buffer = self._buffers[number]
        assert buffer is not None
        return buffer[: os.preadv(self._fd(operation), [buffer], operation.pos)]

    def _reap(self, _number: int, operation: Operation) -> Value:
        submitted = self._handles[operation.other]
        while submitted in self._submitted:
            self._await_one()
        return self._values[submitted]

    def _await_one(self) -> None:
        assert self._aio is not None
        number, self._values[number] = self._aio.wait()
        self._submitted.remove(number)

    def _copy_range(self, _number: int, operation: Operation) -> Value:
        return os.copy_file_range(
            self._fds[operation.file, 0],
            self._fds[operation.other, 0],
            operation.length,
            operation.pos,
            operation.other_pos,
        )

    def _mread(self, _number: int, operation: Operation) -> Value:
        loaded = self._mappings[operation.file].load(operation.pos, operation.length)
        return loaded if len(loaded) == operation.length else -errno.EFAULT

    def _mwrite(self, _number: int, operation: Operation) -> Value:
        data = self._alphabet.byte(operation.value) * operation.length
        stored = self._mappings[operation.file].store(operation.pos, data)
        return 0 if stored == operation.length else -errno.EFAULT

    def _on_descriptor(self, _number: int, operation: Operation) -> Value:
        return ON_DESCRIPTOR[operation.word](self._fd(operation), operation) or 0

    def _on_name(self, _number: int, operation: Operation) -> Value:
        if operation.word == "unlink":
            os.unlink(self._directory / operation.file)
        else:
            os.rename(self._directory / operation.file, self._directory / operation.other)
        return 0


def _open_flags(operation: Operation) -> int:
    flags = 0
    for flag in operation.flags & FLAGS.keys():
        flags |= FLAGS[flag]
    return flags


def _fallocate(mode: int) -> Callable[[int, Operation], None]:
    def call(fd: int, operation: Operation) -> None:
        keep = KEEP_SIZE if "keep_size" in operation.flags else 0
        fallocate(fd, mode | keep, operation.pos, operation.length)

    return call


ON_DESCRIPTOR: Mapping[str, Callable[[int, Operation], int | None]] = {
    "falloc": _fallocate(0),
    "fpunch": _fallocate(PUNCH_HOLE | KEEP_SIZE),
    "fzero": _fallocate(ZERO_RANGE),
    "truncate": lambda fd, each: os.ftruncate(fd, each.pos),
    "fsync": lambda fd, _: os.fsync(fd),
    "fdatasync": lambda fd, _: os.fdatasync(fd),
    "seek_data": lambda fd, each: os.lseek(fd, each.pos, os.SEEK_DATA),
    "seek_hole": lambda fd, each: os.lseek(fd, each.pos, os.SEEK_HOLE),
}
