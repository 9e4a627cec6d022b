"""The gates of a mount from outside: MOUNTPOINT/.fusefs/gates, open.

    with Gates(mountpoint) as gates:
        gates.hold("dio.write.convert", "op=write", "as A")
        ...                             # a process writes, and is held
        print(gates.wait("A")["pid"])
        gates.release("A")

Gates that are set through an open file go when it is closed, also by the end of its process.
A call returns when the daemon has answered: whoever serves the mount must not make it.

Errors: GateRefused, with the daemon's line; OSError if there is no such file, or no answer.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any

ANSWER_BYTES_MAX = 1 << 20

Answer = dict[str, Any]
"""One line of JSON, as fusefs/live/requests/gate_files.py has it."""


class GateRefused(Exception):
    """What the daemon answered; number is an errno."""

    def __init__(self, line: str, number: int) -> None:
        super().__init__(line)
        self.number = number


class Gates:
    """The file, open.  It is closed at the end of a with block."""

    def __init__(self, mountpoint: str | Path) -> None:
        self._fd = os.open(os.path.join(mountpoint, ".fusefs", "gates"), os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> "Gates":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def hold(self, step: str, *words: str) -> str:
        """A gate; the words are those of docs/gates.md.  Returns its name."""
        (answer,) = self.ask(" ".join(["hold", step, *words]))
        name: str = answer["name"]
        return name

    def wait(self, name: str, timeout_s: float = 5.0) -> Answer:
        """Who is held there, as soon as somebody is; GateRefused(ETIMEDOUT), (EDEADLK)."""
        (answer,) = self.ask(f"wait {name} timeout={timeout_s * 1000:.0f}ms")
        return answer

    def release(self, name: str) -> None:
        """Let go who is held there, or the next one that comes; all takes all gates away."""
        self.ask(f"release {name}")

    def all(self) -> list[Answer]:
        """Every gate, and who is held there."""
        return self.ask("list")

    def ask(self, command: str) -> list[Answer]:
        """The answers to a command."""
        failure: OSError | None = None
        try:
            os.write(self._fd, command.encode())
        except OSError as error:
            failure = error
        text = b""
        while piece := os.read(self._fd, ANSWER_BYTES_MAX):
            text += piece
        answers: list[Answer] = [json.loads(line) for line in text.splitlines()]
        for answer in answers:
            if "error" in answer:
                raise GateRefused(answer["error"], getattr(errno, answer["errno"]))
        if failure is not None:
            raise failure
        return answers


def held_text(held: Answer) -> str:
    """Who is held before which step, in a line."""
    where = f"bytes {held['pos']}+{held['length']} of inode {held['ino']}"
    who = f"{held['operation']} {held['request']} of pid {held['pid']}"
    return f"{who} before {held['step']}, {where}"
