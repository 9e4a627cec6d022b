"""The mount's life: open the image, mount, serve, flush every few seconds, unmount.

    mount()        what the command does; returns once the mount is live, or stays in front
    _serve()       the trio program: pyfuse3's loop, the driver, the flusher, signals
    _finish()      after the last request: write everything back, commit, close

Errors: MountError, one line, with nothing mounted and nothing left behind.
"""

import gc
import logging
import logging.handlers
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import pyfuse3
import trio

from fusefs.live import teller
from fusefs.live.checks import MountError, MountRequest, check, is_dead
from fusefs.live.coherence import Coherence
from fusefs.live.driver import Driver
from fusefs.live.extension import _lowlevel
from fusefs.live.gatekeeper import Gatekeeper
from fusefs.live.kernel_pages import KernelPages
from fusefs.live.reclaim import Reclaim
from fusefs.live.requests.atime import Atime
from fusefs.live.requests.control import Control, LogRing
from fusefs.live.requests.handlers import Handlers
from fusefs.live.requests.operations import Operations
from fusefs.live.requests.sync import sync
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.options import ATIME_OPTIONS
from fusefs.store.volume import LOCK_WAIT_S, Volume, VolumeError, make_image, metadata_path

log = logging.getLogger(__name__)

MOUNTED = "mounted"
"""What the daemon tells its parent when the mount is live."""

ENDING = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
"""Signals that unmount; while it is being mounted they wait for that."""

COMMIT_LOOK_S = 1.0
"""How often the flusher looks at the commit interval."""

GC_THRESHOLDS = 10_000, 20, 20
"""Inodes, pages and maps are many objects that live long, and few of ours are ever in a cycle."""


def mount(request: MountRequest, *, foreground: bool) -> None:
    """Mount; MountError if that fails.

    In the foreground it returns after the unmount; else as soon as the mount is live, and
    a daemon goes on.
    """
    check(request)
    if foreground:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        _run(request, lambda: None)
        return
    reading, writing = os.pipe()
    pid = os.fork()  # before the image is opened: its lock and connection are the daemon's
    if pid == 0:
        os.close(reading)
        _daemon(request, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        message = os.fsdecode(answer.read())
    if message != MOUNTED:
        os.waitpid(pid, 0)
        _remove_dead_mount(request.mountpoint)
        raise MountError(message or "the daemon ended before it was mounted")


def _remove_dead_mount(mountpoint: str) -> None:
    """Take away what a daemon that was killed while it mounted has left in the tree."""
    if is_dead(mountpoint):
        command = ["umount", "-l"] if os.getuid() == 0 else ["fusermount3", "-u", "-z"]
        subprocess.run([*command, "--", mountpoint], capture_output=True, check=False)


def _daemon(request: MountRequest, answer_fd: int) -> NoReturn:
    """The child's life: answer_fd gets MOUNTED, or why not, and is closed."""

    def mounted() -> None:
        os.write(answer_fd, MOUNTED.encode())
        os.close(answer_fd)
        _detach()

    status = 1
    try:
        os.setsid()
        _run(request, mounted)
        status = 0
    except (MountError, OSError) as error:
        os.write(answer_fd, os.fsencode(str(error)))
    except BaseException:
        log.exception("the daemon ends")
    finally:
        os._exit(status)


def _open_volume(request: MountRequest) -> Volume:
    """Open the image, or make it if it is missing and a size is given."""
    meta = metadata_path(request.image, request.metadata)
    try:
        if not os.path.exists(request.image):
            make_image(request.image, meta, request.options)
        return Volume.open(
            request.image,
            meta,
            request.options,
            lock_wait_s=LOCK_WAIT_S,
            in_thread=trio.to_thread.run_sync,
        )
    except VolumeError as error:
        raise MountError(str(error)) from None


def _detach() -> None:
    """A daemon has no terminal; it logs to .fusefs/log, and to the system's log if there is one."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir("/")
    if os.path.exists("/dev/log"):
        handler = logging.handlers.SysLogHandler("/dev/log")
        handler.ident = "fusefs: "
        logging.getLogger().addHandler(handler)


def _run(request: MountRequest, mounted: Callable[[], None]) -> None:
    """Open, mount, call mounted(), and serve until it is unmounted; MountError."""
    is_new = not os.path.exists(request.image)
    volume = _open_volume(request)
    volume.fs.cache.new_data = _lowlevel.page_data
    ring = LogRing()
    ring.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(ring)
    trace, timing, reclaim = Trace(), Timing(volume.fs), Reclaim(volume.deleted, volume.fs)
    driver = Driver(
        volume.image,
        volume.fs.load_map,
        partial(_commit, volume),
        trace,
        timing,
        before_space=reclaim.wait_forgotten,
        work=volume.fs.work,
    )
    atime, keeper = Atime(volume.nodes, request.fuse_options), Gatekeeper(driver, volume)
    coherence = Coherence(volume, driver, trace)
    told = os.path.abspath(request.mountpoint), request.fuse_options
    control = Control(volume, driver, timing, keeper, coherence, ring, atime, *told)
    pages = KernelPages(driver, lambda: teller.start(_lowlevel.device_fd()))
    handlers = Handlers(volume, driver, timing, control, atime, pages, coherence)
    options = libfuse_options(request)
    _lowlevel.install(handlers, int(options.get("max_read", 0)))
    try:
        _begin_session(request.mountpoint, options, handlers.operations)
    except MountError:
        volume.close()
        if is_new:
            os.unlink(request.image)
            os.unlink(metadata_path(request.image, request.metadata))
        raise
    try:
        mounted()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        trio.run(_serve, volume, driver, keeper, pages, reclaim)
    finally:
        pyfuse3.close(unmount=True)
        volume.close()


async def _commit(volume: Volume) -> None:
    """What has come since the last commit and stays, maps above all, the collector looks at this
    once: everybody waits for it, and the map of a sparse file is very many objects."""
    await volume.commit()
    gc.collect(0)
    gc.freeze()


def _begin_session(mountpoint: str, options: dict[str, str], operations: Operations) -> None:
    """From here on the kernel has the mount, and its first request is answered; MountError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        with _stderr_caught() as said:
            pyfuse3.init(
                operations,
                mountpoint,
                {f"{name}={value}" if value else name for name, value in options.items()},
            )
    except RuntimeError as error:
        reason = said[-1] if said else error
        raise MountError(f"{mountpoint}: mounting failed: {reason}") from None
    if not all(_lowlevel.interposed()):
        pyfuse3.close(unmount=True)
        raise MountError(
            f"libfuse {_lowlevel.libfuse_version()} cannot be interposed, so requests would"
            " be lost; see docs/design.md, 'The extension'"
        )


@contextmanager
def _stderr_caught() -> Iterator[list[str]]:
    """The lines that libfuse and fusermount3 write, which say why a mount failed."""
    said: list[str] = []
    with os.fdopen(os.memfd_create("stderr"), "r+b") as file, os.fdopen(os.dup(2)) as stderr:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(stderr.fileno(), 2)
            file.seek(0)
            said += os.fsdecode(file.read()).splitlines()


def libfuse_options(request: MountRequest) -> dict[str, str]:
    """One of each name, as pyfuse3 makes a set of them: their order is a lottery.

    An empty subtype is none: the mount's type is 'fuse' then, and not 'fuse.'.
    """
    options = {"default_permissions": "", "fsname": request.image, "subtype": "fusefs"}
    for word in request.fuse_options:
        name, _, value = word.partition("=")
        options[name] = value
    if not options["subtype"]:
        del options["subtype"]
    return {name: _escaped(value) for name, value in options.items() if name not in ATIME_OPTIONS}


def _escaped(value: str) -> str:
    """pyfuse3 takes ASCII, and libfuse splits at commas."""
    text = os.fsencode(value).decode("ascii", "backslashreplace")
    return text.replace("\\", "\\\\").replace(",", "\\,")


async def _serve(
    volume: Volume,
    driver: Driver,
    keeper: Gatekeeper,
    kernel_pages: KernelPages,
    reclaim: Reclaim,
    requests: Callable[[], Awaitable[None]] = pyfuse3.main,
) -> None:
    """Serve until requests() returns, which is when the mount is gone.

    The driver ends last, after the flusher too: a commit that it no longer makes would be
    waited for for ever.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        nursery.start_soon(keeper.run)
        nursery.start_soon(kernel_pages.run)
        nursery.start_soon(_end_on_signal, keeper, kernel_pages)
        async with trio.open_nursery() as flushing:
            flushing.start_soon(_flush_regularly, volume, driver)
            flushing.start_soon(reclaim.run, driver)
            await requests()
            keeper.release_all()  # the flusher waits for what it began, and that may be held
            flushing.cancel_scope.cancel()
        kernel_pages.abandon()
        await _finish(volume, driver, reclaim)
        nursery.cancel_scope.cancel()


async def _end_on_signal(keeper: Gatekeeper, kernel_pages: KernelPages) -> None:
    """pyfuse3 waits for what it has under way, as a sync of .fusefs: nothing of that stays held, or
    waits for the kernel, whose writes nobody reads any more."""
    with trio.open_signal_receiver(*ENDING) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
            pyfuse3.terminate()
            kernel_pages.abandon()
            keeper.release_all()


async def _flush_regularly(volume: Volume, driver: Driver) -> None:
    """What has not been asked for is written and committed every few seconds all the same.

    A shorter interval, set meanwhile, holds within COMMIT_LOOK_S.
    """
    while True:
        last = trio.current_time()
        while (left := last + volume.fs.options.commit - trio.current_time()) > 0:
            await trio.sleep(min(left, COMMIT_LOOK_S))
        await sync(volume, driver)


async def _finish(volume: Volume, driver: Driver, reclaim: Reclaim) -> None:
    """The mount is gone; what requests began is ended, and everything is made durable."""
    with trio.CancelScope(shield=True):
        while driver.tasks_running:
            await trio.sleep(0.001)
        await sync(volume, driver)
        await reclaim.finish(driver)
