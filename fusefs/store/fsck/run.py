"""fsck: is what is stored consistent, and what of it can be put right without guessing?

    fsck()      the command: lock, open, check, repair if asked, tell
    check()     all that is wrong, each with the statements that would put it right
    repair()    runs them, and checks again: repaired is what is found no more

Without --repair a copy of the metadata is checked, as the mere closing of a file that has a
log beside it would write to it.  Of the image only the superblock is read.

Errors: NotChecked, one line.
"""

import fcntl
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from fusefs.model.errors import FsError
from fusefs.store.fsck.check import can_add_up, check
from fusefs.store.fsck.names import Finding
from fusefs.store.fsck.sums import wrong_sums
from fusefs.store.holders import explained
from fusefs.store.image_file import ImageError, ImageFile, ImageInUse, Superblock
from fusefs.store.metadata import Metadata, MetadataError
from fusefs.store.metadata_file import CONTENT_ERRORS, primary_code

CLEAN, REPAIRED, LEFT, NOT_CHECKED = 0, 1, 4, 8
"""Exit statuses; the last is that of NotChecked."""

REPAIRS_MAX = 3
"""Indices first, then what could not be seen without them."""


class NotChecked(Exception):
    """Nothing can be said about the image; the message is one line."""


def repair(
    metadata: Metadata, superblock: Superblock, found: list[Finding]
) -> tuple[list[Finding], list[Finding]]:
    """Repair what can be, and commit it; returns all that was found, and what is left.

    That is everything if a repair meets a page that SQLite cannot read: it has undone the rest.
    """
    everything, left = {f.key: f for f in found}, found
    try:
        for _ in range(REPAIRS_MAX):
            statements = [statement for finding in left for statement in finding.repairs]
            if not statements:
                break
            for statement in dict.fromkeys(statements):
                metadata.change_if_allowed(*statement)  # else it is found again
            if can_add_up(left):
                for _, statement in list(wrong_sums(metadata, superblock.block_count)):
                    metadata.change_if_allowed(*statement)
            left = check(metadata, superblock)
            everything = {f.key: f for f in left} | everything
    except FsError as error:
        cause = error.__cause__
        if isinstance(cause, sqlite3.Error) and primary_code(cause) == sqlite3.SQLITE_CORRUPT:
            left = [replace(finding, repairs=()) for finding in found]
            return left, left
        raise
    if left is not found:
        metadata.commit()
    return list(everything.values()), left


# -- the command -----------------------------------------------------------------------


def fsck(
    image_path: str, meta_path: str, *, repairs: bool, as_json: bool, lock_wait_s: float = 0.0
) -> int:
    """Check an image, repair it if asked, and tell on stdout; returns the exit status."""
    try:
        with closing(ImageFile.open(image_path, lock_wait_s)) as image:
            superblock = image.superblock
            with _opened(meta_path, superblock, in_place=repairs) as metadata:
                found = left = check(metadata, superblock)
                if repairs:
                    found, left = repair(metadata, superblock, found)
    except ImageInUse as error:
        raise NotChecked(explained(error)) from None
    except (ImageError, MetadataError) as error:
        raise NotChecked(str(error)) from None
    except (FsError, OSError) as error:
        reason = os.strerror(error.errno or 0)
        raise NotChecked(f"{meta_path}: cannot be checked: {reason}") from error
    _tell(image_path, found, {finding.key for finding in left}, as_json)
    return LEFT if left else REPAIRED if found else CLEAN


def _tell(
    image_path: str, found: list[Finding], left: set[tuple[str, int | None, str]], as_json: bool
) -> None:
    if as_json:
        rows = [
            {
                "kind": f.kind,
                "inode": f.inode,
                "message": f.message,
                "repairable": bool(f.repairs) or f.key not in left,
                "repaired": f.key not in left,
            }
            for f in found
        ]
        print(json.dumps(rows, indent=2))
        return
    for f in found:
        done = " (repaired)" if f.key not in left else " (can be repaired)" if f.repairs else ""
        print(f"{f.message}{done}")
    counts = f"{len(found)} found, {len(found) - len(left)} repaired" if found else "clean"
    print(f"{image_path}: {counts}")


@contextmanager
def _opened(path: str, superblock: Superblock, *, in_place: bool) -> Iterator[Metadata]:
    """The metadata, or a copy that is gone afterwards (K1)."""
    with ExitStack() as stack:
        used = path
        if not in_place and os.path.isfile(path):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fusefs-fsck-"))
            used = _copy(path, folder)
        try:
            metadata = _open(used, superblock)
        except MetadataError as error:
            raise MetadataError(str(error).replace(used, path)) from error
        yield stack.enter_context(closing(metadata))


def _copy(path: str, folder: str) -> str:
    """Copy the metadata and its log, while nobody else can write them."""
    copy = Path(folder, "metadata")
    with open(path, "rb") as file:
        try:  # the bytes that SQLite's readers lock: os_unix.c, SHARED_FIRST and SHARED_SIZE
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 510, 0x40000002)
        except OSError:
            raise MetadataError(f"{path}: is in use; unmount the image first") from None
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(path + suffix):
                shutil.copyfile(path + suffix, f"{copy}{suffix}")
    return str(copy)


def _open(path: str, superblock: Superblock) -> Metadata:
    """Open the image's metadata, also what a mount would refuse for its contents."""
    try:
        return Metadata.open(path, superblock.uuid)
    except MetadataError as error:
        if not isinstance(error.__cause__, CONTENT_ERRORS):
            raise
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            return Metadata(db, path)
        except (sqlite3.Error, *CONTENT_ERRORS):
            db.close()
            raise error from None
