"""When somebody must wait, so that others may come in between: the schedule of a mount.

A conversion takes a time, and a pause comes before a fill, so that programs on a quiet machine
meet each other as on a busy one.  Nobody pays for it who is alone:

    a conversion    takes no time unless somebody else may fill a page over the range
    a fill          has no pause, unless somebody else writes direct, or has just done so
    a window        of an order of the past (model/orders.py) takes as long as a conversion, if the
                    file is open twice; without such an order there is none

until() is what the driver asks about each.  Gates, which hold whom they are told to, are asked
before it: gatekeeper.py.

Somebody is a thread, as the kernel gives a request the number of its thread.  An open file is
his who uses it first, and everybody's once another thread has used it, too.

    opened(), closed()    who has a file open, and whether to read through the cache or to
                          write direct
    arrives()             what a request tells: its flags count, which may have been switched

Who has a file open to read it, and has not read for IDLE_S, does not count until he reads again.
Nobody fills a page behind the one in which the file ends, so a direct write that begins
there is converted unseen: the kernel lets nobody else write while a write extends the file.
Under an order that has a window, others see a conversion, too: then any second open file of it
counts.
A thread that has several asynchronous requests under way can meet itself; it shows that only
while a conversion takes time, so if it reads through the cache, too, one is tried now and then.

Units: times are seconds, on the clock that was given; pos is bytes in the file.
Invariants:
    (Y1) a thread that nobody else can meet in a file is not delayed there, but for one
         conversion in each TRY_S if it reads the file through the cache itself, and under an
         order that has a window if it has the file open twice;
    (Y2) conversions of one file are done in the order in which they are asked for.
"""

import os
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fusefs.engine.events import Request
from fusefs.model.filesystem import Filesystem
from fusefs.model.inode import Inode
from fusefs.model.steps import Kind, Step

FILL: Final = "buffered.read.page_lock"
"""The step before which a fill may pause."""

JUST_S: Final = 0.1
"""How long it counts that somebody has written direct, or had the file open to read it."""

IDLE_S: Final = 1.0
"""How long a reader counts after he has read, or has met somebody who has just opened the file."""

TRY_S: Final = 0.1
"""Between two conversions that only show whether a thread has others under way beside them."""

SHARED: Final = 0
"""Stands for the threads of an open file that several have used.  No thread has this number."""

LOOK_S: Final = JUST_S / 10
"""Between two looks at which files can be forgotten."""

NEVER: Final = float("-inf")

O_ACCMODE: Final = os.O_ACCMODE
O_RDONLY: Final = os.O_RDONLY
O_WRONLY: Final = os.O_WRONLY
O_DIRECT: Final = os.O_DIRECT


@dataclass(slots=True)
class Delays:
    """How many there were since the mount; shown in .fusefs/status."""

    conversions_delayed: int = 0
    fills_delayed: int = 0
    windows_delayed: int = 0


class Last:
    """When threads did something last: pid at at, and the last of all others at other_at."""

    __slots__ = ("at", "other_at", "pid")

    def __init__(self) -> None:
        self.pid = SHARED
        self.at = self.other_at = NEVER

    def note(self, pid: int, at: float) -> None:
        """A thread does it; not always in the order of time, as a conversion ends later."""
        if pid == self.pid:
            if at > self.at:
                self.at = at
        elif at >= self.at:
            self.other_at = self.at
            self.pid, self.at = pid, at
        elif at > self.other_at:
            self.other_at = at

    def of_others(self, pid: int) -> float:
        """When another thread did it last."""
        return self.other_at if pid == self.pid else self.at


class FileUse:
    """What one file's users do, as long as it is open, and JUST_S longer.

    readers     open files that read through the cache, by thread
    writers     open files that write direct, by thread
    read        who reads through the cache; kept while several have the file open, as nobody else
                asks
    wrote       who writes direct, opens the file for it, or has a conversion under way
    gone        who closed an open file of readers
    converting  until when the last conversion of one of readers takes time
    busy_until  when the last conversion that was asked for is done
    """

    __slots__ = (
        *("busy_until", "closed_at", "converting", "inode", "open_count", "readers", "writers"),
        *("gone", "overlapped_at", "overlapped_pid", "read", "try_at", "wrote"),
    )

    def __init__(self, inode: Inode) -> None:
        self.inode = inode
        self.open_count = 0
        self.closed_at = NEVER
        self.readers: dict[int, int] = {}
        self.writers: dict[int, int] = {}
        self.converting: dict[int, float] = {}
        self.busy_until = NEVER
        self.overlapped_pid = SHARED
        self.overlapped_at = NEVER
        self.try_at = NEVER
        self.read = Last()
        self.wrote = Last()
        self.gone = Last()

    def others(self, users: dict[int, int], pid: int) -> int:
        """How many threads but pid are among users."""
        return len(users) - (pid in users)


class Opened:
    """One open file: whose it is, and what for."""

    __slots__ = ("file", "is_used", "pid", "reads", "writes")

    def __init__(self, file: FileUse, pid: int, *, reads: bool, writes: bool) -> None:
        self.file = file
        self.pid = pid
        self.is_used = False
        self.reads = reads
        self.writes = writes


def exponential(mean_s: float) -> float:
    """A random time of that mean, exponentially distributed."""
    return random.expovariate(1 / mean_s)


def _add(users: dict[int, int], pid: int) -> None:
    users[pid] = users.get(pid, 0) + 1


def _remove(users: dict[int, int], pid: int) -> None:
    if users[pid] == 1:
        del users[pid]
    else:
        users[pid] -= 1


class Timing:
    """The schedule of one mount.  clock and draw (a mean to a time) are for its tests."""

    def __init__(
        self,
        fs: Filesystem,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float], float] = exponential,
    ) -> None:
        self.delays = Delays()
        self.watched = {FILL}
        self._fs = fs
        self._orders = fs.orders
        self._watch()
        self._clock = clock
        self._draw = draw
        self._files: dict[int, FileUse] = {}
        self._closed: OrderedDict[int, FileUse] = OrderedDict()
        self._look_at = NEVER

    def _watch(self) -> None:
        """The orders in force are others now: so are their windows."""
        self._orders = self._fs.orders
        self.watched.clear()
        self.watched |= {FILL, *self._orders.windows}

    # -- who is there ------------------------------------------------------------------

    def opened(self, inode: Inode, pid: int, flags: int) -> Opened:
        """A file was opened; pid is the caller's."""
        if self._fs.orders is not self._orders:
            self._watch()
        file = self._files.get(inode.ino)
        if file is None:
            self._files[inode.ino] = file = FileUse(inode)
        file.inode = inode  # memory may have let it go since the last close
        file.open_count += 1
        self._closed.pop(inode.ino, None)
        access, direct = flags & O_ACCMODE, bool(flags & O_DIRECT)
        reads, writes = access != O_WRONLY and not direct, access != O_RDONLY and direct
        if file.open_count > 1:  # from now on it is kept who reads; until now it was not
            file.read.at = file.read.other_at = self._clock()
        opened = Opened(file, pid, reads=reads, writes=writes)
        if reads:
            _add(file.readers, pid)
        if writes:
            _add(file.writers, pid)
            file.wrote.note(pid, self._clock())
        return opened

    def closed(self, opened: Opened) -> None:
        """The open file is gone; its file is remembered for a while."""
        file, now = opened.file, self._clock()
        if opened.reads:
            _remove(file.readers, opened.pid)
            file.converting.pop(opened.pid, None)
            file.gone.note(opened.pid, now)
        if opened.writes:
            _remove(file.writers, opened.pid)
        file.open_count -= 1
        if not file.open_count:
            file.closed_at = now
            self._closed[file.inode.ino] = file
            if now >= self._look_at:
                self._look_at = now + LOOK_S
                self._forget(now)

    def _forget(self, now: float) -> None:
        """Let files go that were closed long enough ago."""
        while self._closed:
            ino, file = next(iter(self._closed.items()))
            if now - file.closed_at < JUST_S:
                return
            del self._closed[ino], self._files[ino]

    def arrives(self, opened: Opened, pid: int, direct: bool, writes: bool) -> None:
        """A read or a write begins."""
        if self._fs.orders is not self._orders:
            self._watch()
        if opened.pid != pid:
            self._passed_on(opened, pid)
        opened.is_used = True
        file = opened.file
        if direct:
            if writes:
                if not opened.writes:
                    opened.writes = True
                    _add(file.writers, opened.pid)
                file.wrote.note(pid, self._clock())  # for him, too, who opens it a moment later
        elif not writes:
            if not opened.reads:
                opened.reads = True
                _add(file.readers, opened.pid)
            if file.open_count > 1 or opened.pid == SHARED:
                file.read.note(pid, self._clock())
        if file.converting:
            self._note_overlap(file, pid)

    def _passed_on(self, opened: Opened, pid: int) -> None:
        """Another thread uses an open file: a child that inherited it, or one of several."""
        owner = SHARED if opened.is_used else pid
        if opened.pid == owner:
            return
        if opened.reads:
            _remove(opened.file.readers, opened.pid)
            _add(opened.file.readers, owner)
            opened.file.read.at = opened.file.read.other_at = self._clock()
        if opened.writes:
            _remove(opened.file.writers, opened.pid)
            _add(opened.file.writers, owner)
        opened.pid = owner

    def _note_overlap(self, file: FileUse, pid: int) -> None:
        """A thread whose last write is still under way sends asynchronous ones."""
        until = file.converting.get(pid)
        if until is None:
            return
        now = self._clock()
        if now < until:
            file.overlapped_pid, file.overlapped_at = pid, now
        else:
            del file.converting[pid]

    # -- how long ----------------------------------------------------------------------

    def until(self, request: Request, step: Step) -> float | None:
        """When a conversion, or who stands before a fill or a window, may go on; None: at once."""
        if step.kind is Kind.DELAY:
            return self.conversion(request.ino, request.pid, step.pos, step.duration_s)
        pause_s = self.fill_pause(request.ino, request.pid) if step.name == FILL else 0.0
        if step.name in self._fs.orders.windows:
            pause_s += self.window_pause(request.ino)
        return self._clock() + pause_s if pause_s else None

    def window_pause(self, ino: int) -> float:
        """In the window of an order."""
        mean_s = self._fs.options.conversion_delay
        file = self._files.get(ino)
        if not mean_s or file is None or file.open_count < 2:
            return 0.0
        self.delays.windows_delayed += 1
        return self._draw(mean_s)

    def fill_pause(self, ino: int, pid: int) -> float:
        """Before missing pages are looked for."""
        mean_s = self._fs.options.jitter
        file = self._files.get(ino)
        if not mean_s or file is None:
            return 0.0
        if self._clock() - file.wrote.of_others(pid) > JUST_S:
            return 0.0
        self.delays.fills_delayed += 1
        return self._draw(mean_s)

    def conversion(self, ino: int, pid: int, pos: int, mean_s: float) -> float | None:
        """When a conversion that is asked for now is done; None: at once, as nobody sees it.

        As a transaction in a log, it waits for the earlier ones of its file, and then takes
        a time that varies: exponentially distributed, with the given mean.  With a fixed
        time, processes that began together stay in step, and none reads while another's
        conversion is under way.
        """
        file = self._files.get(ino)
        now = self._clock()
        if file is None or not self._is_seen(file, pid, pos, now):
            return None
        if not mean_s:
            return now
        self.delays.conversions_delayed += 1
        done = max(now, file.busy_until) + self._draw(mean_s)
        file.busy_until = done
        if pid in file.readers:
            file.converting[pid] = done
        file.wrote.note(pid, done)
        return done

    def _is_seen(self, file: FileUse, pid: int, pos: int, now: float) -> bool:
        """Could somebody fill a page over a conversion of what begins at pos?"""
        if self._fs.orders.windows and file.open_count > 1:
            return True
        page_size = self._fs.geometry.page_size
        if pos >= -(-file.inode.size // page_size) * page_size:
            return False
        if file.others(file.readers, pid) and now - file.read.of_others(pid) <= IDLE_S:
            return True
        if now - file.gone.of_others(pid) <= JUST_S:
            return True
        if pid not in file.readers:
            return False
        if file.overlapped_pid == pid and now - file.overlapped_at <= JUST_S:
            return True
        if now < file.try_at:
            return False
        file.try_at = now + TRY_S
        return True
