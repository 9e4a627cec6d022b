"""What became of pages, blocks and locks, as far as a mount's events say it.

    Follower    takes one event after the other; has the lanes, and what they are in

An event names a step and a range, and nothing that lies there.  So at first all is UNKNOWN, and
what is known is what a step's name says of its range:

    buffered.read.map, .fill     these pages are in the cache, locked; then they are filled
    *.invalidate_*, .drop_pages  they are not in the cache any more, unless they are dirty or locked
    dio.write.map                if a conversion of the range follows, it is unwritten now
    *.submit, *.convert          the disk has the bytes; and now they are read
    buffered.write.copy          the page is dirty
    *.free                       whole blocks of the range are a hole

A page is stale if it is clean and the bytes that it was filled with are others than those that a
read of the disk would find now.  What has no step leaves no trace: an eviction, a lock that was
free, what happened before the first event.

Units: pos, length, page_size and block_size are bytes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from fusefs.engine.events import ASKED, ENDED, GRANTED, NOTHING, Event
from fusefs.show.story import (
    ABSENT,
    BLOCKS,
    CLEAN,
    DIRTY,
    HELD,
    HOLE,
    LOCK,
    LOCKED,
    NOT_KNOWN,
    PAGE,
    STALE,
    UNKNOWN,
    UNWRITTEN,
    WRITEBACK,
    WRITTEN,
    ZEROS,
    Lane,
    State,
    States,
)

LANES_MAX: Final = 24
"""Pages, ranges of blocks, and locks that are followed: of each kind those met first."""

CHANGES_BLOCKS: Final = ("dio.write.", "writeback.", "fallocate.")
"""How the names of steps begin that change what a block is or holds."""

Part = tuple[int, int, int]
"""Part of a file: inode, start, end."""

ZERO_BYTES: Final = "zeros"
"""What blocks read as that hold no data; other versions are the requests that wrote them."""


class Page:
    """A page, or part of what is known of it.  parts has what it was filled with."""

    def __init__(self) -> None:
        self.kind = UNKNOWN
        self.owner = 0
        self.parts: dict[Part, str] = {}


class Blocks:
    """A range of blocks.  version is what its bytes on the disk are; "" if that is not known."""

    def __init__(self) -> None:
        self.kind = UNKNOWN
        self.version = ""

    @property
    def read(self) -> str:
        """The version that a read finds."""
        if self.kind in (HOLE, UNWRITTEN):
            return ZERO_BYTES
        return self.version if self.kind == WRITTEN or self.version else ""


class Follower:
    """The lanes of some events, and how they are at one moment."""

    def __init__(self, events: Sequence[Event], page_size: int, block_size: int) -> None:
        self.events = events
        self.page_size = page_size
        self.block_size = block_size
        self.granted = [event for event in events if event.event == GRANTED]
        self.blocks = {part: Blocks() for part in _parts(self.granted, block_size)}
        self.pages = {page: Page() for page in self._pages()}
        self.locks: dict[tuple[int, str], int] = {
            (event.ino, _lock_of(event)): 0 for event in events if _lock_of(event)
        }
        self._looked_up: dict[tuple[int, Part], str] = {}
        self._dropping: dict[int, Event] = {}
        self._next = _next_steps(events)

    def _pages(self) -> list[tuple[int, int]]:
        """Those that a step was about, or that a direct write went past."""
        found: dict[tuple[int, int], None] = {}
        for event in self.granted:
            if event.step.startswith(("buffered.", "writeback.", "mmap.")) and event.length:
                for index in self._indices(event):
                    found[event.ino, index] = None
        return sorted(list(found)[:LANES_MAX])

    def _indices(self, event: Event) -> range:
        """The pages that an event touches; not more of them than there are lanes."""
        first, end = event.pos // self.page_size, -(-(event.pos + event.length) // self.page_size)
        return range(first, min(end, first + LANES_MAX))

    # -- what a moment is in ---------------------------------------------------------

    def lanes(self, files: Mapping[int, str]) -> tuple[Lane, ...]:
        def name(ino: int) -> str:
            return files.get(ino, f"inode {ino}")

        return (
            *(Lane(PAGE, name(ino), str(index)) for ino, index in self.pages),
            *(Lane(BLOCKS, name(ino), f"{start}+{end - start}") for ino, start, end in self.blocks),
            *(Lane(LOCK, name(ino), lock) for ino, lock in self.locks),
        )

    def states(self) -> States:
        return (
            *(self._page_state(place, page) for place, page in self.pages.items()),
            *(_blocks_state(each) for each in self.blocks.values()),
            *(State(HELD, f"held by #{owner}") if owner else NOT_KNOWN for owner in self._owners()),
        )

    def _owners(self) -> list[int]:
        return list(self.locks.values())

    def _page_state(self, place: tuple[int, int], page: Page) -> State:
        kind = page.kind
        if kind != CLEAN:
            words = {UNKNOWN: "?", ABSENT: "not there", LOCKED: f"locked by #{page.owner}"}
            words |= {DIRTY: f"dirty by #{page.owner}", WRITEBACK: "writeback"}
            return State(kind, words[kind])
        versions = {version for version in page.parts.values() if version}
        if self.is_stale(page):
            kind, what = STALE, "stale "
        elif versions == {ZERO_BYTES}:
            kind, what = ZEROS, ""
        else:
            what = ""
        return State(kind, what + (_versions(page) or "filled"))

    def is_stale(self, page: Page) -> bool:
        """Some part of it is known to be something else on the disk."""
        return page.kind == CLEAN and any(
            version and self.blocks[part].read and self.blocks[part].read != version
            for part, version in page.parts.items()
        )

    # -- an event ---------------------------------------------------------------------

    def take(self, at: int) -> None:
        """What one event did."""
        event = self.events[at]
        lock = event.ino, _lock_of(event)
        if event.event == ASKED and lock in self.locks:
            self.locks[lock] = int(event.detail) if event.detail.isdigit() else 0
        if event.event == ENDED:
            self._dropping.pop(event.request, None)
            for place, owner in self.locks.items():
                if owner == event.request:
                    self.locks[place] = 0
        if event.event != GRANTED:
            return
        if lock in self.locks:
            self.locks[lock] = event.request
        path, _, step = event.step.rpartition(".")
        if event.step in ("lock.page", "lock.page.writeback"):
            if event.request in self._dropping:
                self._drop(self._dropping[event.request])
            return
        self._dropping.pop(event.request, None)
        if path == "buffered.read":
            self._fills(event, step, at)
        elif step in ("invalidate_pre", "invalidate_post", "drop_pages"):
            self._dropping[event.request] = event
            self._drop(event)
        elif event.step == "buffered.write.copy":
            for page in self._touched(event):
                page.kind, page.owner, page.parts = DIRTY, event.request, {}
        elif step in ("map", "submit", "convert", "allocate", "free"):
            self._on_disk(event, path, step, at)

    def _touched(self, event: Event) -> list[Page]:
        places = [(event.ino, index) for index in self._indices(event)]
        return [self.pages[place] for place in places if place in self.pages]

    def _fills(self, event: Event, step: str, at: int) -> None:
        if step == "page_lock":
            for page in self._touched(event):
                if page.kind == ABSENT:
                    page.kind, page.owner = LOCKED, event.request
        elif step == "map":
            for page in self._touched(event):
                page.kind, page.owner, page.parts = LOCKED, event.request, {}
            for part in self._overlapped(event):
                blocks = self.blocks[part]
                self._looked_up[event.request, part] = blocks.kind
        elif self._next_step(at) != event.step:
            for index in self._whole_pages(event):
                page = self.pages[index]
                page.kind, page.owner = CLEAN, event.request
                page.parts = {part: self._found(event, part) for part in self._of_page(index)}

    def _whole_pages(self, event: Event) -> list[tuple[int, int]]:
        """The pages that this request has locked, and fills."""
        return [
            place
            for place, page in self.pages.items()
            if place[0] == event.ino and page.kind == LOCKED and page.owner == event.request
        ]

    def _found(self, event: Event, part: Part) -> str:
        """What a fill brings: by what the map said when it was looked at, and the disk now."""
        kind = self._looked_up.get((event.request, part), UNKNOWN)
        if kind in (HOLE, UNWRITTEN):
            return ZERO_BYTES
        return self.blocks[part].version if kind == WRITTEN else ""

    def _of_page(self, place: tuple[int, int]) -> list[Part]:
        start, end = place[1] * self.page_size, (place[1] + 1) * self.page_size
        return [part for part in self.blocks if part[0] == place[0] and _meet(part, start, end)]

    def _overlapped(self, event: Event) -> list[Part]:
        end = event.pos + event.length
        return [
            part for part in self.blocks if part[0] == event.ino and _meet(part, event.pos, end)
        ]

    def _next_step(self, at: int) -> str:
        """The next that its request is granted."""
        return self._next.get(at, NOTHING)

    def _drop(self, event: Event) -> None:
        """Whole pages of a truncate or a punch; each page that a write touches."""
        end = event.pos + event.length
        is_partial = event.step.endswith("drop_pages")
        for (ino, index), page in self.pages.items():
            start, stop = index * self.page_size, (index + 1) * self.page_size
            if ino != event.ino or not _meet((ino, start, stop), event.pos, end):
                continue
            if is_partial and not (event.pos <= start and stop <= end):
                page.kind, page.parts = UNKNOWN, {}
            elif page.kind in (UNKNOWN, CLEAN):
                page.kind, page.parts = ABSENT, {}

    def _on_disk(self, event: Event, path: str, step: str, at: int) -> None:
        writes = path in ("dio.write", "writeback")
        for part in self._overlapped(event):
            blocks = self.blocks[part]
            is_whole = event.pos <= part[1] and part[2] <= event.pos + event.length
            if step == "free" and is_whole:
                blocks.kind, blocks.version = HOLE, ""
            elif step == "allocate" and is_whole and blocks.kind == HOLE:
                blocks.kind = UNWRITTEN
            elif step == "map" and writes and blocks.kind != WRITTEN:
                if self._is_converted(event, at):
                    blocks.kind = UNWRITTEN
            elif step == "submit" and writes:
                blocks.version = f"#{event.request}'s bytes"
            elif step == "convert":
                blocks.kind = WRITTEN
        if path == "writeback":
            self._written_back(event, step, at)

    def _is_converted(self, event: Event, at: int) -> bool:
        """Whether a conversion of its whole range comes before anybody maps it again."""
        for later in self.events[at + 1 :]:
            if later.event != GRANTED or later.ino != event.ino or not _touch(later, event):
                continue
            if later.step.endswith("write.map") or later.step == "writeback.map":
                return False
            if later.step.endswith(".convert"):
                return later.pos <= event.pos and later.length >= event.length
        return False

    def _written_back(self, event: Event, step: str, at: int) -> None:
        is_last = step == "convert" or self._next_step(at) != "writeback.convert"
        for index in self._indices(event):
            page = self.pages.get((event.ino, index))
            if page is None or page.kind not in (DIRTY, WRITEBACK) or step == "map":
                continue
            page.kind = CLEAN if is_last else WRITEBACK
            if is_last:
                parts = self._of_page((event.ino, index))
                page.parts = {
                    part: self.blocks[part].version
                    for part in parts
                    if event.pos <= part[1] and part[2] <= event.pos + event.length
                }


# -- helpers -----------------------------------------------------------------------------


def _next_steps(events: Sequence[Event]) -> dict[int, str]:
    """Of each event, by its place, the step that its request is granted next, if there is one."""
    following: dict[int, str] = {}
    found: dict[int, str] = {}
    for at in range(len(events) - 1, -1, -1):
        event = events[at]
        if event.request in following:
            found[at] = following[event.request]
        if event.event == GRANTED:
            following[event.request] = event.step
    return found


def _parts(granted: Sequence[Event], block_size: int) -> list[Part]:
    """The ranges of blocks between which some step of a write tells them apart."""
    cuts: dict[int, set[int]] = {}
    for event in granted:
        if event.length and event.step.startswith(CHANGES_BLOCKS):
            end = -(-(event.pos + event.length) // block_size) * block_size
            cuts.setdefault(event.ino, set()).update((event.pos // block_size * block_size, end))
    parts = []
    for ino, edges in sorted(cuts.items()):
        places = sorted(edges)
        parts += [(ino, *each) for each in pairwise(places)]
    used = [part for part in parts if any(_used(part, event) for event in granted)]
    return used[:LANES_MAX]


def _used(part: Part, event: Event) -> bool:
    changes = event.step.startswith(CHANGES_BLOCKS)
    return changes and part[0] == event.ino and _meet(part, event.pos, event.pos + event.length)


def _meet(part: Part, start: int, end: int) -> bool:
    return part[1] < end and start < part[2]


def _touch(one: Event, other: Event) -> bool:
    return one.pos < other.pos + other.length and other.pos < one.pos + one.length


def _lock_of(event: Event) -> str:
    """The kernel's name of the lock that a step is about; "" if of none, or of a page's."""
    parts = event.step.split(".")
    names = {"inode": "i_rwsem", "mapping": "invalidate_lock", "worker": "worker", "dio": "dio"}
    return names.get(parts[1], "") if parts[0] == "lock" else ""


def _versions(page: Page) -> str:
    """What a page holds, each once, in the file's order."""
    return ", ".join(dict.fromkeys(version for _, version in sorted(page.parts.items()) if version))


def _blocks_state(blocks: Blocks) -> State:
    held = blocks.version
    if blocks.kind == UNWRITTEN:
        return State(UNWRITTEN, f"unwritten, {held}" if held else "unwritten")
    if blocks.kind == WRITTEN:
        return State(WRITTEN, held or "written")
    return State(blocks.kind, blocks.kind) if blocks.kind == HOLE else State(UNKNOWN, held or "?")
