"""Random operations from several processes, checked against bytes in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mounted.mounting import Mount
from mounted.oracle.client import Mismatch
from mounted.oracle.run import IMAGE_SIZE, Run

pytestmark = pytest.mark.mounted


@pytest.fixture
def run(tmp_path: Path, seed: int) -> Iterator[Callable[..., Run]]:
    """run(block_size="1k", ...) on an image of its own; a Mismatch says how to replay it."""
    mounts: list[Mount] = []

    def make(**options: str) -> Run:
        mounts.append(Mount(tmp_path / "mnt", tmp_path / "image", {"size": IMAGE_SIZE} | options))
        return Run(mounts[0], seed)

    yield make
    for mount in mounts:
        mount.kill()


@pytest.mark.parametrize("block_size", ["512", "4k"])
def test_every_byte_is_as_it_was_written(run, figures, block_size):
    """Also behind an unmount, and after a mount with other options."""
    checked = run(block_size=block_size)
    checked.run(10_000)
    figures.add("operations checked", checked.counts.total())


@pytest.mark.long
def test_every_byte_of_a_million_operations_is_as_it_was_written(run, figures):
    checked = run(block_size="1k")
    checked.run(1_000_000)
    figures.add("operations checked", checked.counts.total())


def test_bug_is_found(run):
    """Or the tests above show nothing.  Guards kernel commit c771c14baa33."""
    with pytest.raises(Mismatch, match="found 00"):
        run(block_size="1k", invalidate="before").run(20_000)
