"""IMAGE.meta: the SQLite file that holds names, attributes, block maps and free space.

Here are its transactions; what is in them is in inode_rows.py, dentries.py, xattr_table.py and
stored_blocks.py.

There is always one open transaction.  Everything between two commits lives in it, so a
crash at any moment leaves what the last commit() left:

    create() / open() ──> BEGIN ── query(), change() ── commit() ──> BEGIN ── ...
                                                        close() ──> ROLLBACK

commit() may run in another thread.  Whoever needs the file meanwhile waits for SQLite, but
not for the flush of its log.  The file is held exclusively from open() to close(): a second
mount of the image is refused.

Errors: MetadataError from create() and open(), one line for the person who mounts.
FsError(EIO), or FsError(ENOSPC) if the host's disk is full, from the call that fails.
Invariants:
    (M1) an inode number is handed out once in the life of an image;
    (M2) once a statement or a commit has failed, nothing more is changed or committed:
         health says why, changes get EROFS, and queries find what the last commit left;
    (M3) no commit comes between two statements within whole.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn
from uuid import UUID

from fusefs.model.errors import FsError
from fusefs.store.health import Health
from fusefs.store.metadata_file import (
    BIRTHS,
    CONTENT_ERRORS,
    MetadataError,
    create_file,
    damaged,
    open_file,
    open_log,
    primary_code,
)
from fusefs.store.stored import INO_END, clamp_time

__all__ = ["Metadata", "MetadataError"]

Parameter = int | bytes | str | None


def nothing() -> None:
    """Nobody waits to be written."""


class Metadata:
    """One open metadata file; uuid, block_size and block_count are the image's."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        """For create() and open(): take over a connection that holds a checked file."""
        self.path = path
        self._db = db
        self._lock = threading.RLock()
        self.whole: AbstractContextManager[bool] = self._lock
        """A change of several statements: a commit in another thread waits for its end (M3)."""
        self.health = Health()
        meta = dict(db.execute("SELECT key, value FROM meta"))
        self.uuid = UUID(str(meta["uuid"]))
        self.block_size = int(meta["block_size"])
        self.block_count = int(meta["block_count"])
        self._next_ino = int(meta["next_ino"])
        self.inode_count = int(meta.get("inode_count", 0))
        """Inodes in existence, the root and the deleted but open ones included."""
        self._counts_stored = self._next_ino, self.inode_count
        self.names_changed = False
        """Set by changing; whoever commits resets it."""
        self.changing = Changing(self)
        """Around a change of names or of what belongs to them, which it makes whole (M3);
        FsError(EROFS)."""
        db.execute("BEGIN IMMEDIATE")
        db.execute(BIRTHS)  # of an older image: stored with the first commit
        self._log_fd, self._log_path = open_log(db)

    # -- opening and closing -----------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path | str,
        uuid: UUID,
        block_size: int,
        block_count: int,
        uid: int,
        gid: int,
        now_ns: int,
    ) -> "Metadata":
        """Make a new file, mode 0600, whose root directory belongs to uid and gid; open it.

        The path ':memory:' makes one that lives as long as the object.
        """
        path = os.fspath(path)
        now_ns = clamp_time(now_ns)
        return cls(create_file(path, uuid, block_size, block_count, uid, gid, now_ns), path)

    @classmethod
    def open(cls, path: Path | str, uuid: UUID) -> "Metadata":
        """Open the metadata of the image with this UUID; MetadataError if it is not that."""
        path = os.fspath(path)
        db = open_file(path, uuid)
        try:
            metadata = cls(db, path)
            if metadata._next_ino >= INO_END:
                metadata.close()
                raise ValueError(f"next_ino {metadata._next_ino}")
            return metadata
        except (sqlite3.Error, *CONTENT_ERRORS) as error:
            db.close()
            raise damaged(path, error) from error
        except MetadataError:
            db.close()
            raise

    def commit(self, last: Callable[[], None] = nothing) -> None:
        """Make durable all that was written, and begin the next transaction.

        last() writes what has waited until now: nobody changes anything behind it (M3).
        On FsError nothing since the last commit is durable, nor ever will be (M2).
        """
        with self._lock:
            self.health.check_durable()
            last()
            try:
                counts = self._next_ino, self.inode_count
                if counts != self._counts_stored:
                    for count in zip(counts, ("next_ino", "inode_count"), strict=True):
                        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", count)
                self._db.execute("COMMIT")
                self._counts_stored = counts
                self._db.execute("BEGIN IMMEDIATE")
            except (sqlite3.Error, MemoryError) as error:
                self._give_up(error)
        self._flush_log()

    def _flush_log(self) -> None:
        """What was committed is durable after this."""
        if self._log_fd < 0:
            return
        try:
            os.fdatasync(self._log_fd)
            if not os.fstat(self._log_fd).st_nlink:  # and a crash would leave nothing of it
                raise OSError(errno.EIO, "it was removed")
        except OSError as error:
            self.health.fail(f"{self._log_path}: the flush failed: {error.strerror}")
            raise FsError(error.errno or errno.EIO) from error

    def close(self) -> None:
        """Let go of the file; what was not committed is lost, as it is after a crash."""
        with self._lock, suppress(sqlite3.Error):  # of a disk that has failed already
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        self._db.close()
        if self._log_fd >= 0:
            os.close(self._log_fd)
            self._log_fd = -1

    def new_ino(self) -> int:
        """A number for an inode that the caller may add next (M1)."""
        ino = self._next_ino
        self._next_ino += 1
        return ino

    # -- statements --------------------------------------------------------------------

    def query(self, statement: str, *parameters: Parameter) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        with self._lock:
            try:
                return self._db.execute(statement, parameters).fetchall()
            except sqlite3.ProgrammingError:
                raise  # a fault of ours, not of the disk
            except (sqlite3.Error, MemoryError) as error:
                self._give_up(error)

    def change(self, statement: str, *parameters: Parameter) -> int:
        """Run a statement that changes something; return how many rows it changed.

        A constraint that forbids it is a fault of what is stored.
        """
        with self._lock:
            self.health.check_writable()
            try:
                return self._db.execute(statement, parameters).rowcount
            except sqlite3.ProgrammingError:
                raise  # ours again
            except (sqlite3.Error, MemoryError) as error:
                self._give_up(error)

    def change_many(self, statement: str, rows: Sequence[tuple[Parameter, ...]]) -> None:
        """The same for what was accepted before: nothing, if that is undone already (M2)."""
        with self._lock:
            if not rows or not self._db.in_transaction:
                return
            try:
                self._db.executemany(statement, rows)
            except Exception as error:  # whatever it is, rows are missing
                self._give_up(error)

    def change_if_allowed(self, statement: str, *parameters: Parameter) -> None:
        """The same, for fsck: a statement that a constraint forbids changes nothing."""
        with self._lock:
            try:
                self._db.execute(statement, parameters)
            except sqlite3.IntegrityError:
                pass
            except sqlite3.Error as error:
                self._give_up(error)

    def damaged(self, what: str) -> FsError:
        """The error for something stored that cannot be right."""
        self.health.fail(f"{self.path}: {what} is damaged")
        return FsError(errno.EIO)

    def _give_up(self, error: Exception) -> NoReturn:
        """Undo all since the last commit: half an operation must never be committed (M2).

        After most errors SQLite has done so itself.
        """
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        self.health.fail(f"{self.path}: {error or 'out of memory'}")
        full = isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_FULL
        raise FsError(errno.ENOSPC if full else errno.EIO) from error


class Changing:
    """The context of a change: one for all, as it keeps nothing.

    Whatever but an FsError ends it may leave half of a change, which must not be committed.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._whole = metadata.whole

    def __enter__(self) -> None:
        self._metadata.health.check_writable()
        self._metadata.names_changed = True
        self._whole.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, FsError):
            self._metadata.health.fail(f"a change of names ended half-way: {error!r}")
        self._whole.__exit__(kind, error, traceback)
