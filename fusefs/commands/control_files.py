"""MOUNTPOINT/.fusefs from outside: read and write a live mount's control files.

Errors: CommandError if no fusefs is mounted there, or it refuses.
"""

import errno
import json
import os

from fusefs.commands.errors import CommandError


def control_path(mountpoint: str, name: str) -> str:
    from fusefs.live.control import CONTROL_NAME

    return os.path.join(mountpoint, os.fsdecode(CONTROL_NAME), name)


def read_control(mountpoint: str, name: str) -> str:
    try:
        with open(control_path(mountpoint, name)) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"{mountpoint}: no fusefs is mounted there") from None
    except OSError as error:
        raise CommandError(f"{mountpoint}: {error.strerror}") from None


def write_control(mountpoint: str, name: str, value: str) -> None:
    try:
        with open(control_path(mountpoint, name), "w") as file:
            file.write(value)
    except OSError as error:
        raise CommandError(f"{mountpoint}: {name}: {error.strerror}") from None


def read_status(mountpoint: str) -> dict[str, object]:
    try:
        status = json.loads(read_control(mountpoint, "status"))
    except ValueError:
        status = None
    if not isinstance(status, dict) or not isinstance(status.get("pid"), int):
        raise CommandError(f"{mountpoint}: no fusefs is mounted there")
    return status


def is_dead(mountpoint: str) -> bool:
    try:
        os.stat(control_path(mountpoint, ""))  # of the mountpoint itself the kernel knows all
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False
