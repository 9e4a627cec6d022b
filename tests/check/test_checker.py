"""What the checker leaves out, remembers, folds and forgets: driven by hand."""

import pytest
from check.turns import Turns
from model.driving import file_with, run

from fusefs.check.checker import REPORTS_MAX
from fusefs.check.history import STEPS_MAX, STORIES_MAX, History, Taken
from fusefs.check.report import told
from fusefs.engine.events import ENDED, GRANTED, Request
from fusefs.explore.memory import World
from fusefs.model.buffered import buffered_read
from fusefs.model.file_io import write
from fusefs.model.inode import OpenFile

SIZE = 4096


COPIED = (
    ("buffered.read.page_lock", 4096),
    ("buffered.read.map", 4096),
    ("buffered.read.fill", 4096),
    ("buffered.write.map", 8192),
    ("buffered.write.copy", 8192),
)
"""Steps of a copy of 512 bytes."""


def turns_with_a_file(**options: object) -> tuple[Turns, OpenFile]:
    """A file of two pages, all of it written with x, and all of it cached."""
    turns = Turns(World(block_size=512, page_size=2048, **options), 0)  # type: ignore[arg-type]
    file = file_with(turns.world, b"x" * SIZE)
    turns.inodes[1] = file.inode
    run(turns.world, buffered_read(turns.world.fs, file, 0, SIZE))
    return turns, file


def spoil(turns: Turns, file: OpenFile, index: int = 0, at: int = 700) -> None:
    """A byte of a cached page is another one, and nobody knows how that came about."""
    file.inode.mapping.pages[index].data[at] = ord("!")


def test_page_that_differs_is_told_with_its_first_byte() -> None:
    turns, file = turns_with_a_file()
    assert not turns.checker.look(file.inode, 0, SIZE)
    turns.checker.begin(0, 0)
    spoil(turns, file, index=1)
    assert not turns.checker.look(file.inode, 0, 2048)
    assert turns.checker.look(file.inode, 0, SIZE)
    (report,) = turns.checker.reports.values()
    difference = report.difference
    assert (difference.start, difference.stop, difference.pos) == (2560, 3072, 2748)
    assert (difference.got[:2], difference.expected[:2]) == (b"!x", b"xx")
    assert report.document()["change"] is None
    assert "not remembered" in "\n".join(told(report.document(), 1))


def test_page_that_was_compared_is_not_compared_again_until_something_changes() -> None:
    """(X2)"""
    turns, file = turns_with_a_file()
    turns.checker.look(file.inode, 0, SIZE)
    count = turns.checker.counts.pages_compared
    turns.checker.look(file.inode, 0, SIZE)
    assert turns.checker.counts.pages_compared == count == 2
    turns.start(
        write(turns.world.fs, file, 2048, b"y" * 512, direct=True, sync=False),
        *("write", 2048, 512, "direct"),
    )
    turns.run()
    turns.checker.look(file.inode, 0, SIZE)
    assert turns.checker.counts.pages_compared == count + 1  # the other page has been dropped


def test_stale_page_is_counted_once_and_differs_each_time() -> None:
    turns, file = turns_with_a_file()
    spoil(turns, file)
    assert turns.checker.look(file.inode, 0, SIZE)
    assert turns.checker.look(file.inode, 0, SIZE)
    assert turns.checker.counts.pages_stale == 1


def test_reports_of_one_kind_are_folded() -> None:
    turns, file = turns_with_a_file()
    for index in (0, 1):
        spoil(turns, file, index)
    turns.checker.look(file.inode, 0, SIZE)
    (report,) = turns.checker.reports.values()
    assert report.count == turns.checker.counts.pages_stale == 2
    turns.checker.clear()
    assert turns.checker.reports == {}


def test_no_more_kinds_are_kept_than_fit() -> None:
    turns, file = turns_with_a_file()
    spoil(turns, file)
    for number in range(REPORTS_MAX):
        turns.checker.reports["", "", str(number)] = None  # type: ignore[assignment]
    turns.checker.look(file.inode, 0, SIZE)
    assert len(turns.checker.reports) == REPORTS_MAX
    assert turns.checker.counts.reports_dropped == 1


@pytest.mark.parametrize("flag", ["locked", "writeback", "error"])
def test_page_that_somebody_has_or_that_failed_is_left_out(flag: str) -> None:
    turns, file = turns_with_a_file()
    spoil(turns, file)
    page = file.inode.mapping.pages[0]
    setattr(page, flag, True)
    assert not turns.checker.look(file.inode, 0, SIZE)
    setattr(page, flag, False)
    assert turns.checker.look(file.inode, 0, SIZE)


def test_dirty_blocks_and_what_is_behind_the_end_are_left_out() -> None:
    turns, file = turns_with_a_file()
    spoil(turns, file)
    page = file.inode.mapping.pages[0]
    page.blocks_dirty = 0b0010
    assert not turns.checker.look(file.inode, 0, SIZE)
    page.blocks_dirty = 0b0100
    file.inode.size = 700
    assert not turns.checker.look(file.inode, 0, SIZE)
    file.inode.size = 701
    assert turns.checker.look(file.inode, 0, SIZE)


def test_blocks_of_a_direct_write_under_way_are_left_out_until_it_ends() -> None:
    """Its submit is granted, and it has not ended."""
    turns, file = turns_with_a_file()
    request = Request(7, 0, "write", 1, 9, 512, 512, "direct")
    turns.checker.take((1, request, GRANTED, "dio.write.submit", 512, 512, 0))
    spoil(turns, file)
    assert not turns.checker.look(file.inode, 0, SIZE)
    turns.checker.take((2, request, ENDED, "reply", 512, 512, 512))
    assert turns.checker.counts.pages_stale == 1, "it is looked at when it ends"


def test_pages_of_a_direct_write_that_failed_are_not_compared_any_more() -> None:
    turns, file = turns_with_a_file()
    request = Request(7, 0, "write", 1, 9, 512, 512, "direct")
    turns.checker.take((1, request, GRANTED, "dio.write.submit", 512, 512, 0))
    spoil(turns, file)
    turns.checker.take((2, request, ENDED, "reply", 512, 512, -5))
    assert not turns.checker.look(file.inode, 0, SIZE)


def test_nothing_is_compared_before_those_have_ended_that_were_under_way() -> None:
    turns, file = turns_with_a_file()
    spoil(turns, file)
    turns.checker.begin(1, 7)
    assert not turns.checker.look(file.inode, 0, SIZE)
    later, earlier = Request(8, 0, "read", 1), Request(7, 0, "write", 1, 9, 0, 512, "direct")
    turns.checker.take((1, later, ENDED, "reply", 0, 0, 0))
    assert not turns.checker.look(file.inode, 0, SIZE)
    turns.checker.take((2, earlier, ENDED, "reply", 0, 512, 512))
    assert turns.checker.look(file.inode, 0, SIZE)


def test_history_forgets_the_oldest_request_and_the_middle_of_a_long_one() -> None:
    history = History()
    for number in range(STORIES_MAX + 1):
        request = Request(number, 0, "write", 1)
        history.take((number, request, GRANTED, "dio.write.map", 0, 512, 0))
    assert len(history) == STORIES_MAX
    assert not history.knows(Request(0, 0, "write", 1))
    long = Request(1_000_000, 0, "write", 2)
    for place in range(3 * STEPS_MAX):
        history.take((place, long, GRANTED, "dio.write.submit", place, 1, 0))
    (story,) = history.latest(2)
    assert len(story.steps) == STEPS_MAX
    assert story.lacks_steps
    assert story.steps[0] == Taken(0, "dio.write.submit", 0, 1)
    assert story.steps[-1].pos == 3 * STEPS_MAX - 1


def test_request_under_way_is_not_forgotten_for_many_that_have_ended() -> None:
    history = History()
    slow = Request(1, 0, "write", 1)
    history.take((1, slow, GRANTED, "dio.write.submit", 0, 512, 0))
    for number in range(2, 2 * STORIES_MAX):
        request = Request(number, 0, "write", 1)
        history.take((number, request, GRANTED, "dio.write.map", 0, 512, 0))
        history.take((number, request, ENDED, "reply", 0, 512, 512))
    assert len(history) == STORIES_MAX
    *_, oldest = history.latest(1)
    assert (oldest.request, oldest.lacks_steps) == (slow, False)


def test_request_that_was_forgotten_under_way_is_not_taken_to_be_whole() -> None:
    history = History()
    requests = [Request(number, 0, "write", 1) for number in range(STORIES_MAX + 1)]
    for request in requests:
        history.take((request.number, request, GRANTED, "dio.write.submit", 0, 512, 0))
    history.take((STORIES_MAX + 1, requests[0], GRANTED, "dio.write.convert", 0, 512, 0))
    story = next(history.latest(1))
    assert [taken.step for taken in story.steps] == ["dio.write.convert"]
    assert story.lacks_steps


def test_request_that_was_under_way_when_the_checker_began_is_not_taken_to_be_whole() -> None:
    turns, _ = turns_with_a_file()
    turns.checker.begin(1, 7)
    for number in (7, 8):
        request = Request(number, 0, "write", 1)
        turns.checker.take((number, request, GRANTED, "dio.write.convert", 0, 512, 0))
    later, earlier = turns.checker._history.latest(1)
    assert (earlier.lacks_steps, later.lacks_steps) == (True, False)


def test_copy_has_filled_pages_of_its_source_and_written_to_its_target() -> None:
    history = History()
    copy = Request(3, 1, "copy_file_range", 2, 101, 8192, 512, "from=1:4096")
    for time, (step, pos) in enumerate(COPIED):
        history.take((time, copy, GRANTED, step, pos, 512, 0))
    (source,), (target,) = history.latest(1), history.latest(2)
    assert [taken.step for taken in source.steps] == [step for step, _ in COPIED[:3]]
    assert (source.request.number, source.request.ino, source.request.pos) == (3, 1, 4096)
    assert [taken.step for taken in target.steps] == [step for step, _ in COPIED[3:]]
    assert target.request is copy


def test_copy_within_a_file_is_one_story() -> None:
    history = History()
    copy = Request(3, 1, "copy_file_range", 2, 101, 8192, 512, "from=2:4096")
    for time, (step, pos) in enumerate(COPIED):
        history.take((time, copy, GRANTED, step, pos, 512, 0))
    (story,) = history.latest(2)
    assert len(story.steps) == len(COPIED)


def test_request_that_comes_to_no_step_is_not_remembered() -> None:
    turns, file = turns_with_a_file()
    turns.read(buffered_read(turns.world.fs, file, 0, SIZE), 0, SIZE)
    turns.run()
    assert turns.checker.counts.pages_compared == 2
    assert [story for story in turns.checker._history.latest(1) if story.steps] == []
