"""What a run of a litmus file ended with, and which rules it broke: sentences with bytes and whose.

    Judge      of a litmus file: the outcomes of its runs, and their violations
    Verdict    of one file as some run left it; the same for all runs that leave it so

    coherence   (D1) clean cached blocks that disagree with the disk
    foreign     bytes that nobody wrote into the file: read, cached or on the disk
    lost        kept.py
    space       no block has two owners, or none

An asynchronous direct write and a buffered one of the same pages collide in today's kernel, too, as
a store through a mapping does with either.  That the next fsync fails is how it tells of it, so a
file of which it does breaks neither coherence nor lost.

All of it is for when all tasks have ended.  Deadlocks are found by whoever runs the tasks.
"""

from collections.abc import Mapping

from fusefs.explore.kept import Changes, Place, Promise, all_before, gone
from fusefs.explore.names import NamedWorld
from fusefs.explore.tasks import Running
from fusefs.explore.values import (
    FOREIGN,
    SEVERAL,
    UNCACHED,
    ZEROS,
    FileEnd,
    Letters,
    Snapshot,
    snapshot,
)
from fusefs.litmus.reach import blocks_max, letters, operations
from fusefs.litmus.source import listed
from fusefs.litmus.test import CACHE, DISK, NO_FILE, SIZE, FileText, Litmus, Outcome

Violation = tuple[str, str]
"""A rule, and a sentence."""

NOBODYS = "bytes that nobody wrote into it"

TOLD = {ZEROS: "zeros", FOREIGN: NOBODYS, SEVERAL: "a mixture", UNCACHED: "nothing"}

VERDICTS_MAX = 4096
"""Ends of one file that are remembered; a search has far fewer."""


class Judge:
    """Of one litmus file, for all its runs.  files are by the number of their inode.

    names are all that a file can have at the end.
    """

    def __init__(self, litmus: Litmus) -> None:
        self._tasks = [task.name for task in litmus.tasks]
        renamed = [each.other for each in operations(litmus.tasks) if each.word == "rename"]
        names = [*(file.name for file in litmus.machine.files), *renamed]
        self.names = list(dict.fromkeys(names))
        before = all_before(litmus.tasks)
        self.files = {
            ino: FileJudge(litmus, file, before) for ino, file in enumerate(litmus.machine.files, 1)
        }

    def outcome(self, world: NamedWorld, results: Mapping[tuple[str, str], str]) -> Outcome:
        """The value of each result, and of the cache, disk and size of each name's file."""
        found = dict(results)
        for name in self.names:
            inode = world.names.get(name)
            if inode is None:
                found[CACHE, name] = found[DISK, name] = found[SIZE, name] = NO_FILE
                continue
            verdict = self.files[inode.ino].verdict(snapshot(world, inode))
            found[CACHE, name] = verdict.cache
            found[DISK, name] = verdict.disk
            found[SIZE, name] = verdict.size
        return found

    def violations(self, world: NamedWorld, running: Running) -> list[Violation]:
        """In the order of RULES."""
        complete = frozenset(running.complete)
        coherence: list[Violation] = []
        foreign: list[Violation] = self._foreign_reads(running)
        lost: list[Violation] = []
        for inode in world.names.values():
            verdict = self.files[inode.ino].verdict(snapshot(world, inode))
            foreign += verdict.foreign
            if not inode.mapping.errors.error:  # fsync tells whoever has it open
                coherence += verdict.coherence
                lost += verdict.lost(complete, running.positions)
        fault = world.space_fault([*world.names.values(), *world.unlinked])
        return coherence + foreign + lost + ([] if fault is None else [("space", fault)])

    def _foreign_reads(self, running: Running) -> list[Violation]:
        return [
            (
                "foreign",
                f"{self._tasks[read.action.place[0]]} read of {read.action.operation.file}, "
                f"bytes {start} to {end}: {NOBODYS}",
            )
            for read in running.foreign_reads
            for start, end in read.ranges
        ]


class FileJudge:
    """Of one file, called by the name that it has at first.

    count is the characters of its cache and disk; writers says who wrote a letter.
    """

    def __init__(
        self, litmus: Litmus, file: FileText, before: dict[Place, frozenset[Place]]
    ) -> None:
        machine, tasks = litmus.machine, litmus.tasks
        self.name = file.name
        self.machine = machine
        self.count = blocks_max(litmus, file.name)
        self.letters = Letters(letters(machine.files, tasks, file.name), machine.block)
        self.changes = Changes(litmus, file.name, before)
        self.tasks = [task.name for task in tasks]
        self._writers = _writers(litmus, file)
        self._verdicts: dict[Snapshot, Verdict] = {}

    def verdict(self, found: Snapshot) -> "Verdict":
        verdict = self._verdicts.get(found)
        if verdict is None:
            if len(self._verdicts) == VERDICTS_MAX:
                self._verdicts.clear()
            verdict = self._verdicts[found] = Verdict(self, found)
        return verdict

    def whose(self, character: str) -> str:
        """A block's character in words, with who wrote it."""
        return TOLD.get(character) or f"{character} ({self._writers.get(character, 'copied')})"


class Verdict:
    """cache, disk and size are values of an outcome; coherence and foreign are broken rules."""

    def __init__(self, judge: FileJudge, found: Snapshot) -> None:
        self._judge = judge
        self._end = FileEnd(found, judge.machine.block, judge.machine.page)
        self._lost: dict[object, list[Violation]] = {}
        self.cache = self._end.cache_text(judge.letters, judge.count)
        self.disk = self._end.disk_text(judge.letters, judge.count)
        self.size = str(self._end.size)
        self.coherence: list[Violation] = [
            ("coherence", f"(D1) {self._told(block)}") for block in self._end.stale_blocks()
        ]
        self.foreign: list[Violation] = [("foreign", each) for each in self._foreign()]

    def lost(self, complete: frozenset[Place], positions: Mapping[Place, int]) -> list[Violation]:
        """Of a run in which these operations were complete, and appends began there."""
        promises = self._judge.changes.promises(complete, positions)
        known = tuple(promises)
        if known not in self._lost:
            self._lost[known] = [
                ("lost", self._told_lost(promise, start, stop))
                for promise in promises
                for start, stop in gone(promise, self._end)
            ]
        return self._lost[known]

    def _foreign(self) -> list[str]:
        end, told = self._end, self._judge.letters
        places = [("on the disk", 0, end.disk)]
        places += [
            ("in the cache", block * end.block, cached.data) for block, cached in end.cached.items()
        ]
        return [
            f"{self._judge.name}, bytes {start} to {stop}: {NOBODYS}, {where}"
            for where, pos, data in places
            for start, stop in told.foreign_ranges(data, pos)
        ]

    def _told(self, block: int, start: int = 0, stop: int | None = None) -> str:
        """What the cache and the disk have of a block, or of a part of it."""
        end, told = self._end, self._judge.letters
        base = block * end.block
        cached, disk = end.cached.get(block), end.on_disk(block)[start:stop]
        in_cache = told.text(cached.data[start:stop], 0, 1) if cached is not None else UNCACHED
        whose = self._judge.whose
        return (
            f"{self._judge.name}, bytes {base + start} to {base + start + len(disk)}: "
            f"{whose(in_cache)} in the cache, {whose(told.text(disk, 0, 1))} on the disk"
        )

    def _told_lost(self, promise: Promise, start: int, stop: int) -> str:
        judge, block = self._judge, start // self._end.block
        letters_gone = listed([chr(byte) for byte in promise.allowed if byte])
        writers = listed(sorted({judge.tasks[task] for task, _ in promise.by}), "and")
        what = f"{letters_gone} of {writers} is gone"
        if start >= self._end.size:
            return f"{what}: {judge.name}, bytes {start} to {stop}: behind the end of the file"
        base = block * self._end.block
        return f"{what}: {self._told(block, start - base, stop - base)}"


def _writers(litmus: Litmus, file: FileText) -> dict[str, str]:
    """Who writes each letter into a file itself, or that it began with it."""
    found = {run.state: ["at first"] for run in file.runs}
    for task in litmus.tasks:
        for each in task.operations:
            if each.word == "pwrite" and each.file == file.name:
                found.setdefault(each.value, []).append(f"of {task.name}")
    return {letter: listed(list(dict.fromkeys(who)), "and") for letter, who in found.items()}
