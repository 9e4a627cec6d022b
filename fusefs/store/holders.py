"""Why an image is in use: where it is mounted, also where only another namespace sees it.

A mount namespace that is made meanwhile (a container, unshare -m) gets a copy of each mount, and
a daemon serves until the last of them is gone.  XFS shares its superblock with a new mount; FUSE
has nothing to share it with.
"""

import contextlib
import os
import re
from collections.abc import Iterator

from fusefs.store import mount_table
from fusefs.store.image_file import ImageInUse
from fusefs.store.locks import locked_by


def explained(error: ImageInUse) -> str:
    """The error, who has the image's lock, and what to do, as far as that can be seen."""
    pid = locked_by(*error.locked)
    why = _mounted_device(error.path) if pid is None else where_mounted(pid)
    return f"{error}: {why}" if why else str(error)


def where_mounted(daemon: int) -> str:
    """Where a daemon's mount is, and how to end that if it is not here."""
    connection = _connection(daemon)
    if connection is None:
        return f"process {daemon} has it open"
    here = next(_mountpoints("self", connection), None)
    if here is not None:
        return f"it is mounted on {here}"
    for pid, mountpoint in _elsewhere(connection):
        return (
            f"process {pid} ({_name(pid)}) has a mount namespace in which it is still mounted on"
            f" {mountpoint}: end that process, or 'nsenter -m -r -t {pid} umount {mountpoint}'"
        )
    return f"its daemon {daemon} has not ended yet"


def _mounted_device(path: str) -> str | None:
    """Where one of the kernel's filesystems has it, which claims a device as a mount of ours."""
    with contextlib.suppress(OSError):
        number = os.stat(path).st_rdev
        device = f"{os.major(number)}:{os.minor(number)}"
        for mounted in mount_table.seen_by("self"):
            if mounted.device == device:
                return f"it is mounted on {mounted.mountpoint}, as {mounted.type}"
    return None


def _connection(daemon: int) -> str | None:
    """The device of its mount, '0:61', as its /dev/fuse tells since Linux 6.13."""
    folder = f"/proc/{daemon}/fdinfo"
    with contextlib.suppress(OSError):
        for fd in os.listdir(folder):
            with contextlib.suppress(OSError), open(f"{folder}/{fd}") as file:
                if found := re.search(r"^fuse_connection:\s*(\d+)$", file.read(), re.MULTILINE):
                    return f"0:{found[1]}"
    return None


def _mountpoints(pid: int | str, device: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for mounted in mount_table.seen_by(pid):
            if mounted.device == device:
                yield mounted.mountpoint


def _elsewhere(device: str) -> Iterator[tuple[int, str]]:
    """A process of each other namespace with the mount, and where it has it there."""
    seen = {_namespace("self")}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        namespace = _namespace(pid)
        if namespace not in seen:
            seen.add(namespace)
            for mountpoint in _mountpoints(pid, device):
                yield pid, mountpoint


def _namespace(pid: int | str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "?"
