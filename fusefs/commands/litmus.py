"""litmus: whether an outcome is possible, in every era of the kernel."""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.commands import pictures
from fusefs.commands.errors import CommandError, UsageError
from fusefs.ending import ended_in_order

if TYPE_CHECKING:
    from fusefs.litmus.test import Litmus

RUNS, RUNS_OF_REPLAY = 1000, 1

HELP = "ask a litmus file whether an outcome is possible, in every era of the kernel"
EPILOG = """\
Exit status: 0 all is as the files expect, 1 something else was observed, 2 usage.
docs/litmus.md has the format of files, and what a Never means."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="- for standard input")
    add_search_arguments(parser, "today, and those that the file names")
    parser.add_argument(
        "--shrink", action="store_true", help="print the least of a file that fails"
    )
    parser.add_argument("--on", metavar="DIR", help="run it there, with real processes")
    parser.add_argument(
        "--runs", type=int, metavar="N", help=f"with --on ({RUNS}; of a replay {RUNS_OF_REPLAY})"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="with --on, of its pauses (new)")


def add_search_arguments(parser: argparse.ArgumentParser, usual: str) -> None:
    """What a search takes; usual are the eras that are asked where none is named."""
    parser.add_argument(
        "--era",
        action="append",
        default=[],
        metavar="NAME|all",
        help=f"an era, an order, or orders with + between; more than one with commas ({usual})",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--replay",
        metavar="TOKEN",
        help="run a witness again; with --on, on a mount of fusefs, each process held by gates",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes (as many as there are CPUs)"
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="a scheduler of dask.distributed")
    parser.add_argument(
        "--runs-max", type=int, default=5_000_000, metavar="N", help="classes a question (5000000)"
    )

    pictures.add_arguments(parser, "the simplest witness, or of the token's schedule")


def run(arguments: argparse.Namespace) -> int:
    if arguments.on is not None:
        with ended_in_order():
            return _run(arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to clean up, and coroutines anywhere
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from fusefs.commands import litmus_text

    if arguments.runs is not None and arguments.runs < 1:
        raise UsageError("--runs is a number from 1 on")
    files: list[tuple[str, str, Litmus]] = []
    for name in arguments.files:
        source = _source(name)
        files.append((name, source, litmus_text.read(source, name)))
    if arguments.replay is not None and len(files) != 1:
        raise UsageError("--replay takes one file")
    if pictures.asked(arguments) and (
        len(files) != 1 or arguments.shrink or arguments.on is not None
    ):
        raise UsageError("a picture is of one file's witness, or of one token's schedule")
    if arguments.replay is not None and arguments.on is not None:
        from fusefs.commands.litmus_replay import replayed_on

        where = arguments.replay, arguments.on, arguments.runs or RUNS_OF_REPLAY
        return replayed_on(files[0][2], *where, as_json=arguments.json)
    if arguments.shrink:
        if len(files) != 1 or len(arguments.era) != 1:
            raise UsageError("--shrink takes one file and one --era")
        return litmus_text.shrunk(files[0][2], arguments.era[0])
    if arguments.on is not None:
        return _tried([litmus for *_, litmus in files], arguments)
    return asked_of(files, arguments)


def asked_of(files: Sequence[tuple[str, str, "Litmus"]], arguments: argparse.Namespace) -> int:
    """Ask files, each with its name and its text, or replay a token of the only one."""
    from fusefs.commands import litmus_pictures, litmus_text

    jobs = (os.cpu_count() or 1) if arguments.jobs is None else arguments.jobs
    if jobs < 1 or arguments.runs_max < 1:
        raise UsageError("--jobs and --runs-max are numbers from 1 on")
    is_drawn = pictures.asked(arguments)
    if arguments.replay is not None:
        return litmus_text.replayed(
            *(files[0][2], arguments.replay),
            as_json=arguments.json,
            draw=litmus_pictures.of_token(arguments) if is_drawn else None,
        )
    asked = [
        (litmus, litmus_text.cells(litmus, name, source, arguments.era))
        for name, source, litmus in files
    ]
    with _executor(arguments.dask, jobs) as (executor, several):
        return litmus_text.print_answers(
            *(asked, arguments.runs_max, executor),
            jobs=several,
            as_json=arguments.json,
            is_watched=sys.stderr.isatty(),
            draw=litmus_pictures.of_witness(arguments) if is_drawn else None,
        )


def _tried(files: Sequence["Litmus"], arguments: argparse.Namespace) -> int:
    """Run files on a directory; 1 if something was seen that a file does not expect there."""
    from fusefs.commands.litmus_text import known_orders
    from fusefs.model.orders import TODAY
    from fusefs.trial.on_directory import TrialError, on_directory

    if len(arguments.era) > 1:
        raise UsageError("--on takes one --era: that of the directory's kernel")
    era = arguments.era[0] if arguments.era else TODAY
    known_orders(era)
    runs = arguments.runs or RUNS
    found = []
    for litmus in files:
        try:
            found.append(on_directory(litmus, Path(arguments.on), runs, arguments.seed, era=era))
        except TrialError as error:
            raise CommandError(f"{litmus.name}: {error}") from None
        if not arguments.json:
            print(found[-1].text(), flush=True)
    if arguments.json:
        print(json.dumps([each.report() for each in found]))
    return max(each.exit_status for each in found)


def _source(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise CommandError(f"{name}: not text", 2) from None


@contextlib.contextmanager
def _executor(address: str | None, jobs: int) -> Iterator[tuple[Executor | None, int]]:
    """Whoever runs what is asked, and how much of it at once; None for this process."""
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
            yield client.get_executor(), sum(client.nthreads().values()) or 1
    elif jobs > 1:
        with ProcessPoolExecutor(jobs) as executor:
            yield executor, jobs
    else:
        yield None, 1
