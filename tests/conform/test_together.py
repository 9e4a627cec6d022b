"""Outcomes of several tasks: those that the model has are found, and others are told."""

from conform.looking import program_of

from fusefs.conform.together import asking_all, but_for_the_cache, search, state_of
from fusefs.litmus.condition import atoms
from fusefs.litmus.parse import parse

RACE = asking_all(
    parse(
        """litmus race
page 4k
block 1k
file f 1k z
A:
    r = pread f 0 1k
B:
    pwrite f 0 1k a direct
exists size f = 0
""",
        "race",
    )
)


def outcome(result: str, cache: str) -> dict:
    return {("", "A.r"): result, ("cache", "f"): cache, ("size", "f"): "1024"}


ALLOWED = {state_of(outcome(*each)) for each in (("z", "-"), ("a", "a"), ("a", "-"))}


def test_outcomes_of_the_model_are_found():
    seen = {state_of(outcome("z", "-")), state_of(outcome("a", "a"))}
    searched = search(RACE, seen)
    assert searched.found == seen
    assert not searched.missing


def test_outcome_that_the_model_has_not_is_missing():
    """Stale bytes in the cache, after both have ended."""
    stale = state_of(outcome("z", "z"))
    searched = search(RACE, {stale, state_of(outcome("a", "a"))})
    assert searched.missing == {stale}
    assert searched.exhausted


def test_results_and_sizes_have_to_be_possible_whatever_is_cached():
    """On ext4, which keeps other pages."""
    stale, foreign = state_of(outcome("z", "z")), state_of(outcome("0", "a"))
    assert but_for_the_cache(RACE, {stale, foreign}) == {stale}


def test_order_that_allows_it_has_it():
    searched = search(RACE, {state_of(outcome("z", "z"))}, ["no_post"])
    assert not searched.missing


def test_store_comes_page_by_page_to_who_takes_no_lock():
    """On ext4 one read has seen the first page of a store, and the next one not the second."""
    litmus = asking_all(
        parse(
            """litmus pages
page 512
block 512
file f 1k z
A:
    pwrite f 0 1k a
B:
    r1 = pread f 0 512
    r2 = pread f 0 1k
exists size f = 0
""",
            "pages",
        )
    )
    found = {("", "B.r1"): "a", ("", "B.r2"): "az", ("cache", "f"): "aa", ("size", "f"): "1024"}
    assert search(litmus, {state_of(found)}).missing
    assert not search(litmus, {state_of(found)}, ["unlocked_reads"]).missing


def test_search_that_was_given_up_decides_nothing():
    searched = search(RACE, {state_of(outcome("z", "z"))}, classes_max=1)
    assert searched.missing
    assert not searched.exhausted
    assert searched.classes == 1


def test_question_asks_for_all_files():
    found = [(atom.kind, atom.subject) for atom in atoms(RACE.question.condition)]
    assert found == [("size", "f"), ("cache", "f")]


def test_file_that_stays_empty_has_no_cache_to_ask_about():
    asked = asking_all(program_of("pread f 0 1k"))
    assert [atom.kind for atom in atoms(asked.question.condition)] == ["size"]
