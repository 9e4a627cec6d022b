"""A witness in one line, which runs again years later, or says why it does not.

    made()      a token of a schedule
    Token       what one says
    replay()    the schedule run again, each step compared with what was recorded
    crashed()   the same for a schedule that ends in a crash

    litmus1/NAME/HASH/ERA/A0f3,A3c1,B912…
    litmus1/NAME/HASH/ERA/A0f3,A3c1,B912…/crash:3,5

HASH is of the file's machine and tasks; ERA an era, or orders with + between.  Each turn is its
task and three digits that tell its step's name from others.  A name is never reused, so that a step
that is not the one of then is seen.  A crash comes after the turns; the numbers, from 1, are those
of the turns whose writes the disk has lost.

Errors: TokenError, one line.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fusefs.explore.answer import task_name
from fusefs.explore.crashes import Crash, Crashes
from fusefs.explore.dependence import Trace
from fusefs.explore.execution import Execution, Made
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import setting
from fusefs.model.footprint import Footprint

VERSION = "litmus1"

_CRASH = re.compile(r"crash(:[1-9]\d*(,[1-9]\d*)*)?")
_TURN = re.compile(r"([A-Za-z]\w*?)([0-9a-f]{3})")


class TokenError(ValueError):
    """A token that cannot be replayed, and why."""


@dataclass(frozen=True, slots=True)
class Token:
    """turns has the name of each turn's task, and the mark of its step.

    lost is None unless a crash comes then: the places of the turns whose writes are lost.
    """

    name: str
    hash: str
    era: str
    turns: tuple[tuple[str, str], ...]
    lost: tuple[int, ...] | None = None

    def __str__(self) -> str:
        turns = ",".join(f"{task}{mark}" for task, mark in self.turns)
        crash = ""
        if self.lost is not None:
            crash = "/crash" + (":" if self.lost else "")
            crash += ",".join(str(place + 1) for place in self.lost)
        return f"{VERSION}/{self.name}/{self.hash}/{self.era}/{turns}{crash}"


def file_hash(litmus: Litmus) -> str:
    """Of what a run depends on: not of the prose, nor of the question."""
    return hashlib.sha256(setting(litmus).encode()).hexdigest()[:8]


def mark(step: str) -> str:
    """Three hexadecimal digits for a step's name."""
    return hashlib.sha256(step.encode()).hexdigest()[:3]


def made(
    litmus: Litmus, era: str, turns: Sequence[Made], lost: tuple[int, ...] | None = None
) -> Token:
    """The token of a schedule under an era; lost is as a Witness has it."""
    marks = tuple((task_name(litmus, turn.task), mark(turn.name)) for turn in turns)
    return Token(litmus.name, file_hash(litmus), era, marks, lost)


def parse_token(text: str) -> Token:
    """TokenError unless it is one; of another version, too."""
    parts = text.strip().split("/")
    if len(parts) not in (5, 6) or not parts[0].startswith("litmus"):
        raise TokenError(f"'{text[:60]}' is no token: {VERSION}/NAME/HASH/ERA/TURNS is")
    if parts[0] != VERSION:
        raise TokenError(f"a token of version {parts[0]}; this is {VERSION}")
    lost: tuple[int, ...] | None = None
    if len(parts) == 6:
        if not _CRASH.fullmatch(parts[5]):
            raise TokenError(f"'{parts[5][:20]}' is no end of a token: crash, or crash:3,5 is")
        lost = tuple([int(word) - 1 for word in parts[5][6:].split(",") if word])
    turns = []
    for word in parts[4].split(",") if parts[4] or lost is None else ():
        match = _TURN.fullmatch(word)
        if match is None:
            raise TokenError(f"'{word[:20]}' is no turn of a token: a task and three digits are")
        turns.append((match[1], match[2]))
    return Token(parts[1], parts[2], parts[3], tuple(turns), lost)


def replay(
    litmus: Litmus,
    token: Token,
    orders_of: Callable[[str], Collection[str]],
) -> tuple[Execution, list[Made]]:
    """Run what a token says, to its end.  orders_of tells an era's orders; KeyError for none."""
    assert token.lost is None, "a crash is no end"
    execution = Execution(_case(litmus, token, orders_of).world())
    try:
        turns = _made_again(litmus, token, execution, None)
    except TokenError:
        execution.close()
        raise
    if left := [task_name(litmus, number) for number in execution.enabled()]:
        execution.close()
        raise TokenError(f"after its {len(turns)} turns, {', '.join(left)} can still go")
    return execution, turns


def crashed(
    litmus: Litmus,
    token: Token,
    orders_of: Callable[[str], Collection[str]],
) -> tuple[Crash, list[Made]]:
    """Run what a token says, up to its crash, and look at what that leaves."""
    assert token.lost is not None, "nothing crashes"
    if not litmus.crash:
        raise TokenError(f"a token of a crash, and {litmus.name} does not say 'crash'")
    case = _case(litmus, token, orders_of)
    execution, trace = Execution(case.world()), Trace()
    try:
        turns = _made_again(litmus, token, execution, trace)
        crashes = Crashes(litmus, case.judge, case.world)
        return crashes.again(execution, trace, token.lost), turns
    except ValueError as error:
        raise TokenError(str(error)) from None
    finally:
        execution.close()


def _case(litmus: Litmus, token: Token, orders_of: Callable[[str], Collection[str]]) -> LitmusCase:
    """The file under the token's era, if the token was made of it."""
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
    return LitmusCase(litmus, orders)


def _made_again(
    litmus: Litmus, token: Token, execution: Execution, trace: Trace | None
) -> list[Made]:
    """The turns of a token, as long as each is the one that was recorded; added to a trace."""
    turns = list[Made]()
    for place, (name, recorded) in enumerate(token.turns, 1):
        enabled = {task_name(litmus, number): number for number in execution.enabled()}
        if name not in enabled:
            raise TokenError(f"at turn {place}, {name} cannot go: it did when the token was made")
        step = execution.next_name(enabled[name])
        if mark(step) != recorded:
            raise TokenError(f"at turn {place}, {name} is at {step}, and was at another step then")
        if trace is None:
            turns.append(execution.turn(enabled[name]).made)
        else:
            watches_lru = execution.scenario.watches_lru
            turn = execution.turn(enabled[name], Footprint(watches_lru=watches_lru))
            trace.add(turn)
            turns.append(turn.made)
    return turns
