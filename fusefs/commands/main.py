"""Picks the command, and makes a line on stderr and an exit status of what it raises.

Exit status: 0 done, 1 failed, 2 usage; fsck has its own.  Errors are one line on stderr.

    mount_tool.py IMAGE MOUNTPOINT [-o ...]     the word mount may be left out
    mount_tool.py mount.fusefs ...              what mount(8) and the like call: helpers.py
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from fusefs.commands import demo, explore, fsck, mkfs, mount, set_, status, trace, umount
from fusefs.commands.errors import CommandError, UsageError
from fusefs.commands.helpers import HELPERS
from fusefs.options import OptionError

COMMANDS = {
    command.NAME: command
    for command in (mount, umount, mkfs, fsck, set_, status, trace, demo, explore)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # any path
    helper = HELPERS.get(words[0]) if words else None
    if helper is None:
        if words and words[0] not in COMMANDS and not words[0].startswith("-"):
            words.insert(0, "mount")
        return _run("mount_tool.py", lambda: words)
    status = _run(words[0], lambda: helper.translate(words[1:]))
    return helper.statuses.get(status, status)


def _run(program: str, words: Callable[[], Sequence[str]]) -> int:
    """Run a command; program is what its error begins with."""
    try:
        arguments = _parser().parse_args(words())
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except (OptionError, UsageError) as error:
        return _say(program, error, 2)
    except CommandError as error:
        return _say(program, error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:  # a full disk under stdout, a lost working directory
        reason = CommandError(f"{error.filename or 'stdout'}: {error.strerror}")
        return _say(program, reason, 1)


def _say(program: str, error: Exception, status: int) -> int:
    print(f"{program}: {error}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mount_tool.py",
        description="A FUSE filesystem that models how Linux's direct I/O meets the page cache.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
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
