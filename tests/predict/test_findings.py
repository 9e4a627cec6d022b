"""What searches say of a run: a rule that an era breaks, or a result that today's never gives."""

import pytest
from predict.recorded import A, B, Run, stale

from fusefs.explore.answer import Answer, ask, is_as_expected
from fusefs.litmus.parse import parse
from fusefs.litmus.text import text
from fusefs.model.orders import ERAS, TODAY
from fusefs.predict.findings import DIFFERS, Finding, Searched, folded, found, shown_by
from fusefs.predict.shapes import Shape


def searched(shape: Shape, *eras: str) -> Searched:
    def answer(era: str) -> Answer:
        return ask(shape.litmus, ERAS[era].orders if era in ERAS else [era])

    return Searched(shape, answer(TODAY), {era: answer(era) for era in eras})


def findings(run: Run, *eras: str) -> list[Finding]:
    return folded(
        each for shape in run.shapes().by_size() for each in found(searched(shape, *eras))
    )


def test_stale_zeros_are_predicted_of_the_kernels_that_had_them() -> None:
    """(D1) Guards kernel c771c14baa33."""
    (finding,) = findings(stale(), *ERAS)
    assert (finding.rule, finding.switches) == ("coherence", 2)
    assert set(finding.eras) == {"linux-2.6.20", "linux-4.10", "linux-4.14-rc1"}
    assert "zeros in the cache, a (of A) on the disk" in finding.sentence
    assert finding.blocks == (0,)


def test_today_s_kernel_is_never_predicted_to_err() -> None:
    assert findings(stale(), TODAY, "linux-4.11") == []


def test_litmus_file_of_a_finding_answers_as_it_says() -> None:
    (finding,) = findings(stale(), *ERAS)
    again = parse(text(finding.litmus), "test")
    for era, known in ERAS.items():
        assert is_as_expected(again, ask(again, known.orders), [era]), era


def early_size() -> Run:
    """A direct write behind the end, and somebody who reads there directly."""
    run = Run()
    run.call(0, A, "write", 0, 512, "direct", size=0, blocks="8h-")
    run.call(1, B, "read", 0, 512, "direct", size=0, blocks="8h-")
    return run


def test_result_that_no_rule_forbids_is_told_if_today_s_kernel_never_gives_it() -> None:
    (finding,) = findings(early_size(), *ERAS)
    assert finding.rule == DIFFERS
    assert set(finding.eras) == {"linux-4.9", "linux-4.10", "linux-4.11", "linux-4.14-rc1"}
    assert "exists B.r = 0\n" in text(finding.litmus)
    answer = ask(finding.litmus, ERAS["linux-4.10"].orders)
    assert answer.positive_count
    assert answer.observation == finding.eras["linux-4.10"]


@pytest.mark.parametrize("order", ["lockout", "holes_by_cache", "read_drops"])
def test_orders_that_are_right_are_not_reported(order: str) -> None:
    """Where a block is cached is nobody's result."""
    for run in (stale(), early_size()):
        assert findings(run, order) == []


def test_always_is_said_of_what_no_schedule_avoids() -> None:
    run = Run()
    run.call(0, A, "write", 0, 4096, "direct", blocks="8wd")
    (shape,) = run.shapes(alone=True).by_size()
    (finding,) = found(searched(shape, "no_pre"))
    assert (finding.rule, finding.eras) == (DIFFERS, {"no_pre": "Always"})


def test_always_is_not_said_of_a_search_that_was_cut_off() -> None:
    """A schedule that it did not come to may avoid it."""
    run = Run()
    run.call(0, A, "write", 0, 4096, "direct", blocks="8wd")
    run.call(1, B, "read", 0, 4096, blocks="8wd")
    (shape,) = run.shapes().by_size()
    cut = ask(shape.litmus, ["no_pre"], runs_max=1)
    assert not cut.exhausted
    (finding,) = found(Searched(shape, ask(shape.litmus, []), {"no_pre": cut}))
    assert finding.eras == finding.litmus.expected == {"no_pre": "Sometimes"}


def test_findings_that_say_the_same_are_one() -> None:
    run = stale()
    run.call(1000, A, "write", 0, 1024, "direct", blocks="8h-")
    run.call(1001, B, "read", 512, 512, blocks="8h-")
    (finding,) = findings(run, "linux-4.10")
    assert (finding.count, len(finding.folded)) == (2, 1)
    assert finding.overlapped_count == 2


def test_three_calls_are_asked_only_of_eras_that_two_do_not_show() -> None:
    run = stale()
    run.call(1.5, 103, "read", 512, 512, blocks="8u-")
    shapes = run.shapes(calls_max=3).by_size()
    pairs = [each for shape in shapes[:-1] for each in found(searched(shape, "linux-4.10"))]
    assert shapes[-1].call_count == 3
    assert shown_by(pairs, shapes[-1]) == {"linux-4.10"}
    assert shown_by(pairs, shapes[0]) == set(), "which has as few itself"
