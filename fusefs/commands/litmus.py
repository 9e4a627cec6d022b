"""litmus: whether an outcome is possible, in every era of the kernel."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

from fusefs.commands.errors import CommandError, UsageError

NAME = "litmus"
HELP = "ask a litmus file whether an outcome is possible, in every era of the kernel"
EPILOG = """\
Exit status: 0 all is as the files expect, 1 something else was observed, 2 usage.
docs/litmus.md has the format of files, and what a Never means."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="- for standard input")
    parser.add_argument(
        "--era",
        action="append",
        default=[],
        metavar="NAME|all",
        help="an era, an order, or orders with + between; more than one with commas"
        " (today, and those that the file names)",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--replay", metavar="TOKEN", help="run a witness again")
    parser.add_argument(
        "--shrink", action="store_true", help="print the least of a file that fails"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes (as many as there are CPUs)"
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="a scheduler of dask.distributed")
    parser.add_argument(
        "--runs-max", type=int, default=5_000_000, metavar="N", help="classes a question (5000000)"
    )


def run(arguments: argparse.Namespace) -> int:
    from fusefs.commands import litmus_text

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to clean up, and coroutines anywhere
    jobs = (os.cpu_count() or 1) if arguments.jobs is None else arguments.jobs
    if jobs < 1 or arguments.runs_max < 1:
        raise UsageError("--jobs and --runs-max are numbers from 1 on")
    files = []
    for name in arguments.files:
        source = _source(name)
        files.append((name, source, litmus_text.read(source, name)))
    if arguments.replay is not None:
        if len(files) != 1:
            raise UsageError("--replay takes one file")
        return litmus_text.replayed(files[0][2], arguments.replay, as_json=arguments.json)
    if arguments.shrink:
        if len(files) != 1 or len(arguments.era) != 1:
            raise UsageError("--shrink takes one file and one --era")
        return litmus_text.shrunk(files[0][2], arguments.era[0])
    asked = [
        (litmus, litmus_text.cells(litmus, name, source, arguments.era))
        for name, source, litmus in files
    ]
    cell_count = sum(len(cells) for _, cells in asked)
    with _executor(arguments.dask, min(jobs, cell_count)) as executor:
        return litmus_text.print_answers(
            *(asked, arguments.runs_max, executor),
            as_json=arguments.json,
            is_watched=sys.stderr.isatty() and arguments.dask is None,
        )


def _source(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise CommandError(f"{name}: not text", 2) from None


@contextlib.contextmanager
def _executor(address: str | None, jobs: int) -> Iterator[Executor | None]:
    """Whoever runs what is asked; None for this process."""
    if address is not None:
        try:
            from distributed import Client
        except ImportError:
            raise CommandError("--dask needs the package distributed", 2) from None
        try:
            client = Client(address, timeout="5s")
        except OSError as error:
            raise CommandError(f"no scheduler of dask at {address}: {error}") from None
        with client:
            yield client.get_executor()
    elif jobs > 1:
        with ProcessPoolExecutor(jobs) as executor:
            yield executor
    else:
        yield None
