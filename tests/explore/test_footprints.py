"""Whether footprints tell all: turns that do not conflict can come in either order.

The diamond: at random prefixes of random small files, any two tasks that can go and whose turns do
not conflict lead to the same whole state in either order, and each does the same.
"""

import contextlib
import random
from collections.abc import Generator, Iterable

import pytest
from explore.programs import program
from explore.state import whole_state

from fusefs.explore.execution import Execution
from fusefs.explore.memory import World
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.parse import parse
from fusefs.model.errors import FsError
from fusefs.model.footprint import KINDS, Footprint
from fusefs.model.inode import Inode
from fusefs.model.page_cache import AddressSpace
from fusefs.model.steps import current

SEEDS = range(160)

Refuted = str | None


def turned(case: LitmusCase, prefix: list[int], tasks: Iterable[int]) -> tuple[object, list]:
    """Where a prefix and then these tasks lead, and what each of those touched."""
    execution, touched = Execution(case.world()), []
    for task in prefix:
        execution.turn(task)
    for task in tasks:
        footprint = Footprint(watches_lru=execution.scenario.watches_lru)
        turn = execution.turn(task, footprint)
        touched.append((turn.name, footprint.reads, footprint.writes, footprint.adds))
    state = whole_state(execution)
    execution.close()
    return state, touched


def prefixes(
    case: LitmusCase, draw: random.Random
) -> Generator[tuple[list[int], list[int]], None, None]:
    """All prefixes of one random schedule, each with the tasks that can go after it."""
    execution, prefix = Execution(case.world()), []
    try:
        while enabled := execution.enabled():
            yield list(prefix), enabled
            prefix.append(draw.choice(enabled))
            execution.turn(prefix[-1])
    finally:
        execution.close()


def conflict(one: tuple, other: tuple, without: int | None) -> bool:
    """Footprint.conflicts, as if a kind of key had never been noted."""
    mine, theirs = (
        [{key for key in keys if key & 31 != without} for keys in each[1:]] for each in (one, other)
    )
    return any(
        mine[a] & theirs[b] for a, b in ((1, 0), (1, 1), (1, 2), (0, 1), (0, 2), (2, 1), (2, 0))
    )


def refute(seed: int, without: int | None = None, *, cache: bool = False) -> Refuted:
    """Two turns of a seed's file that do not conflict, and whose order matters; None if none."""
    litmus = program(seed, tasks=2 + seed % 2, cache=cache)
    case, draw = LitmusCase(litmus), random.Random(seed)
    with contextlib.closing(prefixes(case, draw)) as met:
        return next((found for each in met if (found := refuted_at(case, *each, without))), None)


def refuted_at(
    case: LitmusCase, prefix: list[int], enabled: list[int], without: int | None
) -> Refuted:
    for at, first in enumerate(enabled):
        for second in enabled[at + 1 :]:
            _, (a,) = turned(case, prefix, [first])
            _, (b,) = turned(case, prefix, [second])
            if conflict(a, b, without):
                continue
            state, touched = turned(case, prefix, [first, second])
            other, reverse = turned(case, prefix, [second, first])
            if (state, touched) != (other, reverse[::-1]):
                return f"after {prefix}: {first} and {second}"
    return None


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("cache", [False, True], ids=["room for all", "room for one page"])
def test_turns_that_do_not_conflict_commute(part, cache):
    """(F1) The diamond."""
    for seed in SEEDS[part::4]:
        assert refute(seed, cache=cache) is None


REFUTED_WITHOUT = {
    "lock": 1,
    "page": 1,
    "pages": 10,
    "dirty": 127,
    "block": 9,
    "size": 2,
    "ended": 7,
    "sector": 45,
    "space": 0,
    "lru": 25,
    "name": 1,
}
"""A seed whose diamond is refuted if a kind of key is not noted."""


@pytest.mark.parametrize("kind", REFUTED_WITHOUT)
def test_key_cannot_be_left_out(kind):
    """(F1) The same turns that commute with it do not without it."""
    seed, number = REFUTED_WITHOUT[kind], KINDS.index(kind)
    assert refute(seed, number) or refute(seed, number, cache=True)


def noted(note) -> Footprint:
    """What a call notes."""
    footprint = current.footprint = Footprint()
    try:
        note()
    finally:
        current.footprint = None
    return footprint


def failed(mapping: AddressSpace) -> None:
    with contextlib.suppress(FsError):
        mapping.check_errors()


def _conflicting() -> dict[str, tuple]:
    inode, world = Inode(1, 4096), World()
    extents, mapping = inode.extents, inode.mapping
    mapping.set_error(5)
    inode.disk_size = 0
    return {
        "map": (lambda: extents.remove(0, 1 << 20), lambda: extents.convert(3, 4)),
        "map read": (lambda: extents.remove(0, 1 << 20), lambda: extents.find(3, 4)),
        "disk size": (lambda: inode.written_to(512), lambda: inode.disk_size),
        "errors": (lambda: mapping.set_error(5), lambda: failed(mapping)),
        "dio": (inode.dio_begin, lambda: inode.dio_under_way),
        "image": (lambda: world.write_at(0, b"x" * 512), world.commit),
        "commit": (world.commit, world.commit),
    }


@pytest.mark.parametrize("kind", [*_conflicting()])
def test_locks_hide_what_these_keys_say(kind):
    """No small file needs them, as other keys conflict there, too: whoever notes them is asked."""
    one, other = _conflicting()[kind]
    number = KINDS.index(kind)
    first, second = noted(one), noted(other)
    assert first.conflicts(second)
    common = first.writes & (second.reads | second.writes | second.adds)
    common |= second.writes & (first.reads | first.adds) | first.adds & second.reads
    assert number in {key & 31 for key in common}


def test_each_kind_is_tried():
    assert {*REFUTED_WITHOUT, *_conflicting()} == set(KINDS)


def test_an_unlinked_file_s_pages_are_looked_at():
    """Whether its blocks come free depends on who has one of them locked."""
    text = (
        "litmus l\npage 512\nblock 512\nfile f 512 z cached\nA:\n    unlink f\nexists size f = 0\n"
    )
    names = LitmusCase(parse(text, "l.litmus")).world().world
    page = names.names["f"].mapping.pages[0]
    page.locked = True
    assert page.footprint_key in noted(lambda: names.unlink("f")).writes


def test_how_much_is_dirty_is_not_read_unseen():
    """Who has to write back depends on it, and whose pages he meets on who was first."""
    cache = World().fs.cache
    assert noted(lambda: cache.dirty_count).writes == noted(lambda: cache.shrink()).writes != set()
