"""Readahead: programs that read in patterns, whose windows the traces then compare.

    PATTERNS    by name: a function of a random source that gives positions and lengths
    patterns    one program of each, for one size of the window

A window is seen in which pages come into the cache, by which read, and in which reads find all
there: a marked page that starts the next window is a read that brings pages beyond what it wants.

Units: bytes.
"""

import random
from collections.abc import Callable, Iterator
from typing import Final

from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus

PAGE: Final = 4096
FILE_SIZE: Final = 2 << 20

WINDOWS: Final = (0, 16 << 10, 128 << 10, 1 << 20)
"""Sizes of the window that are compared; 0 is none."""

Reads = Iterator[tuple[int, int]]


def _sequential(source: random.Random) -> Reads:
    length = PAGE * source.choice((1, 2, 4))
    for number in range(24):
        yield number * length, length


def _small(source: random.Random) -> Reads:
    """Less than a page at a time."""
    length = source.choice((512, 1024, 1536, 3000))
    start = PAGE * source.randrange(8)
    for number in range(24):
        yield start + number * length, length


def _from_the_middle(source: random.Random) -> Reads:
    start, length = PAGE * source.randrange(16, 128), PAGE * source.choice((1, 3))
    for number in range(16):
        yield start + number * length, length


def _random(source: random.Random) -> Reads:
    for _ in range(16):
        yield PAGE * source.randrange(FILE_SIZE // PAGE), PAGE * source.randint(1, 4)


def _strided(source: random.Random) -> Reads:
    stride, length = PAGE * source.choice((2, 4, 16)), PAGE
    for number in range(16):
        yield number * stride, length


def _interleaved(source: random.Random) -> Reads:
    """Two readers of one open file, each going on where it was."""
    starts = [0, PAGE * source.randrange(128, 256)]
    for number in range(24):
        yield starts[number % 2], PAGE
        starts[number % 2] += PAGE


def _context(source: random.Random) -> Reads:
    """Pages are there already, from somebody else; then a reader goes on behind them."""
    start, count = PAGE * source.randrange(32, 128), source.randint(2, 12)
    for number in range(count):
        yield start + number * PAGE, PAGE
        yield PAGE * source.randrange(256, 500), 512
    for number in range(count, count + 12):
        yield start + number * PAGE, PAGE


def _large(source: random.Random) -> Reads:
    """More than the window at once."""
    length = source.choice((64, 256, 640)) << 10
    for number in range(3):
        yield number * length, length


def _to_the_end(source: random.Random) -> Reads:
    start = FILE_SIZE - PAGE * source.randint(6, 40)
    for number in range(24):
        yield start + number * PAGE * 2, PAGE * 2


PATTERNS: Final[dict[str, Callable[[random.Random], Reads]]] = {
    "sequential": _sequential,
    "small": _small,
    "middle": _from_the_middle,
    "random": _random,
    "strided": _strided,
    "interleaved": _interleaved,
    "context": _context,
    "large": _large,
    "end": _to_the_end,
}


def patterns(readahead: int, block: int, seed: int) -> Iterator[Litmus]:
    """A program of each pattern; the same for the same seed."""
    for name, reads in PATTERNS.items():
        source = random.Random(f"{name} {seed}")
        lines = [f"litmus {name}-{readahead}-{seed}", "", f"page {PAGE}", f"block {block}"]
        lines += [f"readahead {readahead or 'off'}", f"file f {FILE_SIZE} a", "", "A:"]
        lines += [f"    pread f {pos} {length}" for pos, length in reads(source)]
        yield parse("\n".join([*lines, "", f"exists size f = {FILE_SIZE}", ""]), name)
