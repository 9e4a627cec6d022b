"""What fsck looks for: everything stored is compared with everything that must agree with it.

What is no damage: blocks beyond a file's end.  They come from fallocate(), and from a crash
between a conversion and the commit of the size.

Units: blocks are the image's; sizes are bytes.
Errors: none; what is wrong is a Finding.
Invariants:
    (K1) check() changes nothing;
    (K2) a repair marks blocks free only if no map has them and every map can be read.
"""

import re
import stat
from collections.abc import Iterator
from typing import Any

from bitarray import bitarray

from fusefs.model.errors import FsError
from fusefs.model.extents import CHUNK_BLOCKS, Chunk
from fusefs.model.space import GROUP_BLOCKS
from fusefs.store import acl
from fusefs.store.fsck.blocks import Blocks, decode_chunk, listed, load_group
from fusefs.store.fsck.names import Finding, NameCheck, Statement
from fusefs.store.fsck.sums import wrong_sums
from fusefs.store.image_file import Superblock
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import DOT_COOKIES, ROOT_INO
from fusefs.store.stored import FILE_TYPES, ID_MAX, INO_END

BATCH = 256
"""Rows in memory at once."""

TARGET_LENGTH_MAX = 4095


def check(metadata: Metadata, superblock: Superblock) -> list[Finding]:
    """All that is wrong with an image, in the order in which to put it right (K1)."""
    checking = _Check(metadata, superblock)
    try:
        checking.run()
    except FsError as error:
        what = f"{metadata.path} cannot be read on ({error}); restore a copy"
        checking.find("sqlite", None, what)
    return checking.found


def can_add_up(found: list[Finding]) -> bool:
    """Whether sums can be told right: no size, table or group that they are of is unknown."""
    unknown = {finding.kind for finding in found if not finding.repairs}
    return unknown.isdisjoint(("sqlite", "superblock", "group"))


class _Check(NameCheck):
    """What a check has seen so far: live and doomed have the blocks of what stays and goes."""

    def __init__(self, metadata: Metadata, superblock: Superblock) -> None:
        super().__init__(metadata)
        self.metadata = metadata
        self.superblock = superblock
        self.block_count = superblock.block_count
        self.live, self.doomed, self.shared = Blocks(), Blocks(), Blocks()
        self.doomed_inos: dict[int, str] = {}
        self.maps_damaged: set[int] = set()

    def run(self) -> None:
        if not self._is_sound():
            return
        for row in self._inodes():
            self._check_inode(*row)
        self._check_strays()
        self._check_shared()
        group_repairs = self._check_groups()
        for ino, message in self.doomed_inos.items():
            tables = ("xattr", "chunk", "birth", "inode")
            deletes = tuple((f"DELETE FROM {table} WHERE ino = ?", ino) for table in tables)
            self.find("orphan", ino, message, *deletes, *group_repairs)
            group_repairs = []
        self.check_names()
        self.check_tree()
        # Of what a repair changes that may be why: repair() makes them right without a word.
        if can_add_up(self.found) and not any(finding.repairs for finding in self.found):
            for message, fix in wrong_sums(self.metadata, self.block_count):
                self.find("sum", None, message, fix)

    def _is_sound(self) -> bool:
        """Whether the rest can be relied on: SQLite's own check, superblock, root, next_ino.

        The schema's constraints are left to the checks below, which say more.
        """
        lines = [" ".join(line.split()) for (line,) in self.query("PRAGMA integrity_check")]
        faults = [line for line in lines if line != "ok" and "CHECK constraint" not in line]
        of_indices = re.compile("missing from index|wrong # of entries in index")
        can_rebuild = all(of_indices.search(line) for line in faults)
        for line in faults:
            if can_rebuild:
                message = f"SQLite: {line}; the indices can be rebuilt, then the rest is checked"
                self.find("sqlite", None, message, ("REINDEX",))
            else:
                self.find("sqlite", None, f"SQLite: {line}; restore the metadata from a copy")
        block, metadata = self.superblock, self.metadata
        sizes = block.block_count, block.block_size
        if sizes != (metadata.block_count, metadata.block_size):
            message = (
                f"the superblock says {block.block_count} blocks of {block.block_size}, but the"
                f" metadata says {metadata.block_count} of {metadata.block_size}; restore the"
                " image's first block from a copy"
            )
            self.find("superblock", None, message)
        [[root]] = self.query("SELECT max(mode & 61440) FROM inode WHERE ino = ?", ROOT_INO)
        if root is None or not stat.S_ISDIR(root):
            message = "there is no root directory, inode 1; restore the metadata from a copy"
            self.find("root", ROOT_INO, message)
        self._check_sequences()
        return not any(f.kind in ("sqlite", "superblock") for f in self.found)

    def _check_sequences(self) -> None:
        """The next inode and the next cookie are larger than all there are."""
        inos = " UNION ALL ".join(
            f"SELECT max(ino) AS ino FROM {table} WHERE ino < {INO_END - 1}"
            for table in ("inode", "dentry", "birth")
        )
        [[ino_max]] = self.query(f"SELECT max({ROOT_INO}, (SELECT max(ino) FROM ({inos})))")
        [[ino_next]] = self.query("SELECT value FROM meta WHERE key = 'next_ino'")
        if not (ino_max or ROOT_INO) < int(ino_next) < INO_END:
            message = f"the next new inode would be {ino_next}, but {ino_max} is in use"
            fix = ("UPDATE meta SET value = ? WHERE key = 'next_ino'", (ino_max or ROOT_INO) + 1)
            self.find("next_ino", None, message, fix)
        [[cookie_max]] = self.query(f"SELECT max({DOT_COOKIES}, max(cookie)) FROM dentry")
        last = self.query("SELECT seq FROM sqlite_sequence WHERE name = 'dentry'")
        cookie_max = cookie_max or DOT_COOKIES
        if len(last) != 1 or not isinstance(last[0][0], int) or last[0][0] < cookie_max:
            message = f"the last cookie of a name is recorded as {last}, but {cookie_max} is in use"
            delete = ("DELETE FROM sqlite_sequence WHERE name = 'dentry'",)
            insert = ("INSERT INTO sqlite_sequence VALUES ('dentry', ?)", cookie_max)
            self.find("cookie", None, message, delete, insert)

    # -- inodes and maps ---------------------------------------------------------------

    def _inodes(self) -> Iterator[tuple[Any, ...]]:
        last = -(1 << 63)
        while rows := self.query(
            "SELECT ino, mode, nlink, uid, gid, rdev, size, blocks, target,"
            " (SELECT count(*) FROM dentry WHERE dentry.ino = inode.ino),"
            " (SELECT count(*) FROM dentry WHERE parent = inode.ino),"
            " (SELECT count(*) FROM dentry JOIN inode AS child ON child.ino = dentry.ino"
            "   WHERE parent = inode.ino AND (child.mode & 61440) = 16384),"
            " (SELECT count(*) FROM dentry"
            "   WHERE parent = inode.ino AND ino NOT IN (SELECT ino FROM inode))"
            f" FROM inode WHERE ino > ? ORDER BY ino LIMIT {BATCH}",
            last,
        ):
            yield from rows
            last = rows[-1][0]

    def _check_inode(
        self,
        ino: int,
        mode: int,
        nlink: int,
        uid: int,
        gid: int,
        rdev: int,
        size: int,
        blocks: int,
        target: bytes | None,
        names: int,
        children: int,
        directories: int,
        lost: int,
    ) -> None:
        """The counts are of its names, the names in it, and what those lead to: lost is nothing."""
        file_type = stat.S_IFMT(mode & 0xFFFF)
        is_directory, is_root = file_type == stat.S_IFDIR, ino == ROOT_INO
        if not (nlink or names or children or is_root):
            self.doomed_inos[ino] = f"inode {ino} was deleted while open, and is still stored"
            self._add_map(ino, self.doomed)
            return
        if not 0 < ino < INO_END or mode >> 16 or file_type not in FILE_TYPES:
            self.find_at("mode", ino, f"is of no known type (mode {mode:o}); restore it")
        if not all(0 <= number <= ID_MAX for number in (uid, gid, rdev)):
            message = f"cannot have owner {uid}, group {gid}, device {rdev}; restore it from a copy"
            self.find_at("owner", ino, message)
        if not names and not is_root:
            message = f"has {nlink} links but no name; restore its name from a copy"
            self.find_at("nameless", ino, message)
        elif not (links := 2 + directories if is_directory else names) <= nlink <= links + lost:
            message = f"has link count {nlink}, but {links} is right"
            fix: Statement = ("UPDATE inode SET nlink = ? WHERE ino = ?", links, ino)
            # what is lost may have been directories: then the right count would be a guess
            self.find_at("links", ino, message, *([] if lost else [fix]))
        if is_directory and names > (0 if is_root else 1):
            message = f"is a directory with {names} names; restore its parent from a copy"
            self.find_at("directory", ino, message)
        self._check_acls(ino, mode)
        self._check_size(ino, file_type, size, target)
        count = self._add_map(ino, self.live)
        if count and file_type != stat.S_IFREG:
            self.maps_damaged.add(ino)
            self.find_at("map", ino, f"has {count} blocks, but is not a file; restore it")
        elif blocks != count and ino not in self.maps_damaged:
            message = f"has block count {blocks}, but its map has {count} blocks"
            statement = "UPDATE inode SET blocks = ? WHERE ino = ?"
            self.find_at("blocks", ino, message, (statement, count, ino))

    def _check_acls(self, ino: int, mode: int) -> None:
        """(A1) Whether ACL or mode is right nobody knows: chmod says it of both."""
        for name, value in self.query(
            "SELECT name, value FROM xattr WHERE ino = ? AND name IN (?, ?)",
            *(ino, acl.ACCESS, acl.DEFAULT),
        ):
            kind = "an access" if name == acl.ACCESS else "a default"
            try:
                found = acl.decode(value)
            except FsError:
                message = f"has {kind} ACL that is none; set it again, or remove it"
                self.find_at("acl", ino, message)
                continue
            if name == acl.ACCESS and found.mode != mode & acl.PERMISSIONS:
                message = f"has mode {mode & acl.PERMISSIONS:03o}, but its ACL {found.mode:03o}"
                self.find_at("acl", ino, f"{message}; chmod sets both")

    def _check_size(self, ino: int, file_type: int, size: int, target: bytes | None) -> None:
        if size < 0:
            self.find_at("size", ino, f"has a negative size, {size}; restore it from a copy")
        elif size and file_type != stat.S_IFREG:
            message = f"has size {size}, but is not a file, for which nothing is stored"
            self.find_at("size", ino, message, ("UPDATE inode SET size = 0 WHERE ino = ?", ino))
        if file_type == stat.S_IFLNK:
            length = len(target or b"")
            if not 0 < length <= TARGET_LENGTH_MAX or b"\0" in (target or b""):
                message = f"is a symlink whose target of {length} bytes cannot be one"
                self.find_at("target", ino, f"{message}; delete it, and make it again")
        elif target is not None:
            message = "has a symlink's target, but is none; restore it from a copy"
            self.find_at("target", ino, message)

    def _chunks(self, ino: int) -> Iterator[tuple[int, bytes, bytes]]:
        last = -(1 << 63)
        while rows := self.query(
            "SELECT number, runs, unwritten FROM chunk WHERE ino = ? AND number > ?"
            f" ORDER BY number LIMIT {BATCH}",
            ino,
            last,
        ):
            yield from rows
            last = rows[-1][0]

    def _add_map(self, ino: int, blocks: Blocks) -> int:
        """Put the blocks of an inode into a set; return how many its map has."""
        total = 0
        for number, runs, unwritten in self._chunks(ino):
            chunk = decode_chunk(number, runs, unwritten)
            if isinstance(chunk, str):
                self._find_in_map(ino, "map", f"cannot be read: {chunk}")
                continue
            for first, count in zip(chunk.physicals, chunk.counts, strict=True):
                total += count
                if first + count > self.block_count:
                    message = f"has blocks {first}-{first + count - 1}, but the image ends at"
                    self._find_in_map(ino, "outside", f"{message} {self.block_count - 1}")
                inside = min(count, self.block_count - first)
                if inside > 0 and blocks.add(first, inside) and blocks is self.live:
                    self.shared.add(first, inside)
            self._check_unwritten(ino, number, chunk)
        return total

    def _find_in_map(self, ino: int, kind: str, message: str) -> None:
        """A fault of a map that cannot be repaired; of what is deleted anyway, it is none."""
        if ino not in self.doomed_inos:
            self.maps_damaged.add(ino)
            self.find(kind, ino, f"the map of {self.where(ino)} {message}; restore it from a copy")

    def _check_unwritten(self, ino: int, number: int, chunk: Chunk) -> None:
        allocated = bitarray(CHUNK_BLOCKS)
        for start, count in zip(chunk.starts, chunk.counts, strict=True):
            allocated[start : start + count] = 1
        if (wrong := (chunk.blocks_unwritten & ~allocated).count()) and ino not in self.doomed_inos:
            bits = (chunk.blocks_unwritten & allocated).tobytes()
            message = f"the map of {self.where(ino)} has {wrong} unwritten blocks that are holes"
            fix = "UPDATE chunk SET unwritten = ? WHERE ino = ? AND number = ?"
            self.find("unwritten", ino, message, (fix, bits, ino, number))

    def _check_strays(self) -> None:
        """Maps and xattrs of inodes that are not there: kept only if a name leads to them."""
        for table in ("chunk", "xattr"):
            for ino, named in self.query(
                f"SELECT DISTINCT ino, ino IN (SELECT ino FROM dentry) FROM {table}"
                " WHERE ino NOT IN (SELECT ino FROM inode)"
            ):
                if ino in self.doomed_inos:
                    continue
                if not named:
                    self.doomed_inos[ino] = f"inode {ino} is gone, but its {table} rows are not"
                if table == "chunk":
                    self._add_map(ino, self.live if named else self.doomed)

    def _check_shared(self) -> None:
        """Which inodes have the blocks that were met twice."""
        if not self.shared.groups:
            return
        runs: list[tuple[int, int, int]] = []
        for (ino,) in self.query("SELECT DISTINCT ino FROM chunk ORDER BY ino"):
            for number, *stored in self._chunks(ino) if ino not in self.doomed_inos else ():
                chunk = decode_chunk(number, *stored)
                if not isinstance(chunk, str):
                    pairs = zip(chunk.physicals, chunk.counts, strict=True)
                    runs += [(p, p + n, ino) for p, n in pairs if self.shared.touches(p, n)]
        told = set()
        end, owner = 0, 0
        for start, stop, ino in sorted(runs):
            if start < end and (pair := (min(owner, ino), max(owner, ino))) not in told:
                told.add(pair)
                whose = " and ".join(self.where(each) for each in pair)
                message = f"blocks {start}-{min(stop, end) - 1} belong to {whose}"
                self.find("shared", pair[1], f"{message}; copy both, delete both, check again")
            if stop > end:
                end, owner = stop, ino

    def _check_groups(self) -> list[Statement]:
        """Free space against use; returns what writes the groups that only orphans change."""
        stored = {number for (number,) in self.query("SELECT number FROM space_group")}
        group_end = -(-self.block_count // GROUP_BLOCKS)
        others: list[Statement] = []
        for number in sorted(stored | set(self.live.groups) | set(self.doomed.groups)):
            if not 0 <= number < group_end:
                fix = ("DELETE FROM space_group WHERE number = ?", number)
                self.find("group", None, f"allocation group {number} is outside the image", fix)
                continue
            live, doomed = self.live.group(number).copy(), self.doomed.group(number)
            live[0] |= number == 0
            used = load_group(self.metadata, self.block_count, number)
            right = live if used is None or not self.maps_damaged else live | (used & ~doomed)
            write = ("INSERT OR REPLACE INTO space_group VALUES (?, ?)", number, right.tobytes())
            can_free = not self.maps_damaged  # (K2)
            if used is None:
                message = f"the bitmap of allocation group {number} is damaged"
                self.find("group", None, message, *([write] if can_free else []))
                continue
            stolen, leaked = live & ~used, used & ~live & ~doomed
            if stolen.any():
                message = f"{listed(stolen, number)} are in use, but marked free"
                self.find("stolen", None, message, write)
            if leaked.any():
                message = f"{listed(leaked, number)} are marked used, but belong to no file"
                if not can_free:
                    message += "; they stay so, as a map that is damaged may have had them"
                self.find("leaked", None, message, *([write] if can_free else []))
            if used != right:
                others.append(write)
        return others
