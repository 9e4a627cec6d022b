"""The lines of a litmus file, the shapes of their words, and the one line that is an error.

Units: sizes are bytes; they take k and m, powers of 1024.
Errors: LitmusError.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

FILE_NAME = re.compile(r"[a-z][a-z0-9_]*")
TASK_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")
LITMUS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
ERA_NAME = re.compile(r"[a-z][a-z0-9_.+-]*")
ERRNO_NAME = re.compile(r"E[A-Z0-9]+")
LETTER = re.compile(r"[a-z]")

NAME_SHAPE = "a name is lower case letters, digits and _, and begins with a letter"
TASK_SHAPE = "a task's name begins with a capital letter, such as A"

SECTOR_SIZE = 512
"""Bytes; the alignment that O_DIRECT asks of position and length."""

POSITION_MAX = 16 << 20
"""Bytes.  A search of more than a few blocks would not end anyway."""

SHOWN_LENGTH_MAX = 60
"""Of what was found."""

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


class LitmusError(ValueError):
    """One line: FILE:LINE: what was found; what is allowed."""

    def __init__(self, file: str, line: int, found: str, allowed: str) -> None:
        if len(found) > SHOWN_LENGTH_MAX:
            found = f"{found[:SHOWN_LENGTH_MAX]}…"
        super().__init__(f"{file}:{line}: {found}; {allowed}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line that says something.  text is without comment and indentation, raw as it stands."""

    file: str
    number: int
    raw: str
    text: str

    @property
    def words(self) -> list[str]:
        return self.text.split()

    @property
    def indented(self) -> bool:
        return self.raw[:1].isspace()

    def error(self, found: str, allowed: str) -> LitmusError:
        return LitmusError(self.file, self.number, found, allowed)


def lines_of(text: str, file: str) -> Iterator[Line]:
    """All lines, empty ones too: in the prose they count."""
    for number, raw in enumerate(text.split("\n"), 1):
        raw = raw.expandtabs().rstrip()
        yield Line(file, number, raw, raw.partition("#")[0].strip())


def parse_size(word: str) -> int | None:
    """'4k' -> 4096; None for what is no size."""
    match = re.fullmatch(r"([0-9]{1,9})([km]?)", word)
    return int(match[1]) * UNITS[match[2]] if match else None


def format_size(size: int) -> str:
    """The shortest spelling that parse_size() takes back."""
    for unit in ("m", "k"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


def listed(words: list[str], last: str = "or") -> str:
    """'a, b or c'."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
