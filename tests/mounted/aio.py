"""Asynchronous direct writes of the same bytes to many places of a file.

Units: positions are bytes in the file.
Errors: OSError.
"""

import mmap
import os
from collections.abc import Sequence

from fusefs.trial.aio import AioContext


class AioWriter:
    """Writes the same bytes, a whole number of pages, to many places of a file at a time."""

    def __init__(self, fd: int, data: bytes, depth: int) -> None:
        self.length = len(data)
        self._buffer = mmap.mmap(-1, len(data))
        self._buffer[:] = data
        self._fd = fd
        self._context = AioContext(depth)

    def write(self, positions: Sequence[int]) -> None:
        """Submit a write for each position, and wait for all; OSError if one failed."""
        for number, position in enumerate(positions):
            self._context.submit(number, self._fd, self._buffer, position)
        for result in [self._context.wait()[1] for _ in positions]:
            if result != self.length:
                raise OSError(-result, os.strerror(-result))
