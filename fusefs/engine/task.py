"""A coroutine and the step that it stands before; what each kind of step does when it is granted.

    Task.advance()    run to the next step, or to the end
    perform()         what a granted step does to a storage

Whoever drives a task takes its step, waits as long as he likes, performs it, and advances the task
with the answer.  Nothing of a step has happened before that.

Units: addr and length are bytes of the image.
Errors: FsError of a storage goes to the task, as the step's answer; FsError of a task ends it.
"""

import errno
from collections.abc import Coroutine
from typing import Any, Protocol

from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.steps import LOAD_MAP, PASS, READ_IMAGE, WRITE_IMAGE, Buffer, Kind, Step


class Storage(Protocol):
    """What steps are performed on.  OSError and FsError become the step's answer."""

    def read_at(self, addr: int, length: int) -> Buffer:
        """Exactly length bytes."""

    def write_at(self, addr: int, data: Buffer) -> None: ...

    def load_map(self, inode: Inode, pos: int, length: int) -> None:
        """Have the map of a range in memory."""

    def commit(self) -> None:
        """A storage whose commit takes time answers such steps itself, and not through this."""


class Task:
    """One coroutine.  step is what it asks for; None before its first turn and after its end.

    result and error are how it ended.
    """

    __slots__ = ("coroutine", "ended", "error", "result", "started", "step")

    def __init__(self, coroutine: Coroutine[Step, Any, Any]) -> None:
        self.coroutine = coroutine
        self.step: Step | None = None
        self.started = False
        self.ended = False
        self.result: Any = None
        self.error: FsError | None = None

    @property
    def waits(self) -> bool:
        """It stands before a wait that nobody has ended yet."""
        step = self.step
        if step is None or step.kind is not Kind.WAIT:
            return False
        return step.waiter is not None and not step.waiter.woken

    def advance(self, value: Any, error: BaseException | None) -> Step | None:
        """Answer the step, and run to the next one; None if there is none, as the task has ended.

        What is no FsError ends the task as well, and is raised here.
        """
        self.started = True
        step: Step | None = None
        try:
            step = self.coroutine.send(value) if error is None else self.coroutine.throw(error)
        except StopIteration as stop:
            self.ended = True
            self.result = stop.value
        except FsError as failure:
            self.ended = True
            self.error = failure
        except BaseException:
            self.ended = True
            self.step = None
            raise
        self.step = step
        return step


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
        raise FsError(error.errno or errno.EIO) from error
    return None
