"""What is stored twice, so that a mount need not add it up: counts, and which groups are full.

Units: blocks are the image's.
Errors: FsError(EIO) from the metadata.
"""

from collections.abc import Iterator

from bitarray import bitarray

from fusefs.model.space import GROUP_BLOCKS, decode_group
from fusefs.store.fsck.names import Statement
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import CONTENT_ERRORS

BATCH = 256
"""Groups in memory at once."""


def wrong_sums(metadata: Metadata, block_count: int) -> Iterator[tuple[str, Statement]]:
    """What is wrong with each, and the statement that puts it right."""
    [[inode_count]] = metadata.query("SELECT count(*) FROM inode")
    used_count, rows = _used(metadata, block_count)
    for key, right in (
        ("inode_count", inode_count),
        ("free_count", max(block_count - 1 - used_count, 0)),
    ):
        stored = [value for (value,) in metadata.query("SELECT value FROM meta WHERE key = ?", key)]
        if stored != [right]:
            message = f"{key} is {stored[0] if stored else 'missing'}, but {right} is right"
            yield message, ("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, right)
    found = dict(metadata.query("SELECT number, used FROM space_full"))
    for row in sorted(found.keys() | rows.keys()):
        if not 0 <= row * GROUP_BLOCKS * GROUP_BLOCKS < block_count:
            fix: Statement = ("DELETE FROM space_full WHERE number = ?", row)
            yield f"row {row} of the full allocation groups is outside the image", fix
            continue
        right_bits = rows.get(row, bitarray(GROUP_BLOCKS)).tobytes()
        if found.get(row, bytes(len(right_bits))) != right_bits:
            fix = ("INSERT OR REPLACE INTO space_full VALUES (?, ?)", row, right_bits)
            yield f"row {row} of the full allocation groups does not say which are full", fix


def _used(metadata: Metadata, block_count: int) -> tuple[int, dict[int, bitarray]]:
    """How many blocks the stored groups say are used, and the rows of those that are full."""
    count, rows, last = 0, dict[int, bitarray](), -1
    while batch := metadata.query(
        f"SELECT number, used FROM space_group WHERE number > ? ORDER BY number LIMIT {BATCH}",
        last,
    ):
        for number, used in batch:
            try:
                bits = decode_group(number, used, block_count)
            except CONTENT_ERRORS:
                continue  # found elsewhere
            bits[0] &= number > 0  # the superblock is no data block
            count += bits.count()
            bits[0] |= number == 0
            if bits.count() == min(GROUP_BLOCKS, block_count - number * GROUP_BLOCKS):
                row, bit = divmod(number, GROUP_BLOCKS)
                rows.setdefault(row, bitarray(GROUP_BLOCKS))[bit] = 1
        last = batch[-1][0]
    return count, rows
