"""Crashes as a question of litmus files: what may be found, what is promised, and what breaks that.

A plain search, which stops each schedule after each turn, is the judge of the reduced one.
"""

import textwrap
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from explore.playing import HEAD

import fusefs
from fusefs.explore import crashes
from fusefs.explore.aftermath import Aftermath, Moment, syncs
from fusefs.explore.answer import Answer, ask, is_as_expected
from fusefs.explore.crash_memory import CrashMemory
from fusefs.explore.crashes import Crash, Crashes
from fusefs.explore.execution import Execution
from fusefs.explore.explain import shrunk
from fusefs.explore.names import NamedWorld
from fusefs.explore.reduction import Reduction
from fusefs.explore.telling import histogram, table, witness_text
from fusefs.explore.token import TokenError, crashed, made, parse_token
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.parse import parse
from fusefs.litmus.test import DISK, SIZE, Litmus
from fusefs.litmus.text import text as text_of
from fusefs.model.orders import ROWS


def litmus(text: str) -> Litmus:
    """Of a file without its head; it says `crash`."""
    return parse(HEAD + "crash\n" + textwrap.dedent(text).lstrip("\n"), "test.litmus")


def answer(text: str, *orders: str) -> Answer:
    return ask(litmus(text), orders)


def found(text: str, subject: str, *orders: str) -> set[str]:
    """All that a mount may find: 'disk f' or 'size f'."""
    kind, name = subject.split()
    return {dict(values)[kind, name] for values in answer(text, *orders).histogram}


UNSYNCED = """
    file f 512 z
    A:
        r = pwrite f 0 512 a
    exists after crash: A.r = 512 /\\ disk f = z
    """

SYNCED = """
    file f 512 z
    A:
        pwrite f 0 512 a
        r = fsync f
    exists after crash: A.r = 0 /\\ disk f = z
    """

DSYNC = """
    file f 512 unwritten
    A:
        r = pwrite f 0 512 a direct dsync
    exists after crash: A.r = 512 /\\ disk f = 0
    """

BESIDE = """
    file f 512 hole
    A:
        pwrite f 0 512 a direct
    B:
        fsync f
    exists after crash: disk f = ?
    """

PUNCHED = """
    file f 1k z
    A:
        fpunch f 0 512
        fsync f
    exists after crash: disk f = 00
    """


GALLERY = sorted((Path(fusefs.__file__).parent / "litmus" / "gallery").glob("crash-*.litmus"))


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_gallery_of_crashes(path: Path):
    """Never today, Sometimes under the order that the file names; and it is written as printed."""
    asked = parse(path.read_text(), path.name)
    assert asked.crash
    assert asked.question.after_crash
    assert text_of(asked) == path.read_text()
    today = ask(asked, ())
    assert (today.observation, today.broken, today.exhausted) == ("Never", {}, True)
    for name in asked.expected.keys() & ROWS.keys():
        found = ask(asked, {name})
        assert is_as_expected(asked, found, [name])
        assert found.broken.keys() == set(asked.breaks)


# -- what may be found -------------------------------------------------------------------


def test_what_was_not_synced_may_be_lost():
    found = answer(UNSYNCED)
    assert (found.observation, found.broken, found.exhausted) == ("Sometimes", {}, True)
    assert found.witness is not None
    assert dict(found.witness.outcome)[DISK, "f"] == "z"


@pytest.mark.parametrize("sync", ["fsync", "fdatasync"])
def test_what_was_synced_is_there(sync: str):
    """(C1)"""
    found = answer(SYNCED.replace("fsync", sync))
    assert (found.observation, found.broken) == ("Never", {})


def test_another_task_can_sync():
    """(C1) A wait makes the order one of the file; without it, it is one of the run."""
    text = """
        file f 512 z
        A:
            pwrite f 0 512 a
        B:
            wait A
            r = fsync f
        exists after crash: B.r = 0 /\\ disk f = z
        """
    assert (answer(text).observation, answer(text).broken) == ("Never", {})
    beside = text.replace("wait A", "pread f 0 512")
    assert (answer(beside).observation, answer(beside).broken) == ("Sometimes", {})


def test_dsync_promises_what_it_has_written():
    """(C1)"""
    assert (answer(DSYNC).observation, answer(DSYNC).broken) == ("Never", {})


def test_pending_writes_are_lost_each_by_itself():
    text = """
        file f 1k z
        A:
            pwrite f 0 512 a direct
            pwrite f 512 512 b direct
        exists after crash: disk f = zb
        """
    assert found(text, "disk f") == {"zz", "az", "zb", "ab"}
    witness = answer(text).witness
    assert witness is not None
    assert [witness.turns[place].pos for place in witness.lost or ()] == [0]


def test_a_write_that_no_stored_map_has_leaves_nothing():
    text = """
        file f 0
        A:
            pwrite f 0 512 a direct
        exists after crash: size f = 512
        """
    assert (answer(text).observation, found(text, "disk f")) == ("Never", {"."})
    synced = text.replace("direct", "direct dsync")
    assert (answer(synced).observation, found(synced, "disk f")) == ("Sometimes", {".", "a"})


def test_a_rename_over_a_file_leaves_the_old_or_the_new_whole():
    text = """
        file f 512 z
        file g 512 y
        A:
            pwrite f 0 512 a
            rename f g
            fsync f
        exists after crash: disk g = z
        """
    assert answer(text).broken == {}
    without = text.replace("            fsync f\n", "")
    assert broken_with(without, Storage) == {}
    assert broken_with(without, NoCommit) == {
        "durable": "(C1) a of A was synced: f, bytes 0 to 512: z (at first)"
    }
    assert found(text, "disk g") == {"y", "a"}
    assert found(text, "disk f") == {"z", "a", "ENOENT"}


def test_an_append_is_there_or_not():
    """(C3) Also where its task has not been told yet where it began."""
    text = """
        file f 512 z
        A:
            pwrite f end 512 a append direct
        B:
            pwrite f end 512 b append direct dsync
        exists after crash: disk f = z0.
        """
    assert answer(text).broken == {}
    assert found(text, "disk f") == {"z..", "zb.", "zab", "zba"}


def test_always_is_whatever_may_be_found():
    assert answer(UNSYNCED.replace("A.r = 512 /\\ disk f = z", "size f = 512")).observation == (
        "Always"
    )


def test_a_question_about_ends_stays_one():
    """The rules are checked all the same."""
    text = DSYNC.replace("exists after crash: A.r = 512 /\\ disk f = 0", "exists disk f = 0")
    with_crash, without = answer(text), ask(parse(HEAD + textwrap.dedent(text)[1:], ""), ())
    assert with_crash.histogram == without.histogram
    assert with_crash.cut_count > 0 == without.cut_count
    broken = answer(text, "ret_before_end")
    assert broken.broken.keys() == {"durable"}
    assert broken.witness is not None
    assert broken.witness.lost == ()


def test_without_crash_the_world_is_as_it_was():
    without = parse(HEAD + "file f 512 a\nA:\n    fsync f\nexists disk f = 0\n", "")
    assert type(LitmusCase(without).world().world) is NamedWorld
    assert type(LitmusCase(litmus(SYNCED)).world().world) is CrashMemory


# -- the plain search is the judge ---------------------------------------------------------


def schedules(made: LitmusCase) -> Iterator[list[int]]:
    """Every schedule of a file, each to its end."""
    waiting: list[list[int]] = [[]]
    while waiting:
        schedule = waiting.pop()
        execution = Execution(made.world())
        for task in schedule:
            execution.turn(task)
        enabled = execution.enabled()
        execution.close()
        if not enabled:
            yield schedule
        waiting += [[*schedule, task] for task in enabled]


def plain_crashes(text: Litmus, orders: Collection[str]) -> Iterator[Crash]:
    """Stop every schedule after every turn.  A sync promises what had ended before it began."""
    made = LitmusCase(text, orders)
    aftermath = Aftermath(text, made.judge)
    for schedule in schedules(made):
        world = made.world()
        execution, running, memory = Execution(world), world.running, world.world
        assert isinstance(memory, CrashMemory)
        before: dict[Any, set[Any]] = {}
        for task in [None, *schedule]:
            if task is not None:
                known = len(running.begun)
                ended = set(running.ended)
                execution.turn(task)
                before |= dict.fromkeys(running.begun[known:], ended)
            synced = set()
            for sync, name in syncs(text).items():
                [judge] = [each for each in made.judge.files.values() if each.name == name]
                if sync in running.complete:
                    promised = {sync} if sync in judge.changes.places else before[sync]
                    synced |= promised & running.complete & set(judge.changes.places)
            moment = Moment(
                frozenset(running.begun),
                frozenset(synced),
                tuple(
                    (place, each.pos) for place, each in running.appends.items() if each.pos >= 0
                ),
                tuple(sorted((k, v) for k, v in running.results.items() if k in aftermath.asked)),
            )
            for left in memory.left():
                values, broken = aftermath.judged(memory.stored_names, left.contents, moment)
                yield Crash((), left.lost, values, tuple(broken))
        execution.close()


BOTH = {
    "beside": (BESIDE, ()),
    "written at allocation": (BESIDE, ("written_at_allocation",)),
    "dsync": (DSYNC, ()),
    "ret before end": (DSYNC, ("ret_before_end",)),
    "fsync of another task": (
        """
        file f 1k z*1 unwritten*1
        A:
            pwrite f 0 1k a direct
        B:
            r = fsync f
        exists after crash: B.r = 0 /\\ disk f = z0
        """,
        (),
    ),
    "another task's fsync under ret before end": (
        """
        file f 512 unwritten
        A:
            r = pwrite f 0 512 a direct
        B:
            s = fsync f
        exists after crash: A.r = 512 /\\ B.s = 0
        """,
        ("ret_before_end",),
    ),
    "two writers": (
        """
        file f 1k z
        A:
            pwrite f 0 512 a direct dsync
        B:
            pwrite f 512 512 b direct
        exists after crash: disk f = zb
        """,
        (),
    ),
    "aio that nobody reaps": (
        """
        file f 1k unwritten
        A:
            aio w = pwrite f 0 512 a direct dsync
            r = pwrite f 512 512 b direct
        exists after crash: A.r = 512 /\\ disk f = a0
        """,
        (),
    ),
    "append": (
        """
        file f 512 z
        A:
            pwrite f end 512 a append direct
        B:
            pwrite f end 512 b append direct dsync
        exists after crash: disk f = z0.
        """,
        (),
    ),
    "unlink": (
        """
        file f 512 z
        file g 512 hole
        A:
            unlink f
        B:
            pwrite g 0 512 b direct dsync
        exists after crash: disk f = z /\\ disk g = b
        """,
        (),
    ),
}


@pytest.mark.parametrize(("text", "orders"), BOTH.values(), ids=BOTH)
def test_the_plain_search_finds_the_same(text: str, orders: Collection[str]):
    asked = litmus(text)
    reduced = ask(asked, orders)
    plain = list(plain_crashes(asked, orders))
    assert {crash.values for crash in plain} == reduced.histogram.keys()
    broken = {rule for crash in plain for rule, _ in crash.broken}
    assert broken == reduced.broken.keys() - {"coherence", "lost"}


# -- rules, and faults that break them -----------------------------------------------------


class Tampered:
    """A LitmusWorld whose storage is another."""

    def __init__(self, world: Any, storage: Callable[[CrashMemory], Any]) -> None:
        self.real = world
        self.world = storage(world.world)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Storage:
    def __init__(self, memory: CrashMemory) -> None:
        self.memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


class TornDisk(Storage):
    """A disk that writes half a block at a time."""

    def write_at(self, addr: int, data: bytes) -> None:
        for start, stop in pairwise(range(0, len(data) + 1, 256)):
            self.memory.write_at(addr + start, data[start:stop])


class CommitBeforeData(Storage):
    """A commit that is recorded without a flush before it."""

    def commit(self) -> None:
        disk = self.memory.disk
        pending, flushed = list(disk.pending), disk.flushed
        self.memory.commit()
        disk.pending, disk.flushed = pending, flushed


class NoCommit(Storage):
    """An fsync that only says so."""

    def commit(self) -> None:
        pass


class StrayZeros(Storage):
    """Each write to the disk first leaves zeros there."""

    def write_at(self, addr: int, data: bytes) -> None:
        self.memory.write_at(addr, bytes(len(data)))
        self.memory.write_at(addr, data)


def broken_with(text: str, storage: Callable[[CrashMemory], Any]) -> dict[str, str]:
    """The rules that are broken on such a storage, each with the first sentence."""
    asked = litmus(text)
    made = LitmusCase(asked)

    def make() -> Any:
        return Tampered(made.world(), storage)

    some, reduction = Crashes(asked, made.judge, make), Reduction(make)
    rules: dict[str, str] = {}
    while reduction.next_run():
        for crash in some.after(reduction.trace):
            for rule, sentence in crash.broken:
                rules.setdefault(rule, sentence)
    return rules


HOLE = SYNCED.replace("512 z", "512 hole").replace("disk f = z", "disk f = 0")
DIRECT = UNSYNCED.replace("512 a", "512 a direct")


@pytest.mark.parametrize("text", [SYNCED, DSYNC, BESIDE, PUNCHED, HOLE, DIRECT])
def test_no_rule_is_broken_today(text: str):
    assert answer(text).broken == broken_with(text, Storage) == {}


def test_a_commit_before_its_data_is_found():
    """(C1), (C2)"""
    rules = broken_with(HOLE, CommitBeforeData)
    assert rules == {
        "durable": "(C1) a of A was synced: f, bytes 0 to 512: bytes that nobody wrote into it",
        "exposed": "(C2) f, bytes 0 to 512: bytes that nobody wrote into it",
    }
    rules = broken_with(SYNCED, CommitBeforeData)
    assert rules == {"durable": "(C1) a of A was synced: f, bytes 0 to 512: z (at first)"}


def test_a_punch_that_was_synced_and_comes_back_is_found():
    """(C1) Zeros are promised as well."""
    rules = broken_with(PUNCHED, NoCommit)
    assert rules == {"durable": "(C1) zeros of A was synced: f, bytes 0 to 512: z (at first)"}


def test_a_length_that_was_synced_and_is_gone_is_found():
    """(C1)"""
    text = """
        file f 0
        A:
            pwrite f 0 512 a
            fsync f
        exists after crash: size f = 512
        """
    assert broken_with(text, NoCommit) == {
        "durable": "(C1) a of A was synced: f, bytes 0 to 512: the file ends before"
    }


def test_a_torn_block_is_found():
    """(C3)"""
    rules = broken_with(DIRECT, TornDisk)
    assert rules == {"torn": "(C3) f, bytes 0 to 512: a part of each of several"}


def test_a_value_that_a_block_was_never_given_is_found():
    """(C3)"""
    rules = broken_with(DIRECT, StrayZeros)
    assert rules == {"torn": "(C3) f, bytes 0 to 512: zeros"}


def test_a_block_that_is_written_in_parts_is_not_torn():
    """(C3) Each part is whole."""
    text = """
        file f 1k unwritten
        A:
            pwrite f 256 512 a
            fsync f
        exists after crash: disk f = !!
        """
    assert (answer(text).observation, answer(text).broken) == ("Sometimes", {})


@pytest.mark.parametrize(
    ("text", "order", "rule"),
    [
        (DSYNC, "ret_before_end", "durable"),
        (BESIDE, "written_at_allocation", "exposed"),
    ],
)
def test_an_order_of_the_past_breaks_a_rule(text: str, order: str, rule: str):
    """(C1) or (C2); and never under today's orders."""
    assert answer(text, order).broken.keys() == {rule}
    assert answer(text).broken == {}


# -- bounds --------------------------------------------------------------------------------


def test_a_bound_that_was_reached_is_said():
    operations = "".join(f"    pwrite f {at * 512} 512 a direct\n" for at in range(11))
    text = f"file f {11 * 512} z\nA:\n{operations}exists after crash: disk f = {'z' * 10}a\n"
    found = answer(text)
    assert not found.exhausted
    assert "exhausted: no, in today" in table([("today", found, None)])
    fewer = text.replace("    pwrite f 5120 512 a direct\n", "")
    assert answer(fewer).exhausted


def test_a_bound_of_cuts_is_said_as_well(monkeypatch: pytest.MonkeyPatch):
    complete = answer(DSYNC)
    assert (complete.cut_count, complete.exhausted) == (3, True)
    monkeypatch.setattr(crashes, "CUTS_MAX", 3)
    assert answer(DSYNC).exhausted
    monkeypatch.setattr(crashes, "CUTS_MAX", 2)
    bounded = answer(DSYNC)
    assert (bounded.cut_count, bounded.exhausted) == (2, False)


# -- what is told, and tokens --------------------------------------------------------------


LOST = """
    file f 1k z
    file g 512 z
    A:
        pwrite f 0 512 a direct
    B:
        pwrite f 512 512 b direct
        r = fsync g
    exists after crash: disk f = zb
    """


def orders_of(era: str) -> frozenset[str]:
    return {"today": frozenset[str](), "late": frozenset({"ret_before_end"})}[era]


def test_the_ladder_ends_with_the_crash():
    """The shortest way, and the smallest loss: A has not begun."""
    witness = answer(LOST).witness
    assert witness is not None
    lines = witness_text(litmus(LOST), witness)
    assert lines[0] == "Witness: 3 turns, 0 switches, 0 of them needless"
    assert lines[-2:] == ["-- crash", "disk f=zb; disk g=z; size f=1024; size g=512;"]


def test_the_ladder_says_what_was_lost():
    text = """
        file f 1k z
        A:
            pwrite f 0 512 a direct
            r = pwrite f 512 512 b direct
        exists after crash: A.r = 512 /\\ disk f = zb
        """
    found = answer(text)
    assert found.witness is not None
    assert "-- crash; lost: A's dio.write.submit 0+512" in witness_text(litmus(text), found.witness)
    assert histogram(found)[0] == "Histogram (8 states)"  # each write or not, told or not


@pytest.mark.parametrize(
    ("text", "era"), [(LOST, "today"), (UNSYNCED, "today"), (DSYNC, "late")], ids=str
)
def test_a_token_replays(text: str, era: str):
    asked = litmus(text)
    witness = ask(asked, orders_of(era)).witness
    assert witness is not None
    token = str(made(asked, era, witness.turns, witness.lost))
    crash, turns = crashed(asked, parse_token(token), orders_of)
    assert (crash.values, crash.broken) == (witness.outcome, witness.broken)
    assert tuple(turns) == witness.turns


STORED = "litmus1/test/d7c4fd79/late/Acce,Aaf3,Aef1,Aa7f/crash"


def test_a_stored_token_replays():
    asked = litmus(DSYNC)
    crash, _ = crashed(asked, parse_token(STORED), orders_of)
    assert [rule for rule, _ in crash.broken] == ["durable"]
    assert dict(crash.values)[SIZE, "f"] == "512"


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("/crash:1", "turn 1 has no write that a crash can lose"),
        ("/crash:9", "turn 9 has no write that a crash can lose"),
        ("/crash:0", "'crash:0' is no end of a token: crash, or crash:3,5 is"),
        ("/crush", "'crush' is no end of a token: crash, or crash:3,5 is"),
    ],
)
def test_a_token_of_no_such_crash_is_refused(end: str, sentence: str):
    asked = litmus(DSYNC)
    witness = ask(asked, orders_of("late")).witness
    assert witness is not None
    with pytest.raises(TokenError, match=sentence):
        crashed(asked, parse_token(str(made(asked, "late", witness.turns)) + end), orders_of)


def test_a_crash_before_all_has_a_token():
    text = UNSYNCED.replace("A.r = 512 /\\ ", "")
    witness = answer(text).witness
    assert witness is not None
    assert (witness.turns, witness.lost) == ((), ())
    token = str(made(litmus(text), "today", witness.turns, witness.lost))
    assert token.endswith("/today//crash")
    assert crashed(litmus(text), parse_token(token), orders_of)[0].values == witness.outcome
    assert witness_text(litmus(text), witness)[1:3] == ["A", "-- crash"]


def test_what_a_crash_needs_is_all_that_is_left_of_a_file():
    text = DSYNC.replace("exists", "B:\n        pread f 0 512\n    exists")
    least = shrunk(litmus(text), {"ret_before_end"})
    assert [task.name for task in least.tasks] == ["A"]
