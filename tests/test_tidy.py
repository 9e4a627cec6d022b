"""What a linter cannot hold: who may import what, and how long things may get."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import compiled

ROOT = Path(__file__).parent.parent
FUSEFS = ROOT / "fusefs"

SOURCES = sorted(FUSEFS.rglob("*.py"))
MODEL = [FUSEFS / name for name in compiled.model()]
COMPILED = [FUSEFS / name for name in compiled.modules()]

BELOW = {
    "model": (),
    "store": ("model",),
    "engine": ("model",),
    "litmus": (),
    "gates.py": (),
    "ending.py": (),
    "trial": ("ending.py", "gates.py", "store", "litmus", "model"),
    "show": ("engine", "model"),
    "explore": ("show", "litmus", "engine", "model"),
    "check": ("show", "litmus", "engine", "model"),
    "predict": ("explore", "litmus", "engine"),
    "conform": ("ending.py", "trial", "explore", "litmus", "engine", "model"),
    "live": ("check", "store", "engine", "model"),
    "mounts.py": ("gates.py", "store", "engine"),
    "demo": ("mounts.py", "ending.py", "gates.py", "show", "engine", "model"),
    "commands": (
        *("demo", "mounts.py", "live", "conform", "predict", "check", "explore", "show"),
        *("trial", "ending.py", "gates.py", "litmus", "store", "engine", "model"),
    ),
    "__init__.py": ("mounts.py",),
}
"""Each folder, and those that it may import: no arrow runs back up."""

PURE = [
    *MODEL,
    *(
        path
        for name in ("engine", "show", "explore", "litmus", "check", "predict")
        for path in sorted(FUSEFS.glob(f"{name}/*.py"))
    ),
]

OUTSIDE = {
    "model": {"bitarray"},
    "store": {"bitarray"},
    "engine": set(),
    "litmus": set(),
    "trial": set(),
    "show": set(),
    "explore": set(),
    "check": set(),
    "predict": set(),
    "conform": set(),
    "live": {"pyfuse3", "trio"},
    "demo": {"rich"},
    "commands": {"distributed", "rich"},
}
"""What each folder needs beside the standard library."""

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


def folder(path: Path) -> str:
    """The folder of fusefs that a file is in; of its top, the file itself."""
    return path.relative_to(FUSEFS).parts[0]


def imported_files(path: Path) -> set[Path]:
    """The files of fusefs that a file imports, wherever in it and be it for types alone."""
    found = set()
    for module in within(imports(path), "fusefs"):
        file = ROOT.joinpath(*module.split("."))
        candidates = (file.with_suffix(".py"), file / "__init__.py")
        found |= {each for each in candidates if each.exists() and each != path}
    return found


@pytest.mark.parametrize("path", PURE, ids=name)
def test_model_engine_and_search_perform_nothing(path):
    """So that the code that serves real programs is searched, and a schedule replays exactly."""
    assert {module.split(".")[0] for module in imports(path)} & PERFORMS == set()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_file_imports_only_what_is_below_it(path):
    here = folder(path)
    if here not in BELOW:  # compiled.py and the like, which all may import
        assert {folder(file) for file in imported_files(path)} <= {"compiled.py"}
        return
    around = {"__init__.py", "compiled.py", here}
    above = {file for file in imported_files(path) if folder(file) not in (*around, *BELOW[here])}
    assert not above, f"{name(path)} imports {', '.join(map(name, above))}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_folder_needs_only_what_is_named(path):
    tops = {module.split(".")[0] for module in imports(path)}
    allowed = OUTSIDE.get(folder(path), set()) | {"fusefs"}
    assert tops - sys.stdlib_module_names <= allowed


def test_no_file_imports_itself_in_a_circle():
    """Types included: of two files that need each other, neither can be read first."""
    left = {path: imported_files(path) for path in SOURCES if path.name != "__init__.py"}
    left = {path: files & left.keys() for path, files in left.items()}
    while ready := [path for path, files in left.items() if not files & left.keys()]:
        for path in ready:
            del left[path]
    assert not left, f"a circle among {', '.join(map(name, left))}"


def test_circle_would_be_found():
    """The rule above would hold if imported_files() found nothing."""
    assert FUSEFS / "model/iomap.py" in imported_files(FUSEFS / "model/dio.py")


def test_coroutines_are_driven_in_one_place():
    """One advance() and one perform(): whoever drives the model drives it in the same way."""
    drivers = [ROOT / "tests/model/driving.py", *(ROOT / "tests/crash").rglob("*.py"), *SOURCES]
    driving = re.compile(r"coroutine\.(send|throw)\(|read_at\(step\b")
    found = {name(path) for path in drivers if driving.search(path.read_text())}
    assert found == {"fusefs/engine/task.py"}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name)
def test_helpers_of_tests_are_imported_by_their_folder(path):
    """Under its bare name Python would load the same file a second time, with its own state."""
    helpers = {each.stem for each in (ROOT / "tests").glob("*/*.py")}
    assert not {module.partition(".")[0] for module in imports(path)} & helpers


def test_no_two_test_files_have_one_name():
    """pytest, which knows them by their name alone, would end at once."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert {each for each, count in names.items() if count > 1} == set()


def test_import_of_a_clock_would_be_found(tmp_path):
    """The rules above would hold if imports() found nothing."""
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from time import monotonic\n    import os.path\n")
    assert imports(path) == {"time", "time.monotonic", "os.path"}


LADDER = [
    "file_io",
    "truncate",
    "dio",
    "dio_complete",
    "mapped",
    "buffered",
    "fill",
    "writeback",
    "iomap",
    "filesystem",
    "inode",
]
"""A request goes downwards: each file imports only files to its right."""


def test_request_goes_downwards():
    for place, module in enumerate(LADDER):
        below = {f"fusefs.model.{other}" for other in LADDER[place + 1 :]}
        others = {f"fusefs.model.{other}" for other in LADDER} - below
        upwards = imports(FUSEFS / f"model/{module}.py") & others
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


def waits_while_it_handles(tree: ast.AST) -> list[int]:
    """The lines of an await within an except or a finally clause."""
    clauses: list[ast.stmt] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            clauses += node.finalbody
            for handler in node.handlers:
                clauses += handler.body
    return [
        node.lineno
        for clause in clauses
        for node in ast.walk(clause)
        if isinstance(node, ast.Await | ast.AsyncWith | ast.AsyncFor)
    ]


@pytest.mark.parametrize("path", COMPILED, ids=name)
def test_nobody_waits_while_an_error_is_handled(path):
    """mypyc keeps the error that is handled for the thread, not for the coroutine: whoever runs
    meanwhile and handles one, too, would leave it in disorder, and the interpreter ends."""
    assert waits_while_it_handles(ast.parse(path.read_text())) == []


def test_waiting_while_an_error_is_handled_would_be_found():
    """The rule above would hold if waits_while_it_handles() found nothing."""
    text = "async def f():\n try:\n  await g()\n except E:\n  await h()\n finally:\n  await i()"
    assert waits_while_it_handles(ast.parse(text)) == [7, 5]


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
