"""Which calls may overlap, and where they meet."""

import math

import pytest
from predict.recorded import A, B, C, Run

from fusefs.predict.meetings import PARTNERS_MAX, PARTNERS_OF_MORE_MAX, Bounds, Meeting, meetings


def met(run: Run, **bounds: int | bool) -> list[Meeting]:
    return list(meetings(run.calls(), Bounds(**bounds)))  # type: ignore[arg-type]


def two(second_ms: float = 1, pos: int = 512, pid: int = B, operation: str = "read") -> Run:
    """A write to [0, 512), and another call."""
    run = Run()
    run.call(0, A, "write", 0, 512, size=1 << 20)
    run.call(second_ms, pid, operation, pos, 512, size=1 << 20)
    return run


def test_calls_of_two_threads_to_a_page_meet() -> None:
    (meeting,) = met(two())
    assert [call.pid for call in meeting.calls] == [A, B]
    assert (meeting.page, meeting.overlapped) == (0, True)


@pytest.mark.parametrize(("second_ms", "count"), [(101.9, 1), (102.1, 0)])
def test_calls_that_are_far_from_each_other_do_not(second_ms: float, count: int) -> None:
    found = met(two(second_ms))
    assert len(found) == count
    for meeting in found:
        assert not meeting.overlapped
        assert meeting.gap_ns == pytest.approx(99.9e6)
    assert len(met(two(second_ms), window_ns=200_000_000)) == 1


def test_pages_that_nobody_shares_do_not_meet() -> None:
    assert met(two(pos=4096)) == []


def test_reads_alone_do_not_meet() -> None:
    run = Run()
    run.call(0, A, "read", 0, 512)
    run.call(1, B, "read", 0, 512)
    assert met(run) == []


def test_fsync_meets_whoever_touches_a_page_and_no_other_fsync() -> None:
    run = Run()
    run.call(0, A, "fsync", blocks="")
    run.call(1, B, "fsync", blocks="")
    run.call(2, B, "write", 4096, 512, size=1 << 20)
    (meeting,) = met(run)
    assert ([call.pid for call in meeting.calls], meeting.page) == ([A, B], 1)
    assert meeting.met(4096, 512) == (1 << 20, ("w-",) * 8), "as the write was told"


def test_one_thread_is_in_order() -> None:
    assert met(two(pid=A)) == []


def test_what_one_thread_does_alone_is_asked_for() -> None:
    found = met(two(pid=A), alone=True)
    assert [[call.word for call in meeting.calls] for meeting in found] == [
        ["pwrite"],
        ["pwrite", "pread"],
    ]


def test_long_calls_meet_at_the_edges_and_once_between() -> None:
    """The pages within are alike."""
    run = Run()
    run.call(0, A, "write", 0, 64 << 10, size=1 << 20)
    run.call(1, B, "read", 4096, 40 << 10, size=1 << 20)
    assert [meeting.page for meeting in met(run)] == [1, 2, 10]


def test_three_meet_if_they_are_asked_for() -> None:
    run = two()
    run.call(2, C, "write", 1024, 512, size=1 << 20)
    assert {len(meeting.calls) for meeting in met(run)} == {2}
    sizes = [len(meeting.calls) for meeting in met(run, calls_max=3)]
    assert (sizes.count(2), sizes.count(3)) == (3, 1)


def test_only_the_last_partners_are_looked_at() -> None:
    run = Run()
    for ms in range(PARTNERS_MAX + 4):
        run.call(ms / 10, A, "write", 0, 512)
    run.call(3, B, "read", 0, 512)
    assert len(met(run)) == PARTNERS_MAX


def test_partners_are_counted_page_by_page() -> None:
    """Those of other pages take nobody's place."""
    run = Run()
    size = (PARTNERS_MAX + 1) * 4096
    for page in range(PARTNERS_MAX + 1):
        run.call(page / 10, A, "write", page * 4096, 512, "direct", size=size)
    run.call(3, B, "read", 0, size, size=size, blocks=f"{size // 512}w-")
    assert [meeting.page for meeting in met(run)] == [*range(PARTNERS_MAX + 1)]


def test_meetings_of_three_have_half_as_many_partners() -> None:
    run = Run()
    for ms in range(PARTNERS_MAX):
        run.call(ms / 10, A, "write", 0, 512)
    run.call(3, B, "read", 0, 512)
    sizes = [len(meeting.calls) for meeting in met(run, calls_max=3)]
    assert sizes.count(3) == math.comb(PARTNERS_OF_MORE_MAX, 2)


def test_neighbouring_pages_are_looked_at_together_if_they_are_asked_for() -> None:
    """Somebody must touch each of the two, and all one of them."""
    run = Run()
    run.call(0, A, "write", 0, 8192, size=1 << 20)
    run.call(1, B, "read", 4096, 512, size=1 << 20)
    run.call(2, C, "read", 16384, 512, size=1 << 20)
    assert [(each.page, each.page_count) for each in met(run)] == [(1, 1)]
    both = [(each.page, each.page_count) for each in met(run, pages_max=2)]
    assert both == [(1, 1), (0, 2)]


def test_calls_to_neighbours_alone_meet_only_on_two_pages() -> None:
    run = two(pos=4096)
    assert met(run) == []
    (meeting,) = met(run, pages_max=2)
    assert (meeting.page, meeting.page_count) == (0, 2)
