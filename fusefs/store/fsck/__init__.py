"""Checks an image that is not mounted, and repairs what needs no guess.

run.py        opens both files; tells; repairs
  check.py    goes through the rows, once
    names.py  the tree of names
    blocks.py which blocks are whose
    sums.py   what is counted twice
"""
