"""Drives the model's coroutines: carries out their steps, and decides who goes on when.

A request's coroutine is started at once, and runs until it must wait: for a lock, a
delay, or a commit.  Most never do; their reply is sent before the next request is read.
Image reads and writes are done in place: the image is a file in the host's page cache.

    start()       a request arrives: run it as far as it goes
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
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import trio

from fusefs.engine.task import Task, perform
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace, now_ns
from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.steps import LOAD_MAP, PASS, READ_IMAGE, WRITE_IMAGE, Buffer, Kind, Step

log = logging.getLogger(__name__)

FILL: Final = "buffered.read.page_lock"
"""The PASS step before which a task may pause: see fusefs/live/timing.py."""

ERRORS_LOGGED_MAX = 10
ERRORS_PERIOD_S = 5.0
"""Image errors logged in each period: printk_ratelimited(), which a failing disk needs."""

T = TypeVar("T")
ModelCoroutine = Coroutine[Step, Any, T]
Done = Callable[[Any, FsError | None], None]


class Image(Protocol):
    """What the driver needs of an image; addr and length are bytes."""

    def read_at(self, addr: int, length: int) -> Buffer: ...
    def write_at(self, addr: int, data: Buffer) -> None: ...


class LiveStorage:
    """What steps are performed on: an image, and whoever reads maps.  Commits are run() alone's."""

    __slots__ = ("load_map", "read_at", "write_at")

    def __init__(self, image: Image, load_map: Callable[[Inode, int, int], None]) -> None:
        self.read_at = image.read_at
        self.write_at = image.write_at
        self.load_map = load_map

    def commit(self) -> None:
        raise AssertionError("a commit takes time")


class LiveTask(Task):
    """One request under way."""

    __slots__ = ("done", "ino", "operation", "pid")

    def __init__(
        self, coroutine: ModelCoroutine[Any], done: Done, operation: str, ino: int, pid: int
    ) -> None:
        super().__init__(coroutine)
        self.done = done
        self.operation = operation
        self.ino = ino
        self.pid = pid


class Driver:
    """The live driver.  load_map and commit are the storage's; see fusefs/store/volume.py.

    timing says who has to wait although he could go on.
    before_space is awaited before a commit that somebody needs for free blocks.
    """

    def __init__(
        self,
        image: Image,
        load_map: Callable[[Inode, int, int], None],
        commit: Callable[[], Awaitable[None]],
        trace: Trace,
        timing: Timing,
        before_space: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self.trace = trace
        self.timing = timing
        self.tasks_running = 0
        self._storage = LiveStorage(image, load_map)
        self._commit = commit
        self._before_space = before_space
        self._ready: deque[tuple[LiveTask, FsError | None]] = deque()
        self._timers: list[tuple[float, int, LiveTask]] = []
        self._timer_count = 0
        self._timer_first = trio.Event()
        self._commit_tasks: list[LiveTask] = []
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
        self._advance(LiveTask(coroutine, done, operation, ino, pid), None, None)

    def put_off(self) -> None:
        """A request goes on outside, by go_on(); until then it counts as one under way."""
        self.tasks_running += 1

    def go_on(self, call: Callable[[], None]) -> None:
        self.tasks_running -= 1
        try:
            call()
        except Exception:
            log.exception("what was put off failed")

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
            self._grant(task, error)
        if self._ready:  # there may be no next request: _run_timers() goes on with them
            self._timer_first.set()
        return not self.tasks_running

    # -- carrying out steps ----------------------------------------------------------

    def _grant(self, task: LiveTask, error: FsError | None) -> None:
        """A wait is over: the task goes on behind its step."""
        step = task.step
        assert step is not None
        self.trace.add(
            (now_ns(), task.pid, task.operation, task.ino, step.name, step.pos, step.length)
        )
        self._advance(task, None, error)

    def _advance(self, task: LiveTask, value: Any, error: BaseException | None) -> None:
        """Run a task until it ends or must wait."""
        add = self.trace.add
        pid, operation, ino = task.pid, task.operation, task.ino
        while True:
            try:
                step = task.advance(value, error)
            except Exception:
                log.exception("%s of inode %d failed", operation, ino)
                task.error = FsError(errno.EIO)
                step = None
            if step is None:
                self._end(task)
                return
            kind, name = step.kind, step.name
            if kind is not LOAD_MAP and kind is not READ_IMAGE and kind is not WRITE_IMAGE:
                if (kind is not PASS or name == FILL) and self._park(task, step):
                    return
                kind = PASS
            add((now_ns(), pid, operation, ino, name, step.pos, step.length))
            value = error = None
            if kind is PASS:
                continue
            try:
                value = perform(self._storage, step)
            except FsError as refusal:
                if isinstance(refusal.__cause__, OSError):
                    self._log_image_error(task, step, refusal.__cause__)
                error = refusal
            except Exception:
                log.exception("%s of inode %d, %s", operation, ino, name)
                error = FsError(errno.EIO)

    def _log_image_error(self, task: LiveTask, step: Step, error: OSError) -> None:
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

    def _park(self, task: LiveTask, step: Step) -> bool:
        """Set a task aside until what it waits for has come; false if there is nothing."""
        task.step = step
        if step.kind is PASS:
            pause_s = self.timing.fill_pause(task.ino, task.pid)
            if not pause_s:
                return False
            self._park_until(task, time.monotonic() + pause_s)
        elif step.kind is Kind.DELAY:
            done = self.timing.conversion(task.ino, task.pid, step.pos, step.duration_s)
            if done is None:
                return False
            self._park_until(task, done)
        elif step.kind is Kind.WAIT:
            assert step.waiter is not None
            if step.waiter.woken:
                self._ready.append((task, None))
            else:
                step.waiter.notify = lambda: self._ready.append((task, None))
        else:
            self._commit_tasks.append(task)
            self._commit_wanted.set()
        return True

    def _park_until(self, task: LiveTask, deadline: float) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (deadline, self._timer_count, task))
        if self._timers[0][2] is task:
            self._timer_first.set()

    def _end(self, task: LiveTask) -> None:
        self.tasks_running -= 1
        try:
            task.done(task.result, task.error)
        except Exception:
            log.exception("the answer to %s of inode %d failed", task.operation, task.ino)

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
