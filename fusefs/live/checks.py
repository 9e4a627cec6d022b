"""What can be known before a mount is made, so that nothing has to be undone.

    check()          is there an image, a mountpoint, /dev/fuse, a libfuse that will do?
    check_image()    mount --dry-run: could the image be opened as well?
    is_dead()        is a mount there whose daemon is gone?

Errors: MountError, one line.  Nothing is changed.
"""

import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from fusefs.live.extension import _lowlevel
from fusefs.model.options import Options
from fusefs.store import mount_table
from fusefs.store.volume import LOCK_WAIT_S, VolumeError, metadata_path, try_open

IN_USE = "in use: something is mounted there already"
DEAD = "in use: a dead mount is there, which umount takes away"

NOSYMFOLLOW, NOSYMFOLLOW_SINCE = "nosymfollow", "3.17"
"""The one option that a libfuse which is new enough for all else may not know."""


class MountError(Exception):
    """The mount failed; one line says why."""


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What to mount, where, and how.

    fuse_options go to libfuse, but for ATIME_OPTIONS; no two of them contradict each other.
    """

    image: str
    mountpoint: str
    options: Options
    metadata: str | None = None
    fuse_options: Sequence[str] = field(default_factory=tuple)


def check(request: MountRequest) -> None:
    """MountError if it is clear already that the mount would fail; changes nothing."""
    _check_mountpoint(request)
    _check_fuse()
    _check_libfuse(request)
    if request.options.size is None and not os.path.exists(request.image):
        raise MountError(f"{request.image}: {_why_missing(request.image)}")


def check_image(request: MountRequest) -> None:
    """MountError if the image or its metadata cannot be mounted, or somebody has it in use.

    Of what is in the metadata it looks at the header alone; nothing is changed.
    """
    if os.path.exists(request.image):
        try:
            try_open(request.image, metadata_path(request.image, request.metadata), LOCK_WAIT_S)
        except VolumeError as error:
            raise MountError(str(error)) from None


def _check_mountpoint(request: MountRequest) -> None:
    mountpoint = request.mountpoint
    if is_dead(mountpoint):
        raise MountError(f"{mountpoint}: {DEAD}")
    try:
        mode = os.stat(mountpoint).st_mode
    except OSError as error:
        if mount_table.find(mountpoint):  # of another user, who alone may look at it
            raise MountError(f"{mountpoint}: {IN_USE}") from None
        raise MountError(f"{mountpoint}: cannot mount there: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        raise MountError(f"{mountpoint}: cannot mount there: not a directory")
    if os.path.ismount(mountpoint):
        raise MountError(f"{mountpoint}: {IN_USE}")
    top = os.path.join(os.path.realpath(mountpoint), "")
    for path in (request.image, metadata_path(request.image, request.metadata)):
        if os.path.realpath(path).startswith(top):
            raise MountError(f"{path}: is inside its own mountpoint {mountpoint}")


def is_dead(mountpoint: str) -> bool:
    """Whether a mount is there whose daemon is gone; stat(2) may still know its attributes."""
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def _check_fuse() -> None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        hint = "is the fuse module loaded ('modprobe fuse')?"
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = "you may not open it: as root, 'chmod 666 /dev/fuse', or allow the device"
        raise MountError(f"/dev/fuse: {error.strerror}; {hint}") from None


def _check_libfuse(request: MountRequest) -> None:
    """It may be another than the one that the extension was built with."""
    version = _lowlevel.libfuse_version()
    if lacking := _lowlevel.missing():
        raise MountError(f"libfuse {version} lacks {', '.join(lacking)}")
    if NOSYMFOLLOW in request.fuse_options and _parsed(version) < _parsed(NOSYMFOLLOW_SINCE):
        raise MountError(f"{NOSYMFOLLOW} needs libfuse {NOSYMFOLLOW_SINCE}; this is {version}")


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _why_missing(image: str) -> str:
    if os.path.islink(image):
        return f"no such image: a link to {os.readlink(image)}, which leads nowhere"
    try:
        os.stat(os.path.dirname(image))
    except OSError as error:
        return f"no such image: {os.path.dirname(image)}: {error.strerror}"
    return "no such image; -o size=1g makes one of that size"
