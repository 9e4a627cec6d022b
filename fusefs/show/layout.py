"""Where everything of a picture is: time downwards, a row for each event.

    Layout     columns of requests, lanes of what they share, rows

A process has as many columns as it has requests at a time; requests that follow each other share
one.  Right of them are the lanes.

Units: px of a picture that is drawn in its natural size; letters are LETTER wide.
"""

from dataclasses import dataclass
from typing import Final

from fusefs.show.story import Story

LETTER: Final = 6.7
"""Of a fixed font at 11 px, a little generously."""

ROW: Final = 22
HEAD: Final = 74
GUTTER: Final = 64
"""Left of the first column: times."""

COLUMN_WIDTHS: Final = (120.0, 290.0)
LANE_WIDTHS: Final = (70.0, 180.0)
HEADING_LETTER: Final = 7.6
"""Of the names of groups, which are bold and not of a fixed font."""

GAP: Final = 10.0
GROUP_GAP: Final = 26.0


@dataclass(frozen=True, slots=True)
class Span:
    """From left, so wide."""

    left: float
    width: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


@dataclass(frozen=True, slots=True)
class Group:
    """A process, or what shared things have in common: a name above some spans."""

    name: str
    span: Span


class Layout:
    """columns by request, lanes by their places; rows' tops by event, and the picture's size."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.tops = _tops(story)
        self.height = (self.tops[-1] if self.tops else HEAD) + ROW + self._why(len(self.tops) - 1)
        self.columns: dict[int, Span] = {}
        self.actors: list[tuple[int, Group]] = []
        self.groups: list[Group] = []
        left = self._place_requests(float(GUTTER))
        self.lanes: list[Span] = []
        self.width = self._place_lanes(left)

    def middle(self, at: int) -> float:
        """Where an event's line is."""
        return self.tops[at] + ROW / 2

    def below(self, at: int) -> float:
        """Where the next row may begin."""
        return self.tops[at] + ROW + self._why(at)

    def _why(self, at: int) -> float:
        return ROW if at >= 0 and at == self.story.critical else 0

    def _place_requests(self, left: float) -> float:
        """Returns where they end."""
        ends: dict[int, tuple[int, int]] = {}
        longest: dict[int, int] = {}
        by_actor: dict[int, list[int]] = {}
        for at, event in enumerate(self.story.events):
            start, _ = ends.get(event.request, (at, at))
            ends[event.request] = start, at
            said = len(self.story.said(event)) + 3
            longest[event.request] = max(longest.get(event.request, 0), said)
            own = by_actor.setdefault(event.pid, [])
            if event.request not in own:
                own.append(event.request)
        for pid, requests in by_actor.items():
            begin = left
            for column in _side_by_side(requests, ends):
                letters = max([longest[request] for request in column])
                letters = max(letters, len(self.story.actor(pid)))
                span = Span(left, _within(letters * LETTER + 16, COLUMN_WIDTHS))
                self.columns.update(dict.fromkeys(column, span))
                left = span.right + GAP
            group = Group(self.story.actor(pid), Span(begin, left - GAP - begin))
            self.actors.append((pid, group))
            left += GAP
        return left

    def _place_lanes(self, left: float) -> float:
        """Returns the width of all."""
        previous = None
        for place, lane in enumerate(self.story.lanes):
            states = [self.story.first, *self.story.before, *self.story.after]
            longest = max(len(each[place].text) for each in states)
            longest = max(longest, len(lane.what) + 1)
            width = _within(longest * LETTER + 18, LANE_WIDTHS)
            key = lane.kind, lane.of
            if key != previous:
                left += GROUP_GAP if previous is None else GAP
                name = f"{PLURALS[lane.kind]} of {lane.of}" if lane.of else PLURALS[lane.kind]
                width = max(width, _group_width(self.story, key, len(name) * HEADING_LETTER))
                self.groups.append(Group(name, Span(left, 0)))
            self.lanes.append(Span(left, width))
            group = self.groups[-1]
            self.groups[-1] = Group(
                group.name, Span(group.span.left, left + width - group.span.left)
            )
            previous = key
            left += width + 4
        return left + GAP


PLURALS: Final = {"page": "pages", "blocks": "blocks", "lock": "locks"}


def _group_width(story: Story, key: tuple[str, str], letters: float) -> float:
    """How wide the first lane of a group has to be, that its name fits above all of them."""
    count = sum((lane.kind, lane.of) == key for lane in story.lanes)
    return max(letters - (count - 1) * LANE_WIDTHS[0], 0)


def _tops(story: Story) -> list[float]:
    top, tops = float(HEAD), []
    for at in range(len(story.events)):
        tops.append(top)
        top += ROW * (2 if at == story.critical else 1)
    return tops


def _within(width: float, bounds: tuple[float, float]) -> float:
    return min(max(width, bounds[0]), bounds[1])


def _side_by_side(requests: list[int], ends: dict[int, tuple[int, int]]) -> list[list[int]]:
    """The requests of each column: none begins there before the one above it has ended."""
    columns: list[list[int]] = []
    for request in sorted(requests, key=lambda each: ends[each]):
        for column in columns:
            if ends[column[-1]][1] < ends[request][0]:
                column.append(request)
                break
        else:
            columns.append([request])
    return columns
