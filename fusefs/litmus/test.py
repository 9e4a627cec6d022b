"""What a litmus file says, as data.  All of it is frozen, and equal if it means the same.

    Litmus        the whole file
    Machine       page, block, readahead, cache; and the files as they are at first
    TaskText      one process: its operations in order
    Operation     one line of it
    Question      exists, ~exists or forall, and a condition
    Condition     Atom, Not, And, Or

Values are text: one character for each block that a result touches.

    a-z    the letter that some pwrite or a file's first state put there
    0      zeros
    ?      bytes that nobody wrote into this file: another file's, or what the disk held before
    !      a block that is made of several of these
    .      beyond the end of the file, or of a short result
    -      of `cache f` alone: not in the cache, or not uptodate

A result that is no read's is a number, most often of bytes, or an errno's name.

Units: pos, length and sizes are bytes; Run.count is blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

EXISTS: Final = "exists"
NOT_EXISTS: Final = "~exists"
FORALL: Final = "forall"

NEVER: Final = "Never"
SOMETIMES: Final = "Sometimes"
ALWAYS: Final = "Always"

HOLE: Final = "hole"
UNWRITTEN: Final = "unwritten"

CACHE: Final = "cache"
DISK: Final = "disk"
SIZE: Final = "size"
RESULT: Final = ""
"""What an atom is about."""

NO_FILE: Final = "ENOENT"
"""The cache, disk and size of a name that no file has at the end."""

RULES: Final = {
    "coherence": "(D1) no clean cached block disagrees with the disk, unless fsync fails for it",
    "foreign": "no byte is read, cached or on the disk that nobody wrote into that file",
    "lost": "what a write has returned for is there until somebody overwrites it",
    "deadlock": "somebody can always go on, until all have ended",
    "space": "each block of the disk has one owner, or is free, and none is promised twice",
    "durable": "(C1) after a crash, what an fsync or a dsync write has returned for is there",
    "exposed": "(C2) after a crash, no byte is found that nobody wrote into that file",
    "torn": "(C3) after a crash, each block is whole, and one of the values it was given",
}
"""What must hold in every run, asked for or not; the last three in files that say `crash`."""


@dataclass(frozen=True, slots=True)
class Run:
    """Blocks of a file that begin alike: HOLE, UNWRITTEN, or written with a letter."""

    state: str
    count: int


@dataclass(frozen=True, slots=True)
class FileText:
    """A file as it is before anybody runs.  cached: all its pages are in the cache, clean.

    runs are the file's blocks in order, no two neighbours alike; what is beyond the size is
    unwritten.
    """

    name: str
    size: int
    runs: tuple[Run, ...]
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """readahead 0 is off; cache is the most bytes that are cached, None for no limit."""

    page: int
    block: int
    readahead: int
    cache: int | None
    files: tuple[FileText, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a task: word file pos length ….

    word      one of USAGE in operations.py
    file      by an open file, which the task has had since before anybody ran; of unlink and
              rename: the name
    pos       of truncate: the new size; with append: 0, as the file's end is meant
    value     of pwrite and mwrite: the letter that all of it is
    flags     of direct, dsync, append; of falloc and fzero: keep_size
    other     rename's new name, copy_range's target; wait's task; reap's handle
    other_pos where in copy_range's target
    result    the name that the result is kept by, "" for none
    handle    `aio NAME = …`: it returns once it is submitted, and `reap NAME` waits for it
    line      in the file, from 1; equal operations may differ in it
    """

    word: str
    file: str = ""
    pos: int = 0
    length: int = 0
    value: str = ""
    flags: frozenset[str] = frozenset()
    other: str = ""
    other_pos: int = 0
    result: str = ""
    handle: str = ""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TaskText:
    """One process."""

    name: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Atom:
    """kind RESULT, subject "A.r"; or kind CACHE, DISK or SIZE, subject a file's name."""

    kind: str
    subject: str
    value: str


@dataclass(frozen=True, slots=True)
class Not:
    condition: "Condition"


@dataclass(frozen=True, slots=True)
class And:
    left: "Condition"
    right: "Condition"


@dataclass(frozen=True, slots=True)
class Or:
    left: "Condition"
    right: "Condition"


Condition = Atom | Not | And | Or


@dataclass(frozen=True, slots=True)
class Question:
    """after_crash: the condition is about what a mount after a crash finds, and not about ends."""

    quantifier: str
    condition: Condition
    after_crash: bool = False


@dataclass(frozen=True, slots=True)
class Litmus:
    """A file.  expected has NEVER, SOMETIMES or ALWAYS by the name of an era or an order; whoever
    is not in it is expected to answer NEVER, of forall ALWAYS.  breaks are rules that may be
    broken in other orders than today's."""

    name: str
    prose: tuple[str, ...]
    machine: Machine
    tasks: tuple[TaskText, ...]
    question: Question
    expected: Mapping[str, str] = field(default_factory=dict)
    breaks: tuple[str, ...] = ()
    crash: bool = False


Outcome = Mapping[tuple[str, str], str]
"""What one run ended with: the value of each (kind, subject) that an Atom can be about."""
