"""The tables: medians side by side, ratios, and each bar beside what was reached."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.contenders import C_NULL, FUSEFS, PASSTHROUGH_LL, PYFUSE3_NULL
from benchmarks.results import Cell, Results, Verdict
from benchmarks.works import Work

WIDTH_MIN = 230
"""Columns: a line that a terminal breaks is better than figures cut off."""


def print_report(results: Results, heading: Sequence[str]) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH_MIN)
    for line in heading:
        console.print(line)
    for table in (_side_by_side(results), _against_itself(results)):
        if table.row_count:
            console.print()
            console.print(table)
    for line in results.failures():
        console.print(Text(f"failed: {line}", style="bold red"))
    console.print(_summary(results))


def _side_by_side(results: Results) -> Table:
    table = _table("Median of all rounds, ± half of their range")
    table.add_column("work")
    table.add_column("unit")
    for name in results.contenders:
        table.add_column(name, justify="right", no_wrap=True)
    others = [n for n in (C_NULL, PYFUSE3_NULL, PASSTHROUGH_LL) if n in results.contenders]
    for name in others:
        table.add_column(f"{FUSEFS} /\n{name}", justify="right", no_wrap=True)
        table.add_column("bar", no_wrap=True)
    for work in results.works:
        if work.place.is_growth:
            continue
        verdicts = {verdict.against: verdict for verdict in results.verdicts(work)}
        table.add_row(
            work.title,
            work.unit.value,
            *(_figure(results.cell(work, name)) for name in results.contenders),
            *(cell for name in others for cell in _ratio_cells(results, work, name, verdicts)),
        )
    return table


def _against_itself(results: Results) -> Table:
    table = _table("fusefs against itself; growth is direct 4 KiB random overwrite, depth 16")
    for heading in ("work, or what the image holds", "unit"):
        table.add_column(heading)
    table.add_column(FUSEFS, justify="right", no_wrap=True)
    table.add_column("/ another", justify="right", no_wrap=True)
    table.add_column("bar", no_wrap=True)
    table.add_column("the other")
    for work in results.works:
        if work.place.is_growth or work.bars.baseline:
            verdict = next(
                (each for each in results.verdicts(work) if each.against == work.bars.baseline),
                None,
            )
            table.add_row(
                work.title,
                work.unit.value,
                _figure(results.cell(work, FUSEFS)),
                _number(verdict.ratio if verdict else None),
                _bar(verdict, results.smoke),
                work.bars.baseline or "",
            )
    return table


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def _ratio_cells(
    results: Results, work: Work, against: str, verdicts: dict[str, Verdict]
) -> Iterator[Text]:
    yield _number(results.ratio(work, against))
    yield _bar(verdicts.get(against), results.smoke)


def _number(ratio: float | None) -> Text:
    return Text("" if ratio is None else f"{ratio:.2f}")


def _figure(cell: Cell) -> Text:
    if cell.failure:
        return Text("failed", style="bold red")
    if cell.median is None or cell.spread is None:
        return Text("-")
    digits = 0 if cell.median >= 100 else 1
    spread = f" ±{cell.spread:4.0%}" if len(cell.values) > 1 else ""
    return Text(f"{cell.median:,.{digits}f}{spread}")


def _bar(verdict: Verdict | None, smoke: bool) -> Text:
    if verdict is None:
        return Text("")
    text = f"≥ {verdict.bar:.2f}"
    if smoke or verdict.met is None:
        return Text(text)
    if verdict.met:
        return Text(f"{text} met", style="green")
    return Text(f"{text} not met", style="bold red")


def _summary(results: Results) -> str:
    if results.smoke:
        return "Toy sizes: this shows that everything runs, and the figures mean nothing."
    verdicts = [each for work in results.works for each in results.verdicts(work)]
    judged = [each.met for each in verdicts if each.met is not None]
    lines = f"{sum(judged)} of {len(judged)} bars met."
    if missing := len(verdicts) - len(judged):
        lines += f"  {missing} not judged: one side was not measured."
    return lines
