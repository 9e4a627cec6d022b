"""What the driver drives, and whom it asks: requests under way, their storage, their schedule.

LiveTask       one request
LiveStorage    what its steps are performed on
Schedule       who must wait although he could go on
Keeper         who is held at a gate
"""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from fusefs.engine.events import Request
from fusefs.engine.task import Task
from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.steps import Buffer, Step, Waiter

T = TypeVar("T")
ModelCoroutine = Coroutine[Step, Any, T]
Done = Callable[[Any, FsError | None], None]


def nobody(result: Any, error: FsError | None) -> None:
    """Nobody has asked."""


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
    """One request under way.  is_held: a keeper of gates has it, before its step or before all."""

    __slots__ = ("done", "is_held", "request")

    def __init__(self, coroutine: ModelCoroutine[Any], done: Done, request: Request) -> None:
        super().__init__(coroutine, request.number)
        self.done = done
        self.request = request
        self.is_held = False

    def keep_result(self) -> None:
        """Others go on before its reply: what it has read may be pages, which they change."""
        if isinstance(self.result, list):
            self.result = [bytes(piece) for piece in self.result]


Ready = deque[tuple[LiveTask, FsError | None]]
"""Those whose wait is over, with what it ended with."""


class Waiting(dict[int, LiveTask]):
    """Those that wait for others, by their numbers, until they are woken."""

    def wait(self, task: LiveTask, waiter: Waiter, ready: Ready) -> None:
        """From now on task does, and is ready when it is woken."""

        def woken() -> None:
            del self[task.number]
            ready.append((task, None))

        self[task.number] = task
        waiter.notify = woken


class Schedule(Protocol):
    """Who must wait although he could go on.

    watched are the names of steps that it wants to be asked about, beside all delays: one set,
    in which they may change.  About waits and commits it is not asked.
    """

    watched: set[str]

    def until(self, request: Request, step: Step) -> float | None:
        """The time, of time.monotonic(), before which a step is not granted; None: go on."""


class Keeper(Protocol):
    """Who holds requests at gates.

    gated are the names of steps before which it wants to be asked, and BEGIN: one set, in which
    they may change.  It is not asked while that is empty.
    """

    gated: set[str]

    def holds(self, task: LiveTask, step: Step) -> bool:
        """Whether a task waits before a step until let_go() or refuse(); not called from here."""
