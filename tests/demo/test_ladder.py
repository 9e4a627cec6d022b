"""The demo's ladder: from the trace and a stale read to the two processes' steps."""

import pytest

from fusefs.demo.ladder import (
    CONVERT,
    DROP,
    FILL,
    MAP,
    PAGE_LOCK,
    SUBMIT,
    WORDS,
    NotInTrace,
    find_ladder,
)
from fusefs.demo.results import StaleRead
from fusefs.engine.events import ASKED, ENDED, GRANTED, Event, parse
from fusefs.model.steps import NAMES
from fusefs.show.html import page
from fusefs.show.ladder import WIDTH

A, B, C, INO, PAGE = 101, 102, 103, 7, 4096
STALE = StaleRead(pid=A, ino=INO, pos=0, length=512, time_ns=2_000_000)


def trace(*steps: tuple[int, str], ino: int = INO, request: int = 0) -> list[Event]:
    """Steps 100 us apart.  A writes [0, 512); everybody else reads page 0, each in one request."""
    return [
        Event(i * 100_000, pid, operation, ino, step, 0, length, request + pid, GRANTED, "-")
        for i, (pid, step) in enumerate(steps)
        for operation, length in [("write", 512) if step.startswith("dio.") else ("read", PAGE)]
    ]


WRITE = ((A, "dio.write.map"), (A, SUBMIT), (A, DROP))
READ = ((B, PAGE_LOCK), (B, MAP), (B, FILL))
BUG = (*WRITE, *READ, (A, CONVERT))


def test_fill_between_drop_and_conversion_is_found():
    ladder = find_ladder(trace(*BUG), STALE, PAGE)
    assert (ladder.writer, ladder.reader) == (A, B)
    assert ladder.between == (DROP, CONVERT)
    assert [(step.pid, step.step) for step in ladder.steps] == list(BUG)


def test_text_has_a_column_for_each_process_and_ends_with_zeros():
    lines = find_ladder(trace(*BUG), STALE, PAGE).text().splitlines()
    assert max(map(len, lines)) <= WIDTH
    left, right = (lines[2].index(f"{name}: process") for name in "AB")
    where = {name: line.index(name) for name in WORDS for line in lines[3:-3] if name in line}
    assert {where[name] for name in (SUBMIT, DROP, CONVERT)} == {left + 2}
    assert {where[name] for name in (PAGE_LOCK, MAP, FILL)} == {right + 2}
    assert lines[-4].split(maxsplit=1) == ["2000", "read(), buffered: zeros"]
    assert " ".join(lines[-2:]) == f"B filled the page between A's {DROP} and {CONVERT}."


def test_times_are_microseconds_since_the_first_step():
    records = [record._replace(time_ns=record.time_ns + 5_000_000) for record in trace(*BUG)]
    ladder = find_ladder(records, STALE.__class__(A, INO, 0, 512, 7_000_000), PAGE)
    assert [ladder.time_us(step.time_ns) for step in ladder.steps] == list(range(0, 700, 100))


def test_the_last_fill_in_the_window_is_the_one_that_stayed():
    first = ((C, PAGE_LOCK), (C, MAP), (C, FILL))
    ladder = find_ladder(trace(*WRITE, *first, *READ, (A, CONVERT)), STALE, PAGE)
    assert ladder.reader == B
    assert all(step.pid != C for step in ladder.steps)


def test_other_processes_inodes_and_earlier_writes_are_left_out():
    earlier = trace(*WRITE, (A, CONVERT), (A, DROP), request=1000)
    noise = trace(*BUG, ino=INO + 1, request=2000)
    ladder = find_ladder([*earlier, *noise, *trace(*BUG)], STALE, PAGE)
    assert [(step.pid, step.step, step.ino) for step in ladder.steps] == [
        (pid, step, INO) for pid, step in BUG
    ]


def test_written_part_of_a_page_does_not_hide_that_the_rest_was_looked_up():
    """A fill's record names only what it read from the image; the look-up names the pages."""
    records = trace(*BUG)
    records[5] = records[5]._replace(pos=512, length=512)
    assert find_ladder(records, STALE, PAGE).reader == B


def test_what_was_only_asked_for_has_not_happened():
    records = trace(*BUG)
    asked = records[-1]._replace(event=ASKED, time_ns=0)
    ladder = find_ladder([records[0], asked, *records[1:]], STALE, PAGE)
    assert [(step.pid, step.step) for step in ladder.steps] == list(BUG)


def test_trace_without_the_write_says_so():
    """The ring is finite."""
    begins_later = [r._replace(time_ns=r.time_ns + 3_000_000) for r in trace(*READ)]
    with pytest.raises(NotInTrace, match=r"no longer holds .*process 101.* 1.0 ms after"):
        find_ladder(begins_later, STALE, PAGE)
    with pytest.raises(NotInTrace, match=r"no longer holds .* empty"):
        find_ladder([], STALE, PAGE)


def test_trace_that_begins_within_the_write_says_so():
    with pytest.raises(NotInTrace, match="no longer holds"):
        find_ladder(trace(*READ, (A, CONVERT)), STALE, PAGE)


def test_zeros_without_a_fill_in_the_window_have_another_cause():
    records = trace(*READ, *WRITE, (A, CONVERT), *READ)
    with pytest.raises(NotInTrace, match="another cause"):
        find_ladder(records, STALE, PAGE)


@pytest.mark.parametrize("before", [(), (*WRITE, (A, CONVERT), (A, DROP))], ids=["first", "second"])
def test_after_order_cannot_be_blamed(before):
    """The drop follows the conversion: no ladder, whatever was read in between."""
    earlier = trace(*before, request=1000)
    records = [*earlier, *trace(*WRITE[:2], *READ, (A, CONVERT), (A, DROP))]
    with pytest.raises(NotInTrace, match="after the conversion: these zeros have another cause"):
        find_ladder(records, STALE, PAGE)


def test_ladder_of_the_trace_file_is_the_same():
    records = trace(*BUG)
    assert find_ladder(parse(map(str, records)), STALE, PAGE) == find_ladder(records, STALE, PAGE)


def test_story_has_the_stale_read_and_where_the_page_became_stale():
    """Every event of A's write, of B's read, and of the read that returned zeros; nobody else's."""
    read = Event(1_900_000, A, "read", INO, "reply", 0, 512, 7, ENDED, "512")
    other = read._replace(request=8, pid=C)
    late = read._replace(request=9, time_ns=STALE.time_ns + 1)
    ended = Event(700_000, A, "write", INO, "reply", 0, 512, A, ENDED, "512")
    ladder = find_ladder([*trace(*BUG), ended, read, other, late], STALE, PAGE)
    story = ladder.story(512)
    assert {event.request for event in story.events} == {A, B, 7}
    assert story.critical is not None
    assert story.events[story.critical].step == CONVERT
    assert [story.actor(pid) for pid in (A, B)] == ["A: process 101", "B: process 102"]
    assert "data-at" in page(story)


def test_words_are_of_known_steps_and_fit_half_a_line():
    assert set(WORDS) <= set(NAMES)
    assert all(len(words) <= WIDTH // 2 - 4 for words in (*WORDS, *WORDS.values()))
