"""Differences that are known and meant: what each is, and how far it goes.

    REASONS     each with a sentence; docs/limits.md and docs/evidence.md tell more
    settle()    the model's look as the kernel's would be, as far as reasons go; and which were used

A reason never touches results, sizes or bytes: only when pages are written back, and by that when
delayed blocks get a place.  Whatever it does not cover is still a difference.

Units: as in observed.py; page and block are bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from fusefs.conform.observed import (
    CLEAN,
    DELALLOC,
    DIRTY,
    UNWRITTEN,
    WRITTEN,
    FileLook,
)

END_PAGE: Final = "end page"

REASONS: Final = {
    END_PAGE: "the page in which a file ended is dirty longer in the kernel: the model writes it"
    " back before bytes behind it can count after a crash (W4), and knows of each block whether it"
    " is dirty, so that what a truncate cut off is not",
}

_LATER: Final = {
    (DELALLOC, WRITTEN),
    (UNWRITTEN, WRITTEN),
    (DELALLOC, UNWRITTEN),
}
"""What a block is in the kernel, and in the model that has written its page back already."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The model's look, and the reasons without which it would differ more."""

    look: FileLook
    reasons: frozenset[str]


def end_pages(sizes: Iterable[int], page: int) -> frozenset[int]:
    """The pages within which a file ended, at any of these sizes."""
    return frozenset(size // page for size in sizes if size % page)


def settle(
    kernel: FileLook, model: FileLook, ends: frozenset[int], block: int, page: int
) -> Settled:
    """For END_PAGE; ends are the pages in which the file has ended until now."""
    pages = _settled_pages(kernel.pages, model.pages, ends)
    blocks = _settled_map(kernel.map, model.map, ends, page // block)
    look = replace(model, pages=pages, map=blocks)
    return Settled(look, frozenset((END_PAGE,)) if look != model else frozenset())


def _settled_pages(kernel: str, model: str, ends: frozenset[int]) -> str:
    """A page that is clean in the model may be dirty in the kernel."""
    found = list(model)
    for index in ends:
        if index < min(len(kernel), len(model)) and (kernel[index], model[index]) == (DIRTY, CLEAN):
            found[index] = DIRTY
    return "".join(found)


def _settled_map(kernel: str, model: str, ends: frozenset[int], per_page: int) -> str:
    """Its blocks may be further in the model; so may the delayed ones of the same run."""
    found = list(model)
    if len(kernel) != len(model):
        return model
    start = 0
    while start < len(kernel):
        end = start
        while end < len(kernel) and (kernel[end], model[end]) in _LATER:
            end += 1
        if any(block // per_page in ends for block in range(start, end)):
            found[start:end] = kernel[start:end]
        start = end + 1
    return "".join(found)
