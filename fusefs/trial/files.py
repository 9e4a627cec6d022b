"""The files of one run: as they are at first, and as they are at the end.

What is written at first goes past the page cache where it can: fusefs, as any FUSE file system
with pages of its own, does not hear of POSIX_FADV_DONTNEED.

The end state, in this order, as each disturbs what comes before it:

    cache   by cachestat(2), and where a page is, block by block by preadv2(2) with RWF_NOWAIT
    size    stat(2)
    disk    a direct read: the kernel writes dirty pages back first

Units: pos, length and sizes are bytes in the file.
Errors: OSError.
"""

import errno
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fusefs.litmus.condition import atoms
from fusefs.litmus.reach import joined, letters, size_max
from fusefs.litmus.test import CACHE, DISK, HOLE, NO_FILE, SIZE, UNWRITTEN, FileText, Litmus
from fusefs.trial.letters import Alphabet
from fusefs.trial.system_calls import KEEP_SIZE, aligned_buffer, cached_read, fallocate, is_cached

NOT_CACHED = "-"


# -- at first ----------------------------------------------------------------------------


def make_files(litmus: Litmus, directory: Path, run: int) -> None:
    """All files of a litmus file, durable; in the cache only where it says so."""
    machine, alphabet = litmus.machine, Alphabet(run)
    for file in machine.files:
        path = directory / file.name
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(fd, file.size)
            _fill_runs(fd, path, file, machine.block, alphabet)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if file.cached:
                _read_pages(fd, file.size, machine.page)
        finally:
            os.close(fd)


def _fill_runs(fd: int, path: Path, file: FileText, block: int, alphabet: Alphabet) -> None:
    pos = 0
    for run in file.runs:
        length = run.count * block
        if run.state == UNWRITTEN:
            fallocate(fd, KEEP_SIZE, pos, length)
        elif run.state != HOLE:
            end = min(pos + length, file.size)
            _write(fd, path, pos, end - pos, alphabet.byte(run.state))
        pos += length


def _write(fd: int, path: Path, pos: int, length: int, byte: bytes) -> None:
    """Write a range within the file: directly what can be, the rest through the cache."""
    whole = length - length % 512
    done = _write_direct(path, pos, whole, byte) if whole else 0
    if done < length and os.pwrite(fd, byte * (length - done), pos + done) < length - done:
        raise OSError(errno.ENOSPC, "short write")


def _write_direct(path: Path, pos: int, length: int, byte: bytes) -> int:
    """How many bytes were written: none where the file system wants them otherwise."""
    try:
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return 0
    try:
        return os.pwritev(direct, [aligned_buffer(length, byte)], pos)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return 0
    finally:
        os.close(direct)


def _read_pages(fd: int, size: int, page: int) -> None:
    """One by one: a page for each, and none behind the end."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for pos in range(0, size, page):
        os.pread(fd, page, pos)


# -- at the end --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """A name whose bytes are asked for: how far, and which letters may be there."""

    path: Path
    end: int
    page: int
    block: int
    letters: Collection[str]


def end_state(
    litmus: Litmus, directory: Path, run: int, also: Collection[tuple[str, str]] = ()
) -> dict[tuple[str, str], str]:
    """The values of all atoms of the question that are about files, and of others as well."""
    alphabet = Alphabet(run)
    asked = {(atom.kind, atom.subject) for atom in atoms(litmus.question.condition) if atom.kind}
    asked |= set(also)
    found = {}
    for kind, name in sorted(asked, key=lambda each: (_ORDER.index(each[0]), each[1])):
        try:
            found[kind, name] = _value(_asked_of(litmus, directory, name), kind, alphabet)
        except FileNotFoundError:
            found[kind, name] = NO_FILE
    return found


_ORDER = (CACHE, SIZE, DISK)


def _asked_of(litmus: Litmus, directory: Path, name: str) -> _Asked:
    files, tasks = litmus.machine.files, litmus.tasks
    found = {letter for each in joined(tasks, name) for letter in letters(files, tasks, each)}
    end, machine = size_max(files, tasks, name), litmus.machine
    return _Asked(directory / name, end, machine.page, machine.block, found)


def _value(asked: _Asked, kind: str, alphabet: Alphabet) -> str:
    if kind == SIZE:
        return str(os.stat(asked.path).st_size)
    fd = os.open(asked.path, os.O_RDONLY | (0 if kind == CACHE else os.O_DIRECT))
    try:
        if kind == CACHE:
            return _cached(asked, fd, alphabet)
        buffer = aligned_buffer(max(-(-asked.end // asked.block), 1) * asked.block)
        count = os.preadv(fd, [buffer], 0)
        return alphabet.text(buffer[:count], 0, asked.end, asked.block, asked.letters)
    finally:
        os.close(fd)


def _cached(asked: _Asked, fd: int, alphabet: Alphabet) -> str:
    """Each page is looked for before any is read: a read may bring others."""
    size = os.stat(fd).st_size
    there = [is_cached(fd, pos, asked.page) for pos in range(0, asked.end, asked.page)]
    blocks = []
    for pos in range(0, asked.end, asked.block):
        data = b"" if pos >= size else None
        if data is None and there[pos // asked.page]:
            data = cached_read(fd, pos, asked.block)
        told = alphabet.text(data or b"", pos, asked.block, asked.block, asked.letters)
        blocks.append(NOT_CACHED if data is None else told)
    return "".join(blocks)
