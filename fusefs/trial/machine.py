"""What a litmus file asks of its machine, against what a directory has: why it cannot be tried.

A file that is tried elsewhere than it asks for would answer another question: its blocks share
pages otherwise, or its writes are refused, and no bad outcome would look like a good one.
Where pages are larger, and as many blocks share one, it can be tried as scale.py has it.

Sizes are compared with what the file system says, or, of a mount of ours, `.fusefs/status`;
whatever else is needed is tried, on a file of its own.

Units: sizes are bytes.
Errors: OSError of a directory in which no file can be made.
"""

import fcntl
import json
import mmap
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fusefs.litmus.condition import atoms
from fusefs.litmus.reach import joined, operations, size_max
from fusefs.litmus.source import SECTOR_SIZE, format_size, parse_size
from fusefs.litmus.test import CACHE, DISK, UNWRITTEN, Litmus, Operation, TaskText
from fusefs.store import mount_table
from fusefs.trial.aio import AioContext
from fusefs.trial.system_calls import (
    KEEP_SIZE,
    PUNCH_HOLE,
    ZERO_RANGE,
    MappedFile,
    aligned_buffer,
    alignment,
    cached_read,
    fallocate,
    is_cached,
)

TRIED_LENGTH = 256 << 10
"""Of the files on which operations are tried."""

BLOCK_SIZE_MAX = 64 << 10

_FICLONE = 0x40049409

READAHEAD_UNIT = 1024
"""sysfs has it in KiB."""


def factor_for(litmus: Litmus, directory: Path) -> int:
    """How many times as large the file's page is in that directory; 1 if it is not."""
    page, _ = _page_and_block(directory, fusefs_status(directory))
    return page // litmus.machine.page if page % litmus.machine.page == 0 else 1


def reasons_to_skip(litmus: Litmus, directory: Path) -> tuple[str, ...]:
    """Each is one line; none if the file can be tried there.  The directory is the caller's own."""
    status = fusefs_status(directory)
    found = [
        *_sizes(litmus, directory, status),
        *_other_words(litmus, status),
        *_not_on_disk(litmus),
    ]
    readahead = _readahead(litmus, directory, status)
    if readahead:
        found.append(readahead)
    return (*found, *_tried(litmus, directory))


def fusefs_status(directory: Path) -> dict[str, Any] | None:
    """`.fusefs/status` of the mount that the directory is in; None if it is not ours.

    OSError if it is, and cannot be read: what ours has would be taken for the kernel's.
    """
    device = os.stat(directory).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = [
        each
        for each in mount_table.seen_by("self")
        if each.device == number and each.type.startswith("fuse")
    ]
    refused: OSError | None = None
    for each in mounts:
        try:
            status = json.loads(Path(each.mountpoint, ".fusefs/status").read_bytes())
        except ValueError:
            continue
        except OSError as error:
            refused = error if each.type == "fuse.fusefs" else refused
            continue
        if isinstance(status, dict) and isinstance(status.get("pid"), int):
            return status
    if refused is not None:
        raise refused
    return None


# -- what the file system says -----------------------------------------------------------


def _page_and_block(directory: Path, status: dict[str, Any] | None) -> tuple[int, int]:
    if status:
        return status["cache"]["page_size"], status["space"]["block_size"]
    return mmap.PAGESIZE, os.statvfs(directory).f_frsize


def _sizes(litmus: Litmus, directory: Path, status: dict[str, Any] | None) -> Iterator[str]:
    page, block = _page_and_block(directory, status)
    wanted = litmus.machine
    if wanted.page != page:
        yield f"page {format_size(wanted.page)}: a page has {format_size(page)} here"
    if wanted.block != block:
        yield f"block {format_size(wanted.block)}: a block has {format_size(block)} here"
    if wanted.cache is not None:
        has = status["options"]["cache_size"] if status else None
        if has is None or parse_size(has) != wanted.cache:
            limit = f"it is {has}" if has else "the page cache has no limit of its own"
            yield f"cache {format_size(wanted.cache)}: {limit} here"


def _other_words(litmus: Litmus, status: dict[str, Any] | None) -> Iterator[str]:
    if litmus.crash or litmus.question.after_crash:
        yield "crash: no machine is stopped here"
    for file in litmus.machine.files:
        ends_written = file.runs and len(file.runs[-1].state) == 1
        if status and file.size % SECTOR_SIZE and ends_written and not file.cached:
            yield f"file {file.name}: fusefs keeps the page in which a written file ends cached"


def _not_on_disk(litmus: Litmus) -> Iterator[str]:
    """`disk f` is what lies there without a writeback, and a direct read writes back first."""
    asked = {atom.subject for atom in atoms(litmus.question.condition) if atom.kind == DISK}
    for name in sorted(asked):
        yield from why_not_on_disk(litmus, name)


def why_not_on_disk(litmus: Litmus, name: str) -> Iterator[str]:
    """What may be dirty when all have ended, of the file of that name: a line for each."""
    files = joined(litmus.tasks, name)
    for task in litmus.tasks:
        for place, each in enumerate(task.operations):
            if _dirties(each, files, litmus.machine.block) and not _synced(litmus, task, place):
                yield f"disk {name}: {task.name}'s {each.word} may end in the cache alone"


def _dirties(operation: Operation, files: Collection[str], block: int) -> bool:
    """Whether it may leave dirty pages in one of the files."""
    target = operation.other if operation.word == "copy_range" else operation.file
    if target not in files:
        return False
    if operation.word == "pwrite":
        return not operation.flags & {"direct", "dsync"}
    if operation.word in ("truncate", "fpunch", "fzero"):  # zeros within a block
        return (operation.pos | operation.length) % block != 0
    return operation.word in ("mwrite", "copy_range")


def _synced(litmus: Litmus, task: TaskText, place: int) -> bool:
    """Whether the task, or one that waits for it, syncs the file after that operation."""
    operation = task.operations[place]
    name = operation.other if operation.word == "copy_range" else operation.file
    later = list(task.operations[place + 1 :])
    for other in litmus.tasks:
        waits = [i for i, each in enumerate(other.operations) if _waits_for(each, task.name)]
        later += other.operations[waits[0] :] if waits else ()
    return any(each.word in ("fsync", "fdatasync") and each.file == name for each in later)


def _waits_for(operation: Operation, task: str) -> bool:
    return operation.word == "wait" and operation.other == task


def _readahead(litmus: Litmus, directory: Path, status: dict[str, Any] | None) -> str | None:
    """It makes no difference where no file has a second page."""
    machine = litmus.machine
    names = {file.name for file in machine.files}
    if all(size_max(machine.files, litmus.tasks, name) <= machine.page for name in names):
        return None
    if not status and not machine.readahead:
        return None  # POSIX_FADV_RANDOM
    wanted = format_size(machine.readahead) if machine.readahead else "off"
    has = parse_size(status["options"]["readahead"]) if status else _kernel_readahead(directory)
    if has == machine.readahead:
        return None
    here = "not told" if has is None else format_size(has)
    hint = f" ('set MOUNTPOINT readahead={machine.readahead}' changes it)" if status else ""
    return f"readahead {wanted}: it is {here} here{hint}"


def _kernel_readahead(directory: Path) -> int | None:
    device = os.stat(directory).st_dev
    path = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    try:
        return int(Path(path).read_text()) * READAHEAD_UNIT
    except (OSError, ValueError):
        return None


# -- what is tried -----------------------------------------------------------------------


def _tried(litmus: Litmus, directory: Path) -> Iterator[str]:
    """Each thing that the file needs, on a written file and on one that is a hole."""
    tried = _Tried(litmus, directory)
    try:
        for what, try_it in tried.needed():
            try:
                lacking = try_it()
            except OSError as error:
                lacking = error.strerror
            if lacking:
                yield f"{what}: {lacking} here"
    finally:
        tried.close()


class _Tried:
    """Two files in the directory: one written, one a hole."""

    def __init__(self, litmus: Litmus, directory: Path) -> None:
        self._litmus = litmus
        self._paths = [directory / "written", directory / "hole"]
        self.written, self.hole = [
            os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600) for path in self._paths
        ]
        os.pwrite(self.written, b"w" * TRIED_LENGTH, 0)
        os.fsync(self.written)
        os.ftruncate(self.hole, TRIED_LENGTH)

    def close(self) -> None:
        for fd, path in zip((self.written, self.hole), self._paths, strict=True):
            os.close(fd)
            os.unlink(path)

    def needed(self) -> Iterator[tuple[str, Callable[[], str | None]]]:
        litmus = self._litmus
        words = {each.word for each in operations(litmus.tasks)}
        kinds = {atom.kind for atom in atoms(litmus.question.condition)}
        if direct := direct_unit(litmus):
            yield f"direct I/O of {format_size(direct)}", lambda: self._direct(direct)
        if any(run.state == UNWRITTEN for file in litmus.machine.files for run in file.runs):
            yield UNWRITTEN, lambda: fallocate(self.hole, KEEP_SIZE, 0, TRIED_LENGTH)
        if any(each.handle for each in operations(litmus.tasks)):
            yield "aio", self._aio
        if CACHE in kinds:
            yield "cache in the question", self._cached
        for word in sorted(words & self._words().keys()):
            yield word, self._words()[word]

    def _words(self) -> dict[str, Callable[[], str | None]]:
        length = TRIED_LENGTH
        return {
            "falloc": lambda: fallocate(self.hole, 0, 0, length),
            "fpunch": lambda: fallocate(self.hole, PUNCH_HOLE | KEEP_SIZE, 0, length),
            "fzero": lambda: fallocate(self.hole, ZERO_RANGE, 0, length),
            "seek_data": self._seek,
            "seek_hole": self._seek,
            "copy_range": self._copy,
            "mread": self._map,
            "mwrite": self._map,
        }

    def _direct(self, unit: int) -> str | None:
        """tmpfs, for one, takes O_DIRECT, and goes through the cache."""
        has = alignment(self.written)
        if has == 0:
            return "the file system has none"
        if has is not None and unit % has:
            return f"it takes multiples of {format_size(has)}"
        direct = os.open(self._paths[0], os.O_RDWR | os.O_DIRECT)
        try:
            os.pwritev(direct, [aligned_buffer(unit, b"d")], unit)
            with suppress(OSError):  # cachestat(2) is not everywhere
                if is_cached(self.written, unit, unit):
                    return "it goes through the page cache"
            os.preadv(direct, [aligned_buffer(unit)], unit)
        finally:
            os.close(direct)
        return None

    def _aio(self) -> None:
        AioContext(1).close()

    def _cached(self) -> None:
        is_cached(self.written, 0, SECTOR_SIZE)
        cached_read(self.written, 0, SECTOR_SIZE)

    def _seek(self) -> str | None:
        os.ftruncate(self.hole, 0)  # what was tried before may have filled it
        os.ftruncate(self.hole, TRIED_LENGTH)
        at = os.lseek(self.hole, 0, os.SEEK_HOLE)
        return "holes are not told" if at else None

    def _copy(self) -> str | None:
        """Where files can share blocks, copy_file_range(2) tries that first."""
        os.copy_file_range(self.written, self.hole, SECTOR_SIZE, 0, 0)
        with suppress(OSError):
            fcntl.ioctl(self.hole, _FICLONE, self.written)
            return "blocks are shared, and not copied"
        return None

    def _map(self) -> None:
        mapped = MappedFile(self.written, mmap.PAGESIZE)
        try:
            mapped.load(0, SECTOR_SIZE)
        finally:
            mapped.close()


def direct_unit(litmus: Litmus) -> int:
    """The largest power of two, up to BLOCK_SIZE_MAX, of which all direct I/O is a multiple.

       0 if there is none.
    What the end state reads of the disk is direct, too.
    """
    positions = 0
    for each in operations(litmus.tasks):
        if "direct" in each.flags:
            positions |= each.pos | each.length
    if any(atom.kind == DISK for atom in atoms(litmus.question.condition)):
        positions |= litmus.machine.block
    return min(positions & -positions, BLOCK_SIZE_MAX)
