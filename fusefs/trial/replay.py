"""A schedule of a litmus file on a mount of fusefs: real processes, held before each step.

    replay()      runs of one schedule; what each ended with
    Replayed      what came of it

Each task is a process that makes one system call when it is asked to.  A gate holds its requests
before every step, and a turn is a release: what runs between two steps is what ran there in the
search.  A reply is let go at once: between two operations a process waits here, not in the mount.

Only gates are used, through the mount's control files, as any other client may: docs/gates.md.
While it runs, the mount has the schedule's orders, no delays and no commits of its own; afterwards
it has what it had.

Errors: TrialError, one line: the mount cannot show it, and why; or where it went another way.
"""

import errno
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusefs.ending import uninterrupted
from fusefs.gates import GateRefused, Gates
from fusefs.litmus.source import format_size
from fusefs.litmus.test import CACHE, DISK, RESULT, Litmus, Operation, Outcome
from fusefs.model.options import NONE
from fusefs.trial.cast import Cast, Process, TrialError, started
from fusefs.trial.machine import fusefs_status, why_not_on_disk
from fusefs.trial.process import END
from fusefs.trial.turns import REPLY, START, Turn, why_impossible

BEFORE = "post_before_end"
"""The order that a mount calls invalidate=before."""

ERA = "era"

BEGIN = "begin"
TASK_WAIT = "task.wait"
WORKER = "work"

NO_REQUEST = ("wait",)
"""Operations of which the mount hears nothing."""

PROGRAMS = "read,write,fsync,truncate,fallocate,lseek,copy_file_range,rename"
"""Operations of the tasks themselves, and not of what they leave behind."""

HELD_S = 60.0
"""A time-out of each hold, which only somebody who is lost meets."""

STOP_S = 10.0
"""In which a process comes to its next step, on a machine with much else to do."""

LOOK_S = 0.05


Subject = tuple[str, str]
"""What a value is of, as in an Outcome."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """same of so many runs ended as the search did, in all that was compared; differing says how
    often the others ended with what.
    """

    runs: int
    same: int
    differing: Mapping[str, int]
    compared: frozenset[Subject]
    seconds: float


def replay(
    litmus: Litmus,
    turns: Sequence[Turn],
    expected: Outcome,
    orders: Sequence[str],
    directory: Path,
    runs: int,
) -> Replayed:
    """Run it so many times, in files of their own, which are gone afterwards."""
    reason = why_impossible(litmus, turns)
    if reason is not None:
        raise TrialError(f"{litmus.name}: {reason}")
    mountpoint = _mountpoint(directory)
    seen = {subject: value for subject, value in expected.items() if _can_be_seen(litmus, subject)}
    begun = time.monotonic()
    differing: Counter[str] = Counter()
    with (
        _settings(mountpoint, litmus, orders),
        started(litmus, directory, 0, HELD_S) as cast,
    ):
        skipped = cast.reasons_to_skip()
        if skipped:
            raise TrialError(f"{litmus.name}: {'; '.join(skipped)}")
        if cast.factor != 1:
            page, here = litmus.machine.page, cast.litmus.machine.page
            line = f"page {format_size(page)}: a page has {format_size(here)} here"
            raise TrialError(f"{litmus.name}: {line}")
        cast.start_tasks(by_step=True)
        for run in range(1, runs + 1):
            outcome = Run(cast, mountpoint, turns).played(run, seen)
            other = _difference(seen, outcome)
            differing[other] += bool(other)
    differing.pop("", None)
    same = runs - differing.total()
    return Replayed(runs, same, differing, frozenset(seen), time.monotonic() - begun)


def _mountpoint(directory: Path) -> Path:
    status = fusefs_status(directory)
    if status is None:
        raise TrialError(f"{directory}: no fusefs is mounted there, and only that can be held")
    return Path(str(status["mountpoint"]))


def _can_be_seen(litmus: Litmus, subject: Subject) -> bool:
    """Whether somebody outside can look: not into the cache, and not on the disk while what is
    dirty would be written back by the look.
    """
    kind, name = subject
    if kind == DISK:
        return not any(why_not_on_disk(litmus, name))
    return kind != CACHE


def _difference(expected: Outcome, outcome: Outcome) -> str:
    """What ended otherwise than in the search, in a line; "" if nothing did."""
    other = [
        f"{' '.join(filter(None, subject))}={outcome.get(subject, 'unknown')}"
        for subject, value in expected.items()
        if outcome.get(subject) != value
    ]
    return "; ".join(other)


@contextmanager
def _settings(mountpoint: Path, litmus: Litmus, orders: Sequence[str]) -> Iterator[None]:
    """The mount as the search's model is, and afterwards as it was."""
    before, others = BEFORE in orders, [each for each in orders if each != BEFORE]
    wanted = {
        "invalidate": "before" if before else "after",
        "order": "+".join(others) or "none",
        "jitter": "0",
        "conversion_delay": "0",
        "commit": "3600s",
        "readahead": str(litmus.machine.readahead),
    }
    control = mountpoint / ".fusefs"
    had = {name: (control / name).read_text().strip() for name in (*wanted, ERA)}
    try:
        for name, value in wanted.items():
            try:
                (control / name).write_text(value)
            except OSError as error:
                line = f"{mountpoint}: {name}={value}: {error.strerror}"
                raise TrialError(line) from None
        yield
    finally:
        with uninterrupted():
            for name, value in had.items():  # the era last: with each order it is another one
                if (name, value) != (ERA, NONE):
                    (control / name).write_text(value)


class Player:
    """A task, or what it leaves behind: its gate, and the step before which it is held."""

    def __init__(self, gates: Gates, gate: str, process: Process | None, words: str) -> None:
        self.gate = gates.hold("*", words, "count=all", f"timeout={HELD_S:g}s", f"as {gate}")
        self.process = process
        self.place = -1
        self.step = ""


class Run:
    """One run of a schedule."""

    def __init__(self, cast: Cast, mountpoint: Path, turns: Sequence[Turn]) -> None:
        self._cast = cast
        self._turns = turns
        self._gates = Gates(mountpoint)
        self._players: dict[str, Player] = {}

    def played(self, run: int, wanted: Collection[Subject]) -> Outcome:
        """Its outcome, with all that is wanted of files; TrialError if it goes another way."""
        cast, tasks = self._cast, self._cast.tasks
        directory = cast.ask_keeper("make", run)
        for task in tasks:
            task.send(run, directory)
        cast.answers(tasks, cast.timeout_s, run)
        with self._gates:
            for number, task in enumerate(tasks):
                words = f"pid={task.pid} op={PROGRAMS}"
                self._players[task.name] = Player(self._gates, f"T{number}", task, words)
                behind = f"kworker{number + 1}"
                words = f"pid={task.pid} op={WORKER}"
                self._players[behind] = Player(self._gates, f"W{number}", None, words)
            for number, turn in enumerate(self._turns, 1):
                try:
                    self._go(turn)
                except GateRefused as error:
                    raise TrialError(f"at turn {number}, {turn.task}: {error}") from None
                except TrialError as error:
                    raise TrialError(f"at turn {number}, {error}") from None
        for task in tasks:
            task.send(END)
        return cast.outcome(run, [subject for subject in wanted if subject[0] != RESULT])

    def _go(self, turn: Turn) -> None:
        player = self._player(turn.task)
        if turn.step == TASK_WAIT:  # whom it waits for has ended: the mount hears nothing of it
            return
        if turn.step in (START, REPLY) and player.process is not None:
            self._begin(turn.task, player)
            return
        if not player.step:
            self._stop(turn.task, player)
        step = BEGIN if turn.step == START else turn.step
        if player.step != step:
            raise TrialError(f"{turn.task} stands before {player.step}, and not {step}")
        self._release(turn.task, player)

    def _player(self, name: str) -> Player:
        """Of what several tasks leave behind, the number says whose it is, and which of it."""
        count = len(self._cast.tasks)
        number = name.removeprefix("kworker")
        if name not in self._players and number.isdigit():
            name = f"kworker{(int(number) - 1) % count + 1}"
        return self._players[name]

    def _begin(self, name: str, player: Player) -> None:
        """The next operation of a task."""
        player.place += 1
        operation = self._operation(name, player)
        if operation.word in NO_REQUEST:
            return
        assert player.process is not None
        player.process.send(player.place)
        if self._stop(name, player):
            if player.step != BEGIN:
                raise TrialError(f"{name} stands before {player.step}, and not {BEGIN}")
            self._release(name, player)

    def _operation(self, name: str, player: Player) -> Operation:
        (task,) = [task for task in self._cast.litmus.tasks if task.name == name]
        return task.operations[player.place]

    def _release(self, name: str, player: Player) -> None:
        """Let it do its turn: it comes to its next step, or its operation ends."""
        self._gates.release(player.gate)
        self._stop(name, player)

    def _stop(self, name: str, player: Player) -> bool:
        """Whether it is held before another step; else its operation has ended."""
        end = time.monotonic() + STOP_S
        while True:
            if player.process is not None and player.process.connection.poll():
                player.process.receive()
                player.step = ""
                return False
            try:
                player.step = self._gates.wait(player.gate, LOOK_S)["step"]
            except GateRefused as error:
                if error.number != errno.ETIMEDOUT or time.monotonic() > end:
                    raise TrialError(f"{name} does not come to its next step: {error}") from None
                continue
            if player.step != REPLY:
                return True
            self._gates.release(player.gate)
            player.step = ""
            if player.process is None:
                return False
            if not player.process.connection.poll(STOP_S):
                raise TrialError(f"{name} was answered, and does not go on") from None
