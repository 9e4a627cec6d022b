"""The one exception of the model: an errno for the caller.

An FsError says that the caller or the disk is at fault, and becomes an errno in one
place, the driver.  An AssertionError says that the fault is ours.
"""

import errno as _errno


class FsError(Exception):
    """A request fails with the given errno; nothing else is said to the caller."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno

    def __str__(self) -> str:
        return _errno.errorcode.get(self.errno, f"errno {self.errno}")
