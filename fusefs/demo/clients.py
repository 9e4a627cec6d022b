"""Programs that read back what they wrote: real processes, real O_DIRECT descriptors.

Each run starts N children on one file.  Child k owns one region, and loops: fill it,
read it back, compare; it stops at the first difference.  Nobody else writes there, so
whatever differs is the filesystem's fault.

    region of child k = [offset + k * block_size, offset + (k + 1) * block_size)

    diotest3               the shape of LTP's dio29: 100 children, 100 times each, from
                           byte 1,024,000 of a new file on
    dio-invalidate-cache   the shape of xfstests generic/418: few children, from byte 0 on,
                           of a file that is new, sparse, preallocated or written already

Both are C programs that fork a child in about 100 us.  Python takes ten times as long,
longer than the window under study, so the children wait until all of them are there.

A case is letters: r (direct read), w (direct write), then what the file is beforehand:
t (truncated to its size, sparse), p (preallocated), F (written), or nothing (empty).

Units: pos, offset, length are bytes in the file.
Output: JSON lines, see results.py.  Exit status 0 unless the arguments are wrong.
"""

import argparse
import errno
import gc
import json
import mmap
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import NoReturn

from fusefs.demo.results import (
    CASES,
    DIOTEST3,
    INVALIDATE_CACHE,
    Run,
    StaleRead,
    format_event,
    split_case,
)
from fusefs.model.geometry import SECTOR_SIZE

FILL_BYTE = b"s"
"""What a file of case F holds beforehand."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What all children of a run have in common."""

    path: str
    case: str
    block_size: int
    children: int
    iterations: int
    offset: int

    @property
    def direct_read(self) -> bool:
        return "r" in self.case

    @property
    def direct_write(self) -> bool:
        return "w" in self.case

    def region(self, child: int) -> int:
        return self.offset + child * self.block_size


@dataclass(slots=True)
class Report:
    """What one child did; error is an errno's name."""

    reads: int = 0
    zeros: int = 0
    mismatches: int = 0
    error: str | None = None
    stale: StaleRead | None = None


# -- one child ----------------------------------------------------------------------


def read_back(shape: Shape, child: int, start_fd: int, report: Report) -> None:
    """Write, read, compare, until done or a read is wrong.  OSError goes to the caller."""
    length, pos = shape.block_size, shape.region(child)
    written, read = mmap.mmap(-1, length), mmap.mmap(-1, length)
    read_fd = os.open(shape.path, os.O_RDONLY | (os.O_DIRECT if shape.direct_read else 0))
    write_fd = os.open(shape.path, os.O_WRONLY | (os.O_DIRECT if shape.direct_write else 0))
    os.read(start_fd, 1)  # returns when the parent closes its end
    for iteration in range(shape.iterations):
        written[:] = bytes([1 + (child + iteration) % 255]) * length
        if os.pwrite(write_fd, written, pos) < length:
            raise OSError(errno.ENOSPC, "short write")
        if not shape.direct_write:
            os.fsync(write_fd)
        count = os.preadv(read_fd, [read], pos)
        now_ns = time.monotonic_ns()
        report.reads += 1
        if read[:count] == written[:]:
            continue
        if count == length and only_zeros_differ(read[:], written[:]):
            report.zeros += 1
            ino = os.fstat(read_fd).st_ino
            report.stale = StaleRead(os.getpid(), ino, pos, length, now_ns)
        else:
            report.mismatches += 1
        return


def only_zeros_differ(read: bytes, written: bytes) -> bool:
    return all(a in (0, b) for a, b in zip(read, written, strict=True))


def run_child(shape: Shape, child: int, start_fd: int, report_fd: int) -> NoReturn:
    """The whole life of a forked child; its report is one write, so lines stay whole."""
    report = Report()
    try:
        read_back(shape, child, start_fd, report)
    except OSError as error:
        report.error = error_name(error)
    except BaseException as error:
        report.error = type(error).__name__
    finally:
        with suppress(OSError):
            os.write(report_fd, f"{json.dumps(asdict(report))}\n".encode())
        os._exit(0)


def error_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "OSError")


# -- one run ------------------------------------------------------------------------


def prepare_file(shape: Shape) -> None:
    """A new file, in the state that the case asks for, and durable."""
    _, prepared = split_case(shape.case)
    size = shape.block_size * shape.children
    fd = os.open(shape.path, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
    try:
        if prepared == "t":
            os.ftruncate(fd, size)
        elif prepared == "p":
            os.posix_fallocate(fd, 0, size)
        elif prepared == "F":
            os.pwrite(fd, FILL_BYTE * size, 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def run_children(shape: Shape) -> Iterator[Report]:
    """Fork the children, start them together; yields each one's report as it ends."""
    start_fd, start_write_fd = os.pipe()
    report_read_fd, report_fd = os.pipe()
    pids: list[int] = []
    try:
        for child in range(shape.children):
            pid = os.fork()
            if pid == 0:
                os.close(start_write_fd)
                run_child(shape, child, start_fd, report_fd)
            pids.append(pid)
    finally:  # if a fork failed, those that are there run and end
        for fd in (start_fd, start_write_fd, report_fd):
            os.close(fd)
    with open(report_read_fd) as lines:
        for line in lines:
            fields = json.loads(line)
            if fields["stale"] is not None:
                fields["stale"] = StaleRead(**fields["stale"])
            yield Report(**fields)
    for pid in pids:
        os.waitpid(pid, 0)


def run_once(program: str, shape: Shape) -> Iterator[StaleRead | Run]:
    """One run of one case: its first stale read at once, then its sums."""
    errors: Counter[str] = Counter()
    reports: list[Report] = []
    first = None
    try:
        prepare_file(shape)
        for report in run_children(shape):
            reports.append(report)
            if report.error is not None:
                errors[report.error] += 1
            if first is None and report.stale is not None:
                first = report.stale
                yield first
        if lost := shape.children - len(reports):
            errors["killed"] += lost
        os.unlink(shape.path)
    except OSError as error:
        errors[error_name(error)] += 1
    yield Run(
        program=program,
        case=shape.case,
        block_size=shape.block_size,
        children=shape.children,
        iterations=shape.iterations,
        reads=sum(report.reads for report in reports),
        zeros=sum(report.zeros for report in reports),
        mismatches=sum(report.mismatches for report in reports),
        errors=dict(errors),
    )


# -- the command line ---------------------------------------------------------------


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fusefs.demo.clients")
    programs = parser.add_subparsers(dest="program", required=True)
    for name, children, iterations, offset in (
        (DIOTEST3, 100, 100, 1_024_000),
        (INVALIDATE_CACHE, 3, 1, 0),
    ):
        program = programs.add_parser(name)
        program.add_argument("path", metavar="FILE", help="made anew for each run, and removed")
        program.add_argument("-c", dest="cases", action="append", choices=CASES[name])
        program.add_argument("-b", dest="sizes", action="append", type=block_size, metavar="SIZE")
        program.add_argument("-n", dest="children", type=positive, default=children)
        program.add_argument("-i", dest="iterations", type=positive, default=iterations)
        program.add_argument("-o", dest="offset", type=int, default=offset)
        program.add_argument("--runs", type=positive, default=1, help="of each case and size")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def block_size(text: str) -> int:
    value = positive(text)
    if value % SECTOR_SIZE:
        raise ValueError
    return value


def main(argv: list[str]) -> int:
    args = parse_args(argv)
    gc.freeze()  # children share the pages of what was imported
    for size in args.sizes or [4096]:
        for case in args.cases or CASES[args.program]:
            shape = Shape(args.path, case, size, args.children, args.iterations, args.offset)
            for _ in range(args.runs):
                for event in run_once(args.program, shape):
                    print(format_event(event), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
