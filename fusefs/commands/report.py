"""report: what the coherence checker of a live mount has found."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from fusefs.commands.control_files import read_control, read_status, write_control
from fusefs.commands.errors import CommandError

HELP = "show the stale pages that a mount with check=report has found"
EPILOG = """\
Exit status: 0 none was found, 1 some were.
docs/coherence.md says what is compared, and why what differs is a defect."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clear", action="store_true", help="forget them afterwards")


def run(arguments: argparse.Namespace) -> int:
    status = read_status(arguments.mountpoint)
    reports = read_reports(arguments.mountpoint)
    options = status["options"]
    if isinstance(options, dict) and options["check"] == "off" and not reports:
        where = arguments.mountpoint
        raise CommandError(
            f"{where}: check is off, so nothing is compared; 'mount_tool.py set {where}"
            " check=report' begins"
        )
    if arguments.json:
        print(json.dumps(reports, indent=2))
    else:
        print_reports(reports, status)
    if arguments.clear:
        write_control(arguments.mountpoint, "reports", "clear")
    return 1 if reports else 0


def read_reports(mountpoint: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_control(mountpoint, "reports").splitlines()]


def print_reports(reports: Sequence[dict[str, Any]], status: dict[str, object]) -> None:
    from fusefs.check.report import told

    for number, each in enumerate(reports, 1):
        print("\n".join([*told(each, number), ""]))
    counts = status["check"]
    assert isinstance(counts, dict)
    print(
        f"{counts['pages_stale']:,} stale pages in {counts['pages_compared']:,} comparisons,"
        f" {len(reports)} kinds of them"
    )
