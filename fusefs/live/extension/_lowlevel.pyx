# cython: language_level=3
"""What pyfuse3 does not reach of libfuse: see docs/design.md, "The extension".

pyfuse3 hands libfuse a table of operations, mounts and replies through functions that the
dynamic linker looks up by name.  This module exports functions of the same names; imported
with RTLD_GLOBAL before pyfuse3, it is found first.  Each does its part and calls libfuse's.

    _interpose.pxi    those functions: the session, its table, the mount
    _drain.pxi        the loop that takes requests, and replies that are held: the only policy
    _requests.pxi     each operation calls a method of a handler
    _page_data.pxi    what the model keeps its pages in
    _replies.pxi      Request: its replies, written here in the kernel's own form
    _libfuse.pxd      declarations of libfuse and of the kernel

A request goes from our_process() of the drain loop through libfuse to an operation, to a handler
of fusefs/live/requests, and back by one of its replies.
"""

cimport cython
from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.ref cimport Py_REFCNT
from cpython.slice cimport PySlice_AdjustIndices, PySlice_Unpack
from libc.errno cimport EAGAIN, EINTR, EIO, ERANGE, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset
from fusefs.live.extension._libfuse cimport *
from posix.fcntl cimport F_GETFL, F_SETFL, O_NONBLOCK, fcntl
from posix.mman cimport (
    MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, madvise, mmap, munmap
)
from posix.types cimport dev_t, off_t
from posix.unistd cimport read, write

import logging
import time

from fusefs.live.failure import failure

cdef int64_t SECOND_NS = 1_000_000_000

cdef object log = logging.getLogger(__name__)
cdef int device = -1  # the session's /dev/fuse

include "_replies.pxi"
include "_requests.pxi"
include "_drain.pxi"
include "_interpose.pxi"
include "_page_data.pxi"


def install(handlers, unsigned max_read=0):
    global data, files, names, directories, xattrs, gated, carry_out
    global run_ready, read_bytes_max, control_ino
    data, files = handlers.data, handlers.files
    names, directories, xattrs = handlers.names, handlers.directories, handlers.xattrs
    control_ino, gated, carry_out = handlers.control_ino, handlers.gated, handlers.carry_out
    run_ready, read_bytes_max = handlers.run_ready, max_read


def device_fd():
    return device


def requests_taken():
    """By the kernel's numbers of operations, how many requests there have been of each."""
    return [taken_counts[opcode] for opcode in range(OPCODE_MAX)]


def missing():
    """Functions of the libfuse at hand that this module calls and cannot find."""
    names = NEEDED + (NEEDED_BEFORE_MMAP if fuse_version() < VERSION_WITH_MMAP else NEEDED_WITH_MMAP)
    return [name.decode() for name in names if dlsym(RTLD_NEXT, name) is NULL]


def libfuse_version():
    """Of the library that is loaded, whatever this module was built with."""
    return (<bytes> fuse_pkgversion()).decode()


def interposed():
    """Whether libfuse made its session, and its mount, through this module."""
    return session_made, session_mounted
