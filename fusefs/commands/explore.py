"""explore: a few model tasks in every order, and which of them break a rule."""

import argparse
import signal

from fusefs.commands.mount_options import split_options
from fusefs.model.options import Invalidate, OptionError, Options

NAME = "explore"
HELP = "try every order of a few tasks on one page"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "tasks",
        nargs="*",
        default=["write0", "read0", "read1"],
        help="writeN, growN, readN, dreadN, storeN, punchN or cut (write0 read0 read1)",
    )
    parser.add_argument(
        "-o", action="append", default=[], metavar="invalidate=..., order=...", dest="options"
    )
    parser.add_argument(
        "--replay", metavar="SCHEDULE", help="run one schedule, as a failure printed it"
    )
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.explore.command import explore

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to clean up, and coroutines anywhere
    ours, metadata, passed = split_options(arguments.options)
    if set(ours) - {"invalidate", "order"} or metadata is not None or passed:
        raise OptionError("explore takes -o invalidate= and order=, and no other option")
    options = Options().with_all(ours)
    orders = [options.invalidate] if "invalidate" in ours else list(Invalidate)
    return explore(arguments.tasks, orders, options.order, arguments.replay, as_json=arguments.json)
