"""The page cache: which pages of which file are in memory, and in what state.

A page belongs to one AddressSpace until it is removed; page.mapping is None from then on,
and whoever waited for it must look again.  A page is inserted locked, then its range is
mapped, then it is filled, then unlocked.  Mapping before inserting would let a fill that
began before an invalidation survive it.

Units: index is a page of the file; bitmaps have one bit for each block of the page, the
lowest for the first.
Errors: invalidate_range() returns EBUSY, it does not raise it; FsError from check_errors().
Invariants:
    (P1) blocks_dirty is a subset of blocks_uptodate;
    (P2) a page that is locked, dirty or under writeback is never evicted;
    (P3) invalidation waits for the page lock and for writeback, drops whole pages, and
         never drops dirty data.
"""

import errno
from collections import OrderedDict
from collections.abc import Callable

from fusefs.model.errors import FsError
from fusefs.model.errseq import ErrorSequence, Position
from fusefs.model.footprint import DIRTY, ERRORS, PAGE, PAGES, key
from fusefs.model.geometry import Geometry, PageIndex
from fusefs.model.locks import RwLock
from fusefs.model.steps import PageData, Waiter, current, wait

LRU_SCAN_MAX = 64
"""Pages looked at for one eviction, so that a cache full of dirty pages costs no scan."""


class Page:
    """struct folio with its iomap_folio_state, always of the mount's page size.

    owner is the request that locked it last, and writeback_owner the one that writes it back.
    error       a write of it failed, so it may hold what the image does not: PG_error
    compared    when whoever compares pages with the image did so last; see fusefs/check/
    Flags and data are looked at and changed by who has just found the page, or has locked it.
    """

    __slots__ = (
        *("blocks_dirty", "blocks_uptodate", "compared", "data", "error", "footprint_key", "index"),
        *("locked", "mapping", "owner", "readahead", "waiters", "writeback", "writeback_owner"),
    )

    def __init__(self, mapping: "AddressSpace", index: PageIndex, data: PageData) -> None:
        self.mapping: AddressSpace | None = mapping
        self.index = index
        self.footprint_key = key(PAGE, mapping.ino, index)
        self.data = data
        self.blocks_uptodate = 0
        self.blocks_dirty = 0
        self.locked = False
        self.writeback = False
        self.readahead = False
        self.error = False
        self.compared = 0
        self.owner = 0
        self.writeback_owner = 0
        self.waiters: list[Waiter] = []

    def note_change(self) -> None:
        """For footprints: what follows changes the page, or depends on all of it."""
        footprint = current.footprint
        if footprint is not None:
            footprint.write(self.footprint_key)

    async def lock(self) -> None:
        self.note_change()
        while self.locked:
            await self._wait("lock.page", self.owner)
            self.note_change()
        self.locked = True
        self.owner = current.number

    def try_lock(self) -> bool:
        """folio_trylock()."""
        self.note_change()
        if self.locked:
            return False
        self.locked = True
        self.owner = current.number
        return True

    async def wait_writeback(self) -> None:
        self.note_change()
        while self.writeback:
            await self._wait("lock.page.writeback", self.writeback_owner)
            self.note_change()

    def unlock(self) -> None:
        assert self.locked, "unlock of a page that is not locked"
        self.note_change()
        self.locked = False
        self._wake_all()

    def begin_writeback(self) -> None:
        assert self.mapping is not None, "writeback of a page outside the cache"
        self.writeback = True
        self.writeback_owner = current.number
        self.mapping.note_dirty(self)
        self.mapping.pages_writeback.add(self.index)

    def end_writeback(self) -> None:
        assert self.writeback, "end of a writeback that was not begun"
        self.writeback = False
        self.note_change()
        if self.mapping is not None:
            self.mapping.note_dirty(self)
            self.mapping.pages_writeback.discard(self.index)
        self._wake_all()

    async def _wait(self, name: str, owner: int) -> None:
        waiter = Waiter(owner)
        self.waiters.append(waiter)
        await wait(name, waiter)

    def _wake_all(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.wake()


class AddressSpace:
    """The cached pages of one file: struct address_space.

    lock             invalidate_lock: fills hold it shared, truncate and punch exclusive
    pages_dirty      indices of the pages with dirty blocks
    pages_writeback  indices of the pages under writeback
    errors           failed writebacks and invalidations, for fsync: wb_err
    error_waiting    errno of a failed writeback that nobody was told of, be it by fsync or by
                     another flush; 0 for none: AS_EIO and AS_ENOSPC

    pages is for find() and is_empty, and for who prints or checks what is there.
    """

    __slots__ = (
        *("error_waiting", "errors", "ino", "lock", "pages", "pages_dirty", "pages_writeback"),
    )

    def __init__(self, ino: int = 0) -> None:
        self.ino = ino
        self.pages: dict[int, Page] = {}
        self.pages_dirty: set[int] = set()
        self.pages_writeback: set[int] = set()
        self.lock = RwLock("mapping", ino, 1)
        self.errors = ErrorSequence()
        self.error_waiting = 0

    def find(self, index: int) -> Page | None:
        """The page at an index, if it is cached."""
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(PAGE, self.ino, index))
        return self.pages.get(index)

    @property
    def is_empty(self) -> bool:
        """No page of the file is cached: mapping->nrpages is 0."""
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(PAGES, self.ino))
        return not self.pages

    @property
    def is_clean(self) -> bool:
        """No page of the file is dirty."""
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(DIRTY, self.ino))
        return not self.pages_dirty

    def note_change(self, page: Page) -> None:
        """For footprints: a page comes or goes."""
        footprint = current.footprint
        if footprint is not None:
            footprint.write(page.footprint_key)
            footprint.add(key(PAGES, self.ino))

    def note_dirty(self, page: Page) -> None:
        """For footprints: a page begins or ends to be dirty or under writeback."""
        footprint = current.footprint
        if footprint is not None:
            footprint.write(page.footprint_key)
            footprint.add(key(DIRTY, self.ino))

    def note_errors(self) -> None:
        """For footprints: an error is added, or told."""
        footprint = current.footprint
        if footprint is not None:
            footprint.write(key(ERRORS, self.ino))

    def set_error(self, error: int) -> None:
        """A writeback failed; fsync reports it to each open file: mapping_set_error()."""
        self.note_errors()
        self.errors.set(error)
        if self.error_waiting != errno.EIO:
            self.error_waiting = errno.ENOSPC if error == errno.ENOSPC else errno.EIO

    def check_errors(self) -> None:
        """Raise what a writeback failed with, to the first who asks: filemap_check_errors()."""
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(ERRORS, self.ino))
        error = self.error_waiting
        if error:
            self.note_errors()
            self.error_waiting = 0
            raise FsError(error)

    def tell_errors(self, since: Position) -> tuple[int, Position]:
        """What fsync of an open file reports, and where that stands then: file_check_and_advance().

        Whoever flushes next is not told again: filemap_check_errors() has nothing left.
        """
        footprint = current.footprint
        if footprint is not None:
            footprint.read(key(ERRORS, self.ino))
        error, position = self.errors.check_and_advance(since)
        if error or self.error_waiting:
            self.note_errors()
            self.error_waiting = 0
        return error, position

    def present(self, first: int, end: int) -> list[int]:
        """The cached indices in a range, ascending."""
        self._note_range(PAGES, first, end)
        return _members(self.pages, first, end)

    def dirty(self, first: int, end: int) -> list[int]:
        """The indices of dirty pages in a range, ascending."""
        self._note_range(DIRTY, first, end)
        return _members(self.pages_dirty, first, end)

    def under_writeback(self, first: int, end: int) -> list[int]:
        """The indices of pages under writeback in a range, ascending."""
        self._note_range(DIRTY, first, end)
        return _members(self.pages_writeback, first, end)

    def _note_range(self, kind: int, first: int, end: int) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.read_pages(kind, self.ino, first, end)

    def needs_flush(self, first: int, end: int) -> bool:
        """A page of a range is newer than the image: dirty, or on its way there."""
        return bool(self.dirty(first, end) or self.under_writeback(first, end))


def _members(indices: dict[int, Page] | set[int], first: int, end: int) -> list[int]:
    if not indices:
        return []
    if end - first <= len(indices):
        return [index for index in range(first, end) if index in indices]
    return sorted(index for index in indices if first <= index < end)


class PageCache:
    """All pages of a mount, oldest first; at most limit_bytes as far as (P2) allows.

    dirty_limit   dirty pages above which a writer must write back itself: half the cache
    new_data      zeros for a new page, so many bytes; a driver may replace it before there are any
    """

    def __init__(self, geometry: Geometry, limit_bytes: int) -> None:
        self.geometry = geometry
        self.new_data: Callable[[int], PageData] = bytearray
        self.set_limit(limit_bytes)
        self._dirty_count = 0
        self.evicted_count = 0
        self._lru: OrderedDict[Page, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lru)

    @property
    def dirty_count(self) -> int:
        """Of all files; whose pages are written back first depends on it."""
        self._note_use()
        return self._dirty_count

    def set_limit(self, limit_bytes: int) -> None:
        """A smaller limit is met by the next shrink()."""
        self.page_limit = max(1, limit_bytes // self.geometry.page_size)
        self.dirty_limit = max(1, self.page_limit // 2)

    def insert_locked(self, mapping: AddressSpace, index: int) -> Page:
        """A new page, locked, with nothing uptodate: filemap_add_folio()."""
        assert index not in mapping.pages, "page inserted twice"
        page = Page(mapping, PageIndex(index), self.new_data(self.geometry.page_size))
        page.locked = True
        page.owner = current.number
        mapping.note_change(page)
        mapping.pages[index] = page
        self._note_use()
        self._lru[page] = None
        if len(self._lru) > self.page_limit:
            self.shrink()
        return page

    def _note_use(self) -> None:
        footprint = current.footprint
        if footprint is not None:
            footprint.lru()

    def touch(self, page: Page) -> None:
        self._note_use()
        self._lru.move_to_end(page)

    def remove(self, page: Page) -> None:
        """Drop a page, dirty or not: only truncation may drop dirty ones."""
        mapping = page.mapping
        assert mapping is not None, "page removed twice"
        mapping.note_change(page)
        self._note_use()
        if page.blocks_dirty:
            self.clear_dirty(page)
        del mapping.pages[page.index]
        del self._lru[page]
        page.mapping = None

    def set_dirty(self, page: Page, blocks: int) -> None:
        assert page.mapping is not None, "dirty page outside the cache"
        assert blocks & ~page.blocks_uptodate == 0, "(P1) dirty block that is not uptodate"
        page.mapping.note_dirty(page)
        self._note_use()
        if not page.blocks_dirty:
            page.mapping.pages_dirty.add(page.index)
            self._dirty_count += 1
        page.blocks_dirty |= blocks

    def clear_dirty(self, page: Page) -> int:
        """All blocks clean; returns those that were dirty."""
        assert page.mapping is not None, "page outside the cache"
        page.mapping.note_dirty(page)
        self._note_use()
        blocks = page.blocks_dirty
        if blocks:
            page.mapping.pages_dirty.discard(page.index)
            self._dirty_count -= 1
            page.blocks_dirty = 0
        return blocks

    def shrink(self) -> None:
        """Evict the least recently used pages that may be evicted (P2)."""
        scan = LRU_SCAN_MAX
        self._note_use()
        while len(self._lru) > self.page_limit and scan:
            page = next(iter(self._lru))
            page.note_change()
            if page.locked or page.blocks_dirty or page.writeback:
                self._lru.move_to_end(page)
                scan -= 1
            else:
                self.remove(page)
                self.evicted_count += 1

    async def invalidate_range(self, mapping: AddressSpace, first: int, end: int) -> int:
        """Drop the clean pages of a range: invalidate_inode_pages2_range() (P3).

        Returns 0, or EBUSY if a dirty page had to stay; the others are dropped all the same.
        """
        error = 0
        for index in mapping.present(first, end):
            page = mapping.find(index)
            if page is None:
                continue
            await page.lock()
            await page.wait_writeback()
            if page.mapping is mapping:
                if page.blocks_dirty:
                    error = errno.EBUSY
                else:
                    self.remove(page)
            page.unlock()
        return error

    async def truncate_range(self, mapping: AddressSpace, first: int, end: int) -> None:
        """Drop all pages of a range, dirty or not: truncate_inode_pages_range().

        Waits for locked pages and for writeback.  The caller holds mapping.lock exclusive,
        so that none comes back.
        """
        for index in mapping.present(first, end):
            page = mapping.find(index)
            if page is None:
                continue
            await page.lock()
            await page.wait_writeback()
            if page.mapping is mapping:
                self.remove(page)
            page.unlock()
