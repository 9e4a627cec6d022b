"""What is known of a page, and of a range of blocks, while the events of a mount are followed.

    Page, Blocks                  the state, as far as it is known
    versions(), blocks_state()    the same in words

A version is what bytes are: ZERO_BYTES, or a request's own.
"""

from typing import Final

from fusefs.show.story import HOLE, UNKNOWN, UNWRITTEN, WRITTEN, State

Part = tuple[int, int, int]
"""Part of a file: inode, start, end."""

ZERO_BYTES: Final = "zeros"
"""What blocks read as that hold no data; other versions are the requests that wrote them."""


class Page:
    """What is known of a page.  parts has what it was filled with; is_mapped says that somebody may
    store into it, which no step tells of.
    """

    def __init__(self) -> None:
        self.is_mapped = False
        self.kind = UNKNOWN
        self.owner = 0
        self.parts: dict[Part, str] = {}


class Blocks:
    """A range of blocks.  version is what its bytes on the disk are; "" if that is not known.

    is_behind_end: i_size does not cover them yet, and so no page is stale for them.
    """

    def __init__(self) -> None:
        self.is_behind_end = False
        self.kind = UNKNOWN
        self.version = ""

    @property
    def read(self) -> str:
        """The version that a read finds."""
        if self.is_behind_end:
            return ""
        return ZERO_BYTES if self.kind in (HOLE, UNWRITTEN) else self.version


def versions(page: Page) -> str:
    """What a page holds, each once, in the file's order."""
    return ", ".join(dict.fromkeys(version for _, version in sorted(page.parts.items()) if version))


def blocks_state(blocks: Blocks) -> State:
    held = blocks.version
    if blocks.kind == UNWRITTEN:
        return State(UNWRITTEN, f"unwritten, {held}" if held else "unwritten")
    if blocks.kind == WRITTEN:
        return State(WRITTEN, held or "written")
    return State(blocks.kind, blocks.kind) if blocks.kind == HOLE else State(UNKNOWN, held or "?")
