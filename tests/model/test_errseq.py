"""Who hears of a failed writeback, and how often: errseq_t."""

import errno

from hypothesis import given
from hypothesis import strategies as st

from fusefs.model.errseq import START, ErrorSequence


def test_nothing_is_reported_where_nothing_failed():
    errors = ErrorSequence()
    assert errors.sample() == START
    assert errors.check_and_advance(START) == (0, START)


def test_each_open_file_hears_of_an_error_once():
    """(Q1)"""
    errors = ErrorSequence()
    stands = [errors.sample(), errors.sample()]
    errors.set(errno.EIO)
    for i in range(2):
        error, stands[i] = errors.check_and_advance(stands[i])
        assert error == errno.EIO
    for stand in stands:
        assert errors.check_and_advance(stand) == (0, stand)


def test_error_that_nobody_saw_is_told_to_who_opens_next_and_to_no_later_one():
    """(Q2)"""
    errors = ErrorSequence()
    errors.set(errno.ENOSPC)
    error, stand = errors.check_and_advance(errors.sample())
    assert error == errno.ENOSPC
    later = errors.sample()
    assert later == stand
    assert errors.check_and_advance(later) == (0, later)


def test_same_error_again_is_told_again():
    errors = ErrorSequence()
    stand = errors.sample()
    for _ in range(3):
        errors.set(errno.EIO)
        errors.set(errno.EIO)
        error, stand = errors.check_and_advance(stand)
        assert error == errno.EIO


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from([errno.EIO, errno.ENOSPC, errno.EDQUOT])),
        st.tuples(st.just("open"), st.just(0)),
        st.tuples(st.just("fsync"), st.integers(0, 5)),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_reports_are_those_of_a_list_of_all_errors(actions):
    """(Q1, Q2) Against a plain list of what failed, and of how much of it anybody has seen."""
    errors, failed, seen = ErrorSequence(), [], 0
    stands, heard = [], []
    for action, value in actions:
        if action == "set":
            errors.set(value)
            failed.append(value)
        elif action == "open":
            stands.append(errors.sample())
            heard.append(len(failed) if seen == len(failed) else 0)
        elif value < len(stands):
            error, stands[value] = errors.check_and_advance(stands[value])
            assert error == (failed[-1] if heard[value] < len(failed) else 0)
            if heard[value] < len(failed):
                heard[value] = seen = len(failed)
