"""What a run that fails prints, bounded: the ends of each report, and less of each the more fail.

A diff of two long lists, or a log of a daemon that repeats itself, would bury all others.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

LINES_MAX = 160
"""Of the traceback of one test, and of each thing captured while it ran."""

LINES_MIN = 20
ALL_LINES_MAX = 4_000
"""Once so many were printed, each further one gets LINES_MIN."""

LINE_LENGTH_MAX = 600


def shorten(text: str, lines_max: int) -> str:
    """The first lines and, twice as many, the last: there is what was wrong."""
    lines = [_cut(line) for line in text.splitlines()]
    if len(lines) > lines_max:
        head = lines_max // 3
        tail = lines_max - head
        left_out = f"[... {len(lines) - lines_max:,} lines left out ...]"
        lines = [*lines[:head], left_out, *lines[-tail:]]
    return "\n".join(lines)


def _cut(line: str) -> str:
    if len(line) <= LINE_LENGTH_MAX:
        return line
    return f"{line[:LINE_LENGTH_MAX]} [... {len(line) - LINE_LENGTH_MAX:,} characters left out]"


class ShortText:
    """Stands for the traceback that pytest would have printed."""

    def __init__(self, text: str, crash: Any) -> None:
        self.text = text
        if crash is not None:  # the line of the summary
            message = shorten(crash.message, 1)
            self.reprcrash = SimpleNamespace(path=crash.path, lineno=crash.lineno, message=message)

    def __str__(self) -> str:
        return self.text

    def toterminal(self, out: Any) -> None:
        for line in self.text.splitlines():
            out.line(line, red=line.startswith("E "))


class ShortReports:
    """Shortens the reports of one run."""

    def __init__(self) -> None:
        self.lines_left = ALL_LINES_MAX

    def shorten(self, report: pytest.TestReport) -> None:
        whole = report.longreprtext
        text = self._bounded(whole)
        if text != whole:
            report.longrepr = ShortText(text, getattr(report.longrepr, "reprcrash", None))
        report.sections = list(self._sections(report.sections))

    def _sections(self, sections: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        for name, content in sections:
            yield name, self._bounded(content)

    def _bounded(self, text: str) -> str:
        short = shorten(text, max(LINES_MIN, min(LINES_MAX, self.lines_left)))
        self.lines_left -= short.count("\n") + 1
        return short
