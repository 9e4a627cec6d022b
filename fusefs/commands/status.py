"""status: options and counters of a live mount."""

import argparse
import json

from fusefs.commands.control_files import read_status

NAME = "status"
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
    for section, value in status.items():
        if not isinstance(value, dict):
            print(f"{section:12} {value}")
            continue
        print(f"{section}:")
        for name, number in value.items():
            print(f"    {name:22} {number}")
    return 0
