"""A litmus file: data to text.

parse(text(litmus)) is the litmus again, and text(parse(t)) is t if it was written so before.
"""

import textwrap
from collections.abc import Sequence

from fusefs.litmus.condition import condition_text
from fusefs.litmus.machine import machine_text
from fusefs.litmus.operations import operation_text
from fusefs.litmus.parse import AFTER_CRASH, ANSWERS
from fusefs.litmus.test import Litmus, Question

INDENTATION = "    "

WIDTH = 100
"""Columns that expectations may take."""

ERA = "linux-"
"""How the names of eras begin, which come after those of orders."""


def text(litmus: Litmus) -> str:
    """The whole file, in its one canonical form, without comments."""
    lines = [f"litmus {litmus.name}"]
    lines += [(INDENTATION + line).rstrip() for line in litmus.prose]
    lines += ["", setting(litmus), "", question_text(litmus.question)]
    for word, answer in ANSWERS.items():
        names = [name for name, expected in litmus.expected.items() if expected == answer]
        lines += _lines_of(word, [name for name in names if not name.startswith(ERA)])
        lines += _lines_of(word, [name for name in names if name.startswith(ERA)])
    lines += _lines_of("breaks", litmus.breaks)
    return "\n".join([*lines, ""])


def _lines_of(word: str, names: Sequence[str]) -> list[str]:
    """As many as it takes, each with the word; none for no names."""
    rows = textwrap.wrap(" ".join(names), WIDTH - len(word) - 1, break_on_hyphens=False)
    return [f"{word} {row}" for row in rows]


def setting(litmus: Litmus) -> str:
    """Its machine and its tasks: what a run of it depends on."""
    lines = [*machine_text(litmus.machine, crash=litmus.crash), ""]
    for task in litmus.tasks:
        lines.append(f"{task.name}:")
        lines += [INDENTATION + operation_text(operation) for operation in task.operations]
    return "\n".join(lines)


def question_text(question: Question) -> str:
    """Its one line."""
    when = f" {AFTER_CRASH}" if question.after_crash else ""
    return f"{question.quantifier}{when} {condition_text(question.condition)}"
