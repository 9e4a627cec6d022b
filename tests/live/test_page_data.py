"""The memory in which a mount keeps its pages."""

import mmap
import random
from pathlib import Path

import pytest

from fusefs.live.extension._lowlevel import page_data
from fusefs.model.steps import PageData

SIZES = 512, 4096, 65536
SLAB = 2 << 20


def content(page: PageData) -> bytes:
    return bytes(memoryview(page))


def mapped_bytes() -> int:
    """Of the address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


@pytest.mark.parametrize("size", SIZES)
def test_is_zeros_even_where_another_page_was(size: int):
    for _ in range(3):
        pages = [page_data(size) for _ in range(SLAB // size)]
        assert all(len(page) == size and content(page) == bytes(size) for page in pages)
        for page in pages:
            page[:] = b"\xff" * size


@pytest.mark.parametrize("size", SIZES)
def test_holds_what_a_bytearray_would(size: int):
    """Pages come and go at random, and are written in parts."""
    draw, pages = random.Random(size), []
    for step in range(2000):
        if len(pages) < 100 or draw.random() < 0.5:
            pages.append((page_data(size), bytearray(size)))
        elif draw.random() < 0.9:
            pages.pop(draw.randrange(len(pages)))
        page, twin = draw.choice(pages)
        start, stop = sorted(draw.choices(range(size + 1), k=2))
        page[start:stop] = twin[start:stop] = draw.randbytes(stop - start)
        if step % 100 == 0:
            assert all(content(page) == twin for page, twin in pages)


def test_part_of_a_page_takes_that_many_bytes():
    page = page_data(512)
    with pytest.raises(ValueError, match="3 bytes for 4 of a page"):
        page[508:] = b"abc"
    with pytest.raises(ValueError, match="in steps of 2"):
        page[:8:2] = b"abcd"
    with pytest.raises(TypeError):
        page[:3] = "abc"  # type: ignore[assignment]
    assert content(page) == bytes(512)
    page[508:1000] = memoryview(b"abcd")
    page[:0] = b""
    assert content(page) == bytes(508) + b"abcd"


def test_a_page_copies_within_itself():
    page = page_data(512)
    page[:8] = b"abcdefgh"
    page[2:8] = memoryview(page)[:6]
    assert content(page)[:8] == b"ababcdef"


def test_a_view_keeps_the_bytes_of_a_page_that_is_gone():
    """A reply may still be sent when the cache has dropped the page."""
    page = page_data(4096)
    page[:] = b"x" * 4096
    view = memoryview(page)
    del page
    others = [page_data(4096) for _ in range(600)]
    for other in others:
        other[:] = b"y" * 4096
    assert view == b"x" * 4096


def test_memory_without_pages_goes_back():
    before = mapped_bytes()
    pages = [page_data(4096) for _ in range(50 * SLAB // 4096)]
    full = mapped_bytes()
    assert full - before > 45 * SLAB
    del pages[::2]
    assert full - mapped_bytes() < 5 * SLAB, "each slab has pages in use"
    pages.clear()
    assert mapped_bytes() - before < 5 * SLAB


def test_pages_of_memory_and_pages_begin_at_different_places():
    """Or a copy to a client's buffer would take twice as long on some processors."""
    import ctypes

    pages = [page_data(4096) for _ in range(64)]
    starts = [ctypes.addressof(ctypes.c_char.from_buffer(memoryview(page))) for page in pages]
    assert sum(start % 4096 == 0 for start in starts) <= 2
    assert all(start % 64 == 0 for start in starts)
