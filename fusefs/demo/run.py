"""The demo, from mounting to the last line printed.

    run              both orders, then the report; the exit status
    run_order        one order on a mount of its own
    run_batch        one client program, with a time limit
    mounted          a mount that is gone at the end, whatever happens

The clients run in sessions of their own, as do the mounts: a Ctrl-C reaches only the
demo, which then ends them in order.  Only a report of all runs counts: a run that fails
or takes too long fails the demo.

Errors: DemoError, with one line.
"""

import json as json_codec
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fusefs.demo.ladder import NotInTrace, find_ladder
from fusefs.demo.picture import said, write_picture
from fusefs.demo.report import ORDERS, OrderReport, Report
from fusefs.demo.results import CASES, DIOTEST3, INVALIDATE_CACHE, Run, StaleRead, parse_event
from fusefs.ending import ended_in_order, uninterrupted
from fusefs.model.options import Invalidate, parse_size
from fusefs.mounts import ROOT, Mount, MountFailed, OptionValue, is_mounted

BLOCK_SIZE = 512

MOUNT_OPTIONS: dict[str, OptionValue] = {"size": "64m", "block_size": BLOCK_SIZE}
"""Eight writers to a page of 4096 bytes, and aligned writes of any size: see docs/design.md."""

BATCH_TIMEOUT_S = 300.0
"""Against hanging: it takes seconds, and a minute on a machine with much else to do."""

ORDER_BUDGET_S = 22.0
"""After this no more repetitions are started under one order; each case has run by then."""

BLOCK_SIZES = (512, 1024, 2048, 4096, 8192)


class DemoError(Exception):
    """The demo cannot go on; one line."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One client program to run; repeat says that every case of it ran before."""

    program: str
    cases: tuple[str, ...]
    block_sizes: tuple[int, ...]
    children: int
    iterations: int
    runs: int
    repeat: bool

    @property
    def run_count(self) -> int:
        return len(self.cases) * len(self.block_sizes) * self.runs

    def arguments(self, path: Path) -> list[str]:
        words = [self.program, str(path), "-n", str(self.children), "-i", str(self.iterations)]
        words += [word for case in self.cases for word in ("-c", case)]
        words += [word for size in self.block_sizes for word in ("-b", str(size))]
        return [*words, "--runs", str(self.runs)]


def plan() -> list[Batch]:
    """The batches of one order: first each case in each size, then repetitions."""

    def invalidate_cache(
        children: int, iterations: int, runs: int, *, repeat: bool
    ) -> Iterator[Batch]:
        for case in CASES[INVALIDATE_CACHE]:
            yield Batch(INVALIDATE_CACHE, (case,), BLOCK_SIZES, children, iterations, runs, repeat)

    def diotest3(*, repeat: bool) -> Iterator[Batch]:
        for case in CASES[DIOTEST3]:
            yield Batch(DIOTEST3, (case,), (4096,), 100, 100, 1, repeat)

    return [
        *invalidate_cache(3, 1, 2, repeat=False),
        *invalidate_cache(8, 4, 1, repeat=False),
        *diotest3(repeat=False),
        *invalidate_cache(3, 1, 2, repeat=True),
        *diotest3(repeat=True),
    ]


# -- the whole ----------------------------------------------------------------------


def run(json: bool, html: str | None = None) -> int:
    """Run the demo and print what it found; 0 if before showed the bug and after did not.

    html is where the first ladder is drawn; without it, in a new temporary file, but for json.
    """
    errors = Console(stderr=True)
    with ended_in_order():
        report = _run_both(errors)
    if html is not None or not json:
        report.picture = draw(report, html)
    if json:
        print(json_codec.dumps(report.document(), indent=2))
    else:
        show(report, Console())
    return 0 if report.passed else 1


def draw(report: Report, html: str | None) -> str | None:
    """Write the first ladder as a page; its path, or None if there is none."""
    ladder = next((each.ladder for each in report.orders.values() if each.ladder is not None), None)
    if ladder is None:
        return None
    return write_picture(ladder, BLOCK_SIZE, html)


def _run_both(errors: Console) -> Report:
    report = Report()
    started = time.monotonic()
    batches = plan()
    columns = (TextColumn("{task.description:<18}"), BarColumn(None), TimeElapsedColumn())
    with (
        Progress(*columns, console=errors, disable=not errors.is_terminal) as progress,
        temporary_folder() as folder,
    ):
        for order in ORDERS:
            runs = sum(batch.run_count for batch in batches)
            task = progress.add_task(f"invalidate={order.value}", total=runs)
            if not errors.is_terminal:
                print(f"demo: runs programs under invalidate={order.value}", file=sys.stderr)
            run_order(folder, order, batches, report.orders[order], progress, task)
            progress.update(task, completed=runs)
    report.duration_s = time.monotonic() - started
    return report


def show(report: Report, console: Console) -> None:
    """The table, the first ladder and the verdict."""
    console.print(report.fitting_table(console))
    for order, found in report.orders.items():
        if found.ladder is not None:
            console.print(f"\nThe first of them, invalidate={order.value}\n", style="bold")
            console.print(found.ladder.text(), markup=False, highlight=False, soft_wrap=True)
        elif found.ladder_missing is not None:
            console.print(f"\ninvalidate={order.value}: {found.ladder_missing}.", markup=False)
    if report.picture is not None:
        line = f"\n{said(report.picture)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()
    for line in report.verdict():
        console.print(line, markup=False, highlight=False)


# -- one order ----------------------------------------------------------------------


def run_order(
    folder: Path,
    order: Invalidate,
    batches: list[Batch],
    report: OrderReport,
    progress: Progress,
    task: TaskID,
) -> None:
    deadline = time.monotonic() + ORDER_BUDGET_S
    with mounted(folder, order) as mount:
        page_size = parse_size(mount.status()["options"]["page_size"])
        for batch in batches:
            if batch.repeat and time.monotonic() > deadline:
                break
            with closing(run_batch(batch, mount.path / batch.program, report)) as events:
                for event in events:
                    if isinstance(event, Run):
                        report.add(event)
                        progress.advance(task)
                    elif report.ladder is None:
                        explain(event, mount, page_size, report)


def explain(stale: StaleRead, mount: Mount, page_size: int, report: OrderReport) -> None:
    """Find the ladder while the trace still holds it; keeps only its steps."""
    report.stale_first = report.stale_first or stale
    try:
        report.ladder = find_ladder(mount.trace(), stale, page_size)
        report.ladder_missing = None
    except (NotInTrace, MountFailed, ValueError) as error:
        report.ladder_missing = str(error)


def run_batch(
    batch: Batch, path: Path, report: OrderReport
) -> Generator[StaleRead | Run, None, None]:
    """Run one program; its events as they come.  What goes wrong is added to the report."""
    label = f"{batch.program} -{' -'.join(batch.cases)}"
    command = [sys.executable, "-m", "fusefs.demo.clients", *batch.arguments(path)]
    runs = 0
    with (
        tempfile.TemporaryFile("w+") as complaints,
        client(command, complaints.fileno()) as process,
    ):
        assert process.stdout is not None
        try:
            for line in read_lines(process.stdout.fileno(), BATCH_TIMEOUT_S):
                event = parse_event(line)
                runs += isinstance(event, Run)
                yield event
            status = process.wait(BATCH_TIMEOUT_S)
        except (TimeoutError, subprocess.TimeoutExpired):
            report.failures.append(f"{label}: not done after {BATCH_TIMEOUT_S:.0f} s, stopped")
            return
        except ValueError as error:
            report.failures.append(f"{label}: {error}")
            return
        if status or runs != batch.run_count:
            complaints.seek(0)
            last = (complaints.read().splitlines() or ["said nothing"])[-1]
            report.failures.append(
                f"{label}: {runs} of {batch.run_count} runs, exit status {status}: {last}"
            )


@contextmanager
def client(command: list[str], stderr_fd: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process with children; at the end of the block all of them are killed."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr_fd,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        assert process.stdout is not None
        process.stdout.close()


def read_lines(fd: int, timeout_s: float) -> Iterator[bytes]:
    """Lines of a pipe as they come; TimeoutError when all of them took longer than allowed."""
    deadline = time.monotonic() + timeout_s
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(fd, 1 << 16)
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines


# -- the mount ----------------------------------------------------------------------


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Removed at the end, unless something is still mounted in it."""
    folder = Path(tempfile.mkdtemp(prefix="fusefs-demo-"))
    try:
        yield folder
    finally:
        with uninterrupted():
            if any(is_mounted(path) for path in folder.iterdir()):
                print(f"demo: still mounted, left behind: {folder}", file=sys.stderr)
            else:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mounted(
    folder: Path, order: Invalidate, options: dict[str, OptionValue] = MOUNT_OPTIONS
) -> Iterator[Mount]:
    """A new image, mounted with an order; DemoError if it cannot be."""
    all_options = options | {"invalidate": order.value}
    mount = Mount(folder / order.value, folder / f"{order.value}.img", all_options)
    try:
        try:
            with uninterrupted():
                mount.start()
            yield mount
        finally:
            with uninterrupted():
                mount.close()
    except MountFailed as error:
        raise DemoError(str(error).splitlines()[-1]) from None
