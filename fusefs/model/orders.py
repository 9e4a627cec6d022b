"""Where kernels of the past differ from today's: a switch for each place, and sets by kernel.

A switch is read when a request begins.  At its place in the path it is one `if` with two visible
orders; with none set the path is that of Linux today.  Orders has a flag for each row of
order_rows.py, which tells of it; ERAS are the sets.

A few orders are correct as well, and are here because of what they cost, or because others need
them: their row says that they break nothing.

Errors: KeyError for a name that is none.
"""

from collections.abc import Collection
from dataclasses import dataclass

from fusefs.model.order_rows import INFERRED, MESSAGE, RECALLED, ROWS, SOURCE

__all__ = ["ERAS", "POST_BEFORE_END", "ROWS", "TODAY", "Era", "Orders", "with_implied"]

POST_BEFORE_END = "post_before_end"
"""The order under study; as a mount option it is invalidate=before."""


def with_implied(names: Collection[str]) -> frozenset[str]:
    """The orders, and those without which they would show nothing."""
    found = frozenset(names)
    for name in names:
        found |= with_implied(ROWS[name].implies)
    return found


class Orders:
    """The switches in force: a flag for each of ROWS.

    windows are the steps before which others must come in, so that one of them shows; but of the
    order under study.
    """

    __slots__ = (
        *("aio_no_post", "append_range_early", "busy_drop_silent", "fallback_undrained"),
        *("fallocate_beside_dio", "flush_without_wait", "holes_by_cache"),
        *("isize_after_post", "isize_before_convert", "isize_unlocked", "lockout"),
        *("map_before_insert", "no_post", "no_pre", "page_granular_dirty", "post_before_end"),
        *("post_in_worker", "pre_failure_ignored", "punch_beside_fill", "read_drops"),
        *("ret_before_end", "stale_iomap_in_write", "truncate_writeback_first"),
        *("unaligned_shared", "unaligned_unwaited", "unlocked_reads", "windows"),
        *("written_at_allocation", "zero_length_post", "zero_range_ignores_dirty"),
    )

    def __init__(self, names: Collection[str] = ()) -> None:
        found = with_implied(names)
        self.aio_no_post = "aio_no_post" in found
        self.append_range_early = "append_range_early" in found
        self.busy_drop_silent = "busy_drop_silent" in found
        self.fallback_undrained = "fallback_undrained" in found
        self.fallocate_beside_dio = "fallocate_beside_dio" in found
        self.flush_without_wait = "flush_without_wait" in found
        self.holes_by_cache = "holes_by_cache" in found
        self.isize_after_post = "isize_after_post" in found
        self.isize_before_convert = "isize_before_convert" in found
        self.isize_unlocked = "isize_unlocked" in found
        self.lockout = "lockout" in found
        self.map_before_insert = "map_before_insert" in found
        self.no_post = "no_post" in found
        self.no_pre = "no_pre" in found
        self.page_granular_dirty = "page_granular_dirty" in found
        self.post_before_end = "post_before_end" in found
        self.post_in_worker = "post_in_worker" in found
        self.pre_failure_ignored = "pre_failure_ignored" in found
        self.punch_beside_fill = "punch_beside_fill" in found
        self.read_drops = "read_drops" in found
        self.ret_before_end = "ret_before_end" in found
        self.stale_iomap_in_write = "stale_iomap_in_write" in found
        self.truncate_writeback_first = "truncate_writeback_first" in found
        self.unaligned_shared = "unaligned_shared" in found
        self.unaligned_unwaited = "unaligned_unwaited" in found
        self.unlocked_reads = "unlocked_reads" in found
        self.written_at_allocation = "written_at_allocation" in found
        self.zero_length_post = "zero_length_post" in found
        self.zero_range_ignores_dirty = "zero_range_ignores_dirty" in found
        self.windows = frozenset(ROWS[name].window for name in found - {POST_BEFORE_END}) - {""}


@dataclass(frozen=True, slots=True)
class Era:
    """What iomap and XFS of one kernel did that today's do not.

    evidence    where that is known from; as of a Row, with a word about what
    """

    orders: frozenset[str]
    evidence: str


_UNTIL_6_2 = frozenset(["stale_iomap_in_write", "zero_range_ignores_dirty"])
_UNTIL_5_9 = _UNTIL_6_2 | {"read_drops", "pre_failure_ignored", "fallocate_beside_dio"}
_UNTIL_5_1 = _UNTIL_5_9 | {"unaligned_unwaited"}
_UNTIL_4_15 = _UNTIL_5_1 | {"busy_drop_silent", "truncate_writeback_first"}
_UNTIL_4_14 = _UNTIL_4_15 | {"isize_before_convert"}

TODAY = "linux-6.18"

ERAS = {
    "linux-2.6.20": Era(
        frozenset(["no_post", "ret_before_end", "unaligned_shared"]),
        f"{MESSAGE}: bdb76ef5a4bc says that 65b8291c4000 lost the second drop, e927af90aaa7 that"
        f" XFS did not wait for the conversion, eda77982729b what came of unaligned writes;"
        f" {RECALLED}: that these met in 2.6.20",
    ),
    "linux-4.9": Era(
        _UNTIL_4_14 | {"aio_no_post"},
        f"{SOURCE}: XFS over fs/direct-io.c converts, then drops, and drops too early for"
        f" asynchronous writes; {INFERRED}: the others",
    ),
    "linux-4.10": Era(
        _UNTIL_4_14 | {"aio_no_post", POST_BEFORE_END},
        f"{SOURCE}: iomap_dio_rw() of 4.10 drops before iomap_dio_complete(), and not at all for"
        f" asynchronous writes",
    ),
    "linux-4.11": Era(
        _UNTIL_4_14 | {"aio_no_post"},
        f"{MESSAGE}: c771c14baa33 swaps the two, and returns before both for asynchronous writes",
    ),
    "linux-4.14-rc1": Era(
        _UNTIL_4_14 | {POST_BEFORE_END},
        f"{MESSAGE}: 332391a9935d moves the drop into the completion, before the conversion;"
        f" 5e25c269e17d says so of 4.14-rc3",
    ),
    "linux-4.14": Era(
        _UNTIL_4_15,
        f"{SOURCE}, {MESSAGE}: 5e25c269e17d drops after the conversion, ee70daaba82d raises i_size"
        f" after it",
    ),
    "linux-5.0": Era(
        _UNTIL_5_1 | {"page_granular_dirty"},
        f"{SOURCE}: 5a9d929d6e13 has fsync tell of what could not be dropped; {RECALLED}: the"
        f" iomap_page of 4.18",
    ),
    "linux-5.9": Era(
        _UNTIL_6_2 | {"page_granular_dirty"},
        f"{MESSAGE}: 54752de928c4 and 60263d5889e6, both of the merge for 5.9",
    ),
    TODAY: Era(frozenset(), f"{SOURCE}: it is what the model is made after"),
}
"""By the name of the kernel, oldest first."""
