"""Searches the model's interleavings: the driver that tries them all.

memory.py      an image in memory, and a filesystem on it
schedule.py    one run under a given schedule; all runs under every schedule
scenarios.py   who does what: the small cases worth searching, and what must hold
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "explore")
