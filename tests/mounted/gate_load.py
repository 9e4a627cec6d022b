"""Sets gates at random, and releases them, or not: python gate_load.py MOUNTPOINT SEED COUNT.

What is held may be released, before it comes or after, wait for its time-out, or go with the open
file.  Prints how many gates it set and released, and how many waits were told of somebody.
"""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from fusefs.engine.gate import OPERATIONS, STEPS  # noqa: E402
from fusefs.gates import GateRefused, Gates  # noqa: E402

PATTERNS = ("begin", "reply", "*", "dio.*", "buffered.*", "lock.*", "writeback.*")
OPEN_GATES_MAX = 8


class Client:
    """One open file after another, each with some gates."""

    def __init__(self, mountpoint: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.mountpoint = mountpoint
        self.counts = {"holds": 0, "releases": 0, "waits": 0, "refused": 0}

    def run(self, count: int) -> None:
        while self.counts["holds"] + self.counts["releases"] < count:
            with Gates(self.mountpoint) as gates:
                names: list[str] = []
                for _ in range(self.random.randrange(1, 40)):
                    self.step(gates, names)

    def step(self, gates: Gates, names: list[str]) -> None:
        """One command."""
        try:
            if not names or (len(names) < OPEN_GATES_MAX and self.random.random() < 0.5):
                names.append(gates.hold(*self.gate()))
                self.counts["holds"] += 1
            elif self.random.random() < 0.2:
                gates.wait(self.random.choice(names), self.random.choice((0.005, 0.1)))
                self.counts["waits"] += 1
            else:
                gates.release(names.pop(self.random.randrange(len(names))))
                self.counts["releases"] += 1
        except GateRefused:  # its gate is over, nobody came, or nobody can
            self.counts["refused"] += 1

    def gate(self) -> list[str]:
        choice = self.random.choice
        step = choice(PATTERNS) if self.random.random() < 0.6 else choice(STEPS)
        words = [step, f"timeout={choice((1, 20, 200))}ms"]
        if self.random.random() < 0.3:
            words.append(f"op={choice(OPERATIONS)}")
        if self.random.random() < 0.3:
            words.append(f"until={choice(STEPS)}")
        return [*words, f"count={choice((1, 2, 10))}"]


def main(words: Sequence[str]) -> None:
    mountpoint, seed, count = words
    client = Client(mountpoint, int(seed))
    client.run(int(count))
    print(json.dumps(client.counts))


if __name__ == "__main__":
    main(sys.argv[1:])
