"""The one exception of the model: an errno for the caller.

An FsError says that the caller or the disk is at fault; whoever drives the model answers
with its errno.  An AssertionError says that the fault is ours.
"""

import errno as _errno


class FsError(Exception):
    """A request fails with the given errno; nothing else is said to the caller.

    host_error is what the image's host said, if it was that: a driver may log it.
    """

    def __init__(self, errno: int, host_error: OSError | None = None) -> None:
        super().__init__(errno)
        self.errno = errno
        self.host_error = host_error

    def __str__(self) -> str:
        return _errno.errorcode.get(self.errno, f"errno {self.errno}")
