"""Random small litmus files, from a seed: every operation and state that the model has.

Files may end within a block, and so within a sector.
"""

import random

from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus

STATES = ("hole", "unwritten", "a*{n}", "unwritten*1 b", "hole*1 b", "b*1 unwritten")

OPERATIONS = (
    "pwrite f {pos} {length} {letter} direct",
    "pwrite f {pos} {length} {letter} direct",
    "pwrite f {pos} {length} {letter}",
    "pwrite f {pos} {length} {letter} dsync",
    "pwrite f end {length} {letter} append direct",
    "r{n} = pread f {pos} {length}",
    "r{n} = pread f {pos} {length}",
    "r{n} = pread f {pos} {length} direct",
    "falloc f {pos} {length}",
    "fpunch f {pos} {length}",
    "fzero f {pos} {length}",
    "truncate f {pos}",
    "r{n} = fsync f",
    "r{n} = seek_data f {pos}",
    "copy_range f {pos} {length} f {pos}",
    "unlink f",
    "pwrite f {within} 300 {letter}",
    "r{n} = mread f {pos} {length}",
    "mwrite f {pos} {length} {letter}",
)


def program(seed: int, *, tasks: int = 2, operations: int = 2, cache: bool = False) -> Litmus:
    """The litmus file of a seed: block 512, pages of two blocks, a file of two to four blocks."""
    draw = random.Random(seed)
    block, size = 512, 512 * draw.choice((2, 3, 4))
    state = draw.choice(STATES).format(n=size // block)
    lines = ["litmus random", "", "page 1k", f"block {block}"]
    readahead, cached = draw.choice(("off", "2k")), draw.random() < 0.3 and not cache
    lines += ["readahead off", "cache 1k"] if cache else [f"readahead {readahead}"]
    end = size - draw.choice((0, 0, 212))
    lines += [f"file f {end} {state}{' cached' if cached else ''}", ""]
    letters = iter("cdefghijklmnop")
    for name in "ABCD"[:tasks]:
        made = [
            _operation(draw, n, next(letters), block, size)
            for n in range(draw.randint(1, operations))
        ]
        if made[0].startswith("pwrite") and "direct" in made[0] and draw.random() < 0.5:
            made = [f"aio x = {made[0]}", *made[1:], "y = reap x"]
        elif name == "B" and draw.random() < 0.2:
            made.insert(0, "wait A")
        lines += [f"{name}:", *("    " + each for each in made)]
    return parse("\n".join([*lines, "", "exists size f = 0", ""]), f"seed {seed}")


def _operation(draw: random.Random, n: int, letter: str, block: int, size: int) -> str:
    template = draw.choice(OPERATIONS)
    pos = block * draw.randrange(size // block + 1)
    length = block * draw.choice((1, 1, 2))
    if "copy_range" in template:
        pos, length = 0, block
        return f"copy_range f 0 {length} f {block}"
    return template.format(pos=pos, within=pos + 100, length=length, letter=letter, n=n)
