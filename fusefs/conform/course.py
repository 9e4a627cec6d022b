"""All comparisons, on a disk for each block size.

    sections    each kind of comparison on each disk, as it ends

COMPARERS are what is compared: whoever adds one gives sections for a disk.

Units: sizes are bytes.
Errors: NoDisk, NoTracing: what is missing, in a line; TrialError, LostEvents.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fusefs.conform import traces
from fusefs.conform.disk import Disk, disk
from fusefs.conform.report import Asked, Section

Comparer = Callable[[Disk, Asked], Iterator[Section]]

COMPARERS: Final[tuple[Comparer, ...]] = (traces.compare,)


def sections(kind: str, blocks: Sequence[int], asked: Asked) -> Iterator[Section]:
    """kind is a file system's; nothing of the disks is left afterwards."""
    for block in blocks:
        with disk(kind, block) as made:
            for compare in COMPARERS:
                for section in compare(made, asked):
                    section.name = f"{kind} {block}: {section.name}"
                    yield section
