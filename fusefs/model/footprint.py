"""What a request touches of what all requests share, noted while it runs, if somebody asks.

A search asks, by setting current.footprint (steps.py); a mount never does, and pays one test of
an attribute.  Two pieces of code whose footprints do not conflict can be run in either order,
with the same state afterwards.

Each thing that is shared has a key:

    lock       a RwLock: who holds it, and who waits
    page       one page of a file: that it is there, its flags, its content, who waits for it
    pages      which pages of a file are there
    dirty      which pages of a file are dirty, or under writeback
    block      one block of a file's map
    map        the map of a file as a whole; "map read" is whether parts of it are being looked at
    size       i_size
    disk size  what of it a commit may record
    errors     failed writebacks that somebody is still to be told of
    dio        direct I/O of a file that is under way
    ended      that something has ended which somebody waits for: an asynchronous write, a task
    sector     one sector of the image
    image      the image as a whole
    space      which blocks of the image are free, and who may have them
    lru        in which order pages were used, and files became dirty
    commit     what is durable
    name       what names mean, and which files are open: of a search's own world

A test that fails is a read as well: that there is no such page, that nobody holds the lock.
What several may add to or take from, and nobody reads back, is noted by add(): how many hold a
lock shared, or that some page has come.

Not noted is what no outcome depends on: the counters, who a lock's owner is, and what a commit
will look for.  The state of a readahead belongs to an open file, and so to one task.

Invariants:
    (F1) two events that are both enabled, and whose footprints do not conflict, lead to the same
         state in either order;
    (F2) no event keeps another from happening: who is refused a lock queues for it.
"""

from typing import Final

LOCK: Final = 0
PAGE: Final = 1
PAGES: Final = 2
DIRTY: Final = 3
BLOCK: Final = 4
MAP: Final = 5
MAP_READ: Final = 6
SIZE: Final = 7
DISK_SIZE: Final = 8
ERRORS: Final = 9
DIO: Final = 10
ENDED: Final = 11
SECTOR: Final = 12
IMAGE: Final = 13
SPACE: Final = 14
LRU: Final = 15
COMMIT: Final = 16
NAME: Final = 17

KINDS: Final = (
    *("lock", "page", "pages", "dirty", "block", "map", "map read", "size", "disk size", "errors"),
    *("dio", "ended", "sector", "image", "space", "lru", "commit", "name"),
)
"""The kind of a key, by its number."""

SHARED: Final = "shared"
EXCLUSIVE: Final = "exclusive"
DEMOTED: Final = "demoted"
"""How a lock is asked for; the last one is from exclusive to shared."""

RANGE_MAX: Final = 256
"""Blocks of a map, or pages, that are noted one by one; of more, the whole."""


def key(kind: int, ino: int = 0, number: int = 0) -> int:
    """number is that of a page, block or sector; ino is 0 for what belongs to no file."""
    return (ino << 41) + (number << 5) + kind


def told(shared: int) -> str:
    """A key in words."""
    kind, ino, number = KINDS[shared & 31], shared >> 41, (shared >> 5) & ((1 << 36) - 1)
    return " ".join([kind, *([f"of {ino}"] if ino else []), *([str(number)] if number else [])])


class Footprint:
    """The keys that one event touched.

    watches_lru is false where the cache has room for all: then no outcome depends on LRU.
    locks are those that were asked for, in order, each with SHARED, EXCLUSIVE or DEMOTED: what the
    kernel's trace tells of them.  No conflict depends on it.
    """

    __slots__ = ("adds", "locks", "reads", "watches_lru", "writes")

    def __init__(self, *, watches_lru: bool = True) -> None:
        self.reads: set[int] = set()
        self.writes: set[int] = set()
        self.adds: set[int] = set()
        self.locks: list[tuple[int, str]] = []
        self.watches_lru = watches_lru

    def __reduce__(self) -> tuple[object, ...]:
        """For who searches elsewhere: what is compiled does not pickle by itself."""
        return _footprint, (self.reads, self.writes, self.adds, self.watches_lru)

    def read(self, shared: int) -> None:
        self.reads.add(shared)

    def write(self, shared: int) -> None:
        self.writes.add(shared)

    def add(self, shared: int) -> None:
        self.adds.add(shared)

    def lock(self, shared: int, mode: str) -> None:
        self.locks.append((shared, mode))

    def lru(self) -> None:
        """What is evicted, or written back first, may come to depend on this."""
        if self.watches_lru:
            self.writes.add(LRU)

    def read_pages(self, kind: int, ino: int, first: int, end: int) -> None:
        """Which pages of a range are there (PAGES), or are dirty or under writeback (DIRTY)."""
        if end - first > RANGE_MAX:
            self.reads.add(key(kind, ino))
        else:
            for index in range(first, end):
                self.reads.add(key(PAGE, ino, index))

    def read_map(self, ino: int, block: int, end: int) -> None:
        """How blocks are mapped, and with that, where a run of them ends."""
        if end - block > RANGE_MAX:
            self.reads.add(key(MAP, ino))
        else:
            self.adds.add(key(MAP_READ, ino))
            for number in range(block, end):
                self.reads.add(key(BLOCK, ino, number))

    def write_map(self, ino: int, block: int, end: int) -> None:
        if end - block > RANGE_MAX:
            self.writes.add(key(MAP, ino))
            self.writes.add(key(MAP_READ, ino))
        else:
            self.adds.add(key(MAP, ino))
            for number in range(block, end):
                self.writes.add(key(BLOCK, ino, number))

    def conflicts(self, other: "Footprint") -> bool:
        """Whether the order of the two may matter."""
        return not (
            self.writes.isdisjoint(other.writes)
            and self.writes.isdisjoint(other.reads)
            and self.writes.isdisjoint(other.adds)
            and self.reads.isdisjoint(other.writes)
            and self.reads.isdisjoint(other.adds)
            and self.adds.isdisjoint(other.writes)
            and self.adds.isdisjoint(other.reads)
        )


def _footprint(reads: set[int], writes: set[int], adds: set[int], watches_lru: bool) -> Footprint:
    footprint = Footprint(watches_lru=watches_lru)
    footprint.reads, footprint.writes, footprint.adds = reads, writes, adds
    return footprint
