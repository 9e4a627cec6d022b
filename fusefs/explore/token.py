"""A witness in one line, which runs again years later, or says why it does not.

    made()      a token of a schedule
    Token       what one says
    replay()    the schedule run again, each step compared with what was recorded

    litmus1/NAME/HASH/ERA/A0f3,A3c1,B912…

HASH is of the file's machine and tasks; ERA an era, or orders with + between.  Each turn is its
task and three digits that tell its step's name from others.  A name is never reused, so that a step
that is not the one of then is seen.

Errors: TokenError, one line.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fusefs.explore.answer import task_name
from fusefs.explore.execution import Execution, Made
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import setting

VERSION = "litmus1"

_TURN = re.compile(r"([A-Za-z]\w*?)([0-9a-f]{3})")


class TokenError(ValueError):
    """A token that cannot be replayed, and why."""


@dataclass(frozen=True, slots=True)
class Token:
    """turns has the name of each turn's task, and the mark of its step."""

    name: str
    hash: str
    era: str
    turns: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        turns = ",".join(f"{task}{mark}" for task, mark in self.turns)
        return f"{VERSION}/{self.name}/{self.hash}/{self.era}/{turns}"


def file_hash(litmus: Litmus) -> str:
    """Of what a run depends on: not of the prose, nor of the question."""
    return hashlib.sha256(setting(litmus).encode()).hexdigest()[:8]


def mark(step: str) -> str:
    """Three hexadecimal digits for a step's name."""
    return hashlib.sha256(step.encode()).hexdigest()[:3]


def made(litmus: Litmus, era: str, turns: Sequence[Made]) -> Token:
    """The token of a schedule under an era."""
    marks = tuple((task_name(litmus, turn.task), mark(turn.name)) for turn in turns)
    return Token(litmus.name, file_hash(litmus), era, marks)


def parse_token(text: str) -> Token:
    """TokenError unless it is one; of another version, too."""
    parts = text.strip().split("/")
    if len(parts) != 5 or not parts[0].startswith("litmus"):
        raise TokenError(f"'{text[:60]}' is no token: {VERSION}/NAME/HASH/ERA/TURNS is")
    if parts[0] != VERSION:
        raise TokenError(f"a token of version {parts[0]}; this is {VERSION}")
    turns = []
    for word in parts[4].split(","):
        match = _TURN.fullmatch(word)
        if match is None:
            raise TokenError(f"'{word[:20]}' is no turn of a token: a task and three digits are")
        turns.append((match[1], match[2]))
    return Token(parts[1], parts[2], parts[3], tuple(turns))


def replay(
    litmus: Litmus,
    token: Token,
    orders_of: Callable[[str], Collection[str]],
) -> tuple[Execution, list[Made]]:
    """Run what a token says, to its end.  orders_of tells an era's orders; KeyError for none."""
    if token.name != litmus.name:
        raise TokenError(f"a token of {token.name}, and not of {litmus.name}")
    if token.hash != file_hash(litmus):
        raise TokenError(
            f"{litmus.name} is not the file that the token was made of: "
            f"its machine or its tasks have changed ({token.hash} then, {file_hash(litmus)} now)"
        )
    try:
        orders = orders_of(token.era)
    except KeyError:
        raise TokenError(f"a token of {token.era}, which is no era or order here") from None
    execution = Execution(LitmusCase(litmus, orders).world())
    try:
        return execution, _made_again(litmus, token, execution)
    except TokenError:
        execution.close()
        raise


def _made_again(litmus: Litmus, token: Token, execution: Execution) -> list[Made]:
    """The turns of a token, as long as each is the one that was recorded."""
    turns = list[Made]()
    for place, (name, recorded) in enumerate(token.turns, 1):
        enabled = {task_name(litmus, number): number for number in execution.enabled()}
        if name not in enabled:
            raise TokenError(f"at turn {place}, {name} cannot go: it did when the token was made")
        step = execution.next_name(enabled[name])
        if mark(step) != recorded:
            raise TokenError(f"at turn {place}, {name} is at {step}, and was at another step then")
        turns.append(execution.turn(enabled[name]).made)
    if left := [task_name(litmus, number) for number in execution.enabled()]:
        raise TokenError(f"after its {len(turns)} turns, {', '.join(left)} can still go")
    return turns
