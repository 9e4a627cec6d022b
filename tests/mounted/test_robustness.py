"""What must not end a mount: killed clients, errors inside, a failing disk, a crowd."""

import errno
import logging
import os
import resource
import select
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trio
from mounted.clients import (
    EVENTUALLY_TIMEOUT_S,
    all_succeed,
    direct_read,
    direct_write,
    eventually,
    fails_with,
    opened,
    python,
    watched,
)
from mounted.mounting import Mount

from fusefs.live.driver import Driver
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.errors import FsError
from fusefs.model.options import Options
from fusefs.model.steps import delay, reach, read_image
from fusefs.store.volume import Volume, make_image

pytestmark = pytest.mark.mounted


def is_submitted(m: Mount) -> bool:
    """A direct write has brought its data to the image, and is to convert its blocks."""
    return any(event.step == "dio.write.submit" for event in m.trace())


# -- requests that wait --------------------------------------------------------------


def test_large_writes_that_wait_keep_their_bytes_while_others_arrive(mount: Callable[..., Mount]):
    """The buffered ones wait for the direct one's lock, in the buffers that they came in.

    Only those are at risk that were in the queue together, so it is done again and again.
    """
    m = mount(size="64m", jitter=0, conversion_delay="100ms")
    length, count, path = 256 << 10, 20, m.path / "file"
    with opened(path, os.O_RDWR | os.O_CREAT) as fd, ThreadPoolExecutor(count + 1) as pool:
        for colour in range(10):
            os.ftruncate(fd, 0)
            os.ftruncate(fd, (count + 1) * length)
            m.clear_trace()
            converting = pool.submit(direct_write, path, b"d" * 4096, count * length)
            eventually(lambda: is_submitted(m), "its data is submitted")
            contents = [bytes([colour * 20 + i]) * length for i in range(count)]
            written = pool.map(os.pwrite, [fd] * count, contents, range(0, count * length, length))
            assert list(written) == [length] * count
            assert converting.result() == 4096
            assert [os.pread(fd, length, i * length) for i in range(count)] == contents


# -- clients that die ----------------------------------------------------------------


@pytest.mark.parametrize("order", ["after", "before"])
def test_killed_writers_leave_no_request_behind(mount: Callable[..., Mount], order: str):
    """SIGKILL in the middle of direct writes: each conversion that began ends."""
    m = mount(invalidate=order, conversion_delay="50ms", commit="3600s")
    script = """
import mmap, os, sys, threading
data = mmap.mmap(-1, 4096)
data[:] = b"k" * 4096
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
for thread in range(8):
    def write(thread=thread):
        for i in range(100):
            os.pwrite(fd, data, (i * 8 + thread) * 4096)
    threading.Thread(target=write).start()
"""
    (m.path / "file").touch()
    os.truncate(m.path / "file", 800 * 4096)
    with watched(m.path / "file"):
        clients = [python(script, m.path / "file") for _ in range(3)]
        try:
            eventually(lambda: m.status()["counters"]["conversions"] > 20, "writes are under way")
        finally:
            for client in clients:
                client.kill()
                client.communicate()

    def is_quiet() -> bool:
        counters = m.status()["counters"]
        return counters["direct_writes"] == counters["invalidations_post"]

    eventually(is_quiet, "every write has come to its end")
    assert direct_read(m.path / "file", 4096) == b"k" * 4096
    m.umount()  # waits for every request that the daemon has
    m.start()
    content = (m.path / "file").read_bytes()
    assert content.count(b"k" * 4096) * 4096 + content.count(0) == len(content)


def test_killed_waiter_leaves_its_lock_to_others(mount: Callable[..., Mount]):
    """A client that is killed while it waits for a file's lock takes nothing with it."""
    m = mount(conversion_delay="500ms")
    (m.path / "file").write_bytes(bytes(65536))
    os.truncate(m.path / "file", 1 << 20)
    write_direct = """
import mmap, os, sys
os.pwrite(os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT), mmap.mmap(-1, 4096), 1 << 19)
"""
    write = "import os, sys; os.pwrite(os.open(sys.argv[1], os.O_WRONLY), b'w' * 100, 0)"
    with watched(m.path / "file"):
        holder = python(write_direct, m.path / "file")
        eventually(lambda: is_submitted(m), "the lock is held")
        waiters = [python(write, m.path / "file") for _ in range(10)]
        for waiter in waiters[::2]:
            waiter.kill()
            waiter.communicate()
        all_succeed([holder, *waiters[1::2]])
    (m.path / "file").write_bytes(b"nobody holds it")


def test_waiting_request_goes_on_although_nothing_else_happens(mount: Callable[..., Mount]):
    """The end of one request wakes the next, even if no further request comes.

    The first client is silent after its write, and the flusher would come in an hour.
    """
    m = mount(conversion_delay="100ms", commit="3600s")
    write = """
import mmap, os, sys
fd, start, end, pos = map(int, sys.argv[1:])
data = mmap.mmap(-1, 4096)
os.read(start, 1)
os.pwrite(fd, data, pos)
print("done", flush=True)
os.read(end, 1)
"""
    file = m.path / "file"
    with (
        opened(file, os.O_WRONLY | os.O_CREAT | os.O_DIRECT) as direct,
        opened(file, os.O_WRONLY) as buffered,
        watched(file),
    ):
        os.ftruncate(direct, 1 << 20)
        for pos in range(65536, 65536 * 6, 65536):
            (start, go), (end, stop) = os.pipe(), os.pipe()
            clients = [
                python(write, fd, start, end, at, inherits=[fd, start, end])
                for fd, at in ((direct, pos), (buffered, 0))
            ]
            with ExitStack() as stack:
                for fd in (start, end, stop):
                    stack.callback(os.close, fd)
                os.close(go)
                for client in clients:
                    stack.callback(client.kill)
                    assert client.stdout is not None
                    said = [client.stdout]
                    assert select.select(said, [], [], EVENTUALLY_TIMEOUT_S)[0], "a write hangs"
            for client in clients:
                client.communicate()


# -- errors inside -------------------------------------------------------------------


def edit_metadata(m: Mount, statement: str) -> None:
    """Damage the metadata of an image that is not mounted."""
    with closing(sqlite3.connect(f"{m.image}.meta")) as db:
        assert db.execute(statement).rowcount == 1
        db.commit()


def test_owner_that_cannot_be_is_eio_for_that_file_and_ends_all_changes(
    mount: Callable[..., Mount],
):
    """An owner that no struct stat can hold: the log says which."""
    m = mount()
    (m.path / "good").write_bytes(b"good")
    (m.path / "bad").write_bytes(b"bad")
    bad_ino = (m.path / "bad").stat().st_ino
    m.umount()
    edit_metadata(m, f"UPDATE inode SET uid = -5 WHERE ino = {bad_ino}")
    m.start()
    m.errors_expected = True
    for _ in range(3):
        with fails_with(errno.EIO):
            (m.path / "bad").stat()
    assert (m.path / "good").read_bytes() == b"good"
    assert f"inode {bad_ino} (has uid -5, which no inode can have) is damaged" in m.log()
    assert "Traceback" not in m.log()
    with fails_with(errno.EIO):
        os.listdir(m.path)
    with fails_with(errno.EROFS):
        (m.path / "new").write_bytes(b"new")


@pytest.mark.parametrize("runs", ["x'00'", "zeroblob(24)", "x'ffffffffffffffff'"])
def test_damaged_map_is_eio_for_that_file_and_ends_all_changes(
    mount: Callable[..., Mount], runs: str
):
    """Who knows what else is damaged: as with ext4's errors=remount-ro."""
    m = mount()
    (m.path / "good").write_bytes(b"good" * 1000)
    (m.path / "bad").write_bytes(b"bad" * 1000)
    bad_ino = (m.path / "bad").stat().st_ino
    m.umount()
    edit_metadata(m, f"UPDATE chunk SET runs = {runs} WHERE ino = {bad_ino}")
    m.start()
    m.errors_expected = True
    with fails_with(errno.EIO):
        (m.path / "bad").read_bytes()
    with fails_with(errno.EIO):
        direct_read(m.path / "bad", 512)
    with fails_with(errno.EROFS):
        direct_write(m.path / "good", b"x" * 512)
    assert (m.path / "good").read_bytes() == b"good" * 1000
    assert f"the map of inode {bad_ino} is damaged" in m.status()["read_only"]


def test_image_that_cannot_be_read_is_eio_until_it_can(mount: Callable[..., Mount]):
    """The disk loses its end: only requests that need it fail, and not for ever."""
    m = mount(size="4m", block_size="4k", cache_size="64k")
    (m.path / "first").write_bytes(b"1" * 65536)
    (m.path / "filler").write_bytes(bytes(1 << 20))
    (m.path / "last").write_bytes(b"2" * 65536)
    m.remount()
    m.errors_expected = True
    whole = m.image.read_bytes()
    os.truncate(m.image, 65536 + 16384)
    for _ in range(2):
        with fails_with(errno.EIO):
            (m.path / "last").read_bytes()
        with fails_with(errno.EIO):
            direct_read(m.path / "last", 4096)
    assert (m.path / "first").read_bytes() == b"1" * 65536
    with open(m.image, "r+b") as image:
        image.write(whole)
    assert (m.path / "last").read_bytes() == b"2" * 65536
    assert "beyond the end of the image" in m.log()


async def test_driver_answers_a_task_that_raised_with_eio(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """(V1) done() is called once for each start(); the others go on."""
    image, metadata, options = f"{tmp_path}/image", f"{tmp_path}/metadata", Options(size=1 << 20)
    make_image(image, metadata, options)
    volume = Volume.open(image, metadata, options)
    driver = Driver(*(volume.image, volume.fs.load_map, volume.commit, Trace(), Timing(volume.fs)))

    async def good() -> bytes:
        await delay("dio.write.convert", 0, 0, 0.001)
        return bytes(await read_image("dio.read.submit", 0, 0, 16))

    async def bad(*, waits: bool) -> None:
        await reach("dio.write.submit", 0, 0)
        if waits:
            await delay("dio.write.convert", 0, 0, 0.001)
        raise ZeroDivisionError("on purpose")

    async def beyond() -> None:
        await read_image("dio.read.submit", 1 << 20, 0, 512)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        for waits in (False, True):
            with pytest.raises(FsError) as caught:
                await driver.call(bad(waits=waits), "write")
            assert caught.value.errno == errno.EIO
        with pytest.raises(FsError) as caught:
            await driver.call(beyond(), "read")
        assert caught.value.errno == errno.EIO
        assert (await driver.call(good(), "read")).startswith(b"fusefs image")
        assert driver.tasks_running == 0
        nursery.cancel_scope.cancel()
    volume.close()
    raised = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[0] for record in raised] == [ZeroDivisionError] * 2
    assert caplog.records[0].levelno == logging.ERROR


def test_full_host_disk_makes_the_mount_read_only(mount: Callable[..., Mount]):
    """A limit on the daemon's files stands for it: writes and commits fail, reads go on.

    Once a commit has failed nothing changes any more, and what was committed is not lost.
    """
    m = mount(commit="100ms")
    (m.path / "before").write_bytes(b"before" * 1000)
    m.remount()
    m.errors_expected = True
    with (
        opened(m.path / "before", os.O_RDONLY) as before,
        opened(m.path / "new", os.O_RDWR | os.O_CREAT) as new,
    ):
        assert os.pread(before, 6000, 0) == b"before" * 1000
        hard = resource.prlimit(m.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(m.pid, resource.RLIMIT_FSIZE, (1, hard))
        with fails_with(errno.EFBIG, errno.ENOSPC, errno.EIO, errno.EROFS):
            os.pwrite(new, b"new" * 1000, 0)
            os.fsync(new)
        eventually(lambda: m.status()["read_only"], "a commit has failed")
        assert os.pread(before, 6000, 0) == b"before" * 1000
        with fails_with(errno.EROFS):
            os.pwrite(new, b"new", 0)
        with fails_with(errno.EIO):
            os.fsync(new)
    with fails_with(errno.EROFS):
        (m.path / "before").unlink()
    assert m.log().count("the mount is read-only now") == 1
    m.umount()
    m.start()
    assert (m.path / "before").read_bytes() == b"before" * 1000
    assert m.status()["read_only"] is False


# -- a crowd -------------------------------------------------------------------------


def test_two_hundred_processes_at_once(mount: Callable[..., Mount]):
    """Each makes, writes, reads back, renames, lists, links and removes; nothing is left."""
    m = mount(cache_size="1m")
    script = """
import mmap, os, signal, sys, traceback

def work(me):
    top = f"{sys.argv[1]}/{me % 7}"
    direct = os.O_DIRECT if me % 2 else 0
    data = mmap.mmap(-1, 8192)
    data[:] = bytes([1 + me]) * 8192
    for i in range(3):
        name = f"{top}/{me}-{i}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | direct)
        assert os.pwrite(fd, data, i * 4096) == 8192
        shared = os.open(f"{sys.argv[1]}/shared", os.O_RDWR | direct)
        assert os.pwrite(shared, data, me * 8192) == 8192
        found = mmap.mmap(-1, 8192)
        assert os.preadv(shared, [found], me * 8192) == 8192 and found[:] == data[:]
        os.rename(name, name + "r")
        os.link(name + "r", name)
        assert os.preadv(fd, [found], i * 4096) == 8192 and found[:] == data[:]
        assert f"{me}-{i}" in os.listdir(top)
        os.setxattr(name, "user.me", str(me).encode())
        if me % 5 == 0:
            os.fsync(fd)
        os.unlink(name)
        assert os.fstat(fd).st_nlink == 1
        os.unlink(name + "r")
        os.close(fd)
        os.close(shared)

for d in range(7):
    os.mkdir(f"{sys.argv[1]}/{d}")
with open(f"{sys.argv[1]}/shared", "w") as f:
    f.truncate(200 * 8192)
pids = []
for me in range(200):
    pid = os.fork()
    if not pid:
        try:
            work(me)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    pids.append(pid)
sys.exit(sum(bool(os.waitpid(pid, 0)[1]) for pid in pids))
"""
    all_succeed([python(script, m.path)])
    content = (m.path / "shared").read_bytes()
    assert content == b"".join(bytes([1 + me]) * 8192 for me in range(200))
    assert sorted(os.listdir(m.path)) == ["0", "1", "2", "3", "4", "5", "6", "shared"]

    def is_tidy() -> bool:
        with opened(m.path, os.O_RDONLY) as fd:
            os.fsync(fd)
        return m.status()["inodes"]["total"] == 9

    eventually(is_tidy, "what was removed is gone")
    for d in range(7):
        assert os.listdir(m.path / f"{d}") == []
