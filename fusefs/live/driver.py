"""Drives the model's coroutines: carries out their steps, and decides who goes on when.

A request's coroutine is started at once, and runs until it must wait: for a lock, a
delay, or a commit.  Most never do; their reply is sent before the next request is read.
Image reads and writes are done in place: the image is a file in the host's page cache.

    start()       a request arrives: run it as far as it goes
    later()       a call is put off, by a timer of the same kind
    run_ready()   those whose wait is over go on, and timers that ran out
    run()         the trio side: sleeps until the next timer, and commits

Errors: FsError of a request goes to whoever started it.  What the image fails with is
logged, but not more often than the kernel would.  Any other exception is logged with its
traceback and becomes FsError(EIO): the request fails, the mount goes on.
Invariants:
    (V1) done() is called exactly once for each start();
    (V2) only one task runs at a time: a task that wakes others never runs inside them.
"""

import errno
import heapq
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import trio

from fusefs.errors import FsError
from fusefs.filesystem import Filesystem
from fusefs.inode import Inode
from fusefs.live.trace import Trace, now_ns
from fusefs.steps import LOAD_MAP, PASS, READ_IMAGE, WRITE_IMAGE, Buffer, Kind, Step

log = logging.getLogger(__name__)

LOG_FILES_MAX = 1024
"""Files whose last conversion is remembered before those long done are forgotten."""

JITTERED: Final = frozenset({"buffered.read.page_lock"})
"""PASS steps before which a task pauses for a random time: the jitter option."""

ERRORS_LOGGED_MAX = 10
ERRORS_PERIOD_S = 5.0
"""Image errors logged in each period: printk_ratelimited(), which a failing disk needs."""

T = TypeVar("T")
ModelCoroutine = Coroutine[Step, Any, T]
Done = Callable[[Any, FsError | None], None]
Call = Callable[[], None]


class Image(Protocol):
    """What the driver needs of an image; addr and length are bytes."""

    def read_at(self, addr: int, length: int) -> Buffer: ...
    def write_at(self, addr: int, data: Buffer) -> None: ...


class Task:
    """One request under way."""

    __slots__ = ("coroutine", "done", "ino", "operation", "pid", "step")

    def __init__(
        self, coroutine: ModelCoroutine[Any], done: Done, operation: str, ino: int, pid: int
    ) -> None:
        self.coroutine = coroutine
        self.done = done
        self.operation = operation
        self.ino = ino
        self.pid = pid
        self.step: Step | None = None


class Driver:
    """The live driver.  load_map and commit are the storage's; see fusefs/live/volume.py.

    before_space is awaited before a commit that somebody needs for free blocks.
    """

    def __init__(
        self,
        fs: Filesystem,
        image: Image,
        load_map: Callable[[Inode, int, int], None],
        commit: Callable[[], Awaitable[None]],
        trace: Trace,
        before_space: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self.trace = trace
        self.tasks_running = 0
        self._fs = fs
        self._image = image
        self._load_map = load_map
        self._commit = commit
        self._before_space = before_space
        self._ready: deque[tuple[Task | Call, FsError | None]] = deque()
        self._timers: list[tuple[float, int, Task | Call]] = []
        self._timer_count = 0
        self._log_busy_until: dict[int, float] = {}
        self._timer_first = trio.Event()
        self._commit_tasks: list[Task] = []
        self._commit_wanted = trio.Event()
        self._errors_since = float("-inf")
        self._error_count = 0

    # -- for those who have requests -------------------------------------------------

    def start(
        self,
        coroutine: ModelCoroutine[Any],
        done: Done,
        operation: str,
        ino: int = 0,
        pid: int = 0,
    ) -> None:
        """Run a request; done(result, None) or done(None, error) is called when it ends."""
        self.tasks_running += 1
        self._advance(Task(coroutine, done, operation, ino, pid), None, None)

    def put_off(self) -> None:
        """A request goes on outside, by go_on(); until then it counts as one under way."""
        self.tasks_running += 1

    def go_on(self, call: Call) -> None:
        self._make_call(call)

    def later(self, delay_s: float, call: Call) -> None:
        """Make a call after a time; until then it counts as a request under way."""
        self.tasks_running += 1
        self._park_until(call, time.monotonic() + delay_s)

    async def call(
        self, coroutine: ModelCoroutine[T], operation: str, ino: int = 0, pid: int = 0
    ) -> T:
        """Run a request from a trio task, and wait for it; raises its FsError."""
        outcome: list[tuple[Any, FsError | None]] = []
        ended = trio.Event()

        def done(result: Any, error: FsError | None) -> None:
            outcome.append((result, error))
            ended.set()

        self.start(coroutine, done, operation, ino, pid)
        self.run_ready()
        if not outcome:
            with trio.CancelScope(shield=True):  # the request goes on, whoever asked
                await ended.wait()
        result, error = outcome[0]
        if error is not None:
            raise error
        value: T = result
        return value

    def run_ready(self) -> bool:
        """Let all go on whose wait is over; never blocks.  True if nobody is under way then.

        Those that become ready meanwhile are served next time, so that nobody is kept out.
        """
        timers = self._timers
        if timers:
            now = time.monotonic()
            while timers and timers[0][0] <= now:
                self._ready.append((heapq.heappop(timers)[2], None))
        for _ in range(len(self._ready)):
            task, error = self._ready.popleft()
            if isinstance(task, Task):
                self._grant(task, error)
            else:
                self._make_call(task)
        if self._ready:  # there may be no next request: _run_timers() goes on with them
            self._timer_first.set()
        return not self.tasks_running

    # -- carrying out steps ----------------------------------------------------------

    def _grant(self, task: Task, error: FsError | None) -> None:
        """A wait is over: the task goes on behind its step."""
        step = task.step
        assert step is not None
        self.trace.add(
            (now_ns(), task.pid, task.operation, task.ino, step.name, step.pos, step.length)
        )
        self._advance(task, None, error)

    def _advance(self, task: Task, value: Any, error: BaseException | None) -> None:
        """Run a task until it ends or must wait."""
        coroutine, add = task.coroutine, self.trace.add
        pid, operation, ino = task.pid, task.operation, task.ino
        while True:
            try:
                step = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                self._end(task, stop.value, None)
                return
            except FsError as failure:
                self._end(task, None, failure)
                return
            except Exception:
                log.exception("%s of inode %d failed", operation, ino)
                self._end(task, None, FsError(errno.EIO))
                return
            kind, name = step.kind, step.name
            if kind is PASS:
                if name in JITTERED and self._fs.options.jitter:
                    self._park(task, step)
                    return
                add((now_ns(), pid, operation, ino, name, step.pos, step.length))
                value = error = None
                continue
            if kind is not LOAD_MAP and kind is not READ_IMAGE and kind is not WRITE_IMAGE:
                self._park(task, step)
                return
            add((now_ns(), pid, operation, ino, name, step.pos, step.length))
            value = error = None
            try:
                if kind is LOAD_MAP:
                    assert step.inode is not None
                    self._load_map(step.inode, step.pos, step.length)
                elif kind is READ_IMAGE:
                    value = self._image.read_at(step.addr, step.length)
                else:
                    assert step.data is not None
                    self._image.write_at(step.addr, step.data)
            except FsError as refusal:  # of the map
                error = refusal
            except OSError as image_error:
                self._log_image_error(task, step, image_error)
                error = FsError(image_error.errno or errno.EIO)
            except Exception:
                log.exception("%s of inode %d, %s", operation, ino, step.name)
                error = FsError(errno.EIO)

    def _log_image_error(self, task: Task, step: Step, error: OSError) -> None:
        now = time.monotonic()
        if now - self._errors_since > ERRORS_PERIOD_S:
            if self._error_count > ERRORS_LOGGED_MAX:
                log.error("%d more image errors", self._error_count - ERRORS_LOGGED_MAX)
            self._errors_since, self._error_count = now, 0
        self._error_count += 1
        if self._error_count <= ERRORS_LOGGED_MAX:
            log.error(
                "%s of inode %d, %s %d+%d: %s",
                *(task.operation, task.ino, step.name, step.pos, step.length, error),
            )

    def _park(self, task: Task, step: Step) -> None:
        """Set a task aside until what it waits for has come."""
        task.step = step
        if step.kind is Kind.WAIT:
            assert step.waiter is not None
            if step.waiter.woken:
                self._ready.append((task, None))
            else:
                step.waiter.notify = lambda: self._ready.append((task, None))
        elif step.kind is Kind.DELAY:
            self._park_until(task, self._log_time(task.ino, step.duration_s))
        elif step.kind is Kind.COMMIT:
            self._commit_tasks.append(task)
            self._commit_wanted.set()
        else:
            self._park_until(task, time.monotonic() + self.jitter())

    def _park_until(self, task: Task | Call, deadline: float) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (deadline, self._timer_count, task))
        if self._timers[0][2] is task:
            self._timer_first.set()

    def jitter(self) -> float:
        """A pause in seconds, exponentially distributed, as the mount's jitter option says."""
        mean_s = self._fs.options.jitter
        return random.expovariate(1 / mean_s) if mean_s else 0.0

    def _log_time(self, ino: int, mean_s: float) -> float:
        """When a conversion that is asked for now is done, on the monotonic clock.

        As a transaction in a log, it waits for the earlier ones of its file, and then takes
        a time that varies: exponentially distributed, with the given mean.  With a fixed
        time, processes that began together stay in step, and none reads while another's
        conversion is under way.
        """
        now = time.monotonic()
        if not mean_s:
            return now
        done = max(now, self._log_busy_until.get(ino, 0.0)) + random.expovariate(1 / mean_s)
        if len(self._log_busy_until) >= LOG_FILES_MAX:
            self._log_busy_until = {i: t for i, t in self._log_busy_until.items() if t > now}
        self._log_busy_until[ino] = done
        return done

    def _end(self, task: Task, result: Any, error: FsError | None) -> None:
        self.tasks_running -= 1
        try:
            task.done(result, error)
        except Exception:
            log.exception("the answer to %s of inode %d failed", task.operation, task.ino)

    def _make_call(self, call: Call) -> None:
        self.tasks_running -= 1
        try:
            call()
        except Exception:
            log.exception("what was put off failed")

    # -- the trio side ---------------------------------------------------------------

    async def run(self) -> None:
        """Serve timers and commits until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_timers)
            nursery.start_soon(self._run_commits)

    async def _run_timers(self) -> None:
        while True:
            left = self._timers[0][0] - time.monotonic() if self._timers else float("inf")
            if left > 0 and not self._ready:
                with trio.move_on_after(left):
                    await self._timer_first.wait()
                self._timer_first = trio.Event()
            else:
                await trio.lowlevel.checkpoint()
            self.run_ready()

    async def _run_commits(self) -> None:
        """One commit at a time; all who asked before it began share it."""
        while True:
            await self._commit_wanted.wait()
            steps = [task.step for task in self._commit_tasks]
            if any(step and step.name == "space.commit" for step in steps):
                await self._before_space()
            self._commit_wanted = trio.Event()
            tasks, self._commit_tasks = self._commit_tasks, []
            failed = 0
            try:
                await self._commit()
            except FsError as failure:
                failed = failure.errno
            except Exception:
                log.exception("commit failed")
                failed = errno.EIO
            self._ready.extend((task, FsError(failed) if failed else None) for task in tasks)
            self.run_ready()
