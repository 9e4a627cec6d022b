"""The processes of a trial, seen from the one that starts them.

    Cast        a process for each task, and the keeper of the files
    Cast.run    one run: files made, tasks let go together, what they found; somebody may watch
    Process     one of them
    started     a Cast; afterwards all its processes have ended, and its directory is gone

Every answer is waited for with a time limit, and nothing here enters the directory, so a file
system that hangs cannot hold up whoever asked.

Errors: TrialError, one line: what hangs, or could not be done.
"""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fusefs.litmus.operations import operation_text
from fusefs.litmus.scale import scaled
from fusefs.litmus.test import RESULT, Litmus, Outcome
from fusefs.trial.board import Board

ROOT = Path(__file__).parents[2]
"""Where processes start, so that Python finds this fusefs and no other."""

START_TIMEOUT_S = 120.0
"""For Python to start and import, on a busy machine."""

END_TIMEOUT_S = 5.0
"""For a process that was killed, or asked to end.  One that the kernel keeps is left behind."""


_left_behind: list[subprocess.Popen[bytes]] = []


KEEPING = {
    "check": "trying what the file needs",
    "make": "making the files",
    "look": "reading and removing the files",
}
"""What the keeper does, for errors."""


Watching = Callable[[Path], AbstractContextManager[object]]


class TrialError(Exception):
    """One line."""


class Process:
    """One process and its socket, from its start to READY and its end.  name is for errors."""

    def __init__(self, name: str, fds: Sequence[int] = (), **what: Any) -> None:
        self.name = name
        self.connection, other = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fusefs.trial.process", str(other.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno(), *fds],
                start_new_session=True,  # a Ctrl-C is for us
            )
        finally:
            other.close()
        self.connection.send_bytes(pickle.dumps(what))

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *message: object) -> None:
        try:
            self.connection.send(message)
        except ConnectionError:
            raise self._gone() from None

    def receive(self) -> Any:
        """An answer that is there; TrialError if it is an OSError, or the process has ended."""
        try:
            answer = self.connection.recv()
        except (EOFError, ConnectionError):
            raise self._gone() from None
        if isinstance(answer, OSError):
            raise TrialError(f"{self.name}: {answer}")
        return answer

    def _gone(self) -> TrialError:
        status = self._process.wait(END_TIMEOUT_S)
        return TrialError(f"{self.name}: its process has ended with status {status}")

    def kill(self) -> None:
        self._process.kill()

    def has_ended(self) -> bool:
        """Waits for its end, but not for ever."""
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _left_behind.append(self._process)  # Python would complain of it
            return False
        return True


def nobody(directory: Path) -> AbstractContextManager[object]:
    """Watches a run that nobody does."""
    return nullcontext()


class Cast:
    """All processes of one trial.  timeout_s is for one run, or for what the keeper does.

    marks is a descriptor to which each task writes when it begins and ends an operation, -1 for
    none: "begin 0 2", "end 0 2" for task 0's operation 2.
    """

    def __init__(
        self, litmus: Litmus, directory: Path, seed: int, timeout_s: float, marks: int = -1
    ) -> None:
        self.litmus = litmus
        self.factor = 1
        self._directory = directory
        self.timeout_s = timeout_s
        self._seed = seed
        self._marks = marks
        self._board = Board(os.memfd_create("board"))
        self.tasks: list[Process] = []
        self._keeper = Process(str(directory), litmus=litmus, directory=directory.absolute())

    def reasons_to_skip(self) -> tuple[str, ...]:
        """Why the file cannot be tried there; the first thing to ask.

        From then on litmus is the file as large as it is tried, factor times.
        """
        self._await_start([self._keeper])
        reasons: tuple[str, ...]
        self.factor, reasons = self.ask_keeper("check")
        self.litmus = scaled(self.litmus, self.factor)
        return reasons

    def start_tasks(self, *, by_step: bool = False) -> None:
        """by_step: each waits before each of its operations until that is asked for."""
        for number, task in enumerate(self.litmus.tasks):
            process = Process(
                task.name,
                [self._board.fd, *([self._marks] if self._marks >= 0 else [])],
                marks=self._marks,
                board=self._board.fd,
                litmus=self.litmus,
                number=number,
                seed=self._seed,
                by_step=by_step,
            )
            self.tasks.append(process)
        self._await_start(self.tasks)

    def run(self, run: int, watching: Watching = nobody) -> Outcome:
        """The values of all results, and of all that the question asks of files.

        watching is entered when all files are open and nobody has begun, and left when all have
        ended; it is given the directory of the files.
        """
        directory = self.ask_keeper("make", run)
        for task in self.tasks:
            task.send(run, directory)
        self.answers(self.tasks, self.timeout_s, run)  # READY
        with watching(Path(directory)):
            self._board.let_go(run)
            results = self.answers(self.tasks, self.timeout_s, run)
        return self._outcome(run, results)

    def outcome(self, run: int, also: Collection[tuple[str, str]] = ()) -> Outcome:
        """What all have found who are about to end their run, and more of the files as well."""
        return self._outcome(run, self.answers(self.tasks, self.timeout_s, run), also)

    def _outcome(
        self, run: int, results: Sequence[Any], also: Collection[tuple[str, str]] = ()
    ) -> Outcome:
        outcome: dict[tuple[str, str], str] = {}
        for task, found in zip(self.tasks, results, strict=True):
            outcome |= {(RESULT, f"{task.name}.{name}"): value for name, value in found.items()}
        outcome |= self.ask_keeper("look", run, also)
        return outcome

    def close(self) -> None:
        """TrialError if the keeper could not remove what it made."""
        for task in self.tasks:
            task.kill()
        self._keeper.connection.close()  # which asks it to end
        for task in self.tasks:
            task.connection.close()
            task.has_ended()
        os.close(self._board.fd)
        if not self._keeper.has_ended():
            self._keeper.kill()
            raise TrialError(f"{self._directory}: what was made there could not be removed")

    # -- how -------------------------------------------------------------------------

    def _await_start(self, processes: Sequence[Process]) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        for process in processes:
            if not process.connection.poll(max(end - time.monotonic(), 0)):
                raise TrialError(f"{process.name}: not started after {START_TIMEOUT_S:g} s")
            process.receive()  # READY

    def ask_keeper(self, word: str, *arguments: object) -> Any:
        self._keeper.send(word, *arguments)
        if not self._keeper.connection.poll(self.timeout_s):
            run = f" for run {arguments[0]}" if arguments else ""
            raise TrialError(
                f"{self._directory}: hangs: {KEEPING[word]}{run} after {self.timeout_s:g} s"
            )
        return self._keeper.receive()

    def answers(self, processes: Collection[Process], timeout_s: float, run: int) -> list[Any]:
        """One of each, in order; all within the time."""
        found: dict[int, Any] = {}
        left = {process.connection: process for process in processes}
        places = {process.connection: i for i, process in enumerate(processes)}
        end = time.monotonic() + timeout_s
        while left:
            ready = wait(list(left), max(end - time.monotonic(), 0))
            if not ready:
                raise TrialError(self._what_hangs(left.values(), timeout_s, run))
            for connection in ready:
                assert isinstance(connection, Connection)
                found[places[connection]] = left.pop(connection).receive()
        return [found[place] for place in range(len(found))]

    def _what_hangs(self, processes: Collection[Process], timeout_s: float, run: int) -> str:
        """Who waits for another task is told only if nobody else is the cause."""
        told: list[str] = []
        waiting: list[str] = []
        for number, task in enumerate(self.litmus.tasks):
            if self.tasks[number] not in processes:
                continue
            place = self._board.doing(number)
            if not place:
                told.append(f"{task.name} is not in an operation")
                continue
            operation = task.operations[place - 1]
            text = f"{task.name}, line {operation.line}: '{operation_text(operation)}'"
            (waiting if operation.word == "wait" else told).append(text)
        return (
            f"{self._directory}: hangs: {'; '.join(told or waiting)}"
            f" after {timeout_s:g} s (run {run}, seed {self._seed})"
        )


@contextmanager
def started(
    litmus: Litmus, directory: Path, seed: int, timeout_s: float, marks: int = -1
) -> Iterator[Cast]:
    """A Cast of which nothing is left afterwards, whatever happens."""
    cast = Cast(litmus, directory, seed, timeout_s, marks)
    try:
        yield cast
    except TrialError as error:
        try:
            cast.close()
        except TrialError as left:
            raise TrialError(f"{error}; {left}") from None
        raise
    except BaseException:
        cast.close()
        raise
    cast.close()
