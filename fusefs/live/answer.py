"""The one place where an exception becomes a reply: every handler is answered.

Errors: FsError becomes its errno; anything else is logged with its traceback and becomes
EIO for that request, and the mount goes on.
"""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from pyfuse3 import FUSEError

from fusefs.errors import FsError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


Handler = Callable[P, Coroutine[Any, Any, T]]


def answered(handler: Handler[P, T]) -> Handler[P, T]:
    """Whatever a handler raises, the request is answered and the mount goes on."""

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
