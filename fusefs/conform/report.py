"""What a comparison has found, as a table for people and as data.

    Asked       what is to be compared
    Section     one kind of comparison on one disk
    head(), row()   of a table of sections
    unseen()    the model's steps that no accepted run took

Units: events are lines of the kernel's trace, 0 where none is taken.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fusefs.litmus.test import Litmus
from fusefs.model.steps import NAMES

SEVERAL: Final = 20
"""For so many programs of one task there is one of several: processes take long to start."""


@dataclass(slots=True)
class Section:
    """name has the file system and its block size.

    programs    how many; runs of them all together
    explained   runs that differ as docs/limits.md says, by the reason
    rejected    runs that the model does not allow
    undecided   runs for which the search was given up
    skipped     programs that cannot be compared, by the reason
    steps       how often accepted runs of the model took each
    first       the first rejection, for people: program, then kernel and model side by side
    """

    name: str
    programs: int = 0
    runs: int = 0
    events: int = 0
    accepted: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    undecided: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    first: str = ""

    def report(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "programs": self.programs,
            "runs": self.runs,
            "events": self.events,
            "accepted": self.accepted,
            "explained": dict(self.explained),
            "rejected": self.rejected,
            "undecided": self.undecided,
            "skipped": dict(self.skipped),
            "first": self.first,
        }


_COLUMNS = ("programs", "runs", "   events", "accepted", "explained", "rejected", "undecided")


NAME_WIDTH: Final = 40


def head() -> str:
    """The table's first line."""
    return _row("", _COLUMNS)


def row(section: Section) -> str:
    """A section's line of the table."""
    counts = (section.programs, section.runs, section.events, section.accepted)
    others = (section.explained.total(), section.rejected, section.undecided)
    return _row(section.name, [f"{count:,}" for count in (*counts, *others)])


def _row(name: str, words: Iterable[str]) -> str:
    columns = zip(words, _COLUMNS, strict=True)
    return f"{name:{NAME_WIDTH}}" + "".join(f"  {word:>{len(title)}}" for word, title in columns)


def reasons(sections: Iterable[Section]) -> Counter[str]:
    """What explained differences, or kept programs from being compared."""
    found: Counter[str] = Counter()
    for each in sections:
        found += each.explained
        found += each.skipped
    return found


def seen(sections: Iterable[Section]) -> Counter[str]:
    """The steps of the model that accepted runs took."""
    found: Counter[str] = Counter()
    for each in sections:
        found += each.steps
    return Counter({name: count for name, count in found.items() if name in NAMES})


def unseen(sections: Sequence[Section]) -> list[str]:
    taken = seen(sections)
    return [name for name in NAMES if name not in taken]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be compared, on each disk.

    files      litmus files
    programs   random ones of one task, on each disk; of several tasks there are fewer, by SEVERAL
    runs       of each program of several tasks
    told       is called with the name of each program before it runs
    """

    files: tuple[Litmus, ...]
    programs: int
    runs: int
    seed: int
    told: Callable[[str], object]

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.programs)

    @property
    def seeds_several(self) -> range:
        return range(self.seed, self.seed + -(-self.programs // SEVERAL))
