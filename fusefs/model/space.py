"""Which blocks of the image are free: allocation groups, reservations, and frees to come.

The image is divided into groups of GROUP_BLOCKS blocks with one bitmap each, so that
commit cost follows the groups that change.  A group is read when it is first looked at,
and let go again once it is stored; of the others only one bit each is in memory, in
groups_full.  A freed block waits in `freed` until the commit that records the free is on
the disk: handed out sooner, its new bytes could be read through the old map after a crash.

    allocate() ──> used          free() ──> freed ──begin_commit()──> committing
                                                    ──end_commit()──> unused again

Units: blocks of the image.
Errors: FsError(ENOSPC); FsError(EIO) if a group cannot be read, with nothing changed.
Invariants:
    (S1) reserved + used blocks never exceed the image;
    (S2) a block is handed out again only after end_commit() of the commit that freed it;
    (S3) a group in memory alone, or of the commit under way, is not let go.
"""

import errno
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

from bitarray import bitarray

from fusefs.model.errors import FsError
from fusefs.model.footprint import SPACE, key
from fusefs.model.geometry import PhysicalBlock
from fusefs.model.steps import current

GROUP_BLOCKS = 32768
GROUP_BYTES = GROUP_BLOCKS // 8

GROUPS_MAX = 256
"""Groups in memory, 4 KiB each, before those that are stored are let go."""

LoadGroup = Callable[[int], bitarray | None]
"""Reads a stored group; None if nothing was ever allocated in it.  FsError(EIO)."""


class Space:
    """The free space of one image of block_count blocks; block 0 is the superblock.

    groups_full has a bit for each group, set if no block of it is free.
    inactive_count is blocks of deleted files that commits to come will free.
    returned_count is how many blocks commits have made free since the mount.
    alignment_blocks is a page of the image's host: a run that fills one begins where one does,
    if there is room, so that overwriting a page of a file touches one page of the host.
    """

    def __init__(
        self,
        block_count: int,
        load_group: LoadGroup = lambda number: None,
        alignment_blocks: int = 1,
    ) -> None:
        self.block_count = block_count
        self.alignment_blocks = alignment_blocks
        self.groups: dict[int, bitarray] = {}
        self.groups_dirty: set[int] = set()
        self.groups_committing: set[int] = set()
        self.groups_full = bitarray(-(-block_count // GROUP_BLOCKS))
        self.rows_dirty: set[int] = set()
        self.free_count = block_count - 1
        self.reserved_count = 0
        self.inactive_count = 0
        self.freed: list[tuple[int, int]] = []
        self.committing: list[tuple[int, int]] = []
        self.returned_count = 0
        self._load_group = load_group
        self._cursor = 1

    @property
    def available_count(self) -> int:
        """Blocks that a new write may still have: free and not promised."""
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(SPACE))
        return self.free_count - self.reserved_count

    @property
    def freed_count(self) -> int:
        """Blocks that a commit makes free."""
        return sum(count for _, count in self.freed + self.committing)

    def reserve(self, count: int) -> None:
        """Promise count blocks to a delayed allocation; FsError(ENOSPC) if they are not there."""
        _note_change()
        if count > self.available_count:
            raise FsError(errno.ENOSPC)
        self.reserved_count += count

    def unreserve(self, count: int) -> None:
        if count:
            _note_change()
        assert count <= self.reserved_count, "(S1) more unreserved than reserved"
        self.reserved_count -= count

    def allocate(
        self, count: int, goal: int = 0, *, reserved: bool = False
    ) -> tuple[PhysicalBlock, int]:
        """Take up to count contiguous blocks, at goal if they are free there.

        Returns the first block and how many there are.  reserved takes them from an
        earlier promise.  FsError(ENOSPC) if there is none.
        """
        _note_change()
        limit = self.reserved_count if reserved else self.available_count
        if limit <= 0 or self.free_count <= 0:
            raise FsError(errno.ENOSPC)
        count = min(count, limit)
        start = goal if 0 < goal < self.block_count and not self._used(goal) else self._cursor
        first = self._find_free(start)
        number, offset = divmod(first, GROUP_BLOCKS)
        bits = self._group(number)
        if first != goal and count >= self.alignment_blocks:
            aligned = offset + -offset % self.alignment_blocks
            if aligned < self._size(number) and not bits[aligned]:
                first, offset = number * GROUP_BLOCKS + aligned, aligned
        stop = min(offset + count, self._size(number))
        used = bits.find(1, offset, stop)
        end = stop if used < 0 else used
        bits[offset:end] = 1
        self.groups_dirty.add(number)
        if bits.find(0, 0, self._size(number)) < 0:
            self._set_full(number)
        taken = end - offset
        self.free_count -= taken
        if reserved:
            self.reserved_count -= taken
        self._cursor = first + taken if first + taken < self.block_count else 1
        return PhysicalBlock(first), taken

    def free(self, runs: Sequence[tuple[int, int]]) -> None:
        """Give runs (physical, count) back; they are free after the next commit (S2)."""
        if runs:
            _note_change()
        self.freed.extend(runs)

    # -- the commit --------------------------------------------------------------------

    def begin_commit(self) -> None:
        """What was freed until now is part of the commit that starts here.

        Neighbours become one run, as whoever marks them, or punches them out of the image,
        takes time for each run: of a file in many pieces most lie side by side.
        """
        _note_change()
        self.committing = _merged(self.committing + self.freed)
        self.freed = []
        for first, count in self.committing:
            self.groups_committing.update(
                range(first // GROUP_BLOCKS, (first + count - 1) // GROUP_BLOCKS + 1)
            )
        self.groups_dirty |= self.groups_committing
        self.rows_dirty.update(n // GROUP_BLOCKS for n in self.groups_committing)

    def encode(self, number: int) -> bytes:
        """A group as stored by the commit under way: used, less what the commit frees."""
        bits = self._group(number).copy()
        if number in self.groups_committing:
            mark_free(self._committing_in(number), {number: bits})
        return bits.tobytes()

    def _committing_in(self, number: int) -> list[tuple[int, int]]:
        """The runs of the commit under way that lie in a group, at least in part."""
        first = bisect_right(self.committing, (number * GROUP_BLOCKS, 0))
        end = bisect_left(self.committing, ((number + 1) * GROUP_BLOCKS, 0))
        return self.committing[max(first - 1, 0) : end]

    def encode_full(self, row: int) -> bytes:
        """GROUP_BLOCKS bits of groups_full as stored by the commit under way."""
        first = row * GROUP_BLOCKS
        bits = bitarray(GROUP_BLOCKS)
        known = self.groups_full[first : first + GROUP_BLOCKS]
        bits[: len(known)] = known
        for number in self.groups_committing:
            if first <= number < first + GROUP_BLOCKS:
                bits[number - first] = 0
        return bits.tobytes()

    @property
    def free_count_stored(self) -> int:
        """Free blocks in the groups as stored by the commit under way."""
        return self.free_count + sum(count for _, count in self.committing)

    def end_commit(self) -> list[tuple[int, int]]:
        """The commit is on the disk: its freed runs may be used, and are returned."""
        _note_change()
        runs, self.committing = self.committing, []
        mark_free(runs, self.groups)
        for number in self.groups_committing:
            self.groups_full[number] = 0
        self.groups_committing = set()
        count = sum(count for _, count in runs)
        self.free_count += count
        self.returned_count += count
        return runs

    # -- groups ------------------------------------------------------------------------

    def decode_full(self, row: int, full: bytes) -> None:
        """Take stored bits of groups_full; ValueError if they cannot be right."""
        bits, first = bitarray(buffer=bytearray(full)), row * GROUP_BLOCKS
        count = min(GROUP_BLOCKS, len(self.groups_full) - first)
        if len(bits) != GROUP_BLOCKS or row < 0 or count <= 0 or bits.find(1, count) >= 0:
            raise ValueError(f"row {row} of the full allocation groups is damaged")
        self.groups_full[first : first + count] = bits[:count]

    def _used(self, block: int) -> bool:
        return bool(self._group(block // GROUP_BLOCKS)[block % GROUP_BLOCKS])

    def _size(self, number: int) -> int:
        return min(GROUP_BLOCKS, self.block_count - number * GROUP_BLOCKS)

    def _set_full(self, number: int) -> None:
        self.groups_full[number] = 1
        self.rows_dirty.add(number // GROUP_BLOCKS)

    def _group(self, number: int) -> bitarray:
        bits = self.groups.get(number)
        if bits is None:
            bits = self._load_group(number)
            if bits is None:
                bits = bitarray(GROUP_BLOCKS)
            bits[0] |= number == 0  # the superblock is no data block
            self.groups[number] = bits
            self._let_go()
        return bits

    def _let_go(self) -> None:
        """Forget the oldest stored group (S3); of many that must stay, look at a few each time."""
        for _ in range(min(len(self.groups) - GROUPS_MAX, 3)):
            number = next(iter(self.groups))
            bits = self.groups.pop(number)
            if number in self.groups_dirty or number in self.groups_committing:
                self.groups[number] = bits

    def _find_free(self, start: int) -> int:
        """The first free block from start on, round the end of the image."""
        number, offset = divmod(start, GROUP_BLOCKS)
        found = self._group(number).find(0, offset, self._size(number))
        while found < 0:
            following = self.groups_full.find(0, number + 1)
            number = following if following >= 0 else self.groups_full.find(0)
            if number < 0:
                raise FsError(errno.ENOSPC)
            found = self._group(number).find(0, 0, self._size(number))
            if found < 0:
                self._set_full(number)
        return number * GROUP_BLOCKS + found


def _note_change() -> None:
    footprint = current.footprint
    if footprint is not None:
        footprint.write(key(SPACE))


def decode_group(number: int, used: bytes, block_count: int) -> bitarray:
    """A group as stored; ValueError if it cannot be one of an image of block_count blocks."""
    bits = bitarray(buffer=bytearray(used))
    size = block_count - number * GROUP_BLOCKS
    if len(bits) != GROUP_BLOCKS or size <= 0 or bits.find(1, size) >= 0:
        raise ValueError(f"allocation group {number} is damaged")
    return bits


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Disjoint runs in ascending order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    start, end = 0, -1
    for first, count in sorted(runs):
        if first == end:
            merged.pop()
        else:
            start = first
        end = first + count
        merged.append((start, end - start))
    return merged


def mark_free(runs: Iterable[tuple[int, int]], groups: dict[int, bitarray]) -> None:
    """Mark runs as free in those of their groups that are given."""
    for first, count in runs:
        end = first + count
        while first < end:
            number, offset = divmod(first, GROUP_BLOCKS)
            stop = min(offset + end - first, GROUP_BLOCKS)
            if number in groups:
                groups[number][offset:stop] = 0
            first += stop - offset
