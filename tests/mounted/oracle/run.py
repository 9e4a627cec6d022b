"""Several processes on one live mount, each with an oracle in memory, and mounts that change.

All pause together: unmount, fsck, mount again with other options, and go on.  What was there
before is compared first.

Units: times are seconds.
Errors: Mismatch for the first difference, with the seed to play it again.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mounted.mounting import Mount
from mounted.oracle.client import SHARED, SHARED_SIZE, Mismatch

from fusefs.mounts import COMMAND_TIMEOUT_S, ROOT, interrupted_after

CLIENTS = 4
IMAGE_SIZE = "64m"
PAUSE_OPERATIONS = 25_000
"""A run of as many operations pauses once at least; a shorter one, three times."""

PAUSE_TIMEOUT_S = 900.0
"""No mount takes as long, even on a busy machine."""


class Run:
    """counts are the operations of all processes by kind; those of a run that failed, too."""

    def __init__(self, mount: Mount, seed: int) -> None:
        self.mount = mount
        self.seed = seed
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.bytes_compared = 0
        self.mounts = 0

    def run(self, operations: int) -> None:
        pauses = max(4, operations // PAUSE_OPERATIONS)
        with self._clients() as clients:
            for _ in range(pauses):
                self._mount()
                with interrupted_after(PAUSE_TIMEOUT_S, self.mount):
                    self._go_on(clients, operations // pauses // CLIENTS)
                self.mount.umount()
                self._fsck()

    def _mount(self) -> None:
        choose = self.rng.choice
        options = {
            "page_size": choose(["4k", "4k", "4k", "16k", "64k"]),
            "cache_size": choose(["128k", "1m", "64m"]),
            "readahead": choose(["0", "32k", "128k"]),
            "jitter": choose(["0", "0", "0", "50us"]),
            "conversion_delay": choose(["0", "0", "100us"]),
            "commit": choose(["200ms", "5s"]),
        }
        if self.mount.options.get("invalidate") == "before":
            options = {"conversion_delay": "5ms", "jitter": "1ms"}  # a wide window
        self.mount.options |= options
        self.mount.start()
        self.mounts += 1
        if self.mounts == 1:
            (self.mount.path / "common").mkdir()
            for name in SHARED:
                with open(self.mount.path / name, "xb") as file:
                    os.truncate(file.fileno(), SHARED_SIZE)

    def _go_on(self, clients: list[subprocess.Popen[str]], count: int) -> None:
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(f"{count}\n")
            client.stdin.flush()
        answers = [self._answer(client) for client in clients]
        self.counts = sum((Counter(answer["counts"]) for answer in answers), Counter())
        self.bytes_compared = sum(answer["bytes_compared"] for answer in answers)
        for answer in answers:
            if "mismatch" in answer:
                raise Mismatch(f"{answer['mismatch']}\nseed {self.seed}, {self.mount.options}")

    def _answer(self, client: subprocess.Popen[str]) -> dict[str, Any]:
        assert client.stdout is not None
        line = client.stdout.readline()
        if not line:
            raise Mismatch(f"a client ended with status {client.wait()}; seed {self.seed}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fsck(self) -> None:
        command = [sys.executable, "-m", "mount_tool", "fsck", str(self.mount.image)]
        result = subprocess.run(
            command,
            cwd=ROOT,
            timeout=COMMAND_TIMEOUT_S,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise Mismatch(f"fsck: {result.stdout}{result.stderr}\nseed {self.seed}")

    @contextmanager
    def _clients(self) -> Iterator[list[subprocess.Popen[str]]]:
        arguments = [[self.mount.path, i, CLIENTS, self.seed] for i in range(CLIENTS)]
        clients = [
            subprocess.Popen(
                [sys.executable, "-m", "mounted.oracle.client", *map(str, words)],
                cwd=ROOT / "tests",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for words in arguments
        ]
        try:
            yield clients
        finally:
            for client in clients:
                client.kill()
                client.communicate()
