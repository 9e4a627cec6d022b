# cython: language_level=3
"""What pyfuse3 does not reach of libfuse: see docs/design.md, "The extension".

pyfuse3 hands libfuse a table of operations, mounts and replies through functions that the
dynamic linker looks up by name.  This module exports functions of the same names; imported
with RTLD_GLOBAL before pyfuse3, it is found first.  Each does its part and calls libfuse's.

    fuse_session_new             widens the table: data operations go to the handler
                                 and takes the umask from the kernel: a default ACL replaces it
    fuse_session_mount           every reply then passes reply_writev()
    fuse_reply_open, _create     ask reply_writev() for FOPEN_PARALLEL_DIRECT_WRITES
    fuse_session_process_buf     takes further requests while there are some, and O_TMPFILE
                                 for a create() of the name '/', which it is but for its number

No policy: each operation calls one method of the handler.  A Request is answered exactly
once; one that nobody answered is answered with EIO when it is dropped.
"""

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, EIO, errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset
from fusefs.live._libfuse cimport *
from posix.fcntl cimport F_GETFL, F_SETFL, O_NONBLOCK, fcntl
from posix.types cimport off_t
from posix.unistd cimport read

import logging

cdef int DRAIN_MAX = 64  # requests taken in one go: timers and names get their turn
cdef unsigned BACKGROUND_MAX = 16  # asynchronous requests under way: all others wait behind them

cdef object log = logging.getLogger(__name__)
cdef object handler = None
cdef fuse_lowlevel_ops table
cdef init_t pyfuse3_init
cdef process_t real_process = NULL
cdef fuse_buf drain_buf
cdef bint session_made = False, session_mounted = False, init_patched = False
cdef bint parallel_wanted = False, data_request = False


cdef class Request:
    """One data request of the kernel, to be answered once by one of its methods."""

    cdef fuse_req_t req
    cdef readonly int pid
    cdef readonly unsigned uid, gid

    def reply_err(self, int error):
        fuse_reply_err(self.taken(), error)

    def reply_buf(self, data):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
        try:
            fuse_reply_buf(self.taken(), <const char *> view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)

    def reply_write(self, size_t count):
        fuse_reply_write(self.taken(), count)

    def reply_lseek(self, off_t pos):
        fuse_reply_lseek(self.taken(), pos)

    cdef fuse_req_t taken(self) except NULL:
        req = self.req
        if req is NULL:
            raise AssertionError("a request was answered twice")
        self.req = NULL
        return req

    def __dealloc__(self):
        if self.req is not NULL:
            fuse_reply_err(self.req, EIO)


cdef void call(method, fuse_req_t req, tuple args) noexcept:
    """One method of the handler for one request; whatever it raises, the mount goes on."""
    global data_request
    data_request = True
    cdef Request request = Request.__new__(Request)
    request.req = req
    ctx = fuse_req_ctx(req)
    request.pid, request.uid, request.gid = ctx.pid, ctx.uid, ctx.gid
    try:
        method(request, *args)
    except BaseException:
        log.exception("a data request failed: %s%s", method.__name__, args[:3])  # not the data


cdef void op_read(fuse_req_t req, uint64_t ino, size_t size, off_t pos, fuse_file_info *fi) noexcept:
    call(handler.read, req, (ino, fi.fh, pos, size, fi.flags))


cdef void op_write(fuse_req_t req, uint64_t ino, const char *buf, size_t size, off_t pos,
                   fuse_file_info *fi) noexcept:
    data = PyBytes_FromStringAndSize(buf, <Py_ssize_t> size)
    call(handler.write, req, (ino, fi.fh, pos, data, fi.flags, is_writepage(fi)))


cdef void op_fallocate(fuse_req_t req, uint64_t ino, int mode, off_t pos, off_t length,
                       fuse_file_info *fi) noexcept:
    call(handler.fallocate, req, (ino, mode, pos, length))


cdef void op_lseek(fuse_req_t req, uint64_t ino, off_t pos, int whence, fuse_file_info *fi) noexcept:
    call(handler.lseek, req, (ino, pos, whence))


cdef void op_copy(fuse_req_t req, uint64_t ino_in, off_t pos_in, fuse_file_info *fi_in, uint64_t ino_out,
                  off_t pos_out, fuse_file_info *fi_out, size_t length, int flags) noexcept:
    call(handler.copy_file_range, req, (fi_in.fh, pos_in, fi_out.fh, pos_out, length))


cdef void op_init(void *userdata, fuse_conn_info *conn) noexcept:
    conn.max_background = conn.congestion_threshold = BACKGROUND_MAX
    conn.want |= FUSE_CAP_DONT_MASK
    pyfuse3_init(userdata, conn)


cdef const void *widen(const void *ops, size_t size) noexcept:
    global pyfuse3_init, session_made
    memset(&table, 0, sizeof(table))
    memcpy(&table, ops, min(size, sizeof(table)))
    pyfuse3_init = <init_t> table.init
    table.init, table.read, table.write = <void *> op_init, <void *> op_read, <void *> op_write
    table.fallocate, table.lseek = <void *> op_fallocate, <void *> op_lseek
    table.copy_file_range, table.write_buf = <void *> op_copy, NULL
    session_made = True
    return &table


cdef ssize_t device_read(int fd, void *buf, size_t size, void *userdata) noexcept:
    """pyfuse3 takes EINTR for "try later", and any other error for the end."""
    cdef ssize_t count = read(fd, buf, size)
    if count < 0 and errno == EAGAIN:
        set_errno(EINTR)
    return count


cdef ssize_t reply_writev(int fd, iovec *iov, int count, void *userdata) noexcept:
    """Send a reply, with the flags that libfuse or pyfuse3 cannot express."""
    global init_patched, parallel_wanted
    if count == 2 and not init_patched and iov[1].iov_len >= sizeof(fuse_init_out):
        init = <fuse_init_out *> iov[1].iov_base
        init.flags |= INIT_EXT
        init.flags2 |= DIRECT_IO_ALLOW_MMAP_2
        init_patched = True
    elif count == 2 and parallel_wanted and iov[1].iov_len >= sizeof(fuse_open_out):
        end = <char *> iov[1].iov_base + iov[1].iov_len
        (<fuse_open_out *> (end - sizeof(fuse_open_out))).open_flags |= FOPEN_PARALLEL
    parallel_wanted = False
    return writev(fd, iov, count)


cdef public fuse_session *our_new(fuse_args *args, const void *ops, size_t size, void *data) noexcept:
    real = <new_t> dlsym(RTLD_NEXT, "fuse_session_new")
    return real(args, widen(ops, size), sizeof(table), data)


cdef public fuse_session *our_new_versioned(
        fuse_args *args, const void *ops, size_t size, void *version, void *data) noexcept:
    real = <new_v_t> dlsym(RTLD_NEXT, "fuse_session_new_versioned")
    return real(args, widen(ops, size), sizeof(table), version, data)


cdef public int our_mount(fuse_session *se, const char *mountpoint) noexcept:
    global session_mounted
    cdef fuse_custom_io io
    if (<mount_t> dlsym(RTLD_NEXT, "fuse_session_mount"))(se, mountpoint) != 0:
        return -1
    memset(&io, 0, sizeof(io))
    io.writev, io.read = reply_writev, device_read
    fd = fuse_session_fd(se)
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)
    session_mounted = fuse_session_custom_io(se, &io, fd) == 0
    return 0 if session_mounted else -1


cdef public int our_open(fuse_req_t req, const fuse_file_info *fi) noexcept:
    global parallel_wanted
    parallel_wanted = is_direct_io(fi)
    return (<open_t> dlsym(RTLD_NEXT, "fuse_reply_open"))(req, fi)


cdef public int our_create(fuse_req_t req, const void *entry, const fuse_file_info *fi) noexcept:
    global parallel_wanted
    parallel_wanted = is_direct_io(fi)
    return (<create_t> dlsym(RTLD_NEXT, "fuse_reply_create"))(req, entry, fi)


cdef void take_tmpfile(const fuse_buf *buf) noexcept:
    """libfuse before 3.17 has no tmpfile; the kernel's request is that of create."""
    header = <fuse_in_header *> buf.mem
    if buf.size >= sizeof(fuse_in_header) and header.opcode == OPCODE_TMPFILE:
        header.opcode = FUSE_CREATE


cdef public void our_process(fuse_session *se, const fuse_buf *buf) noexcept:
    """Process a request; while they are for the handler, take the next one at once.

    pyfuse3 holds one coroutine at a time: the first request that goes to it ends this.
    """
    global data_request, real_process
    if real_process is NULL:
        real_process = <process_t> dlsym(RTLD_NEXT, "fuse_session_process_buf")
    data_request = False
    take_tmpfile(buf)
    real_process(se, buf)
    for _ in range(DRAIN_MAX):
        try:
            handler.run_ready()
        except BaseException:
            log.exception("the driver failed between two requests")
        if not data_request or fuse_session_exited(se):
            return
        if fuse_session_receive_buf(se, &drain_buf) <= 0:
            return
        data_request = False
        take_tmpfile(&drain_buf)
        real_process(se, &drain_buf)


def install(data_handler):
    global handler
    handler = data_handler


def interposed():
    return session_made, session_mounted
