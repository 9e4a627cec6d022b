"""stdin, stdout and stderr, whatever the caller left open.

A file opened while one of the three is closed would get its number, and what is printed would
go into it: an image, for one.  And Python has no sys.stdout then.
"""

import os
import sys


def open_all() -> None:
    """Have all three; what is written to one that was closed fails, as it would have."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # any path


def give_up(fd: int) -> None:
    """Nobody reads it any more: what is left to be written goes nowhere, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
