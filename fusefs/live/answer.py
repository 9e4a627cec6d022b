"""The one place where an exception becomes a reply: every request is answered.

    refused     requests that the extension hands over: an FsError becomes its errno; anything
                else goes back to the extension, which logs it and answers EIO
    answered    those that pyfuse3 hands over: the same, and the log is written here

Whatever it is, the mount goes on.
"""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from pyfuse3 import FUSEError

from fusefs.errors import FsError
from fusefs.live._lowlevel import Request

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Self = TypeVar("Self")
R = TypeVar("R", bound=Request)


def refused(
    handler: Callable[Concatenate[Self, R, P], None],
) -> Callable[Concatenate[Self, R, P], None]:
    """What a handler raises before somebody else has the request is its answer."""

    @functools.wraps(handler)
    def answer(self: Self, request: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            handler(self, request, *args, **kwargs)
        except FsError as error:
            request.reply_err(error.errno)

    return answer


def answered(
    handler: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same for a coroutine of pyfuse3."""

    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except FsError as error:
            raise FUSEError(error.errno) from None
        except FUSEError:
            raise
        except Exception:
            log.exception("%s%r failed", handler.__name__, args[1:])
            raise FUSEError(errno.EIO) from None

    return answer
