"""demo: the bug under invalidate=before, none under after."""

import argparse

from fusefs.commands.errors import CommandError

HELP = "show the bug under invalidate=before, and none under after"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--html", metavar="FILE", help="where the first ladder is drawn (a new temporary file)"
    )
    parser.add_argument(
        "--one", action="store_true", help="one schedule, by a gate, in a second: no chance in it"
    )


def run(arguments: argparse.Namespace) -> int:
    from fusefs.demo import one
    from fusefs.demo.run import DemoError, run

    try:
        if arguments.one:
            return one.run(json=arguments.json, html=arguments.html)
        return run(json=arguments.json, html=arguments.html)
    except DemoError as error:
        raise CommandError(f"demo: {error}") from None
