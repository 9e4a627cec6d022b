"""All comparisons, on a disk for each block size.

    gallery     the litmus files that are compared where none is named
    sections    each kind of comparison on each disk, as it ends

COMPARERS are what is compared: whoever adds one gives sections for a disk.

Units: sizes are bytes.
Errors: NoDisk, NoTracing: what is missing, in a line; TrialError, LostEvents.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from fusefs.conform import looks, traces
from fusefs.conform.disk import Disk, disk
from fusefs.conform.report import Asked, Section
from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus

Comparer = Callable[[Disk, Asked], Iterator[Section]]

COMPARERS: Final[tuple[Comparer, ...]] = (traces.compare, looks.compare)


GALLERY: Final = Path(__file__).parents[1] / "litmus/gallery"


def gallery() -> tuple[Litmus, ...]:
    """The project's own litmus files."""
    return tuple(parse(path.read_text(), path.name) for path in sorted(GALLERY.glob("*.litmus")))


def sections(kind: str, blocks: Sequence[int], asked: Asked) -> Iterator[Section]:
    """kind is a file system's; nothing of the disks is left afterwards."""
    for block in blocks:
        with disk(kind, block) as made:
            for compare in COMPARERS:
                for section in compare(made, asked):
                    section.name = f"{kind} {block}: {section.name}"
                    yield section
