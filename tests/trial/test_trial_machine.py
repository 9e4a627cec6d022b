"""What a directory cannot do is said, one line for each reason, and nothing runs."""

import errno
import mmap
import os
from dataclasses import replace
from pathlib import Path

import pytest
from trial.trying import block_of, litmus_in

from fusefs.litmus.parse import parse
from fusefs.litmus.source import format_size
from fusefs.litmus.test import Litmus
from fusefs.trial import machine
from fusefs.trial.machine import direct_unit, reasons_to_skip
from fusefs.trial.on_directory import on_directory

PLAIN = "file f 1B hole\nA:\n    r = pread f 0 1B\nexists A.r = 0"


def with_machine(litmus: Litmus, **changed: int) -> Litmus:
    return replace(litmus, machine=replace(litmus.machine, **changed))


def reasons(litmus: Litmus, directory: Path) -> tuple[str, ...]:
    """Nothing of the trial is left, whatever it tried."""
    found = reasons_to_skip(litmus, directory)
    assert not list(directory.iterdir())
    return found


@pytest.fixture
def plain(tmp_path: Path) -> Litmus:
    litmus = litmus_in(tmp_path, PLAIN)
    if found := reasons(litmus, tmp_path):
        pytest.skip("; ".join(found))
    return litmus


def test_a_page_of_another_size(plain: Litmus, tmp_path: Path):
    here = format_size(mmap.PAGESIZE)
    assert reasons(with_machine(plain, page=16 * mmap.PAGESIZE), tmp_path) == (
        f"page {format_size(16 * mmap.PAGESIZE)}: a page has {here} here",
    )


def test_a_block_of_another_size(plain: Litmus, tmp_path: Path):
    block = block_of(tmp_path)
    other = 512 if block != 512 else 1024
    assert reasons(with_machine(plain, block=other), tmp_path) == (
        f"block {format_size(other)}: a block has {format_size(block)} here",
    )


def test_a_limited_cache(plain: Litmus, tmp_path: Path):
    assert reasons(with_machine(plain, cache=65536), tmp_path) == (
        "cache 64k: the page cache has no limit of its own here",
    )


def test_a_crash(plain: Litmus, tmp_path: Path):
    assert reasons(replace(plain, crash=True), tmp_path) == ("crash: no machine is stopped here",)


def test_readahead_counts_only_where_there_is_a_second_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "_kernel_readahead", lambda directory: 128 << 10)
    page = mmap.PAGESIZE
    one = litmus_in(tmp_path, f"file f {page} hole\nA:\n    r = pread f 0 1B\nexists A.r = 0")
    two = litmus_in(tmp_path, f"file f {2 * page} hole\nA:\n    r = pread f 0 1B\nexists A.r = 0")
    if found := reasons(two, tmp_path):
        pytest.skip("; ".join(found))
    assert reasons(with_machine(one, readahead=64 << 10), tmp_path) == ()
    assert reasons(with_machine(two, readahead=128 << 10), tmp_path) == ()
    assert reasons(with_machine(two, readahead=64 << 10), tmp_path) == (
        "readahead 64k: it is 128k here",
    )
    monkeypatch.setattr(machine, "_kernel_readahead", lambda directory: None)
    assert reasons(with_machine(two, readahead=64 << 10), tmp_path) == (
        "readahead 64k: it is not told here",
    )


def test_readahead_of_this_machine_is_that_of_sysfs(tmp_path: Path):
    path = Path("/sys/dev/block")
    device = os.stat(tmp_path).st_dev
    queue = path / f"{os.major(device)}:{os.minor(device)}" / "queue/read_ahead_kb"
    if not queue.exists():
        pytest.skip(f"{queue} is missing: the file system is on no disk of its own")
    assert machine._kernel_readahead(tmp_path) == int(queue.read_text()) * 1024


@pytest.mark.parametrize(
    ("tasks", "last"),
    [
        ("A:\n    pwrite f 0 1B a", "A's pwrite"),
        ("A:\n    fsync f\n    pwrite f 0 1B a", "A's pwrite"),
        ("A:\n    pwrite f 0 1B a\nB:\n    fsync f", "A's pwrite"),
        ("A:\n    pwrite f 0 1B a\nB:\n    fsync f\n    wait A", "A's pwrite"),
        ("A:\n    pwrite f 0 1B a\n    fsync g", "A's pwrite"),
        ("A:\n    mwrite f 0 1B a", "A's mwrite"),
        ("A:\n    copy_range g 0 1B f 0", "A's copy_range"),
        ("A:\n    rename g f\nB:\n    pwrite g 0 1B a", "B's pwrite"),
        ("A:\n    truncate f 100", "A's truncate"),
        ("A:\n    fpunch f 100 100", "A's fpunch"),
        ("A:\n    pwrite f 0 1B a\n    fdatasync f", ""),
        ("A:\n    pwrite f 0 1B a\nB:\n    wait A\n    fsync f", ""),
        ("A:\n    pwrite f 0 1B a dsync", ""),
        ("A:\n    pwrite f 0 1B a direct", ""),
        ("A:\n    pwrite g 0 1B a", ""),
        ("A:\n    truncate f 1B\n    fpunch f 0 1B\n    fzero f 0 1B", ""),
    ],
)
def test_disk_is_asked_only_of_what_is_there_without_a_writeback(
    tasks: str, last: str, tmp_path: Path
):
    text = f"file f 1B hole\nfile g 1B hole\n{tasks}\nexists disk f = 0"
    found = reasons(litmus_in(tmp_path, text), tmp_path)
    told = tuple(each for each in found if each.startswith("disk f: "))
    assert told == ((f"disk f: {last} may end in the cache alone",) if last else ())
    other = litmus_in(tmp_path, text.replace("disk f", "size f"))
    assert not any(each.startswith("disk") for each in reasons(other, tmp_path))


def refuses(number: int):
    def call(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


NEEDS = {
    "falloc": ("fallocate", "    r = falloc f 0 1B", "falloc: Operation not supported here"),
    "fpunch": ("fallocate", "    r = fpunch f 0 1B", "fpunch: Operation not supported here"),
    "mread": ("MappedFile", "    r = mread f 0 1B", "mread: Operation not supported here"),
    "cache": (
        "is_cached",
        "    r = fsync f",
        "cache in the question: Operation not supported here",
    ),
    "aio": (
        "AioContext",
        "    aio x = pwrite f 0 1B a direct\n    r = reap x",
        "aio: Operation not supported here",
    ),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_call_that_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each is tried, where the file needs it and only there."""
    call, operation, reason = NEEDS[name]
    asked = "cache f = 0" if name == "cache" else "A.r = EIO"
    litmus = litmus_in(tmp_path, f"file f 1B hole\nA:\n{operation}\nexists {asked}")
    if found := reasons(litmus, tmp_path):
        pytest.skip("; ".join(found))
    monkeypatch.setattr(machine, call, refuses(errno.EOPNOTSUPP))
    assert reasons(litmus, tmp_path) == (reason,)
    assert reasons(litmus_in(tmp_path, PLAIN), tmp_path) == ()


def test_direct_i_o_smaller_than_the_disk_s_sectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    block = block_of(tmp_path)
    text = "file f 4B hole\nA:\n    r = pread f {pos} 1B direct\nexists A.r = EIO"
    if block % 1024:
        pytest.skip(f"a block has {block} bytes here: half of it is no sector")
    whole, half = (litmus_in(tmp_path, text.format(pos=pos)) for pos in (block, block // 2))
    if found := reasons(whole, tmp_path):
        pytest.skip("; ".join(found))
    monkeypatch.setattr(machine, "alignment", lambda fd: block)
    assert reasons(whole, tmp_path) == ()
    assert reasons(half, tmp_path) == (
        f"direct I/O of {format_size(block // 2)}: it takes multiples of {format_size(block)} here",
    )
    monkeypatch.setattr(machine, "alignment", lambda fd: 0)
    assert reasons(whole, tmp_path) == (
        f"direct I/O of {format_size(block)}: the file system has none here",
    )
    monkeypatch.setattr(machine, "alignment", lambda fd: None)
    monkeypatch.setattr(machine, "is_cached", lambda *arguments: True)
    assert reasons(whole, tmp_path) == (
        f"direct I/O of {format_size(block)}: it goes through the page cache here",
    )


@pytest.mark.parametrize(
    ("operation", "asked", "unit"),
    [
        ("pwrite f 0 4k a direct", "A.r = 0", 4096),
        ("pwrite f 512 4k a direct", "A.r = 0", 512),
        ("pwrite f 512 4k a", "A.r = 0", 0),
        ("pwrite f 512 4k a", "disk f = 000000000", 512),
        ("pwrite f 0 1m a direct", "A.r = 0", 65536),
    ],
)
def test_unit_of_direct_i_o(operation: str, asked: str, unit: int):
    litmus = parse(
        f"litmus x\npage 4k\nblock 512\nfile f 4k hole\nA:\n    r = {operation}\nexists {asked}",
        "test",
    )
    assert direct_unit(litmus) == unit


def test_shared_blocks_are_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The model copies through the cache; a clone of a preallocated block is a hole."""
    text = "file f 1B a\nfile g 1B b\nA:\n    n = copy_range f 0 1B g 0\nexists A.n = 0"
    litmus = litmus_in(tmp_path, text)
    monkeypatch.setattr(machine.fcntl, "ioctl", refuses(errno.EOPNOTSUPP))
    if found := reasons(litmus, tmp_path):
        pytest.skip("; ".join(found))
    monkeypatch.setattr(machine.fcntl, "ioctl", lambda *arguments: 0)
    assert reasons(litmus, tmp_path) == ("copy_range: blocks are shared, and not copied here",)


def test_nothing_runs_where_there_is_a_reason(plain: Litmus, tmp_path: Path):
    told: list[int] = []
    unlike = with_machine(plain, page=16 * mmap.PAGESIZE)
    histogram = on_directory(unlike, tmp_path, 5, told=told.append)
    assert (told, dict(histogram.counts)) == ([], {})
    assert histogram.exit_status == 0
    assert f"Skipped {plain.name}: page " in histogram.text()
    assert "Observation" not in histogram.text()
    assert not list(tmp_path.iterdir())
