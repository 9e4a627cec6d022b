"""What a linter cannot hold: who may import what, and how long things may get."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FUSEFS = ROOT / "fusefs"

AROUND = ("compiled.py",)
"""In the same folder, and no part of the model: how it is loaded."""

MODEL = sorted(path for path in FUSEFS.glob("*.py") if path.name not in AROUND)
EXPLORE = sorted(FUSEFS.glob("explore/*.py"))
LIVE = sorted(FUSEFS.glob("live/*.py"))
SOURCES = sorted(FUSEFS.rglob("*.py"))
COMPILED = [
    *MODEL,
    *(FUSEFS / f"live/{each}.py" for each in ("atime", "data", "driver", "image_file")),
    *(FUSEFS / f"live/{each}.py" for each in ("timing", "trace")),
]
"""As in setup.py."""

PERFORMS = {
    *("trio", "pyfuse3", "os", "time", "random", "threading", "logging", "sqlite3"),
    *("asyncio", "socket", "subprocess", "io", "mmap", "select", "signal", "datetime", "secrets"),
}
"""With these a part of the model would do something itself instead of asking for a step."""

LINES_MAX = 400
FUNCTION_LINES_MAX = 60
LINE_LENGTH_MAX = 100


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(modules: set[str], package: str) -> set[str]:
    return {module for module in modules if module == package or module.startswith(f"{package}.")}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function with its length in lines, docstring and decorators included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            assert node.end_lineno is not None
            yield f"{name(path)}:{node.lineno} {node.name}", node.end_lineno - start + 1


# -- who may import what -----------------------------------------------------------------


@pytest.mark.parametrize("path", MODEL, ids=name)
def test_model_performs_nothing_and_knows_no_driver(path):
    """So that the code that serves real programs is the code that is searched."""
    modules = imports(path)
    assert {module.split(".")[0] for module in modules} & PERFORMS == set()
    for driver in ("live", "explore", "demo", "commands"):
        assert not within(modules, f"fusefs.{driver}")


@pytest.mark.parametrize("path", EXPLORE, ids=name)
def test_explorer_performs_nothing_and_knows_no_daemon(path):
    """A schedule replays exactly only if nothing else decides."""
    modules = imports(path)
    assert {module.split(".")[0] for module in modules} & PERFORMS == set()
    assert not within(modules, "fusefs.live")


@pytest.mark.parametrize("path", LIVE, ids=name)
def test_daemon_knows_no_explorer(path):
    assert not within(imports(path), "fusefs.explore")


@pytest.mark.parametrize("path", MODEL, ids=name)
def test_model_needs_only_the_standard_library_and_bitarray(path):
    tops = {module.split(".")[0] for module in imports(path)}
    assert tops - sys.stdlib_module_names <= {"fusefs", "bitarray"}


def test_import_of_a_clock_would_be_found(tmp_path):
    """The rules above would hold if imports() found nothing."""
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from time import monotonic\n    import os.path\n")
    assert imports(path) == {"time", "time.monotonic", "os.path"}


LADDER = ["file_io", "truncate", "dio", "buffered", "writeback", "iomap", "filesystem", "inode"]
"""A request goes downwards: each file imports only files to its right."""


def test_request_goes_downwards():
    for place, module in enumerate(LADDER):
        below = {f"fusefs.{other}" for other in LADDER[place + 1 :]}
        others = {f"fusefs.{other}" for other in LADDER} - below
        upwards = imports(FUSEFS / f"{module}.py") & others
        assert not upwards, f"{module}.py imports {upwards}"


# -- size --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_file_is_short_enough_to_read_at_once(path):
    assert len(path.read_text().splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_functions_fit_a_screen(path):
    assert [line for line, length in functions(path) if length > FUNCTION_LINES_MAX] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_file_says_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?", "!")), "the first line is a sentence"


# -- what mypyc asks ---------------------------------------------------------------------


def errors_by_name(function: ast.AST) -> dict[str, set[str]]:
    """What each name of an except clause is bound to in a function, as written."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type:
            found.setdefault(node.name, set()).add(ast.unparse(node.type))
    return found


@pytest.mark.parametrize("path", COMPILED, ids=name)
def test_name_of_an_error_has_one_type_in_a_function(path):
    """mypyc gives a name one type: at run time the other error would become a TypeError."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for bound, types in errors_by_name(node).items():
                assert len(types) == 1, f"{name(path)}: {node.name}: {bound} is {types}"


def test_name_with_two_types_would_be_found():
    """The rule above would hold if errors_by_name() found nothing."""
    text = "try: f()\nexcept A as e: g()\nexcept (B, C) as e: h()\nexcept D: i()"
    assert errors_by_name(ast.parse(text)) == {"e": {"A", "(B, C)"}}


# -- rules and their labels --------------------------------------------------------------


def test_every_rule_of_the_model_is_quoted_by_a_test():
    """grep '(D1)' must find the rule, its check and its test."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for path in MODEL:
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        _, _, invariants = docstring.partition("Invariants:")
        labels = [word.strip()[:4] for word in invariants.splitlines() if word.strip()[:1] == "("]
        for label in labels:
            assert label in tests, f"no test quotes {label} of {name(path)}"


# -- the front door ----------------------------------------------------------------------


def test_each_command_of_dev_does_something():
    """A command that is listed but has no branch would end with status 0, and do nothing."""
    script = (ROOT / "dev").read_text()
    usage, _, code = script.partition("die()")
    _, _, branches = code.rpartition("case $command in")
    named = set(re.findall(r"\./dev (\w+)", usage))
    assert {f"{command})" for command in named - {"setup"}} <= set(branches.split())
