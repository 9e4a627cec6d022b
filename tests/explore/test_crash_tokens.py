"""A crash in a ladder, in a token, and in the least of a file."""

import pytest
from explore.crash_files import (
    DSYNC,
    UNSYNCED,
    answer,
    litmus,
)

from fusefs.explore.answer import ask
from fusefs.explore.explain import shrunk
from fusefs.explore.telling import histogram, witness_text
from fusefs.explore.token import TokenError, crashed, made, parse_token
from fusefs.litmus.test import SIZE

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
