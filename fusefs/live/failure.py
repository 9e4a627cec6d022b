"""What a request is answered with if it fails: the one place of a mount where this is decided.

An FsError is the caller's or the disk's fault, and has its errno.  Any other exception is ours: it
is logged with its traceback, and is EIO.  Whatever it is, the mount goes on.

Used by the driver for what coroutines and storage raise, by the extension for what handlers raise,
and by operations.py for what pyfuse3 calls.
"""

import errno
import logging

from fusefs.model.errors import FsError

log = logging.getLogger("fusefs.live")


def failure(error: BaseException, what: str, *arguments: object) -> FsError:
    """what is a format of logging, and says what failed."""
    if isinstance(error, FsError):
        return error
    log.error(what, *arguments, exc_info=error)
    return FsError(errno.EIO)
