"""Where an exception becomes the reply to a request that pyfuse3 hands over.

An FsError becomes its errno; anything else is logged, and becomes EIO.  Whatever it is, the
mount goes on.  The extension does the same for the requests that it hands over itself.
"""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from pyfuse3 import FUSEError

from fusefs.model.errors import FsError

log = logging.getLogger(__name__)

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
        except FsError as error:
            raise FUSEError(error.errno) from None
        except FUSEError:
            raise
        except Exception:
            log.exception("%s%r failed", handler.__name__, args[1:])
            raise FUSEError(errno.EIO) from None

    return answer
