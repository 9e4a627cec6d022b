"""status: options and counters of a live mount."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from fusefs.commands.control_files import read_status

HELP = "show options and counters of a live mount"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    status = read_status(arguments.mountpoint)
    if arguments.json:
        print(json.dumps(status, indent=2))
        return 0
    print("\n".join(lines(status)))
    return 0


def lines(status: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A line for each figure, and one above those of a section."""
    for name, value in status.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from lines(value, indent + "    ")
        else:
            yield f"{indent}{name:{22 if indent else 12}} {value}"
