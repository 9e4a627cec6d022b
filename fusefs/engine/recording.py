"""A run of a mount as a text: what was asked of it, what each request met, and what happened to it.

    fusefs recording 1
    machine page=4096 block=512 readahead=131072 era=linux-6.18 order=none
    file 12 "/data"             a number, and the path that it had when it was first met
    state 7 4096 0:2u-,6wc      of request 7, before it changed anything: the file's size, and for
                                each range what its blocks are: two unwritten ones and not cached,
                                six written and cached
    12.345678 4711 write 12 - 0+512 7 began direct      an event: fusefs/engine/events.py
    lost 120                    so many lines are missing here: nobody took them in time
    mount ended                 the daemon was gone before the command was
    end 5 0123456789abcdef      lines before this one, and their checksum

A block is h, u or w: a hole, unwritten, written; and -, c or d: not cached, cached, dirty there.
A file without its end line was cut short, one with another checksum was edited.

    Machine, Named, State, Lost, Gone   what a line says, beside Event
    records()                           lines to these; RecordingError
    Seal                                counts and sums up lines while they are written or read

Units: sizes and positions are bytes; State's blocks are those of the machine.
Errors: RecordingError, one line.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from fusefs.engine.events import Event, parse

HEAD: Final = "fusefs recording 1"
_HEADS: Final = "fusefs recording "
END: Final = "end"
GONE: Final = "mount ended"

HOLE, UNWRITTEN, WRITTEN = "h", "u", "w"
UNCACHED, CACHED, DIRTY = "-", "c", "d"

_RUN = re.compile(r"([0-9]{1,9})([huw])([-cd])")

CHECKSUM_LENGTH: Final = 16


class RecordingError(ValueError):
    """A file is no recording, or not a whole one; one line."""


class Machine(NamedTuple):
    """Of the mount when the recording began.  era is "none" for orders that are no era's."""

    page: int
    block: int
    readahead: int
    era: str
    order: str

    def __str__(self) -> str:
        return "machine " + " ".join(f"{name}={value}" for name, value in self._asdict().items())


class Named(NamedTuple):
    """path is from the mount's root; "" for a file that had no name."""

    ino: int
    path: str

    def __str__(self) -> str:
        return f"file {self.ino} {json.dumps(self.path)}"


class State(NamedTuple):
    """What a request met.  ranges have a position each, and two characters for each block."""

    request: int
    size: int
    ranges: tuple[tuple[int, tuple[str, ...]], ...]

    def __str__(self) -> str:
        words = [f"{pos}:{_runs(blocks)}" for pos, blocks in self.ranges]
        return " ".join(["state", str(self.request), str(self.size), *words])


class Lost(NamedTuple):
    """Lines that are not there."""

    lines: int

    def __str__(self) -> str:
        return f"lost {self.lines}"


class Gone(NamedTuple):
    """The daemon ended before the recording did."""

    def __str__(self) -> str:
        return GONE


Record = Machine | Named | State | Lost | Gone | Event


def _runs(blocks: Sequence[str]) -> str:
    return ",".join(f"{len(list(alike))}{block}" for block, alike in groupby(blocks))


class Seal:
    """The lines so far.  str() is the line that ends them."""

    def __init__(self) -> None:
        self._count = 0
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Whole lines."""
        self._count += data.count(b"\n")
        self._digest.update(data)

    def __str__(self) -> str:
        return f"{END} {self._count} {self._digest.hexdigest()[:CHECKSUM_LENGTH]}"


def records(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    """What each line says, in order; name is the file's, for errors.

    That the file is whole is known only when the last one has come: until then nothing counts.
    """
    seal, number, ended = Seal(), 0, False
    for number, raw in enumerate(lines, 1):
        if ended:
            raise RecordingError(f"{name}:{number}: a line behind the end of the recording")
        try:
            line = raw.decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise RecordingError(f"{name}:{number}: no text") from None
        if number == 1:
            _check_head(line, name)
        elif line.startswith(f"{END} "):
            ended = True
            if line != str(seal):
                raise RecordingError(f"{name}: it was edited: its lines are not those recorded")
        else:
            yield _record(line, name, number)
        seal.add(raw)
    if not ended:
        raise RecordingError(f"{name}: cut short at line {number}: the recording did not end")


def _check_head(line: str, name: str) -> None:
    if line == HEAD:
        return
    if line.startswith(_HEADS):
        raise RecordingError(f"{name}: of another version, '{line[:40]}'; '{HEAD}' is read here")
    raise RecordingError(f"{name}: no recording: it does not begin with '{HEAD}'")


def _record(line: str, name: str, number: int) -> Record:
    word, _, rest = line.partition(" ")
    try:
        if word == "state":
            return _state(rest)
        if word == "file":
            ino, _, path = rest.partition(" ")
            return Named(int(ino), str(json.loads(path)))
        if word == "machine":
            return _machine(rest)
        if word == "lost":
            return Lost(int(rest))
        return Gone() if line == GONE else parse([line])[0]
    except (ValueError, IndexError, KeyError):
        raise RecordingError(f"{name}:{number}: '{line[:60]}' is no line of a recording") from None


def _machine(text: str) -> Machine:
    found = dict(word.split("=", 1) for word in text.split())
    page, block = int(found["page"]), int(found["block"])
    if not 512 <= block <= page or page & (page - 1) or block & (block - 1):
        raise ValueError(text)
    return Machine(page, block, int(found["readahead"]), found["era"], found["order"])


def _state(text: str) -> State:
    request, size, *ranges = text.split()
    found = []
    for each in ranges:
        pos, _, runs = each.partition(":")
        blocks: list[str] = []
        for run in runs.split(","):
            match = _RUN.fullmatch(run)
            if match is None or len(blocks) + int(match[1]) > 1 << 20:
                raise ValueError(run)
            blocks += [match[2] + match[3]] * int(match[1])
        found.append((int(pos), tuple(blocks)))
    return State(int(request), int(size), tuple(found))
