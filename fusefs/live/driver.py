"""Drives the model's coroutines: carries out their steps, and decides who goes on when.

A request's coroutine is started at once, and runs until it must wait: for a lock, a
delay, or a commit.  Most never do, and are answered before the next request is processed; the
extension may hold such replies a moment, so that several leave together (_drain.pxi).
Image reads and writes are done in place: the image is a file in the host's page cache.

    start()       a request arrives: run it as far as it goes
    run_ready()   those whose wait is over go on, and timers that ran out
    run()         the trio side: sleeps until the next timer, and commits

Each step is asked for, and is performed when it is granted; a reply is the last step.  Who must
wait although he could go on is the schedule's decision: fusefs/live/timing.py.  Before that, and
before a request begins, a keeper of gates may hold it: fusefs/live/gatekeeper.py.

    keep_gates()  from now on a keeper is asked before the steps that it names
    let_go()      one whom it held goes on; refuse(): is answered with an error, as he had not begun

Errors: FsError of a request goes to whoever started it, and any other exception as failure.py
has it.  What the image fails with is logged, but not more often than the kernel would.
Invariants:
    (V1) done() is called exactly once for each start();
    (V2) only one task runs at a time: a task that wakes others never runs inside them.
"""

import heapq
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from fusefs.engine.events import ASKED, ENDED, GRANTED, Request
from fusefs.engine.task import BEGIN, REPLY, perform
from fusefs.live.failure import failure
from fusefs.live.trace import Trace, now_ns
from fusefs.live.under_way import (
    Done,
    Image,
    Keeper,
    LiveStorage,
    LiveTask,
    ModelCoroutine,
    Ready,
    Schedule,
    Waiting,
    nobody,
)
from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.steps import LOAD_MAP, PASS, READ_IMAGE, WRITE_IMAGE, Kind, Step

log = logging.getLogger(__name__)

ERRORS_LOGGED_MAX = 10
ERRORS_PERIOD_S = 5.0
"""Image errors logged in each period: printk_ratelimited(), which a failing disk needs."""

T = TypeVar("T")


class Driver:
    """The live driver.  load_map is Filesystem.load_map, commit Volume.commit.

    before_space is awaited before a commit that somebody needs for free blocks.
    work is where a request leaves what it has left to be done: Filesystem.work.  Each of that is a
    request of its own, for which nobody waits.  others_running counts what is none, and needs trio.
    """

    def __init__(
        self,
        image: Image,
        load_map: Callable[[Inode, int, int], None],
        commit: Callable[[], Awaitable[None]],
        trace: Trace,
        schedule: Schedule,
        before_space: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        work: list[ModelCoroutine[None]] | None = None,
    ) -> None:
        self.trace = trace
        self.schedule = schedule
        self._watched = schedule.watched
        self._keeper: Keeper | None = None
        self._gated: set[str] = set()
        self.tasks_running = self.others_running = self.request_count = 0
        self._storage = LiveStorage(image, load_map)
        self._commit, self._before_space = commit, before_space
        self._work = [] if work is None else work
        self.waiting = Waiting()
        self._ready: Ready = deque()
        self._timers: list[tuple[float, int, LiveTask]] = []
        self._timer_count = 0
        self._timer_first = trio.Event()
        self._commit_tasks: list[LiveTask] = []
        self._commit_wanted = trio.Event()
        self._errors_since, self._error_count = float("-inf"), 0

    # -- for those who have requests -------------------------------------------------

    def start(
        self,
        coroutine: ModelCoroutine[Any],
        done: Done,
        operation: str,
        ino: int = 0,
        pid: int = 0,
        pos: int = 0,
        length: int = 0,
        flags: str = "",
        also: tuple[int, ...] = (),
    ) -> None:
        """Run a request; done(result, None) or done(None, error), which answers, is its end.

        From operation on the arguments are those of a Request: fusefs/engine/events.py.
        """
        self.tasks_running += 1
        self.request_count += 1
        count = self.request_count
        request = Request(count, now_ns(), operation, ino, pid, pos, length, flags, also)
        task = LiveTask(coroutine, done, request)
        if self._gated and BEGIN.name in self._gated and self._is_held(task, BEGIN):
            return
        self._run(task, None, None)

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
            self._go_on(task, error)
        if self._ready:  # there may be no next request: _run_timers() goes on with them
            self._timer_first.set()
        return not self.tasks_running and not self.others_running

    def statistics(self) -> dict[str, int]:
        """How many requests have begun, and are under way; and of these, how many could go on, are
        delayed, and wait for a commit.  All others wait for each other.
        """
        return {
            "begun": self.request_count,
            "under_way": self.tasks_running,
            "ready": len(self._ready),
            "delayed": len(self._timers),
            "committing": len(self._commit_tasks),
        }

    # -- carrying out steps ----------------------------------------------------------

    def _run(self, task: LiveTask, value: Any, error: BaseException | None) -> None:
        """Run a task until it ends or must wait."""
        request, watched, gated, work = task.request, self._watched, self._gated, self._work
        while True:
            try:
                step = task.advance(value, error)
            except Exception as fault:
                what = "%s of inode %d failed"
                task.error = failure(fault, what, request.operation, request.ino)
                step = REPLY
            if work:
                self._begin_work(request)
            kind = step.kind
            at_once = kind is PASS or kind is LOAD_MAP or kind is READ_IMAGE or kind is WRITE_IMAGE
            if gated and step.name in gated and self._is_held(task, step):
                return
            if (not at_once or step.name in watched) and self._park(task, step):
                return
            if step is REPLY:
                self._end(task)
                return
            value, error = self._grant(task, step)

    def _begin_work(self, left_by: Request) -> None:
        """What a request has left to be done begins when it has ended, or waits (V2)."""
        where = left_by.ino, left_by.pid, left_by.pos, left_by.length
        for coroutine in self._work:
            self.tasks_running += 1
            self.request_count += 1
            request = Request(self.request_count, now_ns(), "work", *where)
            self._ready.append((LiveTask(coroutine, nobody, request), None))
        self._work.clear()

    def _go_on(self, task: LiveTask, error: FsError | None) -> None:
        """A wait is over; error is a commit's, or what refuse() answers with."""
        step, value = task.step, None
        if task.is_held:
            self._let_in(task, step, error)
            return
        if step is None:  # it has not begun
            if BEGIN.name not in self._gated or not self._is_held(task, BEGIN):
                self._run(task, None, None)
            return
        if step is REPLY:
            self._end(task)
            return
        if step.kind is not Kind.COMMIT:  # that was granted when it began
            value, error = self._grant(task, step)
        self._run(task, value, error)

    def _grant(self, task: LiveTask, step: Step) -> tuple[Any, FsError | None]:
        """Do what a step stands for; its answer."""
        self._note(task, GRANTED, step, 0)
        if step.kind is PASS:
            return None, None
        try:
            return perform(self._storage, step), None
        except Exception as fault:
            request = task.request
            what = "%s of inode %d, %s"
            refusal = failure(fault, what, request.operation, request.ino, step.name)
            if refusal.host_error is not None:
                self._log_image_error(task, step, refusal.host_error)
            return None, refusal

    def _note(self, task: LiveTask, event: str, step: Step, number: int) -> None:
        self.trace.add((now_ns(), task.request, event, step.name, step.pos, step.length, number))

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
                *(task.request.operation, task.request.ino, step.name),
                *(step.pos, step.length, error),
            )

    def _park(self, task: LiveTask, step: Step) -> bool:
        """Set a task aside until what it waits for has come; false if there is nothing."""
        owner = 0
        if step.kind is Kind.WAIT:
            waiter = step.waiter
            assert waiter is not None
            owner = waiter.owner
            if waiter.woken:
                self._ready.append((task, None))
            else:
                self.waiting.wait(task, waiter, self._ready)
        elif step.kind is Kind.COMMIT:
            self._commit_tasks.append(task)
            self._commit_wanted.set()
        else:
            try:
                until = self.schedule.until(task.request, step)
            except Exception:
                log.exception("the schedule failed at %s", step.name)
                until = None
            if until is None:
                return False
            self._park_until(task, until)
        self._note(task, ASKED, step, owner)
        return True

    # -- those who are held ------------------------------------------------------------

    def keep_gates(self, keeper: Keeper) -> None:
        """Ask it before the steps that it names."""
        self._keeper = keeper
        self._gated = keeper.gated

    def let_go(self, task: LiveTask) -> None:
        """Who was held goes on, when whoever runs now has ended, or waits (V2)."""
        self._ready.append((task, None))
        self._timer_first.set()

    def refuse(self, task: LiveTask, error: FsError) -> None:
        """Who was held before he had begun never does, and is answered."""
        assert task.step is None, "it has begun"
        self._ready.append((task, error))
        self._timer_first.set()

    def _is_held(self, task: LiveTask, step: Step) -> bool:
        """Whether its keeper holds a task before a step; what he fails with holds nobody."""
        keeper = self._keeper
        assert keeper is not None, "nobody has named steps"
        try:
            task.is_held = keeper.holds(task, step)
        except Exception:
            log.exception("the keeper of gates failed at %s", step.name)
        if task.is_held:
            task.keep_result()
            self._note(task, ASKED, step, 0)
        return task.is_held

    def _let_in(self, task: LiveTask, step: Step | None, error: FsError | None) -> None:
        """Who was held is granted his step, or waits for it as if he had not been."""
        task.is_held = False
        if error is not None:
            task.close()
            task.error = error
            self._end(task)
        elif step is None:
            self._note(task, GRANTED, BEGIN, 0)
            self._run(task, None, None)
        elif not self._must_wait(step) or not self._park(task, step):
            self._go_on(task, None)

    def _must_wait(self, step: Step) -> bool:
        """Whether a step is asked for, and not granted at once: all but a wait that is over."""
        if step.waiter is not None:
            return not step.waiter.woken
        return step.kind is Kind.COMMIT or step.kind is Kind.DELAY or step.name in self._watched

    def _park_until(self, task: LiveTask, deadline: float) -> None:
        task.keep_result()
        self._timer_count += 1
        heapq.heappush(self._timers, (deadline, self._timer_count, task))
        if self._timers[0][2] is task:
            self._timer_first.set()

    def _end(self, task: LiveTask) -> None:
        """The reply is granted."""
        self.tasks_running -= 1
        request, result, error = task.request, task.result, task.error
        number = 0
        if error is not None:
            number = -error.errno
        elif isinstance(result, int):
            number = result
        elif isinstance(result, list):  # the pieces of a read
            for piece in result:
                number += len(piece)
        self.trace.add((now_ns(), request, ENDED, REPLY.name, 0, 0, number))
        try:
            task.done(result, error)
        except Exception:
            log.exception("the answer to %s of inode %d failed", request.operation, request.ino)

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
            for task in tasks:
                assert task.step is not None
                self._note(task, GRANTED, task.step, 0)
            failed = 0
            try:
                await self._commit()
            except Exception as fault:
                failed = failure(fault, "commit failed").errno
            self._ready.extend((task, FsError(failed) if failed else None) for task in tasks)
            self.run_ready()
