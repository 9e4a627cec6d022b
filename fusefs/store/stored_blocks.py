"""Block maps and free space in the metadata: read when they are looked at, saved by a commit.

    InodeMap        the chunks of one file's map
    save_map()      those that changed
    load_space()    what a mount needs of the free space, however large the image
    save_space()    the allocation groups that changed

Units: numbers are those of chunks and groups; blocks are the image's.
Errors: MetadataError from load_space(), one line for the person who mounts; FsError(EIO)
from everything else.
"""

from operator import add

from bitarray import bitarray

from fusefs.model.chunk import Chunk
from fusefs.model.extents import ChunkCache, ExtentMap
from fusefs.model.space import Space, decode_group
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import CONTENT_ERRORS, damaged


class InodeMap:
    """The stored chunks of one inode: a StoredMap."""

    __slots__ = ("cache", "ino", "metadata")

    def __init__(self, metadata: Metadata, ino: int, cache: ChunkCache) -> None:
        self.metadata = metadata
        self.ino = ino
        self.cache = cache

    def load(self, number: int) -> Chunk | None:
        rows = self.metadata.query(
            "SELECT runs, unwritten FROM chunk WHERE ino = ? AND number = ?", self.ino, number
        )
        if not rows:
            return None
        try:
            chunk = Chunk.decode(number, *rows[0])
            check_blocks(chunk, self.metadata.block_count)
        except CONTENT_ERRORS as error:
            raise self.metadata.damaged(f"the map of inode {self.ino}") from error
        return chunk

    def first_stored(self, number: int) -> int | None:
        [[found]] = self.metadata.query(
            "SELECT min(number) FROM chunk WHERE ino = ? AND number >= ?", self.ino, number
        )
        return self._number(found)

    def last_stored(self, end: int) -> int | None:
        [[found]] = self.metadata.query(
            "SELECT max(number) FROM chunk WHERE ino = ? AND number < ?", self.ino, end
        )
        return self._number(found)

    def _number(self, found: object) -> int | None:
        if not isinstance(found, int | None):
            raise self.metadata.damaged(f"the map of inode {self.ino}")
        return found


def check_blocks(chunk: Chunk, block_count: int) -> None:
    """ValueError if a chunk has a block that is not in the image."""
    end = max(map(add, chunk.physicals, chunk.counts), default=0)
    if end > block_count:
        raise ValueError(f"a map has block {end - 1}, but the image ends at {block_count - 1}")


def save_map(metadata: Metadata, ino: int, extents: ExtentMap) -> None:
    """Store the chunks that changed, and forget those that became holes."""
    for number in sorted(extents.chunks_dirty):
        encoded = extents.encode(number)
        if encoded is None:
            metadata.change("DELETE FROM chunk WHERE ino = ? AND number = ?", ino, number)
        else:
            metadata.change(
                "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?)", ino, number, *encoded
            )
    extents.chunks_dirty.clear()


# -- free space ------------------------------------------------------------------------

HOST_PAGE_SIZE = 4096
"""Bytes; of the page cache that the image is in.  A larger one only costs time."""


def load_space(metadata: Metadata) -> Space:
    """The free space as the last commit left it; its groups are read when they are needed."""

    def load_group(number: int) -> bitarray | None:
        rows = metadata.query("SELECT used FROM space_group WHERE number = ?", number)
        try:
            return decode_group(number, rows[0][0], metadata.block_count) if rows else None
        except CONTENT_ERRORS as error:
            raise metadata.damaged(f"allocation group {number}") from error

    alignment_blocks = max(1, HOST_PAGE_SIZE // metadata.block_size)
    space = Space(metadata.block_count, load_group, alignment_blocks)
    try:
        [[free_count]] = metadata.query("SELECT value FROM meta WHERE key = 'free_count'")
        if not isinstance(free_count, int) or not 0 <= free_count < metadata.block_count:
            raise ValueError(f"free_count {free_count}")
        space.free_count = free_count
        for row, full in metadata.query("SELECT number, used FROM space_full"):
            space.decode_full(row, full)
    except CONTENT_ERRORS as error:
        raise damaged(metadata.path, error) from error
    return space


def save_space(metadata: Metadata, space: Space) -> None:
    """Store what changed, after space.begin_commit() and before metadata.commit()."""
    for number in sorted(space.groups_dirty):
        metadata.change(
            "INSERT OR REPLACE INTO space_group VALUES (?, ?)", number, space.encode(number)
        )
    for row in sorted(space.rows_dirty):
        metadata.change(
            "INSERT OR REPLACE INTO space_full VALUES (?, ?)", row, space.encode_full(row)
        )
    if space.groups_dirty:
        metadata.change(
            "UPDATE meta SET value = ? WHERE key = 'free_count'", space.free_count_stored
        )
    space.groups_dirty.clear()
    space.rows_dirty.clear()
