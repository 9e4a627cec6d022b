"""demo: the bug under invalidate=before, none under after."""

import argparse

NAME = "demo"
HELP = "show the bug under invalidate=before, and none under after"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.demo.run import run

    return run(json=arguments.json)
