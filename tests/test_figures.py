"""What the run of the tests says at its end."""


def test_figures_are_sums_and_a_failure_takes_the_place_of_no_losses(figures):
    some = type(figures)()
    some.add("kills survived", 1500)
    some.add("kills survived", 500)
    assert some.line() == "kills survived 2,000; losses: none"
    some.failed.append("test_kill")
    assert some.line() == "kills survived 2,000; losses: test_kill"
