"""litmus --replay TOKEN --on DIR: a witness shown by real processes on a live mount.

The token is replayed in the model first: that says which step each turn stands before, and what it
must end with.
"""

import json
from pathlib import Path

from fusefs.commands.errors import CommandError
from fusefs.commands.litmus_text import orders_of
from fusefs.explore.answer import ended, task_name
from fusefs.explore.telling import ladder, values_text
from fusefs.explore.token import Token, TokenError, parse_token, replay
from fusefs.litmus.test import Litmus, Outcome
from fusefs.model.orders import ERAS, ROWS
from fusefs.trial.cast import TrialError
from fusefs.trial.replay import Replayed
from fusefs.trial.replay import replay as replay_on_mount
from fusefs.trial.turns import Turn


def replayed_on(litmus: Litmus, text: str, directory: str, runs: int, *, as_json: bool) -> int:
    """Run a token's schedule there; 1 if a run ended otherwise than in the model."""
    try:
        token = parse_token(text)
        if token.lost is not None:
            raise CommandError(f"{litmus.name}: a token of a crash, and no mount is stopped", 2)
        execution, made = replay(litmus, token, orders_of)
    except TokenError as error:
        raise CommandError(str(error), 2) from None
    values, _, _ = ended(litmus, execution)
    execution.close()
    turns = [Turn(task_name(litmus, turn.task), turn.name) for turn in made]
    outcome: Outcome = dict(values)
    try:
        found = replay_on_mount(
            *(litmus, turns, outcome, _orders_on_mount(token), Path(directory), runs)
        )
    except (TrialError, OSError) as error:
        raise CommandError(str(error)) from None
    compared = values_text(tuple(each for each in values if each[0] in found.compared))
    if as_json:
        print(json.dumps(_report(litmus, token, compared, directory, found)))
        return int(found.same != found.runs)
    lines = [*ladder(litmus, made), compared]
    lines.append(f"{directory}: {found.same} of {found.runs} runs ended so ({found.seconds:.1f} s)")
    lines += [f"{count} with {other}" for other, count in found.differing.items()]
    print("\n".join(lines))
    return int(found.same != found.runs)


def _orders_on_mount(token: Token) -> list[str]:
    """Of an era those that a mount can show; CommandError for an order that none can."""
    names = sorted(orders_of(token.era))
    hidden = [name for name in names if ROWS[name].on_mount]
    if hidden and token.era not in ERAS:
        raise CommandError(f"{token.name}: {hidden[0]}: {ROWS[hidden[0]].on_mount}")
    return [name for name in names if name not in hidden]


def _report(
    litmus: Litmus, token: Token, outcome: str, directory: str, found: Replayed
) -> dict[str, object]:
    return {
        "name": litmus.name,
        "era": token.era,
        "directory": directory,
        "outcome": outcome,
        "runs": found.runs,
        "same": found.same,
        "differing": dict(found.differing),
        "seconds": round(found.seconds, 3),
    }
