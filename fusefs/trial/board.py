"""What the processes of a trial see of each other: a page of memory that all of them share.

    go        the run whose tasks may begin, and when
    doing     where each task is: the number of its operation from 1, 0 while it is in none
    ended     the last run in which each task has ended

Each number is eight aligned bytes with one writer, so nobody reads half of one.

Units: times are nanoseconds of CLOCK_MONOTONIC, which all processes share.
"""

import mmap
import os
import time

_GO = 0
_FIRST = 1
_PER_TASK = 2

SLEEP_S = 20e-6
"""Between two looks for a task that is waited for."""


class Board:
    """fd: a file in memory that has the numbers; the caller's to close."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.ftruncate(fd, mmap.PAGESIZE)
        self._numbers = memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("q")

    def let_go(self, run: int) -> None:
        self._numbers[_GO] = run

    def wait_for_go(self, run: int) -> None:
        """Returns within a microsecond of the others, if there is a processor for each."""
        while self._numbers[_GO] < run:
            os.sched_yield()

    def does(self, task: int, operation: int) -> None:
        self._numbers[_FIRST + _PER_TASK * task] = operation

    def doing(self, task: int) -> int:
        return self._numbers[_FIRST + _PER_TASK * task]

    def ends(self, task: int, run: int) -> None:
        self._numbers[_FIRST + _PER_TASK * task + 1] = run

    def wait_for(self, task: int, run: int) -> None:
        """Until a task has ended in that run."""
        while self._numbers[_FIRST + _PER_TASK * task + 1] < run:
            time.sleep(SLEEP_S)
