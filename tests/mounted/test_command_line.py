"""mount_tool.py as people and scripts call it: what works, and each way to call it wrongly.

A refusal is one clear line on stderr and the right exit status; nothing is mounted, and
no byte of the directory has changed.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    PROGRAM_TIMEOUT_S,
    eventually,
    fails_with,
    has_ended,
    need,
    needs_root,
    run,
)
from mounted.commands import FAILED, USAGE, nothing_changes, refused, tool
from mounted.mounting import Mount

from fusefs import compiled
from fusefs.mounts import ROOT, is_mounted

pytestmark = pytest.mark.mounted


@pytest.fixture
def mnt(tmp_path: Path) -> Path:
    path = tmp_path / "mnt"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def new_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("new") / "image"
    run(sys.executable, ROOT / "mount_tool.py", "mkfs", path, "-o", "size=1m")
    return path


@pytest.fixture
def made(tmp_path: Path, new_image: Path) -> Path:
    """An image of 1 MiB with blocks of 1 KiB, not mounted."""
    for suffix in ("", ".meta"):
        shutil.copy(f"{new_image}{suffix}", f"{tmp_path}/image{suffix}")
    return tmp_path / "image"


# -- options -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ("bogus=1", "unknown option 'bogus=1'; known: era, invalidate, "),
        ("bogus", "unknown option 'bogus'"),
        ("invalidate=sometimes", "bad value 'sometimes' for invalidate: it takes before or after"),
        ("invalidate", "invalidate takes a value"),
        ("invalidate=", "bad value '' for invalidate"),
        ("page_size=3000", "bad value '3000' for page_size: it takes a power of two"),
        ("page_size=2m", "bad value '2m' for page_size"),
        ("block_size=256", "bad value '256' for block_size"),
        ("block_size=128k", "bad value '128k' for block_size"),
        ("block_size=-4k", "bad value '-4k' for block_size"),
        ("block_size=8k", "block_size 8192 is larger than page_size 4096"),
        ("block_size=64k,page_size=32k", "block_size 65536 is larger than page_size 32768"),
        ("size=1", "bad value '1' for size"),
        ("size=lots", "bad value 'lots' for size: it takes a size such as"),
        ("conversion_delay=fast", "it takes a time such as 500us, 1ms, 5s"),
        ("conversion_delay=11s", "it takes a time from 0s to 10s"),
        ("conversion_delay=-1ms", "bad value '-1ms' for conversion_delay"),
        ("conversion_delay=nan", "bad value 'nan' for conversion_delay"),
        ("conversion_delay=.", "bad value '.' for conversion_delay"),
        ("conversion_delay=1.5.2s", "bad value '1.5.2s' for conversion_delay"),
        ("commit=0", "bad value '0' for commit"),
        ("readahead=17m", "bad value '17m' for readahead"),
        ("readahead=²", "bad value '²' for readahead"),
        ("cache_size=4k", "bad value '4k' for cache_size"),
        ("ro=1", "ro takes no value, but was given '1'"),
        ("metadata=", "metadata takes a value: a path"),
    ],
)
def test_bad_option_is_a_usage_error(
    tmp_path: Path, mnt: Path, made: Path, options: str, saying: str
):
    """Refused before anything is mounted or made, with what is allowed."""
    with nothing_changes(tmp_path):
        refused(USAGE, "mount", made, mnt, "-o", options, saying=saying)


def test_bad_option_makes_no_image(tmp_path: Path, mnt: Path):
    words = (tmp_path / "new", mnt, "-o", "size=1m", "-o", "invalidate=before,bogus")
    with nothing_changes(tmp_path):
        refused(USAGE, *words, saying="unknown option 'bogus'")


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["mkfs", "new", "-o", "page_size=4k"], "mkfs does not take 'page_size'"),
        (["mkfs", "new", "-o", "allow_other"], "mkfs does not take 'allow_other'"),
        (["mkfs", "new", "-o", "block_size=3"], "bad value '3' for block_size"),
        (["set", "mnt", "invalidate"], "'invalidate': say OPTION=VALUE"),
        (["set", "mnt", "bogus=1"], "unknown option 'bogus'"),
        (["set", "mnt", "page_size=4k"], "page_size cannot change while mounted"),
        (["set", "mnt", "invalidate=no"], "bad value 'no' for invalidate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_commands_refuse_bad_options_too(
    tmp_path: Path, mnt: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], saying: str
):
    monkeypatch.chdir(tmp_path)
    with nothing_changes(tmp_path):
        refused(USAGE, *words, saying=saying)


@pytest.mark.parametrize("words", [[], ["mount"], ["mount", "i"], ["i", "m", "x"], ["-x"], ["i"]])
def test_bad_command_line_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    monkeypatch.chdir(tmp_path)
    with nothing_changes(tmp_path):
        result = tool(*words)
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert result.stderr.count("\n") == 1
    assert "--help" in result.stderr


def test_help_names_every_option():
    said = tool("mount", "--help")
    assert said.returncode == 0
    for option in ("invalidate", "conversion_delay", "page_size", "block_size", "allow_other"):
        assert option in said.stdout


# -- images --------------------------------------------------------------------------


def test_missing_image_without_size_is_refused(tmp_path: Path, mnt: Path):
    with nothing_changes(tmp_path):
        refused(FAILED, tmp_path / "new", mnt, saying="no such image; -o size=1g makes one")


def test_missing_image_in_a_missing_directory_is_refused(tmp_path: Path, mnt: Path):
    image = tmp_path / "missing/new"
    with nothing_changes(tmp_path):
        refused(FAILED, image, mnt, "-o", "size=1m", saying="No such file or directory")
        saying = f"no such image: {tmp_path}/missing: No such file or directory"
        refused(FAILED, image, mnt, saying=saying)


def test_missing_image_with_nofail_is_no_failure(tmp_path: Path, mnt: Path):
    """As with mount(8), which leaves that to its helpers; all else is a failure still."""
    (tmp_path / "other").touch()
    with nothing_changes(tmp_path):
        for words in ([], ["--dry-run"]):
            result = tool("mount", *words, tmp_path / "new", mnt, "-o", "nofail")
            assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        refused(FAILED, "mount", tmp_path / "other", mnt, "-o", "nofail", saying="not a fusefs")
    assert not is_mounted(mnt)


def test_dry_run_finds_what_is_wrong_with_the_image(tmp_path: Path, mnt: Path, made: Path):
    words = ("mount", "--dry-run", made, mnt)
    with nothing_changes(tmp_path):
        assert tool(*words).returncode == 0
    Path(f"{made}.meta").rename(tmp_path / "elsewhere")
    refused(FAILED, *words, saying=f"{made}.meta: no such metadata")
    assert tool(*words, "-o", f"metadata={tmp_path}/elsewhere").returncode == 0
    os.truncate(made, 4096)
    refused(FAILED, *words, "-o", f"metadata={tmp_path}/elsewhere", saying="truncated")


def test_dry_run_finds_an_image_that_is_mounted_elsewhere(
    mounted: Mount, image: Path, tmp_path: Path
):
    (tmp_path / "other").mkdir()
    words = ("mount", "--dry-run", image, tmp_path / "other")
    refused(FAILED, *words, saying=f"already mounted, or in use: it is mounted on {mounted.path}")


def test_nosymfollow_names_the_libfuse_that_it_needs(tmp_path: Path, mnt: Path):
    from fusefs.live.extension import _lowlevel

    version = _lowlevel.libfuse_version()
    if tuple(map(int, version.split(".")[:2])) >= (3, 17):
        pytest.skip(f"libfuse {version} has it")
    words = ("mount", "--dry-run", tmp_path / "new", mnt, "-o", "size=1m,nosymfollow")
    refused(FAILED, *words, saying=f"nosymfollow needs libfuse 3.17; this is {version}")


def test_missing_image_with_metadata_left_over_is_refused(tmp_path: Path, mnt: Path, made: Path):
    made.unlink()
    with nothing_changes(tmp_path):
        refused(FAILED, made, mnt, "-o", "size=1m", saying="exists already")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 4096, b"XFSB" + bytes(4092), b"fusefs image\n"],
    ids=["empty", "zeros", "another", "cut-short"],
)
def test_image_of_another_format_is_refused(tmp_path: Path, mnt: Path, content: bytes):
    (tmp_path / "image").write_bytes(content)
    with nothing_changes(tmp_path):
        refused(FAILED, tmp_path / "image", mnt, saying="not a fusefs image")
        refused(FAILED, tmp_path / "image", mnt, "-o", "size=1m", saying="not a fusefs image")


def test_image_of_a_newer_format_is_refused(tmp_path: Path, mnt: Path, made: Path):
    content = bytearray(made.read_bytes())
    content[16] = 99
    made.write_bytes(content)
    with nothing_changes(tmp_path):
        refused(FAILED, made, mnt, saying="image format 99, but this program reads 1")


@pytest.mark.parametrize("field", ["length", "block_size", "block_count"])
def test_damaged_superblock_is_refused(tmp_path: Path, mnt: Path, made: Path, field: str):
    content = bytearray(made.read_bytes())
    pos = {"length": 20, "block_size": 40, "block_count": 44}[field]
    content[pos : pos + 4] = bytes(4)
    made.write_bytes(content)
    with nothing_changes(tmp_path):
        refused(FAILED, made, mnt, saying="the superblock is damaged")


@pytest.mark.parametrize(("pos", "value"), [(40, 512), (44, 512)], ids=["block_size", "blocks"])
def test_superblock_that_contradicts_the_metadata_is_refused(
    tmp_path: Path, mnt: Path, made: Path, pos: int, value: int
):
    """Opening checks everything that it relies on."""
    content = bytearray(made.read_bytes())
    content[pos : pos + 4] = value.to_bytes(4, "little")
    made.write_bytes(content)
    with nothing_changes(tmp_path):
        refused(FAILED, made, mnt, saying="metadata")


def test_truncated_image_is_refused(tmp_path: Path, mnt: Path, made: Path):
    os.truncate(made, 1 << 19)
    with nothing_changes(tmp_path):
        refused(
            FAILED, made, mnt, saying="truncated: 524288 bytes, but the superblock says 1048576"
        )


def test_directory_as_image_is_refused(tmp_path: Path, mnt: Path):
    (tmp_path / "dir").mkdir()
    with nothing_changes(tmp_path):
        refused(FAILED, tmp_path / "dir", mnt, saying="not a regular file")


def test_block_size_of_an_image_cannot_be_chosen_again(tmp_path: Path, mnt: Path, made: Path):
    with nothing_changes(tmp_path):
        refused(FAILED, made, mnt, "-o", "block_size=2k", saying="its block_size is 1024, not 2048")
        refused(FAILED, made, mnt, "-o", "page_size=512", saying="larger than page_size=512")


# -- mountpoints ---------------------------------------------------------------------


def test_missing_mountpoint_is_refused_before_an_image_is_made(tmp_path: Path):
    with nothing_changes(tmp_path):
        words = (tmp_path / "new", tmp_path / "missing", "-o", "size=1m")
        refused(FAILED, *words, saying="cannot mount there: No such file or directory")


def test_file_as_mountpoint_is_refused(tmp_path: Path, made: Path):
    (tmp_path / "file").touch()
    with nothing_changes(tmp_path):
        refused(FAILED, made, tmp_path / "file", saying="cannot mount there: not a directory")


def test_mountpoint_in_use_is_refused(mount: Callable[..., Mount], tmp_path: Path, made: Path):
    m = mount(image=tmp_path / "first")
    (m.path / "file").touch()
    refused(FAILED, made, m.path, saying="in use: something is mounted there already")
    assert os.listdir(m.path) == ["file"]
    assert m.status()["pid"] == m.pid


def test_mountpoint_of_a_dead_daemon_is_refused(
    mount: Callable[..., Mount], tmp_path: Path, made: Path
):
    """The kernel may still know the attributes of its root directory."""
    m = mount(image=tmp_path / "first")
    os.kill(m.pid, signal.SIGKILL)
    eventually(lambda: has_ended(m.pid), "the daemon has ended")
    refused(FAILED, made, m.path, saying=f"{m.path}: in use: a dead mount is there")
    m.kill()


def test_image_already_mounted_is_refused(mount: Callable[..., Mount], mnt: Path):
    """By its lock, so whatever name it is called by."""
    m = mount()
    os.link(m.image, m.image.with_name("second"))
    (m.path / "file").write_bytes(b"content")
    refused(FAILED, m.image, mnt, saying="already mounted, or in use")
    metadata = f"metadata={m.image}.meta"
    refused(FAILED, f"{m.image.parent}/second", mnt, "-o", metadata, saying="already mounted")
    assert not is_mounted(mnt)
    assert (m.path / "file").read_bytes() == b"content"


@needs_root
def test_mount_that_the_kernel_refuses_leaves_no_image(tmp_path: Path, mnt: Path):
    need("setpriv")
    with nothing_changes(tmp_path):
        words = ["mount", tmp_path / "new", mnt, "-o", "size=1m"]
        result = subprocess.run(
            [
                *("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
                *(sys.executable, ROOT / "mount_tool.py", *words),
            ],
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
        )
    assert result.returncode == FAILED
    assert "mounting failed" in result.stderr
    assert "Traceback" not in result.stderr


# -- metadata ------------------------------------------------------------------------


def test_missing_metadata_is_refused(tmp_path: Path, mnt: Path, made: Path):
    Path(f"{made}.meta").unlink()
    with nothing_changes(tmp_path):
        refused(FAILED, made, mnt, saying="no such metadata")


def test_metadata_of_another_image_is_refused(tmp_path: Path, mnt: Path, made: Path):
    run(sys.executable, ROOT / "mount_tool.py", "mkfs", tmp_path / "other", "-o", "size=1m")
    with nothing_changes(tmp_path):
        words = ("-o", f"metadata={tmp_path}/other.meta")
        refused(FAILED, made, mnt, *words, saying="belongs to another image")


def test_file_that_is_no_metadata_is_refused(tmp_path: Path, mnt: Path, made: Path):
    meta = Path(f"{made}.meta")
    whole = meta.read_bytes()
    for content in (b"", b"text" * 1000, whole[: len(whole) // 2]):
        meta.write_bytes(content)
        with nothing_changes(tmp_path):
            refused(FAILED, made, mnt, saying=str(meta))


def test_database_of_another_program_is_refused(tmp_path: Path, mnt: Path, made: Path):
    meta = Path(f"{made}.meta")
    meta.unlink()
    with contextlib.closing(sqlite3.connect(meta)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    with nothing_changes(tmp_path):
        refused(FAILED, made, mnt, saying="another program's SQLite file")


# -- what works ----------------------------------------------------------------------


def test_mkfs_makes_an_image_that_mounts(mount: Callable[..., Mount], image: Path):
    made = tool("mkfs", image, "-o", "size=3m,block_size=2k")
    assert (made.returncode, made.stderr) == (0, "")
    assert image.stat().st_size == 3 << 20
    assert image.stat().st_mode & 0o777 == 0o600
    assert Path(f"{image}.meta").stat().st_mode & 0o777 == 0o600
    space = mount().status()["space"]
    assert (space["block_size"], space["blocks"]) == (2048, 1536)


def test_mkfs_does_not_overwrite(tmp_path: Path, made: Path):
    with nothing_changes(tmp_path):
        refused(FAILED, "mkfs", made, saying="exists already")
        words = (tmp_path / "new", "-o", f"metadata={made}.meta")
        refused(FAILED, "mkfs", *words, saying="exists already")


@pytest.mark.parametrize(
    "words",
    [
        ["IMAGE", "MNT", "-o", "rw,size=1m,noatime,nofail,_netdev,x-systemd.automount"],
        ["IMAGE", "MNT", "-n", "-o", "rw", "-o", "size=1m", "-s", "-v"],
        ["mount", "IMAGE", "MNT", "-o", "size=1m", "-t", "fusefs"],
        ["mount", "-o", "size=1m", "IMAGE", "MNT"],
    ],
    ids=" ".join,
)
def test_mount_takes_what_mount_8_passes(tmp_path: Path, mnt: Path, words: list[str]):
    """mount(8) calls a helper as IMAGE MOUNTPOINT [-sfnv] [-o options]."""
    names = {"IMAGE": str(tmp_path / "new"), "MNT": str(mnt)}
    done = tool(*[names.get(word, word) for word in words])
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert is_mounted(mnt)
    finally:
        ended = tool("umount", mnt)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not is_mounted(mnt)


@pytest.mark.parametrize("name", ["a,b", "with space", "é\n", "back\\slash", "x,allow_other"])
def test_image_may_have_any_name(tmp_path: Path, mnt: Path, name: str):
    """Nothing in a name is an option of libfuse."""
    done = tool("mount", tmp_path / name, mnt, "-o", "size=1m")
    try:
        assert (done.returncode, done.stderr) == (0, "")
        mounted = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        [options] = [words[3] for words in mounted if words[1] == str(mnt)]
        assert "allow_other" not in options
    finally:
        tool("umount", mnt)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_foreground_mount_ends_with_a_signal(tmp_path: Path, mnt: Path, number: signal.Signals):
    command = [sys.executable, ROOT / "mount_tool.py", "mount", "-f", tmp_path / "new", mnt]
    command += ["-o", "size=1m"]
    front = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: is_mounted(mnt), "it is mounted")
        (mnt / "file").write_bytes(b"content")
        front.send_signal(number)
        _, said = front.communicate(timeout=PROGRAM_TIMEOUT_S)
    finally:
        front.kill()
        front.wait()
    assert front.returncode == 0, said
    assert not is_mounted(mnt)


def test_status_is_json_for_scripts_and_lines_for_people(mounted: Mount):
    as_json = tool("status", mounted.path, "--json")
    assert as_json.returncode == 0
    status = json.loads(as_json.stdout)
    assert status["options"]["invalidate"] == "after"
    assert status["image"] == str(mounted.image)
    assert status["compiled"] is compiled.CURRENT
    assert set(status["counters"]) >= {"conversions", "pages_stale_possible", "invalidations_busy"}
    lines = tool("status", mounted.path).stdout
    assert "pages_stale_possible" in lines
    assert "{" not in lines


def test_set_changes_all_or_nothing(mounted: Mount):
    done = tool("set", mounted.path, "invalidate=before", "conversion_delay=7ms", "readahead=0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mounted.get("invalidate") == "before"
    assert mounted.get("conversion_delay") == "7ms"
    assert mounted.get("readahead") == "0"
    refused(USAGE, "set", mounted.path, "invalidate=after", "commit=never", saying="commit")
    assert mounted.get("invalidate") == "before"


def test_trace_shows_and_forgets(mounted: Mount):
    (mounted.path / "file").write_bytes(b"content")
    shown = tool("trace", mounted.path, "--clear").stdout
    assert "buffered.write.copy" in shown
    since = tool("trace", mounted.path).stdout  # the flusher and the periodic commit go on
    assert not set(shown.splitlines()) & set(since.splitlines())


@pytest.mark.parametrize("command", ["umount", "status", "trace", "set"])
def test_commands_for_a_mount_refuse_another_directory(tmp_path: Path, mnt: Path, command: str):
    with nothing_changes(tmp_path):
        words = [command, mnt, *(["invalidate=after"] if command == "set" else [])]
        refused(FAILED, *words, saying="no fusefs is mounted there")


# -- control files -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("invalidate", b"sometimes"),
        ("invalidate", b"\xff\xfe"),
        ("invalidate", b"before\nafter"),
        ("conversion_delay", b"-1"),
        ("conversion_delay", b"1" * 5000),
        ("readahead", b"lots"),
        ("cache_size", b"0"),
        ("commit", b""),
        ("commit", b"\n"),
    ],
)
def test_bad_value_in_a_control_file_is_einval_and_changes_nothing(
    shared: Mount, name: str, value: bytes
):
    before = shared.status()["options"]
    fd = os.open(shared.path / ".fusefs" / name, os.O_WRONLY | os.O_TRUNC)
    try:
        if value:
            with fails_with(errno.EINVAL):
                os.write(fd, value)
    finally:
        os.close(fd)
    assert shared.status()["options"] == before


def test_control_files_take_what_they_give(shared: Mount):
    for name in ("invalidate", "conversion_delay", "readahead", "cache_size", "commit"):
        value = (shared.path / ".fusefs" / name).read_text()
        (shared.path / ".fusefs" / name).write_text(value)
        assert (shared.path / ".fusefs" / name).read_text() == value
