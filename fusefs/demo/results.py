"""What the demo's clients tell whoever started them: one JSON line for each event.

    {"stale": {...}}    at once, for the first read of a run that returned zeros
    {"run": {...}}      when the run is over

Units: pos and length are bytes in the file; time_ns is CLOCK_MONOTONIC, as in the trace.
Errors: ValueError for a line that is neither.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

DIOTEST3 = "diotest3"
INVALIDATE_CACHE = "dio-invalidate-cache"

CASES = {
    DIOTEST3: ("r", "w", "rw"),
    INVALIDATE_CACHE: ("w", "wt", "wp", "wF", "r", "rt", "rp", "rF", "rw", "rwt", "rwp", "rwF"),
}
"""The cases of each program, in its own order; r and w say what is direct."""

_DIRECT = {
    "r": "buffered write, direct read",
    "w": "direct write, buffered read",
    "rw": "direct write, direct read",
}
_PREPARED = {"": "empty file", "t": "sparse file", "p": "preallocated file", "F": "written file"}


def split_case(case: str) -> tuple[str, str]:
    """'rwt' -> ('rw', 't'): what is direct, and what the file is before the children start."""
    direct = case.rstrip("tpF")
    prepared = case[len(direct) :]
    if direct not in _DIRECT or prepared not in _PREPARED:
        raise ValueError(f"no such case: {case}")
    return direct, prepared


def describe_case(case: str) -> tuple[str, str]:
    """'rwt' -> ('direct write, direct read', 'sparse file')."""
    direct, prepared = split_case(case)
    return _DIRECT[direct], _PREPARED[prepared]


@dataclass(frozen=True, slots=True)
class StaleRead:
    """A read that returned zeros where its own process had just written something else.

    time_ns is when the read returned.
    """

    pid: int
    ino: int
    pos: int
    length: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one case.  block_size is the length of each child's region in bytes.

    reads: compared with what was written; zeros: of these, wrong, and zero where wrong;
    mismatches: wrong otherwise, short reads too; errors: children that failed, by errno name.
    """

    program: str
    case: str
    block_size: int
    children: int
    iterations: int
    reads: int
    zeros: int
    mismatches: int
    errors: dict[str, int]


def format_event(event: StaleRead | Run) -> str:
    kind = "stale" if isinstance(event, StaleRead) else "run"
    return json.dumps({kind: asdict(event)})


def parse_event(line: str | bytes) -> StaleRead | Run:
    try:
        ((kind, fields),) = json.loads(line).items()
        kinds: dict[str, Any] = {"stale": StaleRead, "run": Run}
        event: StaleRead | Run = kinds[kind](**fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a result: {line!r}") from error
    return event
