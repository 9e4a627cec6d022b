"""A full image through a real mount: room that comes free is there for the next request."""

import errno
import os

import pytest
from mounted.clients import aligned, fails_with, opened
from mounted.mounting import Mount

pytestmark = pytest.mark.mounted

SHARED_OPTIONS = {"size": "1m", "block_size": "4k", "commit": "3600s", "cache_size": "8m"}


def empty(m: Mount) -> int:
    """Remove all files; returns how many bytes can be written then, in whole pages."""
    for left in list(m.path.iterdir()):
        left.unlink()
    stats = os.statvfs(m.path)
    return stats.f_bavail * stats.f_frsize


def write_all(fd: int, data: bytes) -> None:
    assert os.pwrite(fd, data, 0) == len(data)


FLAGS = {"buffered": 0, "direct": os.O_DIRECT}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize("end", ["unlink", "rename over it", "truncate"])
def test_write_right_after_a_delete_has_room(shared: Mount, flags: int, end: str):
    """Fifty times on a full image, with nothing between the two requests: never ENOSPC."""
    m = shared
    data = aligned(bytes([7]) * empty(m))
    full, new = m.path / "full", m.path / "new"
    with opened(full, os.O_WRONLY | os.O_CREAT | flags) as fd:
        write_all(fd, data)
    for _ in range(50):
        (m.path / "empty").touch()
        with opened(new, os.O_WRONLY | os.O_CREAT | flags) as fd:
            with fails_with(errno.ENOSPC):
                os.pwrite(fd, data, 0)
            if end == "unlink":
                full.unlink()
            elif end == "truncate":
                os.truncate(full, 0)
            else:
                (m.path / "empty").rename(full)
            write_all(fd, data)
        new.rename(full)
    assert full.read_bytes() == bytes(data)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_write_right_after_many_deletes_has_room(shared: Mount, flags: int):
    """The kernel forgets them in batches, between other requests."""
    m = shared
    size = empty(m)
    data = aligned(bytes([7]) * size)
    for _ in range(5):
        for i in range(size // 4096):
            (m.path / f"small{i}").write_bytes(bytes(4096))
        with opened(m.path / "new", os.O_WRONLY | os.O_CREAT | flags) as fd:
            with fails_with(errno.ENOSPC):
                os.pwrite(fd, data, 0)
            for i in range(size // 4096):
                (m.path / f"small{i}").unlink()
            assert os.statvfs(m.path).f_bavail * 4096 == size
            write_all(fd, data)
        (m.path / "new").unlink()


def test_file_that_is_open_without_a_name_keeps_its_room(shared: Mount):
    """And gives it back with its last close, at once."""
    m = shared
    data = bytes([7]) * empty(m)
    (m.path / "full").write_bytes(data)
    with opened(m.path / "full", os.O_RDONLY) as fd:
        (m.path / "full").unlink()
        with fails_with(errno.ENOSPC):
            (m.path / "new").write_bytes(data)
        assert os.pread(fd, len(data), 0) == data
    (m.path / "new").write_bytes(data)
