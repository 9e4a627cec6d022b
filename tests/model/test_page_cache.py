"""The page cache: what is never evicted, and what an invalidation waits for and drops."""

import errno

import pytest
from model.driving import Task, both_reads, run, sparse_file

from fusefs.explore.memory import World
from fusefs.model.buffered import buffered_read
from fusefs.model.dio import direct_write
from fusefs.model.geometry import Geometry
from fusefs.model.inode import Inode
from fusefs.model.options import Invalidate
from fusefs.model.page_cache import LRU_SCAN_MAX, AddressSpace, Page, PageCache

BLOCK = 512
PAGE = 1024
BOTH = 0b11
"""Both blocks of a page."""


def cache_of(page_count: int) -> PageCache:
    return PageCache(Geometry(BLOCK, PAGE), page_count * PAGE)


def add(cache: PageCache, mapping: AddressSpace, index: int, *, dirty: int = 0) -> Page:
    """An uptodate page, unlocked."""
    page = cache.insert_locked(mapping, index)
    page.blocks_uptodate = BOTH
    if dirty:
        cache.set_dirty(page, dirty)
    page.unlock()
    return page


# -- P1 ----------------------------------------------------------------------------------


def test_dirty_block_must_be_uptodate():
    """(P1)"""
    cache, mapping = cache_of(4), AddressSpace()
    page = cache.insert_locked(mapping, 0)
    page.blocks_uptodate = 0b01
    cache.set_dirty(page, 0b01)
    with pytest.raises(AssertionError, match=r"\(P1\)"):
        cache.set_dirty(page, 0b10)


def test_dirty_pages_are_counted_once_and_listed_in_order():
    cache, mapping = cache_of(8), AddressSpace()
    for index in (5, 2, 9):
        add(cache, mapping, index, dirty=0b01)
    cache.set_dirty(mapping.pages[2], 0b10)
    assert cache.dirty_count == 3
    assert mapping.dirty(0, 9) == [2, 5]
    assert mapping.present(3, 1 << 50) == [5, 9]
    assert cache.clear_dirty(mapping.pages[2]) == BOTH
    assert mapping.dirty(0, 9) == [5]
    assert cache.dirty_count == 2


# -- P2 ----------------------------------------------------------------------------------


def lock(cache: PageCache, page: Page) -> None:
    page.locked = True


def dirty(cache: PageCache, page: Page) -> None:
    cache.set_dirty(page, 0b01)


def begin_writeback(cache: PageCache, page: Page) -> None:
    page.begin_writeback()


@pytest.mark.parametrize("state", [lock, dirty, begin_writeback])
def test_busy_page_is_never_evicted(state):
    """(P2) the next oldest goes instead."""
    cache, mapping = cache_of(2), AddressSpace()
    state(cache, add(cache, mapping, 0))
    add(cache, mapping, 1)
    add(cache, mapping, 2)
    assert mapping.present(0, 9) == [0, 2]
    assert cache.evicted_count == 1


def test_idle_page_is_evicted_oldest_first():
    """(P2) spares nobody else."""
    cache, mapping = cache_of(2), AddressSpace()
    pages = [add(cache, mapping, index) for index in (0, 1)]
    cache.touch(pages[0])
    add(cache, mapping, 2)
    assert mapping.present(0, 9) == [0, 2]
    assert pages[1].mapping is None


def test_cache_full_of_dirty_pages_grows_rather_than_loses_one():
    """(P2) and looks at LRU_SCAN_MAX of them at most."""
    cache, mapping = cache_of(1), AddressSpace()
    for index in range(LRU_SCAN_MAX + 9):
        add(cache, mapping, index, dirty=0b01)
    assert len(cache) == LRU_SCAN_MAX + 9
    for index in range(LRU_SCAN_MAX + 9):
        cache.clear_dirty(mapping.pages[index])
    cache.shrink()
    assert len(cache) == 1


def test_smaller_limit_shrinks_the_cache_at_once():
    world = World(block_size=BLOCK, page_size=PAGE, cache_size=256 << 10)
    inode = Inode(1, 1 << 20)
    for index in range(256):
        add(world.fs.cache, inode.mapping, index)
    world.fs.set_options(world.fs.options.changed("cache_size", "64k"))
    assert inode.mapping.present(0, 1 << 20) == list(range(192, 256))


# -- P3 ----------------------------------------------------------------------------------


@pytest.fixture
def world() -> World:
    return World(block_size=BLOCK, page_size=PAGE)


@pytest.fixture
def inode() -> Inode:
    return Inode(1, 8 * PAGE)


def invalidate(world: World, inode: Inode, pos: int = 0, length: int = 8 * PAGE) -> Task:
    first, end = world.fs.geometry.page_range(pos, length)
    return Task(world, world.fs.cache.invalidate_range(inode.mapping, first, end))


def test_invalidation_drops_whole_pages_for_one_byte(world, inode):
    """(P3)"""
    for index in range(4):
        add(world.fs.cache, inode.mapping, index)
    assert invalidate(world, inode, 2 * PAGE - 1, 2).finish() == 0
    assert inode.mapping.present(0, 9) == [0, 3]


def test_invalidation_waits_for_the_page_lock(world, inode):
    """(P3) and drops the page then."""
    page = add(world.fs.cache, inode.mapping, 0)
    page.locked = True
    task = invalidate(world, inode)
    assert task.waits
    assert task.step.name == "lock.page"
    page.unlock()
    assert task.finish() == 0
    assert not inode.mapping.pages


def test_invalidation_waits_for_writeback(world, inode):
    """(P3) else the dropped page's bytes could be read from the image before they are there."""
    page = add(world.fs.cache, inode.mapping, 0)
    page.begin_writeback()
    task = invalidate(world, inode)
    assert task.waits
    assert task.step.name == "lock.page.writeback"
    page.end_writeback()
    assert task.finish() == 0
    assert not inode.mapping.pages


def test_invalidation_leaves_dirty_pages_and_goes_on(world, inode):
    """(P3) EBUSY is what it returns, not where it stops."""
    for index in range(4):
        add(world.fs.cache, inode.mapping, index, dirty=0b10 if index == 1 else 0)
    assert invalidate(world, inode).finish() == errno.EBUSY
    assert inode.mapping.present(0, 9) == [1]
    assert inode.mapping.pages[1].blocks_dirty == 0b10


def test_page_dirtied_while_its_lock_was_waited_for_stays(world, inode):
    """(P3)"""
    page = add(world.fs.cache, inode.mapping, 0)
    page.locked = True
    task = invalidate(world, inode)
    world.fs.cache.set_dirty(page, 0b01)
    page.unlock()
    assert task.finish() == errno.EBUSY
    assert inode.mapping.pages == {0: page}


def test_page_that_went_away_meanwhile_is_no_error(world, inode):
    """(P3) two invalidations wait for one page; only the first finds it."""
    page = add(world.fs.cache, inode.mapping, 0)
    page.locked = True
    tasks = [invalidate(world, inode), invalidate(world, inode)]
    page.unlock()
    assert [task.finish() for task in tasks] == [0, 0]
    assert not page.locked


def test_truncation_drops_dirty_pages_but_waits_for_writeback(world, inode):
    for index in range(3):
        add(world.fs.cache, inode.mapping, index, dirty=0b01)
    inode.mapping.pages[2].begin_writeback()
    task = Task(world, world.fs.cache.truncate_range(inode.mapping, 1, 1 << 50))
    assert task.waits
    inode.mapping.pages[2].end_writeback()
    task.finish()
    assert inode.mapping.present(0, 9) == inode.mapping.dirty(0, 9) == [0]
    assert world.fs.cache.dirty_count == 1


def test_flush_is_needed_until_writeback_has_ended(world, inode):
    """A page on its way is clean, but newer than the image."""
    page = add(world.fs.cache, inode.mapping, 3, dirty=0b01)
    assert inode.mapping.needs_flush(3, 4)
    world.fs.cache.clear_dirty(page)
    page.begin_writeback()
    assert inode.mapping.needs_flush(0, 9)
    assert not inode.mapping.needs_flush(4, 9)
    page.end_writeback()
    assert not inode.mapping.needs_flush(0, 9)


# -- a fill against the last drop --------------------------------------------------------


def meet(order: Invalidate) -> tuple[World, Inode, tuple[bytes, bytes]]:
    """A page is mapped before the conversion, filled after it, and the write returns last."""
    world = World(invalidate=order, block_size=BLOCK, page_size=PAGE)
    file = sparse_file(PAGE)
    writer = Task(world, direct_write(world.fs, file.inode, 0, b"A" * BLOCK))
    if order is Invalidate.BEFORE:
        writer.go_past("dio.write.invalidate_post")
    writer.go_to("dio.write.convert")
    reader = Task(world, buffered_read(world.fs, file, 0, PAGE)).go_to("buffered.read.fill")
    writer.grant()
    if order is Invalidate.AFTER:
        writer.grant()
        assert writer.step.name == "lock.page"
        assert writer.waits
    reader.finish()
    writer.finish()
    return world, file.inode, both_reads(world, file)


def test_fill_begun_before_the_last_drop_does_not_survive_it():
    """(P3) (D1) The page is inserted locked before it is mapped, and the drop waits for it.

    Guards kernel c771c14baa33 (xfstests generic/418).
    """
    world, inode, contents = meet(Invalidate.AFTER)
    assert not world.stale_blocks(inode)
    assert contents == (b"A" * BLOCK + bytes(BLOCK),) * 2


def test_fill_after_the_drop_survives_in_before_order():
    """(D1) The same fill, the other order: zeros stay cached, and only O_DIRECT sees the data."""
    world, inode, (buffered, direct) = meet(Invalidate.BEFORE)
    assert world.stale_blocks(inode) == [0]
    assert buffered == bytes(PAGE)
    assert direct == b"A" * BLOCK + bytes(BLOCK)
    assert world.fs.counters.pages_stale_possible == 1


def test_locked_page_is_handed_to_one_waiter_at_a_time(world, inode):
    page = add(world.fs.cache, inode.mapping, 0)
    run(world, page.lock())
    tasks = [Task(world, page.lock()), Task(world, page.lock())]
    page.unlock()
    tasks[1].finish()
    tasks[0].grant()
    assert tasks[0].waits
    page.unlock()
    tasks[0].finish()
    assert page.locked


@pytest.mark.parametrize("end", [Page.unlock, Page.end_writeback])
def test_end_of_what_was_not_begun_is_our_fault(world, inode, end):
    page = add(world.fs.cache, inode.mapping, 0)
    with pytest.raises(AssertionError, match="not"):
        end(page)
