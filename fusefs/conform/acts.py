"""What can be seen both in the kernel's trace and in the model's steps: the alphabet of the two.

    Act         one thing that was done to a file, over a range of bytes
    Group       adjacent acts of one request whose order says nothing, as units
    grouped()   acts to groups

Both sides do the same in pieces of their own: the kernel maps each extent by itself and each page
of a buffered write, the model a whole range; bios are split and merged.  So acts are cut into
units, and of neighbours in one Group only what they cover counts:

    page.add  page.drop                 a page comes into the cache, or goes
    fill.map  fill.read                 a page gets its content: ->iomap_begin(), and a bio
    write.map  zero                     of a buffered write; zeros within a block
    dio.map  dio.read  dio.write        of a direct request
    wb.write  wb.convert                writeback: bytes on their way, and their blocks converted
    convert                             of a direct write; state is i_size just then
    free  punch  alloc                  blocks of a truncate, of a fallocate(2)
    lock                                state says which, and how it is asked for
    begin  return                       of a request

state of a map is the extent's: hole, delalloc, unwritten, mapped.

Units: start and end are bytes in the file; a unit's number is that of a page, a block or a sector.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusefs.litmus.test import Operation
from fusefs.model.geometry import SECTOR_SIZE

BEGIN: Final = "begin"
RETURN: Final = "return"
LOCK: Final = "lock"
ADD: Final = "page.add"
DROP: Final = "page.drop"
FILL_MAP: Final = "fill.map"
FILL_READ: Final = "fill.read"
WRITE_MAP: Final = "write.map"
ZERO: Final = "zero"
DIO_MAP: Final = "dio.map"
DIO_READ: Final = "dio.read"
DIO_WRITE: Final = "dio.write"
WB_WRITE: Final = "wb.write"
WB_CONVERT: Final = "wb.convert"
CONVERT: Final = "convert"
FREE: Final = "free"
PUNCH: Final = "punch"
ALLOC: Final = "alloc"

KINDS: Final = (
    *(BEGIN, RETURN, LOCK, ADD, DROP, FILL_MAP, FILL_READ, WRITE_MAP, ZERO, DIO_MAP),
    *(DIO_READ, DIO_WRITE, WB_WRITE, WB_CONVERT, CONVERT, FREE, PUNCH, ALLOC),
)

GROUPS: Final = {
    **dict.fromkeys((ADD, FILL_MAP, FILL_READ, WRITE_MAP, ZERO), "cache"),
    **dict.fromkeys((DIO_MAP, DIO_READ, DIO_WRITE), "dio"),
    **dict.fromkeys((DROP, WB_WRITE, CONVERT, FREE, PUNCH, ALLOC), ""),
}
"""Kinds that are told together when they are neighbours; "" only with their own kind."""

BY_PAGE: Final = frozenset((ADD, DROP))
BY_BLOCK: Final = frozenset((FILL_MAP, WRITE_MAP, ZERO, DIO_MAP, PUNCH, CONVERT, WB_CONVERT))
BY_SECTOR: Final = frozenset((FILL_READ, DIO_READ, DIO_WRITE, WB_WRITE))

ONCE: Final = frozenset((WRITE_MAP, ZERO, DIO_MAP, FREE, PUNCH, ALLOC, FILL_READ))
"""To do these again with the same range is to do them once."""


MAPPED_BEFORE: Final = "mapped before"


class Act(NamedTuple):
    """ino is 0 for what concerns no file, such as a begin."""

    kind: str
    ino: int = 0
    start: int = 0
    end: int = 0
    state: str = ""


class Unit(NamedTuple):
    """The least part of an act: number is of a page, block or sector, by its kind."""

    kind: str
    ino: int
    number: int
    state: str


@dataclass(slots=True)
class Group:
    """Acts whose order among each other says nothing.

    name      their common name
    from_us, to_us   within which time they were done, as far as the trace tells; of the model 0
    """

    name: str
    units: Counter[Unit] = field(default_factory=Counter)
    from_us: int = 0
    to_us: int = 0

    def add(self, units: Iterable[Unit], per_page: int) -> None:
        """per_page is blocks of a page."""
        for unit in units:
            placed = in_order(unit, self.units, per_page)
            if placed.kind not in ONCE or placed not in self.units:
                self.units[placed] += 1


def in_order(unit: Unit, before: Mapping[Unit, int], per_page: int) -> Unit:
    """A page that comes only after it was mapped: the one order within a group that matters.

    before are the units of the group until then.
    """
    if unit.kind != ADD:
        return unit
    blocks = range(unit.number * per_page, (unit.number + 1) * per_page)
    late = any(
        count and other.kind == FILL_MAP and other.ino == unit.ino and other.number in blocks
        for other, count in before.items()
    )
    return unit._replace(state=MAPPED_BEFORE) if late else unit


def edge(kind: str, operation: Operation, place: int) -> Act:
    """The BEGIN or RETURN of a task's operation number place."""
    return Act(kind, state=f"{operation.word} {place}")


def group_name(act: Act) -> str:
    return GROUPS.get(act.kind, "") or act.kind


def merges(act: Act) -> bool:
    """Whether it is told together with neighbours of its group."""
    return act.kind in GROUPS


def units_of(act: Act, page: int, block: int) -> Iterator[Unit]:
    """What an act covers; at least one unit."""
    size = page if act.kind in BY_PAGE else block if act.kind in BY_BLOCK else SECTOR_SIZE
    if act.kind not in BY_PAGE | BY_BLOCK | BY_SECTOR:
        yield Unit(act.kind, act.ino, act.start, act.state)
        return
    for number in range(act.start // size, max(-(-act.end // size), act.start // size + 1)):
        yield Unit(act.kind, act.ino, number, act.state)


def grouped(acts: Iterable[Act], page: int, block: int) -> list[Group]:
    """The acts of one task, in order."""
    groups: list[Group] = []
    for act in acts:
        name = group_name(act)
        if not (groups and merges(act) and groups[-1].name == name):
            groups.append(Group(name))
        groups[-1].add(units_of(act, page, block), page // block)
    return groups


def told(group: Group, page: int, block: int) -> list[str]:
    """A line for each kind and state in it, with the ranges."""
    found: dict[tuple[str, int, str], list[int]] = {}
    for unit in sorted(group.units.elements()):
        found.setdefault((unit.kind, unit.ino, unit.state), []).append(unit.number)
    return [
        " ".join(part for part in (kind, _ranges(kind, numbers, page, block), state) if part)
        for (kind, _, state), numbers in found.items()
    ]


def _ranges(kind: str, numbers: list[int], page: int, block: int) -> str:
    """'0+4096 16384+512'."""
    size = page if kind in BY_PAGE else block if kind in BY_BLOCK else SECTOR_SIZE
    if kind not in BY_PAGE | BY_BLOCK | BY_SECTOR:
        return ""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    return " ".join(f"{first * size}+{(end - first) * size}" for first, end in runs)
