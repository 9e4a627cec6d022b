"""What a command costs before it does anything: what it does not need is not imported."""

import subprocess
import sys

import pytest

HEAVY = ("trio", "pyfuse3", "rich", "sqlite3", "fusefs.live", "fusefs.explore", "fusefs.check")

PROGRAM = f"""
import sys
from fusefs.commands.main import main
status = main(sys.argv[1:])
print(*(name for name in {HEAVY} if name in sys.modules), status)
"""


@pytest.mark.parametrize(
    "words",
    [
        *(("status", "/"), ("set", "/", "jitter=1ms"), ("trace", "/"), ("report", "/")),
        *(("hold", "/", "reply"), ("release", "/", "A"), ("gates", "/"), ("umount.fusefs", "/")),
        ("mount", "--help"),
    ],
    ids=lambda words: words[0],
)
def test_command_for_a_mount_imports_no_daemon_and_no_search(words: tuple[str, ...]):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, timeout=60
    )
    status = done.stdout.split()[-1]
    assert done.stdout.splitlines()[-1] == status, "this is imported"
    assert status == ("0" if "--help" in words else "1" if "." not in words[0] else "32")


def test_command_that_searches_imports_the_search():
    """The test above would pass if nothing were ever found."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "litmus", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "fusefs.explore" in done.stdout.split()
