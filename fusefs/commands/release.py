"""release: let a request of a live mount go on."""

import argparse

from fusefs.commands.gate_client import ask

HELP = "let go who is held at a gate of a live mount"
EPILOG = "If nobody is held there yet, the next one that comes passes; all takes all gates away."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("names", nargs="+", metavar="NAME|all")


def run(arguments: argparse.Namespace) -> int:
    for name in arguments.names:
        ask(arguments.mountpoint, f"release {name}")
    return 0
