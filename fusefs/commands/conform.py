"""conform: does the kernel that runs here do what the model does?"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.commands.errors import CommandError, UsageError

if TYPE_CHECKING:
    from fusefs.conform.report import Asked, Section
    from fusefs.litmus.test import Litmus

HELP = "compare the model with the kernel that runs here: its own traces, results, maps and cache"
EPILOG = """\
A file system of the kernel's own is made on a loop device, and removed afterwards; root only.
Exit status: 0 nothing was rejected, 1 something was, 2 usage.
docs/evidence.md says what is compared, and what cannot be seen."""

PROGRAMS = 200
RUNS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", metavar="LITMUS", help="instead of random programs and the gallery"
    )
    parser.add_argument(
        "--fs", action="append", default=[], metavar="xfs|ext4", help="which file system (both)"
    )
    parser.add_argument(
        "--block",
        action="append",
        default=[],
        metavar="SIZE",
        help="of a block: 1k, 2k or 4k; may be given again (all of them)",
    )
    parser.add_argument(
        "--programs",
        type=int,
        metavar="N",
        help=f"random programs of one task for each block size ({PROGRAMS}; 0 with LITMUS)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=RUNS,
        metavar="N",
        help=f"of each program of several tasks ({RUNS})",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first program (0)")
    parser.add_argument(
        "--sharpness",
        action="store_true",
        help="instead: which orders of the past would be rejected, on XFS",
    )
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.conform.course import gallery, sections
    from fusefs.conform.disk import BLOCK_SIZES, KINDS, NoDisk
    from fusefs.conform.report import Asked, head, row
    from fusefs.conform.tracefs import LostEvents, NoTracing
    from fusefs.litmus.source import parse_size
    from fusefs.trial.cast import TrialError

    programs = arguments.programs
    if programs is None:
        programs = 0 if arguments.files else PROGRAMS
    if programs < 0 or arguments.runs < 1 or arguments.seed < 0:
        raise UsageError("--runs is a number from 1 on, --programs and --seed from 0 on")
    blocks = []
    for word in arguments.block:
        size = parse_size(word)
        if size is None:
            raise UsageError(f"--block {word} is no size, such as 1k")
        blocks.append(size)
    files = tuple(_read(name) for name in arguments.files) or gallery()
    told = _Told(is_watched=sys.stderr.isatty() and not arguments.json)
    asked = Asked(files, programs, arguments.runs, arguments.seed, told)
    found: list[Section] = []
    try:
        if arguments.sharpness:
            return _print_sharpness(asked)
        if not arguments.json:
            print(head(), flush=True)
        for kind in arguments.fs or KINDS:
            for section in sections(kind, blocks or BLOCK_SIZES, asked):
                found.append(section)
                told.end()
                if not arguments.json:
                    print(row(section), flush=True)
    except (NoDisk, NoTracing, LostEvents, TrialError) as error:
        raise CommandError(str(error)) from None
    finally:
        told.end()
    _print(found, as_json=arguments.json)
    return int(any(section.rejected for section in found))


def _print_sharpness(asked: "Asked") -> int:
    from fusefs.conform.sharpness import sharpness, sharpness_text

    print("\n".join(sharpness_text(sharpness(asked))))
    return 0


class _Told:
    """A line that says which program is being compared, where somebody looks."""

    def __init__(self, *, is_watched: bool) -> None:
        self._is_watched = is_watched

    def __call__(self, name: str) -> None:
        if self._is_watched:
            print(f"\r\x1b[K{name}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_watched:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _read(name: str) -> "Litmus":
    from fusefs.commands import litmus_text

    try:
        return litmus_text.read(Path(name).read_text(encoding="utf-8"), name)
    except UnicodeDecodeError:
        raise CommandError(f"{name}: not text", 2) from None


def _print(found: Sequence["Section"], *, as_json: bool) -> None:
    from fusefs.conform.report import reasons, seen, unseen

    if as_json:
        report = {
            "sections": [section.report() for section in found],
            "steps_seen": dict(seen(found)),
            "steps_unseen": unseen(found),
        }
        print(json.dumps(report))
        return
    lines = ["", f"{len(seen(found))} steps of the model were seen; never seen:"]
    lines += [f"    {name}" for name in unseen(found)]
    for reason, count in reasons(found).most_common():
        lines.append(f"{count:,} times {reason}")
    first = next((section for section in found if section.first), None)
    if first is not None:
        lines += ["", f"The first rejection, of {first.name}:", first.first]
    print("\n".join(lines))
