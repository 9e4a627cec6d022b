"""Whoever listens to a trace hears each event, and the ring keeps them all the same."""

from fusefs.engine.events import GRANTED, Noted, Request
from fusefs.live.trace import TRACE_LENGTH, Trace


def noted(number: int) -> Noted:
    return (number, Request(number, number, "read"), GRANTED, "buffered.read.map", 0, 0, 0)


def test_listener_hears_more_than_the_ring_keeps() -> None:
    trace, heard = Trace(), list[Noted]()
    trace.add(noted(1))
    trace.listen(heard.append)
    count = TRACE_LENGTH + 10
    for number in range(2, count):
        trace.add(noted(number))
    trace.unlisten(heard.append)
    trace.add(noted(count))

    assert [each[0] for each in heard] == list(range(2, count))
    assert trace.events()[-1].request == count


def test_each_of_two_listeners_hears_until_it_leaves() -> None:
    trace, first, second = Trace(), list[Noted](), list[Noted]()
    trace.listen(first.append)
    trace.listen(second.append)
    trace.add(noted(1))
    trace.unlisten(first.append)
    trace.add(noted(2))

    assert [each[0] for each in first] == [1]
    assert [each[0] for each in second] == [1, 2]
