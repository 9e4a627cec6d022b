"""Kill the daemon under load, round after round on one image, and see that nothing is lost.

A round: CLIENTS clients make calls; the daemon is killed at a random moment; fsck finds
nothing but files that were deleted while open; the next mount has what docs/crashes.md
promises.  Some rounds kill it while it unmounts, or also while it mounts again.

SIGKILL takes what the daemon had in memory.  What it gave to the host is not lost so: an
fdatasync that is missing cannot be found here, but by tests/crash/test_stop_at_every_step.py.

Units: times are seconds.
Errors: Lost, whose message says how to play the round again.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crash.kill.client import REGION_SIZE
from crash.kill.file_history import Lost
from crash.kill.history import Found, check, look
from mounted.mounting import Mount

from fusefs.model.options import parse_size
from fusefs.mounts import ROOT, interrupted_after, is_mounted, lazy_umount

CLIENTS = 4
LOAD_S = 0.05, 1.0
CLIENT_TIMEOUT_S = 300.0
ROUND_TIMEOUT_S = 900.0
IMAGE_SIZE = "24m"
"""Small, so that freed blocks are soon used again."""

GENERATIONS = 1 << 16
"""Numbers for the writes of one client in one round."""


@dataclass(frozen=True)
class Plan:
    """What one round does; options are those of its mount."""

    number: int
    seed: int
    options: dict[str, str]
    kill_after_s: float
    kill_umount: bool
    kill_mount_after_s: float | None

    @classmethod
    def of(cls, number: int, seed: int, block_size: str) -> "Plan":
        rng = random.Random(f"{seed} {number}")
        larger = {"512": ["512", "4k"], "1k": ["1k", "4k"], "4k": ["4k", "16k"]}
        options = {
            "page_size": rng.choice(larger.get(block_size, [block_size])),
            "commit": rng.choice(["100ms", "300ms", "1s", "3600s"]),
            "cache_size": rng.choice(["64k", "512k", "64m"]),
            "jitter": rng.choice(["0", "0", "200us"]),
            "conversion_delay": rng.choice(["0", "100us", "1ms"]),
        }
        return cls(
            number,
            rng.getrandbits(32),
            options,
            kill_after_s=rng.uniform(*LOAD_S),
            kill_umount=rng.random() < 0.15,
            kill_mount_after_s=rng.uniform(0.0, 1.0) if rng.random() < 0.2 else None,
        )


class Rounds:
    """The rounds of one image.  kills and calls count what was done."""

    def __init__(self, mount: Mount, seed: int, block_size: str = "1k") -> None:
        self.mount = mount
        self.seed = seed
        self.block_size = block_size
        self.found: list[Found] = []
        self.kills = 0
        self.calls = 0

    def run(self, count: int) -> None:
        """Lost for the first promise that is broken."""
        for number in range(count):
            plan = self._plan(number)
            try:
                with interrupted_after(ROUND_TIMEOUT_S, self.mount):
                    self._run_round(plan)
            except Lost as lost:
                lost.add_note(
                    f"round {number} of seed {self.seed}, block_size={self.block_size}: {plan}"
                )
                raise
        assert self._look() == self.found, "reading what was found last time gives something else"
        self.mount.umount()
        self._fsck()

    def _plan(self, number: int) -> Plan:
        return Plan.of(number, self.seed, self.block_size)

    def _run_round(self, plan: Plan) -> None:
        if not self.found:
            self._start(plan)
            self._prepare()
        with self._clients(plan) as clients:
            time.sleep(plan.kill_after_s)
            if any(client.poll() is not None for client in clients):
                raise Lost(f"a client failed; the daemon's log:\n{self.mount.log()}")
            if plan.kill_umount:
                for client in clients:
                    client.terminate()
                _wait(clients)
                self._kill_umount(plan)
            else:
                self.mount.kill()
            _wait(clients)
        self.kills += 1
        if plan.kill_mount_after_s is not None:
            self._kill_mount(plan)
        self._fsck()
        self._start(self._plan(plan.number + 1))
        now = self._look()
        for i in range(CLIENTS):
            log = [json.loads(line) for line in self._log(i).read_text().splitlines()]
            self.calls += len(log) // 2
            try:
                check(self.found[i], now[i], log, i, parse_size(self.block_size))
            except Lost as lost:
                raise Lost(f"client {i}: {lost}") from None
        self.found = now

    # -- the mount ------------------------------------------------------------------------

    def _start(self, plan: Plan) -> None:
        self.mount.options |= plan.options
        self.mount.start()

    def _prepare(self) -> None:
        """The image is new: directories for all, and the shared file."""
        for name in ("common", *(f"c{i}" for i in range(CLIENTS))):
            (self.mount.path / name).mkdir()
        fd = os.open(self.mount.path / "shared", os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, CLIENTS * REGION_SIZE)
        os.fsync(fd)
        os.close(fd)
        self.found = self._look()

    def _look(self) -> list[Found]:
        return [look(self.mount.path, i) for i in range(CLIENTS)]

    def _kill_umount(self, plan: Plan) -> None:
        """While the daemon writes back and commits what is left."""
        subprocess.run(lazy_umount(self.mount.path), timeout=CLIENT_TIMEOUT_S, check=True)
        time.sleep(plan.kill_after_s / 20)
        self.mount.kill()

    def _kill_mount(self, plan: Plan) -> None:
        """Stay in front, so that the process is the daemon."""
        assert plan.kill_mount_after_s is not None
        options = ",".join(f"{name}={value}" for name, value in self.mount.options.items())
        words = ["mount", "-f", str(self.mount.image), str(self.mount.path), "-o", options]
        tool = subprocess.Popen(
            [sys.executable, "-m", "mount_tool", *words], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        time.sleep(plan.kill_mount_after_s)
        tool.kill()
        tool.wait(CLIENT_TIMEOUT_S)
        if is_mounted(self.mount.path):
            subprocess.run(lazy_umount(self.mount.path), timeout=CLIENT_TIMEOUT_S, check=True)
        self.kills += 1

    def _fsck(self) -> None:
        command = [sys.executable, "-m", "mount_tool", "fsck", "--json", str(self.mount.image)]
        result = subprocess.run(
            command, cwd=ROOT, timeout=CLIENT_TIMEOUT_S, capture_output=True, text=True, check=False
        )
        if result.returncode == 0:
            return
        found = json.loads(result.stdout or "[]")
        if result.returncode != 4 or any(finding["kind"] != "orphan" for finding in found):
            messages = "\n".join([*(finding["message"] for finding in found), result.stderr])
            raise Lost(f"fsck, status {result.returncode}:\n{messages}")

    # -- the clients ----------------------------------------------------------------------

    def _log(self, number: int) -> Path:
        return self.mount.image.with_name(f"client{number}.log")

    def _client(self, plan: Plan, number: int) -> subprocess.Popen[str]:
        arguments = [self.mount.path, self._log(number), number, plan.seed]
        arguments.append(plan.number * GENERATIONS)
        command = [sys.executable, "-m", "crash.kill.client", *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT / "tests", stdout=subprocess.PIPE, text=True)

    @contextmanager
    def _clients(self, plan: Plan) -> Iterator[list[subprocess.Popen[str]]]:
        """All have begun when the body is entered."""
        clients = [self._client(plan, i) for i in range(CLIENTS)]
        try:
            for client in clients:
                assert client.stdout is not None
                client.stdout.readline()
            yield clients
        finally:
            self.mount.interrupt()
            for client in clients:
                client.kill()
                client.communicate()


def _wait(clients: list[subprocess.Popen[str]]) -> None:
    for client in clients:
        status = client.wait(CLIENT_TIMEOUT_S)
        assert status in (0, -signal.SIGTERM), f"a client ended with status {status}"
