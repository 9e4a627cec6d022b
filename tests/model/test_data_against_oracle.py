"""Any sequence of requests leaves what a bytearray would hold, seen from both sides.

Files are read through the cache and around it.  Free blocks of the image hold garbage and
are barely enough, and the cache holds few pages: so whatever is exposed, lost, leaked or
evicted wrongly shows up as a difference, which Hypothesis shrinks to a few requests.
"""

import errno

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model.driving import GEOMETRIES, both_reads, check_world, fsync, read, run, write

from fusefs.explore.memory import World
from fusefs.model.errors import FsError
from fusefs.model.file_io import copy_range, writeback_inode
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.truncate import SEEK_DATA, SEEK_HOLE, Mode, fallocate, seek, truncate

SECTOR = 512
PATTERN = bytes(range(1, 212))
"""Of prime length, so that misplaced bytes differ; without 0 and without GARBAGE."""

FILE_PAGES = 3
"""Pages that a file may have; more are only more of the same."""


def pattern(seed: int, length: int) -> bytes:
    start = seed * 37 % len(PATTERN)
    return (PATTERN * (length // len(PATTERN) + 2))[start : start + length]


class DataMachine(RuleBasedStateMachine):
    """Two files on one image, and a bytearray beside each."""

    geometry = GEOMETRIES[0]

    def __init__(self) -> None:
        super().__init__()
        block_size, page_size = self.geometry
        self.size_max = FILE_PAGES * page_size
        self.write_count = 0
        self.block_size, self.page_size = block_size, page_size
        self.files = [OpenFile(Inode(ino)) for ino in (1, 2)]
        self.oracles = [bytearray(), bytearray()]

    @initialize(cache_pages=st.integers(1, 4), readahead_pages=st.integers(0, 4))
    def make_world(self, cache_pages: int, readahead_pages: int) -> None:
        self.world = World(
            block_size=self.block_size,
            page_size=self.page_size,
            block_count=1 + 2 * self.size_max // self.block_size,
            cache_size=cache_pages * self.page_size,
            readahead=readahead_pages * self.page_size,
        )

    # -- ranges: all offsets, but mostly those near an edge of a sector, block or page ----

    def _at(self, unit: int, place: int, nudge: int) -> int:
        return max(0, min(place % (self.size_max // unit + 1) * unit + nudge, self.size_max))

    def _range(self, low: tuple[int, int, int], high: tuple[int, int, int]) -> tuple[int, int]:
        units = (SECTOR, self.block_size, self.page_size)
        start, end = sorted(
            self._at(units[unit], place, nudge) for unit, place, nudge in (low, high)
        )
        return start, end - start

    def _aligned(self, low: int, high: int) -> tuple[int, int]:
        sectors = self.size_max // SECTOR
        start, end = sorted((low % (sectors + 1), high % (sectors + 1)))
        return start * SECTOR, (end - start) * SECTOR

    def _data(self, length: int) -> bytes:
        self.write_count += 1
        return pattern(self.write_count, length)

    def _put(self, which: int, pos: int, data: bytes) -> None:
        oracle = self.oracles[which]
        if data:
            oracle.extend(bytes(max(0, pos + len(data) - len(oracle))))
            oracle[pos : pos + len(data)] = data

    places = st.tuples(st.integers(0, 2), st.integers(0, 400), st.sampled_from((0, 0, -1, 1, 300)))
    which = st.integers(0, 1)
    sectors = st.integers(0, 400)

    # -- requests ------------------------------------------------------------------------

    @rule(which=which, low=places, high=places)
    def write_buffered(self, which, low, high) -> None:
        pos, length = self._range(low, high)
        data = self._data(length)
        assert write(self.world, self.files[which], pos, data) == length
        self._put(which, pos, data)

    @rule(which=which, low=sectors, high=sectors)
    def write_direct(self, which, low, high) -> None:
        pos, length = self._aligned(low, high)
        data = self._data(length)
        assert write(self.world, self.files[which], pos, data, direct=True) == length
        self._put(which, pos, data)

    @rule(which=which, low=places, high=places)
    def read_buffered(self, which, low, high) -> None:
        pos, length = self._range(low, high)
        expected = self.oracles[which][pos : pos + length]
        assert read(self.world, self.files[which], pos, length) == expected

    @rule(which=which, low=sectors, high=sectors)
    def read_direct(self, which, low, high) -> None:
        pos, length = self._aligned(low, high)
        expected = self.oracles[which][pos : pos + length]
        assert read(self.world, self.files[which], pos, length, direct=True) == expected

    @rule(which=which, place=places)
    def set_size(self, which, place) -> None:
        size, _ = self._range(place, place)
        run(self.world, truncate(self.world.fs, self.files[which].inode, size))
        oracle = self.oracles[which]
        del oracle[size:]
        oracle.extend(bytes(size - len(oracle)))

    @rule(
        which=which,
        low=places,
        high=places,
        mode=st.sampled_from(
            (0, Mode.KEEP_SIZE, Mode.PUNCH_HOLE | 1, Mode.ZERO_RANGE, Mode.ZERO_RANGE | 1)
        ),
    )
    def change_blocks(self, which, low, high, mode) -> None:
        pos, length = self._range(low, high)
        request = fallocate(self.world.fs, self.files[which].inode, mode, pos, length)
        if not length:
            with pytest.raises(FsError) as refusal:
                run(self.world, request)
            assert refusal.value.errno == errno.EINVAL
            return
        run(self.world, request)
        oracle = self.oracles[which]
        if mode & (Mode.PUNCH_HOLE | Mode.ZERO_RANGE):
            inside = max(0, min(pos + length, len(oracle)) - pos)
            oracle[pos : pos + inside] = bytes(inside)
        if not mode & Mode.KEEP_SIZE:
            oracle.extend(bytes(max(0, pos + length - len(oracle))))

    @rule(which=which, low=places, high=places, to=places)
    def copy(self, which, low, high, to) -> None:
        pos, length = self._range(low, high)
        pos_out, _ = self._range(to, to)
        length = min(length, self.size_max - pos_out)
        source, target = self.files[which], self.files[1 - which]
        data = bytes(self.oracles[which][pos : pos + length])
        request = copy_range(self.world.fs, source, pos, target, pos_out, length)
        assert run(self.world, request) == len(data)
        self._put(1 - which, pos_out, data)

    @rule(which=which)
    def sync(self, which) -> None:
        fsync(self.world, self.files[which])
        inode = self.files[which].inode
        assert inode.disk_size == inode.size
        assert not inode.extents.blocks_delalloc

    @rule(which=which)
    def write_back(self, which) -> None:
        run(self.world, writeback_inode(self.world.fs, self.files[which].inode))

    @rule(which=which, place=places)
    @precondition(lambda self: any(self.oracles))
    def look_for_data_and_holes(self, which, place) -> None:
        """What SEEK_HOLE skips may be zeros; what SEEK_DATA skips must be."""
        pos, _ = self._range(place, place)
        oracle, inode = self.oracles[which], self.files[which].inode
        if pos >= len(oracle):
            return
        hole = run(self.world, seek(self.world.fs, inode, pos, SEEK_HOLE))
        assert pos <= hole <= len(oracle)
        try:
            data = run(self.world, seek(self.world.fs, inode, pos, SEEK_DATA))
        except FsError:
            data = len(oracle)
        assert pos <= data <= len(oracle)
        assert pos in (hole, data), "neither data nor a hole begins here"
        assert not any(oracle[pos:data])

    # -- what must hold ------------------------------------------------------------------

    @invariant()
    def nothing_is_stale_or_lost(self) -> None:
        """(D1) (P1) (S1) (T2), and the sizes agree."""
        if not hasattr(self, "world"):
            return
        check_world(self.world, [file.inode for file in self.files])
        for file, oracle in zip(self.files, self.oracles, strict=True):
            assert file.inode.size == len(oracle)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for file, oracle in zip(self.files, self.oracles, strict=True):
                assert both_reads(self.world, file) == (oracle, oracle)


def machine(geometry: tuple[int, int], examples: int) -> type:
    """The test case of one geometry."""
    name = f"DataMachine{geometry[0]}On{geometry[1]}"
    case = type(name, (DataMachine,), {"geometry": geometry}).TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return case


Test512On4096 = machine((512, 4096), 10)
Test1024On4096 = machine((1024, 4096), 10)
Test4096On4096 = machine((4096, 4096), 10)
Test4096On65536 = machine((4096, 65536), 10)

TestLong512On4096 = pytest.mark.long(machine((512, 4096), 1000))
TestLong1024On4096 = pytest.mark.long(machine((1024, 4096), 1000))
TestLong4096On4096 = pytest.mark.long(machine((4096, 4096), 1000))
TestLong4096On65536 = pytest.mark.long(machine((4096, 65536), 1000))
