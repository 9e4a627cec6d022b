"""Has the blocks of deleted files freed, and waits for those that are on their way.

The life of such a file is in store/deleted.py; here is the trio side of it.
"""

from collections.abc import Callable
from contextlib import suppress

import trio

from fusefs.live.driver import Driver
from fusefs.model.errors import FsError
from fusefs.model.file_io import commit_names
from fusefs.model.filesystem import Filesystem
from fusefs.store.deleted import DeletedFiles

FORGET_WAIT_S = 0.1
"""How long a write on a full image waits until the kernel has forgotten what was unlinked."""


class Reclaim:
    """Whoever waits for deleted files to come to their end."""

    def __init__(self, deleted: DeletedFiles, fs: Filesystem) -> None:
        self._deleted = deleted
        self._fs = fs
        self._changed = trio.Event()
        deleted.changed = self._wake

    async def run(self, driver: Driver) -> None:
        """Commit again and again while there are inactive files, which go piece by piece."""
        with suppress(FsError):  # health has it
            while True:
                await self._until(lambda: self._deleted.has_inactive)
                await driver.call(commit_names(), "inactivate")

    async def finish(self, driver: Driver) -> None:
        """The same, until there is none; the mount is gone."""
        with suppress(FsError):
            while self._deleted.has_inactive:
                await driver.call(commit_names(), "inactivate")

    async def wait_forgotten(self) -> None:
        """Wait for the FORGET that follows an unlink, as its blocks are wanted.

        It is on its way, but may come behind the request that wants them.  What it does not
        come for is not waited for a second time.
        """
        waited_for = set(self._fs.inodes_unlinked)
        if waited_for:
            with trio.move_on_after(FORGET_WAIT_S):
                await self._until(lambda: not waited_for & self._fs.inodes_unlinked)
        self._deleted.give_up_waiting(waited_for)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()
