"""What top keeps on a terminal: requests by operation, and beside them how things stand."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusefs.commands.top_rates import Rates, short, size

OPERATIONS_MAX = 10
"""Those with most requests since the mount; the picture keeps its height."""

BAR_WIDTH = 14


def view(mountpoint: str, rates: Rates) -> RenderableType:
    """One picture, for any width from 72 columns on."""
    table = Table.grid(padding=(0, 3))
    table.add_row(_requests(rates), Group(_data(rates), Text(), _standing(rates)))
    title = Text.assemble(
        (mountpoint, "bold"), f"  {short(rates.all)} requests a second, {rates.seconds:.1f} s"
    )
    return Group(title, Text(), table)


def _rows(title: str, rows: list[tuple[str, str, str]]) -> Table:
    """Rows of a name, a value, and the value's style."""
    table = Table.grid(padding=(0, 1))
    table.add_row(Text(title, style="bold cyan"))
    for name, value, style in rows:
        table.add_row(name, Text(value, style=style, justify="right"))
    table.columns[1].justify = "right"
    return table


def _requests(rates: Rates) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("requests/s", style="bold cyan"))
    shown = list(rates.operations.items())[:OPERATIONS_MAX]
    most = max((rate for _, rate in shown), default=0.0)
    for name, rate in shown:
        bar = Text("━" * round(BAR_WIDTH * rate / most if most else 0), style="cyan")
        table.add_row(name, Text(short(rate), justify="right"), bar)
    rest = sum(list(rates.operations.values())[OPERATIONS_MAX:])
    if len(rates.operations) > OPERATIONS_MAX:
        table.add_row("others", Text(short(rest), justify="right"))
    return table


def _data(rates: Rates) -> Table:
    counters = rates.counters
    rows = [
        ("direct reads", short(counters["direct_reads"]), ""),
        ("direct writes", short(counters["direct_writes"]), ""),
        ("buffered reads", short(counters["buffered_reads"]), ""),
        ("  of cached pages", short(rates.hits), ""),
        ("  pages missed", short(counters["pages_missed"]), ""),
        ("buffered writes", short(counters["buffered_writes"]), ""),
        ("conversions", short(counters["conversions"]), ""),
        ("pages written back", short(counters["pages_written_back"]), ""),
        ("commits", short(counters["commits"]), ""),
    ]
    return _rows("data/s", rows)


def _standing(rates: Rates) -> Table:
    requests = rates.requests
    used = rates.size - rates.free
    bad = "bold red" if rates.stale_possible else ""
    rows = [
        ("requests under way", str(requests["under_way"]), ""),
        ("  delayed", str(requests["delayed"]), ""),
        ("  waiting for a commit", str(requests["committing"]), ""),
        ("cache", size(rates.cached), ""),
        ("  dirty", size(rates.dirty), ""),
        ("space used", f"{size(used)} of {size(rates.size)}", ""),
        ("pages perhaps stale", str(rates.stale_possible), bad),
        *((f"{section}: {name}", str(value), "") for section, name, value in rates.flat_others()),
    ]
    return _rows("now", rows)
