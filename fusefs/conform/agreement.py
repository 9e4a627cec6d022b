"""Whether the model allows what the kernel did: is there a schedule with the kernel's acts?

    agreement()    searches one, depth first, guided by the order in which the kernel went
    Agreement      accepted, rejected, or not decided within TURNS_MAX

Each turn of the model has to give the very acts that its task did next in the kernel, and nothing
may be done before what the trace shows to have ended before it began.  A run of the model whose
acts are no more a beginning of the kernel's is given up at once, so of a program with one task one
run is made, and of most others a few.

Of turns that have nothing to do with each other only one order is tried, by sleep sets: a turn
sleeps below the siblings that came after it, until one of them conflicts with it.

Units: times are microseconds.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from fusefs.conform.acts import (
    ONCE,
    RETURN,
    WB_CONVERT,
    Act,
    Group,
    Unit,
    group_name,
    grouped,
    in_order,
    units_of,
)
from fusefs.conform.kernel_acts import History
from fusefs.conform.model_acts import Stream, Watched
from fusefs.explore.worlds import LitmusCase
from fusefs.model.footprint import Footprint

TURNS_MAX: Final = 60_000
"""Some ten seconds."""

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
UNDECIDED: Final = "undecided"

_FITS, _TOO_EARLY, _DIFFERS = range(3)


@dataclass(slots=True)
class Agreement:
    """verdict, and how it was found.

    turns     how many turns of the model were made
    steps     the names of the steps that the accepting run took, or the one that came furthest
    schedule  who went, in that run
    acts      of that run, by whose they are; the last of them may be what did not fit
    reached   how many of the kernel's groups that run had, by whose they are
    left      of the next of these groups, what that run had not, if it had any of it
    refused   what it did then, and did not fit
    """

    verdict: str = REJECTED
    turns: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    schedule: list[int] = field(default_factory=list)
    acts: dict[Stream, list[Act]] = field(default_factory=dict)
    reached: dict[Stream, int] = field(default_factory=dict)
    left: dict[Stream, Counter[Unit]] = field(default_factory=dict)
    refused: dict[Stream, Act] = field(default_factory=dict)


class _Cursor:
    """How much of a history has been accounted for."""

    def __init__(self, history: History, page: int, block: int) -> None:
        self._page, self._block = page, block
        self._streams: dict[Stream, list[Group]] = {
            (number, -1): groups for number, groups in enumerate(history.tasks)
        } | dict(history.ends)
        self._at = dict.fromkeys(self._streams, 0)
        self._left: dict[Stream, Counter[Unit]] = {}
        self._seen: dict[Stream, Counter[Unit]] = {}
        self._converted = Counter(history.converted)
        self.count = 0

    def head(self, stream: Stream) -> Group | None:
        groups = self._streams.get(stream, [])
        at = self._at.get(stream, 0)
        return groups[at] if at < len(groups) else None

    @property
    def reached(self) -> dict[Stream, int]:
        return dict(self._at)

    @property
    def left(self) -> dict[Stream, Counter[Unit]]:
        return {stream: +left for stream, left in self._left.items()}

    @property
    def is_done(self) -> bool:
        return not self._converted.total() and all(
            self.head(stream) is None for stream in self._streams
        )

    def take(self, stream: Stream, act: Act) -> int:
        """Account for an act of the model."""
        units = list(units_of(act, self._page, self._block))
        if act.kind == WB_CONVERT:
            for unit in units:
                if not self._converted[unit]:
                    return _DIFFERS
                self._converted[unit] -= 1
            return _FITS
        if stream not in self._left and self._is_repeated(stream, units):
            return _FITS
        group = self.head(stream)
        if group is None or group.name != group_name(act):
            return _DIFFERS
        left = self._left.get(stream)
        if left is None:
            if self._comes_too_early(stream, group):
                return _TOO_EARLY
            left = self._left[stream] = Counter(group.units)
            self._seen[stream] = Counter()
        seen = self._seen[stream]
        for each in units:
            unit = in_order(each, seen, self._page // self._block)
            if left[unit] > 0:
                left[unit] -= 1
                seen[unit] += 1
            elif not (unit.kind in ONCE and seen[unit]):
                return _DIFFERS
        if not left.total():
            self._at[stream] += 1
            del self._left[stream]
        self.count += 1
        return _FITS

    def _is_repeated(self, stream: Stream, units: list[Unit]) -> bool:
        """What was done a moment ago, and counts once."""
        seen = self._seen.get(stream, Counter[Unit]())
        return all(unit.kind in ONCE and seen[unit] for unit in units)

    def _comes_too_early(self, stream: Stream, group: Group) -> bool:
        if group.name == RETURN:
            return False  # whoever lets go of the last lock may be told of it much later
        for other in self._streams:
            if other == stream:
                continue
            head = self.head(other)
            if head is not None and head.to_us < group.from_us:
                return True
        return False


class _Place:
    """Where a choice is made: who can still be tried, and who need not be."""

    __slots__ = ("asleep", "choices", "made")

    def __init__(self, choices: list[int], asleep: dict[int, Footprint]) -> None:
        self.choices = choices
        self.asleep = asleep
        self.made = -1


class _Search:
    def __init__(self, case: LitmusCase, history: History) -> None:
        self._case = case
        self._history = history
        self._machine = case.litmus.machine
        self.found = Agreement()
        self._furthest = -1
        self._path: list[_Place] = []

    def run(self, turns_max: int) -> Agreement:
        found = self.found
        self._begin()
        self._path = [_Place(self._choices({}), {})]
        fresh = True
        while self._path:
            place = self._path[-1]
            if not place.choices:
                self._path.pop()
                fresh = False
                continue
            if found.turns > turns_max:
                found.verdict = UNDECIDED
                break
            if not fresh:
                self._replay()
            chosen = place.choices.pop(0)
            fitting, footprint = self._turn(chosen)
            if fitting is not _TOO_EARLY:
                place.made = chosen
            if fitting is _FITS:
                awake = {
                    number: other
                    for number, other in place.asleep.items()
                    if not other.conflicts(footprint)
                }
                place.asleep[chosen] = footprint
                if not self._watched.execution.enabled():
                    if self._is_accepted():
                        found.verdict = ACCEPTED
                        self._note()
                        break
                    fresh = False
                    continue
                self._path.append(_Place(self._choices(awake), awake))
                fresh = True
            else:
                if fitting is _DIFFERS:
                    place.asleep[chosen] = footprint
                fresh = False
        self._watched.close()
        return found

    # -- one run -----------------------------------------------------------------------

    def _begin(self) -> None:
        self._watched = Watched(self._case)
        self._cursor = _Cursor(self._history, self._machine.page, self._machine.block)
        self._acts: dict[Stream, list[Act]] = {}
        self._steps: list[str] = []
        self._schedule: list[int] = []

    def _replay(self) -> None:
        """Come to the last place of the path again."""
        self._watched.close()
        self._begin()
        for place in self._path[:-1]:
            self._turn(place.made)

    def _turn(self, number: int) -> tuple[int, Footprint]:
        footprint = Footprint(watches_lru=self._watched.execution.scenario.watches_lru)
        stream = self._watched.stream(number)
        turn, made = self._watched.turn(number, footprint)
        self.found.turns += 1
        self._steps.append(turn.name)
        self._schedule.append(number)
        fitting = _FITS
        refused: dict[Stream, Act] = {}
        for act in made:
            if act.kind not in self._history.kinds:
                continue
            fitting = self._cursor.take(stream, act)
            self._acts.setdefault(stream, []).append(act)
            if fitting is not _FITS:
                refused = {stream: act}
                break
        if self._cursor.count > self._furthest and fitting is not _TOO_EARLY:
            self._furthest = self._cursor.count
            self._note()
        if fitting is _DIFFERS and self._cursor.count == self._furthest:
            self.found.refused = refused
        return fitting, footprint

    def _note(self) -> None:
        found = self.found
        found.acts = {stream: list(made) for stream, made in self._acts.items()}
        found.reached, found.left, found.refused = self._cursor.reached, self._cursor.left, {}
        found.steps = Counter(self._steps)
        found.schedule = list(self._schedule)

    def _is_accepted(self) -> bool:
        return not self._watched.execution.is_stuck and self._cursor.is_done

    def _choices(self, asleep: dict[int, Footprint]) -> list[int]:
        """Who can go and does not sleep: first whose act came first in the kernel."""
        awake = [each for each in self._watched.execution.enabled() if each not in asleep]
        return sorted(awake, key=self._due)

    def _due(self, number: int) -> tuple[int, int]:
        head = self._cursor.head(self._watched.stream(number))
        return (1 << 62 if head is None else head.from_us, number)


def agreement(case: LitmusCase, history: History, turns_max: int = TURNS_MAX) -> Agreement:
    """Search a schedule of a litmus file's model that has the acts of a history."""
    return _Search(case, history).run(turns_max)


def model_groups(found: Agreement, page: int, block: int) -> Iterator[tuple[Stream, list[Group]]]:
    """The acts of the run that came furthest, as groups."""
    for stream, made in sorted(found.acts.items()):
        yield stream, grouped((act for act in made if act.kind != WB_CONVERT), page, block)
