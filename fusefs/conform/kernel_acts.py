"""The kernel's trace of a run, as acts: who did what, in which order, and between which moments.

    History     of one run: a stream of groups for each task, and one for each end of an
                asynchronous write; and what workers converted after a writeback
    history()   a History, from events among which each task has marked its operations

An event tells of a moment before or after what it is about: xfs_ilock comes before the lock is
had, mm_filemap_add_to_page_cache after the page is in.  So each act has two moments, between which
it was done; only acts of two tasks whose moments do not overlap are in an order that is known.

What is left out, as it says nothing, or the model has no counterpart:

    maps of a direct read beyond i_size     the kernel asks for all of the range
    blocks that are read and then written   it reads all from one edge of a write to the other
    locks of the extent map (ILOCK)         a turn of the model is atomic
    i_rwsem of a truncate                   the kernel takes it where XFS cannot tell
    zeros in a page over a hole             a dirty page gets them, and writes back none of them
    where bios begin and end

Units: pos, length are bytes in the file; times are microseconds.
Errors: ValueError for events that cannot be of such a run.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from fusefs.conform import acts
from fusefs.conform.acts import Act, Group, Unit, group_name, merges, units_of
from fusefs.conform.kernel_events import BIO, MARK, KernelEvent
from fusefs.litmus.test import Litmus
from fusefs.model.geometry import SECTOR_SIZE

BEGIN_MARK: Final = "begin"
END_MARK: Final = "end"

_EVER: Final = 1 << 62

_HOLE: Final = "hole"

_LOCKS: Final = {
    "IOLOCK_SHARED": "inode shared",
    "IOLOCK_EXCL": "inode exclusive",
    "MMAPLOCK_EXCL": "mapping exclusive",
}


@dataclass(slots=True)
class History:
    """What the kernel did in one run.

    tasks      for each task its groups, in order
    ends       for each asynchronous write, by task and place, what ended it
    converted  units of writeback that workers converted; when is not told
    events     how many there were
    kinds      of acts that the file system's events tell of; of others nothing is known
    """

    tasks: list[list[Group]]
    ends: dict[tuple[int, int], list[Group]]
    converted: Counter[Unit]
    events: int = 0
    kinds: frozenset[str] = frozenset(acts.KINDS)


@dataclass(slots=True)
class _Map:
    """What a task has from ->iomap_begin(); addr is where on the device the file would begin."""

    ino: int
    flags: frozenset[str]
    addr: int
    pos: int
    end: int

    def has(self, at: int) -> bool:
        """Whether a byte of the device is in it; zeros around a write are in its first block."""
        return self.pos <= at - self.addr < self.end


@dataclass(slots=True)
class _Actor:
    """Who does things: a task, or a worker of the kernel.

    groups    what it has done; a worker's last one belongs to an end of I/O
    place     of the operation under way, -1 between two
    last_us   the moment of its last event
    """

    groups: list[Group] = field(default_factory=list)
    place: int = -1
    task: int = -1
    last_us: int = 0
    maps: list[_Map] = field(default_factory=list)
    map_flags: frozenset[str] = frozenset()
    map_state: str = ""
    map_pos: int = 0
    map_end: int = 0
    map_us: int = 0
    request_pos: int = 0
    request_end: int = 0
    ends_write: tuple[int, int] | None = None


PAGES_ALONE: Final = frozenset((acts.BEGIN, acts.RETURN, acts.ADD, acts.DROP))
"""What is known of a file system that has no events as XFS's: of ext4."""


def history(
    litmus: Litmus,
    inos: Iterable[int],
    events: Sequence[KernelEvent],
    kinds: frozenset[str] = frozenset(acts.KINDS),
) -> History:
    """inos are those of the litmus file's files, in its order."""
    reader = _Reader(litmus, list(inos), kinds)
    for event in events:
        reader.take(event)
    return reader.finish(len(events))


class _Reader:
    """Takes events, oldest first."""

    def __init__(self, litmus: Litmus, inos: list[int], kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._page = litmus.machine.page
        self._block = litmus.machine.block
        self._tasks = litmus.tasks
        self._files = {ino: number for number, ino in enumerate(inos, 1)}
        self._actors: dict[int, _Actor] = {}
        self._by_task: dict[int, _Actor] = {}
        self._in_flight: dict[tuple[int, int, int], tuple[int, int]] = {}
        self._ends: dict[tuple[int, int], list[Group]] = {}
        self._converted: Counter[Unit] = Counter()

    def finish(self, count: int) -> History:
        for actor in self._actors.values():
            self._close(actor, _EVER)
            _may_ask_later(actor.groups)
        tasks = [self._by_task[number].groups for number in range(len(self._tasks))]
        return History(tasks, self._ends, self._converted, count, self._kinds)

    def take(self, event: KernelEvent) -> None:
        actor = self._actors.setdefault(event.pid, _Actor(last_us=event.time_us))
        if event.name == MARK:
            self._mark(actor, event)
        elif actor.task >= 0 and actor.place < 0:
            return  # between two operations
        elif event.name == BIO:
            self._bio(actor, event)
        elif event.ino in self._files:
            handler = _HANDLERS.get(event.name)
            if handler is not None:
                handler(self, actor, event)
        else:
            return
        actor.last_us = event.time_us

    # -- what an actor has done ------------------------------------------------------

    def _did(self, actor: _Actor, act: Act, from_us: int, event: KernelEvent) -> None:
        """An act that was done at from_us or later, and before the actor's next event."""
        if act.kind not in self._kinds:
            return
        groups = actor.groups
        if actor.ends_write is not None:
            groups = self._ends[actor.ends_write]
        name = group_name(act)
        if groups and merges(act) and groups[-1].name == name:
            group = groups[-1]
        else:
            self._close(actor, event.time_us)
            group = Group(name, from_us=from_us, to_us=_EVER)
            groups.append(group)
        group.to_us = _EVER
        group.add(units_of(act, self._page, self._block), self._page // self._block)

    def _close(self, actor: _Actor, now_us: int) -> None:
        """The last group ended before now; a request begins as late as its first act can be."""
        groups = self._ends[actor.ends_write] if actor.ends_write is not None else actor.groups
        for group in reversed(groups):
            if group.to_us != _EVER:
                break
            if group is not groups[-1] or group.name != acts.BEGIN:
                group.to_us = now_us

    def _act(self, event: KernelEvent, kind: str, start: int, end: int, state: str = "") -> Act:
        return Act(kind, self._files[event.ino], start, end, state)

    # -- events ----------------------------------------------------------------------

    def _mark(self, actor: _Actor, event: KernelEvent) -> None:
        word, task, place = event.text.split()[:3]
        number, at = int(task), int(place)
        actor.task = number
        self._by_task[number] = actor
        operation = self._tasks[number].operations[at]
        kind = acts.BEGIN if word == BEGIN_MARK else acts.RETURN
        actor.ends_write = None
        self._did(actor, acts.edge(kind, operation, at), event.time_us, event)
        if kind == acts.RETURN:
            actor.groups[-1].to_us = event.time_us
        actor.place = at if word == BEGIN_MARK else -1
        actor.maps.clear()

    def _word(self, actor: _Actor) -> str:
        if actor.task < 0 or actor.place < 0:
            return ""
        return self._tasks[actor.task].operations[actor.place].word

    def _lock(self, actor: _Actor, event: KernelEvent) -> None:
        for flag in event.words["flags"].split("|"):
            state = _LOCKS.get(flag)
            if event.name == "xfs_ilock_demote" and flag == "IOLOCK_EXCL":
                state = "inode demoted"
            if state is None or (state == "mapping exclusive" and self._word(actor) == "seek"):
                continue
            self._did(actor, self._act(event, acts.LOCK, 0, 0, state), event.time_us, event)

    def _iter(self, actor: _Actor, event: KernelEvent) -> None:
        actor.map_flags = frozenset(event.words["flags"].split("|"))
        actor.map_pos = event["pos"]
        actor.map_end = (event["pos"] // self._page + 1) * self._page
        actor.map_us = event.time_us

    def _asked(self, actor: _Actor, event: KernelEvent) -> None:
        """xfs_iomap_found, xfs_iomap_alloc: a fault asks up to the end of the file at most."""
        actor.map_end = min(actor.map_end, event["pos"] + event["bytecount"])

    def _mapped(self, actor: _Actor, event: KernelEvent) -> None:
        """iomap_iter_dstmap: what ->iomap_begin() has found."""
        flags = actor.map_flags
        start, end = max(actor.map_pos, event["offset"]), event["offset"] + event["length"]
        addr = event["addr"] - event["offset"]
        actor.maps.append(_Map(event.ino, flags, addr, event["offset"], end))
        state = actor.map_state = event.words["type"].lower()
        if "REPORT" in flags:
            return
        if "DIRECT" in flags:
            kind = acts.DIO_MAP
            end = min(end, actor.request_end)
        elif "ZERO" in flags:
            return
        elif "WRITE" in flags:
            kind = acts.WRITE_MAP
            end = min(end, actor.map_end if "FAULT" in flags else actor.request_end)
        else:
            kind = acts.FILL_MAP
        if end > start:
            self._did(actor, self._act(event, kind, start, end, state), actor.map_us, event)

    def _zeroed(self, actor: _Actor, event: KernelEvent) -> None:
        """iomap_zero_iter; over a hole only the page has zeros of it, and no disk ever."""
        if actor.map_state == _HOLE:
            return
        end = event["offset"] + event["length"]
        self._did(actor, self._act(event, acts.ZERO, event["offset"], end), actor.map_us, event)

    def _direct(self, actor: _Actor, event: KernelEvent) -> None:
        """iomap_dio_rw_begin."""
        word = self._word(actor)
        actor.request_end = event["offset"] + event["length"]
        if word == "pread":
            size = event["size"]
            block = self._block
            actor.request_end = min(actor.request_end, -(-size // block) * block)
        key = event.ino, event["offset"], event["length"]
        self._in_flight.pop(key, None)
        if event["aio"] and actor.task >= 0 and "DIO_FORCE_WAIT" not in event.text:
            self._in_flight[key] = actor.task, actor.place

    def _buffered_write(self, actor: _Actor, event: KernelEvent) -> None:
        found = dict(zip(*(iter(event.text.split()),) * 2, strict=False))
        actor.request_pos = int(found["pos"], 0)
        actor.request_end = actor.request_pos + int(found["bytecount"], 0)

    def _bio(self, actor: _Actor, event: KernelEvent) -> None:
        """Bytes of the last mapping go to or come from the device; others are the journal's."""
        kind, at = event.words["kind"], event["sector"] * SECTOR_SIZE
        length = event["count"] * SECTOR_SIZE
        found = next((each for each in reversed(actor.maps) if each.has(at)), None)
        if found is None or "M" in kind:
            return
        pos, end = at - found.addr, at - found.addr + length
        if "DIRECT" in found.flags:
            what = acts.DIO_WRITE if "W" in kind else acts.DIO_READ
            if what == acts.DIO_READ:
                end = min(end, actor.request_end)
        elif "R" in kind:
            what = acts.FILL_READ
        else:
            return
        for start, stop in self._needed(actor, found, pos, end):
            act = Act(what, self._files[found.ino], start, stop)
            self._did(actor, act, event.time_us, event)

    def _needed(self, actor: _Actor, found: _Map, pos: int, end: int) -> list[tuple[int, int]]:
        """Of what is read for a buffered write, the blocks that it does not overwrite whole."""
        if not found.flags & {"WRITE"} or "DIRECT" in found.flags:
            return [(pos, end)]
        first = -(-actor.request_pos // self._block) * self._block
        last = actor.request_end // self._block * self._block
        if first >= last:
            return [(pos, end)]
        parts = ((pos, min(end, first)), (max(pos, last), end))
        return [(start, stop) for start, stop in parts if start < stop]

    def _page_event(self, actor: _Actor, event: KernelEvent) -> None:
        added = event.name == "mm_filemap_add_to_page_cache"
        kind = acts.ADD if added else acts.DROP
        end = event["ofs"] + (self._page << event["order"])
        since = actor.last_us if added else event.time_us
        self._did(actor, self._act(event, kind, event["ofs"], end), since, event)

    def _ioend(self, actor: _Actor, event: KernelEvent) -> None:
        """iomap_add_to_ioend: a part of a dirty page is on its way; to a hole nothing goes."""
        actor.maps.clear()
        if event.words["type"].lower() == _HOLE:
            return
        end = min(event["pos"] + event["dirty len"], event["offset"] + event["length"])
        self._did(actor, self._act(event, acts.WB_WRITE, event["pos"], end), event.time_us, event)

    def _end_io(self, actor: _Actor, event: KernelEvent) -> None:
        """xfs_end_io_direct_write: whoever does it ends an asynchronous write, or its own."""
        actor.maps.clear()
        key = event.ino, event["pos"], event["bytecount"]
        owner = self._in_flight.pop(key, None)
        if owner is not None:
            self._close(actor, event.time_us)
            actor.ends_write = owner
            self._ends[owner] = []

    def _convert(self, actor: _Actor, event: KernelEvent) -> None:
        """xfs_unwritten_convert: of a direct write; a worker's without one, of a writeback."""
        end = event["pos"] + event["bytecount"]
        if actor.task < 0 and actor.ends_write is None:
            act = self._act(event, acts.WB_CONVERT, event["pos"], end)
            self._converted.update(units_of(act, self._page, self._block))
            return
        state = f"size {event['isize']}"
        act = self._act(event, acts.CONVERT, event["pos"], end, state)
        self._did(actor, act, event.time_us, event)

    def _completed(self, actor: _Actor, event: KernelEvent) -> None:
        """iomap_dio_complete: the end of an asynchronous write has been."""
        actor.maps.clear()
        if actor.ends_write is not None:
            self._close(actor, event.time_us)
            actor.ends_write = None

    def _space(self, actor: _Actor, event: KernelEvent) -> None:
        """Blocks of a file are freed, or given to it."""
        word = self._word(actor)
        if event.name == "xfs_itruncate_extents_start" and word == "truncate":
            size = event["new_size"]
            act = self._act(event, acts.FREE, 0, 0, f"beyond {size}")
        elif event.name == "xfs_bunmap" and word in ("fpunch", "fzero"):
            start, count = event["fileoff"] * self._block, event["fsbcount"] * self._block
            act = self._act(event, acts.PUNCH, start, start + count)
        elif event.name == "xfs_alloc_file_space" and word in ("falloc", "fzero"):
            act = self._act(event, acts.ALLOC, 0, 0)
        else:
            return
        self._did(actor, act, event.time_us, event)


def _may_ask_later(groups: Sequence[Group]) -> None:
    """Of several locks one after the other only the last one's having is sure to be where it is.

    A rw_semaphore is not handed over in the order of asking: who runs may have it before who
    sleeps.  In the model that one has asked later.
    """
    for group, after in reversed(list(pairwise(groups))):
        if group.name in (acts.BEGIN, acts.LOCK) and after.name == acts.LOCK:
            group.to_us = max(group.to_us, after.to_us)


_HANDLERS: Final = {
    "xfs_ilock": _Reader._lock,
    "xfs_ilock_demote": _Reader._lock,
    "iomap_iter": _Reader._iter,
    "xfs_iomap_found": _Reader._asked,
    "xfs_iomap_alloc": _Reader._asked,
    "iomap_iter_dstmap": _Reader._mapped,
    "iomap_zero_iter": _Reader._zeroed,
    "iomap_dio_rw_begin": _Reader._direct,
    "iomap_dio_complete": _Reader._completed,
    "xfs_file_buffered_write": _Reader._buffered_write,
    "mm_filemap_add_to_page_cache": _Reader._page_event,
    "mm_filemap_delete_from_page_cache": _Reader._page_event,
    "iomap_add_to_ioend": _Reader._ioend,
    "xfs_end_io_direct_write": _Reader._end_io,
    "xfs_unwritten_convert": _Reader._convert,
    "xfs_itruncate_extents_start": _Reader._space,
    "xfs_bunmap": _Reader._space,
    "xfs_alloc_file_space": _Reader._space,
}
