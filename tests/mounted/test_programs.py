"""Programs that know nothing of fusefs, on a mount: all correct, none with an I/O error.

Each runs on an `after` mount with blocks of 512 bytes and on one with blocks of 4 KiB.
"""

import json
import os
import random
import shutil
import sysconfig
from pathlib import Path

import pytest
from mounted.clients import all_succeed, need, python, run
from mounted.mounting import Mount

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.parametrize(
        "shared",
        [{"block_size": "512"}, {"block_size": "4k"}],
        ids=["block 512", "block 4k"],
        indirect=True,
        scope="module",
    ),
]


@pytest.fixture(autouse=True)
def quiet_log(shared: Mount):
    """Whatever the program did, the daemon has nothing to say."""
    yield
    assert "ERROR" not in shared.log()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree: some hundred files in directories, links, and odd names."""
    top = tmp_path_factory.mktemp("source") / "tree"
    library = Path(sysconfig.get_paths()["stdlib"])
    for package in ("asyncio", "email", "json", "sqlite3", "unittest"):
        shutil.copytree(
            library / package,
            top / package,
            ignore=shutil.ignore_patterns("__pycache__", "test*"),
        )
    (top / "link").symlink_to("json/decoder.py")
    (top / "with space and é").write_text("content\n")
    os.link(top / "json/encoder.py", top / "hard")
    (top / "empty").mkdir()
    (top / "program").write_text("#!/bin/sh\n")
    (top / "program").chmod(0o755)
    return top


@pytest.mark.parametrize("direct", [0, 1], ids=["buffered", "direct"])
def test_fio_verifies_what_it_wrote(top: Path, shared: Mount, direct: int):
    """libaio at depth 16, 4 jobs, random 512 bytes to 64 KiB; status and trace meanwhile."""
    need("fio")
    fio = python(
        FIO,
        "--name=verify",
        f"--directory={top}",
        "--rw=randwrite",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--ioengine=libaio",
        "--iodepth=16",
        "--numjobs=4",
        "--bsrange=512-64k",
        "--blockalign=512",
        "--size=2m",
        f"--direct={direct}",
        "--verify_state_save=0",
        "--end_fsync=1",
        "--output-format=json",
    )
    try:
        seen = 0
        while fio.poll() is None:
            assert shared.status()["pid"] == shared.pid
            seen += len(shared.trace())
        report, _ = fio.communicate()
    finally:
        fio.kill()
        fio.wait()
    assert fio.returncode == 0
    assert seen > 0
    jobs = json.loads(report[report.index("{") :])["jobs"]
    assert [job["error"] for job in jobs] == [0] * 4
    assert all(job["read"]["total_ios"] == job["write"]["total_ios"] > 0 for job in jobs)


FIO = "import os, sys; os.execvp('timeout', ['timeout', '60', 'fio', *sys.argv[1:]])"


@pytest.mark.parametrize(
    "words",
    [
        "bs=512",
        "bs=512 oflag=direct",
        "bs=7k oflag=direct iflag=direct",
        "bs=7k oflag=dsync",
        "bs=7k conv=sparse",
        "bs=1M conv=fsync",
        "bs=1M oflag=direct",
    ],
)
def test_dd_copies(top: Path, words: str):
    need("dd")
    content = random.Random(1).randbytes(30 * 7168) + bytes(512 * 100)
    (top / "source").write_bytes(content)
    run("dd", f"if={top}/source", f"of={top}/target", "status=none", *words.split())
    assert (top / "target").read_bytes() == content


def test_cp_and_diff_agree(top: Path, source: Path):
    need("cp", "diff")
    run("cp", "-a", source, top / "one")
    run("cp", "-a", "--sparse=always", top / "one", top / "two")
    for copy in ("one", "two"):
        run("diff", "-r", "--no-dereference", source, top / copy)
        assert (top / copy / "hard").stat().st_nlink == 2
        assert (top / copy / "program").stat().st_mode == (source / "program").stat().st_mode
        assert (top / copy).stat().st_mtime_ns == source.stat().st_mtime_ns


def test_tar_packs_and_unpacks(top: Path, source: Path):
    need("tar")
    run("tar", "-cf", top / "tree.tar", "-C", source.parent, "tree")
    run("tar", "-xf", top / "tree.tar", "-C", top)
    run("tar", "-df", top / "tree.tar", "-C", top)
    run("diff", "-r", "--no-dereference", source, top / "tree")


def test_git_commits_clones_and_checks(top: Path, source: Path):
    need("git")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.auto=0"]
    git += ["-c", "safe.directory=*"]
    shutil.copytree(source, top / "work", symlinks=True)
    run(*git, "init", "-q", ".", cwd=top / "work")
    run(*git, "add", "-A", cwd=top / "work")
    run(*git, "commit", "-q", "-m", "all", cwd=top / "work")
    run(*git, "clone", "-q", "--no-hardlinks", top / "work", top / "clone")
    run(*git, "repack", "-adq", cwd=top / "clone")
    for each in ("work", "clone"):
        assert run(*git, "status", "--porcelain", cwd=top / each) == ""
        run(*git, "fsck", "--full", "--strict", cwd=top / each)
    (top / "clone/empty").mkdir()  # git has no empty directories
    run("diff", "-r", "--no-dereference", "-x", ".git", source, top / "clone")


def test_sqlite_in_wal_mode_under_load_stays_whole(top: Path):
    """Four processes add to one database, whose -shm file they all map."""
    make = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA journal_mode = WAL")
db.execute("CREATE TABLE t (who INTEGER, i INTEGER, data BLOB, UNIQUE (who, i))")
"""
    all_succeed([python(make, top / "db")])
    script = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=600, isolation_level=None)
for i in range(40):
    db.execute("BEGIN IMMEDIATE")
    for j in range(5):
        row = (int(sys.argv[2]), i * 5 + j, bytes(j * 100))
        db.execute("INSERT INTO t VALUES (?, ?, ?)", row)
    db.execute("COMMIT")
    assert db.execute("SELECT count(*) FROM t WHERE who = ?", row[:1]).fetchone()[0] == i * 5 + 5
print(db.execute("PRAGMA journal_mode").fetchone()[0])
"""
    clients = [python(script, top / "db", me) for me in range(4)]
    assert all_succeed(clients) == ["wal\n"] * 4
    check = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(*db.execute("PRAGMA integrity_check").fetchall(), *db.execute("SELECT count(*) FROM t"))
"""
    assert all_succeed([python(check, top / "db")]) == ["('ok',) (800,)\n"]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        pytest.param(
            ["falloc 0 64k", "pwrite -S 0x61 0 4k", "pwrite -S 0x62 8k 4k"],
            b"a" * 4096 + bytes(4096) + b"b" * 4096 + bytes(53248),
            id="falloc",
        ),
        pytest.param(
            ["pwrite -S 0x61 0 64k", "fpunch 4k 8k"],
            b"a" * 4096 + bytes(8192) + b"a" * 53248,
            id="fpunch",
        ),
        pytest.param(
            ["pwrite -S 0x61 0 64k", "fzero 4k 8k", "fzero 60k 8k"],
            b"a" * 4096 + bytes(8192) + b"a" * 49152 + bytes(8192),
            id="fzero",
        ),
        pytest.param(
            ["truncate 64k", "mmap -rw 0 64k", "mwrite -S 0x6d 1000 10000", "msync -s", "munmap"],
            bytes(1000) + b"m" * 10000 + bytes(54536),
            id="mmap",
        ),
        pytest.param(
            ["pwrite -S 0x61 0 8k", "mmap -rw 0 8k", "mwrite -S 0x6d 4k 1k", "pwrite -S 0x62 0 1k"],
            b"b" * 1024 + b"a" * 3072 + b"m" * 1024 + b"a" * 3072,
            id="mmap-and-pwrite",
        ),
        pytest.param(
            ["pwrite -S 0x61 0 64k", "truncate 10k", "truncate 64k"],
            b"a" * 10240 + bytes(55296),
            id="truncate",
        ),
        pytest.param(
            ["pwrite -V 4 -b 16k -S 0x61 0 128k", "fsync", "pwrite -DV 4 -b 1k -S 0x64 0 4k"],
            b"d" * 4096 + b"a" * 126976,
            id="vectors",
        ),
    ],
)
@pytest.mark.parametrize("flags", [[], ["-d"]], ids=["buffered", "direct"])
def test_xfs_io_commands_leave_the_right_bytes(
    top: Path, commands: list[str], expected: bytes, flags: list[str]
):
    need("xfs_io")
    words = [word for command in commands for word in ("-c", command)]
    run("xfs_io", "-f", *flags, *words, top / "file")
    assert (top / "file").read_bytes() == expected
    assert run("xfs_io", "-d", "-c", f"pread 0 {len(expected)}", top / "file").startswith("read")


def test_xfs_io_seek_finds_the_layout(top: Path):
    need("xfs_io")
    layout = ["truncate 1m", "pwrite -q 256k 64k", "falloc 512k 64k", "fsync"]
    words = [word for command in layout for word in ("-c", command)]
    run("xfs_io", "-f", *words, top / "file")
    found = run("xfs_io", "-c", "seek -a -r 0", top / "file")
    assert found.split("\n")[1:-1] == ["HOLE\t0", "DATA\t262144", "HOLE\t327680"]


def test_status_and_trace_are_there_after_all_that(shared: Mount, top: Path):
    (top / "file").write_bytes(b"content")
    steps = [event.step for event in shared.trace()]
    assert steps[-2].startswith("buffered.write.")
    assert steps[-1] == "reply"
    assert shared.status()["counters"]["pages_stale_possible"] == 0
