"""I/O litmus tests: what a few processes do to a few files, and a question about it.

    test.py      what a file says, as data
    parse.py     text to data; one line for each error
    text.py      data to text: a file that is printed is the same file
    condition.py whether a question's condition holds of an outcome

The format's reference is docs/litmus.md.
"""
