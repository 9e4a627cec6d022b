"""The kernel's two kinds of lock, without a kernel: rw_semaphore and page lock.

Both are taken without a step when they are free; waiting is a step.
A RwLock is handed over in the order of asking, so that nobody starves and a waiting
exclusive owner holds back later shared ones, as in kernel/locking/rwsem.c.

Lock order, outermost first:

    inode.lock          i_rwsem (XFS: IOLOCK)
    inode.mapping.lock  invalidate_lock: fills shared; truncate and punch exclusive
    page                in ascending order of index
"""

from collections import deque

from fusefs.model.footprint import DEMOTED, EXCLUSIVE, LOCK, SHARED, key
from fusefs.model.steps import Waiter, current, wait


class RwLock:
    """Shared or exclusive; first come, first served.

    owner is the request that got it last, as rwsem's owner: of several readers it may be one that
    has let go, while another still holds it.  ino and number tell it from others in footprints.
    """

    __slots__ = ("_exclusive", "_key", "_name", "_queue", "_shared", "owner")

    def __init__(self, name: str, ino: int = 0, number: int = 0) -> None:
        self._name = name
        self._key = key(LOCK, ino, number)
        self._shared = 0
        self._exclusive = False
        self.owner = 0
        self._queue: deque[tuple[Waiter, bool]] = deque()

    async def lock_shared(self) -> None:
        if not self.try_lock_shared():
            await self._wait(exclusive=False)

    async def lock_exclusive(self) -> None:
        if not self.try_lock_exclusive():
            await self._wait(exclusive=True)

    def try_lock_shared(self) -> bool:
        """down_read_trylock(): if it is free, and nobody came first.

        Who asks so first is spared a coroutine.
        """
        footprint = current.footprint
        if footprint is not None:
            footprint.add(self._key)
        if self._exclusive or self._queue:
            return False
        if footprint is not None:
            footprint.lock(self._key, SHARED)
        self._shared += 1
        self.owner = current.number
        return True

    def try_lock_exclusive(self) -> bool:
        """down_write_trylock()."""
        self._note_exclusive()
        if self._exclusive or self._shared or self._queue:
            return False
        self._note_asked(EXCLUSIVE)
        self._exclusive = True
        self.owner = current.number
        return True

    def unlock_shared(self) -> None:
        assert self._shared > 0, "unlock of a lock that is not shared"
        self._shared -= 1
        footprint = current.footprint
        if footprint is not None:
            footprint.add(self._key)
        self._hand_over()

    def unlock_exclusive(self) -> None:
        assert self._exclusive, "unlock of a lock that is not exclusive"
        self._exclusive = False
        self._note_exclusive()
        self._hand_over()

    def demote(self) -> None:
        """Exclusive becomes shared without a gap."""
        assert self._exclusive, "demote of a lock that is not exclusive"
        self._exclusive = False
        self._shared = 1
        self._note_exclusive()
        self._note_asked(DEMOTED)
        self._hand_over()

    @property
    def held_exclusive(self) -> bool:
        return self._exclusive

    @property
    def held_shared(self) -> bool:
        return self._shared > 0

    def _note_exclusive(self) -> None:
        """It is taken, let go, or queued for, beside which nobody else can do anything."""
        footprint = current.footprint
        if footprint is not None:
            footprint.write(self._key)

    def _note_asked(self, mode: str) -> None:
        """Once for each time that it is taken: when it is had at once, or queued for."""
        footprint = current.footprint
        if footprint is not None:
            footprint.lock(self._key, mode)

    async def _wait(self, *, exclusive: bool) -> None:
        self._note_exclusive()
        waiter = Waiter(self.owner)
        self._queue.append((waiter, exclusive))
        mode = EXCLUSIVE if exclusive else SHARED
        self._note_asked(mode)
        await wait(f"lock.{self._name}.{mode}", waiter)

    def _hand_over(self) -> None:
        """Give the lock to whoever is next, before they run: nobody can slip in between."""
        if not self._queue:
            return
        self._note_exclusive()
        before = self.owner
        while self._queue and not self._exclusive:
            waiter, exclusive = self._queue[0]
            if exclusive and self._shared:
                break
            self._queue.popleft()
            if exclusive:
                self._exclusive = True
            else:
                self._shared += 1
            self.owner = waiter.number
            waiter.wake()
        if self.owner != before:
            for waiter, _ in self._queue:
                waiter.owner = self.owner
