"""A process of a trial: python -m fusefs.trial.process, started by fusefs/trial/cast.py.

One plays a task of the litmus file, again and again; another one, the keeper, looks after the
files.  Only they enter the directory under trial: whoever started them cannot be held up by it.

    task        gets (run, directory), answers READY, waits for the board's go, answers its results;
                by_step it gets the number of each operation, and END, instead of the go
    keeper      gets (word, …), a method of Keeper, and answers what that returns

Each says READY once it is there.  Both end when the other end of their socket is closed; the
keeper removes the trial's directory first.  An OSError in an answer is what kept it from being
one.
"""

import ctypes
import gc
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fusefs.litmus.scale import scaled
from fusefs.litmus.test import Litmus
from fusefs.trial.aio import AioContext
from fusefs.trial.board import Board
from fusefs.trial.calls import Calls
from fusefs.trial.files import end_state, make_files
from fusefs.trial.machine import factor_for, reasons_to_skip

READY = "ready"
END = "end"
"""Asked for instead of an operation: the run is over."""

PAUSE_SHARE = 0.5
PAUSE_MIN_S, PAUSE_MAX_S = 1e-6, 2e-3
"""Half of the operations come at once.  Before the others there is a pause, as likely between 1
and 10 us as between 0.1 and 1 ms: windows are of all sizes."""

SPIN_S = 100e-6
"""Shorter pauses are not slept: a sleep takes 50 us more."""

_PR_SET_PDEATHSIG = 1


# -- a task --------------------------------------------------------------------------------


def play_task(
    connection: Connection,
    board: Board,
    litmus: Litmus,
    number: int,
    seed: int,
    *,
    by_step: bool,
    marks: int,
) -> None:
    """All runs of a task, which is known by its number; by_step and marks as of a Cast."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    task = litmus.tasks[number]
    handle_count = sum(bool(each.handle) for each in task.operations)
    calls = Calls(litmus, task, AioContext(handle_count) if handle_count else None)
    numbers = {each.name: i for i, each in enumerate(litmus.tasks)}
    gc.disable()
    while True:
        run, directory = connection.recv()
        calls.close()
        try:
            calls.open(Path(directory), run)
        except OSError as error:
            calls.close()
            connection.send(error)
            continue
        pauses = random_pauses(f"{seed} {run} {task.name}", len(task.operations))
        connection.send(READY)
        if by_step:
            perform_as_asked(connection, calls)
        else:
            board.wait_for_go(run)
        for place, operation in enumerate(() if by_step else task.operations):
            pause(pauses[place])
            board.does(number, place + 1)
            mark(marks, "begin", number, place)
            if operation.word == "wait":
                board.wait_for(numbers[operation.other], run)
            else:
                calls.perform(place)
            mark(marks, "end", number, place)
        calls.finish()
        board.does(number, 0)
        results = calls.results()
        if marks < 0:  # else the trace of those who have not ended would have what a close does
            calls.close()
        board.ends(number, run)
        connection.send(results)


def perform_as_asked(connection: Connection, calls: Calls) -> None:
    """Each operation when its number comes, which is the answer, too; until END."""
    while (place := connection.recv()[0]) != END:
        calls.perform(place)
        connection.send(place)


def mark(marks: int, what: str, number: int, place: int) -> None:
    """Tell whoever traces the kernel."""
    if marks >= 0:
        os.write(marks, f"{what} {number} {place}".encode())


def random_pauses(seed: str, count: int) -> list[float]:
    """Seconds before each operation; the same for the same seed."""
    rng = random.Random(seed)
    span = PAUSE_MAX_S / PAUSE_MIN_S
    return [
        PAUSE_MIN_S * span ** rng.random() if rng.random() < PAUSE_SHARE else 0.0
        for _ in range(count)
    ]


def pause(seconds: float) -> None:
    if seconds > SPIN_S:
        time.sleep(seconds)
        return
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


# -- the keeper ----------------------------------------------------------------------------


class Keeper:
    """The files of a trial, in a directory of its own."""

    def __init__(self, litmus: Litmus, directory: Path) -> None:
        self._litmus = litmus
        self._directory = directory
        self._top: Path | None = None

    def check(self) -> tuple[int, tuple[str, ...]]:
        """How many times as large the litmus file is tried here; and why it cannot be, if so."""
        factor = factor_for(self._litmus, self._directory)
        self._litmus = scaled(self._litmus, factor)
        return factor, reasons_to_skip(self._litmus, self._own())

    def make(self, run: int) -> str:
        """The files of a run; where."""
        directory = self._own() / str(run)
        directory.mkdir()
        make_files(self._litmus, directory, run)
        return str(directory)

    def look(self, run: int, also: Collection[tuple[str, str]] = ()) -> dict[tuple[str, str], str]:
        """How the files of a run have ended; they are gone afterwards."""
        directory = self._own() / str(run)
        found = end_state(self._litmus, directory, run, also)
        shutil.rmtree(directory)
        return found

    def remove(self) -> None:
        """All that was made."""
        if self._top is not None:
            shutil.rmtree(self._top)

    def _own(self) -> Path:
        if self._top is None:
            self._top = Path(tempfile.mkdtemp(prefix="litmus-", dir=self._directory))
        return self._top


def keep_files(connection: Connection, litmus: Litmus, directory: Path) -> None:
    """Until the other end is closed."""
    keeper = Keeper(litmus, directory)
    try:
        while True:
            word, *arguments = connection.recv()
            try:
                answer = getattr(keeper, word)(*arguments)
            except OSError as error:
                answer = error
            connection.send(answer)
    finally:
        keeper.remove()


def main(fd: int) -> None:
    """What a process is, comes first through its socket."""
    connection = Connection(fd)
    try:
        what: dict[str, Any] = pickle.loads(connection.recv_bytes())
        connection.send(READY)
        if "board" in what:
            play_task(connection, Board(what.pop("board")), **what)
        else:
            keep_files(connection, **what)
    except (EOFError, ConnectionError):  # nobody needs us any more
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
