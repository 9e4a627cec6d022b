"""What a gate is: which requests it holds before which step, for how long; from a line of text.

    hold STEP [op=NAME,…] [pid=N] [path=PATH|ino=N] [range=POS+LENGTH] [count=N|all] [timeout=5s]
         [until=STEP [op=…] [pid=…] [path=…|ino=…] [range=…]] [as NAME]

A STEP is one of the model's (model/steps.py), or

    begin      nothing has happened yet
    reply      all has happened, and whoever asked is not told
    NAME*      all that begin like this; * alone is every step of these

With begin, reply and * the daemon's own requests are meant only if op= names them, and so are
those for names, attributes, open and close: each call of a program begins with some.

What follows until= is about the request that is awaited: of the held one's file, unless a path or
an ino says otherwise.

    Asked        one request before one step
    Who          which of them are meant
    GateText     one gate, as its line has it

Units: range= is bytes in the file, as 4096+512 or 4k+512; times are seconds.
Errors: GateError, one line and an errno.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

from fusefs.engine.events import Request
from fusefs.engine.task import BEGIN, REPLY
from fusefs.model.options import format_time, parse_size, parse_time
from fusefs.model.steps import NAMES

STEPS: Final = (BEGIN.name, *NAMES, REPLY.name)

OWN: Final = ("writeback", "commit", "inactivate")
"""Requests of the daemon itself: it asks for them every few seconds, or as it runs out of room."""

AT_ONCE: Final = (
    *("lookup", "getattr", "setattr", "readlink", "statfs", "create", "mknod", "mkdir", "symlink"),
    *("link", "unlink", "rmdir", "open", "release", "opendir", "readdirplus", "releasedir"),
    *("getxattr", "setxattr", "listxattr", "removexattr"),
)
"""Requests that have no other steps than begin and reply."""

OPERATIONS: Final = (
    *("read", "write", "fsync", "truncate", "fallocate", "lseek", "copy_file_range", "utimens"),
    *("rename", "fsyncdir", "work"),
    *AT_ONCE,
    *OWN,
)
"""What requests are.  work is what a write leaves behind."""

IF_NAMED: Final = frozenset(["rename", *AT_ONCE, *OWN])
"""Of these begin, reply and * are meant only if op= names them."""

EVERY: Final = frozenset([BEGIN.name, REPLY.name])
"""What every request stands before."""

ROOT_INO: Final = 1
"""The top of a mount: the kernel's FUSE_ROOT_ID."""

OF_WAY: Final = ("getattr", "getxattr")
"""What the kernel asks of the root, to see who may pass, on the way to .fusefs/gates as well."""

TIMEOUT_S: Final = 5.0
TIMEOUT_MAX_S: Final = 3600.0
COUNT: Final = 1
NAME_LENGTH_MAX: Final = 64

Find = Callable[[str], int]
"""The inode number of a path from the top of the mount; GateError."""


class GateError(Exception):
    """What is wrong with a command, in a line; number is an errno."""

    def __init__(self, line: str, number: int = errno.EINVAL) -> None:
        super().__init__(line)
        self.number = number


class Asked(NamedTuple):
    """A request before a step, which is about a range of its file; of a length of 0: not known."""

    request: Request
    step: str
    pos: int = 0
    length: int = 0

    def __str__(self) -> str:
        return f"{self.request.operation} {self.request.number} of pid {self.request.pid}"


@dataclass(frozen=True, slots=True)
class Who:
    """Requests.  What is None or empty is any; start and end are a range in bytes."""

    operations: tuple[str, ...] = ()
    pid: int | None = None
    ino: int | None = None
    start: int = 0
    end: int | None = None

    def meets(self, asked: Asked) -> bool:
        """Is it one of these?  The range of the step counts, if it has one."""
        request = asked.request
        if self.operations and request.operation not in self.operations:
            return False
        if self.pid not in (None, request.pid):
            return False
        if self.ino is not None and self.ino not in request.inos:
            return False
        if self.end is None:
            return True
        where = (asked.pos, asked.length) if asked.length else (request.pos, request.length)
        return where[0] < self.end and self.start < where[0] + max(where[1], 1)

    def words(self) -> list[str]:
        """As a line has it."""
        found = [f"op={','.join(self.operations)}"] if self.operations else []
        found += [] if self.pid is None else [f"pid={self.pid}"]
        found += [] if self.ino is None else [f"ino={self.ino}"]
        return found + ([] if self.end is None else [f"range={self.start}+{self.end - self.start}"])


@dataclass(frozen=True, slots=True)
class GateText:
    """count is how many requests are held, None for all.  until is "" or a step."""

    step: str
    who: Who
    count: int | None
    timeout_s: float
    until: str
    awaited: Who
    name: str

    def holds(self, asked: Asked) -> bool:
        """Whether one who stands before such a step is meant."""
        return self.who.meets(asked) and not spares(self.step, self.who, asked)

    def __str__(self) -> str:
        words = ["hold", self.step, *self.who.words()]
        words.append(f"count={'all' if self.count is None else self.count}")
        words.append(f"timeout={format_time(self.timeout_s)}")
        if self.until:
            words += [f"until={self.until}", *self.awaited.words()]
        return " ".join([*words, "as", self.name])


def spares(word: str, who: Who, asked: Asked) -> bool:
    """What every request stands before is not meant of some, unless op= says so.

    And whoever goes to .fusefs to release others must get there, unless the root itself is named.
    """
    request = asked.request
    if request.operation in OF_WAY and request.ino == ROOT_INO and who.ino != ROOT_INO:
        return True
    is_spared = request.operation in IF_NAMED and not who.operations
    return is_spared and (asked.step in EVERY or word == "*")


def steps(word: str) -> frozenset[str]:
    """The steps that a word stands for; GateError for none."""
    beginning, star, _ = word.partition("*")
    found = [name for name in STEPS if (name.startswith(beginning) if star else name == word)]
    if not found or (star and not word.endswith("*")):
        near = get_close_matches(word, STEPS, cutoff=0.5) or ["begin", "dio.write.submit", "reply"]
        raise GateError(f"'{shown(word)}' is no step; some that are: {', '.join(near)}")
    return frozenset(found)


def parse_hold(words: list[str], find: Find, new_name: Callable[[], str]) -> GateText:
    """What follows the word hold; new_name gives a name to a gate that has none."""
    words, name = _named(words)
    if not words:
        raise GateError("hold what? Say 'hold STEP', such as 'hold dio.write.convert'")
    steps(words[0])
    wanted: dict[str, str] = {}
    awaited: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or key not in (*WHO, "count", "timeout", "until"):
            known = ", ".join(f"{each}=" for each in (*WHO, "count", "timeout", "until"))
            raise GateError(f"'{shown(word)}' is no part of a gate: there are {known} and as NAME")
        told = awaited if "until" in wanted and key in WHO else wanted
        if key in told:
            raise GateError(f"{key}= is there twice")
        told[key] = value
    until = wanted.get("until", "")
    if until:
        steps(until)
    return GateText(
        words[0],
        _who(wanted, find),
        _count(wanted.get("count")),
        parse_timeout(wanted.get("timeout")),
        until,
        _who(awaited, find),
        name or new_name(),
    )


def _named(words: list[str]) -> tuple[list[str], str]:
    """Without 'as NAME', and the name; "" if there is none."""
    if "as" not in words:
        return words, ""
    place = words.index("as")
    name = " ".join(words[place + 1 : place + 2])
    if not name or name == "all" or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise GateError(f"as '{shown(name)}': a name is a word of {NAME_LENGTH_MAX} characters")
    return words[:place] + words[place + 2 :], name


WHO: Final = ("op", "pid", "path", "ino", "range")


def _who(told: dict[str, str], find: Find) -> Who:
    operations = tuple(told["op"].split(",")) if "op" in told else ()
    for each in operations:
        if each not in OPERATIONS:
            near = get_close_matches(each, OPERATIONS) or ["write", "unlink", "writeback"]
            raise GateError(f"op={shown(each)} is none; some that are: {', '.join(near)}")
    if "path" in told and "ino" in told:
        raise GateError("path= and ino= are one thing: say one of them")
    ino = find(told["path"]) if "path" in told else _number("ino", told.get("ino"))
    start, end = _range(told["range"]) if "range" in told else (0, None)
    return Who(operations, _number("pid", told.get("pid")), ino, start, end)


def _number(key: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise GateError(f"{key}={shown(text)}: it is a number")
    return int(text)


def _range(text: str) -> tuple[int, int]:
    pos, plus, length = text.partition("+")
    try:
        start, size = parse_size(pos), parse_size(length)
    except ValueError:
        start = size = 0
    if not plus or not size:
        raise GateError(f"range={shown(text)}: it is POS+LENGTH, such as 4096+512 or 4k+512")
    return start, start + size


def _count(text: str | None) -> int | None:
    if text == "all":
        return None
    count = COUNT if text is None else _number("count", text)
    if not count:
        raise GateError("count=0: it is a number from 1 on, or all")
    return count


def parse_timeout(text: str | None) -> float:
    """TIMEOUT_S if nothing is said; there is always one."""
    if text is None:
        return TIMEOUT_S
    try:
        time_s = parse_time(text)
    except ValueError:
        time_s = 0.0
    if not 0 < time_s <= TIMEOUT_MAX_S:
        allowed = f"a time up to {format_time(TIMEOUT_MAX_S)}, such as 500ms or 5s"
        raise GateError(f"timeout={shown(text)}: it is {allowed}")
    return time_s


def shown(text: str) -> str:
    """What somebody wrote, as an error quotes it: it may be 4 KiB of anything."""
    return text[:40].encode("ascii", "backslashreplace").decode()
