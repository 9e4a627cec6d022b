"""The machine of a litmus file: page, block, readahead, cache, crash, and the files at first.

Errors: LitmusError.
"""

import re
from dataclasses import dataclass, field

from fusefs.litmus.reach import blocks_of
from fusefs.litmus.source import (
    FILE_NAME,
    NAME_SHAPE,
    POSITION_MAX,
    SECTOR_SIZE,
    Line,
    format_size,
    listed,
    parse_size,
)
from fusefs.litmus.test import HOLE, UNWRITTEN, FileText, Machine, Run

WORDS = ("page", "block", "readahead", "cache", "crash", "file")

PAGE_SIZE_MAX = 1 << 20
BLOCK_SIZE_MAX = 64 << 10
READAHEAD_MAX = 16 << 20

FILE_USAGE = "file NAME SIZE STATE… [cached] is allowed"
STATES = "a state is hole, unwritten or a letter from a to z, and how many blocks of it: a*4"

_STATE = re.compile(r"([a-z]|hole|unwritten)(?:\*([1-9][0-9]{0,5}))?")


# -- text to data ------------------------------------------------------------------------


@dataclass(slots=True)
class MachineLines:
    """What the lines of the machine have said so far."""

    sizes: dict[str, int] = field(default_factory=dict)
    files: list[FileText] = field(default_factory=list)
    crash: bool = False

    def take(self, line: Line) -> None:
        word, *rest = line.words
        if word in self.sizes or (word == "crash" and self.crash):
            raise line.error(f"{word} a second time", f"one line {word}")
        if word == "file":
            self._take_file(line)
        elif word == "crash":
            if rest:
                raise line.error(line.text, "crash stands alone")
            self.crash = True
        elif len(rest) != 1:
            raise line.error(line.text, f"{word} SIZE is allowed")
        elif (word, rest) == ("readahead", ["off"]):
            self.sizes[word] = 0
        else:
            self.sizes[word] = _parse_machine_size(line, word, rest[0])

    def machine(self, line: Line) -> Machine:
        """The whole; line is the one that comes after it."""
        page, block = self._page_and_block(line)
        readahead, cache = self.sizes.get("readahead", 0), self.sizes.get("cache")
        if 0 < readahead < page:
            raise line.error(f"a readahead of {format_size(readahead)}", "off, or at least a page")
        cached = [blocks_of(0, file.size, page) for file in self.files if file.cached]
        if cache is not None and cache < page * max(sum(cached), 1):
            least = format_size(page * max(sum(cached), 1))
            raise line.error(f"a cache of {format_size(cache)}", f"at least {least} for this file")
        if not self.files:
            raise line.error("no file", FILE_USAGE)
        return Machine(page, block, readahead, cache, tuple(self.files))

    def _page_and_block(self, line: Line) -> tuple[int, int]:
        for word in ("page", "block"):
            if word not in self.sizes:
                raise line.error(f"no line '{word} SIZE'", "page and block come before the files")
        page, block = self.sizes["page"], self.sizes["block"]
        if block > page:
            shown = format_size(block), format_size(page)
            raise line.error(f"block {shown[0]} and page {shown[1]}", "a block is at most a page")
        return page, block

    def _take_file(self, line: Line) -> None:
        words = line.words[1:]
        if len(words) < 2:
            raise line.error(line.text, FILE_USAGE)
        name, size, states = words[0], parse_size(words[1]), words[2:]
        _, block = self._page_and_block(line)
        if not FILE_NAME.fullmatch(name):
            raise line.error(f"file {name}", NAME_SHAPE)
        if name in [file.name for file in self.files]:
            raise line.error(f"file {name} a second time", "one line for each file")
        if size is None or size > POSITION_MAX:
            raise line.error(f"size {words[1]}", f"bytes, at most {format_size(POSITION_MAX)}")
        cached = states[-1:] == ["cached"]
        if cached and not size:
            raise line.error("cached with size 0", "cached takes a file with at least one byte")
        runs = _parse_runs(line, states[:-1] if cached else states, blocks_of(0, size, block))
        self.files.append(FileText(name, size, runs, cached))


def _parse_machine_size(line: Line, word: str, text: str) -> int:
    size = parse_size(text)
    most = {"page": PAGE_SIZE_MAX, "block": BLOCK_SIZE_MAX}.get(word)
    if most is not None:
        if size is None or size & (size - 1) or not SECTOR_SIZE <= size <= most:
            low, high = format_size(SECTOR_SIZE), format_size(most)
            raise line.error(f"{word} {text}", f"a power of two from {low} to {high}")
        return size
    if size is None or not 0 < size <= READAHEAD_MAX:
        off = "off, or " if word == "readahead" else ""
        raise line.error(f"{word} {text}", f"{off}bytes, at most {format_size(READAHEAD_MAX)}")
    return size


def _parse_runs(line: Line, states: list[str], block_count: int) -> tuple[Run, ...]:
    """States in order; the last one without a count goes on to the end of the file."""
    if not block_count and states in ([], [HOLE]):
        return ()
    if not states:
        raise line.error(line.text, FILE_USAGE)
    runs: list[Run] = []
    given = 0
    for place, word in enumerate(states, 1):
        match = _STATE.fullmatch(word)
        if match is None:
            raise line.error(f"state {word}", STATES)
        state = match[1]
        count = int(match[2]) if match[2] else 1 if place < len(states) else block_count - given
        given += count
        if count < 1:
            raise line.error(f"nothing is left for {word}", f"the file has {_blocks(block_count)}")
        if given > block_count and (state != UNWRITTEN or given > POSITION_MAX // SECTOR_SIZE):
            raise line.error(
                f"states for {_blocks(given)}",
                f"the file has {_blocks(block_count)}; behind its end only unwritten",
            )
        if runs and runs[-1].state == state:
            count += runs.pop().count
        runs.append(Run(state, count))
    if given < block_count:
        raise line.error(f"states for {_blocks(given)}", f"the file has {_blocks(block_count)}")
    return tuple(runs)


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"


# -- data to text ------------------------------------------------------------------------


def machine_text(machine: Machine, *, crash: bool) -> list[str]:
    """Its lines."""
    lines = [f"page {format_size(machine.page)}", f"block {format_size(machine.block)}"]
    if machine.readahead:
        lines.append(f"readahead {format_size(machine.readahead)}")
    if machine.cache is not None:
        lines.append(f"cache {format_size(machine.cache)}")
    if crash:
        lines.append("crash")
    return lines + [_file_text(file, machine.block) for file in machine.files]


def _file_text(file: FileText, block: int) -> str:
    block_count = blocks_of(0, file.size, block)
    words = ["file", file.name, format_size(file.size)]
    given = 0
    for place, run in enumerate(file.runs, 1):
        given += run.count
        to_the_end = place == len(file.runs) and given == block_count
        bare = to_the_end or (run.count == 1 and place < len(file.runs))
        words.append(run.state if bare else f"{run.state}*{run.count}")
    return " ".join([*words, "cached"] if file.cached else words)


def known_words() -> str:
    """For an error: what a line may begin with before the first task."""
    return f"{listed(list(WORDS))}, or a task such as A:, begins a line here"
