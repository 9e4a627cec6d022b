"""What the demo found, summed up: by order and case, the verdict, a table, a JSON document.

    Report.add        one run's result
    Report.passed     before showed the bug, after did not, nothing failed
    table, verdict    for people
    document          for scripts

Units: as in results.py.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fusefs.demo.ladder import Ladder
from fusefs.demo.results import CASES, Run, StaleRead, describe_case
from fusefs.model.options import Invalidate

ORDERS = (Invalidate.BEFORE, Invalidate.AFTER)

SUMS = ("runs", "reads", "zeros")
"""What the table has of each case, the most important last."""


@dataclass(slots=True)
class Tally:
    """Sums over runs; the fields of Run."""

    runs: int = 0
    reads: int = 0
    zeros: int = 0
    mismatches: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Run | Tally") -> None:
        self.runs += other.runs if isinstance(other, Tally) else 1
        self.reads += other.reads
        self.zeros += other.zeros
        self.mismatches += other.mismatches
        self.errors.update(other.errors)


@dataclass(slots=True)
class OrderReport:
    """All that happened under one order.

    failures: lines about programs that failed or took too long.
    stale_first: the first stale read; ladder: how the first explained one came about, or
    ladder_missing: why none is.
    """

    cases: dict[tuple[str, str], Tally] = field(
        default_factory=lambda: {
            (program, case): Tally() for program, cases in CASES.items() for case in cases
        }
    )
    failures: list[str] = field(default_factory=list)
    stale_first: StaleRead | None = None
    ladder: Ladder | None = None
    ladder_missing: str | None = None

    def add(self, run: Run) -> None:
        self.cases[run.program, run.case].add(run)

    @property
    def total(self) -> Tally:
        total = Tally()
        for tally in self.cases.values():
            total.add(tally)
        return total

    @property
    def problems(self) -> list[str]:
        """One line for each thing that must not happen under any order."""
        lines = list(self.failures)
        for (program, case), tally in self.cases.items():
            for name, count in tally.errors.items():
                lines.append(f"{program} -{case}: {name}, {count} times")
        return lines


@dataclass(slots=True)
class Report:
    """Both orders; duration_s is the whole demo's, picture where the first ladder is drawn."""

    orders: dict[Invalidate, OrderReport] = field(
        default_factory=lambda: {order: OrderReport() for order in ORDERS}
    )
    duration_s: float = 0.0
    picture: str | None = None

    @property
    def passed(self) -> bool:
        return not self.objections()

    def objections(self) -> list[str]:
        """Why the demo did not show what it should; one line each."""
        lines = [
            f"invalidate={order.value}: {line}"
            for order, report in self.orders.items()
            for line in report.problems
        ]
        before, after = (self.orders[order].total for order in ORDERS)
        if not before.zeros:
            lines.append("invalidate=before: no read returned zeros, the bug did not show")
        if after.zeros:
            lines.append(f"invalidate=after: {after.zeros} reads returned zeros")
        if after.mismatches:
            lines.append(f"invalidate=after: {after.mismatches} reads returned something else")
        return lines

    def verdict(self) -> list[str]:
        lines = [f"Failed.  {line}." for line in self.objections()]
        before, after = (self.orders[order].total for order in ORDERS)
        if not lines:
            lines.append(
                f"invalidate=before returned zeros in {before.zeros:,} of {before.reads:,} reads; "
                f"invalidate=after in none of {after.reads:,}."
            )
        return [*lines, f"Took {self.duration_s:.0f} s."]

    def fitting_table(self, console: Console) -> Table:
        """With as many of the sums as leave room for the cases' names."""
        tables = [self.table(SUMS[first:]) for first in range(len(SUMS))]
        unbounded = console.options.update(width=1000)
        widths = [console.measure(table, options=unbounded).maximum for table in tables]
        fitting = (
            table for table, width in zip(tables, widths, strict=True) if width <= console.width
        )
        return next(fitting, tables[-1])

    def table(self, sums: Sequence[str] = SUMS) -> Table:
        table = Table(
            title="Reads that returned zeros instead of what their process had just written",
            title_justify="left",
            show_footer=True,
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        table.add_column("program and case", "total", no_wrap=True)
        for order, report in self.orders.items():
            total = report.total
            for name in sums:
                heading = f"{order.value}\n{name}"
                footer = f"{getattr(total, name):,}"
                table.add_column(heading, footer, justify="right", no_wrap=True)
        for program, cases in CASES.items():
            table.add_row(f"[bold]{program}[/bold]")
            heading = ""
            for case in cases:
                direct, prepared = describe_case(case)
                if direct != heading:
                    table.add_row(f" {direct}")
                    heading = direct
                table.add_row(f"   -{case:<4} {prepared}", *self._cells(program, case, sums))
            table.add_section()
        return table

    def _cells(self, program: str, case: str, sums: Sequence[str]) -> Iterator[str]:
        for report in self.orders.values():
            tally = report.cases[program, case]
            for name in sums:
                count = f"{getattr(tally, name):,}"
                is_bug = name == "zeros" and tally.zeros
                yield f"[bold red]{count}[/bold red]" if is_bug else count

    def document(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "objections": self.objections(),
            "duration_s": round(self.duration_s, 3),
            "picture": self.picture,
            **{order.value: _order_document(report) for order, report in self.orders.items()},
        }


def _order_document(report: OrderReport) -> dict[str, Any]:
    return {
        **_tally_document(report.total),
        "failures": report.failures,
        "cases": [
            {
                "program": program,
                "case": case,
                "description": ", ".join(describe_case(case)),
                **_tally_document(tally),
            }
            for (program, case), tally in report.cases.items()
        ],
        "stale_first": report.stale_first and asdict(report.stale_first),
        "ladder": report.ladder and ladder_document(report.ladder),
        "ladder_missing": report.ladder_missing,
    }


def _tally_document(tally: Tally) -> dict[str, Any]:
    return {
        "runs": tally.runs,
        "reads": tally.reads,
        "zeros": tally.zeros,
        "mismatches": tally.mismatches,
        "errors": dict(tally.errors),
    }


def ladder_document(ladder: Ladder) -> dict[str, Any]:
    return {
        "writer": ladder.writer,
        "reader": ladder.reader,
        "ino": ladder.stale.ino,
        "pos": ladder.stale.pos,
        "length": ladder.stale.length,
        "page_size": ladder.page_size,
        "between": list(ladder.between),
        "steps": [
            {
                "time_us": ladder.time_us(step.time_ns),
                "pid": step.pid,
                "step": step.step,
                "pos": step.pos,
                "length": step.length,
            }
            for step in ladder.steps
        ],
        "stale_read_us": ladder.time_us(ladder.stale.time_ns),
    }
