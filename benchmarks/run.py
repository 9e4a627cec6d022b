"""python -m benchmarks.run: measure fusefs beside what it could be; see the package's docstring.

    main()        programs, mounts, rounds, report
    _set_up()     files that the work needs, made once per mount
    _measure()    one contender at one piece of work: before, the measurement, settling

Exit status: 0 all was measured, whichever bars are met; 1 something failed; 2 usage.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from benchmarks import contenders as who
from benchmarks.contenders import Contender, Mount
from benchmarks.processes import BenchmarkError, run
from benchmarks.report import print_report
from benchmarks.results import Results
from benchmarks.works import FULL, SMOKE, Place, Unit, Words, Work, works
from fusefs.mounts import is_mounted

ROUNDS = 5
MEASURE_TIMEOUT_S = 300.0
TRIES = 10
"""Of a measurement in which nothing was done, as on a busy machine in the time of a smoke run."""

SETUP_TIMEOUT_S = 600.0
IDLE_LOAD = 0.5
MIB = 1 << 20

Mounts = dict[tuple[str, Place], Mount]

console = Console(stderr=True, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    chosen = [
        work
        for work in works(SMOKE if arguments.smoke else FULL)
        if arguments.only.search(work.name) or arguments.only.search(work.title)
    ]
    if not chosen:
        known = ", ".join(work.name for work in works(FULL))
        parser.error(f"--only matches no work; there are: {known}")
    names = [peer.name for peer in arguments.peer]
    if len(set(names)) < len(names):
        parser.error("two peers have the same name")
    rounds = arguments.rounds or (1 if arguments.smoke else ROUNDS)
    signal.signal(signal.SIGTERM, _end)
    try:
        document = _benchmark(chosen, arguments.peer, rounds, smoke=arguments.smoke)
        if arguments.json:
            arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    except (BenchmarkError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if document["failures"] else 0


def _end(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.run",
        description="Measure fusefs beside plain engines, on the same work, in one run.",
        epilog=f"Images and mounts are in {tempfile.gettempdir()}; TMPDIR chooses another place.",
    )
    parser.add_argument("--smoke", action="store_true", help="toy sizes: does everything run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--rounds", type=_positive, help=f"of all work ({ROUNDS})")
    parser.add_argument(
        "--only",
        type=re.compile,
        default=re.compile(""),
        metavar="PATTERN",
        help="work whose name or title matches this regular expression",
    )
    parser.add_argument(
        "--peer",
        type=_peer,
        action="append",
        default=[],
        metavar="NAME='COMMAND'",
        help="another contender; COMMAND mounts on {mnt}, and {dir} is an empty directory",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("say how many, 1 or more")
    return int(text)


def _peer(text: str) -> Contender:
    try:
        return who.peer(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# -- the run ---------------------------------------------------------------------------


def _benchmark(
    chosen: list[Work], peers: list[Contender], rounds: int, *, smoke: bool
) -> dict[str, Any]:
    """Measure, print the report, return the JSON document."""
    who.check_programs()
    start_s, load = time.monotonic(), os.getloadavg()[0]
    with temporary_folder() as folder, console.status("compiling") as status:
        clients, c_null = folder / "clients", folder / "c_null"
        who.compile_c(Path(__file__).with_name("clients.c"), clients, with_fuse=False)
        who.compile_c(who.PEERS / "c_null.c", c_null, with_fuse=True)
        contenders = [*who.built_in(c_null, who.compile_passthrough_ll(folder)), *peers]
        results = Results(chosen, [each.name for each in contenders], smoke=smoke)
        bench = _Bench(contenders, results, clients)
        with bench.mounted(folder):
            status.update("making files")
            bench.set_up()
            if not smoke:  # what was made must not be written while something is measured
                run(["sync", "-f", str(folder)], SETUP_TIMEOUT_S)
            for number in range(rounds):
                for work in chosen:
                    status.update(f"round {number + 1} of {rounds}: {work.title}")
                    bench.measure_all(work, number)
    environment = _environment(load, time.monotonic() - start_s, rounds)
    print_report(results, _heading(environment))
    return {**environment, **results.document()}


class _Bench:
    """Contenders, their mounts, and what was measured."""

    def __init__(self, contenders: list[Contender], results: Results, clients: Path) -> None:
        self.contenders = contenders
        self.results = results
        self.clients = clients
        self.mounts: Mounts = {}

    @contextmanager
    def mounted(self, folder: Path) -> Iterator[None]:
        """Everyone is mounted, everywhere the work wants; at the end nobody is."""
        with ExitStack() as stack:
            for contender in self.contenders:
                places = (contender.place(work.place) for work in self.results.works)
                for place in dict.fromkeys(place for place in places if place):
                    mount = Mount(contender, place, folder)
                    self.mounts[contender.name, place] = mount
                    stack.callback(self._close, mount)
                    mount.start()
            for mount in self.mounts.values():
                mount.wait_live()
            yield

    def _close(self, mount: Mount) -> None:
        try:
            mount.close()
        except BenchmarkError as error:
            self.results.troubles.append(str(error))

    def _turns(self, first: int) -> list[Contender]:
        """Who comes first changes with each round (B1)."""
        shift = first % len(self.contenders)
        return self.contenders[shift:] + self.contenders[:shift]

    def set_up(self) -> None:
        """Make the files that the work needs, each once per mount; all that need one that
        cannot be made fail.
        """
        made: dict[tuple[Mount, Words], BenchmarkError | None] = {}
        for work in self.results.works:
            for contender in self.contenders:
                if mount := self._mount(work, contender):
                    for words in work.setup:
                        if (mount, words) not in made:
                            made[mount, words] = self._set_up(mount, words)
                        if error := made[mount, words]:
                            self._fail(work, contender, error)

    def _set_up(self, mount: Mount, words: Words) -> BenchmarkError | None:
        try:
            self._client(mount, words, SETUP_TIMEOUT_S)
        except BenchmarkError as error:
            return error
        return None

    def _fail(self, work: Work, contender: Contender, error: BenchmarkError) -> None:
        cell = self.results.cell(work, contender.name)
        if contender.may_refuse:
            cell.absent = str(error)
        else:
            cell.failure = str(error)

    def _mount(self, work: Work, contender: Contender) -> Mount | None:
        place = contender.place(work.place)
        if place is None:
            self.results.cell(work, contender.name).absent = "it holds nothing that could grow"
            return None
        return self.mounts[contender.name, place]

    def measure_all(self, work: Work, number: int) -> None:
        """One piece of work, the contenders in turn; side by side if nothing is measured."""
        turns = self._turns(number)
        if not self.results.smoke:
            for contender in turns:
                self._measure(work, contender)
            return
        with ThreadPoolExecutor(len(turns)) as pool:
            list(pool.map(lambda contender: self._measure(work, contender), turns))

    def _measure(self, work: Work, contender: Contender) -> None:
        cell = self.results.cell(work, contender.name)
        mount = self._mount(work, contender)
        if mount is None or cell.failure or cell.absent:
            return
        try:
            for _ in range(TRIES):
                if figure := self._figure(work, mount):
                    break
            else:
                raise BenchmarkError(f"{work.program}: nothing was done")
            cell.values.append(figure)
            self._client(mount, ("settle", work.settle), MEASURE_TIMEOUT_S)  # (B2)
        except BenchmarkError as error:
            self._fail(work, contender, error)

    def _figure(self, work: Work, mount: Mount) -> float:
        """One measurement; 0 if it was over before anything was done."""
        for words in work.before:
            self._client(mount, words, MEASURE_TIMEOUT_S)
        if work.program == "fio":
            words = ("fio", f"--directory={mount.path}", *work.words)
            return _fio_figure(run(words, MEASURE_TIMEOUT_S, mount.interrupt), work.unit)
        return _client_figure(self._client(mount, work.words, MEASURE_TIMEOUT_S))

    def _client(self, mount: Mount, words: Words, timeout_s: float) -> str:
        command = [str(self.clients), str(mount.path), *words]
        return run(command, timeout_s, mount.interrupt)


def _fio_figure(said: str, unit: Unit) -> float:
    job = json.loads(said[said.index("{") :])["jobs"][0]
    side = max(job["read"], job["write"], key=lambda each: int(each["total_ios"]))
    return float(side["bw_bytes"] / MIB if unit is Unit.BANDWIDTH else side["iops"])


def _client_figure(said: str) -> float:
    operations, seconds_s = said.split()
    return int(operations) / float(seconds_s)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Removed at the end, unless something is still mounted in it."""
    folder = Path(tempfile.mkdtemp(prefix="fusefs-benchmarks-"))
    try:
        yield folder
    finally:
        if any(is_mounted(path) for path in folder.glob("*/mnt")):
            print(f"benchmarks: still mounted, left behind: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


# -- where it ran ----------------------------------------------------------------------


def _environment(load: float, duration_s: float, rounds: int) -> dict[str, Any]:
    def version(*command: str) -> str:
        with suppress(BenchmarkError):
            return run(command, 60).strip()
        return "?"

    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libfuse": version("pkg-config", "--modversion", "fuse3"),
        "fio": version("fio", "--version").removeprefix("fio-"),
        "cpus": len(os.sched_getaffinity(0)),
        "load_before": load,
        "rounds": rounds,
        "duration_s": round(duration_s, 1),
    }


def _heading(environment: dict[str, Any]) -> list[str]:
    line = (
        "Linux {kernel}, {cpus} CPUs, Python {python}, libfuse {libfuse}, fio {fio}; "
        "{rounds} round{s} in {duration_s:.0f} s"
    ).format(**environment, s="" if environment["rounds"] == 1 else "s")
    load = environment["load_before"]
    if load <= IDLE_LOAD:
        return [line]
    return [line, f"Others were using the CPUs: the load was {load:.1f} before."]


if __name__ == "__main__":
    sys.exit(main())
