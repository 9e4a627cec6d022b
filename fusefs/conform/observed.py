"""What is looked at between two operations of a program, on the kernel or on the model.

    FileLook      one file at one moment: size, blocks, map, pages
    Look          all files, after an operation
    Observed      one run of a program of one task: results and looks
    Difference    the first thing in which two of them differ

Text has one character for each block, or for each page:

    .  hole          d  delalloc       u  unwritten      w  written          (map)
    -  not cached    c  clean          d  dirty                              (pages)

Both begin at the file's first byte, and end with the last one that is not '.' or '-'.

Units: size and allocated are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HOLE: Final = "."
DELALLOC: Final = "d"
UNWRITTEN: Final = "u"
WRITTEN: Final = "w"

ABSENT: Final = "-"
CLEAN: Final = "c"
DIRTY: Final = "d"


@dataclass(frozen=True, slots=True)
class FileLook:
    """One file at one moment.  allocated is st_blocks, in bytes, delayed blocks among them."""

    size: int
    allocated: int
    map: str
    pages: str


Look = Mapping[str, FileLook]
"""By the files' names."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A run of a program of one task.

    results     one for each operation, as the question of a litmus file would have it
    looks       one before the first operation, then one after each; None while an asynchronous
                write is in flight, as then what is there depends on who was quicker
    """

    results: tuple[str, ...]
    looks: tuple[Look | None, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """After operation number place, from 1; 0 is before the first.

    what    result, size, allocated, map or pages
    file    that it is about, "" for a result
    """

    place: int
    what: str
    file: str
    kernel: str
    model: str


def trimmed(text: str, nothing: str) -> str:
    """Without what comes after the last character that says something."""
    return text.rstrip(nothing)
