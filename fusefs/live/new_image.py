"""mkfs's part of the image: a new file, or what exists if nothing is lost with it.

libblkid knows the formats, through blkid(8), as mke2fs and mkfs.xfs ask it; of regular files
that it does not know, any data counts.

Units: sizes are bytes.
Errors: ImageError, one line that says what is there.
"""

import errno
import os
import stat
import subprocess
import uuid

from fusefs.live.image_file import MAGIC, ImageError, ImageFile, Superblock

DEFAULT_SIZE = 1 << 30

BLKID = "blkid"
NOTHING_FOUND = 2
"""Exit status of blkid -p if it knows nothing of what is there."""

ADMIN_PATH = "/usr/sbin:/sbin"
"""Where Debian keeps blkid: an ordinary user's PATH has neither."""

SIGNATURE_BYTES = 1 << 20
"""At each end: where formats keep what they are known by."""


def create_image(path: str, size: int | None, block_size: int, *, force: bool = False) -> ImageFile:
    """Make and lock an image of size bytes; ImageError if something would be lost, without force.

    A new file is sparse, and has mode 0600.  What exists is taken if it holds nothing: a
    device, or a file that is one hole; without a size it is as large as that.  What is in use
    is refused in any case.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _create_over(path, size, block_size, force=force)
    except OSError as error:
        raise ImageError(f"{path}: cannot create the image: {error.strerror}") from None
    try:
        os.fchmod(fd, 0o600)  # a umask may have taken more away
        return _locked_and_filled(path, fd, size or DEFAULT_SIZE, block_size)
    except BaseException as error:
        os.close(fd)
        os.unlink(path)
        if isinstance(error, OSError):
            raise ImageError(f"{path}: cannot create the image: {error.strerror}") from None
        raise


def _create_over(path: str, size: int | None, block_size: int, *, force: bool) -> ImageFile:
    """In what exists: O_EXCL asks the kernel for a device of its own, as mkfs.ext4 does."""
    fd = -1
    try:
        mode = os.stat(path).st_mode  # first: to open some devices is to use them
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise ImageError(f"{path}: exists already, and is no regular file or block device")
        exclusive = os.O_EXCL if stat.S_ISBLK(mode) else 0
        fd = os.open(path, os.O_RDWR | exclusive | os.O_CLOEXEC)
        capacity = os.lseek(fd, 0, os.SEEK_END)
        if stat.S_ISBLK(mode) and size is not None and size > capacity:
            raise ImageError(f"{path}: too small: {capacity} bytes, but size={size}")
        found = held_by(path, fd)
        if found is not None and not force:
            raise ImageError(
                f"{path}: exists already, and holds {found}, which would be lost;"
                " mkfs --force makes an image all the same"
            )
        return _locked_and_filled(path, fd, size or capacity or DEFAULT_SIZE, block_size)
    except BaseException as error:
        if fd >= 0:
            os.close(fd)
        if isinstance(error, OSError):
            raise ImageError(f"{path}: cannot create the image: {error.strerror}") from None
        raise


def _locked_and_filled(path: str, fd: int, size: int, block_size: int) -> ImageFile:
    """A superblock; nothing but holes behind it in a file, and in a device what was there."""
    count = size // block_size
    if count < 2:
        raise ImageError(f"{path}: too small: {count} blocks of {block_size}")
    image = ImageFile(path, fd, Superblock(uuid.uuid4(), block_size, count))
    image.lock()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.ftruncate(fd, 0)
        os.ftruncate(fd, size)
    else:
        _wipe_signatures(fd)
    image.write_at(0, image.superblock.encode().ljust(min(block_size, 512), b"\0"))
    image.flush()
    return image


def held_by(path: str, fd: int) -> str | None:
    """What is there, in a word or two; None if there is nothing to lose."""
    is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
    if os.pread(fd, len(MAGIC), 0) == MAGIC:
        return "a fusefs image"
    if is_regular and not _has_data(fd):
        return None
    try:
        result = subprocess.run(
            [BLKID, "-p", "-o", "export", "--", path],
            env=os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{ADMIN_PATH}", "LC_ALL": "C"},
            capture_output=True,
            check=False,
        )
    except OSError:
        return "something, perhaps: blkid is missing (package util-linux), which would know"
    tags = dict(line.partition("=")[::2] for line in os.fsdecode(result.stdout).splitlines())
    if found := tags.get("TYPE") or tags.get("PTTYPE"):
        return found
    if result.returncode != NOTHING_FOUND:
        return "more than one format" if result.returncode == 8 else "something"
    return "data" if is_regular else None


def _has_data(fd: int) -> bool:
    """Whether anything was ever written: the host's file is more than one hole."""
    try:
        os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


def _wipe_signatures(fd: int) -> None:
    """Zeros over what a device was known by: blkid would find two formats."""
    size = os.lseek(fd, 0, os.SEEK_END)
    length = min(SIGNATURE_BYTES, size)
    for pos in (0, size - length):
        os.pwrite(fd, bytes(length), pos)
