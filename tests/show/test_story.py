"""Stories: what of a mount's events is chosen, and what is said of each."""

import pytest
from show.stories import BLOCK, LIVE, PAGE, live, live_events, witness

from fusefs.engine.events import ASKED, BEGAN, ENDED
from fusefs.show.mount import EventsError, file_lines, mount_story, of_stale_page
from fusefs.show.story import PAGE as PAGE_LANE
from fusefs.show.story import STALE, request_words, select, whole


@pytest.mark.parametrize(
    ("chosen", "requests"),
    [
        ({}, {2, 3, 4, 5}),
        ({"inos": [9]}, {4}),
        ({"pids": [101]}, {2, 5}),
        ({"pids": [101, 102], "inos": [2]}, {2, 3, 5}),
        ({"ranges": [(512, 512)]}, {3}),
        ({"ranges": [(0, 1)]}, {2, 3, 4, 5}),
        ({"ranges": [(8192, 512)]}, set()),
    ],
    ids=str,
)
def test_whole_requests_are_chosen(chosen, requests):
    """One event that fits is enough: of a read, the page that it fills counts."""
    found = select(live_events(), **chosen)
    assert {event.request for event in found} == requests
    assert found == [event for event in live_events() if event.request in requests]


def test_last_events_begin_with_a_request():
    events = live_events()
    assert whole(events, len(events)) == events
    assert whole(events, 7)[0].event == BEGAN
    assert whole(events, 7)[0].request == 3
    assert len(whole(events, 2)) == 2


def test_beginning_of_a_long_request_is_not_looked_for_for_ever():
    """At most twice as many are shown as were asked for."""
    shown = whole(live_events(), 5)
    assert len(shown) <= 10
    assert 2 not in {event.request for event in shown if event.event == BEGAN}


def test_request_says_what_it_is():
    [write] = [each for each in live_events() if each.request == 2 and each.event == BEGAN]
    assert request_words(write) == "write 0+512 direct"
    assert request_words(write._replace(event=ENDED)) == "write"
    assert request_words(write._replace(length=2**62)) == "write 0+ direct"


def test_wait_names_whom_it_waits_for():
    events = live_events()
    asked = events[4]._replace(detail="3")
    assert asked.event == ASKED
    story = mount_story([*events[:4], asked, *events[5:]], title="", files={})
    assert story.waits_for(asked) == "process 102: #3 read 2048+512"
    assert story.waits_for(asked._replace(detail="77")) == "request 77"
    assert story.waits_for(asked._replace(detail="-")) == ""


def test_requests_of_a_stale_page_are_found():
    """The write, the fill, and the read that got the zeros: not the one of another file."""
    found = of_stale_page(live_events(), PAGE, BLOCK)
    assert {event.request for event in found} == {2, 3, 5}


def test_stale_page_of_another_file_hides_none():
    """It became stale before, and its write has not ended yet."""
    story = [line for line in LIVE.splitlines() if line.split()[6] in ("2", "3")]
    moved = str.maketrans({"2": "8", "3": "7"})
    other = []
    for line in story[:-1]:
        time, pid, operation, _, step, where, number, *rest = line.split()
        earlier = f"{float(time) - 0.5:.6f}"
        words = [earlier, pid, operation, "9", step, where, number.translate(moved), *rest]
        other.append(" ".join(words))
    events = file_lines("a file", [*other, *LIVE.splitlines()])
    assert {event.request for event in of_stale_page(events, PAGE, BLOCK)} == {2, 3, 5}


def test_nobody_is_blamed_where_the_drop_comes_last():
    """Under after the page is dropped behind the conversion: nothing is stale when it ends."""
    lines = LIVE.splitlines()
    [drop] = [line for line in lines if "invalidate_post" in line]
    lines.remove(drop)
    at = next(n for n, line in enumerate(lines) if "convert 0+512 2 granted" in line)
    lines.insert(at + 1, drop.replace("1.000203", "1.009300"))
    events = file_lines("a file", lines)
    assert of_stale_page(events, PAGE, BLOCK) == []
    story = mount_story(events, title="", files={}, page_size=PAGE, block_size=BLOCK)
    assert story.critical is None
    assert any(state.kind == STALE for states in story.after for state in states)


def test_critical_event_is_that_with_which_a_page_became_stale():
    story = live()
    assert story.critical is not None
    assert str(story.events[story.critical]).endswith("dio.write.convert 0+512 2 granted -")
    [change] = [each for each in story.changes(story.critical) if each.after.kind == STALE]
    assert story.lanes[change.lane].kind == PAGE_LANE


def test_without_sizes_there_are_no_lanes():
    story = mount_story(live_events(), title="", files={})
    assert (story.lanes, story.first, story.after, story.critical) == ((), (), (), None)
    assert story.changes(3) == []


def test_times_are_turns_of_a_witness_and_microseconds_of_a_mount():
    story = witness()
    assert [story.time(event) for event in (story.events[0], story.events[-1])] == ["1", "10"]
    assert (story.unit, live().unit) == ("turn", "us")
    assert live().time(live().events[-1]) == "9469"


@pytest.mark.parametrize(
    "line", ["a word", "1.0 2 write 3 - 0+0 1 began", "1.0 x write 2 - 0+1 1 a -"]
)
def test_line_that_is_no_event_is_named(line):
    with pytest.raises(EventsError, match=rf"a file:2: '{line[:6]}.*' is no event of a trace"):
        file_lines("a file", ["# a comment", line])


def test_events_of_a_file_are_in_the_order_of_time():
    lines = LIVE.splitlines()
    assert file_lines("", reversed(lines)) == sorted(live_events(), key=lambda event: event.time_ns)
