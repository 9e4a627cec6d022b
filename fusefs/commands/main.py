"""Picks the command, and makes a line on stderr and an exit status of what it raises.

Exit status: 0 done, 1 failed, 2 usage; fsck has its own.  Errors are one line on stderr.

    mount_tool.py IMAGE MOUNTPOINT [-o ...]     as mount(8) calls a mount.TYPE helper
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from fusefs.commands import demo, explore, fsck, mkfs, mount, set_, status, trace, umount
from fusefs.commands.errors import CommandError, UsageError
from fusefs.options import OptionError

COMMANDS = {
    command.NAME: command
    for command in (mount, umount, mkfs, fsck, set_, status, trace, demo, explore)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] not in COMMANDS and not words[0].startswith("-"):
        words.insert(0, "mount")
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # any path
    arguments = _parser().parse_args(words)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except (OptionError, UsageError) as error:
        return _say(error, 2)
    except CommandError as error:
        return _say(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:  # a full disk under stdout, a lost working directory
        return _say(CommandError(f"{error.filename or 'stdout'}: {error.strerror}"), 1)


def _say(error: Exception, status: int) -> int:
    print(f"mount_tool.py: {error}", file=sys.stderr)
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
