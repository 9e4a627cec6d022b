"""The whole demo, as a script calls it."""

import json
import subprocess
import sys

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
