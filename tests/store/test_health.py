"""Read-only after a failure beneath: who is told, and what is refused."""

import errno

import pytest

from fusefs.model.errors import FsError
from fusefs.store.health import Health


def test_nothing_is_refused_while_nothing_failed():
    health = Health()
    health.check_writable()
    health.check_durable()
    assert health.failure == ""


def test_first_reason_is_told_once_to_each_who_watches():
    """(H1)"""
    health, told, told_too = Health(), [], []
    health.watch(told.append)
    health.watch(told_too.append)
    for reason in ("the flush failed", "and the metadata"):
        health.fail(reason)
    assert told == told_too == ["the flush failed"]
    assert health.failure == "the flush failed"


def test_changes_get_erofs_and_what_should_be_durable_eio():
    """(H2)"""
    health = Health()
    health.fail("the flush failed")
    for _ in range(2):
        with pytest.raises(FsError) as change:
            health.check_writable()
        with pytest.raises(FsError) as durability:
            health.check_durable()
        assert (change.value.errno, durability.value.errno) == (errno.EROFS, errno.EIO)
