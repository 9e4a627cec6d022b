"""What is measured, and the bars.

A piece of work is a command, fio or the client in clients.c, and what goes before it.
Files are named for what is done with them; each is made once per mount.

    cached      32 MiB, read through the page cache before each measurement
    direct      64 MiB, never in a page cache
    cold        64 MiB, in no page cache; read once at most
    buffered    32 MiB, fits into the page cache
    unwritten   new, preallocated, for each measurement; written once at most
    appended    new, empty, for each measurement
    names/N     what process N creates, opens, stats, appends to and unlinks
    entries     a directory of 10,000 empty files
    others      as many empty files as the growth work says

At depth 1 there is one process with one request; at depth 16 one process with 16 requests
(libaio, direct work), or 16 processes (buffered work, names), on the same file where there
is a file.

Units: sizes are bytes; seconds_s is how long one measurement goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BLOCK = 4 * KIB
SMALL = 4

Words = tuple[str, ...]


class Place(Enum):
    """Mounts that one contender may have side by side."""

    MAIN = "main"
    FILE_SMALL = "file-small"
    FILE_LARGE = "file-large"
    FILES_FEW = "files-few"
    FILES_MORE = "files-more"
    FILES_MANY = "files-many"

    @property
    def is_growth(self) -> bool:
        return self is not Place.MAIN


class Unit(Enum):
    OPERATIONS = "op/s"
    BANDWIDTH = "MiB/s"


@dataclass(frozen=True, slots=True)
class Bars:
    """The least ratio of medians, fusefs against each of these; None: no bar.

    baseline is the name of the work that this one may not be much slower than.
    """

    c_null: float | None = None
    pyfuse3_null: float | None = None
    passthrough_ll: float | None = None
    itself: float | None = None
    baseline: str | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """setup: once per mount; before: each time.  Both are commands of clients.c."""

    name: str
    title: str
    program: str
    words: Words
    settle: str
    unit: Unit = Unit.OPERATIONS
    setup: tuple[Words, ...] = ()
    before: tuple[Words, ...] = ()
    bars: Bars = Bars()
    place: Place = Place.MAIN


@dataclass(frozen=True, slots=True)
class Size:
    """How large everything is; FULL is what is measured, SMOKE only shows that it works."""

    seconds_s: float
    direct: int
    cached: int
    unwritten: int
    name_count: int
    entry_count: int
    process_count: int
    iteration_count: int
    file_large: int
    stride: int
    other_counts: tuple[int, int, int]


FULL = Size(
    seconds_s=1.0,
    direct=64 * MIB,
    cached=32 * MIB,
    unwritten=256 * MIB,
    name_count=4000,
    entry_count=10_000,
    process_count=100,
    iteration_count=100,
    file_large=64 * GIB,
    stride=64 * KIB,
    other_counts=(1, 10_000, 100_000),
)

SMOKE = Size(
    seconds_s=0.03,
    direct=2 * MIB,
    cached=2 * MIB,
    unwritten=1 * MIB,
    name_count=32,
    entry_count=100,
    process_count=10,
    iteration_count=2,
    file_large=16 * MIB,
    stride=64 * KIB,
    other_counts=(1, 10, 100),
)


def works(size: Size) -> list[Work]:
    """All work, in the order in which it is measured and printed."""
    return [
        *_blocks(size),
        *_appends(size),
        *_alone(size),
        *_sequential(size),
        _dio29(size),
        *_names(size),
        *_growth(size),
    ]


# -- 4 KiB at random -------------------------------------------------------------------


def _fio(size: Size, file: str, file_bytes: int, *words: str, once: bool = False) -> Words:
    """fio for a while on one file; once: no block twice, and it may end sooner."""
    again = () if once else ("--time_based", "--norandommap")
    return (
        "--name=bench",
        f"--filename={file}",
        f"--size={file_bytes}",
        f"--runtime={round(size.seconds_s * 1000)}ms",
        *again,
        *words,
        "--thread",
        "--group_reporting",
        "--randrepeat=0",
        "--invalidate=0",
        "--fallocate=none",
        "--clocksource=clock_gettime",
        "--disk_util=0",
        "--output-format=json",
        "--eta=never",
    )


def _depth(direct: bool, depth: int) -> Words:
    if direct:
        return ("--direct=1", "--ioengine=libaio", f"--iodepth={depth}")
    return ("--ioengine=psync", f"--numjobs={depth}")


def _blocks(size: Size) -> Iterator[Work]:
    deep = {
        "cached-read": Bars(0.45, 4),
        "direct-read": Bars(0.25, 2.5),
        "direct-overwrite": Bars(0.25, 2.5),
        "buffered-write": Bars(0.25, 2.5),
    }
    shallow = Bars(0.80, 0.95)
    for name, title, rw, file in (
        ("cached-read", "cached 4 KiB random read", "randread", "cached"),
        ("direct-read", "direct 4 KiB random read", "randread", "direct"),
        ("direct-overwrite", "direct 4 KiB random overwrite", "randwrite", "direct"),
        ("buffered-write", "buffered 4 KiB random write", "randwrite", "buffered"),
        ("unwritten-write", "direct 4 KiB write into unwritten blocks", "randwrite", "unwritten"),
    ):
        direct = file in ("direct", "unwritten")
        once = file == "unwritten"
        file_bytes = {"direct": size.direct, "unwritten": size.unwritten}.get(file, size.cached)
        make = ((("unwritten" if once else "fill"), file, str(file_bytes)),)
        for depth in (1, 16):
            yield Work(
                name=f"{name}-{depth}",
                title=f"{title}, {'depth' if direct or 'read' in name else 'jobs'} {depth}",
                program="fio",
                words=_fio(
                    size,
                    file,
                    file_bytes,
                    f"--rw={rw}",
                    f"--bs={BLOCK}",
                    *_depth(direct, depth),
                    once=once,
                ),
                settle=file,
                setup=() if once else make,
                before=make if once else ((("warm", file),) if not direct else ()),
                bars=Bars() if once else (deep[name] if depth == 16 else shallow),
            )


# -- what the default delays would hurt, if one process paid them ------------------------


def _alone(size: Size) -> Iterator[Work]:
    """Beside unwritten-write-1: a direct write drops what is cached, so a filled file is cold."""
    for name, title, rw, file, file_bytes, words in (
        ("cold-read", "cold 4 KiB random read", "randread", "cold", size.direct, ()),
        (
            *("direct-append", "direct 4 KiB append", "write", "appended"),
            *(size.unwritten, ("--direct=1",)),
        ),
    ):
        make = ("fill", file, str(file_bytes)) if rw == "randread" else ("empty", file)
        job = (f"--rw={rw}", f"--bs={BLOCK}", "--ioengine=psync", *words)
        yield Work(
            name=name,
            title=f"{title}, one process",
            program="fio",
            words=_fio(size, file, file_bytes, *job, once=True),
            settle=file,
            before=(make,),
        )


# -- 1 MiB in sequence -----------------------------------------------------------------


def _sequential(size: Size) -> Iterator[Work]:
    direct, psync = "--direct=1", "--ioengine=psync"
    fsync = f"--fsync={size.cached // MIB}"  # once per pass over the file
    for name, title, rw, file, words in (
        ("sequential-direct-write", "direct write", "write", "direct", (direct, psync)),
        ("sequential-direct-read", "direct read", "read", "direct", (direct, psync)),
        ("sequential-cached-read", "cached read", "read", "cached", (psync,)),
        (
            "sequential-buffered-write",
            "buffered write with fsync",
            "write",
            "buffered",
            (psync, fsync),
        ),
    ):
        file_bytes = size.direct if file == "direct" else size.cached
        yield Work(
            name=name,
            title=f"1 MiB sequential {title}",
            program="fio",
            words=_fio(size, file, file_bytes, f"--rw={rw}", f"--bs={MIB}", *words),
            settle=file,
            unit=Unit.BANDWIDTH,
            setup=(("fill", file, str(file_bytes)),),
            before=(("warm", file),) if file != "direct" else (),
            bars=Bars(0.50, 0.9, 1.0 if title.startswith("buffered") else None),
        )


# -- LTP's dio29, and names ------------------------------------------------------------


def _dio29(size: Size) -> Work:
    block = 64 * KIB if size is FULL else BLOCK
    return Work(
        name="dio29",
        title=f"LTP's dio29: {size.process_count} processes, {block // KIB} KiB blocks",
        program="clients",
        words=("dio29", *_crew(size, size.process_count), str(block), str(size.iteration_count)),
        settle="dio29",
    )


def _crew(size: Size, process_count: int) -> Words:
    return (str(process_count), str(size.seconds_s))


def _names(size: Size) -> Iterator[Work]:
    for command, title in (
        ("open", "open and close"),
        ("stat", "stat"),
        ("create", "create"),
        ("unlink", "unlink"),
    ):
        for depth in (1, 16):
            each = (str(size.name_count // depth),) if command in ("create", "unlink") else ()
            yield Work(
                name=f"{command}-{depth}",
                title=f"{title}, {depth} process{'es' if depth > 1 else ''}",
                program="clients",
                words=(command, *_crew(size, depth), *each),
                settle="names",
                bars=Bars(0.25, 1.5),
            )
    count = str(size.entry_count)
    yield Work(
        name="readdir",
        title=f"readdir of {size.entry_count:,} entries",
        program="clients",
        words=("readdir", *_crew(size, 1), "entries", count),
        settle="entries",
        setup=(("files", "entries", count),),
        bars=Bars(passthrough_ll=1.0),
    )
    yield Work(
        name="readdir-changed",
        title=f"readdir of {size.entry_count:,} entries, a name changed before each",
        program="clients",
        words=("relist", *_crew(size, 1), "entries", count),
        settle="entries",
        setup=(("files", "entries", count),),
    )


def _appends(size: Size) -> Iterator[Work]:
    yield Work(
        name="append-4",
        title=f"buffered append of {SMALL} bytes",
        program="clients",
        words=("append", *_crew(size, 1), str(SMALL)),
        settle="names",
        bars=Bars(itself=0.5, baseline="buffered-write-1"),
    )


# -- growth ----------------------------------------------------------------------------


def _growth(size: Size) -> Iterator[Work]:
    few, more, many = size.other_counts
    yield _overwrite(size, "growth-file-64m", f"a file of {size.direct // MIB} MiB")
    large = ("scatter", "direct", str(size.file_large), str(size.stride))
    extents = size.file_large // size.stride
    yield _overwrite(
        size,
        "growth-file-64g",
        f"a sparse file of {size.file_large // MIB:,} MiB, {extents:,} extents",
        Place.FILE_LARGE,
        large,
        "growth-file-64m",
    )
    for name, count, place in (
        ("growth-files-1", few, Place.FILES_FEW),
        ("growth-files-10k", more, Place.FILES_MORE),
        ("growth-files-100k", many, Place.FILES_MANY),
    ):
        yield _overwrite(
            size,
            name,
            f"with {count:,} other file{'s' if count > 1 else ''}",
            place,
            ("files", "others", str(count)),
            None if place is Place.FILES_FEW else "growth-files-1",
        )


def _overwrite(
    size: Size,
    name: str,
    title: str,
    place: Place = Place.FILE_SMALL,
    make: Words | None = None,
    baseline: str | None = None,
) -> Work:
    """direct 4 KiB random overwrite, depth 16, of blocks that exist."""
    scattered = place is Place.FILE_LARGE
    file_bytes = size.file_large if scattered else size.direct
    fill = ("fill", "direct", str(size.direct))
    setup = tuple(words for words in (make, None if scattered else fill) if words)
    where = ("--blockalign=" + str(size.stride),) if scattered else ()
    words = (f"--bs={BLOCK}", "--rw=randwrite", *_depth(True, 16), *where)
    return Work(
        name=name,
        title=title,
        program="fio",
        words=_fio(size, "direct", file_bytes, *words),
        settle="direct",
        setup=setup,
        bars=Bars(itself=0.85, baseline=baseline) if baseline else Bars(),
        place=place,
    )
