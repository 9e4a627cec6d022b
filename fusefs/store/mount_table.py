"""The kernel's list of mounts, /proc/PID/mountinfo.

It is read instead of the mountpoint, which a daemon that does not answer could keep us waiting
for, and into which root may not look if it is another user's.
"""

import os
import re
from dataclasses import dataclass

CONTROL_NAME = b".fusefs"
"""The directory that each mount of ours has in its root, for commands: live/requests/control.py."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line: flags are the mount's, superblock_options what all mounts of it share.

    device is "MAJOR:MINOR", the same for all mounts of one superblock.
    """

    device: str
    mountpoint: str
    flags: frozenset[str]
    type: str
    source: str
    superblock_options: dict[str, str]

    @property
    def owner(self) -> tuple[int, int] | None:
        """User and group that mounted it, if it is a FUSE mount."""
        options = self.superblock_options
        if "user_id" not in options or "group_id" not in options:
            return None
        return int(options["user_id"]), int(options["group_id"])


def find(mountpoint: str) -> Mounted | None:
    """What is mounted there, on top of all others; None if nothing is."""
    path = os.path.realpath(mountpoint)
    return next((each for each in reversed(seen_by("self")) if each.mountpoint == path), None)


def seen_by(pid: int | str) -> list[Mounted]:
    """What is mounted in the namespace of a process, the oldest first; OSError if it has ended."""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return [_parsed(line) for line in file]


def _parsed(line: bytes) -> Mounted:
    """36 35 98:0 /root /mountpoint flags shared:1 - type source superblock-options"""
    fields = line.rstrip(b"\n").split(b" ")  # a source may be empty
    dash = fields.index(b"-", 6)
    options = [_text(field).partition("=") for field in fields[dash + 3].split(b",")]
    return Mounted(
        device=_text(fields[2]),
        mountpoint=_text(fields[4]),
        flags=frozenset(_text(fields[5]).split(",")),
        type=_text(fields[dash + 1]),
        source=_text(fields[dash + 2]),
        superblock_options={name: value for name, _, value in options},
    )


def _text(field: bytes) -> str:
    """Space, tab, newline and backslash are \\ooo there."""
    plain = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(plain)
