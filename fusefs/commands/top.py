"""top: what a live mount is doing, again and again."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fusefs.commands.control_files import read_status
from fusefs.commands.errors import CommandError, UsageError

if TYPE_CHECKING:
    from fusefs.commands.top_rates import Rates

HELP = "show what a live mount is doing, again and again"
EPILOG = """\
In a terminal one picture is kept up to date; elsewhere there is a line for each interval.
docs/pictures.md says what the numbers mean."""

INTERVAL_MIN_S = 0.05
HEAD_EVERY = 20
"""Lines after which their heading comes again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds (1)")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many (never)")
    parser.add_argument("--json", action="store_true", help="an object on a line, each time")


def run(arguments: argparse.Namespace) -> int:
    if not INTERVAL_MIN_S <= arguments.interval <= 86_400:  # which refuses nan, too
        raise UsageError(f"--interval takes seconds, from {INTERVAL_MIN_S} to a day")
    if arguments.count is not None and arguments.count < 1:
        raise UsageError("--count takes a number from 1 on")
    samples = _samples(arguments.mountpoint, arguments.interval, arguments.count)
    if arguments.json:
        for rates in samples:
            print(json.dumps(rates.document()), flush=True)
    elif sys.stdout.isatty():
        _keep_up_to_date(samples, arguments.mountpoint)
    else:
        _lines(samples)
    return 0


def _samples(mountpoint: str, interval_s: float, count: int | None) -> Iterator["Rates"]:
    """One for each interval; CommandError when the mount has gone away."""
    from fusefs.commands.top_rates import Rates

    before, before_at = read_status(mountpoint), time.monotonic()
    wake_at = before_at
    while count is None or count > 0:
        wake_at = max(wake_at + interval_s, time.monotonic())  # late ones are not made up for
        time.sleep(max(0.0, wake_at - time.monotonic()))
        now, now_at = _read_again(mountpoint), time.monotonic()
        if now["pid"] == before["pid"]:  # else it was mounted anew, and counts from 0
            yield Rates(before, now, now_at - before_at)
            count = None if count is None else count - 1
        before, before_at = now, now_at


def _read_again(mountpoint: str) -> dict[str, object]:
    try:
        return read_status(mountpoint)
    except CommandError as error:
        raise CommandError(f"{error}: the mount has gone away") from None


def _lines(samples: Iterator["Rates"]) -> None:
    from fusefs.commands.top_rates import head

    for number, rates in enumerate(samples):
        if number % HEAD_EVERY == 0:
            print(head(rates))
        print(rates.line(), flush=True)


def _keep_up_to_date(samples: Iterator["Rates"], mountpoint: str) -> None:
    """The picture stays when it ends, whyever that is."""
    from rich.live import Live

    from fusefs.commands.top_view import view

    with Live(auto_refresh=False) as live:
        for rates in samples:
            live.update(view(mountpoint, rates), refresh=True)
