"""A flood of requests from one client keeps nobody else waiting.

What is judged is the daemon, not the machine: the time for which daemon and client were ready
to run, and the CPUs had others to run, is taken off each wait.  The kernel counts it for each
thread, in /proc/PID/schedstat.  And where memory is slow, as on a host whose guests share it,
nobody can be served before those requests that the kernel has handed out already were copied.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median

import pytest
from mounted.clients import aligned, eventually, lacking, need, opened, watched
from mounted.failing_disk import slow_calls
from mounted.mounting import Mount

pytestmark = [pytest.mark.mounted, pytest.mark.alone]

WAIT_S_MAX = 0.010
QUEUED = 16
"""Requests that the daemon lets the kernel hand out at a time, whoever is next."""

COPIES = 3
"""Of what is read: to the daemon, to the kernel, to the client."""

PROBES = 40
ATTEMPTS = 5
"""The best counts: whoever waits for the daemon waits in all of them."""

Probe = Callable[[int], object]
"""One request; it is called with 0, 1, 2 ..."""

FLOODS = {
    "4k": ("--bs=4k", "--iodepth=64", "--rw=randrw"),
    "1m": ("--bs=1m", "--iodepth=64", "--rw=read"),
}


@contextmanager
def flood(m: Mount, words: tuple[str, ...]) -> Iterator[None]:
    """fio keeps 64 requests under way, all the time."""
    (m.path / "flooded").write_bytes(bytes(16 << 20))
    before = m.status()["counters"]["direct_reads"]
    common = ("--name=flood", "--thread", "--size=16m", "--time_based", "--runtime=60")
    command = ["fio", f"--filename={m.path / 'flooded'}", *common, *words]
    process = subprocess.Popen(
        [*command, "--direct=1", "--ioengine=libaio"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(
            lambda: m.status()["counters"]["direct_reads"] > before + 100, "the flood begins"
        )
        yield
        assert process.poll() is None, "the flood has ended"
    finally:
        process.kill()
        process.wait()


@contextmanager
def a_stat(m: Mount) -> Iterator[Probe]:
    yield lambda _: os.stat(m.path / "other")


@contextmanager
def a_read(m: Mount) -> Iterator[Probe]:
    with opened(m.path / "other", os.O_RDONLY) as fd:
        yield lambda _: os.pread(fd, 4096, 0)


@contextmanager
def a_control_file(m: Mount) -> Iterator[Probe]:
    with opened(m.path / ".fusefs" / "readahead", os.O_WRONLY) as fd:
        yield lambda _: os.write(fd, b"64k")


@contextmanager
def a_timer(m: Mount) -> Iterator[Probe]:
    """A direct write into a hole: its conversion takes a millisecond."""
    size = ATTEMPTS * PROBES * 8192
    with (
        opened(m.path / "sparse", os.O_WRONLY | os.O_CREAT | os.O_DIRECT) as fd,
        watched(m.path / "sparse"),
    ):
        os.ftruncate(fd, size)
        block = aligned(bytes(4096))
        yield lambda number: os.pwrite(fd, block, number * 8192)


@pytest.mark.parametrize("words", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("probe", [a_stat, a_read, a_control_file, a_timer])
def test_others_wait_no_more_than_10_ms(
    mount: Callable[..., Mount],
    probe: Callable[[Mount], AbstractContextManager[Probe]],
    words: tuple[str, ...],
):
    assert min(waits_for_the_daemon(mount(jitter=0), probe, words)) <= 1


@pytest.mark.parametrize("probe", [a_stat, a_read, a_control_file])
def test_wait_for_a_daemon_that_is_held_up_is_found(
    mount: Callable[..., Mount], probe: Callable[[Mount], AbstractContextManager[Probe]]
):
    """The check above, of a daemon that others keep waiting, though no CPU does."""
    m = mount(jitter=0)
    with slow_calls(m, m.image, "pread64", 2 * WAIT_S_MAX):
        assert min(waits_for_the_daemon(m, probe, FLOODS["4k"])) > 1


def queue_s(words: tuple[str, ...]) -> float:
    """For how long this machine copies, at this moment, what all requests of a full queue read:
    each from and to a place of its own, as one that is used again stays in the processor's cache.
    """
    request = (1 << 20) if "--bs=1m" in words else 4096
    size = QUEUED * request
    source, target = memoryview(bytearray(b"x" * size)), memoryview(bytearray(b"y" * size))
    start, machine_start = time.monotonic(), waited_for_a_cpu_s("thread-self")
    for _ in range(COPIES):
        for at in range(0, size, request):
            target[at : at + request] = source[at : at + request]
    return time.monotonic() - start - (waited_for_a_cpu_s("thread-self") - machine_start)


def waits_for_the_daemon(
    m: Mount, probe: Callable[[Mount], AbstractContextManager[Probe]], words: tuple[str, ...]
) -> list[float]:
    """Medians of several attempts, each by what is allowed while it is made; no more once one is
    good."""
    need("fio")
    (m.path / "other").write_bytes(bytes(4096))
    waits: list[float] = []
    with probe(m) as ask, flood(m, words):
        for attempt in range(ATTEMPTS):
            durations_s = []
            for i in range(PROBES):
                start, machine_start = time.monotonic(), waited_for_a_cpu_s(m.pid, "thread-self")
                ask(attempt * PROBES + i)
                machine = waited_for_a_cpu_s(m.pid, "thread-self") - machine_start
                durations_s.append(time.monotonic() - start - machine)
            allowed_s = WAIT_S_MAX + queue_s(words)
            print(f"median of {PROBES}: {median(durations_s)} s, allowed {allowed_s} s")
            waits.append(median(durations_s) / allowed_s)
            if waits[-1] <= 1:
                break
    return waits


def waited_for_a_cpu_s(*whose: int | str) -> float:
    """For how long these of /proc have been ready to run, and did not."""
    try:
        lines = [Path(f"/proc/{pid}/schedstat").read_text() for pid in whose]
    except FileNotFoundError:
        lacking("/proc/PID/schedstat is missing (the kernel has no CONFIG_SCHED_INFO)")
    return sum(int(line.split()[1]) for line in lines) / 1e9
