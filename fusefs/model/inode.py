"""A file's data side: size, map, cached pages and locks.  Names and attributes are not here."""

from dataclasses import dataclass, field
from typing import NamedTuple

from fusefs.model.errseq import START, Position
from fusefs.model.extents import ExtentMap
from fusefs.model.footprint import DIO, DISK_SIZE, SIZE, key
from fusefs.model.locks import RwLock
from fusefs.model.page_cache import AddressSpace
from fusefs.model.readahead import ReadaheadState
from fusefs.model.steps import Waiter, current, wait


class Tail(NamedTuple):
    """From where on a page of the kernel counts no more, and which growth said so last."""

    start: int
    growth: int


class Inode:
    """What the model knows of one regular file: the data part of struct inode.

    size        i_size, in bytes: what reads and stat(2) see
    disk_size   the size that a commit may record: bytes below it are on the image or
                read as zeros (XFS: i_disk_size).  Never above size for long, and raised
                only when the data is written, so that a crash leaves a shorter file
                rather than one that ends in zeros
    lock        i_rwsem (XFS: IOLOCK): docs/design.md has the table of who takes it how
    kernel_page what the kernel's own page cache has pages of, in bytes, if it may hold some of
                this file for mappings and splice; else 0
    kernel_tails where in such a page what the kernel holds counts no more, by the page's number:
                it was stored behind the end of the file, which has grown since.  An entry
                goes when that page is gone, which whoever sets kernel_page knows
    extents     block map
    mapping     struct address_space: the cached pages and invalidate_lock
    dio_count   i_dio_count: asynchronous direct I/O under way.  Synchronous requests hold lock to
                their end, and whoever waits for them has it exclusive, so they are not counted
    changed     disk_size, map or bytes on the image are newer than what the last commit saved.  Not
                a plain flag: to set it has the inode saved by the next commit

    Whoever saves inodes passes one dictionary to all of them: an inode enters itself there
    when changed is set, by whatever request, so that no commit can overlook it.
    """

    __slots__ = (
        "_changed",
        "_dio_waiters",
        "_disk_size",
        "_inodes_changed",
        "_size",
        "dio_count",
        "extents",
        "growth_count",
        "ino",
        "kernel_page",
        "kernel_tails",
        "lock",
        "mapping",
    )

    def __init__(
        self,
        ino: int,
        size: int = 0,
        extents: ExtentMap | None = None,
        inodes_changed: "dict[int, Inode] | None" = None,
    ) -> None:
        self.ino = ino
        self._size = size
        self._disk_size = size
        self.extents = extents if extents is not None else ExtentMap()
        self.extents.ino = ino
        self.mapping = AddressSpace(ino)
        self.lock = RwLock("inode", ino)
        self.kernel_page = 0
        self.kernel_tails: dict[int, Tail] = {}
        self.growth_count = 0
        self.dio_count = 0
        self._dio_waiters: list[Waiter] | None = None
        self._changed = False
        self._inodes_changed = {} if inodes_changed is None else inodes_changed

    @property
    def size(self) -> int:
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(SIZE, self.ino))
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.write(key(SIZE, self.ino))
        self._size = size

    @property
    def disk_size(self) -> int:
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(DISK_SIZE, self.ino))
        return self._disk_size

    @disk_size.setter
    def disk_size(self, size: int) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.write(key(DISK_SIZE, self.ino))
        self._disk_size = size

    @property
    def changed(self) -> bool:
        return self._changed

    @changed.setter
    def changed(self, changed: bool) -> None:
        self._changed = changed
        if changed:
            self._inodes_changed[self.ino] = self

    def dio_begin(self) -> None:
        """inode_dio_begin()."""
        footprint = current.footprint
        if footprint is not None:
            footprint.add(key(DIO, self.ino))
        self.dio_count += 1

    def dio_end(self) -> None:
        """inode_dio_end()."""
        assert self.dio_count > 0, "end of direct I/O that was not begun"
        footprint = current.footprint
        if footprint is not None:
            footprint.write(key(DIO, self.ino))
        self.dio_count -= 1
        if not self.dio_count and self._dio_waiters is not None:
            waiters, self._dio_waiters = self._dio_waiters, None
            for waiter in waiters:
                waiter.wake()

    @property
    def dio_under_way(self) -> bool:
        """Whoever sees it, with lock held exclusive, has to wait."""
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(DIO, self.ino))
        return self.dio_count > 0

    async def dio_wait(self) -> None:
        """Until no asynchronous direct I/O is under way: inode_dio_wait().

        The caller holds lock exclusive, so that none begins meanwhile.
        """
        while self.dio_under_way:
            waiter = Waiter()
            if self._dio_waiters is None:
                self._dio_waiters = []
            self._dio_waiters.append(waiter)
            await wait("lock.dio", waiter)

    def grow_to(self, size: int) -> None:
        """Raise i_size, if it is below.

        What was stored through a mapping behind the old end, in its page, must not come back.
        """
        if size <= self.size:
            return
        if self.kernel_page and self.size % self.kernel_page:
            page = self.size // self.kernel_page
            start = self.kernel_tails[page].start if page in self.kernel_tails else self.size
            self.growth_count += 1
            self.kernel_tails[page] = Tail(start, self.growth_count)
        self.size = size

    def counted(self, pos: int, end: int) -> list[tuple[int, int]]:
        """What counts of a range that the kernel writes back from its own pages, in pieces.

        Nothing behind i_size: a mapped store does not extend a file.
        """
        end = min(end, self.size)
        pieces = []
        for page in sorted(self.kernel_tails):
            start, stop = self.kernel_tails[page].start, (page + 1) * self.kernel_page
            if pos < stop and start < end:
                if pos < start:
                    pieces.append((pos, start))
                pos = stop
        if pos < end:
            pieces.append((pos, end))
        return pieces

    def written_to(self, end: int) -> None:
        """Bytes up to end are on the image: a commit may record a size up to there."""
        end = min(end, self.size)
        if end > self.disk_size:
            self.disk_size = end
            self.changed = True


class Append:
    """O_APPEND: a write begins where the file ends once nobody else can change that.

    pos is where that was; -1 until it is known.
    """

    __slots__ = ("pos",)

    def __init__(self) -> None:
        self.pos = -1


@dataclass(slots=True)
class OpenFile:
    """One open of a file: struct file.

    error_seen is where this open file stands in mapping.errors: f_wb_err.
    """

    inode: Inode
    readahead: ReadaheadState = field(default_factory=ReadaheadState)
    error_seen: Position = START

    @classmethod
    def opened(cls, inode: Inode) -> "OpenFile":
        """As open(2) leaves it: errors that somebody has reported already are not its own."""
        return cls(inode, error_seen=inode.mapping.errors.sample())
