"""IMAGE.meta: the SQLite file that holds names, attributes, block maps and free space.

Here are its transactions, and its inodes; maps and free space are in stored_blocks.py.

There is always one open transaction.  Everything between two commits lives in it, so a
crash at any moment leaves what the last commit() left:

    create() / open() ──> BEGIN ── query(), change(), save_...() ── commit() ──> BEGIN ── ...
                                                                    close() ──> ROLLBACK

commit() may run in another thread.  Whoever needs the file meanwhile waits for SQLite, but
not for the flush of its log.  The file is held exclusively from open() to close(): a second
mount of the image is refused.

Units: times are nanoseconds since 1970; sizes are bytes.
Errors: MetadataError from create() and open(), one line for the person who mounts.
FsError(EIO), or FsError(ENOSPC) if the host's disk is full, from the call that fails.
Invariants:
    (M1) an inode number is handed out once in the life of an image;
    (M2) once a statement or a commit has failed, nothing more is changed or committed:
         health says why, changes get EROFS, and queries find what the last commit left;
    (M3) no commit comes between two statements within whole().

New inodes, link counts and times come by with each name, and change again with the next one.
So they wait in memory, ROWS_WAITING_MAX of them, and are written before a commit, under the
lock that keeps it from coming in between (M3), and before whatever asks SQLite for them.
"""

import errno
import os
import sqlite3
import threading
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
    IN_MEMORY,
    MetadataError,
    create_file,
    damaged,
    open_file,
    primary_code,
)
from fusefs.store.stored import INO_END, Attributes, as_int, clamp_time

__all__ = ["Attributes", "Metadata", "MetadataError", "clamp_time"]

_COLUMNS = Attributes._fields
_SELECT_INODE = f"SELECT {', '.join(_COLUMNS)} FROM inode WHERE ino = ?"
_SELECT_NAMED = (
    f"SELECT {', '.join(_COLUMNS)} FROM inode WHERE ino IN"
    " (SELECT ino FROM dentry WHERE parent = ? AND cookie BETWEEN ? AND ?)"
)
_UPDATE_LINKS = "UPDATE inode SET nlink = ?, mtime_ns = ?, ctime_ns = ? WHERE ino = ?"
_REPLACE_INODE = f"INSERT OR REPLACE INTO inode VALUES ({', '.join('?' * len(_COLUMNS))})"
_REPLACE_BIRTH = "INSERT OR REPLACE INTO birth VALUES (?, ?)"

ROWS_WAITING_MAX = 256
"""Inodes whose rows wait to be written; a write of all of them takes about a millisecond."""

Parameter = int | bytes | str | None


class Metadata:
    """One open metadata file; uuid, block_size and block_count are the image's."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        """For create() and open(): take over a connection that holds a checked file."""
        self.path = path
        self._log_path = f"{os.path.abspath(path)}-wal"  # before the daemon goes elsewhere
        self._db = db
        self._lock = threading.RLock()
        self.health = Health()
        meta = dict(db.execute("SELECT key, value FROM meta"))
        self.uuid = UUID(str(meta["uuid"]))
        self.block_size = int(meta["block_size"])
        self.block_count = int(meta["block_count"])
        self._next_ino = int(meta["next_ino"])
        self._inode_count = int(meta.get("inode_count", 0))
        self._counts_stored = self._next_ino, self._inode_count
        self._rows_new: dict[int, Attributes] = {}
        self._births_new: dict[int, int] = {}
        self._links_changed: dict[int, tuple[int, int, int, int]] = {}
        self.names_changed = False
        """Set by changing(); whoever commits resets it."""
        self._changing = Changing(self)
        db.execute("BEGIN IMMEDIATE")
        db.execute(BIRTHS)  # of an older image: stored with the first commit

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
                raise ValueError(f"next_ino {metadata._next_ino}")
            return metadata
        except (sqlite3.Error, *CONTENT_ERRORS) as error:
            db.close()
            raise damaged(path, error) from error

    def whole(self) -> AbstractContextManager[bool]:
        """A change of several statements: a commit in another thread waits for its end (M3)."""
        return self._lock

    def changing(self) -> "Changing":
        """Around a change of names or of what belongs to them; FsError(EROFS)."""
        return self._changing

    def commit(self) -> None:
        """Make durable all that was saved, and begin the next transaction.

        On FsError nothing since the last commit is durable, nor ever will be (M2).
        """
        with self._lock:
            self.health.check_durable()
            self._write_waiting()
            try:
                counts = self._next_ino, self._inode_count
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
        """What was committed is durable after this; the log is missing if there was nothing yet."""
        if self.path == IN_MEMORY or not os.path.exists(self._log_path):
            return
        try:
            fd = os.open(self._log_path, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            self.health.fail(f"{self._log_path}: the flush failed: {error.strerror}")
            raise FsError(error.errno or errno.EIO) from error

    def close(self) -> None:
        """Let go of the file; what was not committed is lost, as it is after a crash."""
        with self._lock, suppress(sqlite3.Error):  # of a disk that has failed already
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        self._db.close()

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

    # -- inodes ------------------------------------------------------------------------

    def new_ino(self) -> int:
        """A number for an inode that the caller may add next (M1)."""
        ino = self._next_ino
        self._next_ino += 1
        return ino

    def add_inode(self, attributes: Attributes) -> None:
        """Store a new inode; within whole(), so that no commit has it and not its name."""
        self.health.check_writable()
        self._rows_new[attributes.ino] = attributes
        self._births_new[attributes.ino] = clamp_time(attributes.ctime_ns)
        self._inode_count += 1
        if len(self._births_new) >= ROWS_WAITING_MAX:
            self._write_waiting()

    def load_attributes(self, ino: int) -> Attributes | None:
        """The stored attributes, or None if there is no such inode; FsError(EIO) if damaged."""
        self._write_waiting_of(ino)
        rows = self.query(_SELECT_INODE, ino)
        return self.checked_attributes(rows[0]) if rows else None

    def birth_ns(self, ino: int) -> int:
        """When an inode was made, 0 if that is not known; FsError(EIO) if damaged."""
        if ino in self._births_new:
            return self._births_new[ino]
        rows = self.query("SELECT btime_ns FROM birth WHERE ino = ?", ino)
        return as_int(rows[0][0]) if rows else 0

    def load_named(self, parent: int, first: int, last: int) -> list[Attributes]:
        """Those of all inodes that names of a directory lead to, from one cookie to another."""
        self._write_waiting()
        rows = self.query(_SELECT_NAMED, parent, first, last)
        return [self.checked_attributes(row) for row in rows]

    def checked_attributes(self, row: tuple[Any, ...]) -> Attributes:
        """A row of the inode table; FsError(EIO) if it cannot be right."""
        attributes = Attributes._make(row)
        if fault := attributes.fault():
            raise self.damaged(f"inode {attributes.ino} ({fault})")
        return attributes

    def save_attributes(self, attributes: Attributes) -> None:
        """Store an inode's attributes, all of them; it need not exist yet.

        A file's size and map belong in one transaction: a shorter size committed without
        its map would let removed bytes reappear when the file grows again.
        """
        with self._lock:
            self._rows_new.pop(attributes.ino, None)
            self._links_changed.pop(attributes.ino, None)
            self.change(_REPLACE_INODE, *attributes)

    def save_links(self, ino: int, nlink: int, mtime_ns: int, ctime_ns: int) -> None:
        """Store what a name that comes or goes changes of an inode."""
        self.health.check_writable()
        with self._lock:
            links = nlink, clamp_time(mtime_ns), clamp_time(ctime_ns), ino
            self._links_changed[ino] = links
            if len(self._links_changed) >= ROWS_WAITING_MAX:
                self._write_waiting()

    def save_column(self, ino: int, column: str, value: int) -> None:
        """Store one of an inode's attributes."""
        self._write_waiting_of(ino)
        self.change(f"UPDATE inode SET {column} = ? WHERE ino = ?", value, ino)

    def delete_inode(self, ino: int) -> None:
        """Forget an inode: attributes, xattrs and map.  Its blocks were freed before."""
        with self._lock:
            self._links_changed.pop(ino, None)
            if self._births_new.pop(ino, None) is None:
                self.change("DELETE FROM birth WHERE ino = ?", ino)
            self.change("DELETE FROM xattr WHERE ino = ?", ino)
            self.change("DELETE FROM chunk WHERE ino = ?", ino)
            if self._rows_new.pop(ino, None) is None:
                self._inode_count -= self.change("DELETE FROM inode WHERE ino = ?", ino)
            else:
                self._inode_count -= 1

    def _write_waiting(self) -> None:
        """Have all of the inode table in the transaction, if that is not undone already."""
        with self._lock:
            rows, self._rows_new = self._rows_new, {}
            births, self._births_new = self._births_new, {}
            links, self._links_changed = self._links_changed, {}
            if not self._db.in_transaction:
                return
            try:
                if rows:
                    self._db.executemany(_REPLACE_INODE, rows.values())
                if births:
                    self._db.executemany(_REPLACE_BIRTH, births.items())
                if links:
                    self._db.executemany(_UPDATE_LINKS, links.values())
            except Exception as error:  # whatever it is, rows are missing
                self._give_up(error)

    def _write_waiting_of(self, ino: int) -> None:
        if ino in self._rows_new or ino in self._links_changed:
            self._write_waiting()

    def count_inodes(self) -> int:
        """Inodes in existence, the root and the deleted but open ones included."""
        return self._inode_count

    def count_linked(self) -> int:
        """Inodes with a name.  Asks for those without one, of which there are few."""
        self._write_waiting()
        [[orphan_count]] = self.query("SELECT count(*) FROM inode WHERE nlink = 0")
        return self._inode_count - int(orphan_count)

    def orphans(self) -> list[tuple[int, int]]:
        """Inodes without a name, deleted but still open when last heard of, and their blocks.

        Blocks that cannot be right count as none: what is freed is what the map has.
        """
        self._write_waiting()
        return self.query(
            "SELECT ino, iif(typeof(blocks) = 'integer' AND blocks BETWEEN 0 AND ?, blocks, 0)"
            " FROM inode WHERE nlink = 0",
            self.block_count,
        )


class Changing:
    """The context of changing(): one for all, as it keeps nothing.

    Whatever but an FsError ends it may leave half of a change, which must not be committed.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._whole = metadata.whole()

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
