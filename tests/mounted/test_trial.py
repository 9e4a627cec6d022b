"""Litmus files on a mount: what real processes see there, and what is not tried."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import eventually, needs_root, run
from mounted.mounting import Mount
from trial.trying import our_processes
from trial.words import WORDS, does_what_it_says

from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus
from fusefs.trial.on_directory import TrialError, on_directory

pytestmark = pytest.mark.mounted

STALE_ZEROS = """\
litmus stale-zeros
    A direct write to an unwritten block, beside a buffered read of its neighbour in the same page.
    Linux 4.10; fixed by c771c14baa33; xfstests generic/418.

page {page}
block 512
file f {size} {state}

A:
    pwrite f 0 512 a direct
    r = pread f 0 512
B:
    pread f 512 512

exists A.r = 0
"""

SHARED_OPTIONS = {"readahead": "0"}

WRITE_LINE = 10

RUNS = 200
"""Some 40 % of the runs show the bug, on a machine with nothing else to do."""


def stale_zeros(page: str = "4k", size: str = "4k", state: str = "unwritten") -> Litmus:
    return parse(STALE_ZEROS.format(page=page, size=size, state=state), "test")


@pytest.mark.parametrize("page", ["4k", "64k"])
def test_the_mail_s_a_and_b_see_zeros_under_before_and_never_under_after(
    mount: Callable[..., Mount], page: str
):
    """(D1) Guards kernel c771c14baa33 (xfstests generic/418)."""
    m = mount(invalidate="before", block_size=512, page_size=page)
    before = on_directory(stale_zeros(page), m.path, RUNS)
    assert before.positive > 0
    assert before.observation == "Sometimes"
    assert before.exit_status == 1, "today's kernel must not"
    assert m.status()["counters"]["pages_stale_possible"] > 0

    m.set(invalidate="after")
    after = on_directory(stale_zeros(page), m.path, RUNS)
    assert (after.positive, after.negative) == (0, RUNS)
    assert after.exit_status == 0
    assert [each.name for each in m.path.iterdir()] == []


@pytest.mark.parametrize("name", WORDS)
def test_word_does_the_same_as_elsewhere(name: str, top: Path):
    does_what_it_says(name, top)


def test_what_a_mount_is_not_is_a_reason(mount: Callable[..., Mount]):
    """Its own page and block count, and not the kernel's."""
    m = mount(block_size="1k", page_size="16k", readahead="32k")
    unlike = stale_zeros("64k", "128k")
    assert on_directory(unlike, m.path, 1).skipped == (
        "page 64k: a page has 16k here",
        "block 512: a block has 1k here",
        "readahead off: it is 32k here ('set MOUNTPOINT readahead=0' changes it)",
    )


@needs_root
def test_a_part_of_a_mount_that_is_bound_elsewhere(mount: Callable[..., Mount], tmp_path: Path):
    """Its machine is that of the whole: 16 times the file's page, but not its block."""
    m = mount(block_size="1k", page_size="64k")
    inside, elsewhere = m.path / "inside", tmp_path / "elsewhere"
    inside.mkdir()
    elsewhere.mkdir()
    run("mount", "--bind", inside, elsewhere)
    try:
        assert on_directory(stale_zeros(), elsewhere, 1).skipped == (
            "block 8k: a block has 1k here",
        )
    finally:
        run("umount", elsewhere)


def test_readahead_can_be_made_what_the_file_has(mount: Callable[..., Mount]):
    m = mount(block_size=512)
    assert len(on_directory(stale_zeros(size="8k"), m.path, 1).skipped) == 1
    m.set(readahead=0)
    assert on_directory(stale_zeros(size="8k"), m.path, 1).skipped == ()


def test_the_daemon_s_cache_cannot_be_asked(mount: Callable[..., Mount]):
    m = mount(block_size=512)
    asked = parse(
        STALE_ZEROS.replace("A.r = 0", "cache f = 0-------").format(
            page="4k", size="4k", state="unwritten"
        ),
        "test",
    )
    assert on_directory(asked, m.path, 1).skipped == (
        "cache in the question: Operation not supported here",
    )


def test_a_page_that_cannot_be_dropped_is_a_reason(mount: Callable[..., Mount]):
    """Where its file ends within a sector, it was written through the cache."""
    m = mount(block_size=512)
    assert on_directory(stale_zeros(size="1000", state="b"), m.path, 1).skipped == (
        "file f: fusefs keeps the page in which a written file ends cached",
    )
    assert on_directory(stale_zeros(size="1000", state="b cached"), m.path, 1).skipped == ()


def test_a_write_that_takes_too_long_is_told(mount: Callable[..., Mount]):
    """The task and its operation; and no process stays once the daemon answers."""
    m = mount(block_size=512, conversion_delay="2s")
    with pytest.raises(TrialError) as told:
        on_directory(stale_zeros(), m.path, 100, 5, timeout_s=0.5)
    line = str(told.value)
    assert f"{m.path}: hangs: A, line {WRITE_LINE}: 'pwrite f 0 512 a direct' after 0.5 s" in line
    assert "seed 5)" in line
    eventually(lambda: not our_processes(), "all processes of the trial have ended")


def test_a_daemon_that_does_not_answer_holds_up_nobody(mount: Callable[..., Mount]):
    """Whoever asked is told in time; the keeper removes its files once it can."""
    m = mount(block_size=512)
    going_on = threading.Timer(2.0, os.kill, (m.pid, signal.SIGCONT))

    def stop(run: int) -> None:
        if run == 2:
            os.kill(m.pid, signal.SIGSTOP)
            going_on.start()

    with pytest.raises(TrialError) as told:
        on_directory(stale_zeros(), m.path, 100, timeout_s=0.5, told=stop)
    going_on.join()
    assert f"{m.path}: hangs: making the files for run 3 after 0.5 s" in str(told.value)
    eventually(lambda: not our_processes(), "all processes of the trial have ended")
    assert list(m.path.iterdir()) == []
