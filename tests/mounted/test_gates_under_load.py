"""Gates set and released at random beside programs that do all kinds of calls: nobody is lost."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from figures import Figures
from mounted.mounting import Mount

pytestmark = pytest.mark.mounted

HERE = Path(__file__).parent
TIMEOUT_S = 3000.0
"""Against hanging alone."""


def started(name: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / name), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("commands", "calls"),
    [(100, 150), pytest.param(10_000, 2_000, marks=pytest.mark.long)],
    ids=["smoke", "ten-thousand"],
)
def test_holds_and_releases_beside_programs_of_all_kinds(
    mount: Callable[..., Mount], seed: int, figures: Figures, commands: int, calls: int
):
    """All programs end, all gates are over, and the mount can be unmounted.

    One of those that set gates is killed in the middle.
    """
    m = mount(size="64m", block_size=512, cache_size="1m", commit="1s")
    m.errors_expected = True  # full disks and the like: it is asked of the programs
    begun = time.monotonic()
    directory = m.path / "hostile"
    directory.mkdir()
    programs = [started("hostile.py", directory, seed + i, calls) for i in range(3)]
    setting = [started("gate_load.py", m.path, seed + i, commands // 3 + 1) for i in range(3)]
    victim = started("gate_load.py", m.path, seed + 9, 10 * commands)
    counts: Counter[str] = Counter()
    try:
        for process in setting:
            out, complaint = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, complaint
            counts.update(json.loads(out))
        victim.kill()
        victim.communicate(timeout=TIMEOUT_S)
        for process in programs:
            _, complaint = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, f"seed {seed}: {complaint}"
    finally:
        for process in (*programs, *setting, victim):
            process.kill()
    assert counts["holds"] + counts["releases"] >= commands
    if commands > 1000:  # of a few it may be that none came while somebody waited
        assert counts["waits"], f"seed {seed}: nobody was held"
    with m.gates() as gates:
        assert gates.all() == [], f"seed {seed}"
    seconds = time.monotonic() - begun
    print(f"{dict(counts)} in {seconds:.1f} s; {m.status()['counters']}")
    figures.add("gates set under load", counts["holds"])
    m.umount()
