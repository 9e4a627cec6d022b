"""Traces of Linux 6.18's XFS that were recorded once: the comparison, where nothing is traced.

recorded/ has what each kernel did of a small program, as Played.text() has it, without the events
that the comparison does not look at.
"""

import re
from pathlib import Path

import pytest

from fusefs.conform import traces
from fusefs.conform.agreement import ACCEPTED, REJECTED, UNDECIDED
from fusefs.conform.kernel_acts import history
from fusefs.conform.kernel_events import parse, parse_all
from fusefs.conform.playing import Played, played
from fusefs.conform.trace_reasons import REASONS, has_mapped_again, was_flushed, was_overtaken
from fusefs.conform.traces import EXPLAINED, judge, side_by_side
from fusefs.model.orders import ROWS

RECORDED = Path(__file__).parent / "recorded"

SHARP = {
    "write-beside-read": (
        *("append_range_early", "fallback_undrained", "holes_by_cache", "lockout", "no_pre"),
        *("punch_beside_fill", "ret_before_end", "unlocked_reads", "written_at_allocation"),
        "zero_length_post",
    ),
    "windows": ("post_before_end", "map_before_insert", "no_post"),
    "async-windows": ("aio_no_post", "no_post", "post_before_end"),
    "direct-read": ("read_drops",),
    "longer": ("isize_before_convert",),
    "dirty-neighbour": ("page_granular_dirty",),
    "unaligned": ("unaligned_shared",),
    "unaligned-waited": ("unaligned_unwaited",),
    "dirtied-between": ("pre_failure_ignored",),
    "dirty-hole": ("zero_range_ignores_dirty", "truncate_writeback_first"),
}
"""The orders that each trace tells from today's."""

BLUNT = frozenset(
    (
        *("isize_after_post", "isize_unlocked", "post_in_worker", "busy_drop_silent"),
        *("stale_iomap_in_write", "flush_without_wait", "fallocate_beside_dio"),
    )
)
"""Those that no recorded trace tells: docs/evidence.md says why of each."""


MENDED = {
    "cut-to-the-same-size": "a truncate zeroes the rest of its block, wherever the file ended",
    "fault-at-the-end": "a fault maps its page up to the end of the file",
    "load-beside-a-zeroing": "a fault that finds its page takes no lock",
    "lock-between": "who lets the shared lock go to have the exclusive one may find others first",
    "read-of-a-cut-page": "a page that is cut stays uptodate",
    "zero-beside-dirty": "an unwritten block is zeroed if another block of its page is dirty",
    "zero-over-a-hole": "zeros in a dirty page over a hole are on no disk",
    "zero-under-writeback": "a page under writeback counts as dirty, and is not waited for",
}
"""What the model, or the comparison, had wrong once: each was rejected."""


def recorded(name: str) -> Played:
    return played((RECORDED / f"{name}.txt").read_text(), name)


def changed(of: Played, lines: list[str]) -> Played:
    return Played(of.litmus, of.inos, tuple(lines))


def place(of: Played, pattern: str, after: int = 0) -> int:
    """The first line from there on that a pattern is found in."""
    return next(i for i in range(after, len(of.lines)) if re.search(pattern, of.lines[i]))


@pytest.mark.parametrize("name", [*SHARP, *MENDED])
def test_todays_model_allows_what_the_kernel_did(name):
    assert judge(recorded(name)).verdict == ACCEPTED


@pytest.mark.parametrize(
    ("name", "order"), [(name, order) for name, orders in SHARP.items() for order in orders]
)
def test_wrong_order_is_rejected(name, order):
    """A comparison that accepts every order would be worthless."""
    assert judge(recorded(name), [order]).found.verdict == REJECTED


@pytest.mark.parametrize("reason", REASONS)
def test_known_difference_is_explained_and_not_accepted(reason):
    judged = judge(recorded(reason.replace(" ", "-")))
    assert judged.found.verdict == REJECTED
    assert (judged.verdict, judged.reason) == (EXPLAINED, reason)


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("large-folio", "iomap_add_to_ioend"),
        ("folio-ahead", "mm_filemap_add_to_page_cache"),
        ("copied-page", "mm_filemap_add_to_page_cache"),
        ("filled-again", "xfs_unwritten_convert"),
    ],
)
def test_known_difference_explains_nothing_before_it(name, event):
    kernel = recorded(name)
    lines = list(kernel.lines)
    del lines[place(kernel, event)]
    assert judge(changed(kernel, lines)).verdict == REJECTED


@pytest.mark.parametrize("order", [0, 2])
def test_page_that_is_dropped_outside_of_a_folio_is_not_explained(order):
    """As if the one page that is dropped were no part of a large folio, or of a larger one."""
    kernel = recorded("large-folio")
    at = place(kernel, "mm_filemap_delete")
    lines = list(kernel.lines)
    if order:
        lines[at] = lines[at].replace("order=1", f"order={order}")
    else:
        lines = [line.replace("order=1", "order=0") for line in lines]
        lines.insert(at, lines[at].replace("ofs=0", "ofs=4096"))
        added = place(kernel, "mm_filemap_add")
        lines.insert(added, lines[added].replace("ofs=0", "ofs=4096"))
    assert judge(changed(kernel, lines)).verdict == REJECTED


def test_writeback_of_a_task_is_not_from_outside():
    kernel = recorded("flushed")
    assert was_flushed(kernel.inos, parse_all(kernel.lines))
    flush = kernel.lines[place(kernel, "kworker.*iomap_add_to_ioend")]
    own = re.sub(r"^\S+", kernel.lines[0].split()[0], flush)
    lines = [own if line == flush else line for line in kernel.lines]
    assert not was_flushed(kernel.inos, parse_all(lines))
    assert not was_flushed((), parse_all(kernel.lines))


def test_write_that_maps_once_has_not_mapped_again():
    kernel = recorded("mapped-again")
    assert has_mapped_again(kernel.inos, parse_all(kernel.lines))
    at = place(kernel, "iomap_iter:.* pos 0x2000 length 0x1000 .* WRITE ")
    lines = [*kernel.lines[:at], *kernel.lines[at + 1 :]]
    assert not has_mapped_again(kernel.inos, parse_all(lines))


def test_who_asked_first_and_had_it_first_was_not_overtaken():
    kernel = recorded("overtaken")
    events = parse_all(kernel.lines)
    assert was_overtaken(kernel.inos, events)
    assert not was_overtaken((), events)
    assert not any(
        was_overtaken(recorded(name).inos, parse_all(recorded(name).lines))
        for name in ("windows", "write-beside-read", "filled-again")
    )


def test_each_order_is_told_or_said_not_to_be():
    told = {order for orders in SHARP.values() for order in orders}
    assert told | BLUNT == set(ROWS)
    assert not told & BLUNT


def test_conversion_after_the_drop_is_rejected():
    """The very race: kernel c771c14baa33's two steps, swapped in the kernel's own trace."""
    kernel = recorded("windows")
    writer = "^" + re.escape(kernel.lines[place(kernel, "begin 0 0")].split()[0]) + " "
    convert = next(
        at
        for at in range(len(kernel.lines))
        if re.search(f"{writer}.*xfs_unwritten_convert", kernel.lines[at])
        and re.search(
            f"{writer}.*mm_filemap_delete",
            next(
                line
                for line in kernel.lines[at + 1 :]
                if re.match(writer, line) and "dio_complete" not in line
            ),
        )
    )
    drop = place(kernel, f"{writer}.*mm_filemap_delete", convert)
    lines = list(kernel.lines)
    lines[convert], lines[drop] = swapped(lines[convert], lines[drop])
    assert judge(changed(kernel, lines)).found.verdict == REJECTED
    assert judge(changed(kernel, lines), ["post_before_end"]).found.verdict == ACCEPTED


def swapped(one: str, other: str) -> tuple[str, str]:
    """Two lines, each at the other's moment."""
    times = [re.search(r" ([\d.]+): ", line)[1] for line in (one, other)]
    return other.replace(times[1], times[0]), one.replace(times[0], times[1])


@pytest.mark.parametrize(
    "event", ["mm_filemap_add_to_page_cache", "mm_filemap_delete", "xfs_unwritten_convert"]
)
def test_trace_without_an_event_is_rejected(event):
    kernel = recorded("windows")
    lines = list(kernel.lines)
    del lines[place(kernel, event)]
    assert judge(changed(kernel, lines)).found.verdict == REJECTED


def test_other_offset_is_rejected():
    kernel = recorded("windows")
    lines = [line.replace("pos 0x400 bytecount", "pos 0x800 bytecount") for line in kernel.lines]
    assert lines != list(kernel.lines)
    assert judge(changed(kernel, lines)).found.verdict == REJECTED


def test_search_that_is_given_up_accepts_nothing():
    assert judge(recorded("windows"), turns_max=5).verdict == UNDECIDED


def test_rejection_is_told_in_two_columns():
    judged = judge(recorded("direct-read"), ["read_drops"])
    lines = side_by_side(judged)
    assert any(line.startswith("A: kernel") and line.endswith("model") for line in lines)
    assert any(line.startswith("! ") for line in lines)
    assert not any(line.startswith("! ") for line in side_by_side(judge(recorded("direct-read"))))


def test_store_faults_once_until_the_page_is_written_back():
    kernel = recorded("stores-again")
    assert judge(kernel).verdict == ACCEPTED
    faults = [line for line in kernel.lines if "pos 0x0" in line and "WRITE|FAULT" in line]
    assert len(faults) == 2, "three stores, one after an fsync"


@pytest.mark.parametrize("lasts", [True, False])
def test_rejection_that_does_not_come_again_was_from_outside(monkeypatch, lasts):
    """A page was taken from the cache, say; what is wrong, is wrong again."""
    kernel = recorded("direct-read")
    wrong = changed(kernel, [line for line in kernel.lines if "begin" in line or "end" in line])
    runs = iter([wrong, wrong if lasts else kernel])
    monkeypatch.setattr(traces, "play_alone", lambda *_: next(runs))
    judged = traces._judged_alone(kernel.litmus, None, None, 1, traces.ALL_KINDS)
    assert judged.verdict == (REJECTED if lasts else EXPLAINED)
    assert judged.reason == ("" if lasts else traces.DISTURBED)


@pytest.mark.parametrize("name", SHARP)
def test_run_comes_back_from_its_text(name):
    kernel = recorded(name)
    assert played(kernel.text(), name) == kernel


def test_end_of_an_asynchronous_write_is_its_own():
    kernel = recorded("async-windows")
    done = history(kernel.litmus, kernel.inos, parse_all(kernel.lines))
    assert {place for task, place in done.ends if task == 0} == {0, 2, 4}


def test_events_are_read():
    line = (
        "          python-71 [001] ..... 39553.524512: xfs_iomap_found: dev 7:0 ino 0x44 disize"
        " 0x2000 pos 0x400 bytecount 0x600 fork data startoff 0x1 startblock 0xa fsbcount 0x2"
    )
    event = parse(line)
    assert (event.pid, event.ino, event["pos"], event["bytecount"]) == (71, 0x44, 0x400, 0x600)
    assert event.time_us == 39553_524512
    page = parse(
        "9 [000] d..2. 1.000002: mm_filemap_add_to_page_cache: dev 7:0 ino 44 ofs=0 order=2"
    )
    assert (page.ino, page["ofs"], page["order"]) == (0x44, 0, 2)


@pytest.mark.parametrize("line", ["", "nonsense", "1 [000] ..... 1.000000: iomap_iter: ino 0x1"])
def test_line_that_is_no_event_is_refused(line):
    with pytest.raises(ValueError, match="no "):
        parse(line)
