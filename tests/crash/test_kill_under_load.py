"""The daemon is killed under load, and nothing is lost: the promises of docs/crashes.md."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash.kill.broken import FAULTS
from crash.kill.file_history import FileHistory, Lost
from crash.kill.rounds import IMAGE_SIZE, Rounds
from mounted.mounting import Mount

from fusefs.mounts import COMMAND_TIMEOUT_S, ROOT

BLOCK = 512
FAULT_ROUNDS_MAX = 20


# -- on a real mount -----------------------------------------------------------------


@pytest.fixture
def rounds(tmp_path: Path, seed: int) -> Iterator[Callable[..., Rounds]]:
    """rounds(block_size="4k") on an image of its own; a Lost says how to replay it."""
    mounts: list[Mount] = []

    def make(kind: Callable[..., Mount] = Mount, *, block_size: str = "1k") -> Rounds:
        options = {"block_size": block_size, "size": IMAGE_SIZE}
        mounts.append(kind(tmp_path / "mnt", tmp_path / "image", options))
        return Rounds(mounts[0], seed, block_size)

    yield make
    for mount in mounts:
        mount.kill()


@pytest.mark.mounted
def test_nothing_is_lost(rounds, figures):
    """What was synced is there, the rest is old or new; ten rounds on one image."""
    all_rounds = rounds()
    all_rounds.run(10)
    figures.add("kills survived", all_rounds.kills)


@pytest.mark.mounted
@pytest.mark.long
@pytest.mark.parametrize("block_size", ["512", "1k", "4k", "64k"])
def test_nothing_is_lost_in_many_rounds(rounds, figures, block_size):
    all_rounds = rounds(block_size=block_size)
    all_rounds.run(50)
    figures.add("kills survived", all_rounds.kills)


@pytest.mark.mounted
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_fault_of_the_daemon_is_found(rounds, fault):
    """Or the tests above show nothing."""

    class BrokenMount(Mount):
        def _mount_tool(self, *arguments: str) -> None:
            # compiled functions call each other directly: a replaced one would not be met
            environment = ["FUSEFS_PURE=1", f"PYTHONPATH={ROOT / 'tests'}"]
            python = ["env", *environment, sys.executable]
            self._run([*python, "-m", "crash.kill.broken", fault, *arguments], COMMAND_TIMEOUT_S)

    with pytest.raises(Lost):
        rounds(BrokenMount).run(FAULT_ROUNDS_MAX)


# -- the check by itself -------------------------------------------------------------


def a_file() -> FileHistory:
    """Four blocks of "a", synced; then "b" in the middle two, which nobody synced."""
    file = FileHistory(b"a" * 4 * BLOCK, 0o600, BLOCK)
    file.write(BLOCK, b"b" * 2 * BLOCK)
    return file


A, B, ZEROS = b"a" * BLOCK, b"b" * BLOCK, bytes(BLOCK)


@pytest.mark.parametrize("found", [A + A + A + A, A + B + B + A, A + B + A + A, A + A + B + A])
def test_each_block_may_be_old_or_new(found):
    a_file().check(found)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(A + ZEROS + B + A, id="zeros"),
        pytest.param(B + B + B + A, id="another place's bytes"),
        pytest.param(A + B[:100] + A[100:] + A + A, id="torn within a block"),
        pytest.param(A + B + B, id="a size that it never had"),
    ],
)
def test_other_bytes_are_a_loss(found):
    with pytest.raises(Lost):
        a_file().check(found)


def test_old_bytes_are_a_loss_after_a_sync():
    file = a_file()
    file.sync()
    file.check(A + B + B + A)
    with pytest.raises(Lost):
        file.check(A + A + B + A)


def test_bytes_beside_those_of_a_synced_write_may_be_old():
    file = a_file()
    file.sync_range(BLOCK, 2 * BLOCK)
    file.check(A + B + A + A)
    with pytest.raises(Lost):
        file.check(A + A + B + A)


def test_bytes_cut_off_are_a_loss_only_with_a_size_from_after_the_cut():
    file = FileHistory(A + A, 0o600, BLOCK)
    file.truncate(100)
    file.truncate(3 * BLOCK)
    file.check(A + A)
    file.check(A[:100])
    file.check(A[:100] + bytes(3 * BLOCK - 100))
    with pytest.raises(Lost):
        file.check(A + A + ZEROS)
