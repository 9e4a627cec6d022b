"""The ladder, the page and the trace of a story: they say the same, and nothing else."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from show.stories import live, live_events, tokens, witness

from fusefs.engine.events import BEGAN
from fusefs.show.flows import flows
from fusefs.show.html import page
from fusefs.show.ladder import WIDTH, Cell, across, draw, ladder
from fusefs.show.mount import mount_story
from fusefs.show.perfetto import trace_json
from fusefs.show.story import Story

STORIES = {"witness": witness, "live": live}


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> Story:
    return STORIES[request.param]()


# -- ladders -----------------------------------------------------------------------------


def test_ladder_has_a_line_for_each_event_in_its_column(story):
    lines = ladder(story)
    [head] = [line for line in lines if line.lstrip().startswith(story.unit)]
    columns = {pid: head.index(story.actor(pid)) for pid in {event.pid for event in story.events}}
    at = lines.index(head) + 1
    for event in story.events:
        said = story.said(event)
        while lines[at].strip().removeprefix(story.time(event)).strip() != said:
            at += 1
        assert lines[at].index(said) - columns[event.pid] == (0 if event.event == BEGAN else 2)
        at += 1


def test_ladder_fits_a_commit_message(story):
    assert max(map(len, ladder(story))) <= WIDTH


def test_ladder_of_many_processes_names_them_in_each_line():
    [first, *_] = live_events()
    many = [first._replace(pid=n, request=n, time_ns=n) for n in range(1, 20)]
    lines = ladder(mount_story(many, title="", files={}))
    for n in range(1, 20):
        assert any(f"process {n}: #{n} write 0+512 direct" in line for line in lines)


def test_ladder_marks_where_nothing_can_avoid_it():
    lines = ladder(witness())
    [at] = [n for n, line in enumerate(lines) if line.startswith("-- from here on nothing")]
    assert "buffered.read.map" in lines[at - 1]


def test_ladder_of_nothing_says_so():
    assert ladder(mount_story([], title="", files={}))[-1] == "nothing happened"


def test_column_moves_left_for_a_long_line():
    lines = draw({0: "A", 1: "B"}, [Cell(0, "short"), Cell(1, "x" * 60), across("note")])
    assert lines == ["A           B", "short", " " * 12 + "x" * 60, f"{'-- note ':-<72}"]


# -- the page ----------------------------------------------------------------------------


class Tags(HTMLParser):
    """Checks that tags are closed in order; keeps the table's cells and the text of titles."""

    VOID = frozenset({"meta", "br"})
    SELF_CLOSED = frozenset({"rect", "line", "circle", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data


def test_page_is_whole_and_has_a_row_for_each_event(story):
    tags = Tags(page(story))
    assert len(tags.rows) == 1 + len(story.events)
    for event, row in zip(story.events, tags.rows[1:], strict=True):
        assert row[:3] == [story.time(event), story.actor(event.pid), story.request(event.request)]
        assert row[3].startswith(story.said(event))


def test_table_tells_each_change(story):
    for at, row in enumerate(Tags(page(story)).rows[1:]):
        for change in story.changes(at):
            name = story.lanes[change.lane].name
            assert f"{name}{change.before.text} → {change.after.text}" in row[4]


def test_page_needs_no_network(story):
    text = page(story)
    addresses = set(re.findall(r"\w+://[^\"'\s)]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nobody asks for
    assert "default-src 'none'" in text
    names = {name for name, value in Tags(text).attributes if value}
    assert not names & {"src", "href", "srcset", "data-src"}


NASTY = "<script>alert(1)</script>&\"'"


def test_names_are_escaped():
    """A file, a process, a title can be called anything."""
    story = replace(
        live(),
        title=NASTY,
        actors={101: NASTY},
        requests={2: NASTY},
        notes=(NASTY,),
        lanes=tuple(replace(lane, of=NASTY) for lane in live().lanes),
        why=NASTY,
    )
    text = page(story, NASTY)
    assert Tags(text).counts["script"] == 1
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("token", tokens(), ids=lambda token: "-".join(token.split("/")[1:4:2]))
def test_every_witness_of_the_gallery_can_be_drawn(token):
    story = witness(token)
    tags = Tags(page(story))
    assert tags.counts["circle"] >= sum(event.event != BEGAN for event in story.events)
    assert max(map(len, ladder(story))) <= WIDTH
    assert json.loads(trace_json(story))["traceEvents"]


def test_page_of_nothing_says_so():
    assert "Nothing happened." in page(mount_story([], title="none", files={}))


# -- Perfetto ----------------------------------------------------------------------------


def entries(story: Story, phase: str) -> list[dict]:
    found = json.loads(trace_json(story))["traceEvents"]
    return [entry for entry in found if entry["ph"] == phase]


def test_each_request_is_a_track_under_its_process(story):
    names = {(e["name"], e["pid"], e["tid"]): e["args"].get("name") for e in entries(story, "M")}
    for event in story.events:
        track = ("thread_name", event.pid, event.request)
        assert names[track] == story.request(event.request)
    processes = {pid: name for (kind, pid, _), name in names.items() if kind == "process_name"}
    assert processes == {event.pid: story.actor(event.pid) for event in story.events}


def test_slices_lie_within_their_request(story):
    """Else Perfetto drops them; a request comes before what is in it."""
    slices = entries(story, "X")
    whole: dict[int, dict] = {}
    for entry in slices:
        if entry["cat"] == "request":
            whole[entry["tid"]] = entry
            continue
        outer = whole[entry["tid"]]
        assert outer["ts"] <= entry["ts"]
        assert entry["ts"] + entry["dur"] <= outer["ts"] + outer["dur"] + 1e-6
    steps = [event for event in story.events if event.event not in ("began", "ended")]
    assert len(slices) - len(whole) == len(steps)


def test_flows_begin_and_end_in_pairs(story):
    begins, ends = entries(story, "s"), entries(story, "f")
    assert len(begins) == len(ends) == len(flows(story.events)) > 0
    for begin, end in zip(begins, ends, strict=True):
        assert (begin["id"], begin["cat"], begin["name"]) == (end["id"], end["cat"], end["name"])
        assert begin["ts"] <= end["ts"]
        assert begin["tid"] != end["tid"]


@pytest.mark.parametrize("phase", ["s", "f"])
def test_flow_begins_and_ends_in_a_slice_of_its_track(story, phase):
    """Else Perfetto draws none."""
    for flow in entries(story, phase):
        assert any(
            each["tid"] == flow["tid"] and each["ts"] <= flow["ts"] < each["ts"] + each["dur"]
            for each in entries(story, "X")
        )


def test_every_request_can_be_seen(story):
    assert all(entry["dur"] > 0 for entry in entries(story, "X") if entry["cat"] == "request")


def test_times_begin_at_0_and_are_microseconds():
    assert min(entry["ts"] for entry in entries(live(), "X")) == 0
    [first] = [e for e in entries(live(), "X") if e["cat"] == "request" and e["tid"] == 2]
    assert first["dur"] == 9308.0


def test_critical_event_is_marked(story):
    [mark] = entries(story, "i")
    assert mark["name"] == story.why
