"""A and B of the demo's one schedule: python -m fusefs.demo.pair write|read FILE.

    write    A writes its region with O_DIRECT, reads it back through the cache, and tells what
             that was, if it was zeros: a line of JSON, see results.py
    read     B reads the region beside it through the cache, and tells nothing

Units: regions are REGION bytes, the first of a file and the second.
"""

import mmap
import os
import sys
import time
from collections.abc import Sequence

from fusefs.demo.results import StaleRead, format_event

REGION = 512
LETTER = b"a"


def write(path: str) -> None:
    """A's part."""
    buffer = mmap.mmap(-1, mmap.PAGESIZE)
    buffer[:REGION] = LETTER * REGION
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    os.pwritev(fd, [memoryview(buffer)[:REGION]], 0)
    os.close(fd)
    fd = os.open(path, os.O_RDONLY)
    found, now = os.pread(fd, REGION, 0), time.monotonic_ns()
    if found == bytes(REGION):
        stale = StaleRead(os.getpid(), os.fstat(fd).st_ino, 0, REGION, now)
        print(format_event(stale))
    elif found != LETTER * REGION:
        raise SystemExit(f"{path}: neither zeros nor what was written")


def read(path: str) -> None:
    """B's part."""
    fd = os.open(path, os.O_RDONLY)
    os.pread(fd, REGION, REGION)
    os.close(fd)


def main(words: Sequence[str]) -> None:
    what, path = words
    {"write": write, "read": read}[what](path)


if __name__ == "__main__":
    main(sys.argv[1:])
