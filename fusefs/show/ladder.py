"""A ladder: time downwards, a column for each process, as in a commit message.

    draw()     cells in columns, and nothing else
    ladder()   a story

Columns begin evenly spaced, but further to the left where what a later one says is long: two
columns may overlap, as a line has one cell.  No line is longer than WIDTH, unless one cell is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from fusefs.engine.events import ASKED, BEGAN, Event
from fusefs.show.story import Story

WIDTH: Final = 72

COLUMN_MIN: Final = 16

COLUMNS_MAX: Final = 6
"""Of more processes each line says whose it is, in one column."""

ACROSS: Final = -1
"""Instead of a column, of a line across all."""


class Cell(NamedTuple):
    """One line.  time is empty where it is that of the line above."""

    column: int
    text: str
    time: str = ""


def draw(heads: Mapping[int, str], cells: Sequence[Cell], unit: str = "") -> list[str]:
    """Lines for cells.  heads are the columns' names, by number; unit is that of times, if any."""
    gutter = max((len(each.time) for each in [*cells, Cell(0, "", unit)]), default=0)
    gutter += 2 if gutter else 0
    margins = _margins(heads, cells, WIDTH - gutter)
    head = f"{unit:>{gutter - 2}}  " if gutter else ""
    for column in sorted(heads):
        head = head.ljust(gutter + margins[column]) + heads[column]
    lines = [head]
    for cell in cells:
        time = f"{cell.time:>{gutter - 2}}  " if gutter else ""
        if cell.column == ACROSS:
            time = ""
        lines.append(f"{time}{' ' * margins[cell.column]}{cell.text}".rstrip())
    return lines


def across(sentence: str) -> Cell:
    """A line of dashes with a sentence in it."""
    return Cell(ACROSS, f"-- {sentence} ".ljust(WIDTH, "-"))


def _margins(heads: Mapping[int, str], cells: Sequence[Cell], width: int) -> dict[int, int]:
    """Where each column begins: evenly, unless the lines of the last ones are too long."""
    spacing, following = max(width // len(heads), COLUMN_MIN), width
    margins = {ACROSS: 0}
    for place, (column, head) in reversed(list(enumerate(sorted(heads.items())))):
        longest = max(len(text) for text in [head, *(c.text for c in cells if c.column == column)])
        margins[column] = max(min(place * spacing, width - longest, following - len(head) - 1), 0)
        following = margins[column]
    return margins


# -- a story -----------------------------------------------------------------------------


def ladder(story: Story) -> list[str]:
    """A column for each process, in the order in which they begin; no more than WIDTH wide."""
    columns: dict[int, int] = {}
    for event in story.events:
        columns.setdefault(event.pid, len(columns))
    is_narrow = len(columns) <= COLUMNS_MAX
    cells = list(_cells(story, columns if is_narrow else dict.fromkeys(columns, 0), is_narrow))
    heads = {column: story.actor(pid) for pid, column in columns.items()} if is_narrow else {0: ""}
    drawn = draw(heads, cells, story.unit) if cells else ["nothing happened"]
    return [*_head(story), *drawn, *(["", *story.notes] if story.notes else [])]


def _head(story: Story) -> list[str]:
    return [story.title, ""] if story.title else []


def _cells(story: Story, columns: Mapping[int, int], is_narrow: bool) -> Iterator[Cell]:
    shown = ""
    for index, event in enumerate(story.events):
        indent = "" if event.event == BEGAN else "  "
        owner = "" if is_narrow else f"{story.actor(event.pid)}: "
        time = story.time(event)
        text = f"{owner}{indent}{story.said(event)}"
        yield Cell(columns[event.pid], text, time if time != shown else "")
        shown = time
        for line in _consequences(story, event, index):
            yield Cell(columns[event.pid], f"{' ' * len(owner)}{indent}  {line}")
        if index == story.critical:
            yield across(story.why)


def _consequences(story: Story, event: Event, index: int) -> Iterator[str]:
    """Whom it waits for, and what became of a lane that there is something to say of."""
    if event.event == ASKED and (owner := story.waits_for(event)):
        yield f"for {owner}"
    for change in story.changes(index):
        lane = story.lanes[change.lane]
        yield f"{lane.kind} {lane.what}: {change.before.text} -> {change.after.text}"
