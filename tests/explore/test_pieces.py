"""A search in pieces finds what one finds, however it is cut and whoever comes back first."""

import pickle
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from explore.playing import case
from explore.programs import program
from explore.relations import relation

from fusefs.explore.answer import Answer, ask
from fusefs.explore.pieces import Division, Finding, Piece, explored
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.test import Litmus
from fusefs.model.orders import ROWS

CRASH = """
    crash
    file f 1k unwritten
    A:
        pwrite f 0 512 a direct
        fsync f
    B:
        pwrite f 512 512 b direct
        r = pread f 0 1k
    """

LARGE = """
    readahead 2k
    file f 2k unwritten
    A:
        pwrite f 0 512 a direct
    B:
        pwrite f 512 512 b direct
    C:
        r = pread f 512 512
    """


def sent(thing: object) -> object:
    """As somebody else gets it."""
    return pickle.loads(pickle.dumps(thing))


def pieces_of(
    litmus: Litmus, orders: list[str], seed: int, look: Callable[[Reduction], None]
) -> tuple[Division, int]:
    """The search, in how many pieces; of those under way any may come back first."""
    draw, division = random.Random(seed), Division(litmus, orders)
    there = LitmusCase(litmus, orders)
    given: list[tuple[Piece, Finding]] = []
    count = 0
    while not division.is_done:
        if draw.random() < 0.7:
            division.split()
        piece = division.waiting.pop(0) if division.waiting else division.give()
        assert given or piece, "nobody has anything to do"
        if piece is not None:
            piece = replace(piece, bound=draw.choice((1, 2, 7)), counted_max=10**6)
            found = explored(there, orders, sent(piece), look)
            given.append((piece, sent(found)))
            count += 1
        if given and (piece is None or draw.random() < 0.6):
            division.take(*given.pop(draw.randrange(len(given))))
    return division, count


def compared(litmus: Litmus, orders: list[str], seed: int) -> int:
    """Assert that nothing differs; returns the number of pieces."""
    found, twice = set(), []

    def look(reduction: Reduction) -> None:
        reached = relation(reduction.trace)
        twice.extend([reached] if reached in found else [])
        found.add(reached)
        assert reduction.blocked_count == 0, "(R2) a run was blocked"

    division, count = pieces_of(litmus, orders, seed, look)
    assert twice == [], "(R1) a class was run twice"
    whole = LitmusCase(litmus, orders)
    reduction, classes = Reduction(whole.world), set()
    while reduction.next_run():
        classes.add(relation(reduction.trace))
    assert found == classes
    assert told(division.answer) == told(ask(litmus, orders))
    assert division.part_done == pytest.approx(1)
    return count


def told(answer: Answer) -> object:
    """All but the turns that it took."""
    return (
        *(answer.histogram, answer.positive, answer.broken, answer.class_count, answer.run_count),
        *(answer.schedule_count, answer.is_counted, answer.witness, answer.exhausted),
        answer.cut_count,
    )


@pytest.mark.parametrize("seed", range(16))
def test_random_files_have_the_same_classes(seed):
    """(R1) (R2) Each class once, with the same answer, however the search is cut."""
    order = [*ROWS][seed % len(ROWS)]
    litmus = program(seed, tasks=2 + seed % 2, operations=1)
    compared(litmus, [order] if seed % 3 else [], seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ["post_before_end", ""])
def test_a_larger_file_is_cut_into_many(order, seed):
    litmus = case(LARGE).litmus
    assert compared(litmus, [order] if order else [], seed) > 20


@pytest.mark.parametrize("seed", range(3))
def test_crashes_are_found_in_pieces_as_well(seed):
    compared(case(CRASH).litmus, [], seed)


def test_a_piece_that_was_given_twice_would_be_seen():
    """The check can fail: what one piece has run, another one must not."""
    litmus = case(LARGE).litmus
    [first], found, there = Division(litmus, []).waiting, [], LitmusCase(litmus)
    for _ in range(2):
        piece = sent(replace(first, bound=10**6, counted_max=0))
        explored(there, [], piece, lambda reduction: found.append(relation(reduction.trace)))
    assert len(found) == 2 * len(set(found))


def test_what_is_done_grows():
    division, done = Division(case(LARGE).litmus, []), [0.0]
    there = LitmusCase(case(LARGE).litmus)
    while not division.is_done:
        piece = division.waiting.pop()
        piece = replace(piece, bound=20, counted_max=0)
        division.take(piece, explored(there, [], piece))
        done.append(division.part_done)
    assert done[0] < done[len(done) // 2] < done[-1] == 1
    assert division.planned_count + 1 >= division.answer.class_count == 207
