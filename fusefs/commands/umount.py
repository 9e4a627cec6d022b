"""umount: and wait until everything is on the disk."""

import argparse
import os
import select
import subprocess
import time

from fusefs.commands.control_files import DeadMountError, read_status
from fusefs.commands.errors import CommandError
from fusefs.store import mount_table
from fusefs.store.mount_table import Mounted

HELP = "unmount, and wait until everything is on the disk"
EPILOG = ""

UMOUNT_WAIT_S = 60.0
LOOK_S = 1.0
"""How often somebody who waits asks what the daemon may be waiting for."""

NAMESPACE_WAIT_S = 5.0
"""For a namespace that keeps the mount: many live for a moment only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument(
        "-l", "--lazy", action="store_true", help="even if it is in use; nothing is waited for"
    )
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="as umount(8) has it; nothing is waited for",
    )
    parser.add_argument("-r", "--read-only", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """A mount whose daemon has died is taken away, too: there is nothing to wait for."""
    daemon = None if arguments.lazy or arguments.force else _daemon(arguments.mountpoint)
    mounted = mount_table.find(arguments.mountpoint)
    _unmount(arguments)
    if daemon is not None and not _is_elsewhere(mounted):
        _wait_for_end(*daemon)
    return 0


def _is_elsewhere(mounted: Mounted | None) -> bool:
    """mount --bind shows it at a second place: who unmounts that one waits for the end."""
    return mounted is not None and any(
        each.device == mounted.device for each in mount_table.seen_by("self")
    )


def _wait_for_end(pid: int, ended: int) -> None:
    """Not long for one whose mount another namespace keeps: that may be for ever."""
    from fusefs.store.holders import where_mounted

    poll = select.poll()
    poll.register(ended, select.POLLIN)
    begun = time.monotonic()
    while not poll.poll(LOOK_S * 1000):
        why = where_mounted(pid)
        wait_s = NAMESPACE_WAIT_S if "namespace" in why else UMOUNT_WAIT_S
        if time.monotonic() - begun > wait_s:
            raise CommandError(f"unmounted, but the daemon {pid} has not ended yet: {why}")


def _daemon(mountpoint: str) -> tuple[int, int] | None:
    """Its process, and a descriptor that can be read when it has ended."""
    try:
        pid = read_status(mountpoint)["pid"]
        assert isinstance(pid, int)
        return pid, os.pidfd_open(pid)
    except (DeadMountError, ProcessLookupError):
        return None


def _unmount(arguments: argparse.Namespace) -> None:
    """-i, as umount(8) would call us again."""
    if os.getuid() == 0:
        flags = {"-l": arguments.lazy, "-f": arguments.force, "-r": arguments.read_only}
        command = ["umount", "-i", *(flag for flag, is_set in flags.items() if is_set)]
    else:
        command = ["fusermount3", "-u", *["-z"] * arguments.lazy]
    result = subprocess.run(
        [*command, "--", arguments.mountpoint], capture_output=True, text=True, check=False
    )
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"{command[0]} failed"]
        raise CommandError(said[-1])
