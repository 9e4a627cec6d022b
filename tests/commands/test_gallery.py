"""docs/gallery.md is what ./dev gallery would write, and each file of it shows what it is about."""

import os

import pytest

from fusefs.commands import gallery
from fusefs.commands.errors import CommandError
from fusefs.commands.gallery_text import Found, mark, page
from fusefs.commands.litmus_text import read
from fusefs.explore.answer import Answer, ask, is_as_expected
from fusefs.model.orders import ERAS, ROWS, TODAY
from fusefs.show.ladder import WIDTH


@pytest.fixture(scope="module")
def found() -> list[Found]:
    """Every cell, searched once for all tests: a minute or two."""
    return gallery.asked(gallery.sources(), os.cpu_count() or 1)


def test_page_is_what_would_be_written(found):
    gallery.check(page(found))


def test_every_cell_is_as_its_file_expects(found):
    """A file has Never where it names nobody: so each cell is written down in some file."""
    wrong = [
        (each.litmus.name, era, answer.observation, sorted(answer.broken))
        for each in found
        for era, answer in each.answers.items()
        if not is_as_expected(each.litmus, answer, [era])
    ]
    assert not wrong


@pytest.mark.parametrize("name", ROWS)
def test_order_has_a_file_that_shows_it(found, name):
    """lockout shows nothing: what its file has others show, it is right about."""
    marks = {
        each.litmus.name: mark(each.litmus, each.answers[name])
        for each in found
        if each.order == name
    }
    assert marks
    assert (set(marks.values()) == {"."}) == (name == "lockout"), marks


def test_today_shows_nothing(found):
    assert {mark(each.litmus, each.answers[TODAY]) for each in found} == {"."}


def test_ladders_and_tables_can_be_pasted_into_a_mail(found):
    """All blocks of an order's section but the file itself, and what is one word too long."""
    _, _, sections = page(found).partition("## Order by order")
    blocks = sections.split("```")[1::2]
    told = [block for block in blocks if not block.startswith("\nlitmus ")]
    assert len(told) > len(ROWS)
    assert max(len(line) for block in told for line in block.splitlines()) <= WIDTH


# -- what is not so ----------------------------------------------------------------------


def test_page_that_is_not_up_to_date_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "PAGE", tmp_path / "docs" / "gallery.md")
    monkeypatch.setattr(gallery, "FUSEFS", tmp_path / "fusefs")
    (tmp_path / "docs").mkdir()
    for written, line in ((None, 1), ("", 1), ("one\n", 2), ("one\n2\n", 2), ("one\ntwo\n3\n", 3)):
        if written is not None:
            gallery.PAGE.write_text(written)
        with pytest.raises(CommandError, match=rf"^docs/gallery\.md:{line} is not what would be"):
            gallery.check("one\ntwo\n")
    gallery.PAGE.write_text("one\ntwo\n")
    gallery.check("one\ntwo\n")


SMALL = """\
litmus small

page 512
block 512
file f 512 z

A:
    pwrite f 0 512 a direct
B:
    pread f 0 512

exists cache f = z
"""


def test_command_writes_what_it_then_finds_to_be_so(tmp_path, monkeypatch, capsys):
    """The same text in one process and in two."""
    monkeypatch.setattr(gallery, "PAGE", tmp_path / "docs" / "gallery.md")
    monkeypatch.setattr(gallery, "FUSEFS", tmp_path / "fusefs")
    monkeypatch.setattr(gallery, "sources", lambda: {"small": SMALL})
    (tmp_path / "docs").mkdir()
    assert gallery.main(["--check", "--jobs", "1"]) == 1
    assert gallery.main(["--jobs", "2"]) == 0
    assert gallery.main(["--check", "--jobs", "1"]) == 0
    gallery.PAGE.write_text(gallery.PAGE.read_text().replace("Sometimes", "Never", 1))
    assert gallery.main(["--check", "--jobs", "1"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("gallery: docs/gallery.md:") for line in errors)


def small(question: str = "exists cache f = z") -> Found:
    litmus = read(SMALL.replace("exists cache f = z", question), "small.litmus")
    answers = {name: ask(litmus, [name]) for name in ("no_post", "post_before_end", "lockout")}
    return Found(litmus, SMALL, answers)


@pytest.mark.parametrize(
    ("question", "marks"),
    [
        ("exists cache f = z", "S.."),
        ("~exists cache f = z", "S.."),
        ("forall disk f = a", "!.."),
        ("exists disk f = a", "Aaa"),
        ("forall cache f = a", "Sss"),
        ("forall cache f = 0", "Nnn"),
    ],
)
def test_mark_has_the_answer_and_whether_a_rule_is_broken(question, marks):
    one = small(question)
    assert "".join(mark(one.litmus, answer) for answer in one.answers.values()) == marks


def test_file_that_calls_itself_otherwise_is_told():
    with pytest.raises(CommandError, match=r"^other\.litmus: it calls itself small$"):
        gallery.asked({"other": SMALL}, 1)


def test_search_that_did_not_end_is_no_answer(monkeypatch):
    monkeypatch.setattr(gallery, "RUNS_MAX", 1)
    with pytest.raises(CommandError, match=r"^small\.litmus, linux-2.6.20: more than 1 classes$"):
        gallery.asked({"small": SMALL}, 1)


def test_file_is_of_the_order_that_it_is_called_after_or_names_first():
    answers: dict[str, Answer] = {}
    renamed = SMALL.replace("litmus small", "litmus no-pre") + "sometimes no_post\n"
    assert Found(read(renamed, ""), "", answers).order == "no_pre"
    named = SMALL + "sometimes linux-2.6.20 no_post no_pre\n"
    assert Found(read(named, ""), "", answers).order == "no_post"
    assert Found(read(SMALL, ""), "", answers).order == ""
    assert not ERAS.keys() & ROWS.keys()
