"""Results, maps and pages of the kernel that runs here, small; and that a wrong model is found.

Root, loop devices and mkfs are needed; without them these tests are skipped, with the reason.
"""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conform.looking import program_of

from fusefs.conform import disk, looks, on_model
from fusefs.conform.disk import BLOCK_SIZES, KINDS, Disk, NoDisk
from fusefs.conform.disk import disk as made_disk
from fusefs.conform.report import Asked
from fusefs.conform.together import Searched
from fusefs.litmus.parse import parse
from fusefs.trial.system_calls import cache_count

RACE = """litmus race
page 4k
block 1k
file f 4k unwritten
A:
    pwrite f 0 1k a direct
    r = pread f 0 1k
B:
    pread f 1k 1k
exists A.r = 0
"""


def needed(kind: str = "xfs") -> None:
    if reason := disk.missing(kind, 1024):
        pytest.skip(reason)


def asked(*litmus: str, programs: int = 25) -> Asked:
    files = tuple(parse(text, "race") for text in litmus)
    return Asked(files, programs, 2, 0, lambda name: None)


@pytest.mark.parametrize("block", BLOCK_SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_leaves_what_the_model_leaves(kind, block):
    needed(kind)
    with made_disk(kind, block) as made:
        for wide in (False, True):
            section = looks.alone(made, asked(), wide=wide)
            assert section.rejected == 0, section.first
            assert section.accepted + section.explained.total() == section.programs > 0


@pytest.mark.parametrize(
    ("litmus", "programs", "made"),
    [
        ((RACE,), 0, ["files"]),
        ((), 1, ["alone", "wide", "together"]),
        ((RACE,), 1, ["alone", "wide", "together", "files"]),
    ],
    ids=["files", "programs", "both"],
)
def test_all_that_is_asked_for_is_compared(monkeypatch, litmus, programs, made):
    """With the gallery's files, which are there unless somebody names others, too."""
    monkeypatch.setattr(looks, "alone", lambda *_, wide=False: "wide" if wide else "alone")
    for name in ("together", "files"):
        monkeypatch.setattr(looks, name, lambda *_, name=name: name)
    assert list(looks.compare(None, asked(*litmus, programs=programs))) == made


def test_race_ends_as_the_model_can_end():
    needed()
    with made_disk("xfs", 1024) as made:
        section = looks.files(made, asked(RACE))
    assert section.rejected == 0, section.first
    assert section.accepted == section.runs == 2 * looks.RUNS


def test_wrong_model_is_rejected_and_its_program_is_shrunk(monkeypatch):
    needed()
    wrong = functools.partial(on_model.run_on_model, orders=["ret_before_end"])
    monkeypatch.setattr(looks, "run_on_model", wrong)
    with made_disk("xfs", 1024) as made:
        section = looks.alone(made, asked(programs=10))
    assert section.rejected > 0
    assert section.first.count("direct") == 1, section.first
    assert "kernel" in section.first


def test_outcome_that_the_model_has_not_is_rejected(monkeypatch):
    """As if it had none of those that were seen."""
    needed()
    monkeypatch.setattr(looks, "search", nothing_is_possible)
    with made_disk("xfs", 1024) as made:
        section = looks.files(made, asked(RACE))
    assert section.rejected == section.runs > 0
    assert "not the model" in section.first


def nothing_is_possible(litmus, seen, orders):
    return Searched(frozenset(), frozenset(seen), exhausted=True, classes=1)


def test_appends_that_overwrite_each_other_are_explained(monkeypatch):
    """XFS's share the lock; one task's alone cannot meet each other."""
    needed()
    monkeypatch.setattr(looks, "search", nothing_is_possible)
    appends = RACE.replace("pread f 1k 1k", "pwrite f end 1k b append direct")
    both = appends.replace("pwrite f 0 1k a direct", "pwrite f end 1k a append direct")
    with made_disk("xfs", 1024) as made:
        one, two = (looks.files(made, asked(text)) for text in (appends, both))
    assert one.rejected == one.runs
    assert two.explained == {looks.APPENDS: two.runs}


def test_program_that_differs_once_is_not_a_rejection(monkeypatch):
    """Somebody else can take pages from a file at any time."""
    needed()
    real, calls = looks.run_on_kernel, []

    def disturbed(litmus, directory, run):
        calls.append(run)
        found = real(litmus, directory, run)
        return real(program_of("pread f 0 1k"), directory, run) if len(calls) == 1 else found

    monkeypatch.setattr(looks, "run_on_kernel", disturbed)
    monkeypatch.setattr(looks, "program", lambda *_, **__: program_of("pwrite f 0 1k a"))
    with made_disk("xfs", 1024) as made:
        section = looks.alone(made, asked(programs=1))
    assert section.rejected == 0
    assert section.explained == {looks.DISTURBED: 1}


# -- the disk ----------------------------------------------------------------------------


def loops() -> str:
    return subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_disk_is_left(kind):
    needed(kind)
    met: list[Disk] = []
    with pytest.raises(RuntimeError):
        fail_within(kind, met)
    (made,) = met
    assert not made.path.parent.exists()
    assert str(made.path.parent) not in loops()


def fail_within(kind: str, met: list[Disk]) -> None:
    with made_disk(kind, 2048) as made:
        assert os.statvfs(made.path).f_frsize == 2048
        assert os.stat(made.path).st_dev == os.makedev(*made.device)
        assert str(made.path.parent) in loops()
        met.append(made)
        raise RuntimeError


def test_nothing_of_a_disk_is_left_by_a_process_that_is_ended():
    needed()
    code = (
        "from fusefs.conform.disk import disk\nfrom fusefs.ending import Ended\nimport sys, time\n"
        "try:\n"
        "    with disk('xfs', 4096) as made: print(made.path, flush=True); time.sleep(60)\n"
        "except Ended as told: sys.exit(128 + told.number)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with process:
        path = process.stdout.readline().strip()
        assert path in Path("/proc/mounts").read_text()
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert path not in Path("/proc/mounts").read_text()
    assert str(Path(path).parent) not in loops()


def test_disk_in_use_is_left_for_the_kernel_alone():
    """A lazy unmount: what is open stays, and nothing is to be seen of it."""
    needed()
    with made_disk("xfs", 1024) as made:
        fd = os.open(made.path / "f", os.O_RDWR | os.O_CREAT)
    assert not made.path.exists()
    os.close(fd)


@pytest.mark.parametrize(
    ("kind", "block", "reason"),
    [
        ("xfs", 512, "no block size 512: xfs has 1024, 2048, 4096 here"),
        ("btrfs", 4096, "no file system btrfs: there are xfs, ext4"),
    ],
)
def test_disk_that_cannot_be_is_one_line(monkeypatch, kind, block, reason):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(NoDisk, match=reason), made_disk(kind, block):
        pass


def test_only_root_has_one(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert "only root" in disk.missing("xfs", 1024)


def test_missing_mkfs_is_told_with_its_package(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert disk.missing("ext4", 1024) == "mkfs.ext4 is missing (package e2fsprogs)"


def test_cached_pages_are_counted(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"a" * 16384)
    with path.open("r+b") as file:
        try:
            count = cache_count(file.fileno(), 0, 8192)
        except OSError as error:
            pytest.skip(f"cachestat(2): {error.strerror}")
    assert count.cached == 2
    assert 0 <= count.dirty <= 2
