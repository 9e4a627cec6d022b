"""A gate's line: what it means, and what is wrong with a bad one, in a line."""

import errno

import pytest

from fusefs.engine.events import Request
from fusefs.engine.gate import STEPS, Asked, GateError, GateText, Who, parse_hold, steps
from fusefs.model.steps import NAMES

INOS = {"file": 7}


def find(path: str) -> int:
    if path not in INOS:
        raise GateError(f"path={path}: none", errno.ENOENT)
    return INOS[path]


def parsed(text: str) -> GateText:
    return parse_hold(text.split(), find, lambda: "g1")


def asked(step: str = "reply", *where: int, operation: str = "read", pid: int = 42) -> Asked:
    return Asked(Request(1, 0, operation, 7, pid, 4096, 1024), step, *where)


def test_what_is_not_said_is_any_but_one_is_held_and_for_a_time():
    gate = parsed("begin")
    assert gate == GateText("begin", Who(), 1, 5.0, "", Who(), "g1")
    assert gate.who.meets(asked())


def test_all_that_can_be_said_and_back():
    line = (
        "dio.write.* op=write,work pid=42 ino=7 range=4096+512 count=3 timeout=500ms"
        " until=buffered.read.fill pid=43 range=0+512 as name"
    )
    gate = parsed(line)
    assert gate.who == Who(("write", "work"), 42, 7, 4096, 4608)
    assert (gate.count, gate.timeout_s, gate.name) == (3, 0.5, "name")
    assert (gate.until, gate.awaited) == ("buffered.read.fill", Who((), 43, None, 0, 512))
    assert str(gate) == f"hold {line}"
    assert parsed(str(gate).removeprefix("hold ")) == gate


def test_path_is_a_number_from_then_on():
    assert parsed("begin path=file").who.ino == 7
    with pytest.raises(GateError, match="path=other: none") as caught:
        parsed("begin path=other")
    assert caught.value.number == errno.ENOENT


def test_every_step_of_the_model_can_be_named_and_the_first_and_the_last():
    assert {"begin", *NAMES, "reply"} == {*STEPS} == steps("*")
    assert steps("dio.read.*") == {name for name in NAMES if name.startswith("dio.read.")}
    assert all(steps(name) == {name} for name in STEPS)


@pytest.mark.parametrize(
    ("who", "step", "met"),
    [
        ("op=read", asked(), True),
        ("op=write", asked(), False),
        ("op=write,read", asked(), True),
        ("pid=42", asked(), True),
        ("pid=43", asked(), False),
        ("ino=8", asked(), False),
        ("range=4096+1", asked(), True),
        ("range=5119+1", asked(), True),
        ("range=5120+1", asked(), False),
        ("range=0+4096", asked(), False),
        ("range=0+4096", asked("buffered.read.fill", 0, 8192), True),
    ],
)
def test_who_is_meant(who: str, step: Asked, met: bool):
    """A range is that of the step, if it has one: a fill is of more than was asked for."""
    assert parsed(f"begin {who}").who.meets(step) is met


@pytest.mark.parametrize(
    ("who", "met"), [("ino=7", True), ("path=file", True), ("ino=1", True), ("ino=8", False)]
)
def test_request_for_a_name_is_about_its_directory_and_about_what_has_the_name(who: str, met: bool):
    request = Request(1, 0, "unlink", 1, 42, also=(7, 9))
    assert parsed(f"begin op=unlink {who}").holds(Asked(request, "begin")) is met


@pytest.mark.parametrize("operation", ["getattr", "getxattr"])
@pytest.mark.parametrize(
    ("who", "root", "other"),
    [("", False, True), ("pid=42", False, True), ("ino=1", True, False), ("ino=7", False, True)],
)
def test_way_to_the_control_files_is_free_unless_the_root_is_named(
    operation: str, who: str, root: bool, other: bool
):
    gate = parsed(f"begin op={operation} {who}")
    assert gate.holds(Asked(Request(1, 0, operation, 1, 42), "begin")) is root
    assert gate.holds(Asked(Request(1, 0, operation, 7, 42), "begin")) is other


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "hold what?"),
        ("dio.write.covert", "is no step; some that are: dio.write.convert"),
        ("dio.*.map", "is no step"),
        ("reply when=now", "'when=now' is no part of a gate: there are op=, pid=, path=, ino=,"),
        ("reply op=unlik", "op=unlik is none; some that are: unlink, link"),
        ("reply op=close", "op=close is none; some that are:"),
        ("reply op=forget", "op=forget is none; some that are:"),
        ("reply pid=me", "pid=me: it is a number"),
        ("reply pid=1 pid=2", "pid= is there twice"),
        ("reply path=file ino=7", "path= and ino= are one thing"),
        ("reply range=4096", "range=4096: it is POS+LENGTH, such as 4096+512"),
        ("reply range=0+0", "range=0+0: it is POS+LENGTH"),
        ("reply count=0", "count=0: it is a number from 1 on, or all"),
        ("reply timeout=0", "timeout=0: it is a time up to 3600s, such as 500ms or 5s"),
        ("reply timeout=2h", "timeout=2h: it is a time"),
        ("reply timeout=3601s", "timeout=3601s: it is a time up to 3600s"),
        ("reply until=nothing", "'nothing' is no step"),
        ("reply as", "a name is a word"),
        ("reply as all", "as 'all': a name is a word"),
        (f"reply as {'x' * 65}", "a name is a word of 64 characters"),
        (f"reply {'x' * 4000}", "is no part of a gate"),
    ],
)
def test_bad_line_is_one_line(line: str, said: str):
    with pytest.raises(GateError) as caught:
        parsed(line)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
