"""Files that the kernel forgets, and looks up again: nothing of them is lost, or counted twice.

Any remount has the kernel drop the unused dentries of that mount, shrink_dcache_sb(): what has no
other user is forgotten, as when the machine is short of memory.
"""

import os
from collections.abc import Callable

import pytest
from mounted.clients import eventually, give_name, kernel_remount, needs_root, opened
from mounted.mounting import Mount

pytestmark = [pytest.mark.mounted, needs_root]


def forget_all(m: Mount) -> None:
    """Commit, which what has changed stays in memory for, and writes no other file back."""
    with opened(m.path / "other", os.O_WRONLY | os.O_CREAT) as fd:
        os.fsync(fd)
    kernel_remount(m.path, "rw")
    eventually(lambda: m.status()["inodes"]["in_memory"] == 1, "all files have left memory")


def test_what_is_written_to_a_forgotten_file_is_there_later(mount: Callable[..., Mount]):
    """(W5) What was there before had been cut off while it was dirty."""
    m = mount(commit=3600)
    (m.path / "file").write_bytes(b"x")
    (m.path / "file").write_bytes(b"")
    forget_all(m)
    (m.path / "file").write_bytes(b"hello")
    m.remount()
    assert (m.path / "file").read_bytes() == b"hello"


def test_df_of_a_file_that_got_its_name_when_it_was_closed(mount: Callable[..., Mount]):
    """An O_PATH descriptor is enough for linkat(2): its blocks come free no more."""
    m = mount(commit=3600)
    before = os.statvfs(m.path).f_bfree
    with opened(m.path, os.O_TMPFILE | os.O_RDWR) as fd:
        os.write(fd, bytes(4096))
        os.fsync(fd)
        path_fd = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
    give_name(path_fd, m.path / "file")
    os.close(path_fd)
    for forgets in (lambda: None, lambda: forget_all(m)):
        forgets()
        free = os.statvfs(m.path)
        assert (before - free.f_bfree) * free.f_frsize == 4096
