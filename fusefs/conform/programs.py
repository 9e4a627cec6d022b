"""Random programs from a seed: litmus files of one to three tasks over a small file or two.

    program    the litmus file of a seed

A seed gives the same program in every version of Python, on every machine.

Units: as everywhere.
"""

import random
from dataclasses import dataclass
from typing import Final

from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus

PAGE_SIZE: Final = 4096
PAGES: Final = 4
"""How large files are, unless somebody asks for more."""

LETTERS: Final = "cdefghijklmnopqrstuvxyz"

QUESTION: Final = "exists size f = 0 /\\ size g = 0"
"""Whatever it is, as all results are compared; but a file has one."""

STATES: Final = ("hole", "unwritten", "a", "b")

WORDS: Final = {
    "pwrite": 6,
    "direct_write": 6,
    "append": 1,
    "pread": 6,
    "direct_read": 3,
    "falloc": 2,
    "fpunch": 2,
    "fzero": 2,
    "truncate": 2,
    "fsync": 1,
    "seek": 1,
    "copy_range": 1,
    "mwrite": 1,
    "mread": 1,
    "aio": 1,
}
"""How often each is chosen."""

MAPPED: Final = ("mread", "mwrite")
"""Not with readahead: a fault of the kernel reads around its page, one of the model does not."""


@dataclass(slots=True)
class _Draw:
    """What all of a program's lines are drawn with."""

    random: random.Random
    block: int
    wide: bool
    pages: int
    readahead: int
    letters: list[str]

    def letter(self) -> str:
        self.letters.append(self.letters.pop(0))
        return self.letters[-1]

    def range(self, unit: int) -> tuple[int, int]:
        """Position and length, multiples of unit; within one page unless it is wide."""
        page = self.random.randrange(self.pages)
        start = self.random.randrange(0, PAGE_SIZE, unit)
        room = PAGE_SIZE * (self.random.randint(1, self.pages) if self.wide else 1) - start
        length = unit * self.random.randint(1, max(room // unit, 1))
        return page * PAGE_SIZE + start, length

    def unit(self) -> int:
        """Blocks most often, then sectors, then bytes."""
        return self.random.choice((self.block, self.block, 512, 1))


def program(
    seed: int,
    *,
    block: int,
    tasks: int = 1,
    operations: int = 8,
    readahead: int = 0,
    wide: bool = False,
    pages: int = PAGES,
) -> Litmus:
    """The litmus file of a seed.

    operations  of each task at most
    pages       of the files, at most, and where operations begin
    wide        ranges may be of several pages, for which the kernel makes large folios
    """
    draw = _Draw(random.Random(f"conform {seed}"), block, wide, pages, readahead, list(LETTERS))
    lines = [f"litmus program-{seed}", "", f"page {PAGE_SIZE}", f"block {block}"]
    lines += [f"readahead {readahead or 'off'}", _file("f", draw)]
    lines += [_file("g", draw)]
    for name in "ABC"[:tasks]:
        made: list[str] = []
        for number in range(draw.random.randint(1, operations)):
            made += _operation(draw, number)
        lines += ["", f"{name}:", *(f"    {each}" for each in made)]
    return parse("\n".join([*lines, "", QUESTION, ""]), f"seed {seed}")


def _file(name: str, draw: _Draw) -> str:
    """A line of the machine: most files end with a block, some within one."""
    size = draw.random.randrange(0, PAGE_SIZE * draw.pages + 1, draw.block)
    if size and draw.random.random() < 0.3:
        size -= draw.random.choice((1, 100, 512, draw.block - 1))
    left, runs = -(-size // draw.block), []
    while left:
        count = min(left, draw.random.randint(1, max(left, 1)))
        runs.append(f"{draw.random.choice(STATES)}*{count}")
        left -= count
    if draw.random.random() < 0.2:
        runs.append(f"unwritten*{draw.random.randint(1, 3)}")
    cached = " cached" if size and draw.random.random() < 0.3 else ""
    return f"file {name} {size} {' '.join(runs)}{cached}"


def _operation(draw: _Draw, number: int) -> list[str]:
    """One line of a task; two of what is submitted and then reaped."""
    choose = draw.random
    words = {word: n for word, n in WORDS.items() if not (draw.readahead and word in MAPPED)}
    word = choose.choices(list(words), list(words.values()))[0]
    name = choose.choice("fffg")
    pos, length = draw.range(draw.unit())
    sector_pos, sector_length = draw.range(choose.choice((512, draw.block, draw.block)))
    dsync = choose.choice(("", "", "", " dsync"))
    keep = choose.choice(("", " keep_size"))
    if word == "copy_range":
        return [f"r{number} = copy_range f {pos} {length} g {draw.range(1)[0]}"]
    if word == "aio":
        where = f"{name} {sector_pos} {sector_length} {draw.letter()}"
        return [f"aio h{number} = pwrite {where} direct", f"r{number} = reap h{number}"]
    text = {
        "pwrite": f"pwrite {name} {pos} {length} {draw.letter()}{dsync}",
        "direct_write": f"pwrite {name} {sector_pos} {sector_length} {draw.letter()} direct{dsync}",
        "append": f"pwrite {name} end {length} {draw.letter()} append",
        "pread": f"pread {name} {pos} {length}",
        "direct_read": f"pread {name} {sector_pos} {sector_length} direct",
        "falloc": f"falloc {name} {pos} {length}{keep}",
        "fpunch": f"fpunch {name} {pos} {length}",
        "fzero": f"fzero {name} {pos} {length}{keep}",
        "truncate": f"truncate {name} {pos}",
        "fsync": f"{choose.choice(('fsync', 'fdatasync'))} {name}",
        "seek": f"{choose.choice(('seek_data', 'seek_hole'))} {name} {pos}",
        "mwrite": f"mwrite {name} {pos} {length} {draw.letter()}",
        "mread": f"mread {name} {pos} {length}",
    }[word]
    return [f"r{number} = {text}"]
