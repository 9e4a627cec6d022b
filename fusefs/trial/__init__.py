"""A litmus file tried: real processes and real system calls, in a directory of any file system.

    on_directory.py    the front door; the histogram that it returns is in histogram.py
    cast.py            who starts, ends and waits for the processes
    process.py         what each of them does, from its first line to its last
      machine.py       can the file be tried there?
      files.py         its files at first and at the end
      calls.py         operations as system calls; system_calls.py and aio.py have what os lacks
      board.py         what processes see of each other; letters.py: bytes told as letters

It performs; what a litmus file says is in fusefs/litmus.
"""
