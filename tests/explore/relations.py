"""What a class is, for comparison: its turns, and what comes before each."""

from fusefs.explore.dependence import Trace


def relation(trace: Trace) -> frozenset[object]:
    """A class: its turns, and how many of each task come before each."""
    tasks = [places for places in trace.of_task if places]
    return frozenset(
        (turn.task, turn.index, turn.name, *((before & each).bit_count() for each in tasks))
        for turn, before in zip(trace.turns, trace.before, strict=True)
    )
