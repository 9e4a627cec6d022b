"""Gates and the driver: who is held has not done what comes next, and goes on as he would have."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from fusefs.engine.events import ASKED, BEGAN, ENDED, GRANTED
from fusefs.engine.gate import STEPS, GateError, steps
from fusefs.engine.held import MOUNT, Hold
from fusefs.explore.memory import World
from fusefs.live.driver import Driver
from fusefs.live.gatekeeper import Gatekeeper
from fusefs.live.kernel_pages import DROP, FLUSH
from fusefs.live.requests.gated import PART
from fusefs.live.timing import Timing
from fusefs.live.trace import Trace
from fusefs.model.errors import FsError
from fusefs.model.inode import Inode
from fusefs.model.locks import RwLock
from fusefs.model.options import Options
from fusefs.model.steps import commit, delay, reach, read_image, write_image
from fusefs.mounts import ROOT
from fusefs.store.volume import Volume, make_image


@pytest.mark.parametrize("name", [DROP, FLUSH, PART])
def test_what_a_mount_alone_waits_for_is_no_step_of_a_gate_and_said_to_be_none(name: str):
    """Whoever reads of every step must not expect to be held there."""
    assert name not in steps("*")
    assert name in (ROOT / "fusefs/model/steps.py").read_text()
    assert f"`{name}`" in (ROOT / "docs/gates.md").read_text()


class Gated:
    """A driver with a keeper, on an image in memory; names are those of a volume on a disk."""

    def __init__(self, volume: Volume | None = None) -> None:
        self.world = World()
        self.driver = Driver(
            self.world.image,
            lambda inode, pos, length: None,
            trio.lowlevel.checkpoint,
            Trace(),
            Timing(self.world.fs),
            work=self.world.fs.work,
        )
        self.keeper = Gatekeeper(self.driver, volume)  # type: ignore[arg-type]
        self.outcomes: list[tuple[Any, FsError | None]] = []

    @classmethod
    @asynccontextmanager
    async def running(cls):
        """With the driver and the keeper at work; afterwards nobody is under way."""
        self = cls()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.driver.run)
            nursery.start_soon(self.keeper.run)
            yield self
            with trio.fail_after(10):
                while self.driver.tasks_running:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    def hold(self, line: str) -> None:
        self.keeper.hold(line.split(), MOUNT)

    def start(
        self, coroutine: Any, operation: str = "write", done: Any = None, pid: int = 42
    ) -> None:
        def ended(result: Any, error: FsError | None) -> None:
            self.outcomes.append((result, error))

        self.driver.start(coroutine, done or ended, operation, 3, pid, 0, 512)

    def is_written(self) -> bool:
        return self.world.image.read_at(512, 1) == b"x"

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(10):
            while not condition():
                await trio.lowlevel.checkpoint()

    @property
    def held(self) -> list[object]:
        return [hold for report in self.keeper.reports() for hold in report["held"]]  # type: ignore


async def write_and_read() -> bytes:
    await write_image("dio.write.submit", 512, b"x" * 512, 0, 512)
    return bytes(await read_image("dio.read.submit", 512, 0, 512))


@pytest.mark.parametrize(
    ("step", "written"),
    [("begin", False), ("dio.write.submit", False), ("dio.read.submit", True), ("reply", True)],
)
async def test_who_is_held_has_not_done_what_comes_next(step: str, written: bool):
    """Also before all, and when all is done but told."""
    async with Gated.running() as gated:
        gated.hold(f"{step} as a")
        gated.start(write_and_read())
        assert gated.is_written() is written
        await trio.sleep(0.01)
        assert gated.outcomes == []
        gated.keeper.release("a")
        await gated.until(lambda: gated.outcomes)
    assert gated.outcomes == [(b"x" * 512, None)]


async def test_every_kind_of_step_can_be_held():
    """A wait, a delay and a commit as well, of which the schedule is not asked, or not alone."""
    lock = RwLock("inode")
    assert lock.try_lock_exclusive()

    async def all_kinds() -> None:
        await reach("seek.map", 0, 0)
        await delay("dio.write.convert", 0, 512, 0.0)
        await write_image("dio.write.submit", 512, b"x" * 512, 0, 512)
        await lock.lock_shared()
        await commit("fsync.commit", None)

    steps = "begin seek.map dio.write.convert dio.write.submit lock.inode.shared fsync.commit reply"
    async with Gated.running() as gated:
        gated.hold("* count=all as each")
        gated.start(all_kinds())
        for step in steps.split():
            await gated.until(lambda step=step: gated.held and gated.held[0]["step"] == step)
            if step == "lock.inode.shared":
                lock.unlock_exclusive()
                await trio.sleep(0.01)
                assert gated.held[0]["step"] == step, "woken, and held all the same"
            gated.keeper.release("each")
    assert gated.outcomes == [(None, None)]


async def test_who_is_let_go_waits_as_he_would_have():
    """For a lock that is not free yet."""
    lock = RwLock("inode")
    assert lock.try_lock_exclusive()

    async def wants() -> None:
        await lock.lock_shared()

    async with Gated.running() as gated:
        gated.hold("lock.inode.shared as a")
        gated.start(wants())
        gated.keeper.release("a")
        await trio.sleep(0.01)
        assert gated.outcomes == []
        lock.unlock_exclusive()
        gated.driver.run_ready()
        assert gated.outcomes == [(None, None)]


async def test_a_request_that_another_leaves_behind_can_be_held_before_it_begins():
    async def leaves() -> None:
        gated.world.fs.work.append(write_and_read())

    async with Gated.running() as gated:
        gated.hold("begin op=work as a")
        gated.start(leaves())
        await gated.until(lambda: gated.held)
        assert not gated.is_written()
        gated.keeper.release("a")
        await gated.until(gated.is_written)


async def test_time_out_lets_go():
    async with Gated.running() as gated:
        gated.hold("dio.write.submit timeout=20ms as a")
        begun = time.monotonic()
        gated.start(write_and_read())
        assert gated.held
        await gated.until(lambda: gated.outcomes)
    assert 0.02 <= time.monotonic() - begun < 5


async def test_events_say_that_it_stood_there():
    async with Gated.running() as gated:
        gated.hold("begin as a")
        gated.hold("reply as b")
        gated.start(write_and_read())
        gated.keeper.release("a")
        await gated.until(lambda: gated.held and gated.held[0]["step"] == "reply")
        gated.keeper.release("b")
    assert [(event.event, event.step) for event in gated.driver.trace.events()] == [
        (BEGAN, "-"),
        (ASKED, "begin"),
        (GRANTED, "begin"),
        (GRANTED, "dio.write.submit"),
        (GRANTED, "dio.read.submit"),
        (ASKED, "reply"),
        (ENDED, "reply"),
    ]


async def test_until_is_told_by_the_trace_and_nobody_listens_without_a_gate():
    async with Gated.running() as gated:
        add = gated.driver.trace.add
        gated.hold("dio.read.submit op=write until=dio.read.submit as a")
        assert gated.driver.trace.add != add
        gated.start(write_and_read())
        assert gated.outcomes == []
        gated.start(write_and_read(), "read")
        await gated.until(lambda: len(gated.outcomes) == 2)
        await gated.until(lambda: gated.driver.trace.add == add)
    assert gated.keeper.gated == set()


async def test_awaited_one_that_waits_for_the_held_one_ends_the_hold_at_once():
    """(U3) On the model's own lock."""
    inode = Inode(3)

    async def locked(step: str) -> None:
        await inode.lock.lock_exclusive()
        await reach(step, 0, 512)
        inode.lock.unlock_exclusive()

    async with Gated.running() as gated:
        gated.hold("dio.write.map until=dio.write.submit timeout=3600s as a")
        gated.start(locked("dio.write.map"))
        assert gated.held
        gated.start(locked("dio.write.submit"))
        await gated.until(lambda: len(gated.outcomes) == 2)


COPY = "buffered.write.copy"


async def locked(lock: RwLock, step: str) -> None:
    await lock.lock_exclusive()
    await reach(step, 0, 512)
    lock.unlock_exclusive()


@pytest.mark.parametrize("where", [COPY, "lock.inode.exclusive"], ids=["after", "before"])
async def test_who_was_handed_the_lock_of_the_awaited_one_is_not_held(where: str):
    """(U3) Both had asked while a third one had it; B is held after he got it, or before."""
    inode = Inode(3)
    async with Gated.running() as gated:
        gated.hold("dio.write.map as a")
        gated.hold(f"{where} pid=43 until={COPY} pid=44 timeout=3600s as b")
        gated.start(locked(inode.lock, "dio.write.map"))
        for pid in (43, 44):
            gated.start(locked(inode.lock, COPY), pid=pid)
        gated.keeper.release("a")
        await gated.until(lambda: len(gated.outcomes) == 3)


async def test_awaited_one_that_waited_before_there_was_a_gate_ends_the_hold():
    """(U3) What is told while nobody listens is not lost."""
    inode, other = Inode(3), RwLock("mapping")
    assert other.try_lock_exclusive()

    async def waits_before() -> None:
        await inode.lock.lock_exclusive()
        await other.lock_shared()
        await reach(COPY, 0, 512)
        inode.lock.unlock_exclusive()

    async with Gated.running() as gated:
        gated.start(waits_before())
        gated.start(locked(inode.lock, "dio.write.map"), pid=43)
        gated.hold(f"{COPY} until=dio.write.map pid=43 timeout=3600s as a")
        other.unlock_exclusive()
        gated.driver.run_ready()
        await gated.until(lambda: len(gated.outcomes) == 2)
    assert not gated.driver.waiting


async def test_end_of_the_mount_lets_all_go():
    async with Gated.running() as gated:
        told: list[Hold | GateError] = []
        for step in ("begin", "dio.write.submit", "reply"):
            gated.hold(f"{step} as {step}")
            gated.start(write_and_read())
        gated.keeper.hold(["seek.map", "as", "nobody"], MOUNT)
        gated.keeper.wait("nobody", 5.0, told.append)
        gated.keeper.release_all()
        await gated.until(lambda: len(gated.outcomes) == 3)
        assert "is over" in str(told[0])


async def test_keeper_that_fails_holds_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object) -> bool:
        raise ZeroDivisionError("on purpose")

    async with Gated.running() as gated:
        gated.hold("* as a")
        monkeypatch.setattr(gated.keeper._gates, "arrives", fail)
        gated.start(write_and_read())
        assert gated.outcomes == [(b"x" * 512, None)]
    assert "on purpose" in caplog.text


async def test_path_is_from_the_top_of_the_mount(tmp_path: Path):
    path = str(tmp_path / "image")
    make_image(path, f"{path}.meta", Options(size=1 << 20))
    volume = Volume.open(path, f"{path}.meta", Options())
    try:
        with volume.changing:
            folder = volume.namespace.make(1, b"folder", 0o40700, 0, 0, 0, 1)
            file = volume.namespace.make(folder.ino, b"file", 0o100600, 0, 0, 0, 1)
        keeper = Gated(volume).keeper
        gate = keeper.hold(["begin", "path=/folder/file"], MOUNT)
        assert gate.text.who.ino == file.ino
        with pytest.raises(GateError, match=f"path=none: {os.strerror(errno.ENOENT)}") as caught:
            keeper.hold(["begin", "path=none"], MOUNT)
        assert caught.value.number == errno.ENOENT
    finally:
        volume.close()


def test_what_the_driver_is_not_asked_for_costs_one_look_at_an_empty_set():
    gated = Gated()
    assert gated.keeper.gated == set()
    gated.start(write_and_read())
    assert gated.outcomes == [(b"x" * 512, None)]
    gated.hold("* as a")
    assert gated.keeper.gated == {*STEPS}
