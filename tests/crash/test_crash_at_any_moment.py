"""Several clients on one volume, stopped at every moment: what does the next mount find?"""

import stat
from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import blake2b
from typing import Any

import pytest
from crash.clients import FILE_BLOCKS_MAX, ROOT, Client, flusher, run_alone
from crash.machine import BLOCK, Machine, Wreck, metadata_of, recover
from figures import Figures

from fusefs.model.file_io import fsync, write
from fusefs.model.inode import OpenFile
from fusefs.model.options import Options
from fusefs.model.space import Space
from fusefs.model.steps import Buffer
from fusefs.store.fsck.check import check
from fusefs.store.image_file import ImageFile
from fusefs.store.node import Node
from fusefs.store.volume import Volume

BLOCK_COUNT = 96
SMALL = 32
"""An image that is often full, so that freed blocks are soon used again."""

CLIENT_COUNT = 3
OPTIONS = Options(page_size=2 * BLOCK, cache_size=32 * BLOCK, readahead=0)


class Crashes:
    """Runs workloads, and looks at each wreck; wrecks has the digests of those of all runs."""

    def __init__(self) -> None:
        self.wrecks: set[bytes] = set()

    def run(
        self,
        seed: int,
        operation_count: int = 40,
        volume_class: type[Volume] = Volume,
        block_count: int = BLOCK_COUNT,
    ) -> None:
        """Three clients and a flusher; AssertionError if a wreck breaks a promise."""
        with closing(Machine(seed, OPTIONS, block_count, volume_class)) as machine:
            self._run(machine, operation_count)

    def _run(self, machine: Machine, operation_count: int) -> None:
        names = machine.volume.namespace
        with machine.volume.changing:
            shared = names.make(ROOT, b"shared", stat.S_IFREG | 0o644, 0, 0, 0, 1)
        shared.opens += 1
        machine.run(_fill(machine.volume, shared))
        clients = [Client(machine, i, CLIENT_COUNT, shared) for i in range(CLIENT_COUNT)]
        seen: set[tuple[bytes, int]] = set()
        machine.run(
            *(client.work(operation_count) for client in clients),
            flusher(machine, operation_count // 8),
            moment=lambda: self._look(machine, clients, seen),
        )

    def run_all(self, seeds: Iterable[int], **options: Any) -> None:
        for seed in seeds:
            self.run(seed, **options)

    def _look(self, machine: Machine, clients: list[Client], seen: set[tuple[bytes, int]]) -> None:
        for wreck in machine.wrecks():
            digest = blake2b(wreck.image + wreck.metadata, digest_size=16).digest()
            if (digest, machine.promise_count) in seen:
                continue
            seen.add((digest, machine.promise_count))
            if digest not in self.wrecks:
                self.wrecks.add(digest)
                _check_consistency(wreck)
            with closing(recover(wreck, OPTIONS)) as volume:
                for client in clients:
                    client.check(volume)


of_all_tests: set[bytes] = set()


@pytest.fixture
def crashes(figures: Figures) -> Iterator[Crashes]:
    """Counts each wreck once, whichever test met it first."""
    crashes = Crashes()
    yield crashes
    figures.add("distinct crash states", len(crashes.wrecks - of_all_tests))
    of_all_tests.update(crashes.wrecks)


def _check_consistency(wreck: Wreck) -> None:
    """(C6)"""
    with closing(recover(wreck, OPTIONS)) as volume, closing(metadata_of(wreck)) as metadata:
        found = check(metadata, volume.image.superblock)
        if orphans := [finding for finding in found if finding.kind == "orphan"]:
            run_alone(volume, volume.commit())
            left = check(volume.metadata, volume.image.superblock)
            assert not left, f"(C6) after a mount fsck finds {left}"
    assert found == orphans, f"(C6) fsck finds {found}"


async def _fill(volume: Volume, node: Node) -> None:
    assert node.inode is not None
    file = OpenFile(node.inode)
    await write(volume.fs, file, 0, bytes(FILE_BLOCKS_MAX * BLOCK), direct=True, sync=False)
    await fsync(volume.fs, file)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("block_count", [BLOCK_COUNT, SMALL], ids=["roomy", "often full"])
def test_no_crash_breaks_a_promise(seed: int, block_count: int, crashes: Crashes):
    """(C1 to C6) for names and data, with three clients and commits at once."""
    crashes.run(seed, block_count=block_count)


@pytest.mark.long
def test_no_crash_breaks_a_promise_in_long_runs(crashes: Crashes):
    """The same for many more orders, and longer lives."""
    crashes.run_all(range(1000, 1030), operation_count=80)
    crashes.run_all(range(1050, 1080), operation_count=80, block_count=SMALL)


# -- faults that must be found -----------------------------------------------------------


class Forgetful(Volume):
    """Whatever changes while a commit is under way is taken for stored."""

    async def commit(self) -> None:
        await super().commit()
        self.nodes._inodes_changed.clear()


class Unflushed(Volume):
    """The transaction does not wait for the data."""

    async def _flush(self) -> None:
        pass


class FlushedTooSoon(Volume):
    """Maps are saved after the flush: they name blocks whose bytes came later."""

    async def commit(self) -> None:
        await super()._flush()
        await super().commit()

    async def _flush(self) -> None:
        pass


class NamesWithoutRows(Volume):
    """What came with a name while a commit was under way waits for the next one."""

    async def _flush(self) -> None:
        await super()._flush()
        self.rows.write_named = lambda: None
        self.metadata.names_changed = True

    async def commit(self) -> None:
        self.rows.__dict__.pop("write_named", None)
        await super().commit()


class FreesAtOnce:
    """An image with whose every write what has been freed becomes free."""

    def __init__(self, image: ImageFile, space: Space) -> None:
        self.image = image
        self.space = space

    def write_at(self, addr: int, data: Buffer) -> None:
        self.space.begin_commit()
        self.space.end_commit()
        self.image.write_at(addr, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.image, name)


class Hasty(Volume):
    """A freed block is free before the commit that frees it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.image = FreesAtOnce(self.image, self.fs.space)


class RenamesAtOnce(Volume):
    """What replaces a file need not be on the disk."""

    def unsaved_replacement(self, *names: object) -> None:
        return None


FAULTS = [Forgetful, Unflushed, FlushedTooSoon, NamesWithoutRows, Hasty, RenamesAtOnce]


@pytest.mark.parametrize("volume_class", FAULTS, ids=lambda volume_class: volume_class.__name__)
def test_a_faulty_commit_is_found(volume_class: type[Volume]):
    with pytest.raises(AssertionError, match=r"\(C[1-6]"):
        Crashes().run_all(range(100), volume_class=volume_class, block_count=SMALL)
