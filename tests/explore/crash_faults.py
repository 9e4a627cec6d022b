"""Planted faults: storages that keep no promise, and which rules a file then breaks."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from explore.crash_files import litmus

from fusefs.explore.crash_memory import CrashMemory
from fusefs.explore.crashes import Crashes
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase


class Tampered:
    """A LitmusWorld whose storage is another."""

    def __init__(self, world: Any, storage: Callable[[CrashMemory], Any]) -> None:
        self.real = world
        self.world = storage(world.world)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Storage:
    def __init__(self, memory: CrashMemory) -> None:
        self.memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


class TornDisk(Storage):
    """A disk that writes half a block at a time."""

    def write_at(self, addr: int, data: bytes) -> None:
        for start, stop in pairwise(range(0, len(data) + 1, 256)):
            self.memory.write_at(addr + start, data[start:stop])


class CommitBeforeData(Storage):
    """A commit that is recorded without a flush before it."""

    def commit(self) -> None:
        disk = self.memory.disk
        pending, flushed = list(disk.pending), disk.flushed
        self.memory.commit()
        disk.pending, disk.flushed = pending, flushed


class NoCommit(Storage):
    """An fsync that only says so."""

    def commit(self) -> None:
        pass


class StrayZeros(Storage):
    """Each write to the disk first leaves zeros there."""

    def write_at(self, addr: int, data: bytes) -> None:
        self.memory.write_at(addr, bytes(len(data)))
        self.memory.write_at(addr, data)


def broken_with(text: str, storage: Callable[[CrashMemory], Any]) -> dict[str, str]:
    """The rules that are broken on such a storage, each with the first sentence."""
    asked = litmus(text)
    made = LitmusCase(asked)

    def make() -> Any:
        return Tampered(made.world(), storage)

    some, reduction = Crashes(asked, made.judge, make), Reduction(make)
    rules: dict[str, str] = {}
    while reduction.next_run():
        for crash in some.after(reduction.trace):
            for rule, sentence in crash.broken:
                rules.setdefault(rule, sentence)
    return rules
