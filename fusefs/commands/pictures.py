"""--ladder, --html and --perfetto: a story as text, as a page, as a trace for ui.perfetto.dev.

Each is asked for by its own word, and more than one may be; FILE is - for standard output.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from fusefs.commands.errors import UsageError

if TYPE_CHECKING:
    from fusefs.show.story import Story


def add_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """what is drawn, in words for --help."""
    pictures = parser.add_argument_group("pictures", f"Of {what}; FILE is - for standard output.")
    pictures.add_argument("--ladder", action="store_true", help="text, a column for each process")
    pictures.add_argument("--html", metavar="FILE", help="a page to look at, and to print")
    pictures.add_argument("--perfetto", metavar="FILE", help="a trace for ui.perfetto.dev")


def asked(arguments: argparse.Namespace) -> bool:
    """Whether any picture is; UsageError if two of them would be the same file."""
    if arguments.html and arguments.html == arguments.perfetto:
        raise UsageError("--html and --perfetto write two different files")
    return bool(arguments.ladder or arguments.html or arguments.perfetto)


def draw(story: "Story", arguments: argparse.Namespace, prose: str = "") -> None:
    """Write what is asked for; prose is a paragraph for the page.  OSError names its file."""
    if arguments.ladder:
        from fusefs.show.ladder import ladder

        print("\n".join(ladder(story)))
    if arguments.html:
        from fusefs.show.html import page

        _write(arguments.html, page(story, prose))
    if arguments.perfetto:
        from fusefs.show.perfetto import trace_json

        _write(arguments.perfetto, trace_json(story))


def _write(name: str, text: str) -> None:
    if name == "-":
        sys.stdout.write(text)
        return
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
