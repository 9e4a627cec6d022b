"""What a recorder says of requests, and what it does where nobody takes it."""

import os

import pytest
from model.driving import file_with, read, write

from fusefs.engine.events import ENDED, GRANTED, Noted, Request
from fusefs.engine.recording import HEAD
from fusefs.explore.memory import World
from fusefs.live import recorder
from fusefs.live.recorder import Recorder, met
from fusefs.live.trace import Trace, now_ns
from fusefs.model.inode import Inode


class Recorded:
    """A file in memory, a trace, and who records it."""

    def __init__(self, data: bytes = b"x" * 3000, block: int = 512, page: int = 2048) -> None:
        self.world = World(block_size=block, page_size=page, readahead=page)
        self.file = file_with(self.world, data)
        self.trace = Trace()
        self.recorder = Recorder(
            self.world.fs,
            self.trace,
            lambda ino: self.file.inode if ino == self.file.inode.ino else None,
            lambda ino: f"/file{ino}",
        )
        self.taken = ""

    def request(
        self, number: int, operation: str = "write", pos: int = 0, length: int = 512
    ) -> None:
        request = Request(number, now_ns(), operation, 1, 42, pos, length, "direct")
        self.note(request, GRANTED, "dio.write.map", 0)
        self.note(request, ENDED, "reply", length)

    def note(self, request: Request, what: str, step: str, number: int) -> None:
        self.trace.add((now_ns(), request, what, step, request.pos, request.length, number))

    def lines(self, word: str = "") -> list[str]:
        """All that was said so far, or the lines that begin so."""
        while data := self.recorder.take(100):
            self.taken += data.decode()
        return [line for line in self.taken.splitlines() if line.startswith(word)]


def test_request_is_told_with_what_it_met_before_it_changed_anything() -> None:
    recorded = Recorded()
    recorded.request(1)
    head, machine, file, state, *events = recorded.lines()
    assert head == HEAD
    assert machine.startswith("machine page=2048 block=512 readahead=")
    assert file == 'file 1 "/file1"'
    assert state == "state 1 3000 0:4w-"
    assert [event.split()[-2] for event in events] == ["began", "granted", "ended"]
    recorded.request(2)
    assert len(recorded.lines("file")) == 1, "a path is told once"
    assert len(recorded.lines("state")) == 2


def test_blocks_are_told_as_the_map_and_the_cache_have_them() -> None:
    recorded = Recorded()
    world, file = recorded.world, recorded.file
    read(world, file, 0, 512)
    write(world, file, 512, b"y" * 512)
    write(world, file, 8192, b"y" * 512)
    recorded.request(1, "write", 0, 512)
    recorded.request(2, "write", 8192, 512)
    assert recorded.lines("state") == [
        "state 1 8704 0:1wc,1wd,2wc",
        "state 2 8704 8192:1hd,3h-",
    ]


@pytest.mark.parametrize(
    ("operation", "pos", "length", "told"),
    [
        ("truncate", 0, 0, "0:6w-,2h-"),
        ("truncate", 5000, 0, "2048:2w-,6h-"),
        ("fsync", 0, 0, ""),
        ("read", 0, 512, "0:6w-,2h-"),
        ("read", 1 << 20, 512, "1048576:4h-"),
    ],
)
def test_each_operation_is_told_the_pages_that_it_may_touch(
    operation: str, pos: int, length: int, told: str
) -> None:
    recorded = Recorded()
    recorded.request(1, operation, pos, length)
    assert recorded.lines("state") == [f"state 1 3000 {told}".rstrip()]


def test_fsync_is_told_what_is_dirty() -> None:
    recorded = Recorded()
    write(recorded.world, recorded.file, 2048, b"y" * 512)
    recorded.request(1, "fsync", 0, 0)
    assert recorded.lines("state") == ["state 1 3000 2048:1wd,1w-,2h-"]


def test_state_of_a_huge_range_is_bounded() -> None:
    recorded = Recorded()
    where = [(0, 1 << 40), (1 << 41, 1 << 42)]
    told = list(met(recorded.world.fs, recorded.file.inode, where))
    assert sum(len(blocks) for _, blocks in told) == recorder.STATE_BLOCKS_MAX


def test_request_that_was_under_way_at_the_start_is_left_out() -> None:
    """What it met is not known any more."""
    recorded = Recorded()
    request = Request(1, now_ns() - 10**9, "write", 1, 42)
    recorded.note(request, GRANTED, "dio.write.map", 0)
    assert recorded.lines("state") == []
    assert len(recorded.lines()) == 2


def test_lines_that_nobody_takes_are_lost_and_said_to_be(monkeypatch) -> None:
    """The daemon's memory is bounded, and nothing is missing in silence."""
    monkeypatch.setattr(recorder, "QUEUE_BYTES_MAX", 1000)
    recorded = Recorded()
    for number in range(1, 100):
        recorded.request(number)
    *kept, lost = recorded.lines()
    assert not any(line.startswith("lost") for line in kept)
    recorded.request(100)
    lines = recorded.lines()
    assert recorded.lines("lost") == [lost]
    assert len(lines) == len(kept) + 1 + 4
    said = 2 + 1 + 100 * 4  # head, machine, file; state, began, granted and ended of each
    assert len(lines) - 1 + int(lost.split()[1]) == said


def test_lines_that_are_missing_at_the_end_are_said_to_be(monkeypatch) -> None:
    """Nothing comes after them, and what was taken is sealed: it must not pass for the whole."""
    monkeypatch.setattr(recorder, "QUEUE_BYTES_MAX", 1000)
    recorded = Recorded()
    for number in range(1, 100):
        recorded.request(number)
    *kept, lost = recorded.lines()
    assert lost == f"lost {2 + 1 + 99 * 4 - len(kept)}"
    assert recorded.lines()[len(kept) :] == [lost], "once"


def test_path_that_found_no_room_is_told_later(monkeypatch) -> None:
    recorded = Recorded()
    monkeypatch.setattr(recorder, "QUEUE_BYTES_MAX", 0)
    recorded.request(1)
    monkeypatch.undo()
    recorded.lines()
    recorded.request(2)
    assert recorded.lines("file") == ['file 1 "/file1"']


def test_nobody_is_told_once_it_is_closed() -> None:
    recorded = Recorded()
    recorded.recorder.close()
    recorded.request(1)
    assert recorded.lines("state") == []


def test_request_goes_on_if_it_cannot_be_recorded(caplog) -> None:
    trace, world = Trace(), World()

    def broken(ino: int) -> Inode | None:
        raise RuntimeError(ino)

    listening = Recorder(world.fs, trace, broken, str)
    noted: Noted = (now_ns(), Request(1, now_ns(), "read", 1), ENDED, "reply", 0, 0, os.EX_OK)
    trace.add(noted)
    trace.add(noted)
    assert "could not be recorded" in caplog.text
    assert len(trace.events()) == 3
    listening.close()
