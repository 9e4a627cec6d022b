"""What all tests share: two markers, and mounts that clean up after themselves.

Markers:
    mounted    needs /dev/fuse; skipped with the reason where it cannot be used, except
               that it fails if CI is set: CI must not pass without it; whatever has the
               fixture mount is so marked
    long       runs only with --long
    alone      judges how long something takes: ./dev test runs no other tests meanwhile

Fixtures:
    mount      a factory of real mounts: mount(invalidate="before") is a Mount
    mounted    one mount with default options
    image      where the image of the first mount is, or will be
    figures    what the tests count: figures.add("kills survived", 1); the sums are printed at
               the end, with "losses: none" or the tests with this fixture that failed
    seed       for tests whose calls are random: that of --seed, or another one each time
"""

import os
import random
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from figures import Figures
from hypothesis import HealthCheck, settings
from mounted.mounting import Mount
from short_reports import ShortReports

from fusefs.mounts import OptionValue, lazy_umount, mountpoints

TEST_TIMEOUT_S = 900.0
LONG_TEST_TIMEOUT_S = 7200.0
"""After these the daemons of a test are killed, so that nothing waits for them for ever."""

outcomes: Counter[str] = Counter()
"""Mounted tests that ran, and those that were skipped."""

the_figures = Figures()
short_reports = ShortReports()

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def why_no_mounts() -> str | None:
    """One line, or None if this machine can mount."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return "/dev/fuse is missing ('modprobe fuse', or 'docker run --device /dev/fuse')"
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    if os.getuid() and not shutil.which("fusermount3"):
        return "fusermount3 is missing (package fuse3), and only root can mount without it"
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked long, too")
    parser.addoption("--seed", type=int, help="what a failed test of random calls printed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; runs only with --long")
    config.addinivalue_line("markers", "alone: no other tests run meanwhile")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)  # programs of tests inherit it


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "mount" in getattr(item, "fixturenames", ()):
            item.add_marker("mounted")
    if config.getoption("--long"):
        return
    if long := [item for item in items if item.get_closest_marker("long")]:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("mounted") and (reason := why_no_mounts()):
        if os.environ.get("CI"):
            pytest.fail(f"CI is set, and {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        short_reports.shorten(report)
    if report.failed and "figures" in getattr(item, "fixturenames", ()):
        the_figures.failed.append(item.nodeid)
    if item.get_closest_marker("mounted"):
        xfailed = hasattr(report, "wasxfail")
        if report.skipped and not xfailed:
            outcomes["skipped"] += 1
        elif report.when == "call":
            outcomes["ran"] += 1
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes (pytest -n) hands over what it has counted."""
    counted = getattr(session.config, "workeroutput", None)
    if counted is not None:
        counted["outcomes"] = dict(outcomes)
        counted["figures"] = dict(the_figures.counts), the_figures.failed


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """That process has ended; it has handed over nothing if it has crashed."""
    counted = getattr(node, "workeroutput", {})
    outcomes.update(counted.get("outcomes", {}))
    counts, failed = counted.get("figures", ({}, []))
    the_figures.counts.update(counts)
    the_figures.failed.extend(failed)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield  # so that the lines come just before the last
    if the_figures.counts or the_figures.failed:
        terminalreporter.write_line(f"figures: {the_figures.line()}")
    ran, skipped = outcomes["ran"], outcomes["skipped"]
    terminalreporter.write_line(f"mounted tests: {ran} ran, {skipped} skipped")


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Later runs remove old temporary folders: they must not get into a mount."""
    yield
    folder = tmp_path_factory.getbasetemp().resolve()
    left = [path for path in mountpoints() if path.is_relative_to(folder)]
    for path in left:
        subprocess.run(lazy_umount(path), timeout=300, check=False)
    assert not left, f"still mounted: {left}"


@pytest.fixture
def figures() -> Figures:
    return the_figures


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--seed")
    return random.randrange(1 << 32) if given is None else given


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "image"


@pytest.fixture
def mount(
    request: pytest.FixtureRequest, tmp_path: Path, image: Path
) -> Iterator[Callable[..., Mount]]:
    """mount(invalidate="before", ...) -> Mount; image= names another image than the first."""
    mounts: list[Mount] = []

    def interrupt() -> None:
        for each in mounts:
            each.interrupt()

    long = request.node.get_closest_marker("long")
    watchdog = threading.Timer(LONG_TEST_TIMEOUT_S if long else TEST_TIMEOUT_S, interrupt)
    watchdog.daemon = True
    watchdog.start()
    with ExitStack() as stack:
        stack.callback(watchdog.cancel)

        def make(*, image: Path = image, **options: OptionValue) -> Mount:
            each = Mount(tmp_path / f"mnt{len(mounts)}", image, options)
            mounts.append(each)
            stack.callback(each.close)
            each.start()
            return each

        yield make


@pytest.fixture
def mounted(mount: Callable[..., Mount]) -> Mount:
    return mount()
