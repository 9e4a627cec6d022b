"""The live daemon: real requests, a real image, a real mount.  FUSE and trio are here alone.

    checks  daemon     what can be known before; mounts, serves, unmounts
    driver  timing     drives the coroutines of requests; who waits although he could go on
    failure            what a request that fails is answered with
    reclaim            frees what deleted files had; waits for what is about to come free
    trace              the last events
    kernel_pages  teller    the kernel's own pages of what has changed
    requests/          from a FUSE request to a coroutine, and back
    extension/         FUSE itself, below pyfuse3

The extension is imported here, before anything can import pyfuse3.
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "live")

from fusefs.live import extension as extension
