"""A run in which much fails can still be read."""

import os
import subprocess
import sys
from pathlib import Path

from short_reports import ALL_LINES_MAX, LINES_MAX, LINES_MIN, shorten

ROOT = Path(__file__).parent.parent

FAILING = """
import pytest

@pytest.mark.parametrize("number", range(40))
def test_long(number):
    print("\\n".join(f"said {number} {i}" for i in range(1_000)))
    assert list(range(1_000)) == [*range(999), "the last"], "x" * 10_000
"""


def test_both_ends_of_a_long_report_stay():
    text = "\n".join(map(str, range(1_000)))
    lines = shorten(text, 30).splitlines()
    assert lines[:10] == [str(i) for i in range(10)]
    assert lines[10] == "[... 970 lines left out ...]"
    assert lines[11:] == [str(i) for i in range(980, 1_000)]


def test_short_report_is_left_alone():
    assert shorten("a\n  b", 2) == "a\n  b"


def test_run_with_many_long_failures_is_bounded(tmp_path: Path):
    """In CI, too, where pytest prints whole diffs; each failure still says what it is."""
    (tmp_path / "test_long.py").write_text(FAILING)
    words = ("-m", "pytest", "-c", ROOT / "setup.cfg", "-p", "conftest", "-p", "no:cacheprovider")
    run = subprocess.run(
        [sys.executable, *map(str, words), str(tmp_path / "test_long.py")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests"), "CI": "true"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 1, run.stdout[-2_000:] + run.stderr
    lines = run.stdout.splitlines()
    assert "40 failed" in lines[-1]
    assert len(lines) < ALL_LINES_MAX + 2 * LINES_MAX + 40 * (2 * LINES_MIN + 10)
    assert all(f"said {number} 999" in lines for number in (0, 39))
    assert sum(line.startswith("FAILED ") for line in lines) == 40
