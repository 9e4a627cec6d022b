"""umount: and wait until everything is on the disk."""

import argparse
import os
import subprocess
import time

from fusefs.commands.control_files import is_dead, read_status
from fusefs.commands.errors import CommandError

NAME = "umount"
HELP = "unmount, and wait until everything is on the disk"
EPILOG = ""

UMOUNT_WAIT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")


def run(arguments: argparse.Namespace) -> int:
    """A mount whose daemon has died is taken away, too: there is nothing to wait for."""
    pid = None if is_dead(arguments.mountpoint) else read_status(arguments.mountpoint)["pid"]
    command = ["umount"] if os.getuid() == 0 else ["fusermount3", "-u"]
    result = subprocess.run(
        [*command, "--", arguments.mountpoint], capture_output=True, text=True, check=False
    )
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"{command[0]} failed"]
        raise CommandError(said[-1])
    deadline = time.monotonic() + UMOUNT_WAIT_S
    while pid is not None and os.path.exists(f"/proc/{pid}") and not _is_zombie(pid):
        if time.monotonic() > deadline:
            raise CommandError(f"unmounted, but the daemon {pid} has not ended yet")
        time.sleep(0.01)
    return 0


def _is_zombie(pid: object) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
