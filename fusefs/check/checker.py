"""Which pages are compared when, and what was found: the checker of one mount.

It hears every event (take), and is asked about the pages that a read was answered from (look).

    take()    a direct write, a truncate or a fallocate that ends has its own pages looked at
    look()    pages of a range: does any differ?

What is not compared, as it may differ for a while: bytes of a direct write from its submit to its
end; a file whose blocks a truncate or a fallocate takes away just now; what compare.py leaves out;
and everything, until all requests have ended that were under way when the checker began.

A page that was compared is not compared again before something can have changed.  Every turn of a
request that changes its file ends with an event; so the file has changed at the latest event of
such a request, and a page is as it was if that came before its comparison.  A fill needs no such
note: it makes a new page, or one that had not been compared as a whole.

Units: pos, length, start, stop are bytes in the file.
Invariants:
    (X1) what is reported is a defect: in today's order nothing ever is (docs/coherence.md);
    (X2) a page that is not compared again holds what it did when it was, and so does the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fusefs.check.as_litmus import as_litmus
from fusefs.check.cause import DIRECT, FALLOCATE, TRUNCATE, Cause, cause
from fusefs.check.compare import Difference, ReadAt, compare, is_comparable
from fusefs.check.history import History
from fusefs.check.report import RULE, Namer, Report
from fusefs.engine.events import ENDED, GRANTED, Noted, Request
from fusefs.engine.gate import AT_ONCE
from fusefs.litmus.text import text
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import FILE_SIZE_MAX
from fusefs.model.inode import Inode
from fusefs.model.options import NONE
from fusefs.model.orders import TODAY
from fusefs.model.page_cache import Page

READ: Final = "read"

UNCHANGING: Final = frozenset(
    [READ, "lseek", "fsync", "fsyncdir", "writeback", "commit", "inactivate", "utimens", *AT_ONCE]
)
"""Operations after which map, image and pages agree as before: what they write back was dirty, and
is compared only then."""

REPORTED: Final = -1
"""page.compared of one that differs, and was reported."""

REPORTS_MAX: Final = 64
FILES_MAX: Final = 4096
"""Files of which it is known when they changed; of all others the latest of those forgotten."""


@dataclass(slots=True)
class Counts:
    """Since the mount; shown in .fusefs/status.  requests_awaited: until they end nothing is
    compared."""

    pages_compared: int = 0
    pages_stale: int = 0
    reads_failed: int = 0
    reports: int = 0
    reports_dropped: int = 0
    requests_awaited: int = 0


class Checker:
    """read_at reads the image; inode_of, path and comm answer for a number."""

    def __init__(
        self,
        fs: Filesystem,
        read_at: ReadAt,
        inode_of: Callable[[int], Inode | None],
        path: Namer,
        comm: Namer,
    ) -> None:
        self.counts = Counts()
        self.reports: dict[tuple[str, str, str], Report] = {}
        self._fs = fs
        self._read_at = read_at
        self._inode_of = inode_of
        self._path = path
        self._comm = comm
        self._history = History()
        self._under_way: dict[int, dict[int, tuple[int, int]]] = {}
        self._time = 1
        self._changed_at: dict[int, int] = {}
        self._others_changed_at = 1
        self._last_unseen = 0

    def begin(self, requests_under_way: int, last_request: int) -> None:
        """From now on it hears of everything; of what was before it knows nothing."""
        self._history.clear(last_request)
        self._under_way.clear()
        self._forget_changes()
        self.counts.requests_awaited = requests_under_way
        self._last_unseen = last_request

    def clear(self) -> None:
        """Forget the reports."""
        self.reports.clear()
        self.counts.reports = self.counts.reports_dropped = 0

    def _forget_changes(self) -> None:
        self._time += 1
        self._changed_at.clear()
        self._others_changed_at = self._time

    # -- what happens ------------------------------------------------------------------

    def take(self, noted: Noted) -> None:
        """An event."""
        _, request, event, step, pos, length, number = noted
        if event == ENDED:
            self._ended(noted, request, number)
            return
        ino = request.ino
        inode = self._inode_of(ino) if self._history.wants_size(request) else None
        self._history.take(noted, None if inode is None else inode.size)
        if request.operation not in UNCHANGING:
            self._note_change(ino)
            if event == GRANTED and step in DIRECT:
                self._note_direct(request, pos, pos + length)

    def _note_change(self, ino: int) -> None:
        if len(self._changed_at) >= FILES_MAX:
            self._forget_changes()
        self._time += 1
        self._changed_at[ino] = self._time

    def _note_direct(self, request: Request, start: int, stop: int) -> None:
        """A direct write is under way over a range, and what it pads with zeros beside it."""
        size = self._fs.geometry.block_size
        start, stop = start // size * size, -(-stop // size) * size
        writes = self._under_way.setdefault(request.ino, {})
        if request.number in writes:
            known = writes[request.number]
            start, stop = min(start, known[0]), max(stop, known[1])
        writes[request.number] = start, stop

    def _ended(self, noted: Noted, request: Request, number: int) -> None:
        if request.number <= self._last_unseen and self.counts.requests_awaited:
            self.counts.requests_awaited -= 1
        if self._history.knows(request):
            self._history.take(noted)
        operation, ino = request.operation, request.ino
        if operation in UNCHANGING:
            return
        self._note_change(ino)
        changed = self._range_changed(request)
        if changed is None:
            return
        inode = self._inode_of(ino)
        if inode is not None:
            start, stop = changed
            if number < 0 and operation not in (TRUNCATE, FALLOCATE):
                self._excuse(inode, start, stop)
            self.look(inode, start, stop - start)

    def _range_changed(self, request: Request) -> tuple[int, int] | None:
        """What a request that has ended had to do with; it is no longer under way."""
        if request.operation == TRUNCATE:
            return request.pos, FILE_SIZE_MAX
        if request.operation == FALLOCATE:
            return request.pos, request.pos + request.length
        writes = self._under_way.get(request.ino, {})
        changed = writes.pop(request.number, None)
        if not writes:
            self._under_way.pop(request.ino, None)
        return changed

    def _excuse(self, inode: Inode, start: int, stop: int) -> None:
        """A direct write failed: what of it is on the image nobody knows, and its caller was told.

        Linux drops no page then.  Whoever fills one from now on gets what is there.
        """
        for index in inode.mapping.present(*self._fs.geometry.page_range(start, stop - start)):
            inode.mapping.pages[index].error = True

    # -- pages -------------------------------------------------------------------------

    def look(self, inode: Inode, pos: int, length: int) -> bool:
        """Compare what can be of the pages of a range; whether any differs."""
        if self.counts.requests_awaited or inode.mapping.lock.held_exclusive:
            return False
        pages = inode.mapping.pages
        since = self._changed_at.get(inode.ino, self._others_changed_at)
        first, end = self._fs.geometry.page_range(pos, length)
        indices = range(first, end)
        differs = False
        for index in indices if end - first <= len(pages) else inode.mapping.present(first, end):
            page = pages.get(index)
            if page is None or page.compared >= since or not is_comparable(page):
                continue
            differs |= self._differs(inode, page)
        return differs

    def _differs(self, inode: Inode, page: Page) -> bool:
        busy = self._under_way.get(inode.ino, {}).values()
        is_whole, difference = compare(page, inode, self._fs.geometry, self._read_at, busy)
        self.counts.pages_compared += 1
        if difference is None:
            if is_whole:
                page.compared = self._time
            return False
        if page.compared != REPORTED:
            page.compared = REPORTED
            self.counts.pages_stale += 1
            self._report(inode, page, difference)
        return True

    # -- reports -----------------------------------------------------------------------

    def _report(self, inode: Inode, page: Page, difference: Difference) -> None:
        size = self._fs.geometry.page_size
        start, stop = page.index * size, (page.index + 1) * size
        found = cause(self._history.latest(inode.ino), difference, start, stop)
        known = self.reports.get((RULE, found.before, found.after))
        if known is not None:
            known.count += 1
            return
        if len(self.reports) >= REPORTS_MAX:
            self.counts.reports_dropped += 1
            return
        pids = [story.request.pid for story in (found.change, found.fill, found.store) if story]
        orders = self._orders()
        report = Report(
            inode.ino,
            self._path(inode.ino),
            *(start, stop, difference, found),
            {pid: self._comm(pid) for pid in pids},
            orders,
            self._litmus(difference, found, orders),
        )
        self.counts.reports += 1
        self.reports[report.key] = report

    def _orders(self) -> str:
        """The orders in force, as litmus --era takes them; "" if they are today's."""
        options = self._fs.options
        if options.era not in (NONE, TODAY):
            return options.era
        return "+".join(sorted(options.order_names))

    def _litmus(self, difference: Difference, found: Cause, orders: str) -> str:
        between = f"B filled the page between A's {found.before} and {found.after}."
        number = self.counts.reports + 1
        prose = "From a report of a live mount.", between
        geometry = self._fs.geometry
        litmus = as_litmus(f"report-{number}", prose, orders, geometry, difference, found)
        return "" if litmus is None else text(litmus)
