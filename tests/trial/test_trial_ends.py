"""Whatever happens to a trial, one line says it, no process is left, and no file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from trial.trying import SEED, litmus_in, our_processes

from fusefs.litmus.test import Litmus, Operation, TaskText
from fusefs.litmus.text import text
from fusefs.trial.cast import ROOT
from fusefs.trial.on_directory import TrialError, on_directory
from fusefs.trial.process import random_pauses

TEXT = "file f 1B hole\nA:\n    r = pread f 0 1B\nB:\n    s = pread f 0 1B\nexists A.r = 0"


def with_operation(litmus: Litmus, task: int, operation: Operation) -> Litmus:
    """One more operation at the end of a task: none that a file could have."""
    tasks = list(litmus.tasks)
    tasks[task] = TaskText(tasks[task].name, (*tasks[task].operations, operation))
    return replace(litmus, tasks=tuple(tasks))


@pytest.fixture
def litmus(tmp_path: Path) -> Litmus:
    return litmus_in(tmp_path, TEXT)


def nothing_is_left(directory: Path) -> None:
    assert our_processes() == set()
    assert not list(directory.iterdir())


def test_one_process_for_each_task_is_kept_for_all_runs(litmus: Litmus, tmp_path: Path):
    seen: list[set[int]] = []
    on_directory(litmus, tmp_path, 4, SEED, told=lambda run: seen.append(our_processes()))
    assert seen[0] == seen[-1]
    assert len(seen[0]) == 3, "two tasks and the keeper"
    nothing_is_left(tmp_path)


def test_a_hang_is_told_with_task_line_and_operation(litmus: Litmus, tmp_path: Path):
    """Tasks that wait for each other, which no file could say."""
    for task, other in ((0, "B"), (1, "A")):
        litmus = with_operation(litmus, task, Operation("wait", other=other, line=7 + 3 * task))
    with pytest.raises(TrialError) as told:
        on_directory(litmus, tmp_path, 3, SEED, timeout_s=0.5)
    assert str(told.value) == (
        f"{tmp_path}: hangs: A, line 7: 'wait B'; B, line 10: 'wait A'"
        f" after 0.5 s (run 1, seed {SEED})"
    )
    nothing_is_left(tmp_path)


def test_a_process_that_is_killed_is_told(litmus: Litmus, tmp_path: Path):
    def kill_one(run: int) -> None:
        if run == 2:
            os.kill(max(our_processes()), signal.SIGKILL)

    with pytest.raises(TrialError, match=r"its process has ended with status -9$"):
        on_directory(litmus, tmp_path, 10, SEED, told=kill_one)
    nothing_is_left(tmp_path)


def test_an_interrupt_ends_all(litmus: Litmus, tmp_path: Path):
    def interrupt(run: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_directory(litmus, tmp_path, 10, SEED, told=interrupt)
    nothing_is_left(tmp_path)


RUN_FOR_EVER = """
import sys
from pathlib import Path
from fusefs.litmus.parse import parse
from fusefs.trial.on_directory import on_directory
on_directory(parse(sys.argv[1], "test"), Path(sys.argv[2]), 1 << 40)
"""

TIMEOUT_S = 120.0
"""Against hanging alone: a busy machine takes a minute for what takes a second."""


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.01)


def test_whoever_is_killed_leaves_nothing(litmus: Litmus, tmp_path: Path):
    """Not even time to say so: the keeper removes its files all the same."""
    trial = subprocess.Popen(
        [sys.executable, "-c", RUN_FOR_EVER, text(litmus), str(tmp_path)], cwd=ROOT
    )
    try:
        eventually(lambda: any(tmp_path.glob("litmus-*/[1-9]*")), "a run has begun")
        eventually(lambda: len(our_processes(trial.pid)) == 3, "all processes are there")
        processes = our_processes(trial.pid)
    finally:
        trial.kill()
        trial.wait()
    eventually(lambda: not list(tmp_path.iterdir()), "its files are gone")
    eventually(lambda: not any(map(is_running, processes)), "its processes have ended")


def is_running(pid: int) -> bool:
    try:
        return b"fusefs.trial.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_directory_that_is_not_there_is_one_line(litmus: Litmus, tmp_path: Path):
    with pytest.raises(TrialError) as told:
        on_directory(litmus, tmp_path / "missing", 1, SEED)
    assert str(told.value).startswith(f"{tmp_path}/missing: [Errno 2] No such file or directory")
    assert "\n" not in str(told.value)
    nothing_is_left(tmp_path)


def test_pauses_are_the_seed_s():
    """Half of the operations come at once, and no pause is longer than 2 ms."""
    pauses = random_pauses("1 2 A", 1000)
    assert pauses == random_pauses("1 2 A", 1000)
    assert pauses != random_pauses("2 2 A", 1000)
    assert 400 < pauses.count(0.0) < 600
    assert max(pauses) < 2e-3
    assert sum(0 < pause < 10e-6 for pause in pauses) > 100
    assert sum(pause > 200e-6 for pause in pauses) > 100
