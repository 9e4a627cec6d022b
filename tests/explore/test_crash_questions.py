"""Crashes as a question of litmus files: what may be found, and what bounds are said."""

import textwrap
from pathlib import Path

import pytest
from explore.crash_faults import NoCommit, Storage, broken_with
from explore.crash_files import (
    DSYNC,
    SYNCED,
    UNSYNCED,
    answer,
    found,
    litmus,
)
from explore.playing import HEAD

import fusefs
from fusefs.explore import crashes
from fusefs.explore.answer import ask, is_as_expected
from fusefs.explore.crash_memory import CrashMemory
from fusefs.explore.names import NamedWorld
from fusefs.explore.telling import table
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.parse import parse
from fusefs.litmus.test import DISK
from fusefs.litmus.text import text as text_of
from fusefs.model.orders import ROWS

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
