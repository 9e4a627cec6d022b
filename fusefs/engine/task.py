"""A coroutine and the step that it stands before; what each kind of step does when it is granted.

    Task.advance()    run to the next step; the last one is REPLY
    Task.go()         grant the step, and run to the next one
    Task.close()      there is no next one: it is given up where it stands
    perform()         what a granted step does to a storage

Whoever drives a task takes its step, waits as long as he likes, performs it, and advances the task
with the answer.  Nothing of a step has happened before that.

Units: addr and length are bytes of the image.
Errors: FsError of a storage goes to the task, as the step's answer; FsError of a task ends it.
"""

import errno
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.steps import LOAD_MAP, PASS, READ_IMAGE, WRITE_IMAGE, Buffer, Kind, Step, current


class Storage(Protocol):
    """What steps are performed on.  OSError and FsError become the step's answer."""

    def read_at(self, addr: int, length: int) -> Buffer:
        """Exactly length bytes."""

    def write_at(self, addr: int, data: Buffer) -> None: ...

    def load_map(self, inode: Inode, pos: int, length: int) -> None:
        """Have the map of a range in memory."""

    def commit(self) -> None:
        """A storage whose commit takes time answers such steps itself, and not through this."""


BEGIN: Final = Step(PASS, "begin")
"""What a task stands before until its first turn: nothing has happened."""

REPLY: Final = Step(PASS, "reply")
"""The last step of each task: its coroutine has returned, and whoever asked is not told yet."""


class Task:
    """One coroutine.  step is what it asks for; None before its first turn.

    result and error are how it returned; number is that of its request.
    """

    __slots__ = ("_coroutine", "_course", "error", "number", "result", "step")

    def __init__(self, coroutine: Coroutine[Step, Any, Any], number: int = 0) -> None:
        self._coroutine = coroutine
        self._course: Coroutine[Step, Any, None] | None = _to_reply(self, coroutine)
        self.number = number
        self.step: Step | None = None
        self.result: Any = None
        self.error: FsError | None = None

    @property
    def waits(self) -> bool:
        """It stands before a wait that nobody has ended yet."""
        step = self.step
        if step is None or step.kind is not Kind.WAIT:
            return False
        return step.waiter is not None and not step.waiter.woken

    @property
    def returned(self) -> bool:
        """Nothing is left but the reply."""
        return self.step is REPLY

    def advance(self, value: Any, error: BaseException | None) -> Step:
        """Answer the step, and run to the next one.

        What is no FsError ends the task as well, and is raised here.
        """
        course = self._course
        assert course is not None, "it has returned"
        current.number = self.number
        self.step = step = REPLY
        if error is None:
            step = course.send(value)
        else:  # past the course: compiled code throws into what is not in a way that warns
            try:
                step = self._coroutine.throw(error)
            except StopIteration as stop:
                self.result = stop.value
            except FsError as failure:
                self.error = failure
        self.step = step
        if step is REPLY:
            self._course = None  # which knows the task
        return step

    def close(self) -> None:
        """Who has not returned never does."""
        if self._course is not None:
            self._course.close()
            self._coroutine.close()  # it may not have begun
            self._course = None

    def go(self, storage: Storage) -> None:
        """Perform the step that it stands before, if any, and advance: of who need not wait."""
        step, value, error = self.step, None, None
        if step is not None and step.kind is not PASS:
            try:
                value = perform(storage, step)
            except FsError as failure:
                error = failure
        self.advance(value, error)


async def _to_reply(task: Task, coroutine: Coroutine[Step, Any, Any]) -> None:
    """All turns of a task: a coroutine that returns by a step, as StopIteration costs as much as
    reading a cached page.
    """
    try:
        task.result = await coroutine
    except FsError as failure:
        task.error = failure
    await REPLY


def perform(storage: Storage, step: Step) -> Any:
    """Do what a step stands for; returns its answer.  FsError, from OSError if it was that."""
    kind = step.kind
    if kind is PASS:
        return None
    try:
        if kind is LOAD_MAP:
            storage.load_map(step.inode, step.pos, step.length)
        elif kind is READ_IMAGE:
            return storage.read_at(step.addr, step.length)
        elif kind is WRITE_IMAGE:
            assert step.data is not None
            storage.write_at(step.addr, step.data)
        elif kind is Kind.COMMIT:
            storage.commit()
    except OSError as error:
        raise FsError(error.errno or errno.EIO, error) from None
    return None
