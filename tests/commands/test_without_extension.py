"""What needs no mount works where neither the extension nor trio nor pyfuse3 is."""

import subprocess
import sys
from pathlib import Path

import pytest

from fusefs.mounts import ROOT

PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("trio", "pyfuse3") or name.endswith("._lowlevel"):
            raise ModuleNotFoundError(f"no {name} here")

sys.meta_path.insert(0, Missing())
from fusefs.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def status(*words: object) -> int:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
    ).returncode


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["mount", "--help"],
        ["explore", "pwrite f 0 512 a direct", "pread f 512 512"],
    ],
    ids=lambda words: words[0],
)
def test_help_and_search(words: list[str]):
    assert status(*words) == 0


def test_image_is_made_and_checked(tmp_path: Path):
    assert status("mkfs", tmp_path / "image", "-o", "size=1m") == 0
    assert status("fsck", tmp_path / "image") == 0


def test_mount_would_miss_them(tmp_path: Path):
    """So that the tests above do take them away."""
    (tmp_path / "mnt").mkdir()
    assert status("mount", tmp_path / "image", tmp_path / "mnt", "-o", "size=1m") != 0
    assert list((tmp_path / "mnt").iterdir()) == []
