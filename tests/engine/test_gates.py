"""Gates without a mount and without time: who is held, and that he goes on."""

import errno
from collections.abc import Iterator

import pytest

from fusefs.engine.events import Request
from fusefs.engine.gate import AT_ONCE, Asked, GateError
from fusefs.engine.gates import GATES_MAX, OVER_MAX, WATCHES_MAX, Gates
from fusefs.engine.held import MOUNT, Hold
from fusefs.model.steps import Waiter

A, B = 42, 43
OWNER = 7


class Table:
    """Gates, and what they have said; now is the time."""

    def __init__(self) -> None:
        self.gone_on: list[int] = []
        self.log: list[str] = []
        self.told: list[Hold | GateError] = []
        self.gates = Gates(self.gone_on.append, self.log.append)
        self.now = 0.0
        self._requests: dict[int, Request] = {}

    def hold(self, line: str, owner: int = MOUNT) -> str:
        return self.gates.hold(line.split(), owner, lambda path: 5).text.name

    def request(self, number: int, operation: str = "write", ino: int = 5) -> Request:
        pid = A if number % 2 else B
        new = Request(number, 0, operation, ino, pid, 0, 512)
        return self._requests.setdefault(number, new)

    def arrives(self, number: int, step: str = "begin", operation: str = "write") -> bool:
        """Odd numbers are A's requests, even ones B's."""
        return self.gates.arrives(Asked(self.request(number, operation), step), self.now)

    def passes(self, number: int, step: str, operation: str = "read") -> None:
        self.gates.passes(Asked(self.request(number, operation), step, 0, 512))

    def waits(self, number: int, owner: int, step: str = "lock.inode.shared") -> Waiter:
        waiter = Waiter(owner)
        self.gates.waits(Asked(self.request(number, "read"), step), waiter)
        return waiter

    def wait(self, name: str, timeout_s: float = 5.0) -> None:
        self.gates.wait(name, timeout_s, self.told.append, self.now)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.gates.expire(self.now)

    def names(self) -> list[object]:
        return [report["name"] for report in self.gates.reports(self.now)]


@pytest.fixture
def table() -> Iterator[Table]:
    """(U1) Whatever a test did, nobody is held when all gates are gone."""
    table = Table()
    yield table
    table.gates.release("all")
    assert table.gates.is_idle
    assert not table.gates.steps
    assert not any(table.gates.is_held(number) for number in range(100))
    assert len(table.gone_on) == len(set(table.gone_on)), "let go twice"


def test_one_is_held_until_it_is_released_and_then_the_gate_is_over(table: Table):
    table.hold("begin op=write as a")
    assert table.gates.steps == {"begin"}
    assert table.arrives(1)
    assert not table.arrives(2), "count=1"
    table.gates.release("a")
    assert table.gone_on == [1]
    assert table.names() == []
    assert not table.arrives(3)


def test_who_is_not_meant_passes(table: Table):
    table.hold(f"begin op=write pid={A} as a")
    assert not table.arrives(2)
    assert not table.arrives(3, operation="read")
    assert not table.arrives(5, "dio.write.map")
    assert table.arrives(7)


def test_count_is_how_many_are_held_and_all_is_no_end(table: Table):
    table.hold("begin count=2 as two")
    table.hold("reply count=all as all-of-them")
    assert [table.arrives(number) for number in (1, 2, 3)] == [True, True, False]
    assert all(table.arrives(number, "reply") for number in range(10, 20))
    table.gates.release("two")
    assert table.names() == ["all-of-them"]
    table.gates.release("all-of-them")
    assert table.names() == ["all-of-them"]
    assert table.gone_on == [1, 2, *range(10, 20)]


def test_release_before_the_hold_is_remembered(table: Table):
    """(U2) The wake-up that comes first is not lost, and lets one pass, not all."""
    table.hold("begin count=2 as a")
    table.gates.release("a")
    assert not table.arrives(1)
    assert table.arrives(2)
    table.hold("begin as b")
    table.gates.release("b")
    assert not table.gates.arrives(Asked(table.request(4), "begin"), 0)
    assert "b" not in table.names(), "it has had its one"


def test_time_out_lets_go_and_is_logged(table: Table):
    """(U1)"""
    table.hold("dio.write.convert timeout=2s as a")
    assert table.arrives(1, "dio.write.convert")
    assert table.gates.next_deadline() == 2.0
    table.later(1.9)
    assert table.gone_on == []
    table.later(0.1)
    assert table.gone_on == [1]
    assert table.log == [
        "gate a: write 1 of pid 42 was held before dio.write.convert for its time-out"
    ]
    assert table.gates.next_deadline() is None


def test_owner_that_is_gone_holds_nobody(table: Table):
    table.hold("begin count=all as mine", OWNER)
    table.hold("reply as the-mount-s")
    assert table.arrives(1)
    assert table.arrives(2)
    table.gates.drop_owner(OWNER)
    assert table.gone_on == [1, 2]
    assert table.names() == ["the-mount-s"]


def test_held_by_two_goes_on_when_both_have_let_go(table: Table):
    table.hold("begin op=write as a")
    table.hold(f"begin pid={A} as b")
    assert table.arrives(1)
    table.gates.release("a")
    assert table.gone_on == []
    table.gates.release("b")
    assert table.gone_on == [1]


def test_interrupted_one_is_held_no_longer_and_is_not_let_go(table: Table):
    """Whoever asked answers it otherwise."""
    table.hold("begin as a")
    table.hold("begin as b")
    assert table.arrives(1)
    table.gates.forget(1)
    assert not table.gates.is_held(1)
    assert (table.gone_on, table.names()) == ([], [])
    table.gates.forget(1)


@pytest.mark.parametrize("step", ["begin", "reply", "*"])
def test_daemon_s_own_requests_are_held_only_if_they_are_named(table: Table, step: str):
    """Where every request comes by; a step of writeback is of whoever writes back."""
    table.hold(f"{step} count=all as a")
    met = "begin" if step == "*" else step
    assert not table.arrives(2, met, operation="writeback")
    assert table.arrives(1, met)
    table.hold(f"{step} op=writeback as b")
    assert table.arrives(4, met, operation="writeback")
    table.hold("writeback.submit as c")
    assert table.gates.arrives(Asked(table.request(6, "writeback"), "writeback.submit"), 0)


@pytest.mark.parametrize("operation", ["rename", *AT_ONCE])
@pytest.mark.parametrize("step", ["begin", "reply", "*", "b*", "r*"])
def test_names_attributes_opens_and_closes_are_held_only_if_they_are_named(
    table: Table, step: str, operation: str
):
    """Also of one thread or one file: each call of a program begins with some of them."""
    met = "reply" if step[0] == "r" else "begin"
    table.hold(f"{step} pid={B} ino=5 count=all as a")
    assert not table.arrives(2, met, operation=operation)
    table.hold(f"{step} pid={B} ino=5 op=unlink,{operation} count=all as b")
    assert table.arrives(4, met, operation=operation)


def test_operations_without_steps_that_gates_name(table: Table):
    """Those that must become requests of the driver; all others are, or need not."""
    operations = table.gates.operations
    for line, named in [
        ("begin as a", set[str]()),
        ("dio.write.convert op=unlink as b", set[str]()),
        ("reply op=unlink,write as c", {"unlink"}),
        ("b* op=open,rename as d", {"unlink", "open"}),
        ("begin op=write until=reply op=release as e", {"unlink", "open", "release"}),
        ("begin op=write until=dio.write.map op=lookup as f", {"unlink", "open", "release"}),
    ]:
        table.hold(line)
        assert operations == named
    table.gates.release("c")
    assert operations == {"unlink", "open", "release"}, "the next one passes"
    table.gates.release("all")
    assert operations == set()


def test_daemon_s_own_reply_is_not_what_is_awaited(table: Table):
    table.hold("begin until=reply as a")
    assert table.arrives(1)
    table.passes(2, "reply", operation="writeback")
    assert table.gone_on == []
    table.passes(4, "reply")
    assert table.gone_on == [1]


# -- until -------------------------------------------------------------------------------


def test_until_lets_go_when_another_one_passes(table: Table):
    table.hold("dio.write.convert until=buffered.read.fill as a")
    assert table.arrives(1, "dio.write.convert")
    table.passes(2, "buffered.read.map")
    table.passes(1, "buffered.read.fill")
    assert table.gone_on == [], "another step; itself"
    table.passes(2, "buffered.read.fill")
    assert table.gone_on == [1]


def test_until_is_about_the_same_file_the_thread_and_the_range(table: Table):
    table.hold(f"begin until=reply pid={B} range=0+512 as a")
    assert table.arrives(1)
    table.gates.passes(Asked(table.request(3), "reply"))
    table.gates.passes(Asked(table.request(4, ino=6), "reply"))
    table.gates.passes(Asked(table.request(6), "reply", 512, 512))
    assert table.gone_on == []
    table.gates.passes(Asked(table.request(8), "reply"))
    assert table.gone_on == [1]


def test_same_file_is_also_what_a_name_leads_to(table: Table):
    """Of an unlink the file that goes, and the directory."""
    unlink = Request(1, 0, "unlink", 1, A, also=(5,))
    table.hold("begin op=unlink until=reply op=write,create as a")
    assert table.gates.arrives(Asked(unlink, "begin"), 0)
    table.passes(2, "reply", operation="write")
    assert table.gone_on == [1]
    table.hold("begin op=write until=reply op=unlink as b")
    assert table.arrives(3)
    table.gates.passes(Asked(Request(4, 0, "unlink", 1, B, also=(6,)), "reply"))
    assert table.gone_on == [1]
    table.gates.passes(Asked(Request(6, 0, "unlink", 1, B, also=(6, 5)), "reply"))
    assert table.gone_on == [1, 3]


def test_what_passed_before_the_hold_is_not_awaited(table: Table):
    """It is no signal: on a busy mount such a gate would hold nobody."""
    table.hold("begin until=reply as a")
    table.passes(2, "reply")
    assert table.arrives(1)


def test_that_another_one_begins_can_be_awaited(table: Table):
    table.hold("reply op=write until=begin as a")
    assert table.arrives(1, "reply")
    assert not table.arrives(2, operation="read")
    assert table.gone_on == [1]


# -- those who wait for whom they hold up --------------------------------------------------


def test_held_one_that_has_the_awaited_one_s_lock_goes_on_at_once(table: Table):
    """(U3) And the log says why; nothing waits for a time-out."""
    table.hold(f"dio.write.convert until=reply pid={B} as a")
    assert table.arrives(1, "dio.write.convert")
    table.waits(2, owner=1)
    assert table.gone_on == [1]
    assert table.log == [
        "gate a: write 1 of pid 42 goes on: read 2 of pid 43, which it awaits, waits for it,"
        " before lock.inode.shared"
    ]


def test_through_others_too_and_in_whatever_order(table: Table):
    """(U3) B waits for a third one, that waits for A; and they wait before A is held."""
    table.hold(f"dio.write.convert until=reply pid={B} as a")
    table.waits(2, owner=4)
    table.waits(4, owner=1)
    assert not table.arrives(1, "dio.write.convert"), "in vain from the first"
    assert "which it awaits" in table.log[0]
    assert table.gone_on == [], "it was never held"


def test_any_thread_that_must_take_the_lock_is_the_awaited_one(table: Table):
    table.hold("dio.write.convert until=buffered.read.fill as a")
    assert table.arrives(1, "dio.write.convert")
    table.waits(2, owner=1)
    assert table.gone_on == [1]


@pytest.mark.parametrize(
    ("until", "number", "step"),
    [
        ("until=buffered.read.fill", 2, "lock.page"),
        ("until=buffered.write.copy", 2, "lock.inode.shared"),
        (f"until=buffered.read.fill pid={A}", 2, "lock.inode.shared"),
        ("until=reply", 2, "lock.inode.shared"),
    ],
    ids=["another page would do", "a read does not", "another thread", "any request has it"],
)
def test_hold_that_somebody_else_may_end_goes_on(table: Table, until: str, number: int, step: str):
    """(U3) says nothing of these: they end by whoever comes, or by the time-out."""
    table.hold(f"dio.write.convert {until} as a")
    assert table.arrives(1, "dio.write.convert")
    table.waits(number, owner=1, step=step)
    assert table.gone_on == []
    assert table.log == []


def test_who_waits_for_one_that_is_not_held_or_waits_no_longer_ends_nothing(table: Table):
    table.hold(f"dio.write.convert until=reply pid={B} as a")
    table.waits(2, owner=9)
    table.waits(4, owner=1)
    table.gates.goes_on(4)
    assert table.arrives(1, "dio.write.convert")


def test_who_is_handed_what_the_awaited_one_waits_for_goes_on(table: Table):
    """(U3) He was held before he had it, and so did not keep anybody from it."""
    table.hold(f"lock.inode.exclusive until=reply pid={B} as a")
    waiter = table.waits(2, owner=3)
    assert table.arrives(1, "lock.inode.exclusive")
    waiter.owner = 1
    table.passes(3, "reply", "write")
    assert table.gone_on == [1]


def test_who_has_what_he_waited_for_waits_no_longer(table: Table):
    """He has been woken, and has not gone on yet."""
    table.hold(f"dio.write.convert until=reply pid={B} as a")
    table.waits(2, owner=1).wake()
    assert table.arrives(1, "dio.write.convert")


def test_two_that_are_held_for_each_other_do_not_wait(table: Table):
    table.hold(f"begin pid={A} until=reply pid={B} as a")
    table.hold(f"begin pid={B} until=reply pid={A} as b")
    assert table.arrives(1)
    assert not table.arrives(2)
    assert "is itself held until" in table.log[0]


def test_wait_for_one_who_waits_for_one_that_is_held_is_told_at_once(table: Table):
    table.hold("dio.write.convert as a")
    table.hold(f"buffered.read.fill pid={B} as b")
    assert table.arrives(1, "dio.write.convert")
    table.wait("b")
    table.waits(2, owner=1)
    (told,) = table.told
    assert isinstance(told, GateError)
    assert told.number == errno.EDEADLK
    assert str(told) == (
        "gate b: read 2 of pid 43, which would come there, waits before lock.inode.shared"
        " for request 1, which is held"
    )
    assert table.gates.is_held(1), "whoever set the gate decides"


# -- whoever waits -------------------------------------------------------------------------


def test_wait_is_told_when_one_comes_or_at_once(table: Table):
    table.hold("begin as a")
    table.wait("a")
    assert table.told == []
    table.arrives(1)
    table.wait("a")
    assert [told.asked.request.number for told in table.told if isinstance(told, Hold)] == [1, 1]


def test_wait_has_a_time_of_its_own(table: Table):
    table.hold("begin as a")
    table.wait("a", 0.5)
    assert table.gates.next_deadline() == 0.5
    table.later(0.5)
    (told,) = table.told
    assert isinstance(told, GateError)
    assert told.number == errno.ETIMEDOUT


def test_wait_for_a_gate_that_goes_is_told_why(table: Table):
    table.hold("begin as a", OWNER)
    table.wait("a")
    table.gates.drop_owner(OWNER)
    assert "it went with whoever had set it" in str(table.told[0])
    table.hold("begin timeout=1s as b")
    table.arrives(1)
    table.later(1.0)
    with pytest.raises(GateError, match="gate b is over: write 1 of pid 42 was held before begin"):
        table.wait("b")


def test_unknown_names_and_names_in_use(table: Table):
    assert [table.hold("begin"), table.hold("begin")] == ["g1", "g2"]
    with pytest.raises(GateError, match="no gate 'x': there are g1, g2") as caught:
        table.gates.release("x")
    assert caught.value.number == errno.ENOENT
    with pytest.raises(GateError, match="there is a gate g1 already") as caught:
        table.hold("reply as g1")
    assert caught.value.number == errno.EEXIST


def test_nothing_grows_without_end(table: Table):
    for _ in range(GATES_MAX):
        table.hold("begin")
    with pytest.raises(GateError) as caught:
        table.hold("begin")
    assert caught.value.number == errno.ENOSPC
    for _ in range(WATCHES_MAX):
        table.wait("g1")
    with pytest.raises(GateError) as caught:
        table.wait("g1")
    assert caught.value.number == errno.ENOSPC
    table.gates.release("all")
    with pytest.raises(GateError, match="no gate 'g1'"):
        table.gates.release("g1")
    with pytest.raises(GateError, match="is over: released with all others"):
        table.gates.release(f"g{GATES_MAX - OVER_MAX + 1}")


def test_list_says_who_is_held_since_when_and_how_often_it_was_met(table: Table):
    table.hold("begin count=1 as a")
    table.arrives(1)
    table.arrives(2)
    table.now = 1.5
    (report,) = table.gates.reports(table.now)
    assert report == {
        "name": "a",
        "gate": "hold begin count=1 timeout=5s as a",
        "owner": "mount",
        "met": 2,
        "left": 0,
        "released_before": 0,
        "held": [
            {
                "request": 1,
                "operation": "write",
                "pid": A,
                "ino": 5,
                "step": "begin",
                "pos": 0,
                "length": 512,
                "held_s": 1.5,
            }
        ],
        "said": "",
    }
