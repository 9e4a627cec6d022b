"""Compiled modules are used only for the very sources that they were made of.

Each test runs a copy of the package, in a process of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fusefs import compiled

SWAPPED = (
    """        await drop_written_pages(write)
        error = await end_io(write)
        _count""",
    """        error = await end_io(write)
        await drop_written_pages(write)
        _count""",
)
"""The two lines under study: BEFORE becomes AFTER."""

PROGRAM = """
import json

from fusefs import compiled
from fusefs.model import dio
from fusefs.live import driver
from fusefs.explore.scenarios import OnePage
from fusefs.explore.schedule import search
from fusefs.model.options import Invalidate

print(compiled.CURRENT, *(module.__file__.endswith(".py") for module in (dio, driver)))
found = {}
for order in Invalidate:
    each = search(lambda: OnePage(["write0", "read1"], order))
    found[order.value] = each.schedule_count, each.failure_count
print(json.dumps(found))
"""

COMPILED, INTERPRETED = "True False False", "False True True"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, and of what is compiled of it."""
    if compiled.PURE:
        pytest.skip("FUSEFS_PURE is set")
    if not compiled.CURRENT:
        reason = "nothing is compiled, or sources were edited since: './dev setup' compiles them"
        if os.environ.get("CI"):
            pytest.fail(f"CI is set, and {reason}", pytrace=False)
        pytest.skip(reason)
    return shutil.copytree(compiled.SOURCES, tmp_path / "fusefs")


def run(package: Path, **environment: str) -> tuple[str, dict[str, Any]]:
    """How the modules are loaded, and what the explorer finds with them."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=package.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, found = result.stdout.splitlines()
    return loaded, json.loads(found)


def test_compiled_and_interpreted_model_have_the_same_interleavings(package):
    compiled_run = run(package)
    interpreted_run = run(package, FUSEFS_PURE="1")
    assert (compiled_run[0], interpreted_run[0]) == (COMPILED, INTERPRETED)
    assert compiled_run[1] == interpreted_run[1]
    assert compiled_run[1]["before"] == [77, 10]


def test_edited_source_counts_at_once(package):
    dio = package / "model/dio_complete.py"
    text = dio.read_text()
    assert SWAPPED[0] in text
    dio.write_text(text.replace(*SWAPPED))
    loaded, found = run(package)
    assert loaded == INTERPRETED
    assert found["before"][1] == 0


@pytest.mark.parametrize("stamp", ["", "\n", "\n\n", "\0", "0 /etc/passwd\n1 2", b"\xff"])
def test_damaged_stamp_is_none(package, stamp):
    (package / "_compiled" / "stamp").write_bytes(stamp if stamp == b"\xff" else stamp.encode())
    assert run(package)[0] == INTERPRETED


def test_stamp_of_another_interpreter_is_none(package):
    path = package / "_compiled" / "stamp"
    path.write_text(path.read_text().replace(".cpython-3", ".cpython-2", 1))
    assert run(package)[0] == INTERPRETED


def test_what_compiled_modules_import_is_compiled_with_them(package):
    """The stamp then knows of each edit that matters to them."""
    lines = (package / "_compiled" / "stamp").read_text().splitlines()[1:]
    sources = {line.split()[1] for line in lines}
    for source in sources:
        text = (package / source).read_text()
        modules = re.findall(r"^(?:from|import) fusefs\.(\S+)", text, re.MULTILINE)
        assert {f"{module.replace('.', '/')}.py" for module in modules} <= sources, source
    assert "model/dio.py" in sources
