"""Whether what is stored can still be relied on: ext4's errors=remount-ro.

    "" ──fail()──> a reason: read-only until the next mount

The reason is a failed flush of the image, after which nobody can say what of the bytes since
the last one is on the disk, whatever a second flush says; a failed statement or commit of the
metadata; or metadata that contradicts itself.  From then on nothing more is committed, so
that the image stays as the last commit left it, and no change begins.

Errors: FsError(EROFS) for a change, FsError(EIO) for what asks for durability.
Invariants:
    (H1) whoever watches is told the first reason, once, and no other;
    (H2) there is no way back.
"""

import errno
from collections.abc import Callable

from fusefs.model.errors import FsError


class Health:
    """failure says why the mount is read-only; "" if it is not."""

    def __init__(self) -> None:
        self.failure = ""
        self._tell: list[Callable[[str], None]] = []

    def watch(self, tell: Callable[[str], None]) -> None:
        """Be told the reason when it comes (H1)."""
        self._tell.append(tell)

    def fail(self, reason: str) -> None:
        if not self.failure:
            self.failure = reason
            for tell in self._tell:
                tell(reason)

    def check_writable(self) -> None:
        """A change is about to begin."""
        if self.failure:
            raise FsError(errno.EROFS)

    def check_durable(self) -> None:
        """Something is to be made durable."""
        if self.failure:
            raise FsError(errno.EIO)
