"""fusefs: a working model of how Linux's direct I/O meets the page cache.

A request, read downwards; each file calls only files below it:

    write(2), O_DIRECT
      live/extension/             write request       inode, handle, flags, bytes
      live/requests/data.py       write()             which open file; the answer
      live/driver.py              start()             who is granted a step, and when
        engine/task.py            advance(), perform()
        model/file_io.py          write()             direct or buffered?
        model/dio.py              direct_write()      flush, invalidate, map, submit
        model/dio_complete.py     complete_write()    convert, invalidate: the order under study
          model/iomap.py          begin_direct()      where the bytes go
            model/extents.py      find(), convert()
            model/space.py        allocate()
          model/page_cache.py     invalidate_range()
      store/image_file.py         write_at()          reached only from perform()

A file is in the folder whose question it answers, and imports only what is below it:

    commands/  demo/     what each word after mount_tool.py does; what is shown
    mounts.py            live mounts from Python: with fusefs.mounted() as m
    gates.py             holds requests of a live mount before their steps
    predict/             what other kernels might have made of a recorded run
    live/  explore/      a real mount; all orders of a few requests
    show/                pictures: events in, text out
    conform/             the model beside the kernel that runs here
    check/               what cached pages must hold, and who is guilty where one does not
    trial/               a litmus file in any directory, by real processes
    store/               what outlives a mount: image, metadata, names
    litmus/              what a few processes do, and a question about it, as text and as data
    engine/              what a task is, and what a granted step does
    model/               what Linux does between a request and its blocks

model/steps.py is the only place that yields.  compiled.py says what is the model, and chooses
between sources and what is compiled of them.  docs/design.md tells the rest.
"""

from typing import TYPE_CHECKING, Any

from fusefs import compiled

if TYPE_CHECKING:
    from fusefs.mounts import Mount, MountFailed, mounted

__all__ = ["Mount", "MountFailed", "mounted"]

__path__ = compiled.path(__path__)


def __getattr__(name: str) -> Any:
    """The Python API, loaded when it is asked for: the daemon has no use for it."""
    if name in __all__:
        from fusefs import mounts

        return getattr(mounts, name)
    raise AttributeError(name)
