"""MOUNTPOINT/.fusefs from outside: read and write a live mount's control files.

Errors: CommandError if no fusefs is mounted there, or it refuses; DeadMountError if its daemon
has ended and left the mount behind.
"""

import errno
import json
import os

from fusefs.commands.errors import CommandError
from fusefs.commands.owner import let_in
from fusefs.store.mount_table import CONTROL_NAME


class DeadMountError(CommandError):
    """Nobody serves the mount any more."""


def control_path(mountpoint: str, name: str) -> str:
    return os.path.join(mountpoint, os.fsdecode(CONTROL_NAME), name)


def read_control(mountpoint: str, name: str) -> str:
    def read() -> str:
        with open(control_path(mountpoint, name)) as file:
            return file.read()

    try:
        return let_in(mountpoint, read)
    except OSError as error:
        raise refused(mountpoint, error) from None


def write_control(mountpoint: str, name: str, value: str) -> None:
    def write() -> str:
        with open(control_path(mountpoint, name), "w") as file:
            file.write(value)
        return ""

    try:
        let_in(mountpoint, write)
    except OSError as error:
        if error.errno == errno.EROFS:
            raise CommandError(
                f"{mountpoint}: mounted ro, and the kernel counts control files in:"
                f" 'mount -o remount,rw {mountpoint}' first"
            ) from None
        raise CommandError(f"{mountpoint}: {name}: {error.strerror}") from None


def sync_control(mountpoint: str) -> None:
    """fsync(2) of the control directory: all of the mount is on the disk when it returns.

    CommandError if a writeback or the commit failed; what it concerned may be lost.
    """

    def sync() -> str:
        directory = os.open(control_path(mountpoint, ""), os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                os.fsync(directory)
            except OSError as error:
                return error.strerror or str(error)
        finally:
            os.close(directory)
        return ""

    try:
        failure = let_in(mountpoint, sync)
    except OSError as error:
        raise refused(mountpoint, error) from None
    if failure:
        raise CommandError(
            f"{mountpoint}: not all that was written is on the disk: {failure};"
            f" '{control_path(mountpoint, 'log')}' says more"
        )


def refused(mountpoint: str, error: OSError) -> CommandError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return CommandError(f"{mountpoint}: no fusefs is mounted there")
    if error.errno == errno.ENOTCONN:
        return DeadMountError(f"{mountpoint}: {error.strerror}")
    return CommandError(f"{mountpoint}: {error.strerror}")


def read_status(mountpoint: str) -> dict[str, object]:
    try:
        status = json.loads(read_control(mountpoint, "status"))
    except ValueError:
        status = None
    if not isinstance(status, dict) or not isinstance(status.get("pid"), int):
        raise CommandError(f"{mountpoint}: no fusefs is mounted there")
    return status
