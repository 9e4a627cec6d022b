"""The demo: both orders, real O_DIRECT clients, a table and a picture.

run.py        mounts, runs the clients, unmounts
  clients.py  the programs, as processes of their own; print JSON lines
  report.py   sums them up: tables, verdict, JSON document
  ladder.py   how the first zeros came about, from the trace
  picture.py  the same as a page
  results.py  what passes between them
one.py        the bug in one schedule, by a gate
  pair.py     its two processes
"""
