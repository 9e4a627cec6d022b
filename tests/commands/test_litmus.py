"""The litmus command: answers, exit statuses, tokens, and who runs the search."""

import importlib.util
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusefs.commands.answers import Answered, Cell, Progress, answers, line_text
from fusefs.commands.litmus_text import orders_of
from fusefs.commands.main import main

STALE = """\
litmus stale-zeros
    A direct write to an unwritten block, beside a buffered read of its neighbour.

page 4k
block 512
file f 4k unwritten

A:
    pwrite f 0 512 a direct
    r = pread f 0 512
B:
    pread f 512 512

exists A.r = 0
sometimes post_before_end linux-4.10 linux-4.14-rc1
breaks coherence
"""


@pytest.fixture
def stale(tmp_path):
    path = tmp_path / "stale.litmus"
    path.write_text(STALE)
    return path


MOUNT_TOOL = Path(__file__).parents[2] / "mount_tool.py"


def reports(capsys, *words: str) -> tuple[int, dict]:
    status = main(["litmus", *words, "--json"])
    return status, {each["era"]: each for each in json.loads(capsys.readouterr().out)[0]["eras"]}


def test_every_era_is_answered(stale, capsys):
    """The same in two processes.  Linux 2.6.20 answered before the end, and dropped once."""
    status, eras = reports(capsys, str(stale), "--era", "all", "--jobs", "1")
    assert {era for era, each in eras.items() if each["answer"] == "Sometimes"} == {
        "linux-2.6.20",
        "linux-4.10",
        "linux-4.14-rc1",
    }
    assert all(each["answer"] in ("Never", "Sometimes") for each in eras.values())
    assert status == 1, "the file does not expect that of linux-2.6.20"
    assert (eras["linux-4.10"]["classes"], eras["linux-4.10"]["schedules"]) == (18, 149)
    assert eras["linux-4.10"]["witness"]["preemptions"] == 1
    _, again = reports(capsys, str(stale), "--era", "all", "--jobs", "2")
    for each in [*eras.values(), *again.values()]:
        del each["seconds"]
    assert again == eras


CRASH = """\
litmus unsynced
    A buffered write, and nobody syncs.

page 512
block 512
crash
file f 512 z

A:
    r = pwrite f 0 512 a

exists after crash: A.r = 512 /\\ disk f = z
sometimes linux-6.18
"""


def test_a_crash_is_told_and_replays(tmp_path, capsys):
    path = tmp_path / "unsynced.litmus"
    path.write_text(CRASH)
    status, eras = reports(capsys, str(path), "--era", "linux-6.18")
    witness = eras["linux-6.18"]["witness"]
    assert (status, witness["lost"], witness["no_return"]) == (0, [], None)
    assert witness["harmless_after"] == [], "nobody syncs"
    assert main(["litmus", str(path), "--era", "linux-6.18"]) == 0
    said = capsys.readouterr().out
    assert "\n-- crash\n" in said
    assert f"--replay {witness['token']}\n" in said
    assert main(["litmus", str(path), "--replay", witness["token"]]) == 1
    said = capsys.readouterr().out
    assert "\n-- crash\nA.r=512; disk f=z; size f=512;\n" in said
    assert said.endswith("it holds\n")
    assert main(["litmus", str(path), "--replay", f"{witness['token']}:1"]) == 2


def test_what_the_file_expects_is_status_0(stale, capsys):
    assert reports(capsys, str(stale))[0] == 0
    assert reports(capsys, str(stale), "--era", "linux-4.10")[0] == 0
    stale.write_text(STALE.replace("breaks coherence\n", ""))
    assert reports(capsys, str(stale))[0] == 1
    stale.write_text(STALE.replace(" linux-4.10", ""))
    assert reports(capsys, str(stale), "--era", "linux-4.10")[0] == 1


def test_text_says_what_a_mail_needs(stale, capsys):
    assert main(["litmus", str(stale), "--era", "linux-4.10,linux-6.18"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-2])) <= 72
    assert any(line.split()[:3] == ["linux-4.10", "Sometimes", "3"] for line in lines)
    assert any(line.split()[:2] == ["linux-6.18", "Never"] for line in lines)
    assert "Witness: 10 turns, 2 switches, 1 of them needless" in lines
    twin = lines.index("It passes if B's buffered.read.page_lock")
    assert lines[twin + 1] == "comes before A's dio.write.invalidate_post:"
    drop = lines.index("  dio.write.invalidate_post 0+512")
    decided = next(i for i, line in enumerate(lines) if line.startswith("-- from here on"))
    assert drop < decided < lines.index("  dio.write.convert 0+512")


def test_bound_that_was_reached_is_said(stale, capsys):
    _, eras = reports(capsys, str(stale), "--era", "linux-6.18", "--runs-max", "3")
    assert eras["linux-6.18"]["exhausted"] is False
    main(["litmus", str(stale), "--era", "linux-6.18", "--runs-max", "3"])
    assert "exhausted: no" in capsys.readouterr().out


# -- tokens ------------------------------------------------------------------------------


def token(capsys, *words: str) -> str:
    return reports(capsys, *words)[1]["linux-4.10"]["witness"]["token"]


def test_token_replays(stale, capsys):
    made = token(capsys, str(stale), "--era", "linux-4.10")
    assert main(["litmus", str(stale), "--replay", made]) == 1
    *_, ended, broken, question = capsys.readouterr().out.splitlines()
    assert ended.startswith("A.r=0;")
    assert broken.startswith("coherence: (D1) f, bytes 0 to 512")
    assert question == "exists A.r = 0: it holds"
    stale.write_text(STALE.replace("A direct write", "Another word of prose"))
    assert main(["litmus", str(stale), "--replay", made]) == 1


STORED = (
    "litmus1/stale-zeros/207c532b/post_before_end/Acce,Aaf3,Aef1,A631,Bcce,B21a,B4fa,B85d,A293,A578"
)


def test_token_of_long_ago_replays(stale, capsys):
    """A step's name and a file's hash mean the same for ever."""
    assert main(["litmus", str(stale), "--replay", STORED]) == 1
    out = capsys.readouterr().out
    assert "A.r=0; cache f=00000000; disk f=a0000000; size f=4096;" in out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("block 512", "block 1k"), "is not the file that the token was made of"),
        (("litmus stale-zeros", "litmus other"), "a token of stale-zeros, and not of other"),
    ],
)
def test_token_is_refused_by_another_file(stale, capsys, change, line):
    source = STALE.replace(*change).replace("f 0 512", "f 0 1k").replace("512 512", "1k 1k")
    stale.write_text(source if "block" in change[0] else STALE.replace(*change))
    assert main(["litmus", str(stale), "--replay", STORED]) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "line"),
    [
        ("A B", "is no token"),
        (STORED.replace("litmus1", "litmus9"), "a token of version litmus9"),
        (STORED.replace("post_before_end", "linux-9"), "which is no era or order here"),
        (STORED.replace("Aaf3", "Aaf4"), "at turn 2, A is at dio.write.map"),
        (STORED.replace("post_before_end", "linux-6.18"), "at turn 4, A is at dio.write.convert"),
        (STORED.replace("Acce", "Bcce", 1), "at turn 2, A is at start"),
        (STORED.rpartition(",")[0], "after its 9 turns, A can still go"),
        (STORED + ",A578", "at turn 11, A cannot go"),
        (STORED.replace("Acce", "A!", 1), "'A!' is no turn of a token"),
    ],
)
def test_token_that_does_not_fit_is_refused_in_one_line(stale, capsys, made, line):
    assert main(["litmus", str(stale), "--replay", made]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert line in errors[0]


# -- the rest ----------------------------------------------------------------------------


def test_file_is_made_as_small_as_it_fails(stale, capsys):
    longer = STALE.replace("B:\n", "    pread f 1k 512\nB:\n    fsync f\n").replace(
        "\nexists", "C:\n    pread f 2k 512 direct\n\nexists"
    )
    stale.write_text(longer)
    assert main(["litmus", str(stale), "--era", "linux-4.10", "--shrink"]) == 0
    least = capsys.readouterr().out
    assert "C:" not in least
    assert "fsync" not in least
    assert least.count("pread") == 2


def test_file_comes_from_standard_input(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(STALE))
    assert main(["litmus", "-"]) == 0
    assert "stale-zeros" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--era", "linux-1.0"], "'linux-1.0' is no era and no order; eras: all, linux-2.6.20"),
        (["--era", "no_pre+nothing"], "is no era and no order"),
        (["--jobs", "0"], "numbers from 1 on"),
        (["--shrink"], "--shrink takes one file and one --era"),
        (["/nowhere"], "/nowhere: No such file or directory"),
    ],
)
def test_wrong_words_have_one_line(stale, capsys, words, line):
    assert main(["litmus", str(stale), *words]) in (1, 2)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert line in errors[0]


CLUSTER = """
import sys
from distributed import LocalCluster

with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""
"""dask's own, on this machine, until its input ends."""


def test_cluster_answers_as_this_process_does(stale, capsys):
    """Nothing of ours knows of a cluster but its address.

    Cluster and client have processes of their own: what distributed leaves behind in one keeps
    others of its threads waiting, and tests/mounted/test_fairness.py measures how long that is.
    """
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("needs the package distributed")
    _, here = reports(capsys, str(stale), "--jobs", "1")
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        words = ("litmus", stale, "--json", "--dask", address)
        done = subprocess.run(
            [sys.executable, MOUNT_TOOL, *words], capture_output=True, text=True, timeout=300
        )
        cluster.communicate()
    there = {each["era"]: each for each in json.loads(done.stdout)[0]["eras"]}
    for each in [*here.values(), *there.values()]:
        del each["seconds"]
    assert there == here


def test_threads_take_turns(tmp_path):
    """A worker may have several; pieces of one search are run as they were by one."""
    cells = [Cell("stale", STALE, era, orders_of(era)) for era in ("linux-4.10", "linux-6.18")]
    with ThreadPoolExecutor(4) as executor:
        shared = list(answers(cells, 100, executor, jobs=4, is_watched=False))
    alone = list(answers(cells, 100, None, is_watched=False))
    assert [told(each) for each in shared] == [told(each) for each in alone]


def test_pieces_are_put_together_again(monkeypatch):
    """However few runs a piece has, and with a bound: what is said then is that one was reached."""
    monkeypatch.setattr("fusefs.commands.answers.PIECE_RUNS", 2)
    cells = [Cell("stale", STALE, "linux-4.10", orders_of("linux-4.10"))]
    with ThreadPoolExecutor(3) as executor:
        [shared] = answers(cells, 100, executor, jobs=3, is_watched=False)
        [bounded] = answers(cells, 7, executor, jobs=3, is_watched=False)
    assert told(shared) == told(*answers(cells, 100, None, is_watched=False))
    assert shared.answer.exhausted
    assert (bounded.answer.class_count, bounded.answer.exhausted) == (7, False)


def told(found: Answered) -> object:
    answer = found.answer
    return (
        *(found.cell, answer.histogram, answer.class_count, answer.schedule_count),
        *(answer.broken, answer.witness, answer.exhausted),
    )


def test_line_tells_of_all_that_are_under_way(capsys):
    cells = [Cell("a.litmus", "", era, frozenset()) for era in ("linux-4.10", "linux-6.18")]
    first = Progress(cells[0], 30, 39, 1000, 0.5, 2.0)
    second = Progress(cells[1], 10, 9, 600, 0.25, 1.0)
    assert line_text(3, 5, [first]) == (
        "3 of 5 done; a.litmus linux-4.10: 30 classes run, 10 planned, about 60 in all; 500 turns/s"
    )
    assert line_text(3, 5, [first, second]) == (
        "3 of 5 done; 2 under way: 40 classes run, 10 planned, about 100 in all; 800 turns/s"
    )
    assert "all" not in line_text(3, 5, [first, second._replace(part_done=0.0)])
    assert line_text(0, 1, [first]).startswith("a.litmus linux-4.10: ")


@pytest.mark.parametrize("jobs", [0, 2])
def test_line_is_written_while_others_search_and_gone_at_the_end(capsys, monkeypatch, jobs):
    monkeypatch.setattr("fusefs.commands.answers.PIECE_RUNS", 2)
    monkeypatch.setattr("fusefs.commands.answers.WATCH_S", 0.0)
    cells = [Cell("stale", STALE, era, orders_of(era)) for era in ("linux-4.10", "linux-6.18")]
    with ThreadPoolExecutor(2) as executor:
        list(answers(cells, 100, executor if jobs else None, jobs=jobs, is_watched=True))
    lines = capsys.readouterr().err.split("\r\x1b[K")
    assert any(line.startswith(("0 of 2 done; ", "1 of 2 done; ")) for line in lines)
    assert lines[-1] == ""


# -- on a directory ----------------------------------------------------------------------


ALONE = """\
litmus alone
page 4k
block 4k
file f 8k a

A:
    pwrite f 0 4k b
    r = pread f 0 8k

exists A.r = ab
"""


def test_file_is_tried_on_a_directory(tmp_path, capsys):
    """On whatever the tests run on: a process reads what it has written."""
    path = tmp_path / "alone.litmus"
    path.write_text(ALONE)
    assert main(["litmus", str(path), "--on", str(tmp_path), "--runs", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    if found["skipped"]:
        pytest.skip(found["skipped"][0])
    assert (found["observation"], found["runs"], found["expected"]) == ("Never", 20, "Never")
    path.write_text(ALONE.replace("A.r = ab", "A.r = ba"))
    assert main(["litmus", str(path), "--on", str(tmp_path), "--runs", "20"]) == 1
    assert "Unexpected: 20 of 20 runs; expected: Never" in capsys.readouterr().out


def test_directory_that_is_none_has_one_line(stale, tmp_path, capsys):
    assert main(["litmus", str(stale), "--on", str(tmp_path / "nowhere")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "nowhere" in errors[0]
