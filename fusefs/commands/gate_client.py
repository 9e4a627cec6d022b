"""MOUNTPOINT/.fusefs/gates from outside: commands are written to it, and their answers read.

    Gates      the file, open: gates that are set through it go with it
    ask()      one command on a file of its own, as the mount's owner if it must be

Errors: CommandError, with the line that the daemon answered.
"""

import errno
import json
import os
from collections.abc import Sequence
from typing import Any

from fusefs.commands.control_files import control_path, refused
from fusefs.commands.errors import CommandError
from fusefs.commands.owner import ANSWER_TIMEOUT_S, let_in

ANSWER_BYTES_MAX = 1 << 20

Answer = dict[str, Any]


class Gates:
    """Use it in a with block: the gates go at its end."""

    def __init__(self, mountpoint: str) -> None:
        self._fd = os.open(control_path(mountpoint, "gates"), os.O_RDWR)

    def __enter__(self) -> "Gates":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def ask(self, command: str) -> list[Answer]:
        """The answers to a command; OSError if there is none at all."""
        failure: OSError | None = None
        try:
            os.write(self._fd, command.encode())
        except OSError as error:
            failure = error
        text = b""
        while piece := os.read(self._fd, ANSWER_BYTES_MAX):
            text += piece
        if failure is not None and not text:
            raise failure
        return [json.loads(line) for line in text.splitlines()]


def ask(mountpoint: str, command: str, timeout_s: float = ANSWER_TIMEOUT_S) -> list[Answer]:
    """What the daemon answers; CommandError if that is an error."""

    def asked() -> str:
        with Gates(mountpoint) as gates:
            return json.dumps(gates.ask(command))

    try:
        answers: list[Answer] = json.loads(let_in(mountpoint, asked, timeout_s))
    except OSError as error:
        raise refused(mountpoint, error) from None
    return checked(answers)


def checked(answers: list[Answer]) -> list[Answer]:
    """CommandError if one of them is an error; of usage, if the command was wrong."""
    for answer in answers:
        if "error" in answer:
            usage = answer["errno"] == errno.errorcode[errno.EINVAL]
            raise CommandError(answer["error"], 2 if usage else 0)
    return answers


def words_inside(mountpoint: str, words: Sequence[str]) -> list[str]:
    """Those of a gate, with each path= as the daemon has it: from the top of the mount."""
    top = os.path.abspath(mountpoint)
    found = []
    for word in words:
        key, equals, path = word.partition("=")
        if key == "path" and equals and os.path.abspath(path).startswith(f"{top}{os.sep}"):
            word = f"path={os.path.relpath(os.path.abspath(path), top)}"
        found.append(word)
    return found


def held_text(held: Answer) -> str:
    """Who is held before which step, in a line."""
    where = f"bytes {held['pos']}+{held['length']} of inode {held['ino']}"
    who = f"{held['operation']} {held['request']} of pid {held['pid']}"
    return f"{who} before {held['step']}, {where}"
