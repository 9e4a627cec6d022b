"""Where kernels of the past differ from today's: a switch for each place, and a row about it.

A switch is read when a write begins, or a fill.  At its place in the path it is one `if` with two
visible orders; with none set the path is that of Linux today.  ROWS tells of them; Orders has a
flag for each.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One order that a kernel had, or nearly had.

    broken, fixed   kernel commits, with what they did; "" where no released kernel had it
    breaks          what goes wrong, by the rule's label where it has one
    tasks           the smallest case that shows it, in the words of explore
    seen_by         the upstream test that fails
    """

    title: str
    broken: str
    fixed: str
    breaks: str
    tasks: tuple[str, ...]
    seen_by: str


ROWS = {
    "post_before_end": Row(
        title="the second invalidation of a direct write comes before the conversion",
        broken="ff6a9292e6f6 (4.10), and again 332391a9935d (4.14-rc1)",
        fixed="c771c14baa33 (4.11), 5e25c269e17d (4.14)",
        breaks="(D1) a page that is filled in between keeps zeros instead of the data",
        tasks=("write0", "read1"),
        seen_by="LTP dio29 and dio30 (diotest3, diotest6), xfstests generic/418",
    ),
    "isize_before_convert": Row(
        title="a direct write raises i_size before its blocks are converted",
        broken="before ee70daaba82d (4.14)",
        fixed="ee70daaba82d (4.14)",
        breaks="(D5) a direct reader beyond the old end of the file gets zeros",
        tasks=("grow0", "dread0"),
        seen_by="xfstests generic/465, as it was before it accepted zeros in 2023",
    ),
    "map_before_insert": Row(
        title="a fill looks at the map before its page is in the cache",
        broken="",
        fixed="",
        breaks="(D1) an invalidation finds no page to wait for, and the page comes after it",
        tasks=("write0", "read1"),
        seen_by="none: no kernel did so; it shows what the page lock is held for",
    ),
}

POST_BEFORE_END = "post_before_end"
"""The order under study; as a mount option it is invalidate=before."""


class Orders:
    """The switches in force: a flag for each of ROWS."""

    __slots__ = ("isize_before_convert", "map_before_insert", "post_before_end")

    def __init__(self, names: Collection[str] = ()) -> None:
        assert all(name in ROWS for name in names), f"no such order: {names}"
        self.post_before_end = "post_before_end" in names
        self.isize_before_convert = "isize_before_convert" in names
        self.map_before_insert = "map_before_insert" in names
