"""The whole demo, as a script calls it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.mounting import Mount

from fusefs.demo import one
from fusefs.model.options import Invalidate

pytestmark = pytest.mark.mounted


def test_demo_shows_the_bug_before_and_never_after():
    """Before drops the pages too early and is seen to; after is not.

    Guards kernel c771c14baa33 (xfstests generic/418, LTP dio29).
    """
    demo = subprocess.run(
        [sys.executable, "-m", "mount_tool", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr + demo.stdout
    document = json.loads(demo.stdout)
    assert document["passed"]
    assert document["before"]["zeros"] > 0
    assert document["after"]["zeros"] == document["after"]["mismatches"] == 0
    assert document["after"]["reads"] > 10_000
    assert document["before"]["ladder"]["between"] == [
        "dio.write.invalidate_post",
        "dio.write.convert",
    ]


def test_one_schedule_shows_the_bug_before_and_never_after():
    """By a gate, and not by chance: the mail's A and B."""
    for _ in range(3):
        demo = subprocess.run(
            [sys.executable, "-m", "mount_tool", "demo", "--one", "--json"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (demo.returncode, demo.stderr) == (0, "")
        document = json.loads(demo.stdout)
        assert document["before"]["zeros"]
        ladder = document["before"]["ladder"]
        assert ladder["between"] == ["dio.write.invalidate_post", "dio.write.convert"]
        assert document["after"] == {"zeros": False, "ladder": None}


def test_hold_of_the_one_schedule_lasts_as_long_as_a_and_b_may_take(
    mount: Callable[..., Mount], monkeypatch: pytest.MonkeyPatch
):
    """On a busy machine Python alone takes seconds to start."""
    m, said = mount(**one.OPTIONS), one.said
    gates_seen: list[str] = []

    def look_and_say(process: subprocess.Popen[str]) -> str:
        with m.gates() as gates:
            gates_seen.extend(gate["gate"] for gate in gates.all())
        return said(process)

    monkeypatch.setattr(one, "said", look_and_say)
    assert one.race(m, Invalidate.AFTER).stale is None
    (gate,) = gates_seen
    assert f"timeout={one.TIMEOUT_S:g}s" in gate.split()


def test_interrupted_demo_leaves_nothing_behind(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-m", "mount_tool", "demo", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as demo:
        assert demo.stderr is not None
        assert b"runs programs" in demo.stderr.readline()
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=300)
    assert (demo.returncode, out, err) == (130, b"", b"")
    assert list(tmp_path.iterdir()) == []
