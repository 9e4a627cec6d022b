"""One search in pieces, for several who share nothing but what they are sent.

    Piece       what somebody can go on with, wherever he is: plain data
    explored()  go on with a piece, for some runs: a Finding
    Division    the whole: which pieces there are, and what they have found

Each piece is a branch of the tree that a Reduction goes through: a path from the root, and places
of its own below it.  It can be gone on with, or cut into two, whenever it comes back.  The places
of its path others have as well; their wakeup trees stay here, and what a piece proposes for them is
put in when it comes back.

A way that was given away sleeps from then on in all ways that are given away later, as it would if
it had been gone before: so no two pieces run one class.  But what is run where somebody sleeps is
all only together with what his own branch proposes, which one search has by then.  So a piece
begins where nobody sleeps whose branch is not done: the places before it are shared, and proposals
go down through them.  With that (R1) and (R2) hold as they do for one search; which schedule of a
class is run may differ.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from fusefs.explore.answer import Answer, add, search
from fusefs.explore.execution import Execution
from fusefs.explore.reduction import Proposal, Reduction
from fusefs.explore.wakeup import Event, Place, Way
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.test import Litmus
from fusefs.model.footprint import Footprint

Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """path leads through shared places to its own, the last of which is the next to be gone from.

    bound is how many classes may be run, and counted_max of how many the schedules are counted.
    """

    path: Path
    places: tuple[Place, ...]
    bound: int = 0
    counted_max: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What some runs of a piece have found.  places are its own, now; none if it is done.

    part_done is from 0 to 1; planned_count is of its own wakeup trees.
    """

    answer: Answer
    places: tuple[Place, ...]
    proposals: tuple[Proposal, ...]
    planned_count: int
    part_done: float


def explored(
    case: LitmusCase,
    orders: Collection[str],
    piece: Piece,
    progress: Callable[[Reduction], None] | None = None,
) -> Finding:
    """Go on with a piece.  progress is told after each run."""
    answer, reduction = Answer(frozenset(orders)), Reduction(case.world)
    reduction.begin(piece.path, piece.places)
    search(
        *(case, reduction, answer),
        runs_max=piece.bound,
        counted_max=piece.counted_max,
        progress=progress,
    )
    reduction.ready()
    return Finding(
        answer,
        tuple(reduction.places()),
        tuple(reduction.proposals),
        reduction.planned_count,
        reduction.part_done(),
    )


DONE: Final = 1.0
UNDER_WAY_MAX: Final = 0.99
"""The most that is said to be done of what is not."""


class Shared:
    """A place of several pieces.  Its wakeup tree has the ways that nobody was given.

    parts says how much is done of what begins with a task: DONE, less, or the next shared place.
    """

    def __init__(self, path: Path, place: Place) -> None:
        place.going_count = 0
        self.path = path
        self.place = place
        self.parts: dict[int, float | Shared] = {}

    @property
    def part_done(self) -> float:
        gone, known = self.place.gone, self.place.gone + len(self.parts) + len(self.place.ways)
        done = gone + sum(_part_done(part) for part in self.parts.values())
        return done / known if known else DONE

    def part_after(self, proposer: int, task: int) -> "float | Shared | None":
        """What begins with a task; None if that was given before the proposer's way."""
        given = [*self.parts]
        if task in given and (proposer not in given or given.index(proposer) < given.index(task)):
            return self.parts[task]
        return None

    @property
    def is_done(self) -> bool:
        return not self.place.ways and all(_is_done(part) for part in self.parts.values())


def _part_done(part: float | Shared) -> float:
    return part.part_done if isinstance(part, Shared) else part


def _is_done(part: float | Shared) -> bool:
    return part.is_done if isinstance(part, Shared) else part == DONE


class Division:
    """The search of a file under some orders; it is one piece at first.

    answer         all that was found until now
    planned_count  ways that were put into wakeup trees
    waiting        pieces that were begun, or are to be begun first
    """

    def __init__(self, litmus: Litmus, orders: Collection[str]) -> None:
        self.answer = Answer(frozenset(orders))
        self.planned_count = 0
        self.waiting = [Piece((), (Place(0, {}, []),))]
        self._litmus = litmus
        self._case = LitmusCase(litmus, orders)
        self._shared: dict[Path, Shared] = {}
        self._root: float | Shared = 0.0

    @property
    def is_done(self) -> bool:
        """Nothing is left, neither here nor with anybody."""
        return _is_done(self._root)

    @property
    def part_done(self) -> float:
        """How much of the tree as it is known now has been run, from 0 to 1."""
        return _part_done(self._root)

    # -- giving ------------------------------------------------------------------------

    def give(self) -> Piece | None:
        """A piece that somebody may begin now; None if there is none, or who has one must first
        come back.  Large ones first."""
        for path in sorted(self._shared, key=lambda each: (len(each), each)):
            shared = self._shared[path]
            if shared.place.ways and (piece := self._first_way(shared)) is not None:
                return piece
        return None

    def _first_way(self, shared: Shared) -> Piece | None:
        """The first way that is left of a shared place, from where it is a piece of its own."""
        place, way = shared.place, shared.place.ways[0]
        footprint = way.footprint or self._probe(shared.path, (way.task,))
        path, own = (*shared.path, way.task), place.awake(footprint)
        is_piece = not any(self._is_under_way(shared.path, task) for task in own)
        if not is_piece and not way.ways:
            return None
        place.ways.pop(0)
        place.asleep[way.task] = footprint
        below = Place(place.depth + 1, own, way.ways)
        if is_piece:
            shared.parts[way.task] = 0.0
            return Piece(path, (below,))
        shared.parts[way.task] = child = self._shared[path] = Shared(path, below)
        return self._first_way(child)

    def _is_under_way(self, path: Path, task: int) -> bool:
        """Whether who sleeps after a path may still have something to propose."""
        for length in range(len(path), -1, -1):
            part = self._shared[path[:length]].parts.get(task)
            if part is not None:
                return not _is_done(part)
        return False

    # -- taking ------------------------------------------------------------------------

    def take(self, piece: Piece, finding: Finding) -> None:
        """What was found of a piece; it waits if it is not done."""
        add(self._litmus, self.answer, finding.answer)
        self.planned_count += finding.planned_count
        for each in finding.proposals:
            shared, proposer = self._shared[piece.path[: each.depth]], piece.path[each.depth]
            self._propose(shared, each.tasks, each.events, proposer)
        if finding.places:
            self.waiting.append(Piece(piece.path, finding.places))
        self._note(piece.path, min(finding.part_done, UNDER_WAY_MAX) if finding.places else DONE)

    def _propose(
        self, shared: Shared, tasks: Path, events: Sequence[Event], proposer: int = -1
    ) -> None:
        """To a shared place; or to the next one, if a way that was given after the proposer's has
        it covered: one search would have put it into the tree before it went there."""
        place = shared.place
        if tasks in place.seen:
            return
        place.seen.add(tasks)

        def probe(_: int, tasks: Path) -> Footprint:
            return self._probe(shared.path, tasks)

        task = place.covering(tasks, events, probe, proposer)
        if task is None:
            self.planned_count += place.insert(tasks, events, probe)
        elif isinstance(below := shared.part_after(proposer, task), Shared):
            at = tasks.index(task) if task in tasks else len(tasks)
            rest = [*events[:at], *events[at + 1 :]]
            if rest:
                self._propose(below, tasks[:at] + tasks[at + 1 :], rest)

    def _probe(self, path: Path, tasks: Sequence[int]) -> Footprint:
        """What the last of these tasks touches, if they go in this order after a path."""
        execution = Execution(self._case.world())
        footprint = Footprint(watches_lru=execution.scenario.watches_lru)
        execution.replay([*path, *tasks[:-1]])
        execution.turn(tasks[-1], footprint)
        execution.close()
        return footprint

    def _note(self, path: Path, part: float | Shared) -> None:
        """How much is done of what begins with a path."""
        if path:
            self._shared[path[:-1]].parts[path[-1]] = part
        else:
            self._root = part

    # -- cutting -----------------------------------------------------------------------

    def split(self) -> bool:
        """Cut a piece that waits, so that there are ways to be given; false if none can be."""
        for number, piece in enumerate(self.waiting):
            for depth, place in enumerate(piece.places):
                begun = place is not piece.places[-1]
                if len(place.ways) > 1:
                    del self.waiting[number]
                    self._cut(piece, depth + 1 if begun else depth, depth)
                    return True
        return False

    def _cut(self, piece: Piece, kept_from: int, last: int) -> None:
        """Share the places of a piece up to the last one; what begins at kept_from stays one."""
        path = piece.path
        for depth in range(last + 1):
            place = piece.places[depth]
            shared = self._shared[path] = Shared(path, place)
            self._note(path, shared)
            if depth < kept_from:
                path = (*path, self._begun(shared, place.ways.pop(0)))
        if kept_from > last:
            self.waiting.append(Piece(path, piece.places[kept_from:]))

    def _begun(self, shared: Shared, way: Way) -> int:
        """A way that is being gone counts as one that was given away."""
        assert way.footprint is not None, "nobody has gone there yet"
        shared.place.asleep[way.task] = way.footprint
        shared.parts[way.task] = 0.0
        return way.task
