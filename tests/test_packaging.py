"""What is handed out: a source distribution that builds, and one line where it cannot."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 900.0

SOURCES = {".litmus", ".py", ".pyx", ".pxd", ".pxi", ".pyi", ".typed"}


def build(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project as it is in a new clone, so that nothing built here counts."""
    path = tmp_path / "tree"
    built = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "*.so", "_lowlevel*.[ch]", "_compiled"
    )
    for name in ("benchmarks", "docs", "fusefs", "tests"):
        shutil.copytree(ROOT / name, path / name, ignore=built)
    for file in ROOT.glob("*"):
        if file.is_file():
            shutil.copy(file, path)
    return path


def sdist(tree: Path) -> Path:
    """Made where nothing is installed that building needs: it builds nothing."""
    made = build("setup.py", "-q", "sdist", cwd=tree, PATH="")
    assert made.returncode == 0, made.stderr
    [archive] = (tree / "dist").iterdir()
    return archive


def test_sdist_has_all_that_is_built_from(tree: Path):
    with tarfile.open(sdist(tree)) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        str(path.relative_to(tree)) for path in tree.rglob("*") if path.suffix in SOURCES
    } | {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"}
    assert {"fusefs/live/extension/_libfuse.pxd", "fusefs/live/extension/_drain.pxi"} <= sources
    assert sources - found == set()
    assert not {name for name in found if name.endswith((".so", ".pyc"))}


def test_missing_packages_are_one_line_that_names_them(tree: Path, tmp_path: Path):
    """As pip asks: for the metadata, which it wants before it builds any library."""
    empty = tmp_path / "empty"
    empty.mkdir()
    made = build("setup.py", "-q", "dist_info", cwd=tree, PATH=str(empty), CC="gcc")
    assert made.returncode == 1
    assert made.stderr == (
        "fusefs: cannot be built without gcc, pkg-config, libfuse3-dev (Debian's package names)\n"
    )


@pytest.mark.long
def test_wheel_of_the_sdist_works_elsewhere(tree: Path, tmp_path: Path):
    """Built and installed as pip does it; run where nothing of the sources is."""
    wheels, target = tmp_path / "wheels", tmp_path / "installed"
    pip = ("-m", "pip", "--disable-pip-version-check", "-q")
    options = ("--no-deps", "--no-build-isolation")
    made = build(*pip, "wheel", *options, "-w", wheels, sdist(tree), cwd=tmp_path, FUSEFS_PURE="1")
    assert made.returncode == 0, made.stderr
    [wheel] = wheels.iterdir()
    made = build(*pip, "install", *options, "--target", target, wheel, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    lowlevel = "fusefs.live.extension._lowlevel"
    script = f"import {lowlevel}, mount_tool; print({lowlevel}.__file__)"
    made = build("-c", script, cwd=tmp_path, PYTHONPATH=str(target))
    assert made.returncode == 0, made.stderr
    assert Path(made.stdout.strip()).is_relative_to(target)


def test_python_without_the_libraries_says_what_to_do():
    """As who forgot to activate the environment; -S leaves its packages out."""
    made = build("-S", ROOT / "mount_tool.py", "explore", "pread f 0 512", cwd=ROOT)
    assert (made.returncode, made.stdout) == (1, "")
    assert made.stderr.count("\n") == 1
    assert "lacks bitarray, pyfuse3, rich, trio; run '" in made.stderr
    assert "first" in made.stderr
