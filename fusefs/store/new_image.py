"""mkfs's part of the image: a new file, or what exists if nothing is lost with it.

libblkid knows the formats, through blkid(8), as mke2fs and mkfs.xfs ask it; of regular files
that it does not know, any byte counts that is not zero.

Units: sizes are bytes.
Errors: ImageError and MetadataError, one line that says what is there.
"""

import errno
import os
import stat
import subprocess
import uuid

from fusefs.store.image_file import (
    MAGIC,
    ImageError,
    ImageFile,
    ImageInUse,
    Superblock,
    check_writable,
    lock,
    may_hold,
    open_alone,
)
from fusefs.store.locks import device_on
from fusefs.store.metadata_file import check_ours

DEFAULT_SIZE = 1 << 30

BLKID = "blkid"
NOTHING_FOUND = 2
"""Exit status of blkid -p if it knows nothing of what is there."""

ADMIN_PATH = "/usr/sbin:/sbin"
"""Where Debian keeps blkid: an ordinary user's PATH has neither."""

PIECE_BYTES = 1 << 20


def check_metadata_place(meta_path: str, image_path: str, beside: str, *, force: bool) -> None:
    """Before anything is touched: ImageError, or MetadataError, if metadata cannot be there.

    A device's must not lie beside it: /dev is memory, and gone at the next boot.
    """
    exists = os.path.exists(image_path)
    if exists and meta_path == beside and stat.S_ISBLK(os.stat(image_path).st_mode):
        raise ImageError(
            f"{image_path}: a device needs -o metadata=FILE: {meta_path} would be gone after a"
            " reboot"
        )
    check_ours(meta_path)
    if os.path.exists(meta_path) and not force:
        both = f", and so does {image_path}" if exists else ""
        raise ImageError(
            f"{meta_path}: exists already{both}; mkfs --force makes a new image, and loses"
            " all files of the old one"
        )


def take_image(path: str, size: int | None, block_size: int, *, force: bool = False) -> ImageFile:
    """What write_new() will make an image, locked; ImageError if it would lose something.

    What exists is taken if it holds nothing: a device, or a file of nothing but zeros; without
    a size it is as large as that.  force takes it in any case, unless it is in use.  A file
    that is made here has mode 0600; it is gone after a failure, and later whoever does not go on
    removes it.
    """
    fd, is_new = -1, False
    try:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            fd = _open_existing(path)
        else:
            is_new = True
            os.fchmod(fd, 0o600)  # a umask may have taken more away
        check_writable(path, fd)
        capacity = os.lseek(fd, 0, os.SEEK_END)
        if size is not None and size > capacity and stat.S_ISBLK(os.fstat(fd).st_mode):
            raise ImageError(f"{path}: too small: {capacity} bytes, but size={size}")
        found = None if force else held_by(path, fd)
        if found is not None:
            raise ImageError(
                f"{path}: exists already, and holds {found}, which would be lost;"
                " mkfs --force makes an image all the same"
            )
        count = (size or capacity or DEFAULT_SIZE) // block_size
        if count < 2:
            raise ImageError(f"{path}: too small: {count} blocks of {block_size}")
        image = ImageFile(path, fd, Superblock(uuid.uuid4(), block_size, count), lock(path, fd))
    except BaseException as error:
        if fd >= 0:
            os.close(fd)
        if is_new and not isinstance(error, ImageInUse):  # else another mkfs has taken it
            os.unlink(path)
        if isinstance(error, OSError):
            raise _cannot_create(path, error) from None
        raise
    return image


def _open_existing(path: str) -> int:
    found = os.stat(path)
    if not may_hold(found):
        raise ImageError(f"{path}: exists already, and is no regular file or block device")
    if device := device_on(path):
        raise ImageError(f"{path}: in use, as {device}; 'losetup -d {device}' ends that")
    return open_alone(path, found)


def _cannot_create(path: str, error: OSError) -> ImageError:
    return ImageError(f"{path}: cannot create the image: {error.strerror}")


def write_new(image: ImageFile) -> None:
    """A superblock; nothing but holes behind it in a file, and in a device what was there."""
    block = image.superblock
    try:
        image.clear()
        image.write_at(0, block.encode().ljust(min(block.block_size, 512), b"\0"))
        image.flush()
    except OSError as error:
        raise _cannot_create(image.path, error) from None


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
    """Whether a file has a byte that is not zero; its holes are not read."""
    pos = 0
    while True:
        try:
            pos = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here on
                return False
            if error.errno != errno.EINVAL:  # a host's file system that knows no holes
                raise
        piece = os.pread(fd, PIECE_BYTES, pos)
        if piece.count(0) != len(piece):
            return True
        if not piece:
            return False
        pos += len(piece)
