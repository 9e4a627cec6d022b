"""Litmus files for tests, tried in a temporary directory of whatever file system that is on."""

import mmap
import os
from pathlib import Path

import pytest

from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus
from fusefs.trial.histogram import Histogram
from fusefs.trial.on_directory import on_directory

SEED = 1


def block_of(directory: Path) -> int:
    return os.statvfs(directory).f_frsize


def litmus_in(directory: Path, text: str) -> Litmus:
    """A file with this machine's page and block; B, 2B … in the text are positions, in blocks."""
    block = block_of(directory)
    for count in range(9, 1, -1):
        text = text.replace(f"{count}B", str(count * block))
    text = text.replace(" 1B", f" {block}")
    page = max(mmap.PAGESIZE, block)  # where a block is larger, that is a reason to skip
    return parse(f"litmus {directory.name}\npage {page}\nblock {block}\n{text}", "test")


def tried(directory: Path, text: str, runs: int = 1) -> Histogram:
    """Skips the test, with the reasons, where this machine's file system cannot do it."""
    histogram = on_directory(litmus_in(directory, text), directory, runs, SEED)
    if histogram.skipped:
        pytest.skip("; ".join(histogram.skipped))
    assert sum(histogram.counts.values()) == runs
    return histogram


def values(histogram: Histogram) -> dict[str, str]:
    """Of a file that has one state only: 'A.r' or 'disk f' to the value."""
    (state,) = histogram.counts
    return {f"{kind} {subject}".strip(): value for kind, subject, value in state}


def our_processes(parent: int | None = None) -> set[int]:
    """The processes of trials that this one has started, without those that have ended."""
    parent = os.getpid() if parent is None else parent
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = path.joinpath("stat").read_text().rpartition(")")[2].split()
            command = path.joinpath("cmdline").read_bytes()  # of a zombie: nothing
        except OSError:
            continue
        if int(words[1]) == parent and b"fusefs.trial.process" in command:
            found.add(int(path.name))
    return found
