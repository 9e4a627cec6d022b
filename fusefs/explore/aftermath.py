"""What a mount finds after a crash, and whether that is what had been promised.

    Moment       what had been done when all stopped
    Aftermath    of a litmus file: the outcomes of its crashes, and their violations

    durable   (C1) what an fsync returned for is there, and what a dsync write has written
    exposed   (C2) no bytes that nobody wrote into the file
    torn      (C3) each block is whole: one of the values it was given.  Of a block that operations
              changed in parts, this holds for each part

What is promised: a change that had ended when an fsync of its file began, once that has returned;
and so by a rename over another file.
An operation that begins later, or ran beside it, may have changed the same bytes: those are allowed
as well.

Units: as everywhere; values are text, as fusefs/litmus/test.py has it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fusefs.explore.kept import Change, Place, Promise, gone
from fusefs.explore.values import FileEnd
from fusefs.explore.verdicts import NOBODYS, FileJudge, Judge, Violation
from fusefs.litmus.condition import atoms
from fusefs.litmus.reach import MOVES, operations
from fusefs.litmus.source import listed
from fusefs.litmus.test import (
    DISK,
    HOLE,
    NO_FILE,
    RESULT,
    SIZE,
    UNWRITTEN,
    FileText,
    Litmus,
    Outcome,
)

Values = tuple[tuple[tuple[str, str], str], ...]
"""An Outcome as a key: what it says, sorted."""


KNOWN_MAX: Final = 65_536
"""Findings whose judgement is remembered."""


@dataclass(frozen=True, slots=True)
class Moment:
    """begun are the operations that had; synced those that were durable.  failed are files, of
    which fsync has told, or will.

    positions are where appends write; results those that the question is about.
    """

    begun: frozenset[Place]
    synced: frozenset[Place]
    failed: frozenset[int]
    positions: tuple[tuple[Place, int], ...]
    results: Values


class Aftermath:
    """For all crashes of one file; what is judged twice is remembered."""

    def __init__(self, litmus: Litmus, judge: Judge) -> None:
        self._judge = judge
        self._block, self._page = litmus.machine.block, litmus.machine.page
        self._first = dict(enumerate(litmus.machine.files, 1))
        self.asked = {
            (RESULT, atom.subject)
            for atom in atoms(litmus.question.condition)
            if atom.kind == RESULT
        }
        self._known: dict[object, tuple[Values, list[Violation]]] = {}

    def judged(
        self, names: Mapping[str, int], contents: Mapping[int, bytes], moment: Moment
    ) -> tuple[Values, list[Violation]]:
        """The outcome, and the rules that are broken, each with a sentence.

        contents are the bytes of each file that has a name, by the number of its inode.
        """
        known = tuple(names.items()), tuple(contents.items()), moment
        if known not in self._known:
            if len(self._known) == KNOWN_MAX:
                self._known.clear()
            values = tuple(sorted(self._outcome(names, contents, moment).items()))
            self._known[known] = values, list(self._violations(contents, moment))
        return self._known[known]

    def _outcome(
        self, names: Mapping[str, int], contents: Mapping[int, bytes], moment: Moment
    ) -> Outcome:
        found = dict(moment.results)
        for name in self._judge.names:
            ino = names.get(name)
            if ino is None:
                found[DISK, name] = found[SIZE, name] = NO_FILE
                continue
            judge, content = self._judge.files[ino], contents[ino]
            found[DISK, name] = judge.letters.text(content, 0, judge.count)
            found[SIZE, name] = str(len(content))
        return found

    def _violations(self, contents: Mapping[int, bytes], moment: Moment) -> Iterator[Violation]:
        positions = dict(moment.positions)
        for ino, content in contents.items():
            judge = self._judge.files[ino]
            end = FileEnd((len(content), content, ()), self._block, self._page)
            synced = frozenset() if ino in moment.failed else moment.synced
            for promise in judge.changes.durable(synced, moment.begun, positions):
                for start, stop in gone(promise, end):
                    yield "durable", f"(C1) {_told_gone(judge, promise, end, start, stop)}"
            for start, stop in judge.letters.foreign_ranges(content, 0):
                yield "exposed", f"(C2) {judge.name}, bytes {start} to {stop}: {NOBODYS}"
            changes = [each for each in judge.changes.all(positions) if each.place in moment.begun]
            for start, stop in self._parts(self._first[ino], changes, len(content)):
                torn = self._torn(self._first[ino], changes, content, start, stop)
                if torn and not judge.letters.foreign_ranges(content[start:stop], start):
                    told = judge.letters.text(content[start:stop], 0, 1)
                    found = "a part of each of several" if torn == "mixed" else judge.whose(told)
                    yield "torn", f"(C3) {judge.name}, bytes {start} to {stop}: {found}"

    def _parts(self, file: FileText, changes: list[Change], size: int) -> Iterator[tuple[int, int]]:
        """The blocks of a file, cut where some operation begins or ends, or the file did."""
        edges = {0, size, min(file.size, size), *range(0, size, self._block)}
        edges.update(edge for each in changes for edge in (each.start, each.end) if edge < size)
        return pairwise(sorted(edges))

    def _torn(
        self, file: FileText, changes: list[Change], content: bytes, start: int, stop: int
    ) -> str:
        """What is wrong with a part: "" if nothing, as it is one of the values it was given."""
        data = content[start:stop]
        here = [each for each in changes if each.start <= start and stop <= each.end]
        if any(each.value is None for each in here):
            return ""  # a copy, of whatever there was
        if len(set(data)) > 1:
            return "mixed"
        given = {_first_byte(file, start, self._block)}
        given.update(each.value for each in here if each.value is not None)
        return "" if data[0] in given else "not given"


def _first_byte(file: FileText, pos: int, block: int) -> int:
    """What a file reads as at a position before anybody runs."""
    end = 0
    for run in file.runs:
        end += run.count * block
        if pos < min(end, file.size):
            return 0 if run.state in (HOLE, UNWRITTEN) else ord(run.state)
    return 0


def _told_gone(judge: FileJudge, promise: Promise, end: FileEnd, start: int, stop: int) -> str:
    """Whose synced bytes are not there, and what is."""
    writers = listed(sorted({judge.tasks[task] for task, _ in promise.by}), "and")
    letters = [judge.letters.character(bytes([byte])) for byte in promise.allowed]
    what = listed(["zeros" if letter == "0" else letter for letter in letters])
    there = end.disk[start:stop]
    found = judge.whose(judge.letters.text(there, 0, 1)) if there else "the file ends before"
    return f"{what} of {writers} was synced: {judge.name}, bytes {start} to {stop}: {found}"


def syncs(litmus: Litmus) -> dict[Place, str]:
    """The operations that promise something once they have returned, each with its file.

    A rename over another file is one, where nothing else says what the two names mean.
    """
    files = [file.name for file in litmus.machine.files]
    moved = [
        name
        for each in operations(litmus.tasks)
        if each.word in MOVES
        for name in {each.file, each.other}
    ]
    return {
        (number, index): each.file
        for number, task in enumerate(litmus.tasks)
        for index, each in enumerate(task.operations)
        if each.word in ("fsync", "fdatasync")
        or "dsync" in each.flags
        or (
            each.word == "rename"
            and each.other in files
            and moved.count(each.file) == moved.count(each.other) == 1
        )
    }


def changes_of(judge: Judge, name: str) -> frozenset[Place]:
    """The operations that change a file."""
    return frozenset(
        place for file in judge.files.values() if file.name == name for place in file.changes.places
    )
