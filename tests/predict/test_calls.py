"""From a recording's requests to calls in the words of litmus files."""

import pytest
from predict.recorded import INO, A, B, Run, sealed

from fusefs.engine.recording import Gone, Lost, Named, RecordingError, records
from fusefs.predict.calls import Call, Calls


def calls(run: Run) -> list[Call]:
    return list(run.calls())


@pytest.mark.parametrize(
    ("operation", "flags", "word", "kept"),
    [
        ("read", "-", "pread", set()),
        ("read", "direct", "pread", {"direct"}),
        ("write", "-", "pwrite", set()),
        ("write", "direct,dsync,append", "pwrite", {"direct", "dsync", "append"}),
        ("write", "mapped", "pwrite", set()),
        ("fallocate", "-", "falloc", set()),
        ("fallocate", "keep_size", "falloc", {"keep_size"}),
        ("fallocate", "keep_size,punch", "fpunch", set()),
        ("fallocate", "keep_size,zero", "fzero", {"keep_size"}),
    ],
)
def test_each_operation_has_its_word(operation: str, flags: str, word: str, kept: set) -> None:
    run = Run()
    run.call(0, A, operation, 512, 1024, flags)
    (call,) = calls(run)
    assert (call.word, call.flags, call.pos, call.end) == (word, kept, 512, 1536)
    assert (call.first, call.last) == (0, 1)


def test_what_moves_no_data_is_left_out() -> None:
    run = Run()
    for operation in ("commit", "lseek", "fsyncdir", "rename", "utimens", "work"):
        run.call(0, A, operation, 0, 512)
    assert calls(run) == []


@pytest.mark.parametrize(
    ("size", "new", "pages"), [(9000, 100, (0, 3)), (100, 9000, (0, 3)), (8192, 8192, None)]
)
def test_truncate_touches_all_between_the_old_end_and_the_new_one(
    size: int, new: int, pages: tuple[int, int] | None
) -> None:
    run = Run()
    run.call(0, A, "truncate", new, size=size, blocks="24w-")
    assert [(call.first, call.last) for call in calls(run)] == ([pages] if pages else [])


def test_fsync_touches_all_and_was_told_of_what_was_dirty() -> None:
    run = Run()
    run.call(0, A, "fsync", blocks="8wd", size=1 << 20)
    (call,) = calls(run)
    assert (call.first, call.last > 1 << 40) == (0, True)
    assert call.met(0, 4096, 512) == ("wd",) * 8
    assert call.met(4096, 4096, 512) is None


def test_read_touches_what_it_reads_ahead_and_nothing_behind_the_end() -> None:
    run = Run()
    run.call(0, A, "read", 0, 512, size=1 << 20, filled=(0, 16384))
    run.call(9, A, "read", 0, 131072, size=5000, blocks="16w-")
    assert [(call.first, call.last) for call in calls(run)] == [(0, 4), (0, 2)]


def test_copy_reads_one_file_and_writes_another() -> None:
    run = Run()
    run.call(0, A, "copy_file_range", 4096, 512, "from=9:1024")
    target, source = calls(run)
    assert (target.ino, target.word, target.pos, target.size) == (INO, "pwrite", 4096, 4096)
    assert (source.ino, source.word, source.pos, source.end) == (9, "pread", 1024, 1536)
    assert source.state is None


def test_request_that_failed_changes_nothing_that_counts() -> None:
    run = Run()
    run.call(0, A, "write", 0, 512, result="ENOSPC")
    assert calls(run) == []


def test_direct_write_is_asynchronous_if_its_thread_goes_on_meanwhile() -> None:
    run = Run()
    run.call(0, A, "write", 0, 512, "direct", lasts_ms=5)
    run.call(1, A, "read", 0, 512, "direct", lasts_ms=2)
    run.call(2, B, "write", 0, 512, "direct")
    assert [call.is_async for call in calls(run)] == [True, False, False]
    always = Calls(records(run.lines(), "test"), aio=True)
    assert [call.is_async for call in always] == [True, False, True]


def test_calls_come_in_the_order_in_which_they_began() -> None:
    run = Run()
    run.call(0, A, "write", 0, 512, lasts_ms=9)
    run.call(1, B, "read", 0, 512, lasts_ms=1)
    assert [call.pid for call in calls(run)] == [A, B]


def test_request_that_has_not_ended_may_go_on_for_ever() -> None:
    run = Run()
    run.call(0, A, "write", 0, 512, lasts_ms=float("inf"))
    run.call(500, B, "read", 0, 512)
    counted = run.calls()
    first, second = counted
    assert first.overlaps(second)
    assert counted.unfinished_count == 1


def test_requests_that_were_under_way_when_lines_were_lost_do_not_count() -> None:
    """What they met is known, and not what became of them."""
    run = Run()
    run.call(0, A, "write", 0, 512, lasts_ms=float("inf"))
    run.add(3, Lost(10))
    run.call(5, B, "read", 0, 512)
    counted = run.calls()
    assert [call.pid for call in counted] == [B]
    assert counted.lost_count == 10


def test_paths_and_ends_are_told() -> None:
    run = Run()
    run.add(0, Named(8, "/other"))
    run.add(1, Gone())
    counted = run.calls()
    assert list(counted) == []
    assert counted.paths == {INO: "/data", 8: "/other"}
    assert counted.is_gone


def test_recording_without_a_machine_is_refused() -> None:
    run = Run()
    lines = [line for line in run.lines()[:-1] if not line.startswith(b"machine")]
    with pytest.raises(RecordingError, match="machine"):
        list(Calls(records(sealed(lines), "test")))
