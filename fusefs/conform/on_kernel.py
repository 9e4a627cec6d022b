"""A program of one task in the kernel, looked at between its operations.

    run_on_kernel    its files made, its operations performed, each followed by a look
    look_at          one file: stat(2), the FIEMAP ioctl, cachestat(2)

A look changes nothing: FIEMAP is asked without FIEMAP_FLAG_SYNC, so delayed blocks stay delayed;
cachestat(2) finds pages and touches none.  A large folio is told page by page, and all of it is
dirty as soon as one of its pages is.

Units: pos, length and sizes are bytes in the file.
Errors: OSError of what is not an operation of the program.
"""

import fcntl
import mmap
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fusefs.conform import observed
from fusefs.conform.observed import FileLook, Look, Observed, trimmed
from fusefs.litmus.test import Litmus
from fusefs.trial.aio import AioContext
from fusefs.trial.calls import Calls
from fusefs.trial.files import make_files
from fusefs.trial.system_calls import cache_count

STAT_BLOCK: Final = 512
"""What st_blocks counts."""

_FIEMAP: Final = 0xC020660B
_HEAD: Final = struct.Struct("=QQIIII")
_EXTENT: Final = struct.Struct("=QQQQQIIII")
_EXTENTS_MAX: Final = 128
_LAST: Final = 0x1
_DELALLOC: Final = 0x4
_UNWRITTEN: Final = 0x800


def run_on_kernel(litmus: Litmus, directory: Path, run: int) -> Observed:
    """All operations of the only task, in files of their own, which are gone afterwards.

    Each has a result that has a name.  run chooses the bytes for letters, as in a trial.
    """
    (task,) = litmus.tasks
    own = directory / f"program-{run}"
    own.mkdir()
    handles = sum(bool(each.handle) for each in task.operations)
    looks: list[Look | None] = []
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, own)
        make_files(litmus, own, run)
        fds = {file.name: _opened(own / file.name, undo) for file in litmus.machine.files}
        aio = AioContext(handles) if handles else None
        if aio is not None:
            undo.callback(aio.close)
        calls = Calls(litmus, task, aio)
        undo.callback(calls.close)
        calls.open(own, run)
        block = litmus.machine.block
        looks.append({name: look_at(fd, block) for name, fd in fds.items()})
        for place in range(len(task.operations)):
            calls.perform(place)
            in_flight = calls.in_flight
            looks.append(
                None if in_flight else {name: look_at(fd, block) for name, fd in fds.items()}
            )
        calls.finish()
        found = calls.results()
        results = tuple(found.get(each.result, "") for each in task.operations)
    return Observed(results, tuple(looks))


def _opened(path: Path, undo: ExitStack) -> int:
    fd = os.open(path, os.O_RDONLY)
    undo.callback(os.close, fd)
    return fd


def look_at(fd: int, block: int) -> FileLook:
    """What a file is at this moment."""
    found = os.fstat(fd)
    blocks = _map(fd, block)
    length = max(found.st_size, len(blocks) * block)
    return FileLook(found.st_size, found.st_blocks * STAT_BLOCK, blocks, _pages(fd, length))


# -- the map -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Extent:
    pos: int
    length: int
    flags: int


def _map(fd: int, block: int) -> str:
    """One character for each block; an extent ends where its last block does."""
    states: list[str] = []
    for extent in _extents(fd):
        states += observed.HOLE * (extent.pos // block - len(states))
        states += _state(extent.flags) * -(-extent.length // block)
    return trimmed("".join(states), observed.HOLE)


def _state(flags: int) -> str:
    if flags & _DELALLOC:
        return observed.DELALLOC
    return observed.UNWRITTEN if flags & _UNWRITTEN else observed.WRITTEN


def _extents(fd: int) -> Iterator[_Extent]:
    """All of them, whatever the size says."""
    start = 0
    while True:
        space = bytearray(_HEAD.size + _EXTENTS_MAX * _EXTENT.size)
        _HEAD.pack_into(space, 0, start, (1 << 64) - 1 - start, 0, 0, _EXTENTS_MAX, 0)
        fcntl.ioctl(fd, _FIEMAP, space)
        count = _HEAD.unpack_from(space)[3]
        if not count:
            return
        for number in range(count):
            fields = _EXTENT.unpack_from(space, _HEAD.size + number * _EXTENT.size)
            pos, length, flags = fields[0], fields[2], fields[5]
            yield _Extent(pos, length, flags)
            if flags & _LAST:
                return
            start = pos + length


# -- the cache ---------------------------------------------------------------------------


def _pages(fd: int, length: int) -> str:
    """One character for each page up to length."""
    page = mmap.PAGESIZE
    return trimmed("".join(_page(fd, pos) for pos in range(0, length, page)), observed.ABSENT)


def _page(fd: int, pos: int) -> str:
    count = cache_count(fd, pos, mmap.PAGESIZE)
    if not count.cached:
        return observed.ABSENT
    return observed.DIRTY if count.dirty else observed.CLEAN
