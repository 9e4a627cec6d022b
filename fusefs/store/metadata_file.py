"""The metadata file itself: what is in it, how it is made, and whether it is this image's.

create_file() and open_file() hand out a connection that holds the file exclusively and is
in no transaction; metadata.py does the rest.  A mount relies on what is found here, so
open_file() checks it: first from the header, without SQLite; then the UUID, through a
connection that cannot write; only then is the file opened as ours.

Units: sizes are bytes; times are nanoseconds since 1970.
Errors: MetadataError, one line for the person who mounts.
Invariants:
    (F1) open_file() changes no file that is not this image's metadata;
    (F2) the header, by which the file is known, is in the file itself from the first
         commit on, and not only in the log beside it.
"""

import fcntl
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from fusefs.model.geometry import PAGE_SIZE_MAX, Geometry

FORMAT_VERSION = 2
APPLICATION_ID = 0x66754673
"""'fuFs', which SQLite's header keeps for us."""

ROOT_INO = 1

DOT_COOKIES = 2
"""Directory cookies 1 and 2 are '.' and '..'; names have larger ones."""

LOCK_POS, LOCK_LENGTH = 1 << 30, 512
"""Bytes that SQLite locks, https://sqlite.org/fileformat.html section 1.4."""

IN_MEMORY = ":memory:"
"""A path that makes a file which lives as long as its connection."""

SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};

-- uuid, block_size, block_count, next_ino; inode_count and free_count, as the tables have them
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

-- size in bytes, blocks allocated; target for symlinks only.  nlink 0: deleted while open
CREATE TABLE inode (
    ino INTEGER PRIMARY KEY CHECK (ino > 0),
    mode INTEGER NOT NULL,
    nlink INTEGER NOT NULL CHECK (nlink >= 0),
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    rdev INTEGER NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    blocks INTEGER NOT NULL CHECK (blocks >= 0),
    atime_ns INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    target BLOB
) STRICT;
CREATE INDEX inode_orphan ON inode (nlink) WHERE nlink = 0;

-- cookie is what readdir goes on from.  AUTOINCREMENT never uses one twice, so a reader
-- neither repeats nor skips a name while others come and go.  Every index ends in cookie,
-- the rowid.  dentry_ino finds a directory's parent.
CREATE TABLE dentry (
    cookie INTEGER PRIMARY KEY AUTOINCREMENT CHECK (cookie > {DOT_COOKIES}),
    parent INTEGER NOT NULL,
    name BLOB NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    ino INTEGER NOT NULL,
    UNIQUE (parent, name)
) STRICT;
CREATE INDEX dentry_parent ON dentry (parent);
CREATE INDEX dentry_ino ON dentry (ino);
INSERT INTO sqlite_sequence (name, seq) VALUES ('dentry', {DOT_COOKIES});

CREATE TABLE xattr (
    ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (ino, name)
) STRICT, WITHOUT ROWID;

-- a chunk of a block map, as ExtentMap.encode() has it; no row where nothing is allocated
CREATE TABLE chunk (
    ino INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 0),
    runs BLOB NOT NULL,
    unwritten BLOB NOT NULL,
    PRIMARY KEY (ino, number)
) STRICT, WITHOUT ROWID;

-- an allocation group, as Space.encode() has it; no row where nothing was ever allocated.
-- space_full has one bit for each group, as Space.encode_full(): no block of it is free
CREATE TABLE space_group (
    number INTEGER PRIMARY KEY CHECK (number >= 0), used BLOB NOT NULL
) STRICT;
CREATE TABLE space_full (
    number INTEGER PRIMARY KEY CHECK (number >= 0), used BLOB NOT NULL
) STRICT;
"""

BIRTHS = """
-- when an inode was made; 0 or no row: nobody knows.  Images of older versions have no such
-- table, and what those delete leaves its row, which nobody asks for (M1)
CREATE TABLE IF NOT EXISTS birth (ino INTEGER PRIMARY KEY, btime_ns INTEGER NOT NULL) STRICT;
"""

TABLES = ("meta", "inode", "dentry", "xattr", "chunk", "space_group", "space_full")


class MetadataError(Exception):
    """The metadata cannot be used; the message is one line that names the file."""


CONTENT_ERRORS = (KeyError, TypeError, ValueError, OverflowError)
"""What is raised for values that cannot be right, besides SQLite's own errors."""


def damaged(path: str, reason: object) -> MetadataError:
    """The error for a file that is ours but cannot be relied on."""
    text = " ".join(str(reason).split())
    return MetadataError(f"{path}: is damaged ({text}); restore it from a copy")


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without the extension in its upper bits; 0 if it is Python's error."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def create_file(
    path: str, uuid: UUID, block_size: int, block_count: int, uid: int, gid: int, now_ns: int
) -> sqlite3.Connection:
    """Make a new file, mode 0600, with an empty root directory that belongs to uid and gid."""
    if path != IN_MEMORY:
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.fchmod(fd, 0o600)  # a umask may have taken more away
            os.close(fd)
        except FileExistsError:
            raise MetadataError(f"{path}: exists already; remove it or name another") from None
        except OSError as error:
            raise MetadataError(f"{path}: cannot be made: {error.strerror}") from error
    meta = {
        "uuid": str(uuid),
        "block_size": block_size,
        "block_count": block_count,
        "next_ino": ROOT_INO + 1,
        "inode_count": 1,
        "free_count": block_count - 1,
    }
    root = (ROOT_INO, stat.S_IFDIR | 0o755, 2, uid, gid, 0, 0, 0, now_ns, now_ns, now_ns, None)
    db = _connect(path)
    try:
        db.executescript("BEGIN IMMEDIATE;" + SCHEMA + BIRTHS)
        db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        db.execute(f"INSERT INTO inode VALUES ({', '.join('?' * len(root))})", root)
        db.execute("INSERT INTO birth VALUES (?, ?)", (ROOT_INO, now_ns))
        db.execute("COMMIT")
        _hold_exclusively(db)  # only now in WAL mode (F2)
    except sqlite3.Error as error:
        db.close()
        if path != IN_MEMORY:
            os.unlink(path)
        raise MetadataError(f"{path}: cannot be made: {error}") from error
    return db


def check_ours(path: str) -> None:
    """MetadataError if something is there that is not fusefs metadata."""
    if not os.path.exists(path):
        return
    header = b""
    if is_file := stat.S_ISREG(os.stat(path).st_mode):  # first: a pipe keeps its reader waiting
        with open(path, "rb") as file:
            header = file.read(100)
    if not is_file or (header and int.from_bytes(header[68:72], "big") != APPLICATION_ID):
        raise MetadataError(f"{path}: is not fusefs metadata; remove it, or name another file")


def remove_file(path: str) -> None:
    """Remove metadata and the log beside it, if they are there; MetadataError if it is in use.

    SQLite's lock is taken without SQLite, which would see to the log, or fail if it is damaged.
    """
    with suppress(FileNotFoundError), open(path, "r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCK_LENGTH, LOCK_POS)
        except BlockingIOError:
            raise MetadataError(f"{path}: is in use; unmount its image first") from None
        os.unlink(path)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)


def open_file(path: str, uuid: UUID) -> sqlite3.Connection:
    """Open the metadata of the image with this UUID; MetadataError if it is not that (F1)."""
    check_header(path)
    try:
        _check_uuid(path, uuid)
        db = _connect(path)
        try:
            _hold_exclusively(db)
            _check_contents(db)
        except BaseException:
            db.close()
            raise
    except sqlite3.OperationalError as error:
        code = primary_code(error)
        if code == sqlite3.SQLITE_BUSY:
            raise MetadataError(f"{path}: is in use; unmount the image first") from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            folder = os.path.dirname(os.path.abspath(path))
            if not os.access(folder, os.W_OK):
                raise MetadataError(
                    f"{path}: you may make no files in {folder}, where SQLite's log would be"
                ) from error
            raise MetadataError(f"{path}: cannot be opened for writing: {error}") from error
        raise damaged(path, error) from error
    except (sqlite3.Error, *CONTENT_ERRORS) as error:
        raise damaged(path, error) from error
    # Left behind by _check_uuid() after a crash; not used by a file that is held exclusively.
    Path(f"{path}-shm").unlink(missing_ok=True)
    return db


def _connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection without Python's own transactions, usable from any thread, never waiting."""
    return sqlite3.connect(path, uri=uri, timeout=0, isolation_level=None, check_same_thread=False)


def _hold_exclusively(db: sqlite3.Connection) -> None:
    """Keep everyone else out until the connection closes.

    A COMMIT goes to the log, which is flushed by Metadata.commit(), and by SQLite before it
    copies from the log to the file.
    """
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("BEGIN IMMEDIATE")  # takes the lock
    db.execute("UPDATE meta SET value = value WHERE key = 'uuid'")  # refused if we may not write
    db.execute("ROLLBACK")


def open_log(db: sqlite3.Connection) -> tuple[int, str]:
    """A descriptor of the log that SQLite writes to, and its name; -1 if there is none.

    SQLite says what the file is called that the log is beside: a link to it has another name.
    Whoever has begun a transaction has a log, but for a file that is in memory, or that fsck has
    as it was found: there a COMMIT is durable by itself.  MetadataError.
    """
    [[mode]] = db.execute("PRAGMA journal_mode")
    [[file]] = db.execute("SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'")
    path = f"{os.fsdecode(file)}-wal"
    if mode != "wal":
        return -1, path
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC), path
    except OSError as error:
        raise MetadataError(f"{path}: cannot be opened: {error.strerror}") from error


# -- is it ours? -----------------------------------------------------------------------


def check_header(path: str) -> None:
    """MetadataError unless it is one, by its first 100 bytes, and may be written.

    https://sqlite.org/fileformat.html section 1.3.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise MetadataError(f"{path}: is not a regular file")
        with open(path, "r+b") as file:  # SQLite would open it for reading, and fail later
            header = file.read(100)
    except FileNotFoundError:
        raise MetadataError(
            f"{path}: no such metadata; -o metadata=PATH says where the image's is"
        ) from None
    except OSError as error:
        raise MetadataError(f"{path}: cannot be opened for writing: {error.strerror}") from error
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise MetadataError(f"{path}: is not fusefs metadata: not an SQLite file")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise MetadataError(f"{path}: is not fusefs metadata: another program's SQLite file")
    version = int.from_bytes(header[60:64], "big")
    if not version:
        raise damaged(path, "format 0")
    if version != FORMAT_VERSION:
        raise MetadataError(
            f"{path}: has format {version}, but this program reads {FORMAT_VERSION};"
            f" use {'a newer' if version > FORMAT_VERSION else 'the older'} fusefs"
        )
    if header[18:21] not in (b"\1\1\0", b"\2\2\0"):  # SQLite would change the first two at once
        raise damaged(path, "its header has no known file format")


def _check_uuid(path: str, uuid: UUID) -> None:
    """Compare UUIDs without a write.

    immutable leaves nothing beside the file, but does not look at a log, which a crash
    leaves and without which the file may be half of an old and half of a new state.
    """
    mode = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    db = _connect(f"{Path(path).absolute().as_uri()}?{mode}", uri=True)
    try:
        found = UUID(_meta(db)["uuid"])
    finally:
        db.close()
    if found != uuid:
        raise MetadataError(f"{path}: belongs to another image: its UUID is {found}, not {uuid}")


# -- is it whole? ----------------------------------------------------------------------


def _check_contents(db: sqlite3.Connection) -> None:
    """ValueError, KeyError or sqlite3.Error if the file is not what create_file() makes.

    What a mount relies on, and the top of each table: not all that is stored, which is
    checked when it is read, and by fsck.
    """
    db.execute("PRAGMA cell_size_check = ON")
    model, found = sqlite3.connect(IN_MEMORY), _columns(db)
    has_births = any(table == "birth" for table, _, _ in found)
    try:
        model.executescript(SCHEMA + BIRTHS if has_births else SCHEMA)
        missing = sorted(_columns(model) - found)
    finally:
        model.close()
    if missing:
        raise ValueError(f"no {missing[0][0]}")
    for table in (*TABLES, "birth") if has_births else TABLES:
        try:
            db.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{table}: {error}") from error
    meta = _meta(db)
    Geometry(int(meta["block_size"]), PAGE_SIZE_MAX)
    if int(meta["block_count"]) < 2:
        raise ValueError(f"block_count {meta['block_count']}")
    [ino_max] = db.execute("SELECT max(ino) FROM inode").fetchone()
    if ino_max is None or int(meta["next_ino"]) <= ino_max:
        raise ValueError(f"next_ino {meta['next_ino']}")
    if not 1 <= int(meta["inode_count"]) < int(meta["next_ino"]):
        raise ValueError(f"inode_count {meta['inode_count']}")
    root = db.execute("SELECT mode FROM inode WHERE ino = ?", (ROOT_INO,)).fetchone()
    if root is None or not stat.S_ISDIR(root[0]):
        raise ValueError("no root directory")


def _meta(db: sqlite3.Connection) -> dict[str, str]:
    return {key: str(value) for key, value in db.execute("SELECT key, value FROM meta")}


def _columns(db: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """What a schema must have: each table and index, with each of its columns."""
    rows = db.execute(
        "SELECT master.name, coalesce(info.name, ''), coalesce(info.type, '')"
        " FROM sqlite_master AS master LEFT JOIN pragma_table_info(master.name) AS info"
    )
    return {(name, column, kind) for name, column, kind in rows}
