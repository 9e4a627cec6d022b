"""What predict prints: the run, what was looked at, what was found, and what bounds it; or JSON.

Units: times are nanoseconds; positions are bytes in the file.
"""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from fusefs.litmus.test import ALWAYS, RULES
from fusefs.litmus.text import text
from fusefs.predict.calls import Call, Calls
from fusefs.predict.findings import DIFFERS, Finding
from fusefs.predict.meetings import (
    NEIGHBOURS_MAX,
    PARTNERS_MAX,
    PARTNERS_OF_MORE_MAX,
    Bounds,
)
from fusefs.predict.shapes import Shape, Shapes

WIDTH = 100

SHOWN_PATH_LENGTH = 60

MEANINGS = RULES | {DIFFERS: "somebody gets what today's kernel never gives"}


@dataclass(frozen=True, slots=True)
class Effort:
    """What was searched: bounded_count searches were not exhausted."""

    eras: tuple[str, ...]
    shape_count: int
    runs_max: int
    class_count: int
    bounded_count: int


@dataclass(frozen=True, slots=True)
class Report:
    """All of one prediction."""

    recording: str
    calls: Calls
    shapes: Shapes
    bounds: Bounds
    effort: Effort
    findings: Sequence[Finding]

    def text(self, folder: str | None) -> str:
        """folder is where the litmus files are; None if they are to be printed."""
        lines = [*self._head(), ""]
        if not self.findings:
            lines += [*_wrapped(self._nothing()), ""]
        for place, finding in enumerate(self.findings, 1):
            lines += [*self._finding(place, finding, folder), ""]
        lines += ["Bounds:", *(line for each in self.limits() for line in _wrapped(each, "  "))]
        return "\n".join([*lines, ""])

    def _nothing(self) -> str:
        if not self.shapes.meeting_count:
            return "Nothing is predicted: no two threads touched a page within the window."
        return f"Nothing is predicted: of {', '.join(self.effort.eras)}, within these bounds."

    def _head(self) -> list[str]:
        calls, shapes, effort = self.calls, self.shapes, self.effort
        machine = calls.machine
        assert machine is not None
        seconds = (calls.last_ns - calls.first_ns) / 1e9
        order = machine.era if machine.era != "none" else machine.order
        run = (
            f"{self.recording}: {number(calls.request_count, 'request')} of"
            f" {number(len(calls.threads), 'thread')} in {seconds:.1f} s, page {machine.page},"
            f" block {machine.block}, under {order}"
        )
        looked = (
            f"{number(shapes.meeting_count, 'meeting')} of"
            f" {number(len(shapes.by_size()), 'shape')}; {effort.shape_count:,} searched under"
            f" {number(len(effort.eras), 'era')}, {effort.class_count:,} classes"
        )
        return [*_wrapped(run), *_wrapped(looked)]

    def limits(self) -> list[str]:
        """Each a sentence."""
        bounds, shapes, effort, calls = self.bounds, self.shapes, self.effort, self.calls
        pages = "one page" if bounds.pages_max == 1 else "one page or two that are neighbours"
        fewer = f", for three or more the last {PARTNERS_OF_MORE_MAX}"
        partners = f"the last {PARTNERS_MAX} that touch the page"
        partners += fewer if bounds.calls_max > 2 else ""
        whom = "one thread or more" if bounds.alone else "two threads or more"
        said = [
            f"At most {bounds.calls_max} requests of {whom} at a time, on {pages} of one file,"
            f" each begun within {bounds.window_ns / 1e6:g} ms of another's end: of the last"
            f" {NEIGHBOURS_MAX} of the file {partners}.",
            f"At most {effort.runs_max:,} classes a search.",
        ]
        skipped = len(shapes.by_size()) - effort.shape_count
        if skipped:
            said.append(f"Not searched: {number(skipped, 'rarer shape')} (--shapes).")
        if effort.bounded_count:
            bounded = number(effort.bounded_count, "search", "searches")
            said.append(f"Not to their end: {bounded} (--runs-max).")
        if shapes.left_count:
            left = number(shapes.left_count, "meeting")
            said.append(f"Too finely divided, or not told of: {left}.")
        if calls.lost_count:
            said.append(f"Lost while it was recorded: {number(calls.lost_count, 'line')}.")
        if calls.unfinished_count:
            unfinished = number(calls.unfinished_count, "request")
            said.append(f"Not at their end when the recording was: {unfinished}.")
        if calls.is_gone:
            said.append("The daemon ended before the recording did.")
        return said

    # -- one finding -------------------------------------------------------------------

    def _finding(self, place: int, finding: Finding, folder: str | None) -> list[str]:
        shape = finding.shape
        path, (start, end) = self._path(shape), wrong(finding)
        lines = [f"{place}. {path}, bytes {start} to {end}: {finding.rule}"]
        lines += _wrapped(MEANINGS[finding.rule], "   ")
        lines += _wrapped(f"under {eras_text(finding)}", "   ")
        lines += [f"   {line}" for line in self.places(shape)]
        lines += _wrapped(often(finding), "   ")
        if finding.sentence:
            lines += _wrapped(f"it ends so, in the litmus file: {finding.sentence}", "   ")
        if finding.switches is not None:
            switches = number(finding.switches, "switch", "switches")
            lines.append(f"   it takes {switches} between them")
        if folder is not None:
            return [*lines, f"   {Path(folder, file_name(finding))}"]
        return [*lines, "", textwrap.indent(text(finding.litmus).rstrip(), "       ")]

    def _path(self, shape: Shape) -> str:
        """Of the first place."""
        call = shape.places[0].meeting.calls[0]
        path = self.calls.paths.get(call.ino) or f"inode {call.ino}, which had no name"
        if len(path) > SHOWN_PATH_LENGTH:
            path = f"…{path[-SHOWN_PATH_LENGTH:]}"
        return path

    def places(self, shape: Shape) -> list[str]:
        """The calls of its first place, one a line; A is who is A in the litmus file."""
        place = shape.places[0]
        names = {pid: "ABCDEFGH"[n] for n, pid in enumerate(place.scenario.tasks)}
        return [f"{names[call.pid]}: {call_text(call)}" for call in place.meeting.calls]

    # -- as JSON -----------------------------------------------------------------------

    def json(self) -> str:
        calls, shapes, effort = self.calls, self.shapes, self.effort
        report = {
            "recording": self.recording,
            "requests": calls.request_count,
            "threads": len(calls.threads),
            "lost": calls.lost_count,
            "meetings": shapes.meeting_count,
            "shapes": len(shapes.by_size()),
            "shapes_searched": effort.shape_count,
            "eras": list(effort.eras),
            "classes": effort.class_count,
            "exhausted": not effort.bounded_count,
            "bounds": self.limits(),
            "predictions": [self._finding_report(each) for each in self.findings],
        }
        return f"{json.dumps(report)}\n"

    def _finding_report(self, finding: Finding) -> dict[str, object]:
        shape = finding.shape
        start, end = wrong(finding)
        return {
            "file": self.calls.paths.get(shape.places[0].meeting.calls[0].ino, ""),
            "start": start,
            "end": end,
            "rule": finding.rule,
            "eras": dict(finding.eras),
            "sentence": finding.sentence,
            "switches": finding.switches,
            "count": finding.count,
            "overlapped": finding.overlapped_count,
            "places": [
                [_call_report(call) for call in place.meeting.calls] for place in shape.places
            ],
            "litmus": text(finding.litmus),
        }


def number(count: int, one: str, several: str = "") -> str:
    """So many of them, in words."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def named(findings: Sequence[Finding]) -> list[Finding]:
    """With the names of their litmus files, and a sentence in each."""
    return [
        replace(
            finding,
            litmus=replace(
                finding.litmus,
                name=f"predicted-{place}",
                prose=(f"{finding.rule}: {MEANINGS[finding.rule]}.",),
            ),
        )
        for place, finding in enumerate(findings, 1)
    ]


def file_name(finding: Finding) -> str:
    return f"{finding.litmus.name}.litmus"


def write(folder: Path, findings: Sequence[Finding]) -> None:
    """A litmus file for each; OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for finding in findings:
        (folder / file_name(finding)).write_text(text(finding.litmus), encoding="utf-8")


def wrong(finding: Finding) -> tuple[int, int]:
    """The bytes of the file, at the first place: what is wrong, else the page."""
    place = finding.shape.places[0]
    edges = place.scenario.blocks
    length = edges[-1]
    base = place.meeting.page * length // place.meeting.page_count
    inside = [(a, b) for a, b in pairwise(dict.fromkeys(edges))]
    found = [(a, b) for a, b in inside if any(edges[block] == a for block in finding.blocks)]
    start, end = (found[0][0], found[-1][1]) if found else (0, length)
    return base + start, base + end


def eras_text(finding: Finding) -> str:
    return ", ".join(
        f"{era} (always)" if how == ALWAYS else era for era, how in finding.eras.items()
    )


def often(finding: Finding) -> str:
    """How often it came up, and how near the calls were."""
    times = "once" if finding.count == 1 else number(finding.count, "time")
    if finding.overlapped_count:
        near = f"in {finding.overlapped_count:,} of these under way at the same time"
    else:
        gaps = [each.nearest_ns for each in finding.shapes if each.nearest_ns is not None]
        near = f"never under way at the same time, {min(gaps, default=0) / 1e6:.3f} ms apart"
    alike = f", with {len(finding.folded):,} that are much alike" if finding.folded else ""
    return f"such requests met {times}{alike}: {near}"


def call_text(call: Call) -> str:
    """Who asked for what, and when."""
    flags = "".join(f" {flag}" for flag in sorted(call.flags))
    who = f"thread {call.pid}" if call.pid else "the daemon"
    if call.word == "fsync":
        where = ""
    elif call.word == "truncate":
        where = f" {call.pos}"
    else:
        where = f" {call.pos}+{call.end - call.pos}"
    return f"{call.word}{where}{flags}, {who}, at {call.began_ns / 1e9:.6f}"


def _call_report(call: Call) -> dict[str, object]:
    return {
        "operation": call.word,
        "pos": call.pos,
        "length": call.end - call.pos,
        "flags": sorted(call.flags),
        "thread": call.pid,
        "request": call.number,
        "began_s": call.began_ns / 1e9,
        "ended_s": call.ended_ns / 1e9 if call.ended_ns < 1 << 63 else None,
    }


def _wrapped(sentence: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        sentence,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
