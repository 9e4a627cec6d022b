"""What the kernel tells of one device, while it does it: a tracefs instance of our own.

    with traced((7, 0)) as trace:
        with trace.recording() as found:
            trace.mark("begin A 0")
            os.pread(fd, 4096, 0)
        found.lines

EVENTS are those that are told of, each filtered by the device.  Nobody else's tracing is touched:
an instance has buffers, filters and a clock of its own, and is removed whatever happens.

Units: the clock is CLOCK_MONOTONIC.
Errors: NoTracing, one line that says what is missing and what to do; LostEvents if the buffer was
too small, as what is left would tell another story.
"""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

PLACES: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

EVENTS: Final = (
    *("iomap:iomap_iter", "iomap:iomap_iter_dstmap", "iomap:iomap_zero_iter"),
    *("iomap:iomap_dio_rw_begin", "iomap:iomap_dio_complete", "iomap:iomap_dio_invalidate_fail"),
    *("iomap:iomap_readahead", "iomap:iomap_writeback_folio", "iomap:iomap_add_to_ioend"),
    *("filemap:mm_filemap_add_to_page_cache", "filemap:mm_filemap_delete_from_page_cache"),
    *("readahead:page_cache_ra_unbounded", "readahead:page_cache_ra_order"),
    *("readahead:page_cache_sync_ra", "readahead:page_cache_async_ra"),
    *("block:block_bio_queue",),
)
"""Of any file system whose I/O is iomap's."""

XFS_EVENTS: Final = (
    *("xfs:xfs_ilock", "xfs:xfs_ilock_nowait", "xfs:xfs_ilock_demote", "xfs:xfs_iunlock"),
    *("xfs:xfs_file_buffered_read", "xfs:xfs_file_buffered_write", "xfs:xfs_file_fsync"),
    *("xfs:xfs_file_direct_read", "xfs:xfs_file_direct_write", "xfs:xfs_zero_eof"),
    *("xfs:xfs_iomap_found", "xfs:xfs_iomap_alloc", "xfs:xfs_end_io_direct_write"),
    *("xfs:xfs_map_blocks_alloc", "xfs:xfs_map_blocks_found"),
    *("xfs:xfs_unwritten_convert", "xfs:xfs_setfilesize"),
    *("xfs:xfs_itruncate_extents_start", "xfs:xfs_bunmap", "xfs:xfs_alloc_file_space"),
    *("xfs:xfs_free_file_space", "xfs:xfs_read_fault", "xfs:xfs_write_fault"),
)

BUFFER_KIB: Final = 4096
"""For each CPU: some ten thousand events."""

_DEVICE_FIELD: Final = re.compile(r"field:dev_t (\w*dev);")
_MINOR_BITS: Final = 20
"""dev_t as the kernel has it."""

TIMEOUT_S: Final = 60.0


class NoTracing(Exception):
    """One line."""


class LostEvents(Exception):
    """One line."""


class Recording:
    """lines are the events, oldest first, once the recording has ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []


class Trace:
    """An instance: its events are on, and nothing is recorded yet.  directory is its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark_fd = os.open(directory / "trace_marker", os.O_WRONLY)

    def mark(self, text: str) -> None:
        """A line of our own among the kernel's."""
        os.write(self.mark_fd, text.encode())

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recording]:
        """What happens meanwhile; LostEvents at the end if that is not all."""
        found = Recording()
        self._write("trace", "")
        self._write("tracing_on", "1")
        try:
            yield found
        finally:
            self._write("tracing_on", "0")
        lost = sum(self._lost(path) for path in self.directory.glob("per_cpu/cpu*/stats"))
        if lost:
            raise LostEvents(f"the kernel's trace has lost {lost} events: its buffer is too small")
        with (self.directory / "trace").open() as file:
            found.lines = [line.rstrip("\n") for line in file if not line.startswith("#")]

    def close(self) -> None:
        os.close(self.mark_fd)

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    @staticmethod
    def _lost(stats: Path) -> int:
        words = dict(line.split(":", 1) for line in stats.read_text().splitlines())
        return sum(int(words[name]) for name in ("overrun", "commit overrun", "dropped events"))


def missing() -> str | None:
    """Why nothing can be traced here, in a line; None if nothing is known to be missing."""
    if os.getuid():
        return "only root can trace the kernel"
    if not any(place.is_dir() for place in PLACES):
        return f"{PLACES[0]} is missing (a kernel with CONFIG_TRACING)"
    return None


@contextlib.contextmanager
def traced(device: tuple[int, int], *, xfs: bool = True) -> Iterator[Trace]:
    """A Trace of what happens on a device: major and minor."""
    reason = missing()
    if reason:
        raise NoTracing(reason)
    with ExitStack() as undo:
        directory = Path(tempfile.mkdtemp(prefix="conform-", dir=_top(undo) / "instances"))
        undo.callback(directory.rmdir)
        for name, text in (
            ("tracing_on", "0"),
            ("trace_clock", "mono"),
            ("buffer_size_kb", str(BUFFER_KIB)),
        ):
            (directory / name).write_text(text)
        for event in (*EVENTS, *(XFS_EVENTS if xfs else ())):
            _switch_on(directory / "events" / event.replace(":", "/"), device)
        trace = Trace(directory)
        undo.callback(trace.close)
        yield trace


def _switch_on(event: Path, device: tuple[int, int]) -> None:
    try:
        found = _DEVICE_FIELD.search((event / "format").read_text())
        assert found, f"{event.name} has no device"
        number = (device[0] << _MINOR_BITS) | device[1]
        (event / "filter").write_text(f"{found[1]} == {number}")
        (event / "enable").write_text("1")
    except FileNotFoundError:
        raise NoTracing(f"this kernel has no event {event.parent.name}:{event.name}") from None


def _top(undo: ExitStack) -> Path:
    """Where tracefs is mounted; where it is not, it is, until all is undone."""
    for place in PLACES:
        if (place / "instances").is_dir():
            return place
    place = Path(tempfile.mkdtemp(prefix="tracefs-"))
    undo.callback(place.rmdir)
    done = subprocess.run(
        ["mount", "-t", "tracefs", "tracefs", place],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise NoTracing(f"tracefs cannot be mounted: {done.stderr.strip()}")
    undo.callback(_unmount, place)
    return place


def _unmount(place: Path) -> None:
    subprocess.run(["umount", place], capture_output=True, timeout=TIMEOUT_S, check=False)
