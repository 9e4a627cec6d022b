"""Mounts that the tests of one file share: most need a directory, not a mount of their own.

shared    a mount for the whole file; SHARED_OPTIONS of the file, or a parameter, are its options
top       a new directory in it for each test
helpers   the folder into which './dev install' has put the helpers of mount(8)
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounted.installing import dev
from mounted.mounting import Mount

SHARED_TIMEOUT_S = 1800.0
"""After this the daemon is killed, so that nothing waits for it for ever."""


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mount]:
    directory = tmp_path_factory.mktemp("shared")
    options = getattr(request, "param", None) or getattr(request.module, "SHARED_OPTIONS", {})
    each = Mount(directory / "mnt", directory / "image", options)
    watchdog = threading.Timer(SHARED_TIMEOUT_S, each.interrupt)
    watchdog.daemon = True
    watchdog.start()
    try:
        each.start()
        yield each
    finally:
        watchdog.cancel()
        each.close()


@pytest.fixture
def top(shared: Mount) -> Path:
    """A directory of the shared mount that only this test uses."""
    number = len(list(shared.path.iterdir()))
    directory = shared.path / f"test{number}"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def helpers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where './dev install' has put them."""
    destination = tmp_path_factory.mktemp("destination")
    dev("install", destination)
    return destination / "sbin"
