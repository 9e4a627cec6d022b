"""trace: the last events of a live mount's requests."""

import argparse
import sys

from fusefs.commands.control_files import read_control, write_control

NAME = "trace"
HELP = "show the last events of a live mount's requests"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("--clear", action="store_true", help="forget them afterwards")


def run(arguments: argparse.Namespace) -> int:
    sys.stdout.write(read_control(arguments.mountpoint, "trace"))
    if arguments.clear:
        write_control(arguments.mountpoint, "trace", "clear")
    return 0
