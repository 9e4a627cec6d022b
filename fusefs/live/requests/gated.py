"""Requests that are answered in one turn, as requests of the driver while a gate names them.

A handler of names, attributes or open files answers before it returns, and the driver learns
nothing of it.  While a gate names such an operation the extension calls carry_out() instead, and
the request becomes a coroutine: the handler is its first turn, before which is begin, and its
answer is kept in the request until the reply is granted.  So the handlers know nothing of gates.

What a handler starts, a truncate of open(2) or of a setattr, is a request of its own, for which
this one waits.  It begins within this one's turn, which touches nothing of the model (V2).

A forget has no answer, and cannot be held.  Requests for .fusefs pass no gate, lookups of that name
included.

Errors: what a handler raises or answers is the request's error.
"""

from collections.abc import Callable
from typing import Any, Final

from fusefs.live.extension._lowlevel import Request
from fusefs.live.requests.control import Control
from fusefs.live.requests.open_files import OpenFiles
from fusefs.model.errors import FsError
from fusefs.model.steps import Waiter, wait
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.mount_table import CONTROL_NAME
from fusefs.store.volume import Volume

OPERATIONS: Final = {"statx": "getattr", "readdir": "readdirplus"}
"""What methods of handlers are for, where they are not called so."""

PARENTS: Final = {
    **dict.fromkeys(("lookup", "mknod", "mkdir", "create", "symlink", "unlink", "rmdir"), 1),
    "link": 2,
}
"""At which place of a method's arguments a directory is, before a name in it."""

PART: Final = "part.end"
"""The step before which a request waits for another one that it has begun."""

Method = Callable[..., None]
Arguments = tuple[Any, ...]


class GatedRequests:
    """Those of one mount."""

    def __init__(self, volume: Volume, files: OpenFiles, control: Control) -> None:
        self._names = volume.namespace
        self._driver = files.driver
        self._handles = files.handles
        self._control = control
        self._operations = control.keeper.operations

    def carry_out(self, method: Method, arguments: Arguments) -> None:
        """What the extension calls in place of a handler's method, with the same arguments."""
        name = method.__name__
        operation = OPERATIONS.get(name, name)
        inos = self._inos(name, arguments) if operation in self._operations else ()
        if not inos:
            method(*arguments)
            return
        request: Request = arguments[0]
        coroutine = self._answered(request, method, arguments)
        ino, *also = inos
        self._driver.start(
            *(coroutine, request.send_kept, operation, ino, request.pid), also=tuple(also)
        )

    def _inos(self, name: str, arguments: Arguments) -> tuple[int, ...]:
        """Which inodes a request is about, a name's directory first; none if it is of .fusefs."""
        if name in PARENTS:
            place = PARENTS[name]
            parent, entry = arguments[place : place + 2]
            if self._control.owns(parent) or (parent == ROOT_INO and entry == CONTROL_NAME):
                return ()
            return parent, *arguments[1:place], *self._names.inos((parent, entry))
        if name == "release":
            handle = self._handles.get(arguments[1])
            return () if handle is None else (handle.node.ino,)
        ino = arguments[1]  # or the handle of a directory, which is that
        return () if self._control.owns(ino) else (ino,)

    async def _answered(self, request: Request, method: Method, arguments: Arguments) -> None:
        """Returns when the handler has answered."""
        answered, begun = Waiter(), self._driver.request_count
        request.keep_answer(answered.wake)
        method(*arguments)
        if not answered.woken:
            assert self._driver.request_count > begun, "nobody is left who would answer"
            answered.owner = begun + 1
            await wait(PART, answered)
        if request.kept_errno:
            raise FsError(request.kept_errno)
