"""Random requests on one file, as a mount would tell of them."""

import random

from check.turns import Turns

from fusefs.explore.memory import World
from fusefs.model.buffered import buffered_read
from fusefs.model.dio import direct_read
from fusefs.model.file_io import copy_range, fsync, write
from fusefs.model.inode import Inode, OpenFile
from fusefs.model.options import Invalidate
from fusefs.model.truncate import MODES, fallocate, truncate

PAGES = 3

GEOMETRIES = ((512, 512), (512, 1024), (512, 2048), (1024, 1024), (1024, 4096))
"""Block and page."""

WEIGHTS = {
    "direct write": 6,
    "read": 6,
    "write": 3,
    "direct read": 1,
    "fallocate": 2,
    "truncate": 1,
    "fsync": 2,
    "copy": 1,
}


def turns(
    seed: int, order: frozenset[str] = frozenset(), *, before: bool = False, fault_rate: float = 0
) -> Turns:
    """A file of some pages in a world whose sizes are drawn, and no request yet."""
    draw = random.Random(seed)
    block, page = draw.choice(GEOMETRIES)
    world = World(
        invalidate=Invalidate.BEFORE if before else Invalidate.AFTER,
        order=order,
        block_size=block,
        page_size=page,
        block_count=(3 * PAGES + 4) * page // block,
        cache_size=draw.choice([2, 100]) * page,
        readahead=draw.choice([0, 0, 2]) * page,
    )
    made = Turns(world, seed, fault_rate=fault_rate)
    made.inodes[1] = Inode(1, draw.choice([0, page // 2, PAGES * page]))
    return made


def start(turns: Turns, colour: int) -> None:
    """One more request, drawn; what it writes is of a colour."""
    draw, world, inode = turns.random, turns.world, turns.inodes[1]
    fs, size = world.fs, PAGES * world.fs.geometry.page_size
    kind = draw.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
    low, high = sorted((draw.randrange(size + 1), draw.randrange(size + 1)))
    if kind.startswith("direct") or draw.random() < 0.5:
        low, high = low // 512 * 512, -(-high // 512) * 512
    if high == low:
        high += 512
    pos, length, file = low, high - low, OpenFile(inode)
    data = bytes([colour]) * length
    if kind == "read":
        turns.read(buffered_read(fs, file, pos, length), pos, length)
    elif kind == "direct read":
        turns.start(direct_read(fs, inode, pos, length), "read", pos, length, "direct")
    elif kind == "write":
        written = write(fs, file, pos, data, direct=False, sync=False)
        turns.start(written, "write", pos, length)
    elif kind == "direct write":
        written = write(fs, file, pos, data, direct=True, sync=draw.random() < 0.1)
        turns.start(written, "write", pos, length, "direct")
    elif kind == "fallocate":
        mode = draw.choice(sorted(MODES))
        turns.start(fallocate(fs, inode, mode, pos, length), "fallocate", pos, length)
    elif kind == "truncate":
        turns.start(truncate(fs, inode, pos), "truncate", pos)
    elif kind == "copy":
        copied = copy_range(fs, file, pos, file, size + pos, length)
        turns.start(copied, "copy_file_range", size + pos, length)
    else:
        turns.start(fsync(fs, file), "fsync")


def run(turns: Turns, batches: int = 4, together: int = 4) -> None:
    """Several at a time, again and again."""
    colour = 1
    for _ in range(batches):
        for _ in range(turns.random.randint(1, together)):
            start(turns, colour)
            colour += 1
        turns.run()
