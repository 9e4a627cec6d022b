"""On-demand readahead: which pages to read when one is missing, as mm/readahead.c decides.

A window [start, start + size) is read at once; when a reader meets the marked page,
async_size pages before the window's end, the next window is read.

    missing, at the start of the file or next to the last read    a new, small window
    missing, and pages before it are cached     context: someone else reads sequentially here
    missing, anything else                      just what was asked
    the marked page                             the next window, twice as large

Where the file system has large folios, a next window ends where a folio of the order that
readahead has come to would end, and is shorter for that; order_max says up to which.

Units: pages; window_max is pages; an order is a power of two of pages.
"""

from dataclasses import dataclass

from fusefs.model.page_cache import AddressSpace


@dataclass(slots=True)
class ReadaheadState:
    """struct file_ra_state: the current window of one open file.

    previous is the page where the last read ended; -1 before the first.  order is that of the
    folios that the last window was made of.
    """

    start: int = 0
    size: int = 0
    async_size: int = 0
    previous: int = -1
    order: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Pages to read: [start, end).  The page at marker, if any, starts the next window."""

    start: int
    end: int
    marker: int | None = None


def plan_missing(
    ra: ReadaheadState,
    mapping: AddressSpace,
    index: int,
    count: int,
    window_max: int,
    page_end: int,
) -> Window:
    """What to read when page index of a read of count pages is not cached.

    page_end is the file's number of pages.  page_cache_sync_ra().
    """
    if window_max == 0:
        return _window(index, count, 0, page_end)
    limit = max(window_max, count)  # a device takes a large read whole: ractl_max_pages()
    next_to_previous = ra.previous >= 0 and index - ra.previous in (0, 1)
    if index == 0 or next_to_previous:
        return _first_window(ra, index, count, limit, page_end)
    history = _cached_before(mapping, index, limit)
    if history > count:
        if history >= index:  # cached back to the start of the file: surely sequential
            history *= 2
        ra.start, ra.size, ra.async_size = index, min(history + count, limit), 1
        ra.order = 0
        return _planned(ra, page_end)
    return _window(index, min(count, limit), 0, page_end)


def plan_marked(
    ra: ReadaheadState,
    mapping: AddressSpace,
    index: int,
    count: int,
    window_max: int,
    page_end: int,
    order_max: int = 0,
) -> Window | None:
    """What to read ahead when the reader met the marked page index: page_cache_async_ra()."""
    if window_max == 0:
        return None
    limit = max(window_max, count)
    if ra.size and index == ra.start + ra.size - ra.async_size:
        ra.start += ra.size
        ra.size = max(ra.size, _grown(ra.size, limit))  # a large read's may be above the limit
    else:  # another open file's mark
        start = index + 1
        while start - index <= limit and mapping.find(start) is not None:
            start += 1
        if start - index > limit:
            return None
        ra.start, ra.size = start, _grown(start - index + count, limit)
    if order_max:
        _align_end(ra, limit, order_max)
    ra.async_size = ra.size
    return _planned(ra, page_end)


def _first_window(
    ra: ReadaheadState, index: int, count: int, window_max: int, page_end: int
) -> Window:
    size = 1 << max(count - 1, 0).bit_length()
    if size <= window_max // 32:
        size *= 4
    elif size <= window_max // 4:
        size *= 2
    else:
        size = window_max
    ra.start, ra.size, ra.order = index, size, 0
    ra.async_size = size - count if size > count else size // 2
    return _planned(ra, page_end)


def _grown(size: int, window_max: int) -> int:
    if size < window_max // 16:
        return 4 * size
    return min(2 * size, window_max)


def _align_end(ra: ReadaheadState, limit: int, order_max: int) -> None:
    """Folios become four times as large with each window, and a window has no part of one."""
    order = ra.order + 2
    align = 1 << min(order, (limit & -limit).bit_length() - 1)
    end = ra.start + ra.size
    if end - end % align > ra.start:
        ra.size -= end % align
    ra.order = min(order, order_max, ra.size.bit_length() - 1)


def _planned(ra: ReadaheadState, page_end: int) -> Window:
    return _window(ra.start, ra.size, ra.async_size, page_end)


def _window(start: int, size: int, async_size: int, page_end: int) -> Window:
    marker = start + size - async_size if async_size else None
    return Window(start, min(start + size, page_end), marker)


def _cached_before(mapping: AddressSpace, index: int, limit: int) -> int:
    """How many pages right before index are cached, at most limit."""
    count = 0
    while count < limit and mapping.find(index - 1 - count) is not None:
        count += 1
    return count
