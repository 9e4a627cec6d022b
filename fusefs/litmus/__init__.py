"""I/O litmus tests: what a few processes do to a few files, and a question about it.

    test.py       what a file says, as data
    parse.py      text to data; one line for each error
    text.py       data to text: a file that is printed is the same file
    source.py     lines, the shapes of words, and the error
    machine.py    page, block, files, ...: both ways
    operations.py one line of a task: both ways
    condition.py  the question's condition: both ways, and whether it holds of an outcome
    check.py      what the lines must fulfil together
    reach.py      what a file can do at most: sizes, letters, results
    scale.py      the same question, with larger pages and blocks

Nothing of it knows the model.  The format's reference is docs/litmus.md.
"""
