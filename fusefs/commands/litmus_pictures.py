"""Pictures of a litmus file's witness, or of a token's schedule."""

import argparse
from collections.abc import Callable, Sequence

from fusefs.commands import pictures
from fusefs.commands.answers import Answered
from fusefs.commands.errors import CommandError
from fusefs.commands.litmus_text import Replayed, with_witness
from fusefs.explore.answer import Witness, task_name
from fusefs.explore.explain import no_return
from fusefs.explore.story import told
from fusefs.explore.telling import NO_RETURN, values_text
from fusefs.explore.token import made
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import question_text
from fusefs.show.story import Story


def witness_story(litmus: Litmus, era: str, orders: frozenset[str], witness: Witness) -> Story:
    """What a witness does, and where it was decided, with the token that replays it."""
    decided = None
    if witness.lost is None:
        decided = no_return(litmus, orders, witness.schedule)
    lines = [question_text(litmus.question), values_text(witness.outcome)]
    lines += [f"{rule}: {sentence}" for rule, sentence in witness.broken]
    if witness.lost is not None:
        lost = [witness.turns[place] for place in witness.lost]
        writes = ", ".join(f"{task_name(litmus, each.task)}'s {each.name}" for each in lost)
        lines.append(f"then it crashes{f'; lost: {writes}' if writes else ''}")
    lines.append(f"--replay {made(litmus, era, witness.turns, witness.lost)}")
    title = f"{litmus.name}, {era}"
    return told(
        *(litmus, orders, witness.schedule),
        title=title,
        decided=decided,
        why=NO_RETURN,
        notes=lines,
    )


def of_witness(
    arguments: argparse.Namespace,
) -> Callable[[Litmus, Sequence[Answered]], None]:
    """Draws the simplest witness of what was found; CommandError if there is none."""

    def draw(litmus: Litmus, found: Sequence[Answered]) -> None:
        shown = with_witness(found)
        if shown is None or shown.answer.witness is None:
            eras = ", ".join(each.cell.era for each in found)
            raise CommandError(f"{litmus.name}: nothing to draw: no witness in {eras}")
        cell = shown.cell
        story = witness_story(litmus, cell.era, cell.orders, shown.answer.witness)
        pictures.draw(story, arguments, prose(litmus))

    return draw


def of_token(arguments: argparse.Namespace) -> Callable[[Litmus, Replayed], None]:
    """Draws the schedule of a token."""

    def draw(litmus: Litmus, replayed: Replayed) -> None:
        names = [task_name(litmus, turn.task) for turn in replayed.turns]
        assert names == [name for name, _ in replayed.token.turns]
        lines = [question_text(litmus.question), values_text(replayed.values)]
        lines += [f"{rule}: {sentence}" for rule, sentence in replayed.broken]
        story = told(
            *(litmus, replayed.orders, [turn.task for turn in replayed.turns]),
            title=f"{litmus.name}, {replayed.token.era}",
            notes=[*lines, f"--replay {replayed.token}"],
        )
        pictures.draw(story, arguments, prose(litmus))

    return draw


def prose(litmus: Litmus) -> str:
    return "\n".join(line.strip() for line in litmus.prose)
