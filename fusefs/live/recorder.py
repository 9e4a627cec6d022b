"""Every event of a mount, with what each request met, for whoever reads .fusefs/record.

Whoever has that file open has it recorded; reading gives the lines so far, and nothing at all if
there are none: the end of the file is not the end of the recording.  fusefs/engine/recording.py
has the lines.

A reader who is too slow costs the mount no memory and no time: what finds no room is not kept, and
a line says how many lines are missing where.

    Recorder.take()    the next lines
    Recorder.close()   nobody listens any more

What a request met is noted with its first event, before anything that it does: the file's size, and
of the pages that it may touch each block's state in the map and in the cache.

Units: pos and end are bytes in the file.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable

from fusefs.engine.events import ENDED, Noted, Request, began, event
from fusefs.engine.recording import (
    CACHED,
    DIRTY,
    HEAD,
    HOLE,
    UNCACHED,
    UNWRITTEN,
    WRITTEN,
    Lost,
    Machine,
    Named,
    State,
)
from fusefs.live.trace import Trace, now_ns
from fusefs.model import chunk
from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.inode import Inode

log = logging.getLogger(__name__)

QUEUE_BYTES_MAX = 8 << 20
"""Lines that nobody has taken yet: some 80,000."""

STATE_BLOCKS_MAX = 4096
"""Of one request: what it touches beyond that is not told."""

PATHS_MAX = 65_536
"""Files whose path was told; when there are more, all are told again."""

STATES = {chunk.HOLE: HOLE, chunk.DELALLOC: HOLE, chunk.UNWRITTEN: UNWRITTEN, chunk.MAPPED: WRITTEN}


class Recorder:
    """One recording, from now on.

    inode_of says which inode a number is, if it is a regular file's and in memory; path_of says
    what it is called.
    """

    def __init__(
        self,
        fs: Filesystem,
        trace: Trace,
        inode_of: Callable[[int], Inode | None],
        path_of: Callable[[int], str],
    ) -> None:
        self._fs = fs
        self._trace = trace
        self._inode_of = inode_of
        self._path_of = path_of
        self._since_ns = now_ns()
        self._under_way: set[int] = set()
        self._told: set[int] = set()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        options, geometry = fs.options.formatted(), fs.geometry
        self._say(HEAD)
        self._say(
            Machine(
                *(geometry.page_size, geometry.block_size, fs.options.readahead),
                *(options["era"], options["order"]),
            )
        )
        trace.listen(self.hear)

    def close(self) -> None:
        self._trace.unlisten(self.hear)

    def take(self, size: int) -> bytes:
        """Up to size bytes of the lines so far; the last one may go on with the next call."""
        taken: list[bytes] = []
        if not self._lines:
            self._tell_lost()  # nothing may ever come behind them
        while self._lines and size:
            line = self._lines.popleft()
            if len(line) > size:
                self._lines.appendleft(line[size:])
                line = line[:size]
            taken.append(line)
            size -= len(line)
            self._bytes -= len(line)
        return b"".join(taken)

    # -- what happens ------------------------------------------------------------------

    def hear(self, noted: Noted) -> None:
        """An event.  Nothing that fails here may fail the request."""
        try:
            self._note(noted)
        except Exception:
            log.exception("an event could not be recorded")
            self._lost += 1

    def _note(self, noted: Noted) -> None:
        request = noted[1]
        if request.began_ns < self._since_ns:
            return
        if request.number not in self._under_way:
            self._under_way.add(request.number)
            self._name(request.ino)
            inode = self._inode_of(request.ino)
            if inode is not None:
                self._say(self._state(inode, request))
            self._say(began(request))
        self._say(event(noted))
        if noted[2] == ENDED:
            self._under_way.discard(request.number)

    def _name(self, ino: int) -> None:
        if ino in self._told or not ino:
            return
        if len(self._told) == PATHS_MAX:
            self._told.clear()
        if self._say(Named(ino, self._path_of(ino))):
            self._told.add(ino)

    def _say(self, line: object) -> bool:
        """Whether there was room for it."""
        data = f"{line}\n".encode()
        limit = QUEUE_BYTES_MAX // 2 if self._lost else QUEUE_BYTES_MAX  # one gap, not many
        if self._bytes + len(data) > limit:
            self._lost += 1
            return False
        self._tell_lost()
        self._append(data)
        return True

    def _tell_lost(self) -> None:
        """Where they are missing: behind all that is kept."""
        if self._lost:
            self._append(f"{Lost(self._lost)}\n".encode())
            self._lost = 0

    def _append(self, data: bytes) -> None:
        self._lines.append(data)
        self._bytes += len(data)

    # -- what a request met ------------------------------------------------------------

    def _state(self, inode: Inode, request: Request) -> State:
        where: Iterable[tuple[int, int]] = [(request.pos, request.pos + max(request.length, 1))]
        page = self._fs.geometry.page_size
        if request.operation == "read":  # what comes after it may be read ahead
            ahead = request.pos + request.length + self._fs.options.readahead
            where = [(request.pos, max(min(ahead, inode.size), request.pos + 1))]
        elif request.operation == "truncate":
            where = [(min(request.pos, inode.size), max(request.pos, inode.size))]
        elif request.operation in ("fsync", "writeback"):
            where = [(index * page, (index + 1) * page) for index in inode.mapping.pages_dirty]
        return State(request.number, inode.size, tuple(met(self._fs, inode, where)))


def met(
    fs: Filesystem, inode: Inode, where: Iterable[tuple[int, int]]
) -> Iterable[tuple[int, tuple[str, ...]]]:
    """The blocks of whole pages around some ranges, as State has them."""
    page_size, block_size = fs.geometry.page_size, fs.geometry.block_size
    per_page = page_size // block_size
    left = STATE_BLOCKS_MAX
    for start, end in sorted(where):
        first, last = start // page_size, -(-end // page_size)
        last = min(last, first + left // per_page)
        if last <= first:
            continue
        left -= (last - first) * per_page
        try:
            extents = [
                STATES[mapping.state]
                for mapping in inode.extents.mappings(first * per_page, last * per_page)
                for _ in range(mapping.count)
            ]
        except FsError:  # the request meets it, too
            continue
        cached = [each for index in range(first, last) for each in _cached(inode, index, per_page)]
        yield (
            first * page_size,
            tuple(state + held for state, held in zip(extents, cached, strict=True)),
        )


def _cached(inode: Inode, index: int, per_page: int) -> list[str]:
    """Of each block of a page."""
    page = inode.mapping.pages.get(index)
    if page is None:
        return [UNCACHED] * per_page
    return [
        DIRTY
        if page.blocks_dirty >> bit & 1
        else CACHED
        if page.blocks_uptodate >> bit & 1
        else UNCACHED
        for bit in range(per_page)
    ]
