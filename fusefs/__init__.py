"""fusefs: a working model of how Linux's direct I/O meets the page cache.

A request, read downwards; each file calls only files below it:

    write(2), O_DIRECT
      live/extension/             write request       inode, handle, flags, bytes
      live/requests/data.py       write()             which open file; the answer
      live/driver.py              start()             who is granted a step, and when
        engine/task.py            advance(), perform()
        model/file_io.py          write()             direct or buffered?
        model/dio.py              direct_write()      flush, invalidate, map, submit
                                  complete_write()    convert, invalidate: the order under study
          model/iomap.py          begin_direct()      where the bytes go
            model/extents.py      find(), convert()
            model/space.py        allocate()
          model/page_cache.py     invalidate_range()
      store/image_file.py         write_at()          reached only from perform()

A file is in the folder whose question it answers, and imports only what is below it:

    commands/  demo/     what each word after mount_tool.py does; what is shown
    live/  explore/      a real mount; all orders of a few requests
    store/               what outlives a mount: image, metadata, names
    engine/              what a task is, and what a granted step does
    model/               what Linux does between a request and its blocks

model/steps.py is the only place that yields.  compiled.py says what is the model, and chooses
between sources and what is compiled of them.  docs/design.md tells the rest.
"""

from fusefs import compiled

__path__ = compiled.path(__path__)
