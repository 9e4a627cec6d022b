"""Does a cached page hold what it must not?  Events and pages in, reports out.

It performs nothing.

    compare      one page against map and image, at one moment
    history      what requests did lately, as far as it is kept
    cause        which request changed the bytes, which filled the page, and in between what
    report       what is told of a page that differs; to a dictionary and to text
    as_litmus    the same as a question: a litmus file that a search answers
    checker      puts them together: which pages are compared when, and what was found

docs/coherence.md has the argument why what it reports is a defect, always.
"""
