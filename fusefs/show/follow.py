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

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fusefs.engine.events import ASKED, ENDED, GRANTED, NOTHING, Event
from fusefs.show.known import ZERO_BYTES, Blocks, Page, Part, blocks_state, versions
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

CHANGES_BLOCKS: Final = ("dio.write.", "writeback.", "fallocate.")
"""How the names of steps begin that change what a block is or holds."""

WRITEBACK_GOES_ON: Final = ("writeback.submit", "writeback.convert")
"""After a submit, a page is still under writeback before one of these."""


PAGES_MAX: Final = 1 << 14
"""Of one step: a longer range, be it of a file that somebody edited, must not fill the memory."""


class Follower:
    """The lanes of some events, and how they are at one moment."""

    def __init__(self, events: Sequence[Event], page_size: int, block_size: int) -> None:
        self.events = events
        self.page_size = page_size
        self.block_size = block_size
        granted = [event for event in events if event.event == GRANTED]
        parts = _parts(granted, block_size)
        self.blocks = {part: Blocks() for part in parts}
        self._starts: dict[int, list[Part]] = {}
        for part in parts:
            self._starts.setdefault(part[0], []).append(part)
        self.pages = {page: Page() for page in self._pages(granted)}
        self.locks: dict[tuple[int, str], int] = {
            (event.ino, _lock_of(event)): 0 for event in events if _lock_of(event)
        }
        self._looked_up: dict[tuple[int, Part], str] = {}
        self._dropping: dict[int, Event] = {}
        self._locking: set[int] = set()
        self._filling: dict[int, list[tuple[int, int]]] = {}
        self._late: dict[int, Event] = {}
        self._next = _next_events(events)
        self._granted_at: dict[int, list[int]] = {}
        for at, event in enumerate(events):
            if event.event == GRANTED:
                self._granted_at.setdefault(event.ino, []).append(at)
        self.shown_pages, self.shown_blocks = [*self.pages], [*self.blocks]

    def _pages(self, granted: Sequence[Event]) -> list[tuple[int, int]]:
        """Those that a step was about that looked for a page."""
        found: set[tuple[int, int]] = set()
        for event in granted:
            if event.length and event.step.startswith(("buffered.", "writeback.", "mmap.")):
                indices = self._indices(event)[:PAGES_MAX]
                found.update((event.ino, index) for index in indices)
        return sorted(found)

    def _indices(self, event: Event) -> range:
        """The pages that an event touches."""
        return range(event.pos // self.page_size, -(-(event.pos + event.length) // self.page_size))

    def places(self, event: Event) -> list[tuple[int, int]]:
        """Of the pages that are followed, those that an event touches."""
        indices = self._indices(event)
        if len(indices) > len(self.pages):
            return [place for place in self.pages if place[0] == event.ino and place[1] in indices]
        return [(event.ino, index) for index in indices if (event.ino, index) in self.pages]

    def choose(self, events: Iterable[Event], pages_max: int, blocks_max: int) -> None:
        """Have lanes for what these events are about alone, so many pages and ranges at most."""
        pages: set[tuple[int, int]] = set()
        blocks: set[Part] = set()
        for event in events:
            if event.event == GRANTED:
                pages.update(self.places(event)[:pages_max])
                blocks.update(self._overlapped(event)[:blocks_max])
        self.shown_pages, self.shown_blocks = sorted(pages)[:pages_max], sorted(blocks)[:blocks_max]

    # -- what a moment is in ---------------------------------------------------------

    def lanes(self, files: Mapping[int, str]) -> tuple[Lane, ...]:
        def name(ino: int) -> str:
            return files.get(ino, f"inode {ino}")

        return (
            *(Lane(PAGE, name(ino), str(index)) for ino, index in self.shown_pages),
            *(
                Lane(BLOCKS, name(ino), f"{start}+{end - start}")
                for ino, start, end in self.shown_blocks
            ),
            *(Lane(LOCK, name(ino), lock) for ino, lock in self.locks),
        )

    def states(self) -> States:
        return (
            *(self._page_state(self.pages[place]) for place in self.shown_pages),
            *(blocks_state(self.blocks[part]) for part in self.shown_blocks),
            *(
                State(HELD, f"held by #{owner}") if owner else NOT_KNOWN
                for owner in self.locks.values()
            ),
        )

    def _page_state(self, page: Page) -> State:
        kind = page.kind
        if kind != CLEAN:
            told = {UNKNOWN: "?", ABSENT: "not there", LOCKED: f"locked by #{page.owner}"}
            told |= {DIRTY: f"dirty by #{page.owner}", WRITEBACK: "writeback"}
            return State(kind, told[kind])
        found = {version for version in page.parts.values() if version}
        words = versions(page) or "filled"
        if self.is_stale(page):
            return State(STALE, f"stale {words}")
        if found != {ZERO_BYTES}:
            return State(CLEAN, words)
        is_whole = sum(end - start for _, start, end in page.parts) >= self.page_size
        return State(ZEROS, words) if is_whole else State(CLEAN, f"{words} in part")

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
        if event.step == "lock.worker.exclusive" and event.request in self._late:
            self._end_fill(self._late.pop(event.request))
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
        elif path == "buffered.write":
            self._writes(event, step)
        elif path == "mmap.fault" and event.operation != "mread":
            for page in self._touched(event):
                page.kind, page.is_mapped, page.parts = UNKNOWN, True, {}
        elif step in ("map", "submit", "convert", "isize", "allocate", "free"):
            self._on_disk(event, path, step, at)

    def _touched(self, event: Event) -> list[Page]:
        return [self.pages[place] for place in self.places(event)]

    def _writes(self, event: Event, step: str) -> None:
        for page in self._touched(event):
            if step == "page_lock" and page.kind == ABSENT:
                page.kind, page.owner = LOCKED, event.request
            elif step == "copy":
                page.kind, page.owner, page.parts = DIRTY, event.request, {}

    def _fills(self, event: Event, step: str, at: int) -> None:
        """Pages are locked, then the map is looked at; under map_before_insert the other way, and
        then only what is known not to be there is known to be locked.
        """
        if step == "page_lock":
            self._locking.add(event.request)
            self._filling[event.request] = self.places(event)
            for page in self._touched(event):
                if page.kind == ABSENT:
                    page.kind, page.owner = LOCKED, event.request
        elif step == "map":
            if event.request in self._locking:
                self._filling[event.request] = self.places(event)
                for page in self._touched(event):
                    page.kind, page.owner, page.parts = LOCKED, event.request, {}
            for part in self._overlapped(event):
                self._looked_up[event.request, part] = self.blocks[part].kind
        elif self._next.get(at) == (ASKED, "lock.worker.exclusive"):
            self._late[event.request] = event
        elif self._next_step(at) != event.step:
            self._end_fill(event)

    def _end_fill(self, event: Event) -> None:
        """Of the pages that this request has locked."""
        for place in self._filling.pop(event.request, ()):
            page = self.pages[place]
            if page.kind == LOCKED and page.owner == event.request:
                page.kind = CLEAN
                page.parts = {part: self._found(event, part) for part in self._of_page(place)}

    def _found(self, event: Event, part: Part) -> str:
        """What a fill brings: by what the map said when it was looked at, and the disk now."""
        kind = self._looked_up.get((event.request, part), UNKNOWN)
        if kind in (HOLE, UNWRITTEN):
            return ZERO_BYTES
        return self.blocks[part].version if kind == WRITTEN else ""

    def _of_page(self, place: tuple[int, int]) -> list[Part]:
        return self._between(place[0], place[1] * self.page_size, (place[1] + 1) * self.page_size)

    def _overlapped(self, event: Event) -> list[Part]:
        return self._between(event.ino, event.pos, event.pos + event.length)

    def _between(self, ino: int, start: int, end: int) -> list[Part]:
        """The ranges of blocks that have bytes of a range."""
        parts = self._starts.get(ino, [])
        first = bisect_right(parts, start, key=lambda part: part[2])
        last = bisect_left(parts, end, key=lambda part: part[1])
        return parts[first:last]

    def _next_step(self, at: int) -> str:
        """What its request stands before."""
        what, step = self._next.get(at, (ENDED, NOTHING))
        return step if what != ENDED else NOTHING

    def _drop(self, event: Event) -> None:
        """Whole pages of a truncate or a punch; each page that a write touches."""
        is_partial = event.step.endswith("drop_pages")
        for place in self.places(event):
            page, start = self.pages[place], place[1] * self.page_size
            is_whole = event.pos <= start and start + self.page_size <= event.pos + event.length
            if is_partial and not is_whole:
                page.kind, page.parts = UNKNOWN, {}
            elif page.kind == CLEAN or (page.kind == UNKNOWN and not page.is_mapped):
                page.kind, page.parts = ABSENT, {}

    def _on_disk(self, event: Event, path: str, step: str, at: int) -> None:
        writes = path in ("dio.write", "writeback")
        if step == "map" and writes:
            self._maps(event, at)
        for part in self._overlapped(event):
            blocks = self.blocks[part]
            is_whole = event.pos <= part[1] and part[2] <= event.pos + event.length
            if step == "free" and is_whole:
                blocks.kind, blocks.version = HOLE, ""
            elif step == "allocate" and is_whole and blocks.kind == HOLE:
                blocks.kind = UNWRITTEN
            elif step == "submit" and writes:
                blocks.version = f"#{event.request}'s bytes"
            elif step == "convert":
                blocks.kind = WRITTEN
                blocks.is_behind_end = self._next_step(at) == "dio.write.isize"
            elif step == "isize":
                blocks.is_behind_end = False
        if path == "writeback":
            self._written_back(event, step, at)

    def _maps(self, event: Event, at: int) -> None:
        """What is converted was unwritten in part: known if there is but one part it can be."""
        conversion = self._conversion(event, at)
        if conversion is not None:
            parts = self._overlapped(conversion)
            unwritten = [part for part in parts if self.blocks[part].kind != WRITTEN]
            if len(unwritten) == 1 and unwritten[0] in self._overlapped(event):
                self.blocks[unwritten[0]].kind = UNWRITTEN

    def _conversion(self, event: Event, at: int) -> Event | None:
        """Of its whole range, before anybody maps that again."""
        own = self._granted_at[event.ino]
        for place in range(bisect_right(own, at), len(own)):
            later = self.events[own[place]]
            if not _touch(later, event):
                continue
            if later.step.endswith("write.map") or later.step == "writeback.map":
                return None
            if later.step.endswith(".convert"):
                is_all = later.pos <= event.pos and later.length >= event.length
                return later if is_all else None
        return None

    def _written_back(self, event: Event, step: str, at: int) -> None:
        is_last = step == "convert"
        is_last |= step == "submit" and self._next_step(at) not in WRITEBACK_GOES_ON
        for place in self.places(event):
            page = self.pages[place]
            if page.kind not in (DIRTY, WRITEBACK):
                continue
            page.kind = CLEAN if is_last else WRITEBACK
            if is_last:
                parts = self._of_page(place)
                page.parts = {
                    part: self.blocks[part].version
                    for part in parts
                    if event.pos <= part[1] and part[2] <= event.pos + event.length
                }


# -- helpers -----------------------------------------------------------------------------


def _next_events(events: Sequence[Event]) -> dict[int, tuple[str, str]]:
    """What happens next to the request of each event, by its place: event and step."""
    following: dict[int, tuple[str, str]] = {}
    found: dict[int, tuple[str, str]] = {}
    for at in range(len(events) - 1, -1, -1):
        event = events[at]
        if event.request in following:
            found[at] = following[event.request]
        following[event.request] = event.event, event.step
    return found


def _parts(granted: Sequence[Event], block_size: int) -> list[Part]:
    """The ranges of blocks between which some step of a write tells them apart."""
    changing = [each for each in granted if each.length and each.step.startswith(CHANGES_BLOCKS)]
    edges: dict[int, set[int]] = {}
    for event in changing:
        edges.setdefault(event.ino, set()).update(_blocks_of(event, block_size))
    cuts = {ino: sorted(places) for ino, places in edges.items()}
    used = set()
    for event in changing:
        places = cuts[event.ino]
        start, end = _blocks_of(event, block_size)
        for at in range(bisect_left(places, start), bisect_left(places, end)):
            used.add((event.ino, places[at], places[at + 1]))
    return sorted(used)


def _blocks_of(event: Event, block_size: int) -> tuple[int, int]:
    """Where the blocks begin and end that an event touches."""
    end = event.pos + event.length
    return event.pos // block_size * block_size, -(-end // block_size) * block_size


def _touch(one: Event, other: Event) -> bool:
    return one.pos < other.pos + other.length and other.pos < one.pos + one.length


def _lock_of(event: Event) -> str:
    """The kernel's name of the lock that a step is about; "" if of none, or of a page's."""
    parts = event.step.split(".")
    names = {"inode": "i_rwsem", "mapping": "invalidate_lock", "worker": "worker", "dio": "dio"}
    return names.get(parts[1], "") if parts[0] == "lock" else ""
