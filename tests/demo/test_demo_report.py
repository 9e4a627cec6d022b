"""The demo's verdict and documents: when it passes, and that it says why it does not."""

import io
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fusefs.demo.ladder import Ladder
from fusefs.demo.report import OrderReport, Report
from fusefs.demo.results import (
    CASES,
    DIOTEST3,
    INVALIDATE_CACHE,
    Run,
    StaleRead,
    describe_case,
    format_event,
    parse_event,
)
from fusefs.demo.run import BLOCK_SIZES, Batch, draw, plan, read_lines, run_batch, show
from fusefs.engine.events import GRANTED, Event
from fusefs.model.options import Invalidate

RUN = Run(INVALIDATE_CACHE, "wt", 512, 3, 1, reads=3, zeros=0, mismatches=0, errors={})
STALE = StaleRead(pid=101, ino=7, pos=0, length=512, time_ns=400_000)


def report(before: Run, after: Run) -> Report:
    made = Report()
    made.orders[Invalidate.BEFORE].add(before)
    made.orders[Invalidate.AFTER].add(after)
    return made


def test_passes_if_before_shows_zeros_and_after_nothing():
    assert report(replace(RUN, zeros=1), RUN).passed


@pytest.mark.parametrize(
    ("before", "after", "objection"),
    [
        ({}, {}, "before: no read returned zeros"),
        ({"zeros": 1}, {"zeros": 1}, "after: 1 reads returned zeros"),
        ({"zeros": 1}, {"mismatches": 2}, "after: 2 reads returned something else"),
        ({"zeros": 1}, {"errors": {"EIO": 3}}, "after: dio-invalidate-cache -wt: EIO, 3 times"),
        ({"zeros": 1, "errors": {"EINVAL": 1}}, {}, "before: dio-invalidate-cache -wt: EINVAL"),
    ],
    ids=["no-bug", "after-zeros", "after-mismatch", "after-error", "before-error"],
)
def test_fails_and_says_why(before, after, objection):
    made = report(replace(RUN, **before), replace(RUN, **after))
    assert not made.passed
    assert objection in "\n".join(made.verdict())


@pytest.mark.parametrize(
    ("width", "sums"), [(200, 6), (80, 6), (70, 4), (50, 2)], ids=lambda value: str(value)
)
def test_table_of_a_narrow_terminal_names_every_case(width, sums):
    """Sums give way to names, the zeros last."""
    console = Console(width=width, file=io.StringIO())
    made = report(replace(RUN, zeros=1234), RUN)
    console.print(made.fitting_table(console))
    lines = console.file.getvalue().splitlines()
    for case in {case for cases in CASES.values() for case in cases}:
        assert any(line.split()[:1] == [f"-{case}"] for line in lines), case
    [total] = [line for line in lines if line.startswith("total")]
    assert len(total.split()) == 1 + sums
    assert "1,234" in total
    assert max(map(len, lines)) <= width


def test_program_that_took_too_long_fails_the_demo():
    made = report(replace(RUN, zeros=1), RUN)
    made.orders[Invalidate.AFTER].failures.append("diotest3 -w: not done after 45 s, stopped")
    assert made.objections() == ["invalidate=after: diotest3 -w: not done after 45 s, stopped"]


def test_document_is_json_and_has_both_orders():
    made = report(replace(RUN, zeros=1), RUN)
    found = made.orders[Invalidate.BEFORE]
    steps = (
        Event(0, 101, "write", 7, "dio.write.invalidate_post", 0, 512, 1, GRANTED, "-"),
        Event(1000, 102, "read", 7, "buffered.read.map", 0, 4096, 2, GRANTED, "-"),
        Event(2000, 101, "write", 7, "dio.write.convert", 0, 512, 1, GRANTED, "-"),
    )
    found.stale_first, found.ladder = STALE, Ladder(STALE, 4096, steps)
    document = json.loads(json.dumps(made.document()))
    assert document["passed"]
    assert (document["before"]["zeros"], document["after"]["zeros"]) == (1, 0)
    assert document["before"]["ladder"]["between"] == [steps[0].step, steps[2].step]
    assert len(document["before"]["cases"]) == sum(map(len, CASES.values()))


def ladder_of_one() -> Ladder:
    """As small as it can be: A's drop, B's look-up, A's conversion."""
    step = Event(0, 101, "write", 7, "dio.write.invalidate_post", 0, 512, 1, GRANTED, "-")
    steps = (
        step,
        Event(1000, 102, "read", 7, "buffered.read.map", 0, 4096, 2, GRANTED, "-"),
        step._replace(time_ns=2000, step="dio.write.convert"),
    )
    return Ladder(STALE, 4096, steps, steps, frozenset({1, 2}))


def test_first_ladder_is_drawn_and_its_path_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = report(replace(RUN, zeros=1), RUN)
    made.orders[Invalidate.BEFORE].ladder = ladder_of_one()
    made.picture = draw(made, None)
    [path] = tmp_path.iterdir()
    assert made.picture == str(path)
    assert "A reads zeros where it has just written" in path.read_text()
    text = io.StringIO()
    show(made, Console(file=text, width=80))
    assert str(path) in text.getvalue()
    assert draw(made, str(tmp_path / "named.html")) == str(tmp_path / "named.html")
    assert (tmp_path / "named.html").read_text() == path.read_text()


def test_nothing_is_drawn_without_a_ladder(tmp_path):
    assert draw(report(RUN, RUN), str(tmp_path / "none.html")) is None
    assert list(tmp_path.iterdir()) == []


def test_shown_report_has_every_case_and_fits_80_columns():
    made = report(replace(RUN, zeros=1), RUN)
    made.orders[Invalidate.BEFORE].ladder_missing = "the trace no longer holds the write"
    text = io.StringIO()
    show(made, Console(file=text, width=80))
    shown = text.getvalue()
    for case in CASES[INVALIDATE_CACHE]:
        assert f"-{case:<4} {describe_case(case)[1]}  " in shown
    assert "the trace no longer holds the write" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("event", [RUN, STALE], ids=["run", "stale"])
def test_events_survive_their_line(event):
    assert parse_event(format_event(event)) == event


@pytest.mark.parametrize("line", ["", "7", "{}", '{"run": {}}', '{"walk": {}}', "Traceback"])
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match="not a result"):
        parse_event(line)


def test_plan_runs_each_case_in_each_size_before_anything_is_repeated():
    batches = plan()
    first = [batch for batch in batches if not batch.repeat]
    assert batches[: len(first)] == first
    done = {(b.program, case, size) for b in first for case in b.cases for size in b.block_sizes}
    assert done == {
        *(
            (INVALIDATE_CACHE, case, size)
            for case in CASES[INVALIDATE_CACHE]
            for size in BLOCK_SIZES
        ),
        *((DIOTEST3, case, 4096) for case in CASES[DIOTEST3]),
    }


def test_silent_program_is_given_up():
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"one\ntw")
    lines = read_lines(read_fd, timeout_s=0.01)
    assert next(lines) == b"one"
    with pytest.raises(TimeoutError):
        next(lines)
    os.close(read_fd)
    os.close(write_fd)


def test_folder_of_the_same_name_beside_the_user_is_not_taken_for_fusefs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As in the parent of a clone: -m would look there first."""
    (tmp_path / "fusefs").mkdir()
    monkeypatch.chdir(tmp_path)
    batch = Batch(INVALIDATE_CACHE, ("wt",), (4096,), 2, 1, runs=1, repeat=False)
    found = OrderReport()
    assert len(list(run_batch(batch, tmp_path / "file", found))) == 1
    assert found.failures == []
