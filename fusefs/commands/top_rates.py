"""Two readings of .fusefs/status, and what happened between them.

    Rates         per second, and how things stand now
    head, line    the same as columns of text

Units: rates are per second; sizes are bytes.
Errors: CommandError for a status that is not of this fusefs.
"""

from collections.abc import Mapping
from typing import Any, Final

from fusefs.commands.errors import CommandError

DATA: Final = ("read", "write")

OTHERS: Final = ("check", "gates")
"""Sections of a status that not every mount has; their numbers are shown as they are."""

Status = Mapping[str, Any]


class Rates:
    """before and now are of the same mount, seconds apart."""

    def __init__(self, before: Status, now: Status, seconds: float) -> None:
        self.seconds = seconds
        try:
            self._set(before, now)
        except (KeyError, TypeError):
            raise CommandError("the mount is of another fusefs: its status lacks counts") from None

    def _set(self, before: Status, now: Status) -> None:
        taken, taken_before = now["requests"]["taken"], before["requests"]["taken"]
        self.operations: dict[str, float] = {
            name: self._rate(count - taken_before.get(name, 0))
            for name, count in sorted(taken.items(), key=lambda each: (-each[1], each[0]))
        }
        self.counters: dict[str, float] = {
            name: self._rate(count - before["counters"].get(name, 0))
            for name, count in now["counters"].items()
        }
        self.stale_possible: int = now["counters"]["pages_stale_possible"]
        self.requests: dict[str, int] = {
            name: count for name, count in now["requests"].items() if name != "taken"
        }
        cache, space = now["cache"], now["space"]
        self.cached: int = cache["pages"] * cache["page_size"]
        self.dirty: int = cache["pages_dirty"] * cache["page_size"]
        self.size: int = space["blocks"] * space["block_size"]
        self.free: int = space["free"] * space["block_size"]
        self.others: dict[str, dict[str, int]] = {
            name: {key: value for key, value in now[name].items() if isinstance(value, int)}
            for name in OTHERS
            if isinstance(now.get(name), Mapping)
        }

    def _rate(self, count: float) -> float:
        return count / self.seconds

    @property
    def all(self) -> float:
        return sum(self.operations.values())

    @property
    def hits(self) -> float:
        """Buffered reads that found all pages; at least: one read may miss several pages."""
        return max(self.counters["buffered_reads"] - self.counters["pages_missed"], 0.0)

    def document(self) -> dict[str, object]:
        """For scripts; per_s are rates, the rest is how things stand."""
        return {
            "seconds": round(self.seconds, 3),
            "per_s": {
                "requests": _rounded(self.operations),
                "hits": round(self.hits, 1),
                **_rounded(self.counters),
            },
            "requests": self.requests,
            "pages_stale_possible": self.stale_possible,
            "cache": {"bytes": self.cached, "dirty": self.dirty},
            "space": {"bytes": self.size, "free": self.free},
            **self.others,
        }

    def columns(self) -> list[tuple[str, str]]:
        """Heading and value of each column."""
        data = [(f"{name}/s", short(self.operations.get(name, 0.0))) for name in DATA]
        rest = self.all - sum(self.operations.get(name, 0.0) for name in DATA)
        return [
            ("req/s", short(self.all)),
            *data,
            ("other/s", short(rest)),
            ("hits/s", short(self.hits)),
            ("miss/s", short(self.counters["pages_missed"])),
            ("conv/s", short(self.counters["conversions"])),
            ("stale?", str(self.stale_possible)),
            ("running", str(self.requests["under_way"])),
            ("delayed", str(self.requests["delayed"])),
            ("cache", size(self.cached)),
            ("dirty", size(self.dirty)),
            ("free", size(self.free)),
            *((f"{section}.{name}", str(value)) for section, name, value in self.flat_others()),
        ]

    def flat_others(self) -> list[tuple[str, str, int]]:
        """section, name and value of what not every mount has."""
        return [
            (section, name, value)
            for section, values in self.others.items()
            for name, value in values.items()
        ]

    def line(self) -> str:
        return " ".join(f"{value:>{max(len(heading), WIDTH)}}" for heading, value in self.columns())


WIDTH: Final = 7
"""Of a column, at least."""


def head(rates: Rates) -> str:
    return " ".join(f"{heading:>{WIDTH}}" for heading, _ in rates.columns())


def _rounded(rates: Mapping[str, float]) -> dict[str, float]:
    return {name: round(rate, 1) for name, rate in rates.items()}


def short(rate: float) -> str:
    """Of a rate, what is worth reading: 0.3, 17, 12,345."""
    return f"{rate:.1f}" if 0 < rate < 9.95 else f"{rate:,.0f}"


def size(number: float) -> str:
    """Bytes in the largest unit that leaves a number from 1 on: 0, 512, 4.0k, 1.5g."""
    for unit in ("", "k", "m", "g"):
        if number < 1024:
            return f"{number:.1f}{unit}" if unit and number < 100 else f"{number:.0f}{unit}"
        number /= 1024
    return f"{number:,.1f}t"
