"""The bug in one schedule, in a second: A is held before its conversion, and B reads meanwhile.

    run()    both orders on one mount, then the ladder and a sentence; the exit status

No chance is in it: under invalidate=before A reads zeros, each time, and under after never.

Errors: DemoError, with one line.
"""

import json as json_codec
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusefs.demo.ladder import CONVERT, Ladder, NotInTrace, find_ladder
from fusefs.demo.picture import said as picture_said
from fusefs.demo.picture import write_picture
from fusefs.demo.report import ORDERS, ladder_document
from fusefs.demo.results import StaleRead, parse_event
from fusefs.demo.run import BLOCK_SIZE, MOUNT_OPTIONS, DemoError, mounted, temporary_folder
from fusefs.ending import ended_in_order
from fusefs.gates import GateRefused
from fusefs.model.options import Invalidate
from fusefs.mounts import ROOT, Mount, MountFailed, OptionValue, interrupted_after

OPTIONS: dict[str, OptionValue] = MOUNT_OPTIONS | {"page_size": "4k"}
PAGE_SIZE = 4096

TIMEOUT_S = 60.0
"""Against hanging: it takes a tenth of a second, and more on a busy machine."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What A read, under one order: zeros, with the ladder that led to them, or its own bytes."""

    order: Invalidate
    stale: StaleRead | None
    ladder: Ladder | None

    def document(self) -> dict[str, Any]:
        ladder = self.ladder and ladder_document(self.ladder)
        return {"zeros": self.stale is not None, "ladder": ladder}

    def sentence(self) -> str:
        found = "zeros where it had just written" if self.stale else "what it had written"
        return (
            f"invalidate={self.order.value}: A is held before {CONVERT}, B reads; A reads {found}."
        )


def run(json: bool, html: str | None = None) -> int:
    """Run it under both orders; 0 if before showed the bug and after did not.

    html is where the ladder is drawn; without it, in a new temporary file, but for json.
    """
    begun = time.monotonic()
    with (
        ended_in_order(),
        temporary_folder() as folder,
        mounted(folder, ORDERS[0], OPTIONS) as mount,
    ):
        try:
            seen = [race(mount, order) for order in ORDERS]
        except (GateRefused, MountFailed, OSError) as error:
            raise DemoError(str(error)) from None
    duration_s = time.monotonic() - begun
    passed = [each.stale is not None for each in seen] == [True, False]
    ladder = next((each.ladder for each in seen if each.ladder is not None), None)
    picture = None
    if ladder is not None and (html is not None or not json):
        picture = write_picture(ladder, BLOCK_SIZE, html)
    if json:
        found = {each.order.value: each.document() for each in seen}
        about: dict[str, Any] = {
            "passed": passed,
            "duration_s": round(duration_s, 3),
            "picture": picture,
        }
        print(json_codec.dumps(about | found, indent=2))
        return int(not passed)
    for each in seen:
        print(each.sentence())
        if each.ladder is not None:
            print(f"\n{each.ladder.text()}\n")
    if picture is not None:
        print(f"{picture_said(picture)}\n")
    print(f"Took {duration_s:.1f} s." if passed else "Failed.")
    return int(not passed)


def race(mount: Mount, order: Invalidate) -> Seen:
    """A writes, and is held where its blocks still read as zeros, until B has read."""
    mount.set(invalidate=order.value)
    path = mount.path / order.value
    with interrupted_after(TIMEOUT_S, mount), mount.gates() as gates:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(fd, 0, PAGE_SIZE)
        os.close(fd)
        gates.hold(CONVERT, f"path={path.name}", f"timeout={TIMEOUT_S:g}s", "as A")
        with client("write", path) as a:
            gates.wait("A", TIMEOUT_S)
            with client("read", path) as b:
                said(b)
            gates.release("A")
            line = said(a)
    if not line:
        return Seen(order, None, None)
    stale = parse_event(line)
    assert isinstance(stale, StaleRead)
    try:
        return Seen(order, stale, find_ladder(mount.trace(), stale, PAGE_SIZE))
    except NotInTrace as error:
        raise DemoError(f"invalidate={order.value}: {error}") from None


@contextmanager
def client(what: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of pair.py, which does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "fusefs.demo.pair", what, str(path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    """What it printed; DemoError if it failed."""
    out, complaint = process.communicate(timeout=TIMEOUT_S)
    if process.returncode:
        last = (complaint.splitlines() or ["said nothing"])[-1]
        raise DemoError(f"a client failed: exit status {process.returncode}: {last}")
    return out
