"""The gates of a live mount: holds requests of the driver, and lets them go in time.

    holds()        asked by the driver before the steps that a gate names
    run()          the trio side: time-outs, and those whom a signal has reached
    release_all()  the mount ends: nobody is held any longer

A signal to whoever waits for a held request ends the hold (FUSE_INTERRUPT).  Before the request
has begun it is answered with EINTR, as nothing has happened.  Afterwards it goes on at once: Linux
takes nothing back of I/O that is under way, and a process that is killed is gone when it has ended.

With no gate set the driver pays a test of an empty set, and the trace tells nobody.  What is no
request of the driver becomes one while operations names it: fusefs/live/requests/gated.py.
"""

import errno
import logging
import os
import time
from collections import deque
from collections.abc import Callable

import trio

from fusefs.engine.events import ASKED, ENDED, GRANTED, Noted
from fusefs.engine.gate import Asked, GateError
from fusefs.engine.gates import ALL, Gates
from fusefs.engine.held import MOUNT, Gate, Hold, Watch
from fusefs.live.driver import Driver
from fusefs.live.extension._lowlevel import Request
from fusefs.live.under_way import Done, LiveTask
from fusefs.model.errors import FsError
from fusefs.model.steps import Step
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.volume import Volume

log = logging.getLogger(__name__)

Told = Callable[[Hold | GateError], None]


class Gatekeeper:
    """Of one mount.  What a client asks for comes through fusefs/live/requests/gate_files.py."""

    def __init__(self, driver: Driver, volume: Volume) -> None:
        self._gates = Gates(self._let_go, log.warning)
        self.gated = self._gates.steps
        self.operations = self._gates.operations
        self._driver = driver
        self._volume = volume
        self._tasks: dict[int, LiveTask] = {}
        self._reached: deque[Callable[[], None]] = deque()
        self._changed = trio.Event()
        self._listens = False
        driver.keep_gates(self)

    # -- for whoever sets gates ----------------------------------------------------------

    def hold(self, words: list[str], owner: int) -> Gate:
        """A new gate, which holds whoever comes from now on; GateError."""
        gate = self._gates.hold(words, owner, self._find)
        self._listen()
        return gate

    def wait(self, name: str, timeout_s: float, told: Told) -> Watch:
        """told is called once, with a hold or an error; GateError, then it is not."""
        watch = self._gates.wait(name, timeout_s, told, time.monotonic())
        self._changed.set()
        return watch

    def unwatch(self, watch: Watch) -> None:
        self._gates.unwatch(watch)

    def release(self, name: str) -> None:
        self._gates.release(name)
        self._listen()

    def drop_owner(self, owner: int) -> None:
        assert owner != MOUNT, "those go with the mount"
        self._gates.drop_owner(owner)
        self._listen()

    def reports(self) -> list[dict[str, object]]:
        return self._gates.reports(time.monotonic())

    def statistics(self) -> dict[str, int]:
        """How many gates there are, and how many requests they hold; one may be held by several."""
        held = [report["held"] for report in self.reports()]
        return {"set": len(held), "held": sum(len(each) for each in held if isinstance(each, list))}

    def when_interrupted(self, request: Request, call: Callable[[], None]) -> None:
        """Call it in a turn of its own once a signal has come for whoever waits for an answer."""

        def reached() -> None:
            self._reached.append(call)
            self._changed.set()

        request.when_interrupted(reached)

    def _find(self, path: str) -> int:
        """The number of a file, by its path from the top of the mount."""
        ino = ROOT_INO
        for name in os.fsencode(path).split(b"/"):
            if name:
                try:
                    node = self._volume.namespace.lookup(ino, name)
                except FsError as error:
                    line = f"path={path[:200]}: {os.strerror(error.errno)}"
                    raise GateError(line, error.errno) from None
                ino = node.ino
        return ino

    # -- for the driver ------------------------------------------------------------------

    def holds(self, task: LiveTask, step: Step) -> bool:
        asked = Asked(task.request, step.name, step.pos, step.length)
        if not self._gates.arrives(asked, time.monotonic()):
            return False
        number = task.number
        self._tasks[number] = task
        request = asker(task.done)
        if request is not None:
            self.when_interrupted(request, lambda: self._interrupt(number))
        self._changed.set()
        return True

    def _let_go(self, number: int) -> None:
        task = self._tasks.pop(number, None)
        if task is not None:  # else holds() has failed, and it went on
            self._driver.let_go(task)

    def _interrupt(self, number: int) -> None:
        """See the head of this file."""
        task = self._tasks.pop(number, None)
        if task is None:
            return
        self._gates.forget(number)
        if task.step is None:
            self._driver.refuse(task, FsError(errno.EINTR))
        else:
            self._driver.let_go(task)

    def _listen(self) -> None:
        """What passes, and who waits for whom, is told while there is a gate."""
        if self._gates.is_idle is not self._listens:
            return
        self._listens = not self._listens
        if self._listens:
            for task in self._driver.waiting.values():  # since before there was a gate
                self._note_waiting(task)
            self._driver.trace.listen(self._hear)
        else:
            self._driver.trace.unlisten(self._hear)
            self._gates.forget_waits()

    def _note_waiting(self, task: LiveTask) -> None:
        step = task.step
        assert step is not None, "it has not begun"
        assert step.waiter is not None, "it waits for nobody"
        self._gates.waits(Asked(task.request, step.name, step.pos, step.length), step.waiter)

    def _hear(self, noted: Noted) -> None:
        _, request, event, step, pos, length, _ = noted
        if event == ASKED:
            task = self._driver.waiting.get(request.number)
            if task is not None:
                self._note_waiting(task)
        elif event in (GRANTED, ENDED):
            self._gates.goes_on(request.number)
            self._gates.passes(Asked(request, step, pos, length))

    # -- time ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            deadline = self._gates.next_deadline()
            left_s = float("inf") if deadline is None else deadline - time.monotonic()
            with trio.move_on_after(max(left_s, 0)):
                await self._changed.wait()
            self._changed = trio.Event()
            while self._reached:
                self._reached.popleft()()
            self._gates.expire(time.monotonic())
            self._listen()

    def release_all(self) -> None:
        """Whoever is held goes on, and whoever waits is told."""
        self._gates.release(ALL)
        self._listen()


def asker(done: Done) -> Request | None:
    """The kernel's request that a task is the answer to: done is one of its methods then."""
    request = getattr(done, "__self__", None)
    return request if isinstance(request, Request) else None
