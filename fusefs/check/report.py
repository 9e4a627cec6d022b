"""What is told of a page that differs: as a dictionary for JSON, and that as text of 72 columns.

    Report      one way in which pages came to differ, with the first page that did
    told()      its dictionary as lines, for a person

Reports fold: of the same rule and the same two steps there is one, and how often it was seen.

Units: in a dictionary times are us since the first step of the ladder, all else bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

from fusefs.check.cause import UNKNOWN, Cause, steps_shown
from fusefs.check.compare import Difference
from fusefs.check.history import Story
from fusefs.litmus.test import RULES
from fusefs.show.ladder import WIDTH, Cell, draw

RULE: Final = "coherence"
"""Of fusefs.litmus.test.RULES; there is no other that a page can be seen to break."""

CHANGE, FILL = range(2)
"""The columns of the ladder."""

FORGOTTEN: Final = "not remembered"

Document = dict[str, Any]


@dataclass(slots=True)
class Report:
    """path is "" if nobody knows the file's name; comms are names of processes, by pid."""

    ino: int
    path: str
    page_start: int
    page_stop: int
    difference: Difference
    cause: Cause
    comms: Mapping[int, str]
    orders: str
    litmus: str
    count: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        return RULE, self.cause.before, self.cause.after

    def document(self) -> Document:
        """All that is known, as JSON takes it."""
        difference, cause = self.difference, self.cause
        change, fill = cause.change, cause.fill
        return {
            "rule": RULE,
            "says": RULES[RULE],
            "count": self.count,
            "file": self.path or None,
            "ino": self.ino,
            "range": [difference.start, difference.stop],
            "page": [self.page_start, self.page_stop],
            "first": {
                "pos": difference.pos,
                "got": difference.got.hex(),
                "got_whose": _got_whose(difference, fill),
                "expected": difference.expected.hex(),
                "expected_whose": _expected_whose(difference, change),
            },
            "change": _request(change, self.comms),
            "fill": _request(fill, self.comms),
            "store": _request(cause.store, self.comms),
            "between": None if cause.before == UNKNOWN else [cause.before, cause.after],
            "orders": self.orders,
            "ladder": ladder(self),
            "litmus": self.litmus or None,
        }


def _request(story: Story | None, comms: Mapping[int, str]) -> Document | None:
    """None if it is forgotten."""
    if story is None:
        return None
    request = story.request
    return {
        "request": request.number,
        "operation": request.operation,
        "flags": request.flags,
        "pos": request.pos,
        "length": request.length,
        "pid": request.pid,
        "comm": comms.get(request.pid),
        "lacks_steps": story.lacks_steps,
    }


def _got_whose(difference: Difference, fill: Story | None) -> str:
    what = "bytes from before" if any(difference.got) else "zeros"
    return f"{what}, of {_name(fill)}"


def _expected_whose(difference: Difference, change: Story | None) -> str:
    what = "bytes" if any(difference.expected) else "zeros"
    return f"{what}, of {_name(change)}"


def _name(story: Story | None) -> str:
    return f"request {story.request.number}" if story is not None else f"a request {FORGOTTEN}"


# -- the ladder --------------------------------------------------------------------------


def ladder(report: Report) -> list[str]:
    """The steps of the change on the left and of the fill on the right, time downwards."""
    change, fill = report.cause.change, report.cause.fill
    start, stop = report.page_start, report.page_stop
    rows = [(each.time_ns, True, each.step) for each in _shown(change, start, stop)]
    rows += [(each.time_ns, False, each.step) for each in _shown(fill, start, stop)]
    for story, is_left in ((change, True), (fill, False)):
        if story is not None and story.ended_ns:
            rows.append((story.ended_ns, is_left, "reply"))
    if not rows:
        return []
    rows.sort()
    times = [str((time_ns - rows[0][0]) // 1000) for time_ns, _, _ in rows]
    cells = [
        Cell(CHANGE if is_left else FILL, step, time)
        for time, (_, is_left, step) in zip(times, rows, strict=True)
    ]
    return draw({CHANGE: _head("A", change), FILL: _head("B", fill)}, cells, "us")


def _shown(story: Story | None, start: int, stop: int) -> list[Any]:
    return [] if story is None else steps_shown(story, start, stop)


def _head(letter: str, story: Story | None) -> str:
    if story is None:
        return f"{letter}: {FORGOTTEN}"
    return f"{letter}: {story.request.operation}, process {story.request.pid}"


# -- for a person ------------------------------------------------------------------------


def told(document: Mapping[str, Any], number: int) -> list[str]:
    """One report as lines; document is what document() gave."""
    first = document["first"]
    start, stop = document["range"]
    name = document["file"] or f"inode {document['ino']}"
    times = "once" if document["count"] == 1 else f"{document['count']} times"
    lines = _wrapped(f"{number}. {document['rule']}: {document['says']}")
    lines += _wrapped(f"{name}, bytes {start} to {stop}; such a page was found {times}", "   ")
    pos = first["pos"]
    lines.append(f"   from byte {pos} on the page has {_hex(first['got'])}")
    lines.append(f"      {first['got_whose']}")
    lines.append(f"   and should have {_hex(first['expected'])}")
    lines.append(f"      {first['expected_whose']}")
    lines += _wrapped(f"A, the change: {_who(document['change'])}", "   ")
    lines += _wrapped(f"B, the fill: {_who(document['fill'])}", "   ")
    if document["store"]:
        lines += _wrapped(f"made dirty by: {_who(document['store'])}", "   ")
    if document["between"]:
        before, after = document["between"]
        lines += _wrapped(f"B filled the page between A's {before} and {after}", "   ")
    lines += ["", *document["ladder"], ""] if document["ladder"] else []
    if document["litmus"]:
        lines += ["The same by search, with 'mount_tool.py litmus':", ""]
        lines += [f"    {line}".rstrip() for line in document["litmus"].splitlines()]
    return lines


def _who(request: Mapping[str, Any] | None) -> str:
    if request is None:
        return FORGOTTEN
    flags = f" {request['flags']}" if request["flags"] else ""
    comm = f" ({request['comm']})" if request["comm"] else ""
    return (
        f"{request['operation']}{flags} {request['pos']}+{request['length']},"
        f" request {request['request']} of process {request['pid']}{comm}"
    )


def _hex(text: str, shown_bytes: int = 8) -> str:
    more = " …" if len(text) > 2 * shown_bytes else ""
    return bytes.fromhex(text)[:shown_bytes].hex(" ") + more


def _wrapped(sentence: str, indent: str = "") -> list[str]:
    return wrap(
        sentence,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}   ",
        break_on_hyphens=False,
    )


Namer = Callable[[int], str]
"""An inode's path by its number, or a process's name by its pid; "" if nobody knows."""
