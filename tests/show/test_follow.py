"""What is told of pages and blocks from a mount's events, compared with what the model had."""

import pytest
from show.stories import BLOCK, PAGE, gallery_file, live, live_events, tokens, witness

from fusefs.engine.events import Event
from fusefs.explore.token import parse_token
from fusefs.show.follow import PAGES_MAX, Follower
from fusefs.show.mount import LANES_MAX, mount_story
from fusefs.show.story import (
    ABSENT,
    BLOCKS,
    CLEAN,
    DIRTY,
    HOLE,
    LOCK,
    LOCKED,
    STALE,
    UNKNOWN,
    UNWRITTEN,
    WRITEBACK,
    WRITTEN,
    ZEROS,
    Lane,
    Story,
)
from fusefs.show.story import PAGE as PAGE_LANE

MEANS = {
    ABSENT: {ABSENT},
    LOCKED: {LOCKED},
    CLEAN: {CLEAN, ZEROS, STALE},
    ZEROS: {ZEROS, STALE},
    STALE: {STALE},
    DIRTY: {DIRTY},
    WRITEBACK: {WRITEBACK},
    HOLE: {HOLE},
    UNWRITTEN: {UNWRITTEN},
    WRITTEN: {WRITTEN},
}
"""What the model may have where something is said: of a page of which only a part is known, the
rest may be anything."""

UNSEEN = {
    "append_range_early": "drops other pages than its step says",
    "written_at_allocation": "has no unwritten blocks, and converts them all the same",
}
"""Orders of the past whose steps mean something else."""


def kinds(story: Story, at: int, lane: Lane) -> set[str]:
    """What the model had there after an event; of blocks, all that the range has bytes of."""
    found = set()
    for own, state in zip(story.lanes, story.after[at], strict=True):
        if own.kind != lane.kind or own.of != lane.of:
            continue
        if lane.kind == BLOCKS:
            start, length = map(int, own.what.split("+"))
            begin, count = map(int, lane.what.split("+"))
            if start < begin + count and begin < start + length:
                found.add(state.kind)
        elif own.what == lane.what:
            found.add(state.kind)
    return found


def differences(token: str) -> list[str]:
    """Where something else is said of a page or a block than the model had, after each event."""
    machine, story = gallery_file(parse_token(token).name).machine, witness(token)
    follower, found = Follower(story.events, machine.page, machine.block), []
    for at in range(len(story.events)):
        follower.take(at)
        lanes = follower.lanes(story.files)
        for lane, state in zip(lanes, follower.states(), strict=True):
            if lane.kind == LOCK or state.kind == UNKNOWN:
                continue
            if not kinds(story, at, lane) <= MEANS[state.kind]:
                found.append(f"{story.events[at]}: {lane.name} is {state}")
    return found


def is_unseen(token: str) -> bool:
    """An eviction has no step, and some steps of the past mean something else."""
    known = parse_token(token)
    return known.era in UNSEEN or gallery_file(known.name).machine.cache is not None


SEEN = [token for token in tokens() if not is_unseen(token)]


@pytest.mark.parametrize("token", SEEN, ids=lambda token: "-".join(token.split("/")[1:4:2]))
def test_what_is_said_of_a_witness_is_so(token):
    """Nothing is guessed."""
    assert differences(token) == []


def test_what_no_step_tells_is_not_seen():
    """What docs/pictures.md says of evictions and of two orders of the past."""
    unseen = [token for token in tokens() if is_unseen(token)]
    assert {parse_token(token).era for token in unseen if differences(token)} == {
        *UNSEEN,
        "stale_iomap_in_write",
    }


def test_much_is_said():
    """The rule above would hold if nothing ever was."""
    said = {state.kind for states in live().after for state in states}
    assert said == {UNKNOWN, ABSENT, LOCKED, CLEAN, STALE, UNWRITTEN, WRITTEN}
    told = set()
    for token in tokens():
        story, machine = witness(token), gallery_file(parse_token(token).name).machine
        follower = Follower(story.events, machine.page, machine.block)
        for at in range(len(story.events)):
            follower.take(at)
            told |= {state.kind for state in follower.states()}
    assert told >= {*MEANS, UNKNOWN} - {HOLE}


def test_page_is_stale_only_as_far_as_blocks_are_known_to_differ():
    """Without the look-up nobody knows what the fill found."""
    events = [event for event in live_events() if event.step != "buffered.read.map"]
    follower = Follower(events, PAGE, BLOCK)
    for at in range(len(events)):
        follower.take(at)
        assert not any(follower.is_stale(page) for page in follower.pages.values())


def test_freed_blocks_are_a_hole_and_edges_are_not():
    """A punch frees whole blocks; of a page that it covers in part nothing is known."""

    def punch(step: str, pos: int, length: int) -> Event:
        return Event(0, 1, "fallocate", 2, f"fallocate.{step}", pos, length, 7, "granted", "-")

    fill = Event(0, 1, "read", 2, "buffered.read.fill", 0, 2 * PAGE, 6, "granted", "-")
    events = [
        *(fill._replace(step=f"buffered.read.{step}") for step in ("page_lock", "map", "fill")),
        punch("drop_pages", 256, PAGE + 256),
        punch("free", 256, PAGE),
    ]
    follower = Follower(events, PAGE, BLOCK)
    for at in range(len(events)):
        follower.take(at)
    of = {
        lane.name: state.kind
        for lane, state in zip(follower.lanes({}), follower.states(), strict=True)
    }
    assert of["page 0 of inode 2"] == of["page 1 of inode 2"] == UNKNOWN
    assert {state for name, state in of.items() if name.startswith("blocks")} == {UNKNOWN}
    events[-1] = punch("free", 512, PAGE)
    follower = Follower(events, PAGE, BLOCK)
    for at in range(len(events)):
        follower.take(at)
    named = zip(follower.lanes({}), follower.states(), strict=True)
    assert {lane.what: state.kind for lane, state in named if lane.kind == BLOCKS} == {
        "0+512": UNKNOWN,
        f"512+{PAGE}": HOLE,
    }


def test_lock_has_the_owner_that_somebody_waited_for():
    asked = Event(0, 1, "write", 2, "lock.inode.exclusive", 0, 0, 5, "asked", "4")
    events = [asked, asked._replace(event="granted", detail="-"), asked._replace(event="ended")]
    follower = Follower(events, PAGE, BLOCK)
    assert follower.lanes({2: "data"}) == (Lane(LOCK, "data", "i_rwsem"),)
    said = [follower.states()[0].text]
    for at in range(3):
        follower.take(at)
        said.append(follower.states()[0].text)
    assert said == ["?", "held by #4", "held by #5", "?"]


def test_large_requests_and_many_pages_have_room():
    """A range of the whole file costs no more than what is followed; a picture has some lanes."""
    fill = Event(0, 1, "read", 2, "buffered.read.map", 0, 100 * PAGE, 6, "granted", "-")
    endless = fill._replace(step="truncate.drop_pages", length=2**62, request=7)
    follower = Follower([fill, endless], PAGE, BLOCK)
    follower.take(0)
    follower.take(1)
    assert [state.kind for state in follower.states()] == [ABSENT] * 100
    story = mount_story([fill, endless], title="", files={}, page_size=PAGE, block_size=BLOCK)
    assert [lane.what for lane in story.lanes] == [str(n) for n in range(LANES_MAX)]


def test_range_without_end_does_not_fill_the_memory():
    fill = Event(0, 1, "read", 2, "buffered.read.fill", 0, 2**62, 6, "granted", "-")
    write = fill._replace(step="dio.write.submit", request=7)
    follower = Follower([fill, write], PAGE, BLOCK)
    follower.take(0)
    follower.take(1)
    assert len(follower.pages) == PAGES_MAX


def test_what_is_not_shown_counts():
    """Another process drops the page: it is gone before the next event that is shown, and nobody
    who is shown is said to have done that."""
    fill = live_events()[5:10]
    drop = live_events()[0]._replace(
        request=9, pid=9, event="granted", step="dio.write.invalidate_pre"
    )
    late = fill[0]._replace(request=10, time_ns=fill[-1].time_ns + 2)
    among = [*fill, drop._replace(time_ns=fill[-1].time_ns + 1), late]
    shown = [*fill, late]
    story = mount_story(shown, among=among, title="", files={}, page_size=PAGE, block_size=BLOCK)
    [page] = [n for n, lane in enumerate(story.lanes) if lane.kind == PAGE_LANE]
    assert story.after[-2][page].kind == CLEAN
    assert story.states_before(len(shown) - 1)[page].kind == ABSENT
    assert story.changes(len(shown) - 1) == []
    alone = mount_story(shown, title="", files={}, page_size=PAGE, block_size=BLOCK)
    assert alone.after[-1][page].kind == CLEAN


def test_ranges_of_blocks_that_are_alike_are_one():
    """Whoever is not shown has told them apart."""
    write = [each._replace(length=2048) for each in live_events()[:4]]
    other = write[1]._replace(request=77, length=256)
    among = [other, other._replace(pos=1024, length=512), *write]
    story = mount_story(write, among=among, title="", files={}, page_size=PAGE, block_size=BLOCK)
    assert [lane.what for lane in story.lanes if lane.kind == BLOCKS] == ["0+2048"]
