"""Searches the model's interleavings: the driver that tries them all.

memory.py      an image in memory, and a filesystem on it
schedule.py    one run under a given schedule; all runs under every schedule
scenarios.py   who does what: the small cases worth searching, and what must hold
worlds.py      a litmus file: its first state, its tasks, what it ends with
names.py       a world whose files have names, and come to an end without one
tasks.py       the tasks of a litmus file, and what runs each of their operations
values.py      what a file holds, told with one character for each block
kept.py        what of all writes must still be there at the end
verdicts.py    the outcome of a run, and the rules that it broke
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "explore")
