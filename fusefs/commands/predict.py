"""predict: what kernels of the past might have made of a recorded run."""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.commands.errors import CommandError, UsageError

if TYPE_CHECKING:
    from fusefs.commands.answers import Answered
    from fusefs.explore.answer import Answer
    from fusefs.predict.calls import Calls
    from fusefs.predict.findings import Finding, Searched
    from fusefs.predict.meetings import Bounds
    from fusefs.predict.shapes import Shape, Shapes

HELP = "say what kernels of the past might have made of a recorded run"
EPILOG = """\
Exit status: 0 nothing that another kernel may do otherwise, 1 something is predicted, 2 usage.
'record' makes recordings; docs/predict.md says what is looked at, and what a prediction means."""

CALLS_MAX = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="what 'record' has written")
    parser.add_argument(
        "--era",
        action="append",
        default=[],
        metavar="NAME|all",
        help="an era, an order, or orders with + between; more than one with commas (all)",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", metavar="DIR", help="a litmus file for each prediction, there")
    parser.add_argument(
        "--window",
        default="100ms",
        metavar="TIME",
        help="requests so far from each other may still overlap (100ms)",
    )
    parser.add_argument(
        "--calls", type=int, default=2, metavar="N", help=f"at a time: 2 to {CALLS_MAX} (2)"
    )
    parser.add_argument(
        "--pages", type=int, choices=(1, 2), default=1, help="that they touch together (1)"
    )
    parser.add_argument(
        "--alone", action="store_true", help="look at what one thread does by itself, too"
    )
    parser.add_argument(
        "--aio", action="store_true", help="take each direct write to be asynchronous"
    )
    parser.add_argument(
        "--shapes", type=int, default=100, metavar="N", help="searched at most (100)"
    )
    parser.add_argument(
        "--runs-max", type=int, default=20_000, metavar="N", help="classes a question (20000)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes (as many as there are CPUs)"
    )


def run(arguments: argparse.Namespace) -> int:
    from fusefs.commands import predict_text
    from fusefs.predict.findings import folded

    jobs = (os.cpu_count() or 1) if arguments.jobs is None else arguments.jobs
    if min(jobs, arguments.runs_max, arguments.shapes) < 1:
        raise UsageError("--jobs, --shapes and --runs-max are numbers from 1 on")
    eras, bounds = _eras(arguments.era), _bounds(arguments)
    calls, shapes = _read(arguments.recording, bounds, aio=arguments.aio)
    asked = shapes.by_size()[: arguments.shapes]
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as executor:
        asking = _Asking(arguments.runs_max, executor)
        several = folded(asking.all(asked, eras))
    findings = predict_text.named([asking.again(each, eras) for each in several])
    effort = predict_text.Effort(
        *(tuple(eras), len(asked), arguments.runs_max),
        *(asking.class_count, asking.bounded_count),
    )
    report = predict_text.Report(arguments.recording, calls, shapes, bounds, effort, findings)
    if arguments.write is not None:
        predict_text.write(Path(arguments.write), findings)
    print(report.json() if arguments.json else report.text(arguments.write), end="", flush=True)
    return int(bool(findings))


def _eras(words: Sequence[str]) -> dict[str, frozenset[str]]:
    """The orders of each that is asked for."""
    from fusefs.commands.litmus_text import ALL, known_orders
    from fusefs.model.orders import ERAS

    names = [name for word in words or [ALL] for name in word.split(",")]
    if ALL in names:
        names = [*ERAS, *(each for each in names if each != ALL and each not in ERAS)]
    return {name: known_orders(name) for name in names}


def _bounds(arguments: argparse.Namespace) -> "Bounds":
    from fusefs.model.options import parse_time
    from fusefs.predict.meetings import Bounds

    if not 2 <= arguments.calls <= CALLS_MAX:
        raise UsageError(f"--calls {arguments.calls}: 2 to {CALLS_MAX} is allowed")
    try:
        window_s = parse_time(arguments.window)
    except ValueError as error:
        raise UsageError(f"--window {arguments.window}: {error} is allowed") from None
    window_ns = int(window_s * 1e9)
    return Bounds(window_ns, arguments.calls, arguments.alone, arguments.pages)


def _read(name: str, bounds: "Bounds", *, aio: bool) -> "tuple[Calls, Shapes]":
    """A whole recording; CommandError with its one line."""
    from fusefs.engine.recording import RecordingError, records
    from fusefs.predict.calls import Calls
    from fusefs.predict.shapes import Shapes

    with open(name, "rb") as file:
        calls = Calls(records(file, name), aio=aio)
        try:
            shapes = Shapes(calls, bounds)
        except RecordingError as error:
            raise CommandError(str(error), 2) from None
    return calls, shapes


class _Asking:
    """Searches of shapes, and how many classes they took; bounded_count were not exhausted."""

    def __init__(self, runs_max: int, executor: Executor | None) -> None:
        self.class_count = self.bounded_count = 0
        self._runs_max = runs_max
        self._executor = executor

    def all(self, shapes: "Sequence[Shape]", eras: dict[str, frozenset[str]]) -> "list[Finding]":
        """What is found in shapes, the smallest of which come first.

        Of larger ones only what fewer calls of theirs have not shown already is asked.
        """
        from fusefs.predict.findings import found, shown_by

        findings: list[Finding] = []
        for _, some in groupby(shapes, key=lambda shape: shape.call_count):
            asked = [(shape, eras.keys() - shown_by(findings, shape)) for shape in some]
            searched = self._searched(
                [
                    (shape, {era: orders for era, orders in eras.items() if era in left})
                    for shape, left in asked
                    if left
                ]
            )
            findings += [finding for each in searched for finding in found(each)]
        return findings

    def _searched(
        self, asked: "Sequence[tuple[Shape, dict[str, frozenset[str]]]]"
    ) -> "list[Searched]":
        """Each shape under its eras, and under today's order."""
        from fusefs.commands.answers import Cell, answers
        from fusefs.litmus.text import text
        from fusefs.model.orders import ERAS, TODAY
        from fusefs.predict.findings import Searched

        today = {TODAY: ERAS[TODAY].orders}
        cells = [
            Cell(f"shape {number}", text(shape.litmus), era, orders)
            for number, (shape, eras) in enumerate(asked, 1)
            for era, orders in (today | eras).items()
        ]
        watched = sys.stderr.isatty()
        coming = answers(cells, self._runs_max, self._executor, is_watched=watched)
        searched = []
        for shape, eras in asked:
            found = {era: self._counted(next(coming)) for era in today | eras}
            searched.append(Searched(shape, found[TODAY], {era: found[era] for era in eras}))
        return searched

    def again(self, finding: "Finding", eras: dict[str, frozenset[str]]) -> "Finding":
        """With its simplest witness, which was not known before it was known what to ask for."""
        from fusefs.commands.answers import Cell, answered
        from fusefs.litmus.text import text
        from fusefs.predict.findings import with_witness

        if finding.switches is not None:
            return finding
        era = next(iter(finding.eras))
        cell = Cell(era, text(finding.litmus), era, eras[era])
        return with_witness(finding, self._counted(answered(cell, self._runs_max)).witness)

    def _counted(self, answered: "Answered") -> "Answer":
        self.class_count += answered.answer.class_count
        self.bounded_count += not answered.answer.exhausted
        return answered.answer
