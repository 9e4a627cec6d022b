"""What another kernel might have made of a recorded run, by search.

    calls.py       a recording to the calls that a litmus file has words for
    meetings.py    calls that touch one page and may overlap: two, or three, at a time
    scenario.py    a meeting to a litmus file, as small as it can be
    shapes.py      meetings that ask the same, counted
    findings.py    answers of searches to what they say of the run

Nothing of it performs anything: lines in, litmus files out, answers in, findings out.
docs/predict.md says what is looked at, and what a prediction means.
"""
