"""What was measured, summed up: medians, spreads, ratios, and whether the bars are met.

Units: values are in the work's unit; spread is half of what lies between the slowest and
the fastest round, as a fraction of the median.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.contenders import C_NULL, FUSEFS, PASSTHROUGH_LL, PYFUSE3_NULL
from benchmarks.works import Work


@dataclass(slots=True)
class Cell:
    """One contender at one piece of work; no values if it failed or is absent.

    failure: what went wrong, one line.  absent: why it is not measured by design.
    """

    values: list[float] = field(default_factory=list)
    failure: str | None = None
    absent: str | None = None

    @property
    def median(self) -> float | None:
        there = self.values and not self.failure and not self.absent
        return median(self.values) if there else None

    @property
    def spread(self) -> float | None:
        middle = self.median
        return (max(self.values) - min(self.values)) / 2 / middle if middle else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was reached; ratio and met are None if either side has no median.

    against: a contender, or the name of the work that is the baseline.
    """

    against: str
    bar: float
    ratio: float | None

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= self.bar


class Results:
    """A cell for each piece of work and contender."""

    def __init__(self, works: Sequence[Work], contenders: Sequence[str], *, smoke: bool) -> None:
        self.works = works
        self.contenders = contenders
        self.smoke = smoke
        self.cells = {(work.name, name): Cell() for work in works for name in contenders}
        self.troubles: list[str] = []
        """Lines about mounts that did not start or end as they should."""

    def cell(self, work: Work, contender: str) -> Cell:
        return self.cells[work.name, contender]

    def ratio(self, work: Work, contender: str) -> float | None:
        """fusefs against a contender."""
        return _ratio(self.cell(work, FUSEFS), self.cell(work, contender))

    def verdicts(self, work: Work) -> list[Verdict]:
        """All bars of a piece of work."""
        bars = work.bars
        found = [
            Verdict(name, bar, self.ratio(work, name))
            for name, bar in (
                (C_NULL, bars.c_null),
                (PYFUSE3_NULL, bars.pyfuse3_null),
                (PASSTHROUGH_LL, bars.passthrough_ll),
            )
            if bar is not None and name in self.contenders
        ]
        if bars.itself is not None and bars.baseline is not None:
            baseline = self.cells.get((bars.baseline, FUSEFS), Cell())
            ratio = _ratio(self.cell(work, FUSEFS), baseline)
            found.append(Verdict(bars.baseline, bars.itself, ratio))
        return found

    def failures(self) -> Iterator[str]:
        """One line for each thing that went wrong; with none, the run was a good one."""
        yield from self.troubles
        for work in self.works:
            for name in self.contenders:
                if failure := self.cell(work, name).failure:
                    yield f"{work.name}, {name}: {failure}"

    def document(self) -> dict[str, Any]:
        """For scripts.  A smoke run has no verdicts: its figures mean nothing."""
        return {
            "smoke": self.smoke,
            "contenders": list(self.contenders),
            "failures": list(self.failures()),
            "works": [self._work_document(work) for work in self.works],
        }

    def _work_document(self, work: Work) -> dict[str, Any]:
        return {
            "name": work.name,
            "title": work.title,
            "unit": work.unit.value,
            "contenders": {name: _cell_document(self.cell(work, name)) for name in self.contenders},
            "bars": [
                {
                    "against": verdict.against,
                    "bar": verdict.bar,
                    "ratio": verdict.ratio,
                    "met": None if self.smoke else verdict.met,
                }
                for verdict in self.verdicts(work)
            ],
        }


def _ratio(cell: Cell, other: Cell) -> float | None:
    return cell.median / other.median if cell.median and other.median else None


def _cell_document(cell: Cell) -> dict[str, Any]:
    return {
        "median": cell.median,
        "spread": cell.spread,
        "values": cell.values,
        "failure": cell.failure,
        "absent": cell.absent,
    }
