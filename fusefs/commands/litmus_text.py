"""What the litmus command prints: tables, histograms, ladders; or JSON."""

import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from fusefs.commands.answers import Answered, Cell, answers
from fusefs.commands.errors import CommandError, UsageError
from fusefs.explore.aftermath import Values
from fusefs.explore.answer import (
    Answer,
    Witness,
    ended,
    expected,
    fulfils,
    is_as_expected,
    task_name,
)
from fusefs.explore.execution import Made
from fusefs.explore.explain import crash_until, fails, nearest_twin, no_return
from fusefs.explore.explain import shrunk as shrink
from fusefs.explore.telling import (
    crash_window,
    histogram,
    ladder,
    parting,
    table,
    values_text,
    witness_text,
)
from fusefs.explore.token import Token, TokenError, crashed, made, parse_token, replay
from fusefs.litmus.parse import LitmusError, parse
from fusefs.litmus.test import Litmus
from fusefs.litmus.text import question_text, text
from fusefs.model.orders import ERAS, ROWS, TODAY

ALL = "all"


def orders_of(era: str) -> frozenset[str]:
    """Of an era, an order, or orders with + between; KeyError for what is none."""
    if era in ERAS:
        return ERAS[era].orders
    names = era.split("+")
    for name in names:
        ROWS[name]
    return frozenset(names)


def known_orders(era: str) -> frozenset[str]:
    try:
        return orders_of(era)
    except KeyError:
        known = f"eras: all, {', '.join(ERAS)}; orders: {', '.join(ROWS)}"
        raise UsageError(f"'{era}' is no era and no order; {known}") from None


def read(source: str, name: str) -> Litmus:
    """The file's data; CommandError with its one line."""
    try:
        return parse(source, name)
    except LitmusError as error:
        raise CommandError(str(error), 2) from None


def cells(litmus: Litmus, name: str, source: str, eras: Sequence[str]) -> list[Cell]:
    """One for each era that is asked for: today, and those that the file names, if none is."""
    asked = [each for words in eras for each in words.split(",")]
    if not asked:
        asked = [each for each in litmus.expected if each in ERAS or each in ROWS]
        asked += [TODAY] if TODAY not in asked else []
    if ALL in asked:
        asked = [*ERAS, *(each for each in asked if each != ALL and each not in ERAS)]
    for each in litmus.expected:
        known_orders(each)
    return [Cell(name, source, era, known_orders(era)) for era in asked]


# -- answers -----------------------------------------------------------------------------


def print_answers(
    asked: Sequence[tuple[Litmus, list[Cell]]],
    runs_max: int,
    executor: Executor | None,
    *,
    jobs: int,
    as_json: bool,
    is_watched: bool,
    draw: Callable[[Litmus, Sequence[Answered]], None] | None = None,
) -> int:
    """Print each file's answers; 1 if one of them is not as the file expects.

    draw is called with each file, and what was found, after that was printed.
    """
    all_cells = [cell for _, some in asked for cell in some]
    try:
        coming = answers(all_cells, runs_max, executor, jobs=jobs, is_watched=is_watched)
        failed, reports = False, []
        for litmus, some in asked:
            found = [next(coming) for _ in some]
            failed |= any(not _is_right(litmus, each) for each in found)
            if as_json:
                reports.append(report(litmus, found))
            else:
                print("\n".join([*page(litmus, found), ""]), flush=True)
            if draw is not None:
                draw(litmus, found)
    except ValueError as error:  # of what the model cannot run
        raise CommandError(str(error), 2) from None
    if as_json:
        print(json.dumps(reports))
    return int(failed)


def _is_right(litmus: Litmus, found: Answered) -> bool:
    return is_as_expected(litmus, found.answer, _names(found.cell))


def _names(cell: Cell) -> list[str]:
    """What a file may call an era by: its name, or its only order's."""
    return [cell.era, *([*cell.orders] if len(cell.orders) == 1 else [])]


def page(litmus: Litmus, found: Sequence[Answered]) -> list[str]:
    """The table of a file, and below it the simplest witness."""
    lines = [f"litmus {litmus.name}: {question_text(litmus.question)}", ""]
    lines += table([(each.cell.era, each.answer, each.seconds) for each in found])
    for each in found:
        if not _is_right(litmus, each):
            wanted = expected(litmus, _names(each.cell))
            lines += ["", f"{each.cell.era}: the file expects {wanted}"]
    shown = with_witness(found)
    for each in [shown] if shown is not None else found[:1]:
        lines += ["", f"{each.cell.era}: {_words(each.answer)}", *histogram(each.answer)]
    if shown is not None:
        lines += ["", *_witness(litmus, shown)]
    return lines


def _words(answer: Answer) -> str:
    """How much was run."""
    runs = "" if answer.run_count == answer.class_count else f", {answer.run_count:,} runs"
    proof = "" if answer.exhausted else "; exhausted: no"
    cuts = f", {answer.cut_count:,} cuts" if answer.cut_count else ""
    return f"{answer.class_count:,} classes{runs}, {answer.turn_count:,} turns{cuts}{proof}"


def with_witness(found: Sequence[Answered]) -> Answered | None:
    """The era with the simplest witness."""
    best: Answered | None = None
    for each in found:
        if each.answer.witness is not None and (
            best is None
            or best.answer.witness is None
            or each.answer.witness.cost < best.answer.witness.cost
        ):
            best = each
    return best


def _witness(litmus: Litmus, found: Answered) -> list[str]:
    witness = found.answer.witness
    assert witness is not None
    token = made(litmus, found.cell.era, witness.turns, witness.lost)
    return [*witness_lines(litmus, found.cell.orders, witness), "", f"--replay {token}"]


def witness_lines(litmus: Litmus, orders: Collection[str], witness: Witness) -> list[str]:
    """The ladder of a witness, and beside it the nearest schedule that passes; of a crash, until
    when it does harm."""
    if witness.lost is not None:
        until = crash_until(litmus, orders, witness.schedule)
        return [*witness_text(litmus, witness), "", *crash_window(litmus, until)]
    lines = witness_text(litmus, witness, no_return(litmus, orders, witness.schedule))
    twin = nearest_twin(litmus, orders, witness.schedule)
    if twin is not None:
        first, second = (
            f"{task_name(litmus, each.task)}'s {each.name}" for each in (twin.first, twin.second)
        )
        lines += ["", f"It passes if {second}", f"comes before {first}:"]
        lines += parting(litmus, witness.turns, twin.turns)
    return lines


def report(litmus: Litmus, found: Sequence[Answered]) -> dict[str, object]:
    """A file's answers as JSON has them."""
    return {
        "file": found[0].cell.file if found else "",
        "name": litmus.name,
        "question": question_text(litmus.question),
        "eras": [_era_report(litmus, each) for each in found],
    }


def _era_report(litmus: Litmus, found: Answered) -> dict[str, object]:
    answer = found.answer
    return {
        "era": found.cell.era,
        "orders": sorted(answer.orders),
        "answer": answer.observation,
        "expected": expected(litmus, _names(found.cell)),
        "as_expected": _is_right(litmus, found),
        "classes": answer.class_count,
        "positive": answer.positive_count,
        "schedules": answer.schedule_count,
        "schedules_counted": answer.is_counted,
        "runs": answer.run_count,
        "turns": answer.turn_count,
        "exhausted": answer.exhausted,
        "broken": answer.broken,
        "seconds": round(found.seconds, 3),
        "histogram": [
            {
                "outcome": values_text(values),
                "classes": number,
                "positive": values in answer.positive,
            }
            for values, number in sorted(answer.histogram.items())
        ],
        "witness": _witness_report(litmus, found),
    }


def _witness_report(litmus: Litmus, found: Answered) -> dict[str, object] | None:
    witness = found.answer.witness
    if witness is None:
        return None
    return {
        "token": str(made(litmus, found.cell.era, witness.turns, witness.lost)),
        "preemptions": witness.cost[0],
        "switches": witness.cost[1],
        "no_return": None
        if witness.lost is not None
        else no_return(litmus, found.cell.orders, witness.schedule),
        "lost": witness.lost,
        "harmless_after": None
        if witness.lost is None
        else [
            _turn_report(litmus, turn)
            for turn in crash_until(litmus, found.cell.orders, witness.schedule)
        ],
        "outcome": values_text(witness.outcome),
        "broken": dict(witness.broken),
        "turns": [_turn_report(litmus, turn) for turn in witness.turns],
    }


def _turn_report(litmus: Litmus, turn: Made) -> dict[str, object]:
    return {
        "task": task_name(litmus, turn.task),
        "step": turn.name,
        "pos": turn.pos,
        "length": turn.length,
    }


# -- one schedule, one file ----------------------------------------------------------------


class Replayed(NamedTuple):
    """What a token's schedule does.  positive says that it is what is asked for, failing that it is
    a witness."""

    token: Token
    orders: frozenset[str]
    turns: list[Made]
    values: Values
    positive: bool
    broken: Sequence[tuple[str, str]]
    failing: bool


def replayed(
    litmus: Litmus,
    token: str,
    *,
    as_json: bool,
    draw: Callable[[Litmus, Replayed], None] | None = None,
) -> int:
    """Run a token's schedule; 1 if it does what the question or a rule forbids."""
    try:
        found = _found_again(litmus, parse_token(token))
    except TokenError as error:
        raise CommandError(str(error), 2) from None
    if as_json:
        print(
            json.dumps(
                {
                    "name": litmus.name,
                    "era": found.token.era,
                    "outcome": values_text(found.values),
                    "positive": found.positive,
                    "broken": dict(found.broken),
                    "turns": [_turn_report(litmus, turn) for turn in found.turns],
                }
            )
        )
    else:
        lines = [*ladder(litmus, found.turns, lost=found.token.lost), values_text(found.values)]
        lines += [f"{rule}: {sentence}" for rule, sentence in found.broken]
        holds = "holds" if found.positive else "does not hold"
        print("\n".join([*lines, f"{question_text(litmus.question)}: it {holds}"]))
    if draw is not None:
        draw(litmus, found)
    return int(found.failing)


def _found_again(litmus: Litmus, token: Token) -> Replayed:
    """What a token's schedule does; TokenError."""
    if token.lost is not None:
        crash, turns = crashed(litmus, token, orders_of)
        positive = fulfils(litmus, crash)
        failing = positive or bool(crash.broken)
        orders = orders_of(token.era)
        return Replayed(token, orders, turns, crash.values, positive, crash.broken, failing)
    execution, turns = replay(litmus, token, orders_of)
    values, positive, broken = ended(litmus, execution)
    failing = fails(litmus, execution)
    execution.close()
    return Replayed(token, orders_of(token.era), turns, values, positive, broken, failing)


def shrunk(litmus: Litmus, era: str) -> int:
    """Print the least of a file that still fails under an era."""
    orders = known_orders(era)
    least = shrink(litmus, orders)
    print(text(least), end="")
    return 0
