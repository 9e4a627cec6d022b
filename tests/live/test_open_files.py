"""Open files over the real daemon without a mount: handles, and who waits for the kernel."""

import errno
import os
from pathlib import Path

import pytest
from crash.failing import Reply
from live.test_name_requests import daemon_on

from fusefs.live.kernel_pages import DROP, FLUSH
from fusefs.live.requests.control import CONTROL_INO
from fusefs.store.metadata_file import ROOT_INO

STATUS = CONTROL_INO + 1


async def test_only_files_are_opened(tmp_path: Path):
    async with daemon_on(tmp_path) as daemon:
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            await daemon.open(ROOT_INO)
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            await daemon.open(99)
        assert not daemon.files.handles


async def test_control_file_is_read_as_it_was_when_it_was_opened(tmp_path: Path):
    """And what is kept for that goes with the last close."""
    async with daemon_on(tmp_path) as daemon:
        fh = await daemon.open(STATUS, os.O_RDONLY)
        said = await daemon.read(STATUS, fh, 0, 1 << 20)
        assert said.startswith(b"{")
        await daemon.create(b"file")
        assert await daemon.read(STATUS, fh, 1, 4) == said[1:5]
        await daemon.fsync(fh)
        await daemon.close(fh)
        assert not daemon.files.contents
        assert daemon.files.control._content_bytes == 0


async def test_fsync_is_told_with_who_asked(tmp_path: Path):
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"file")
        await daemon.write(ino, fh, 0, b"x" * 5000)
        await daemon.fsync(fh)
        events = [each for each in daemon.driver.trace.events() if each.operation == "fsync"]
        assert {(each.ino, each.pid) for each in events} == {(ino, Reply.pid)}
        assert events[-1].step == "reply"


async def test_write_under_a_mapping_is_answered_when_the_kernel_was_told(tmp_path: Path):
    """Also one that fails: how much of it has changed the file is not known."""
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"file")
        await daemon.write(ino, fh, 0, b"x" * 8192)
        for pos, expected in ((0, 0), (100, errno.EINVAL)):
            await daemon.ask_here(daemon.data.fill, ino, fh, 0, 8192, 0)
            reply = Reply()
            daemon.data.write(reply, ino, fh, pos, b"y" * 512, os.O_DIRECT, False)
            assert not reply.answers
            last = daemon.driver.trace.events()[-1]
            assert (last.event, last.step) == ("asked", DROP)
            daemon.files.kernel_pages.abandon()  # as when the mount is gone: nobody tells it
            daemon.files.kernel_pages._abandoned = False
            assert [error for error, _ in reply.answers] == [expected]
        assert daemon.driver.tasks_running == 0


async def test_seek_and_utimens_begin_when_what_was_mapped_is_written_back(tmp_path: Path):
    async with daemon_on(tmp_path) as daemon:
        ino, fh = await daemon.create(b"file")
        await daemon.write(ino, fh, 0, b"x" * 8192)
        none = None, None, None, None, None
        for handler, arguments in (
            (daemon.data.lseek, (ino, 0, os.SEEK_DATA)),
            (daemon.names.setattr, (ino, *none, 5, False)),
        ):
            await daemon.ask_here(daemon.data.fill, ino, fh, 0, 8192, 0)
            reply = Reply()
            handler(reply, *arguments)
            last = daemon.driver.trace.events()[-1]
            assert (last.event, last.step, bool(reply.answers)) == ("asked", FLUSH, False)
            daemon.files.kernel_pages.abandon()
            daemon.files.kernel_pages._abandoned = False
            assert [error for error, _ in reply.answers] == [0]
        assert daemon.volume.nodes.get(ino).mtime_ns == 5
