"""An answer as text that can be pasted into a mail: 72 columns, no colour.

table()       a line for each era
histogram()   what the classes of one ended with, in herd's form
ladder()      a schedule, a column for each task
parting()     two schedules side by side, from where they part
"""

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Final

from fusefs.explore.aftermath import Values
from fusefs.explore.answer import Answer, Witness, task_name
from fusefs.explore.execution import START, Made
from fusefs.litmus.operations import operation_text
from fusefs.litmus.test import Litmus
from fusefs.show.ladder import WIDTH, Cell, across, draw

REPLY: Final = "reply"

NO_RETURN: Final = "from here on nothing can avoid it"


def table(rows: Sequence[tuple[str, Answer, float | None]]) -> list[str]:
    """Era, answer and seconds, if they were measured, as lines."""
    longest = max([len(era) for era, _, _ in rows])
    lines = [f"{'era':{longest}}  {'answer':9}  {'classes':>13}  {'schedules':>13}"]
    if any(seconds is not None for _, _, seconds in rows):
        lines[0] += "   seconds"
    for era, answer, seconds in rows:
        classes = f"{answer.positive_count} of {answer.outcome_count}"
        number = ("" if answer.is_counted else "~") + short(answer.schedule_count)
        line = f"{era:{longest}}  {answer.observation:9}  {classes:>13}  {number:>13}"
        lines.append(line + ("" if seconds is None else f"  {seconds:8.2f}"))
    for rule in sorted({rule for _, answer, _ in rows for rule in answer.broken}):
        eras = [era for era, answer, _ in rows if rule in answer.broken]
        lines += ["", *_wrapped(f"breaks {rule}: {', '.join(eras)}")]
    bounded = [era for era, answer, _ in rows if not answer.exhausted]
    return [*lines, *([f"exhausted: no, in {', '.join(bounded)}"] if bounded else [])]


def _wrapped(sentence: str) -> list[str]:
    return wrap(sentence, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def short(number: int) -> str:
    """In full as long as that is readable."""
    return f"{number:,}" if number < 10**9 else f"{number:.1e}"


def histogram(answer: Answer, hidden: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Classes by what they ended with; * marks what fulfils the condition."""
    skipped = set(hidden)
    lines = [f"Histogram ({len(answer.histogram)} states)"]
    for values, number in sorted(answer.histogram.items(), key=lambda each: (-each[1], each[0])):
        mark = "*" if values in answer.positive else " "
        lines.append(f"{number:>8} {mark}>{values_text(values, skipped)}")
    return lines


def values_text(values: Values, skipped: set[tuple[str, str]] | None = None) -> str:
    """What a run ended with, in one line."""
    shown = [each for each in values if not skipped or each[0] not in skipped]
    return " ".join(f"{' '.join(filter(None, subject))}={value};" for subject, value in shown)


# -- ladders -----------------------------------------------------------------------------


def ladder(
    litmus: Litmus,
    turns: Sequence[Made],
    decided: int | None = None,
    lost: Sequence[int] | None = None,
) -> list[str]:
    """A line for each turn, in its task's column; operations where they begin.

    decided is how many turns it took until nothing but failure was left; lost is None unless a
    crash comes last: the places of the turns whose writes it loses.
    """
    operations = [iter(task.operations) for task in litmus.tasks]
    cells: list[Cell] = []
    for made, turn in enumerate(turns, 1):
        if turn.name not in (START, REPLY):
            cells.append(Cell(turn.task, f"  {_step(turn)}"))
        elif turn.task < len(operations):
            operation = next(operations[turn.task], None)
            cells += [] if operation is None else [Cell(turn.task, operation_text(operation))]
        if made == decided:
            cells.append(across(NO_RETURN))
    names = {n: task_name(litmus, n) for n in {*range(len(operations)), *(t.task for t in turns)}}
    lines = draw(names, cells)
    return lines if lost is None else [*lines, *_crash(litmus, turns, lost)]


def _crash(litmus: Litmus, turns: Sequence[Made], lost: Sequence[int]) -> list[str]:
    """The last line of a ladder, longer if much is lost."""
    writes = [f"{task_name(litmus, turns[place].task)}'s {_step(turns[place])}" for place in lost]
    what = f"; lost: {', '.join(writes)}" if writes else ""
    return wrap(f"-- crash{what}", WIDTH, subsequent_indent="    ")


def _step(turn: Made) -> str:
    return f"{turn.name} {turn.pos}+{turn.length}" if turn.length else turn.name


def witness_text(litmus: Litmus, witness: Witness, decided: int | None = None) -> list[str]:
    """The ladder, what it ended with, and the rules that it broke."""
    preemptions, switches = witness.cost
    lines = [
        f"Witness: {len(witness.schedule)} turns, {switches} switches,"
        f" {preemptions} of them needless",
        *ladder(litmus, witness.turns, decided, witness.lost),
        *wrap(values_text(witness.outcome), WIDTH),
    ]
    for rule, sentence in witness.broken:
        lines += _wrapped(f"{rule}: {sentence}")
    return lines


def crash_window(litmus: Litmus, until: Sequence[Made]) -> list[str]:
    """Until when a crash does harm, if all goes on; until are the turns that it takes."""
    if not until:
        return ["A crash at any later time does harm as well."]
    last = until[-1]
    turns = "the next turn" if len(until) == 1 else f"the {len(until)} next turns"
    done = f"{task_name(litmus, last.task)}'s {_step(last)}"
    return wrap(f"A crash does no harm any more after {turns}, the last of them {done}.", WIDTH)


def parting(litmus: Litmus, failing: Sequence[Made], passing: Sequence[Made]) -> list[str]:
    """Two schedules from where they part, the failing one on the left."""
    common = 0
    for one, other in zip(failing, passing, strict=False):
        if (one.task, one.name) != (other.task, other.name):
            break
        common += 1
    half = WIDTH // 2
    lines = [
        f"{'fails':{half}}passes",
        f"({common} turn{' is' if common == 1 else 's are'} the same)",
    ]
    for place in range(common, max(len(failing), len(passing))):
        left = _cell(litmus, failing[place]) if place < len(failing) else ""
        right = _cell(litmus, passing[place]) if place < len(passing) else ""
        lines.append(f"{left:{half}}{right}".rstrip())
    return lines


def _cell(litmus: Litmus, turn: Made) -> str:
    return f"{task_name(litmus, turn.task)}: {turn.name}"
