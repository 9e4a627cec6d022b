"""fusefs: a working model of how Linux's direct I/O meets the page cache.

A request, read downwards; each file calls only files below it:

    write(2), O_DIRECT
      live/_lowlevel       write request       inode, handle, flags, bytes
      live/data.py         write()             which open file; the answer
      live/driver.py       start()             drives the coroutine; performs its steps
      file_io.py           write()             direct or buffered?
      dio.py               direct_write()      flush, invalidate, map, submit
                           complete_write()    convert, invalidate: the order under study
        iomap.py           begin_direct()      where the bytes go
          extents.py       find(), convert()
          space.py         allocate()
        page_cache.py      invalidate_range()
      live/image_file.py   write_at()          reached only from the driver

steps.py is the only place that yields.  compiled.py chooses between sources and what is
compiled of them.  docs/design.md tells the rest.
"""

from fusefs import compiled

__path__ = compiled.path(__path__)
