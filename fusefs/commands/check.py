"""check: run a program on a new mount that compares every page that is read, and report."""

import argparse
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from fusefs.commands.errors import CommandError
from fusefs.commands.mount_options import split_options
from fusefs.commands.report import print_reports, read_reports
from fusefs.ending import Ended, ended_in_order, uninterrupted
from fusefs.model.options import Options

if TYPE_CHECKING:
    from fusefs.mounts import MountFailed

HELP = "run a command with TMPDIR on a new mount that looks for stale pages, and report them"
EPILOG = """\
The mount is new, in a temporary folder, and gone afterwards; TMPDIR in the command's environment
is its root.  The working directory stays as it is.  -o takes what mount takes; check=report if it
says nothing else, and 1 GiB if it names no size.
Exit status: the command's if that is not 0, else 1 if there are reports, or the mount was
still in use at the end, else 0."""

SIGNALLED = 128
"""What a shell adds to the number of a signal that ended a command."""

NOT_RUN = 127

END_TIMEOUT_S = 10.0
"""In which a command that is told to end does so.  After that it is killed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", action="append", default=[], metavar="OPT[=VALUE],...", dest="options"
    )
    parser.add_argument("--json", action="store_true", help="the reports as JSON")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.mounts import MountFailed, OptionValue, mounted

    ours, metadata, passed = split_options(arguments.options)
    Options().with_all(ours)
    if metadata is not None:
        raise CommandError("the metadata of a new image is beside it; leave out metadata=", 2)
    options: dict[str, OptionValue] = {"check": "report", **ours}
    for word in passed:
        name, equals, value = word.partition("=")
        options[name] = value if equals else True
    seen: tuple[int, list[dict[str, Any]], dict[str, Any]] | None = None
    unmounting: MountFailed | None = None
    try:
        with ended_in_order(), mounted(None, None, **options) as mount:
            status = _run(arguments.command, str(mount.path))
            seen = status, read_reports(str(mount.path)), mount.status()
    except MountFailed as error:
        if seen is None:
            raise CommandError(_line(error)) from None
        unmounting = error
    status, found, counts = seen
    if arguments.json:
        print(json.dumps(found))
    else:
        print_reports(found, counts)
    if unmounting is not None:  # beside the reports, which it does not change
        print(f"mount_tool.py: {_line(unmounting)}", file=sys.stderr)
    return status or (1 if found or unmounting is not None else 0)


def _line(error: "MountFailed") -> str:
    return str(error).removeprefix("mount_tool.py: ")


def _run(command: list[str], folder: str) -> int:
    """Its exit status.  A Ctrl-C is for the command, and this goes on to its report.

    Who is told to end passes it on, as the command uses the mount that is taken away then.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process: subprocess.Popen[bytes] | None = None
    try:
        with uninterrupted():  # else there might be one that nobody knows
            process = subprocess.Popen(
                command,
                env={**os.environ, "TMPDIR": folder},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        status = process.wait()
    except Ended as told:
        if process is not None:
            _end(process, told.number)
        raise
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}", NOT_RUN) from None
    finally:
        signal.signal(signal.SIGINT, before)
    return SIGNALLED - status if status < 0 else status


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
