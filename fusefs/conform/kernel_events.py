"""Lines of the kernel's trace, as data.

    parse("python-71 [000] ..... 39553.524512: iomap_iter: dev 7:0 ino 0x44 pos 0x0 length …")

Fields are written in several ways: `pos 0x0`, `ofs=4096`, `dev=7:0`, and inode numbers in
hexadecimal, with 0x or without.  A field that no comparison needs is left as the text that it is.

Units: time_us is CLOCK_MONOTONIC.
Errors: ValueError for a line that is none.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MARK: Final = "tracing_mark_write"
BIO: Final = "block_bio_queue"

_LINE: Final = re.compile(
    r"\s*(?P<who>.*)-(?P<pid>\d+)\s+\[\d+\]\s+\S+\s+(?P<s>\d+)\.(?P<us>\d{6}): (?P<name>\w+): "
    r"(?P<text>.*)"
)
_BARE_LINE: Final = re.compile(
    r"\s*(?P<pid>\d+)\s+\[\d+\]\s+\S+\s+(?P<s>\d+)\.(?P<us>\d{6}): (?P<name>\w+): (?P<text>.*)"
)
"""A process that has ended has lost its name."""

_BIO_TEXT: Final = re.compile(r"\d+,\d+ (?P<kind>\w+) (?P<sector>\d+) \+ (?P<count>\d+)")

_NUMBERS: Final = {
    "iomap_iter": ("pos",),
    "iomap_iter_dstmap": ("addr", "offset", "length"),
    "iomap_zero_iter": ("offset", "length"),
    "iomap_dio_rw_begin": ("size", "offset", "length", "aio"),
    "iomap_dio_complete": ("size", "offset", "aio", "error", "ret"),
    "iomap_dio_invalidate_fail": ("offset", "length"),
    "iomap_readahead": ("nr_pages",),
    "iomap_add_to_ioend": ("pos", "dirty len", "offset", "length"),
    "mm_filemap_add_to_page_cache": ("ofs", "order"),
    "mm_filemap_delete_from_page_cache": ("ofs", "order"),
    "xfs_iomap_found": ("pos", "bytecount", "startoff", "fsbcount"),
    "xfs_iomap_alloc": ("pos", "bytecount", "startoff", "fsbcount"),
    "xfs_end_io_direct_write": ("isize", "pos", "bytecount"),
    "xfs_unwritten_convert": ("isize", "pos", "bytecount"),
    "xfs_itruncate_extents_start": ("new_size",),
    "xfs_bunmap": ("fileoff", "fsbcount"),
    "page_cache_ra_unbounded": ("index", "nr_to_read", "lookahead_size"),
    "page_cache_ra_order": ("index", "order", "size", "async_size"),
    "page_cache_sync_ra": ("index", "req_count", "order", "size", "async_size", "ra_pages"),
    "page_cache_async_ra": ("index", "req_count", "order", "size", "async_size", "ra_pages"),
}
_WORDS: Final = {
    "iomap_iter": ("flags",),
    "iomap_iter_dstmap": ("type",),
    "iomap_add_to_ioend": ("type",),
    "xfs_ilock": ("flags",),
    "xfs_ilock_nowait": ("flags",),
    "xfs_ilock_demote": ("flags",),
    "xfs_iunlock": ("flags",),
}


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """One line.

    pid     of whoever did it: a task, or a worker of the kernel
    ino     0 where it tells of no file: of a mark, or of a bio
    numbers, words   the fields that comparisons need
    text    what follows the name
    """

    time_us: int
    pid: int
    name: str
    ino: int
    numbers: Mapping[str, int]
    words: Mapping[str, str]
    text: str

    def __getitem__(self, field: str) -> int:
        return self.numbers[field]


def parse_all(lines: Iterable[str]) -> list[KernelEvent]:
    return [parse(line) for line in lines]


def parse(line: str) -> KernelEvent:
    found = _LINE.fullmatch(line) or _BARE_LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"no event: {line}")
    name, text = found["name"], found["text"]
    time_us = int(found["s"]) * 1_000_000 + int(found["us"])
    numbers: dict[str, int]
    if name == BIO:
        bio = _BIO_TEXT.match(text)
        if bio is None:
            raise ValueError(f"no bio: {line}")
        numbers = {"sector": int(bio["sector"]), "count": int(bio["count"])}
        return KernelEvent(
            time_us, int(found["pid"]), name, 0, numbers, {"kind": bio["kind"]}, text
        )
    numbers = {field: _number(text, field) for field in _NUMBERS.get(name, ())}
    words = {field: _word(text, field) for field in _WORDS.get(name, ())}
    ino = 0 if name == MARK else _ino(text)
    return KernelEvent(time_us, int(found["pid"]), name, ino, numbers, words, text)


def _field(text: str, field: str) -> str:
    found = re.search(rf"(?:^| ){field}[ =](\S*)", text)
    if found is None:
        raise ValueError(f"no field {field}: {text}")
    return found[1]


def _number(text: str, field: str) -> int:
    return int(_field(text, field), 0)


def _word(text: str, field: str) -> str:
    """An empty set of flags leaves the number alone: `flags  (0x0)`."""
    return _field(text, field)


def _ino(text: str) -> int:
    """Always hexadecimal; the events of mm/ leave the 0x out."""
    found = re.search(r"(?:^| )ino[ =](?:0x)?([0-9a-f]+)", text)
    return int(found[1], 16) if found else 0
