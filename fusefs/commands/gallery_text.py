"""What docs/gallery.md says: two matrices, and a section for each order.

    Found     a file of the gallery, and what it answers under each era and each order
    page()    the whole page
    mark()    a cell of a matrix, one character

The same text for the same answers: no time, no path of a machine, no order of sets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fusefs.commands.litmus_text import witness_lines
from fusefs.explore.answer import Answer, usual
from fusefs.explore.telling import table
from fusefs.litmus.test import Litmus
from fusefs.model.order_rows import Row
from fusefs.model.orders import ERAS, POST_BEFORE_END, ROWS, TODAY

HEAD = """\
# The gallery

The places where kernels of the past differed from today's, and what each lets programs see.
`./dev gallery` writes this page out of `fusefs/model/order_rows.py`, `fusefs/model/orders.py` and \
`fusefs/litmus/gallery/`; `./dev gallery --check` says whether it is up to date, as does a test.

An *order* is one such place, a switch of the model; an *era* is the set of them that iomap and \
XFS of one kernel had.
Every file of the gallery was asked under every order alone, and under every era, and each of \
these searches went to its end: where a matrix has a dot, no schedule of the file shows anything.
That is said of the model, and of files of this size: `docs/litmus.md` tells what it means, and \
`docs/limits.md` what the model leaves out."""

MARKS = """\
    .   as today: Never, or of a forall Always; and no rule is broken
    s   Sometimes: some schedules fulfil the condition, and others do not
    a   Always: every schedule fulfils it
    n   Never, where the file asks for all
    S A N   the same, and a rule is broken in some schedule
    !   the answer is today's, but a rule is broken in some schedule"""

CORRECT = "nothing: it is correct as well"


@dataclass(frozen=True, slots=True)
class Found:
    """answers are by the name of the era or order, ERAS and ROWS in full."""

    litmus: Litmus
    source: str
    answers: dict[str, Answer]

    @property
    def order(self) -> str:
        """The one that the file is about: of its name, or else the first that it names; or ""."""
        name = self.litmus.name.replace("-", "_")
        return next((each for each in [name, *self.litmus.expected] if each in ROWS), "")


def mark(litmus: Litmus, answer: Answer) -> str:
    """What MARKS explains."""
    if answer.observation == usual(litmus):
        return "!" if answer.broken else "."
    letter = answer.observation[0]
    return letter if answer.broken else letter.lower()


def page(found: Sequence[Found]) -> str:
    """The text of docs/gallery.md; a file for each order must be among what was found."""
    parts = [HEAD, *_orders_and_files(found), *_eras_and_files(found), "## Order by order"]
    for name, row in ROWS.items():
        parts += _section(name, row, _about(name, found))
    if others := [each for each in found if not each.order]:
        parts.append("## Files that are about no single order")
        for each in others:
            parts += _file(each, [*ERAS])
    return "\n\n".join(parts) + "\n"


# -- the matrices ------------------------------------------------------------------------


def _orders_and_files(found: Sequence[Found]) -> list[str]:
    lines = ["|  | order | what is different | breaks |", "| ---: | --- | --- | --- |"]
    for number, (name, row) in enumerate(ROWS.items(), 1):
        breaks = row.breaks or CORRECT
        lines.append(f"| {number} | [`{name}`](#{name}) | {row.title} | {breaks} |")
    columns = [(str(number), name) for number, name in enumerate(ROWS, 1)]
    return [
        "## Orders and files",
        "\n".join(lines),
        "Which file shows which order, by the orders' numbers:",
        _code(_matrix(found, columns)),
        MARKS,
    ]


def _eras_and_files(found: Sequence[Found]) -> list[str]:
    lines = ["| era | orders | known from |", "| --- | --- | --- |"]
    for name, era in ERAS.items():
        orders = ", ".join(f"`{each}`" for each in ROWS if each in era.orders)
        lines.append(f"| `{name}` | {orders or 'none'} | {era.evidence} |")
    columns = [(name.removeprefix("linux-"), name) for name in ERAS]
    return [
        "## Eras and files",
        "\n".join(lines),
        "What each file answered in each kernel, with the same marks:",
        _code(_matrix(found, columns)),
    ]


def _matrix(found: Sequence[Found], columns: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each file; columns have what they are headed with, and their era or order."""
    first = max(len(each.litmus.name) for each in found)
    width = max(len(head) for head, _ in columns) + 1
    lines = [" " * first + "".join(f"{head:>{width}}" for head, _ in columns)]
    for each in found:
        marks = [mark(each.litmus, each.answers[name]) for _, name in columns]
        lines.append(f"{each.litmus.name:{first}}" + "".join(f"{one:>{width}}" for one in marks))
    return lines


# -- an order ----------------------------------------------------------------------------


def _about(name: str, found: Sequence[Found]) -> list[Found]:
    """The files of an order, the one that is called after it first."""
    files = [each for each in found if each.order == name]
    return sorted(files, key=lambda each: each.litmus.name != name.replace("_", "-"))


def _section(name: str, row: Row, files: Sequence[Found]) -> list[str]:
    lines = [f"| `{name}` | |", "| --- | --- |"]
    lines += [f"| {what} | {fact} |" for what, fact in _facts(name, row) if fact]
    title = row.title[0].upper() + row.title[1:] + "."
    parts = [f"### {name}", title, "\n".join(lines)]
    for each in files:
        parts += _file(each, [name, *ERAS])
    return parts


def _facts(name: str, row: Row) -> list[tuple[str, str]]:
    """What there is to say of an order, "" where there is nothing."""
    on_mount = f"not shown: {row.on_mount}" if row.on_mount else f"`-o {_option(name)}`"
    last = [
        ("evidence", row.evidence),
        ("on a mount", on_mount),
        ("comes with", ", ".join(f"`{each}`" for each in row.implies)),
    ]
    if not row.breaks:
        return [("breaks", CORRECT), ("had by", row.broken), ("changed by", row.fixed), *last]
    return [
        ("breaks", row.breaks),
        ("broken by", row.broken or "no kernel"),
        ("fixed by", row.fixed),
        ("upstream test that sees it", row.seen_by),
        ("one that does not", row.seen_not),
        *last,
    ]


def _option(name: str) -> str:
    return "invalidate=before" if name == POST_BEFORE_END else f"order={name}"


def _file(found: Found, names: Sequence[str]) -> list[str]:
    """The file in full, its table, and below it the ladder of the first of names that has one."""
    litmus = found.litmus
    parts = [
        f"`fusefs/litmus/gallery/{litmus.name}.litmus`:",
        _code(found.source.splitlines()),
        _code(table([(name, found.answers[name], None) for name in names])),
    ]
    for name in names:
        witness = found.answers[name].witness
        if witness is not None and name != TODAY:
            lines = witness_lines(litmus, found.answers[name].orders, witness)
            return [*parts, f"Under `{name}`:", _code(lines)]
    return parts


def _code(lines: Iterable[str]) -> str:
    return "\n".join(["```", *(line.rstrip() for line in lines), "```"])
