"""Commands of gates: what they ask a live mount, as its owner if they must be.

Errors: CommandError, with the line that the daemon answered; of usage if the command was wrong.
"""

import errno
import json
import os
from collections.abc import Callable, Sequence

from fusefs.commands.control_files import refused
from fusefs.commands.errors import CommandError
from fusefs.commands.owner import ANSWER_TIMEOUT_S, let_in
from fusefs.gates import Answer, GateRefused, Gates


def ask(mountpoint: str, command: str, timeout_s: float = ANSWER_TIMEOUT_S) -> list[Answer]:
    """What the daemon answers to a command on a file of its own."""

    def asked() -> str:
        with Gates(mountpoint) as gates:
            return json.dumps(gates.ask(command))

    answers: list[Answer] = json.loads(with_gates(mountpoint, asked, timeout_s))
    return answers


def with_gates(mountpoint: str, work: Callable[[], str], timeout_s: float) -> str:
    """What work() returns, which uses Gates; a timeout_s of 0 is none."""

    def told() -> str:
        try:
            return f"+{work()}"
        except GateRefused as error:
            return f"{error.number} {error}"

    try:
        text = let_in(mountpoint, told, timeout_s)
    except OSError as error:
        raise refused(mountpoint, error) from None
    if text.startswith("+"):
        return text[1:]
    number, _, line = text.partition(" ")
    raise CommandError(line, 2 if int(number) == errno.EINVAL else 0)


def words_inside(mountpoint: str, words: Sequence[str]) -> list[str]:
    """Those of a gate, with each path= as the daemon has it: from the top of the mount."""
    top = os.path.abspath(mountpoint)
    found = []
    for word in words:
        key, equals, path = word.partition("=")
        if key == "path" and equals and f"{os.path.abspath(path)}/".startswith(f"{top}/"):
            word = f"path=/{os.path.relpath(os.path.abspath(path), top)}"
        found.append(word)
    return found
