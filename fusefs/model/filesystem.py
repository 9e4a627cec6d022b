"""What all files of a mount share: the model's struct super_block."""

from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from fusefs.model.chunk import CHUNK_BLOCKS
from fusefs.model.errseq import ErrorSequence
from fusefs.model.geometry import Geometry
from fusefs.model.inode import Inode
from fusefs.model.locks import RwLock
from fusefs.model.options import Check, Options
from fusefs.model.page_cache import PageCache
from fusefs.model.space import Space
from fusefs.model.steps import Step

LOAD_CHUNKS_MAX: Final = 4
"""Chunks of a map that are read ahead of a request; more are read one by one."""


@dataclass(slots=True)
class Counters:
    """What happened since the mount; shown in .fusefs/status.

    pages_missed counts pages that a buffered read looked for in vain; pages_filled has those of
    readahead, too.
    pages_stale_possible counts pages that were cached in the range of a direct write
    when it returned although its conversion came after its last drop: each may hold
    zeros instead of the data.  In today's order it stays 0.
    """

    direct_reads: int = 0
    direct_writes: int = 0
    buffered_reads: int = 0
    buffered_writes: int = 0
    pages_missed: int = 0
    pages_filled: int = 0
    pages_written_back: int = 0
    invalidations_pre: int = 0
    invalidations_post: int = 0
    invalidations_busy: int = 0
    conversions: int = 0
    pages_stale_possible: int = 0


class Filesystem:
    """Options, sizes, free space and page cache of one mount.

    options and orders may be replaced while requests run: whoever needs one value twice reads
    it once.
    checks says whether reads are compared with the image, by whoever serves them.
    inodes_dirty has the files with dirty pages, oldest first: (W5) of writeback.py.
    inodes_unlinked has the files without a name and without an open file whose blocks come
    free when their last reference goes: XFS's inodes that await inactivation.
    errors has the failed writebacks of all files, for syncfs(2): s_wb_err.
    work has what goes on without whoever began it, in the manner of a work queue: whoever drives
    the model takes each from there, and runs it as a task of its own.
    worker is whoever ends all I/O, one after the other, under post_in_worker.
    guards_disk_end is (W4) of writeback.py, which Linux does not keep; only whoever compares with
    Linux goes without it.
    folio_order_max is that of the folios that readahead aims at: its windows end where they do.
    Pages are single ones all the same; 0, no aim, on a mount, as FUSE has no large folios.
    """

    def __init__(self, geometry: Geometry, options: Options, space: Space) -> None:
        self.geometry = geometry
        self.options = options
        self.orders = options.orders
        self.checks = options.check is not Check.OFF
        self.space = space
        self.cache = PageCache(geometry, options.cache_size)
        self.counters = Counters()
        self.inodes_dirty: OrderedDict[int, Inode] = OrderedDict()
        self.inodes_unlinked: set[int] = set()
        self.errors = ErrorSequence()
        self.work: list[Coroutine[Step, Any, None]] = []
        self.worker = RwLock("worker")
        self.guards_disk_end = True
        self.folio_order_max = 0

    def forget_dirty(self, inode: Inode) -> None:
        """It has no dirty pages, or leaves memory.  Its number may be another Inode's by now, which
        stays (W5)."""
        if self.inodes_dirty.get(inode.ino) is inode:
            del self.inodes_dirty[inode.ino]

    def load_map(self, inode: Inode, pos: int, length: int) -> None:
        """What a LOAD_MAP step is for: have the map where a range begins in memory, and of the
        block before it, which allocation asks for.  The rest of a long range is read when it is
        looked at.  What stored maps raise is raised here.
        """
        block, end = self.geometry.block_range(pos, length)
        first, end_chunk = max(block - 1, 0) // CHUNK_BLOCKS, -(-end // CHUNK_BLOCKS)
        inode.extents.load(first, min(end_chunk, first + LOAD_CHUNKS_MAX))

    def set_options(self, options: Options) -> None:
        """Take new values of the live options; a smaller cache shrinks at once."""
        self.options = options
        self.orders = options.orders
        self.checks = options.check is not Check.OFF
        self.cache.set_limit(options.cache_size)
        self.cache.shrink()
