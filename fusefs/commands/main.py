"""Picks the command, and makes a line on stderr and an exit status of what it raises.

Exit status: 0 done, 1 failed, 2 usage, 130 interrupted, 143 or 129 ended by SIGTERM or SIGHUP; fsck
has its own.  Errors are one line on stderr, and with --json an object on stdout as well:
{"error": LINE, "status": NUMBER}.

    mount_tool.py IMAGE MOUNTPOINT [-o ...]     the word mount may be left out
    mount_tool.py mount.fusefs ...              what mount(8) and the like call: helpers.py
"""

import argparse
import difflib
import errno
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast

from fusefs.commands.errors import CommandError, UsageError
from fusefs.commands.helpers import HELPERS, Statuses
from fusefs.commands.streams import give_up, open_all
from fusefs.ending import Ended
from fusefs.model.options import OptionError

COMMANDS = (
    *("mount", "umount", "mkfs", "fsck", "set", "status", "top", "trace"),
    *("hold", "wait", "release", "gates", "check", "report"),
    *("record", "predict", "demo", "explore", "litmus", "conform"),
)
"""Each is a module beside this one, imported only when it is asked for: a `set` in a script takes
a third of the time."""

ALIASES = {
    "unmount": "umount",
    "stat": "status",
    "stats": "status",
    "reports": "report",
    "help": "--help",
    "version": "--version",
}
"""What people call commands of ours that have another name."""

NEITHER = "neither a command nor an image"

OURS = Statuses(usage=2, failed=1)
SIGNALLED = 128
"""What a shell adds to the number of a signal."""

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""A path may have them; a line of ours that names it is one line all the same."""


class Command(Protocol):
    """What such a module has."""

    HELP: str
    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line; its own would print the usage as well."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own is silent about a full disk under stdout."""
        if message:
            (file or sys.stdout).write(message)


class _Version(argparse.Action):
    """Packages are looked through only by who asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("fusefs")
        except PackageNotFoundError:
            number = "(not installed)"
        sys.stdout.write(f"fusefs {number}\n")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    open_all()
    helper = HELPERS.get(words[0]) if words else None
    if helper is None:
        return _printed("", _run("mount_tool.py", lambda: _with_command(words), OURS))
    status = _run(words[0], lambda: helper.translate(words[1:]), helper.statuses)
    return _printed("", status, helper.statuses.failed)


def _with_command(words: list[str]) -> list[str]:
    """The word mount may be left out; a word that is nearly a command is not an image."""
    if not words or words[0] in COMMANDS or words[0].startswith("-"):
        return words
    first = words[0]
    near = ALIASES.get(first) or next(iter(difflib.get_close_matches(first, COMMANDS)), None)
    if near and not os.path.lexists(first):
        raise UsageError(f"'{first}' is {NEITHER}; did you mean '{near}'?")
    if len(words) == 1 and not os.path.lexists(first):
        raise UsageError(f"'{first}' is {NEITHER}; see 'mount_tool.py --help'")
    return ["mount", *words]


def _run(program: str, words: Callable[[], Sequence[str]], statuses: Statuses) -> int:
    """Run a command; program is what its error begins with, statuses those of its failures."""
    as_json = "--json" in sys.argv
    try:
        given = words()
        as_json = "--json" in given
        arguments = _parser(given[0] if given else "").parse_args(given)
        as_json = getattr(arguments, "json", False)  # which may have been shortened
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except (OptionError, UsageError) as error:
        return _say(program, str(error), statuses.usage, as_json)
    except CommandError as error:
        return _say(program, str(error), error.status or statuses.failed, as_json)
    except SystemExit as asked:  # of argparse, for --help and --version
        return int(asked.code or 0)
    except BrokenPipeError:
        give_up(1)
        return statuses.failed
    except KeyboardInterrupt as told:
        give_up(1)
        return SIGNALLED + (told.number if isinstance(told, Ended) else signal.SIGINT)
    except OSError as error:
        return _say(program, _reason(error), statuses.failed, as_json)


def _reason(error: OSError) -> str:
    """What an error is about that no command has a line for."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if error.errno == errno.ENOENT:
        return "the working directory has been removed"
    give_up(1)
    return f"stdout: {error.strerror}"  # a full disk under it, or closed


def _say(program: str, line: str, status: int, as_json: bool = False) -> int:
    line = CONTROL_CHARACTERS.sub(lambda found: repr(found[0])[1:-1], line)
    try:
        print(f"{program}: {line}", file=sys.stderr, flush=True)
    except OSError:
        give_up(2)
    return _printed(f"{json.dumps({'error': line, 'status': status})}\n" * as_json, status)


def _printed(text: str, status: int, failed: int = 1) -> int:
    """The exit status once stdout has the text and all before it: a failure, if it cannot."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        give_up(1)
        return status or failed
    except OSError as error:
        return _say("mount_tool.py", _reason(error), status or failed)
    return status


def _parser(first: str) -> argparse.ArgumentParser:
    """Of all commands, or of the one that a command line begins with."""
    parser = _Parser(
        prog="mount_tool.py",
        description="A FUSE filesystem that models how Linux's direct I/O meets the page cache.",
    )
    parser.add_argument(
        "-V", "--version", action=_Version, nargs=0, help="show program's version number and exit"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in (first,) if first in COMMANDS else COMMANDS:
        module = "set_" if name == "set" else name
        command = cast(Command, import_module(f"fusefs.commands.{module}"))
        sub = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            epilog=command.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser
