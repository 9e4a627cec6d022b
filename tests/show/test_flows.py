"""Who woke whom, and whose fill a read was answered from."""

from show.stories import live_events, tokens, witness

from fusefs.engine.events import parse
from fusefs.show.flows import FILLED, WOKE, flows


def told(lines: str) -> list[tuple[str, int, int]]:
    return [tuple(each) for each in flows(parse(lines.splitlines()))]


def test_read_is_answered_from_the_last_fill_of_its_page():
    [flow] = flows(live_events())
    source, target = live_events()[flow.source], live_events()[flow.target]
    assert flow.kind == FILLED
    assert (source.step, source.request) == ("buffered.read.fill", 3)
    assert (target.event, target.request) == ("ended", 5)


def test_read_that_fills_and_direct_reads_are_answered_by_nobody_else():
    """And so is a read of another part of the file."""
    fill = [line for line in map(str, live_events()) if " 3 " in line]
    direct = """\
2.0 101 read 2 - 0+512 6 began direct
2.1 101 read 2 dio.read.map 0+512 6 granted -
2.2 101 read 2 reply 0+512 6 ended 512
2.3 101 read 2 - 4096+512 7 began -
2.4 101 read 2 reply 4096+512 7 ended 512"""
    assert told("\n".join([*fill, direct])) == []


def test_who_waited_goes_on_after_the_last_that_his_owner_did():
    assert told("""\
1.0 1 write 2 - 0+512 4 began -
1.1 2 write 2 - 0+512 5 began -
1.2 2 write 2 lock.inode.exclusive 0+0 5 asked 4
1.3 1 write 2 buffered.write.copy 0+512 4 granted -
1.4 1 write 2 reply 0+512 4 ended 512
1.5 2 write 2 lock.inode.exclusive 0+0 5 granted -""") == [(WOKE, 4, 5)]


def test_delay_is_ended_by_nobody():
    assert [flow for flow in flows(live_events()) if flow.kind == WOKE] == []


def test_no_flow_goes_back_in_time():
    for token in tokens():
        events = witness(token).events
        for flow in flows(events):
            assert flow.source < flow.target
            assert events[flow.source].request != events[flow.target].request
