"""What is left to pyfuse3: the handlers that it calls, one for each request.

All else is taken past it, by the extension.

Errors: what a handler raises is its answer, as failure.py has it: answered().
"""

import errno
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import FUSEError, RequestContext

from fusefs.live.driver import Driver
from fusefs.live.failure import failure
from fusefs.live.kernel_pages import KernelPages
from fusefs.live.requests.control import Control
from fusefs.live.requests.sync import sync
from fusefs.model.errors import FsError
from fusefs.store.volume import Volume

P = ParamSpec("P")
T = TypeVar("T")


def answered(
    handler: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """What a coroutine raises is its answer."""

    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except Exception as error:
            fault = failure(error, "a request failed: %s%r", handler.__name__, args[1:])
            raise FUSEError(fault.errno) from None

    return answer


class Operations(pyfuse3.Operations):
    """What pyfuse3 serves of one mount."""

    supports_dot_lookup = True
    enable_writeback_cache = False
    enable_acl = True

    def __init__(
        self, volume: Volume, driver: Driver, control: Control, kernel_pages: KernelPages
    ) -> None:
        super().__init__()
        self.volume = volume
        self.driver = driver
        self.control = control
        self.kernel_pages = kernel_pages

    @answered
    async def flush(self, fh: int) -> None:
        raise FsError(errno.ENOSYS)  # nothing is done at close(2): do not ask again

    @answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Of .fusefs, which writes back and commits everything, the kernel's own pages included."""
        is_flushed = await self.kernel_pages.flush_all()
        is_committed = await sync(self.volume, self.driver)
        error = self.control.errors_since_opened(fh)
        if error or not is_flushed or not is_committed:
            raise FsError(error or errno.EIO)

    @answered
    async def access(self, ino: int, mode: int, ctx: RequestContext) -> bool:
        return True  # default_permissions: the kernel has checked
