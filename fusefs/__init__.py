"""fusefs: a working model of how Linux's direct I/O meets the page cache.

A request, read downwards; what is indented comes back to what it stands below:

    write(2), O_DIRECT
      live/extension/             op_write()          inode, handle, flags, bytes
      live/requests/data.py       write()             which open file; the coroutine; the answer
        store/permissions.py      modified()          times move, set-id bits go
      live/driver.py              start()             who is granted a step, and when
        live/timing.py            until()             who waits although he could go on
        engine/task.py            advance(), perform()
          model/file_io.py        write()             direct or buffered?
          model/dio.py            direct_write()      lock, flush, invalidate, map, submit
            model/locks.py        lock_shared()
            model/page_cache.py   invalidate_range()
            model/iomap.py        begin_direct()      where the bytes go
              model/extents.py    find()
              model/space.py      allocate()
          model/dio_complete.py   complete_write()    convert, invalidate: the order under study
            model/extents.py      convert()
            model/page_cache.py   invalidate_range()
          store/image_file.py     write_at()          reached only from perform()
      live/extension/             reply_write()       what the driver calls at the end

    creat(2), answered in one turn: no step, and no driver unless a gate names it
      live/extension/             op_create()
      live/requests/names.py      create()
        store/namespace.py        make()              POSIX's rules for names
          store/dentries.py       insert()            the name, in the open transaction
          store/nodes.py          new()               the inode; its row is written behind
        requests/open_files.py    opened()            the handle
      live/extension/             reply_create()

Each file calls only files below it, but for the reply: that is a method of the extension's Request,
which goes down with the request.

A file is in the folder whose question it answers, and imports only what is below it:

    commands/  demo/     what each word after mount_tool.py does; what is shown
    mounts.py            live mounts from Python: with fusefs.mounted() as m
    gates.py             holds requests of a live mount before their steps
    ending.py            what is made is taken away, also by whoever is told to end
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

model/steps.py is the only place that yields to a driver.  compiled.py says what is the model, and
chooses between sources and what is compiled of them.  docs/design.md tells the rest.
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
