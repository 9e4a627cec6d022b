"""What was there before an unmount is there after the next mount; what was synced, even
after a crash."""

import hashlib
import os
import random
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    FALLOC_KEEP_SIZE,
    aligned,
    direct_write,
    eventually,
    fallocate,
    has_ended,
    needs_root,
    opened,
    python,
    run,
)
from mounted.mounting import Mount

from fusefs.mounts import MountFailed, is_mounted

pytestmark = pytest.mark.mounted

LONG_AGO_NS = 1_000_000_000_123_456_789


def make_tree(top: Path) -> None:
    """One of everything."""
    rng = random.Random(1)
    (top / "dir/sub").mkdir(parents=True)
    (top / "dir/buffered").write_bytes(rng.randbytes(300_001))
    direct_write(top / "dir/direct", rng.randbytes(65536), 4096)
    (top / "dir/empty").touch()
    for i in range(100):
        (top / f"dir/sub/{i}").write_bytes(rng.randbytes(i * 37))
    os.link(top / "dir/direct", top / "dir/sub/hard")
    (top / "soft").symlink_to("dir/buffered")
    os.mkfifo(top / "fifo", 0o620)
    with opened(top / "sparse", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 1 << 30)
        for pos in (0, 1 << 20, (1 << 30) - 4096):
            os.pwrite(fd, rng.randbytes(4096), pos)
    fallocate(top / "preallocated", FALLOC_KEEP_SIZE, 0, 1 << 20)
    os.setxattr(top / "dir", "user.on-a-directory", b"value")
    os.setxattr(top / "soft", "user.through-the-link", bytes(range(256)))
    (top / "dir/empty").chmod(0o4751)
    for path in (top / "dir/buffered", top / "dir/sub"):
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    os.utime(top / "soft", ns=(LONG_AGO_NS, LONG_AGO_NS), follow_symlinks=False)


def describe(top: Path) -> dict[str, tuple]:
    """All that can be seen of a tree, by path."""
    return {
        str(path.relative_to(top)): (_attributes(path), _content(path), _xattrs(path))
        for path in [top, *sorted(top.rglob("*"))]
    }


def _attributes(path: Path) -> tuple[int, ...]:
    s = os.lstat(path)
    times = (s.st_mtime_ns, s.st_ctime_ns)
    return (s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_blocks, *times)


def _content(path: Path) -> object:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if not stat.S_ISREG(mode):
        return None
    extents = data_extents(path)
    hashes = []
    with opened(path, os.O_RDONLY) as fd:
        for start, end in extents:
            hashes.append(hashlib.sha256(os.pread(fd, end - start, start)).hexdigest())
    return extents, hashes


def _xattrs(path: Path) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def data_extents(path: Path) -> list[tuple[int, int]]:
    found = []
    with opened(path, os.O_RDONLY) as fd:
        end, size = 0, os.fstat(fd).st_size
        while end < size:
            try:
                start = os.lseek(fd, end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, end))
    return found


# -- a clean end ---------------------------------------------------------------------


@pytest.mark.parametrize("block_size", ["512", "4k"])
def test_mount_brings_everything_back_after_an_unmount(
    mount: Callable[..., Mount], block_size: str
):
    """Content, attributes, xattrs, hard links and holes; times to the nanosecond."""
    m = mount(block_size=block_size, commit="3600s")
    make_tree(m.path)
    before, free = describe(m.path), None
    m.umount()
    for _ in range(2):
        m.remount()
        assert describe(m.path) == before
        assert os.path.samestat(os.stat(m.path / "dir/direct"), os.stat(m.path / "dir/sub/hard"))
        assert free in (None, m.status()["space"]["free"])
        free = m.status()["space"]["free"]


def test_page_size_may_change_between_mounts(mount: Callable[..., Mount]):
    m = mount(block_size="1k", page_size="4k")
    make_tree(m.path)
    before = {path: seen[1] for path, seen in describe(m.path).items()}
    for page_size in ("64k", "1k"):
        m.remount(page_size=page_size)
        assert {path: seen[1] for path, seen in describe(m.path).items()} == before


@needs_root
def test_device_nodes_come_back(mount: Callable[..., Mount]):
    m = mount()
    os.mknod(m.path / "device", stat.S_IFCHR | 0o600, os.makedev(259, 1048575))
    m.remount()
    assert (m.path / "device").stat().st_rdev == os.makedev(259, 1048575)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_unmounts_with_everything_committed(
    mount: Callable[..., Mount], number: signal.Signals
):
    m = mount(commit="3600s")
    make_tree(m.path)
    before = describe(m.path)
    os.kill(m.pid, number)
    eventually(lambda: not is_mounted(m.path), "it is not mounted any more")
    eventually(lambda: has_ended(m.pid), "the daemon has ended")
    m.start()
    assert describe(m.path) == before


def test_signal_unmounts_even_while_a_file_is_open(mount: Callable[..., Mount]):
    m = mount(commit="3600s")
    with opened(m.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"dirty" * 1000, 0)
        (m.path / "deleted").write_bytes(b"d" * 100_000)
        with opened(m.path / "deleted", os.O_RDONLY):
            (m.path / "deleted").unlink()
            os.kill(m.pid, signal.SIGTERM)
            eventually(lambda: has_ended(m.pid), "the daemon has ended")
    assert not is_mounted(m.path)
    m.start()
    assert (m.path / "file").read_bytes() == b"dirty" * 1000
    assert m.status()["inodes"]["total"] == 2  # the root, and no orphan


def test_umount_waits_until_the_daemon_has_ended(mount: Callable[..., Mount]):
    m = mount(commit="3600s")
    (m.path / "file").write_bytes(bytes(16 << 20))
    pid = m.pid
    m.umount()
    assert has_ended(pid)
    m.start()
    assert (m.path / "file").stat().st_size == 16 << 20


def test_umount_of_a_busy_mount_fails_and_it_goes_on(mount: Callable[..., Mount]):
    m = mount()
    with opened(m.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        with pytest.raises(MountFailed, match="busy"):
            m.umount()
        os.pwrite(fd, b"still here", 0)
        m.pid = m.status()["pid"]
    assert (m.path / "file").read_bytes() == b"still here"


def test_metadata_may_be_elsewhere(mount: Callable[..., Mount], tmp_path: Path):
    m = mount(metadata=tmp_path / "elsewhere")
    (m.path / "file").write_bytes(b"content")
    m.remount()
    assert (m.path / "file").read_bytes() == b"content"
    assert (tmp_path / "elsewhere").exists()
    assert not m.image.with_name("image.meta").exists()


# -- kill -9 -------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", ["512", "4k"])
def test_synced_data_survives_sigkill(mount: Callable[..., Mount], block_size: str):
    """fsync of the file; its name came with it."""
    m = mount(block_size=block_size, commit="3600s")
    rng = random.Random(2)
    contents = {}
    for i in range(20):
        contents[f"{i}"] = rng.randbytes(i * 1717)
        with opened(m.path / f"{i}", os.O_RDWR | os.O_CREAT) as fd:
            os.pwrite(fd, contents[f"{i}"], 0)
            os.fsync(fd)
    with opened(m.path / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT) as fd:
        os.pwrite(fd, aligned(b"D" * 8192), 0)
        os.fsync(fd)
    (m.path / "not synced").write_bytes(b"n" * 10_000)
    m.kill()
    m.start()
    for name, content in contents.items():
        assert (m.path / name).read_bytes() == content
    assert (m.path / "direct").read_bytes() == b"D" * 8192
    assert set(os.listdir(m.path)) - {"not synced"} == {*contents, "direct"}


def test_synced_names_survive_sigkill(mount: Callable[..., Mount]):
    """fsync of a directory commits what was renamed, linked and removed in it."""
    m = mount(commit="3600s")
    for name in ("moved", "linked", "removed"):
        (m.path / name).write_bytes(name.encode())
    (m.path / "moved").rename(m.path / "target")
    os.link(m.path / "linked", m.path / "second")
    (m.path / "removed").unlink()
    os.setxattr(m.path, "user.a", b"value")
    run("sync", m.path)
    m.kill()
    m.start()
    assert sorted(os.listdir(m.path)) == ["linked", "second", "target"]
    assert (m.path / "linked").stat().st_nlink == 2
    assert os.getxattr(m.path, "user.a") == b"value"


def test_rename_over_a_file_leaves_the_new_one_whole(mount: Callable[..., Mount]):
    """Nobody synced its content; but the name must not lead to less than one of the two."""
    m = mount(commit="3600s")
    (m.path / "file").write_bytes(b"old" * 10_000)
    with opened(m.path / "new", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"new" * 10_000, 0)
    (m.path / "new").rename(m.path / "file")
    run("sync", m.path)  # of the names alone
    m.kill()
    m.start()
    assert (m.path / "file").read_bytes() == b"new" * 10_000


def test_sigkill_under_load_leaves_whole_records(mount: Callable[..., Mount]):
    """Each record was fsynced before the client said so; all of them must be there."""
    m = mount(commit="100ms")
    script = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
i = 0
while True:
    os.write(fd, bytes([i % 251 + 1]) * 1000)
    os.fsync(fd)
    i += 1
    print(i, flush=True)
"""
    clients = [python(script, m.path / f"{i}") for i in range(3)]
    said = [0, 0, 0]
    try:
        for _ in range(20):
            for i, client in enumerate(clients):
                assert client.stdout is not None
                said[i] = int(client.stdout.readline())
        m.kill()
    finally:
        for i, client in enumerate(clients):
            client.kill()
            rest, _ = client.communicate()
            said[i] = max([said[i], *map(int, rest.split())])
    m.start()
    for i, count in enumerate(said):
        content = (m.path / f"{i}").read_bytes()
        assert len(content) >= count * 1000
        for record in range(len(content) // 1000):
            whole = bytes([record % 251 + 1]) * 1000
            assert content[record * 1000 : record * 1000 + 1000] == whole
    (m.path / "new").write_bytes(b"it can be written")


def test_shorter_commit_interval_takes_effect_on_a_live_mount(mount: Callable[..., Mount]):
    m = mount(commit="3600s")
    (m.path / "file").write_bytes(b"nobody syncs it")
    m.set(commit="100ms")
    eventually(lambda: m.status()["counters"]["commits"] > 0, "the flusher commits")
    eventually(lambda: m.status()["cache"]["pages_dirty"] == 0, "the flusher writes back")
    m.kill()
    m.start()
    assert (m.path / "file").read_bytes() == b"nobody syncs it"


def test_blocks_of_files_deleted_while_open_are_free_after_a_crash(mount: Callable[..., Mount]):
    m = mount(commit="3600s")
    free = m.status()["space"]["free"]
    with opened(m.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, bytes(1 << 20), 0)
        (m.path / "file").unlink()
        os.fsync(fd)
        assert m.status()["space"]["free"] < free
        m.kill()
    m.start()
    assert m.status()["inodes"]["total"] == 1
    m.remount()
    assert m.status()["space"]["free"] == free


@pytest.mark.parametrize("end", ["crash", "umount"])
@pytest.mark.parametrize("written_back_by", ["fsync", "another-writer"])
def test_a_commit_between_a_write_and_its_writeback_loses_nothing(
    mount: Callable[..., Mount], written_back_by: str, end: str
):
    """(C1, N2) The map changes at the writeback, after another file's commit saved the inode."""
    here = mount(commit="3600s", cache_size="1m")
    data = b"A" * 100_000
    with opened(here.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, data)
        with opened(here.path / "other", os.O_RDWR | os.O_CREAT) as other:
            os.write(other, b"B")
            os.fsync(other)
            if written_back_by == "another-writer":
                os.write(other, bytes(1 << 20))
                os.fsync(other)
        if written_back_by == "fsync" or end == "crash":
            os.fsync(fd)
        if end == "crash":
            here.kill()
    here.remount()
    assert (here.path / "file").read_bytes() == data
