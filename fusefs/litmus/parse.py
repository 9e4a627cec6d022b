"""A litmus file: text to data.

    litmus NAME                     the head; prose, indented, below it
    page, block, file, …            the machine: machine.py
    A:                              tasks; their operations, indented: operations.py
    exists CONDITION                the question: condition.py
    sometimes NAME…, breaks RULE…   what is expected where

What lines must fulfil together is in check.py.  A comment goes from # to the end of a line, but
not in the prose.

Errors: LitmusError, one line with file, line number, what was found and what is allowed.
"""

import textwrap

from fusefs.litmus.check import check_condition, check_tasks
from fusefs.litmus.condition import parse_condition
from fusefs.litmus.machine import WORDS, MachineLines, known_words
from fusefs.litmus.operations import parse_operation
from fusefs.litmus.source import (
    ERA_NAME,
    LITMUS_NAME,
    TASK_NAME,
    TASK_SHAPE,
    Line,
    LitmusError,
    lines_of,
    listed,
)
from fusefs.litmus.test import (
    ALWAYS,
    EXISTS,
    FORALL,
    NEVER,
    NOT_EXISTS,
    RULES,
    SOMETIMES,
    Litmus,
    Machine,
    Operation,
    Question,
    TaskText,
)

__all__ = ["LitmusError", "parse"]

QUANTIFIERS = (EXISTS, NOT_EXISTS, FORALL)
AFTER_CRASH = "after crash:"
ANSWERS = {"sometimes": SOMETIMES, "always": ALWAYS, "never": NEVER}
EXPECTATIONS = (*ANSWERS, "breaks")

QUESTION_USAGE = "exists, ~exists or forall, and a condition, come after the tasks"


def parse(text: str, file: str) -> Litmus:
    """The data of a litmus file; file is its name, for errors."""
    lines = _Lines(list(lines_of(text, file)))
    name, prose = _parse_head(lines)
    machine_lines = MachineLines()
    while lines.next.words[:1] and lines.next.words[0] in WORDS:
        machine_lines.take(_unindented(lines.take()))
    machine = machine_lines.machine(lines.next)
    tasks = _parse_tasks(lines)
    check_tasks(machine, tasks, {line.number: line for line in lines.all})
    question = _parse_question(lines, machine, tasks, crash=machine_lines.crash)
    expected, breaks = _parse_expectations(lines)
    return Litmus(name, prose, machine, tasks, question, expected, breaks, machine_lines.crash)


class _Lines:
    """The lines in order.  next is the one that comes, an empty one at the end."""

    def __init__(self, lines: list[Line]) -> None:
        self.all = lines
        self.at = 0
        last = max((line.number for line in lines if line.raw), default=1)
        self._end = Line(lines[0].file, last, "", "")

    @property
    def next(self) -> Line:
        """The next line that says something."""
        while self.at < len(self.all) and not self.all[self.at].text:
            self.at += 1
        return self.all[self.at] if self.at < len(self.all) else self._end

    def take(self) -> Line:
        line = self.next
        self.at += 1
        return line

    def take_prose(self) -> list[Line]:
        """What is indented from here on, with the empty lines between, without comments."""
        start = self.at
        while self.at < len(self.all) and self.all[self.at].raw[:1] in ("", " ", "#"):
            self.at += 1
        return [line for line in self.all[start : self.at] if line.raw[:1] != "#"]


def _unindented(line: Line) -> Line:
    if line.indented:
        raise line.error(f"'{line.text}' with blanks before it", "only prose and operations")
    return line


def _found(line: Line) -> str:
    """What stands in a line where something else is needed."""
    return f"'{line.text}'" if line.text else "the end of the file"


def _parse_head(lines: _Lines) -> tuple[str, tuple[str, ...]]:
    line = _unindented(lines.take())
    words = line.words
    if words[:1] != ["litmus"]:
        raise line.error(_found(line), "litmus NAME is the first line")
    if len(words) != 2 or not LITMUS_NAME.fullmatch(words[1]):
        raise line.error(line.text, "litmus NAME, of letters, digits and _.+-, is allowed")
    prose = textwrap.dedent("\n".join(line.raw for line in lines.take_prose())).strip("\n")
    return words[1], tuple(prose.split("\n")) if prose else ()


# -- tasks -------------------------------------------------------------------------------


def _parse_tasks(lines: _Lines) -> tuple[TaskText, ...]:
    tasks: list[TaskText] = []
    while lines.next.text.endswith(":") and lines.next.words[0] not in QUANTIFIERS:
        line = _unindented(lines.take())
        name = line.text.removesuffix(":")
        if not TASK_NAME.fullmatch(name):
            raise line.error(f"task {name}", TASK_SHAPE)
        if name in [task.name for task in tasks]:
            raise line.error(f"task {name} a second time", "each task once")
        tasks.append(TaskText(name, _parse_operations(lines, line)))
    if not tasks:
        raise lines.next.error(_found(lines.next), known_words())
    return tuple(tasks)


def _parse_operations(lines: _Lines, task: Line) -> tuple[Operation, ...]:
    operations = []
    while lines.next.indented:
        operations.append(parse_operation(lines.take()))
    if not operations:
        raise task.error(f"{task.text} with no operation", "its operations, indented, below it")
    return tuple(operations)


# -- the question, and what is expected --------------------------------------------------


def _parse_question(
    lines: _Lines, machine: Machine, tasks: tuple[TaskText, ...], *, crash: bool
) -> Question:
    """A condition may go on in indented lines."""
    line = _unindented(lines.take())
    quantifier, _, rest = line.text.partition(" ")
    if quantifier not in QUANTIFIERS:
        misplaced = line.words[:1] and line.words[0] in WORDS
        allowed = f"{line.words[0]} comes before the tasks" if misplaced else QUESTION_USAGE
        raise line.error(_found(line), allowed)
    while lines.next.indented:
        rest = f"{rest} {lines.take().text}"
    rest = rest.strip()
    after_crash = rest.startswith(AFTER_CRASH)
    if after_crash and not crash:
        raise line.error(f"'{AFTER_CRASH}'", "with a line 'crash' before the tasks")
    if after_crash and quantifier != EXISTS:
        raise line.error(f"'{quantifier} {AFTER_CRASH}'", f"'{EXISTS} {AFTER_CRASH}' is allowed")
    condition = parse_condition(line, rest.removeprefix(AFTER_CRASH))
    condition = check_condition(line, machine, tasks, condition, after_crash=after_crash)
    return Question(quantifier, condition, after_crash)


def _parse_expectations(lines: _Lines) -> tuple[dict[str, str], tuple[str, ...]]:
    expected: dict[str, str] = {}
    breaks: list[str] = []
    while lines.next.text:
        line = _unindented(lines.take())
        word, *names = line.words
        if word not in EXPECTATIONS:
            allowed = f"{listed(list(EXPECTATIONS))}, and names, come after the question"
            raise line.error(_found(line), allowed)
        if not names:
            kind = "RULE" if word == "breaks" else "NAME"
            raise line.error(word, f"{word} {kind}… is allowed")
        for name in names:
            if word == "breaks" and name not in RULES:
                raise line.error(f"rule {name}", f"the rules are {listed(list(RULES), 'and')}")
            if not ERA_NAME.fullmatch(name):
                raise line.error(f"'{name}'", "eras and orders, such as linux-4.10 or no_post")
            if name in expected or name in breaks:
                raise line.error(f"{name} a second time", "each name once")
            if word == "breaks":
                breaks.append(name)
            else:
                expected[name] = ANSWERS[word]
    return expected, tuple(breaks)
