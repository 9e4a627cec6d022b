"""Blocks as fsck sees them: sets of them, and the stored maps and groups that make them up.

Units: blocks are the image's, chunk and group numbers those of the metadata.
Errors: FsError(EIO) from the metadata; what is stored wrongly is returned, not raised.
"""

from collections.abc import Iterator

from bitarray import bitarray

from fusefs.model.chunk import CHUNK_END, Chunk
from fusefs.model.space import GROUP_BLOCKS, decode_group
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import CONTENT_ERRORS


class Blocks:
    """A set of blocks of the image: bitmaps of the groups in use, as Space has them."""

    def __init__(self) -> None:
        self.groups: dict[int, bitarray] = {}

    def add(self, first: int, count: int) -> bool:
        """Returns whether one of them was in it already."""
        touched = False
        for number, start, stop in group_ranges(first, count):
            bits = self.group(number)
            touched |= bits.find(1, start, stop) >= 0
            bits[start:stop] = 1
            self.groups[number] = bits
        return touched

    def touches(self, first: int, count: int) -> bool:
        ranges = group_ranges(first, count)
        return any(self.group(number).find(1, start, stop) >= 0 for number, start, stop in ranges)

    def group(self, number: int) -> bitarray:
        found = self.groups.get(number)
        return bitarray(GROUP_BLOCKS) if found is None else found


def group_ranges(first: int, count: int) -> Iterator[tuple[int, int, int]]:
    end = first + count
    while first < end:
        number, start = divmod(first, GROUP_BLOCKS)
        stop = min(start + end - first, GROUP_BLOCKS)
        yield number, start, stop
        first += stop - start


def listed(bits: bitarray, number: int) -> str:
    """The set bits of a group as '3 blocks (10-11, 20)'."""
    base, start = number * GROUP_BLOCKS, bits.find(1)
    runs: list[str] = []
    while start >= 0 and len(runs) < 4:
        end = bits.find(0, start)
        end = len(bits) if end < 0 else end
        runs.append(f"{base + start}-{base + end - 1}" if end - start > 1 else f"{base + start}")
        start = bits.find(1, end)
    return f"{bits.count()} blocks ({', '.join(runs)}{', ...' if start >= 0 else ''})"


def decode_chunk(number: int, runs: bytes, unwritten: bytes) -> Chunk | str:
    """A stored chunk, or what is wrong with it."""
    if not 0 <= number < CHUNK_END:
        return f"chunk {number} is beyond the largest file"
    try:
        return Chunk.decode(number, runs, unwritten)
    except CONTENT_ERRORS as error:
        return str(error)


def load_group(metadata: Metadata, block_count: int, number: int) -> bitarray | None:
    """The stored bitmap of a group, empty if there is none; None if it is damaged."""
    bits = bitarray(GROUP_BLOCKS)
    for (used,) in metadata.query("SELECT used FROM space_group WHERE number = ?", number):
        try:
            bits = decode_group(number, used, block_count)
        except CONTENT_ERRORS:
            return None
    bits[0] |= number == 0
    return bits
