"""Direct writes against buffered reads of the same page, under every order of their steps."""

import math

import pytest

from fusefs.explore.memory import World
from fusefs.explore.scenarios import Coro, OnePage
from fusefs.explore.schedule import Run, replay, run, search
from fusefs.model.buffered import buffered_read
from fusefs.model.dio import direct_write
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.options import Invalidate
from fusefs.model.orders import POST_BEFORE_END, ROWS
from fusefs.model.steps import reach

BEFORE, AFTER = Invalidate.BEFORE, Invalidate.AFTER


def one_page(*names: str, order: Invalidate):
    return lambda: OnePage(names, order)


def test_before_order_is_caught_with_two_writers_and_a_reader():
    """(D1) In BEFORE order a page filled between the drop and the conversion stays, with zeros.

    Guards kernel c771c14baa33 (xfstests generic/418).
    """
    found = search(one_page("write0", "write1", "read0", order=BEFORE), stop_at_failure=True)
    assert found.first_failure is not None
    assert found.first_failure.schedule == "0 0 0 0 0 1 1 1 1 2 2 2 1 2"


@pytest.mark.long
@pytest.mark.parametrize(
    ("order", "counts"),
    [
        pytest.param(BEFORE, (203184, 11340), id="before"),
        pytest.param(AFTER, (383334, 0), id="after"),
    ],
)
def test_two_writers_and_a_reader_in_all_their_orders(order: Invalidate, counts: tuple[int, int]):
    """(D1) In AFTER order no order of steps leaves a stale page; in BEFORE order one in 18 does.

    Guards kernel c771c14baa33 (xfstests generic/418).
    """
    found = search(one_page("write0", "write1", "read0", order=order))
    assert found.complete
    assert (found.schedule_count, found.failure_count) == counts


def test_one_writer_and_one_reader_meet_in_exactly_the_listed_ways():
    """(D1) The smallest case by hand: five turns of the writer, four of the reader, starts too.

    In AFTER order, C(9, 4) = 126 orders less the 21 in which the page enters the cache before
    the writer starts.  The writer then drops it first, which is one more turn, and waits for
    its lock, so that only the places of two turns among the reader's last two are free: 6.
    In BEFORE order the ten that fail are those in which the reader looks at the map after the
    drop and before the conversion: two, with five places each for the reader's start.
    """
    after = search(one_page("write0", "read1", order=AFTER))
    before = search(one_page("write0", "read1", order=BEFORE))
    by_hand = math.comb(9, 4) - math.comb(7, 2) + math.comb(4, 2)
    assert (after.schedule_count, after.failure_count) == (by_hand, 0)
    assert (before.schedule_count, before.failure_count) == (77, 10)


def test_starts_are_choices():
    """(D1) A puncher takes its locks as it starts: started second, it would hide the bug.

    Whoever is started before the search begins always gets its first lock in that order, and
    of the orders of these three tasks one was left, in which nothing fails.
    """
    found = search(one_page("write0", "punch1", "read0", order=BEFORE))
    assert found.complete
    assert (found.schedule_count, found.failure_count) == (1494, 110)


def test_a_failing_schedule_replays_from_its_line():
    make = one_page("write0", "read1", order=BEFORE)
    found = search(make, stop_at_failure=True)
    assert found.first_failure is not None
    again = replay(make, found.first_failure.schedule)
    assert str(again) == str(found.first_failure)
    assert again.failure == "(D1) cached blocks [0] disagree with the image"


def test_the_stale_page_was_filled_between_the_drop_and_the_conversion():
    """(D1) What the printed ladder must show, whichever failure is printed."""
    found = search(one_page("write0", "read1", order=BEFORE), stop_at_failure=True)
    assert found.first_failure is not None
    names = [name for _, name in found.first_failure.ladder]
    drop, convert = names.index("dio.write.invalidate_post"), names.index("dio.write.convert")
    assert drop < names.index("buffered.read.map") < convert


@pytest.mark.parametrize(
    ("names", "count"),
    [
        pytest.param(("write0", "read1", "read0"), 21502, id="one-writer-two-readers"),
        pytest.param(("store0", "write1", "read0"), 2397, id="buffered-and-direct-writer"),
        pytest.param(("write0", "punch1", "read0"), 2146, id="writer-puncher-reader"),
        pytest.param(("write0", "cut", "read0"), 1118, id="writer-truncater-reader"),
        pytest.param(("store0", "read1", "dread0"), 1790, id="buffered-writer-both-readers"),
    ],
)
def test_after_order_survives(names: tuple[str, ...], count: int):
    """(D1) No mix of tasks on one page leaves a stale page, a lost block or a stuck task."""
    found = search(one_page(*names, order=AFTER))
    assert found.complete
    assert found.failure_count == 0, str(found.first_failure)
    assert found.schedule_count == count


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("write0", "read1", "read0"), id="one-writer-two-readers"),
        pytest.param(("store0", "write1", "read0"), id="buffered-and-direct-writer"),
    ],
)
def test_before_order_can_leave_zeros_cached(names: tuple[str, ...]):
    """(D1) The same mixes find the bug, so that surviving them means something."""
    assert search(one_page(*names, order=BEFORE)).failure_count > 0


# -- orders that kernels had, or nearly had ----------------------------------------------


@pytest.mark.parametrize(
    ("name", "tasks", "today", "broken"),
    [
        ("post_before_end", ("write0", "read1"), (111, 0), (77, 10)),
        ("isize_before_convert", ("grow0", "dread0"), (9, 0), (12, 1)),
        ("map_before_insert", ("write0", "read1"), (111, 0), (123, 10)),
    ],
)
def test_order_breaks_its_smallest_case_and_today_s_kernel_does_not(
    name: str, tasks: tuple[str, ...], today: tuple[int, int], broken: tuple[int, int]
):
    """(D1) (D5) What fails under an order fails under it alone; the others are in the gallery.

    map_before_insert (P3): its ten are those in which the map is looked at before one of the
    writer's start, map, submit and convert steps, and the page inserted after its drop.
    """
    before = BEFORE if name == POST_BEFORE_END else AFTER
    others = {name} - {POST_BEFORE_END}
    for found, counts in (
        (search(lambda: OnePage(tasks)), today),
        (search(lambda: OnePage(tasks, before, order=others)), broken),
    ):
        assert found.complete
        assert (found.schedule_count, found.failure_count) == counts
        if found.first_failure is not None:
            assert found.first_failure.failure is not None
            assert found.first_failure.failure[:4] == ROWS[name].breaks[:4]


class SwitchedOrder(OnePage):
    """The mount option changes from BEFORE to AFTER while a write is under way."""

    def tasks(self) -> list[Coro]:
        return [*super().tasks(), self._switch()]

    async def _switch(self) -> None:
        await reach("dio.write.map", 0, 0)
        fs = self.world.fs
        fs.set_options(fs.options.changed("invalidate", "after"))


def test_a_write_keeps_the_order_that_was_in_force_when_it_began():
    """(D1) Switching to AFTER does not mend a write that began under BEFORE."""
    found = search(lambda: SwitchedOrder(["write0", "read1"], BEFORE))
    assert found.complete
    assert found.failure_count > 0
    assert found.first_failure is not None
    assert "dio.write.convert" in str(found.first_failure)


class ReadsBack(OnePage):
    """A writer that reads its own block back through the cache, as every tester does."""

    def __init__(self, order: Invalidate) -> None:
        super().__init__(["read1"], order)
        self.read_back = b""

    def tasks(self) -> list[Coro]:
        return [self._write_and_read(), *super().tasks()]

    async def _write_and_read(self) -> None:
        fs, inode = self.world.fs, self.inode
        await direct_write(fs, inode, 0, b"\x01" * 512)
        self.read_back = b"".join(await buffered_read(fs, OpenFile(inode), 0, 512))

    def check(self) -> str | None:
        return None if self.read_back == b"\x01" * 512 else f"read back {self.read_back[:1]!r}"


def test_a_direct_writer_can_read_back_zeros_in_before_order_only():
    """(D1) The user's view of it.  Guards kernel c771c14baa33 (LTP dio29, dio30)."""
    before, after = search(lambda: ReadsBack(BEFORE)), search(lambda: ReadsBack(AFTER))
    assert before.complete
    assert after.complete
    assert before.failure_count > 0
    assert before.first_failure is not None
    assert before.first_failure.failure == r"read back b'\x00'"
    assert after.failure_count == 0, str(after.first_failure)


def test_the_search_itself_counts_what_can_be_counted_by_hand():
    """Two tasks of m and n independent turns have C(m + n, n) orders; the first is the start."""

    class Walkers:
        def __init__(self) -> None:
            self.world = World()
            self.spawned: list[Coro] = []
            self.watches_lru = False

        def tasks(self) -> list[Coro]:
            return [self._walk(4), self._walk(3)]

        async def _walk(self, count: int) -> None:
            for _ in range(count):
                await reach("seek.map", 0, 0)

        def check(self) -> str | None:
            return None

    assert search(Walkers).schedule_count == math.comb(9, 4)


def test_a_bounded_search_says_that_it_is_not_complete():
    found = search(one_page("write0", "write1", "read0", order=AFTER), schedules_max=10)
    assert (found.schedule_count, found.complete) == (10, False)


def test_two_unaligned_writers_to_one_block_do_not_zero_each_other():
    """(D4) Sub-block writes exclude each other.  Guards kernel eda77982729b (generic/240)."""

    class SubBlock:
        def __init__(self) -> None:
            self.world = World(block_size=1024, page_size=4096)
            self.spawned: list[Coro] = []
            self.watches_lru = False
            self.inode = Inode(1, 4096)

        def tasks(self) -> list[Coro]:
            return [self._write(0), self._write(512)]

        async def _write(self, pos: int) -> None:
            await direct_write(self.world.fs, self.inode, pos, b"\x07" * 512)

        def check(self) -> str | None:
            block = self.world.on_image(self.inode, 0)
            return None if block == b"\x07" * 1024 else "a writer's bytes were zeroed"

    found = search(SubBlock)
    assert found.complete
    assert found.failure_count == 0, str(found.first_failure)
    assert found.schedule_count > 1


def test_a_replayed_schedule_that_cannot_go_is_refused():
    with pytest.raises(ValueError, match="cannot go at place 0"):
        replay(one_page("write0", "read1", order=AFTER), "7")


def test_the_default_schedule_runs_the_tasks_one_after_the_other():
    result: Run = run(OnePage(["write0", "read1"], AFTER))
    assert result.failure is None
    assert [task for task, _ in result.ladder] == [0, 0, 0, 0, 1, 1, 1]
