"""The coherence checker on a live mount: fusefs/check/ with what it needs of the daemon.

    follow()     the option check may have changed: listen to all events, or no more
    compare()    a buffered read ends: are the pages that it was answered from as they must be?
    lines()      the reports, as .fusefs/reports has them

With check=off nobody listens, and no read comes here.

Errors: FsError(EIO) from compare() with check=fail.  What goes wrong in the checker itself is
logged, and ends it: the mount goes on.
"""

import errno
import json
import logging

from fusefs.check.checker import Checker
from fusefs.engine.events import Noted
from fusefs.live.driver import Driver
from fusefs.live.trace import Trace
from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.options import Check
from fusefs.store.volume import Volume

log = logging.getLogger(__name__)


class Coherence:
    """Of one mount."""

    def __init__(self, volume: Volume, driver: Driver, trace: Trace) -> None:
        self._volume = volume
        self._driver = driver
        self._trace = trace
        self._listens = False
        self.checker = Checker(
            volume.fs, volume.image.read_at, self._inode, self._path, process_name
        )
        self.follow()

    def follow(self) -> None:
        """Begin or end to listen, as the options say."""
        if self._volume.fs.checks == self._listens:
            return
        if self._listens:
            self._trace.unlisten(self._hear)
        else:
            self.checker.begin(self._driver.tasks_running, self._driver.request_count)
            self._trace.listen(self._hear)
        self._listens = not self._listens

    def compare(self, inode: Inode, pos: int, length: int) -> None:
        """In the turn in which a read of this range through the cache has ended."""
        try:
            differs = self._listens and self.checker.look(inode, pos, length)
        except Exception:
            self._give_up()
            return
        if differs and self._volume.fs.options.check is Check.FAIL:
            self.checker.counts.reads_failed += 1
            raise FsError(errno.EIO)

    def lines(self) -> str:
        """A line of JSON for each report."""
        reports = self.checker.reports.values()
        return "".join(f"{json.dumps(report.document())}\n" for report in reports)

    def _hear(self, noted: Noted) -> None:
        try:
            self.checker.take(noted)
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        log.exception("the coherence checker failed, and is off")
        fs = self._volume.fs
        fs.set_options(fs.options.changed("check", Check.OFF.value))
        self.follow()

    # -- what the checker asks ---------------------------------------------------------

    def _inode(self, ino: int) -> Inode | None:
        node = self._volume.nodes.in_memory.get(ino)
        return None if node is None else node.inode

    def _path(self, ino: int) -> str:
        """From the root of the mount; "" if it has no name, or its names cannot be read."""
        try:
            return self._volume.namespace.path(ino)
        except FsError:
            return ""


def process_name(pid: int) -> str:
    """As long as the thread lives; else ""."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""
