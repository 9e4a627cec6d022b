"""Of two mount options that contradict each other the last one counts, at every mount.

pyfuse3 takes a set of strings, whose order is that of their hashes: with both words in it the
winner was another one with each seed.
"""

import os
import subprocess
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S, needs_root
from mounted.commands import MOUNT_TOOL, tool

from fusefs.store import mount_table

pytestmark = [pytest.mark.mounted, needs_root]

SEEDS = range(4)
"""With both words passed on, each of these gave at least one pair to the first word."""


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ("suid,nosuid,dev,nodev,rw,ro,exec,noexec", {"ro", "nosuid", "nodev", "noexec"}),
        ("nosuid,suid,nodev,dev,ro,rw,noexec,exec", {"rw"}),
    ],
    ids=["no is last", "yes is last"],
)
def test_last_option_counts_whatever_the_hash_seed(tmp_path: Path, options: str, flags: set[str]):
    image, mnt = tmp_path / "image", tmp_path / "mnt"
    mnt.mkdir()
    assert tool("mkfs", image, "-o", "size=1m").returncode == 0
    for seed in SEEDS:
        subprocess.run(
            [*MOUNT_TOOL, "mount", image, mnt, "-o", options],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            timeout=PROGRAM_TIMEOUT_S,
            check=True,
        )
        mounted = mount_table.find(str(mnt))
        assert tool("umount", mnt).returncode == 0
        assert mounted is not None
        assert mounted.flags - {"relatime"} == flags, f"PYTHONHASHSEED={seed}"
