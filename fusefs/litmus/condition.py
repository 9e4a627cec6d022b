"""Conditions: text to data, data to text, and whether one holds of an outcome.

    condition := and ( \\/ and )*
    and       := not ( /\\ not )*
    not       := ~ not | ( condition ) | atom
    atom      := TASK.RESULT = VALUE | cache FILE = VALUE | disk FILE = VALUE | size FILE = VALUE

As herd's; operators of one kind group to the left.  What an atom may say is in check.py.

Errors: LitmusError.
"""

import re

from fusefs.litmus.source import Line, format_size
from fusefs.litmus.test import (
    CACHE,
    DISK,
    RESULT,
    SIZE,
    And,
    Atom,
    Condition,
    Not,
    Or,
    Outcome,
)

ATOMS_MAX = 64
DEPTH_MAX = 32

ATOM_USAGE = "TASK.RESULT = VALUE, or cache, disk or size FILE = VALUE, is allowed"

_TOKEN = re.compile(r"\s*(/\\|\\/|~|\(|\)|=|[^\s()~=/\\]+)")


# -- whether it holds --------------------------------------------------------------------


def holds(condition: Condition, outcome: Outcome) -> bool:
    """What the outcome has no value for equals nothing."""
    if isinstance(condition, Atom):
        return outcome.get((condition.kind, condition.subject)) == condition.value
    if isinstance(condition, Not):
        return not holds(condition.condition, outcome)
    if isinstance(condition, And):
        return holds(condition.left, outcome) and holds(condition.right, outcome)
    return holds(condition.left, outcome) or holds(condition.right, outcome)


def atoms(condition: Condition) -> list[Atom]:
    """In the order of the text."""
    if isinstance(condition, Atom):
        return [condition]
    if isinstance(condition, Not):
        return atoms(condition.condition)
    return atoms(condition.left) + atoms(condition.right)


# -- data to text ------------------------------------------------------------------------


def condition_text(condition: Condition) -> str:
    """With no more parentheses than needed."""
    if isinstance(condition, Atom):
        subject = f"{condition.kind} {condition.subject}".strip()
        return f"{subject} = {_value_text(condition)}"
    if isinstance(condition, Not):
        inner = condition_text(condition.condition)
        return f"~{inner}" if isinstance(condition.condition, Not) else f"~({inner})"
    if isinstance(condition, And):
        return f"{_operand(condition.left, Or)} /\\ {_operand(condition.right, Or, And)}"
    return f"{condition_text(condition.left)} \\/ {_operand(condition.right, Or)}"


def _operand(condition: Condition, *looser: type) -> str:
    text = condition_text(condition)
    return f"({text})" if isinstance(condition, looser) else text


def _value_text(atom: Atom) -> str:
    """Numbers as sizes; '0' and '00' of blocks are no numbers, but come out the same."""
    if atom.kind in (CACHE, DISK) or not atom.value.isdigit() or atom.value[0] == "0":
        return atom.value
    return format_size(int(atom.value))


# -- text to data ------------------------------------------------------------------------


def parse_condition(line: Line, text: str) -> Condition:
    """Values as they are written; check.py knows what they are about."""
    parser = _Parser(line, text)
    condition = parser.condition(0)
    if parser.token:
        raise line.error(f"'{parser.token}' after a condition", "/\\ or \\/ is allowed")
    return condition


class _Parser:
    """Recursive descent; token is the one that comes next, '' at the end."""

    def __init__(self, line: Line, text: str) -> None:
        self.line = line
        self.tokens = _TOKEN.findall(text)
        rest = _TOKEN.sub("", text).strip()
        if rest:
            raise line.error(f"'{rest}' in a condition", "~, /\\, \\/ and parentheses are allowed")
        if text.count("=") > ATOMS_MAX:
            raise line.error(f"{text.count('=')} comparisons", f"at most {ATOMS_MAX}")
        self.at = 0

    @property
    def token(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.token
        self.at += 1
        return token

    def condition(self, depth: int) -> Condition:
        left = self.conjunction(depth)
        while self.token == "\\/":
            self.take()
            left = Or(left, self.conjunction(depth))
        return left

    def conjunction(self, depth: int) -> Condition:
        left = self.negation(depth)
        while self.token == "/\\":
            self.take()
            left = And(left, self.negation(depth))
        return left

    def negation(self, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            raise self.line.error(f"a condition {depth} deep", f"at most {DEPTH_MAX}")
        if self.token == "~":
            self.take()
            return Not(self.negation(depth + 1))
        if self.token == "(":
            self.take()
            inner = self.condition(depth + 1)
            if self.token != ")":
                raise self.line.error(self._found(), ") is allowed")
            self.take()
            return inner
        return self.atom()

    def atom(self) -> Atom:
        kind = RESULT
        if self.token in (CACHE, DISK, SIZE):
            kind = self.take()
        if not re.fullmatch(r"[A-Za-z][\w.]*", self.token):
            raise self.line.error(self._found(), ATOM_USAGE)
        if kind == RESULT and "." not in self.token:
            raise self.line.error(self._found(), ATOM_USAGE)
        subject = self.take()
        if self.token != "=":
            raise self.line.error(self._found(), f"{kind} {subject} = VALUE is allowed".strip())
        self.take()
        if not re.fullmatch(r"[\w?!.-]+", self.token):
            raise self.line.error(self._found(), "a value comes after =")
        return Atom(kind, subject, self.take())

    def _found(self) -> str:
        return f"'{self.token}' in a condition" if self.token else "a condition that ends too early"
