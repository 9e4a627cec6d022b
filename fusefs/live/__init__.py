"""The live daemon: real requests, a real image, a real mount.  FUSE and trio are here alone.

    checks  daemon     what can be known before; mounts, serves, unmounts
    driver  under_way  drives the coroutines of requests; what it drives, and whom it asks:
    timing  gatekeeper     who waits although he could go on; who is held at a gate
    failure            what a request that fails is answered with
    reclaim            frees what deleted files had; waits for what is about to come free
    trace  recorder    the last events; all of them, for whoever reads
    coherence          buffered reads are compared with the image
    kernel_pages  teller    the kernel's own pages of what has changed
    requests/          from a FUSE request to a coroutine, and back
    extension/         FUSE itself, below pyfuse3

The extension is imported here, before anything can import pyfuse3.
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "live")

from fusefs.live import extension as extension
