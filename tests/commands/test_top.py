"""What top makes of two readings of a mount's status."""

import io
import json
from copy import deepcopy
from typing import Any

import pytest
from rich.console import Console

from fusefs.commands.errors import CommandError
from fusefs.commands.main import main
from fusefs.commands.top_rates import Rates, head, short, size
from fusefs.commands.top_view import OPERATIONS_MAX, view

BEFORE: dict[str, Any] = {
    "pid": 1,
    "requests": {
        "begun": 10,
        "under_way": 0,
        "ready": 0,
        "delayed": 0,
        "committing": 0,
        "taken": {"read": 100, "write": 7},
    },
    "counters": {
        "direct_reads": 0,
        "direct_writes": 5,
        "buffered_reads": 90,
        "buffered_writes": 2,
        "pages_missed": 3,
        "conversions": 4,
        "pages_stale_possible": 0,
        "pages_written_back": 0,
        "commits": 0,
    },
    "cache": {"pages": 8, "pages_dirty": 0, "page_size": 4096},
    "space": {"block_size": 512, "blocks": 2048, "free": 1024},
}


def later() -> dict[str, Any]:
    """Two seconds later."""
    now = deepcopy(BEFORE)
    now["requests"]["taken"] |= {"read": 300, "write": 27, "open": 2}
    now["requests"] |= {"under_way": 3, "delayed": 2}
    now["counters"] |= {"buffered_reads": 290, "pages_missed": 13, "conversions": 24}
    now["counters"]["pages_stale_possible"] = 6
    now["cache"] |= {"pages": 16, "pages_dirty": 1}
    return now


@pytest.fixture
def rates() -> Rates:
    return Rates(BEFORE, later(), 2.0)


def test_rates_are_per_second(rates):
    assert rates.operations == {"read": 100.0, "write": 10.0, "open": 1.0}
    assert (rates.all, rates.hits) == (111.0, 95.0)
    assert rates.counters["conversions"] == 10.0
    assert (rates.stale_possible, rates.requests["under_way"]) == (6, 3)
    assert (rates.cached, rates.dirty, rates.size, rates.free) == (65536, 4096, 1 << 20, 1 << 19)


def test_line_has_a_value_under_each_heading(rates):
    columns = dict(zip(head(rates).split(), rates.line().split(), strict=True))
    assert columns == {
        "req/s": "111",
        "read/s": "100",
        "write/s": "10",
        "other/s": "1.0",
        "hits/s": "95",
        "miss/s": "5.0",
        "conv/s": "10",
        "stale?": "6",
        "running": "3",
        "delayed": "2",
        "cache": "64.0k",
        "dirty": "4.0k",
        "free": "512k",
    }
    assert len(head(rates)) == len(rates.line())


def test_document_is_json(rates):
    document = json.loads(json.dumps(rates.document()))
    assert document["per_s"]["requests"] == {"read": 100.0, "write": 10.0, "open": 1.0}
    assert document["per_s"]["hits"] == 95.0
    assert document["cache"] == {"bytes": 65536, "dirty": 4096}
    assert "check" not in document


def test_checker_and_gates_are_shown_where_there_are_some():
    """Numbers alone; a mount without them has no such columns."""
    now = later() | {"check": {"stale": 2, "mode": "report"}, "gates": {"held": 1}}
    shown = Rates(BEFORE, now, 2.0)
    assert shown.document()["check"] == {"stale": 2}
    assert head(shown).split()[-2:] == ["check.stale", "gates.held"]
    assert shown.line().split()[-2:] == ["2", "1"]
    assert len(head(shown)) == len(shown.line())
    assert "check: stale" in drawn(shown, 100)
    assert "check" not in drawn(Rates(BEFORE, later(), 2.0), 100)


def drawn(rates: Rates, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(view("/mnt", rates))
    return text.getvalue()


@pytest.mark.parametrize("width", [72, 80, 200])
def test_picture_fits_its_terminal(rates, width):
    lines = drawn(rates, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith("read ") and " 100 " in line for line in lines)
    assert any("pages perhaps stale" in line and line.rstrip().endswith("6") for line in lines)


def test_longest_bar_is_the_most_frequent_operation(rates):
    bars = {
        line.split()[0]: line.count("━") for line in drawn(rates, 80).splitlines() if "━" in line
    }
    assert bars["read"] > bars["write"] > 0


def test_many_operations_keep_the_height():
    now = later()
    now["requests"]["taken"] |= {f"op{n}": n + 1 for n in range(30)}
    lines = drawn(Rates(BEFORE, now, 1.0), 80).splitlines()
    assert any(line.startswith("others") for line in lines)
    assert len(lines) < OPERATIONS_MAX + 14


def test_status_of_another_fusefs_is_one_line():
    with pytest.raises(CommandError, match="its status lacks counts"):
        Rates({"pid": 1}, {"pid": 1}, 1.0)


@pytest.mark.parametrize(
    ("rate", "words"), [(0.0, "0"), (0.3, "0.3"), (9.96, "10"), (12345.4, "12,345")]
)
def test_rates_in_few_characters(rate, words):
    assert short(rate) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (1023, "1023"), (4096, "4.0k"), (512 << 10, "512k"), (3 << 39, "1.5t")],
)
def test_sizes_in_few_characters(number, words):
    assert size(number) == words


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--interval", "0"), "--interval takes seconds"),
        (("--interval", "nan"), "--interval takes seconds"),
        (("--count", "0"), "--count takes a number from 1 on"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_words_that_do_not_fit_are_refused(words, line, capsys):
    assert main(["top", "/mnt", *words]) == 2
    assert line in capsys.readouterr().err


def test_nothing_mounted_is_one_line(tmp_path, capsys):
    assert main(["top", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"mount_tool.py: {tmp_path}: no fusefs is mounted there\n"
