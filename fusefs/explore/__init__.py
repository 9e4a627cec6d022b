"""Searches the model's interleavings, one schedule of each class.

memory.py        an image in memory, and a filesystem on it
execution.py     one run: its tasks, who could go, and what each turn did
dependence.py    which turns depend on each other, and which could have come in another order
reduction.py     one run of each class of schedules
members.py       the schedules of a class: how many, and the simplest
worlds.py        a litmus file: its first state, its tasks, what it ends with
names.py         a world whose files have names, and come to an end without one
tasks.py         the tasks of a litmus file, and what runs each of their operations
values.py        what a file holds, told with one character for each block
kept.py          what of all writes must still be there at the end
verdicts.py      the outcome of a run, and the rules that it broke
crash_memory.py  a world of which a crash loses what is pending
cuts.py          where a crash can come in a class
aftermath.py     what a mount then finds
crashes.py       the same of all classes
answer.py        Never, Sometimes or Always, and the simplest witness
explain.py       where it was decided, the nearest schedule that passes, the smallest file
token.py         a witness in one line
telling.py       all of it as text

Without any reduction, to check it: schedule.py, scenarios.py; and of one task, crash.py.
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "explore")
