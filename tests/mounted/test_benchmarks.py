"""The benchmarks run, all of them, and judge as they say: at toy size, so no figure counts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.mounted

ROOT = Path(__file__).parents[2]
SMOKE_TIMEOUT_S = 900
CONTENDERS = ["fusefs", "pyfuse3-null", "c-null", "host"]
PASSTHROUGH_LL_SOURCE = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")
if PASSTHROUGH_LL_SOURCE.exists():
    CONTENDERS.insert(3, "passthrough_ll")
BLOCK_WORK = ["cached-read", "direct-read", "direct-overwrite", "buffered-write", "unwritten-write"]
NAME_WORK = ["open", "stat", "create", "unlink"]
ALL_WORK = [
    *(f"{name}-{depth}" for name in BLOCK_WORK for depth in (1, 16)),
    "append-4",
    "cold-read",
    "direct-append",
    "sequential-direct-write",
    "sequential-direct-read",
    "sequential-cached-read",
    "sequential-buffered-write",
    "dio29",
    *(f"{name}-{depth}" for name in NAME_WORK for depth in (1, 16)),
    "readdir",
    "readdir-changed",
    "growth-file-64m",
    "growth-file-64g",
    "growth-files-1",
    "growth-files-10k",
    "growth-files-100k",
]


def benchmarks(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SMOKE_TIMEOUT_S,
        check=False,
    )


def test_smoke_run_measures_every_contender_at_every_work(tmp_path: Path):
    """Growth is fusefs against itself: the others say why they are absent there."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = benchmarks("--smoke", "--json", str(tmp_path / "json"), TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr + done.stdout
    document = json.loads((tmp_path / "json").read_text())
    assert document["failures"] == []
    assert [work["name"] for work in document["works"]] == ALL_WORK
    for work in document["works"]:
        assert list(work["contenders"]) == CONTENDERS
        for name, cell in work["contenders"].items():
            if work["name"].startswith("growth-") and name != "fusefs":
                assert cell["median"] is None, (work["name"], name)
                assert cell["absent"], (work["name"], name)
            elif name == "passthrough_ll" and cell["absent"]:
                assert "Invalid argument" in cell["absent"], "O_DIRECT, of an old libfuse"
            else:
                assert cell["median"] > 0, (work["name"], name)
    assert list(temporary.iterdir()) == [], "it leaves nothing behind"


def test_peer_that_cannot_do_the_work_is_a_failure_not_a_figure(tmp_path: Path):
    """A daemon that dies fails its own cells; the others are measured, and nothing stays."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    dying = (
        "import pyfuse3, sys, trio;"
        "pyfuse3.init(pyfuse3.Operations(), sys.argv[1]);"
        "trio.run(pyfuse3.main)"
    )
    done = benchmarks(
        *("--smoke", "--only", "^stat-1$", "--json", str(tmp_path / "json")),
        *("--peer", f'empty={sys.executable} -c "{dying}" {{mnt}}'),
        TMPDIR=str(temporary),
    )
    assert done.returncode == 1, done.stderr + done.stdout
    cells = json.loads((tmp_path / "json").read_text())["works"][0]["contenders"]
    assert cells["empty"]["median"] is None
    assert cells["empty"]["failure"]
    assert all(cells[name]["median"] > 0 for name in CONTENDERS)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("present", "missing"), [((), "fio"), (("fio",), "gcc")])
def test_missing_program_is_one_clear_line(tmp_path: Path, present: tuple[str, ...], missing: str):
    for name in present:
        (tmp_path / name).symlink_to("/bin/true")
    done = benchmarks("--smoke", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"benchmarks: {missing} is missing; 'apt-get install {missing}'\n"


@pytest.mark.parametrize(("figure", "met"), [(45.0, True), (44.9, False)])
def test_a_bar_is_met_at_the_bar_and_not_below(figure: float, met: bool):
    from benchmarks.results import Results
    from benchmarks.works import FULL, works

    work = next(work for work in works(FULL) if work.name == "cached-read-16")
    results = Results([work], CONTENDERS, smoke=False)
    results.cell(work, "fusefs").values += [figure, figure - 9, figure + 30]
    results.cell(work, "c-null").values += [100.0]
    document: dict[str, Any] = results.document()["works"][0]
    verdicts = {bar["against"]: bar for bar in document["bars"]}
    assert verdicts["c-null"]["met"] is met
    assert verdicts["pyfuse3-null"]["met"] is None, "not measured, so not judged"


def test_scale_smoke_run_measures_every_image(tmp_path: Path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--smoke", "--json", str(tmp_path / "json")],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=SMOKE_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    images = json.loads((tmp_path / "json").read_text())["images"]
    assert {image["kind"] for image in images} == {"files", "extents", "dense", "blocks"}
    for image in images:
        assert all(value > 0 for name, value in image.items() if name != "kind"), image
    assert list(temporary.iterdir()) == [], "it leaves nothing behind"
