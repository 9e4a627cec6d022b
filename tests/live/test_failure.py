"""What a request that fails is answered with, wherever it fails."""

import errno
import logging

import pyfuse3
import pytest

from fusefs.live.failure import failure
from fusefs.live.requests.operations import answered
from fusefs.model.errors import FsError


def test_an_errno_that_was_meant_is_the_answer(caplog: pytest.LogCaptureFixture):
    meant = FsError(errno.ENOSPC)
    assert failure(meant, "write failed") is meant
    assert not caplog.records


def test_an_exception_of_ours_is_eio_and_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        assert failure(ZeroDivisionError("ours"), "%s of inode %d failed", "read", 7).errno == (
            errno.EIO
        )
    assert "read of inode 7 failed" in caplog.text
    assert "ZeroDivisionError: ours" in caplog.text


@pytest.mark.parametrize(
    ("error", "expected"), [(FsError(errno.ENODATA), errno.ENODATA), (KeyError(1), errno.EIO)]
)
async def test_what_pyfuse3_s_handlers_raise_is_answered_alike(error: Exception, expected: int):
    @answered
    async def handler() -> None:
        raise error

    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handler()
    assert caught.value.errno == expected
