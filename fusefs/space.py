"""Which blocks of the image are free: allocation groups, reservations, and frees to come.

The image is divided into groups of GROUP_BLOCKS blocks with one bitmap each, so that
memory and commit cost follow the groups in use.  A freed block waits in `freed` until the
commit that records the free is on the disk: handed out sooner, its new bytes could be
read through the old map after a crash.

    allocate() ──> used          free() ──> freed ──begin_commit()──> committing
                                                    ──end_commit()──> unused again

Units: blocks of the image.
Errors: FsError(ENOSPC).
Invariants:
    (S1) reserved + used blocks never exceed the image;
    (S2) a block is handed out again only after end_commit() of the commit that freed it.
"""

import errno
from collections.abc import Iterable

from bitarray import bitarray

from fusefs.errors import FsError
from fusefs.geometry import PhysicalBlock

GROUP_BLOCKS = 32768
GROUP_BYTES = GROUP_BLOCKS // 8


class Space:
    """The free space of one image of block_count blocks; block 0 is the superblock.

    returned_count is how many blocks commits have made free since the mount.
    """

    def __init__(self, block_count: int) -> None:
        self.block_count = block_count
        self.groups_used: dict[int, bitarray] = {}
        self.groups_dirty: set[int] = set()
        self.free_count = block_count - 1
        self.reserved_count = 0
        self.freed: list[tuple[int, int]] = []
        self.committing: list[tuple[int, int]] = []
        self.returned_count = 0
        self._cursor = 1

    @property
    def available_count(self) -> int:
        """Blocks that a new write may still have: free and not promised."""
        return self.free_count - self.reserved_count

    @property
    def freed_count(self) -> int:
        """Blocks that a commit makes free."""
        return sum(count for _, count in self.freed + self.committing)

    def reserve(self, count: int) -> None:
        """Promise count blocks to a delayed allocation; FsError(ENOSPC) if they are not there."""
        if count > self.available_count:
            raise FsError(errno.ENOSPC)
        self.reserved_count += count

    def unreserve(self, count: int) -> None:
        assert count <= self.reserved_count, "(S1) more unreserved than reserved"
        self.reserved_count -= count

    def allocate(
        self, count: int, goal: int = 0, *, reserved: bool = False
    ) -> tuple[PhysicalBlock, int]:
        """Take up to count contiguous blocks, at goal if they are free there.

        Returns the first block and how many there are.  reserved takes them from an
        earlier promise.  FsError(ENOSPC) if there is none.
        """
        limit = self.reserved_count if reserved else self.available_count
        if limit <= 0 or self.free_count <= 0:
            raise FsError(errno.ENOSPC)
        count = min(count, limit)
        start = goal if 0 < goal < self.block_count and not self._used(goal) else self._cursor
        first = self._find_free(start)
        number, offset = divmod(first, GROUP_BLOCKS)
        bits = self._group(number)
        stop = min(offset + count, GROUP_BLOCKS, self.block_count - number * GROUP_BLOCKS)
        used = bits.find(1, offset, stop)
        end = stop if used < 0 else used
        bits[offset:end] = 1
        self.groups_dirty.add(number)
        taken = end - offset
        self.free_count -= taken
        if reserved:
            self.reserved_count -= taken
        self._cursor = first + taken if first + taken < self.block_count else 1
        return PhysicalBlock(first), taken

    def free(self, runs: Iterable[tuple[int, int]]) -> None:
        """Give runs (physical, count) back; they are free after the next commit (S2)."""
        self.freed.extend(runs)

    def begin_commit(self) -> None:
        """What was freed until now is part of the commit that starts here."""
        self.committing += self.freed
        self.freed = []
        for first, count in self.committing:
            self.groups_dirty.update(
                range(first // GROUP_BLOCKS, (first + count - 1) // GROUP_BLOCKS + 1)
            )

    def encode(self, number: int) -> bytes:
        """A group as stored by the commit under way: used, less what the commit frees."""
        bits = self._group(number).copy()
        self._mark(self.committing, {number: bits}, 0)
        return bits.tobytes()

    def end_commit(self) -> list[tuple[int, int]]:
        """The commit is on the disk: its freed runs may be used, and are returned."""
        runs, self.committing = self.committing, []
        self._mark(runs, self.groups_used, 0)
        count = sum(count for _, count in runs)
        self.free_count += count
        self.returned_count += count
        return runs

    def decode(self, number: int, used: bytes) -> None:
        """Take a stored group into memory; ValueError if it cannot be one."""
        bits = bitarray(buffer=bytearray(used))
        size = min(GROUP_BLOCKS, self.block_count - number * GROUP_BLOCKS)
        if len(bits) != GROUP_BLOCKS or size <= 0 or bits.find(1, size) >= 0:
            raise ValueError(f"allocation group {number} is damaged")
        if number == 0:
            bits[0] = 0  # the superblock is no data block, and was never counted as free
        self.free_count -= bits.count()
        if number == 0:
            bits[0] = 1
        self.groups_used[number] = bits

    def _used(self, block: int) -> bool:
        bits = self.groups_used.get(block // GROUP_BLOCKS)
        return bits is not None and bool(bits[block % GROUP_BLOCKS])

    def _group(self, number: int) -> bitarray:
        bits = self.groups_used.get(number)
        if bits is None:
            bits = self.groups_used[number] = bitarray(GROUP_BLOCKS)
            if number == 0:
                bits[0] = 1
        return bits

    def _find_free(self, start: int) -> int:
        """The first free block from start on, round the end of the image."""
        first_group = start // GROUP_BLOCKS
        group_count = -(-self.block_count // GROUP_BLOCKS)
        for step in range(group_count + 1):
            number = (first_group + step) % group_count
            offset = start % GROUP_BLOCKS if step == 0 else 0
            stop = min(GROUP_BLOCKS, self.block_count - number * GROUP_BLOCKS)
            found = self._group(number).find(0, offset, stop)
            if found >= 0:
                return number * GROUP_BLOCKS + found
        raise FsError(errno.ENOSPC)

    @staticmethod
    def _mark(runs: Iterable[tuple[int, int]], groups: dict[int, bitarray], value: int) -> None:
        for first, count in runs:
            end = first + count
            while first < end:
                number, offset = divmod(first, GROUP_BLOCKS)
                stop = min(offset + end - first, GROUP_BLOCKS)
                if number in groups:
                    groups[number][offset:stop] = value
                first += stop - offset
