"""record: what a command asked of a mount, request by request, in a file for predict.

The daemon gives its lines through .fusefs/record, and writes nothing itself: a full disk, a slow
one and one that hangs are this process's.  What goes wrong is in the file, or keeps it from having
an end, without which nobody reads it.
"""

import argparse
import errno
import os
import signal
import subprocess
import time
from typing import BinaryIO

from fusefs.commands.control_files import control_path, read_status
from fusefs.commands.errors import CommandError, UsageError
from fusefs.commands.owner import let_in
from fusefs.engine.recording import GONE, Seal

HELP = "record the requests of a command to a live mount"
EPILOG = """\
Exit status: the command's own; 1 if it could not be recorded to its end.
'predict FILE' says what another kernel would have made of it: docs/predict.md."""

FILE = "fusefs.recording"

TAKEN_LENGTH = 1 << 20
LOOK_S = 0.005
"""Between two looks at whether there is something to take."""

NOT_FOUND, NOT_RUN = 127, 126
"""What a shell ends with for a command that is not there, or that cannot be run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument(
        "-o", "--output", default=FILE, metavar="FILE", help=f"where to ({FILE}); not in the mount"
    )
    parser.add_argument(
        "command", nargs="+", metavar="COMMAND", help="after --, with its arguments"
    )


def run(arguments: argparse.Namespace) -> int:
    read_status(arguments.mountpoint)
    _check_outside(arguments.output, arguments.mountpoint)
    source = _opened(arguments.mountpoint)
    try:
        with open(arguments.output, "wb") as file:
            recording = Recording(source, file)
            recording.take()  # the head: from here on each request is in it
            status = _followed(recording, arguments.command)
            recording.end()
    except OSError as error:
        raise CommandError(f"{arguments.output}: not recorded: {error.strerror}") from None
    finally:
        os.close(source)
    if recording.is_gone:
        raise CommandError(
            f"{arguments.mountpoint}: the daemon ended; {arguments.output} has what came before"
        )
    return status


def _check_outside(output: str, mountpoint: str) -> None:
    """What is recorded must not be what records."""
    folder = os.path.dirname(os.path.abspath(output))
    if os.stat(folder).st_dev == os.stat(mountpoint).st_dev:
        raise UsageError(f"{output}: in the mount that is recorded; -o FILE elsewhere")


def _opened(mountpoint: str) -> int:
    path = control_path(mountpoint, "record")
    descriptors: list[int] = []

    def open_it() -> str:
        descriptors.append(os.open(path, os.O_RDONLY))
        return ""

    try:
        let_in(mountpoint, open_it)
    except OSError as error:
        why = error.strerror
        if error.errno == errno.EBUSY:
            why = "somebody else records it"
        raise CommandError(f"{mountpoint}: {why}") from None
    if not descriptors:  # root was let in only as the owner, by another process
        raise CommandError(f"{mountpoint}: only its owner can record it")
    return descriptors[0]


class Recording:
    """From a descriptor of .fusefs/record to a file.  is_gone: the daemon has ended."""

    def __init__(self, source: int, file: BinaryIO) -> None:
        self.is_gone = False
        self._source = source
        self._file = file
        self._seal = Seal()
        self._rest = b""

    def take(self) -> bool:
        """What there is; false if there was nothing."""
        if self.is_gone:
            return False
        try:
            data = os.read(self._source, TAKEN_LENGTH)
        except OSError:  # of this file only a daemon that is gone can cause one
            self.is_gone = True
            return False
        lines, newline, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        self._write(lines + newline)
        self._file.flush()  # whoever is killed leaves what there was
        return bool(data)

    def end(self) -> None:
        """All that is left, and the line without which a recording is none."""
        while self.take():
            pass
        if self.is_gone:
            self._write(f"{GONE}\n".encode())
        self._file.write(f"{self._seal}\n".encode())
        self._file.flush()

    def _write(self, lines: bytes) -> None:
        self._seal.add(lines)
        self._file.write(lines)


def _followed(recording: Recording, command: list[str]) -> int:
    """Run the command, and take lines until it has ended; its exit status as a shell has it.

    A terminal sends SIGINT to both, and it is the command's: what has a handler is the default
    again for who is executed.
    """
    interrupted = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        process = _started(command)
        try:
            while process.poll() is None:
                if not recording.take():
                    time.sleep(LOOK_S)
        finally:
            process.wait()
    finally:
        signal.signal(signal.SIGINT, interrupted)
    status = process.returncode
    return 128 - status if status < 0 else status


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command)
    except FileNotFoundError:
        raise CommandError(f"{command[0]}: not found", NOT_FOUND) from None
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}", NOT_RUN) from None
