"""The whole demo, as a script calls it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
