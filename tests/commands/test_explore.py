"""The explore command: a litmus test in the words of one command line."""

import json

import pytest

from fusefs.commands.errors import CommandError, UsageError
from fusefs.commands.explore import text_of
from fusefs.commands.main import main
from fusefs.litmus.parse import parse
from fusefs.litmus.test import RULES

WRITER, READER = "pwrite f 0 512 a direct; r = pread f 0 512", "pread f 512 512"


def asked(capsys, *words: str) -> tuple[int, dict[str, dict]]:
    status = main(["explore", "--jobs", "1", "--json", *words])
    [report] = json.loads(capsys.readouterr().out)
    return status, {each["era"]: each for each in report["eras"]}


def test_question_is_answered_for_the_bug_and_today(capsys):
    """The counts are those of the same file in docs/litmus.md."""
    status, eras = asked(capsys, WRITER, READER, "exists A.r = 0")
    assert {era: (each["positive"], each["classes"]) for era, each in eras.items()} == {
        "linux-4.10": (3, 18),
        "linux-6.18": (0, 15),
    }
    assert status == 1, "Linux 4.10 does what is asked"


def test_without_a_question_a_broken_rule_of_today_alone_counts(capsys):
    words = ["page 1k", "file f 1k hole", "pwrite f 0 512 a direct", "pread f 512 512"]
    status, eras = asked(capsys, *words)
    assert status == 0
    assert (eras["linux-4.10"]["schedules"], eras["linux-6.18"]["schedules"]) == (77, 111)
    assert (eras["linux-4.10"]["broken"], eras["linux-6.18"]["broken"]) == ({"coherence": 2}, {})
    assert {each["answer"] for each in eras.values()} == {"Never"}


def test_a_rule_that_today_breaks_is_a_failure(capsys, monkeypatch):
    monkeypatch.setattr("fusefs.commands.litmus_text.orders_of", lambda era: frozenset())
    assert asked(capsys, "fsync f")[0] == 0
    monkeypatch.setattr(
        "fusefs.explore.verdicts.Judge.violations", lambda *_: [("lost", "a is gone")]
    )
    assert asked(capsys, "fsync f")[0] == 1


def test_token_replays_with_the_same_words(capsys):
    _, eras = asked(capsys, WRITER, READER, "exists A.r = 0")
    token = eras["linux-4.10"]["witness"]["token"]
    assert main(["explore", WRITER, READER, "exists A.r = 0", "--replay", token]) == 1
    assert "exists A.r = 0: it holds" in capsys.readouterr().out
    assert main(["explore", "fsync f", "--replay", token]) == 2


def test_era_replaces_the_usual_ones(capsys):
    assert [*asked(capsys, WRITER, "--era", "no_post,linux-4.11")[1]] == ["no_post", "linux-4.11"]


def test_what_is_printed_is_asked_again(capsys, tmp_path):
    """In the one form that files have: a machine as usual, tasks by letters, all rules."""
    assert main(["explore", "--print", "readahead 4k", WRITER, READER, "~exists A.r = 0"]) == 0
    text = capsys.readouterr().out
    litmus = parse(text, "printed")
    assert [task.name for task in litmus.tasks] == ["A", "B"]
    assert (litmus.machine.page, litmus.machine.block, litmus.machine.readahead) == (
        4096,
        512,
        4096,
    )
    assert set(litmus.breaks) == set(RULES)
    (tmp_path / "x").write_text(text)
    assert main(["litmus", str(tmp_path / "x"), "--era", "linux-4.11", "--jobs", "1"]) == 0


@pytest.mark.parametrize("texts", [["page 4k"], ["exists size f = 0"], ["fsync f"] * 27])
def test_no_task_or_too_many_are_refused(texts):
    with pytest.raises(UsageError, match="tasks"):
        text_of(texts)


def test_two_questions_are_refused():
    with pytest.raises(UsageError, match="one question"):
        text_of(["fsync f", "exists size f = 0", "exists size f = 0"])


def test_what_is_no_operation_is_told_as_of_a_file():
    with pytest.raises(CommandError, match=r"explore:7: fsink; an operation is"):
        text_of(["fsync f; fsink f"])


def test_empty_file_has_a_question_as_well(capsys):
    """Of a file that can have no byte nothing else can be asked."""
    status, eras = asked(capsys, "file f 0", "r = pread f 0 512")
    assert status == 0
    assert {each["answer"] for each in eras.values()} == {"Never"}
