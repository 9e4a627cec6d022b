"""wait: until a request is held at a gate."""

import argparse
import json

from fusefs.commands.gate_client import ask
from fusefs.commands.owner import ANSWER_TIMEOUT_S
from fusefs.gates import held_text
from fusefs.model.options import parse_time

HELP = "wait until a request is held at a gate of a live mount"
EPILOG = "It fails when the time is up, when the gate is over, or if nobody can come there."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("name", metavar="NAME", help="of a gate")
    parser.add_argument("--timeout", default="5s", metavar="TIME", help="(5s)")
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    command = f"wait {arguments.name} timeout={arguments.timeout}"
    try:
        timeout_s = parse_time(arguments.timeout)
    except ValueError:  # the daemon says what is wrong with it
        timeout_s = 0.0
    (held,) = ask(arguments.mountpoint, command, timeout_s + ANSWER_TIMEOUT_S)
    print(json.dumps(held) if arguments.json else held_text(held))
    return 0
