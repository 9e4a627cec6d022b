"""Sizes that hold for a whole mount, and the arithmetic between them.

Units: pos and length are bytes in a file; a block index counts blocks of a file; a page
index counts pages of a file.  Ends are exclusive.
Invariants:
    (G1) sector <= block_size <= page_size, all powers of two.
"""

from dataclasses import dataclass, field
from typing import NewType

BlockIndex = NewType("BlockIndex", int)
"""A block of a file: pos // block_size."""

PageIndex = NewType("PageIndex", int)
"""A page of a file: pos // page_size."""

PhysicalBlock = NewType("PhysicalBlock", int)
"""A block of the image: addr // block_size.  Block 0 is the superblock, so 0 is no block."""

SECTOR_SIZE = 512
"""Bytes; the alignment that O_DIRECT asks of offset and length."""

PAGE_SIZE_MAX = 1 << 20

FILE_SIZE_MAX = (1 << 63) - 1
"""Bytes; MAX_LFS_FILESIZE of a 64-bit Linux."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Block and page size in bytes; they are independent of the machine's own.

    page_mask is all blocks of a page, as a bitmap.
    """

    block_size: int = 1024
    page_size: int = 4096
    blocks_per_page: int = field(init=False)
    page_mask: int = field(init=False)

    def __post_init__(self) -> None:
        for size in (self.block_size, self.page_size):
            if size & (size - 1) or not SECTOR_SIZE <= size <= PAGE_SIZE_MAX:
                raise ValueError(
                    f"{size} is not a power of two from {SECTOR_SIZE} to {PAGE_SIZE_MAX}"
                )
        if self.block_size > self.page_size:
            raise ValueError(
                f"block_size {self.block_size} is larger than page_size {self.page_size}"
            )
        blocks_per_page = self.page_size // self.block_size
        object.__setattr__(self, "blocks_per_page", blocks_per_page)
        object.__setattr__(self, "page_mask", (1 << blocks_per_page) - 1)

    def block_range(self, pos: int, length: int) -> tuple[int, int]:
        """The blocks that hold at least one byte of the range: (first, end)."""
        size = self.block_size
        return pos // size, -(-(pos + length) // size)

    def page_range(self, pos: int, length: int) -> tuple[int, int]:
        """The pages that hold at least one byte of the range: (first, end)."""
        size = self.page_size
        return pos // size, -(-(pos + length) // size)

    def block_bits(self, start: int, end: int) -> int:
        """The bitmap of the blocks touched by bytes start to end of one page."""
        size = self.block_size
        return (1 << -(-end // size)) - (1 << start // size)
