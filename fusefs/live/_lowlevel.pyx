# cython: language_level=3
"""What pyfuse3 does not reach of libfuse: see docs/design.md, "The extension".

pyfuse3 hands libfuse a table of operations, mounts and replies through functions that the
dynamic linker looks up by name.  This module exports functions of the same names; imported
with RTLD_GLOBAL before pyfuse3, it is found first.  Each does its part and calls libfuse's.

    fuse_session_new             widens the table: frequent operations go to the handlers
                                 and takes the umask from the kernel: a default ACL replaces it
    fuse_session_mount           every reply then passes reply_writev(), which may hold it
    fuse_session_process_buf     takes further requests while there are some, and O_TMPFILE
                                 for a create() of the name '/', which it is but for its number

No policy: each operation calls one method of a handler, data or names.  A Request is answered
exactly once: an FsError that the method raises is answered with its errno, any other exception
is logged, and what nobody answered is answered with EIO when it is dropped.
"""

cimport cython
from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.ref cimport Py_REFCNT
from libc.errno cimport EAGAIN, EINTR, EIO, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from fusefs.live._libfuse cimport *
from posix.fcntl cimport F_GETFL, F_SETFL, O_NONBLOCK, fcntl
from posix.types cimport dev_t, off_t
from posix.unistd cimport read, write

import logging
import time

from fusefs.errors import FsError

cdef size_t LENT_MIN = 1 << 16  # bytes of a write that are not copied
cdef int DRAIN_MAX = 64  # requests taken in one go,
cdef int64_t DRAIN_NS = 4_000_000  # and how long: then trio's tasks get their turn
cdef enum: PIECES_MAX = 1000  # of one reply; writev(2) takes 1024, and one is the header
cdef int64_t SECOND_NS = 1_000_000_000
cdef int64_t NEXT_WAIT_NS = 1_000_000  # for the next request, while nobody waits for trio,
cdef int64_t AWAKE_NS = 50_000  # and how long of that without sleep
cdef enum: HELD_MAX = 12, HELD_BYTES_MAX = 1 << 17  # replies that are held, and their bytes,
cdef int64_t HELD_NS = 200_000  # and how long
cdef unsigned BACKGROUND_MAX = 16  # asynchronous requests under way: all others wait behind them

cdef object log = logging.getLogger(__name__)
cdef object data = None, names = None  # the handlers
cdef fuse_lowlevel_ops table
cdef init_t pyfuse3_init
cdef process_t real_process = NULL
cdef fuse_buf drain_buf
cdef bint session_made = False, session_mounted = False, init_patched = False
cdef bint parallel_wanted = False, taken_here = False
cdef char held_bytes[HELD_BYTES_MAX]
cdef size_t held_ends[HELD_MAX]
cdef int held_count = 0, hold_limit = 0  # replies held, and how many may be


@cython.freelist(64)
cdef class Request:
    """One request of the kernel, to be answered once by one of its methods."""

    cdef fuse_req_t req
    cdef readonly int pid
    cdef readonly unsigned uid, gid, umask

    def reply_err(self, int error):
        fuse_reply_err(self.taken(), error)

    def reply_buf(self, data):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
        try:
            fuse_reply_buf(self.taken(), <const char *> view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)

    def reply_pieces(self, list pieces):
        cdef Py_buffer views[PIECES_MAX]
        cdef iovec iov[PIECES_MAX]
        cdef int count = 0
        if len(pieces) == 1:
            self.reply_buf(pieces[0])
            return
        if len(pieces) > PIECES_MAX:
            pieces = [b"".join(pieces)]
        try:
            for piece in pieces:
                PyObject_GetBuffer(piece, &views[count], PyBUF_CONTIG_RO)
                iov[count] = iovec(views[count].buf, <size_t> views[count].len)
                count += 1
            fuse_reply_iov(self.taken(), iov, count)
        finally:
            for i in range(count):
                PyBuffer_Release(&views[i])

    def reply_write(self, size_t count):
        fuse_reply_write(self.taken(), count)

    def reply_lseek(self, off_t pos):
        fuse_reply_lseek(self.taken(), pos)

    def reply_attr(self, tuple shown):
        cdef fuse_entry_param entry
        fill(&entry, shown)
        fuse_reply_attr(self.taken(), &entry.attr, entry.attr_timeout)

    def reply_entry(self, tuple shown):
        cdef fuse_entry_param entry
        fill(&entry, shown)
        fuse_reply_entry(self.taken(), &entry)

    def reply_open(self, uint64_t fh, bint direct_io):
        global parallel_wanted
        cdef fuse_file_info fi
        fill_open(&fi, fh, direct_io)
        req, parallel_wanted = self.taken(), direct_io
        fuse_reply_open(req, &fi)

    def reply_opendir(self, uint64_t fh, bint cached):
        cdef fuse_file_info fi
        fill_open(&fi, fh, False)
        fi.cache_readdir = fi.keep_cache = cached
        fuse_reply_open(self.taken(), &fi)

    def reply_create(self, tuple shown, uint64_t fh):
        global parallel_wanted
        cdef fuse_entry_param entry
        cdef fuse_file_info fi
        fill(&entry, shown)
        fill_open(&fi, fh, True)
        req, parallel_wanted = self.taken(), True
        fuse_reply_create(req, &entry, &fi)

    cdef fuse_req_t taken(self) except NULL:
        req = self.req
        if req is NULL:
            raise AssertionError("a request was answered twice")
        self.req = NULL
        return req

    def __dealloc__(self):
        if self.req is not NULL:
            fuse_reply_err(self.req, EIO)


cdef class Payload:
    """What a large write brings, in the buffer that it was received in: not copied.

    Whoever still has it when the next request is received keeps the buffer.
    """

    cdef char *buf
    cdef Py_ssize_t size
    cdef void *owned

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.buf, self.size, True, flags)

    def __dealloc__(self):
        free(self.owned)


cdef class Listing(Request):
    """A request for a directory's entries: they are added while there is room, then sent."""

    cdef char *buf
    cdef size_t size, used

    def add(self, bytes name, tuple shown, off_t cookie):
        cdef fuse_entry_param entry
        fill(&entry, shown)
        left = self.size - self.used
        length = fuse_add_direntry_plus(self.req, self.buf + self.used, left, name, &entry, cookie)
        if length > left:
            return False
        self.used += length
        return True

    def reply_entries(self):
        fuse_reply_buf(self.taken(), self.buf, self.used)

    def __dealloc__(self):
        PyMem_Free(self.buf)


cdef int fill(fuse_entry_param *entry, tuple shown) except -1:
    """What stat(2) shows, and how long the kernel may keep it and the name."""
    cdef int64_t atime_ns, mtime_ns, ctime_ns
    memset(entry, 0, sizeof(entry[0]))
    attr = &entry.attr
    (attr.st_ino, attr.st_mode, attr.st_nlink, attr.st_uid, attr.st_gid, attr.st_rdev, attr.st_size,
     attr.st_blocks, attr.st_blksize, atime_ns, mtime_ns, ctime_ns,
     entry.attr_timeout, entry.entry_timeout) = shown
    entry.ino = attr.st_ino
    attr.st_atim.tv_sec, attr.st_atim.tv_nsec = atime_ns // SECOND_NS, atime_ns % SECOND_NS
    attr.st_mtim.tv_sec, attr.st_mtim.tv_nsec = mtime_ns // SECOND_NS, mtime_ns % SECOND_NS
    attr.st_ctim.tv_sec, attr.st_ctim.tv_nsec = ctime_ns // SECOND_NS, ctime_ns % SECOND_NS
    return 0


cdef void fill_open(fuse_file_info *fi, uint64_t fh, bint direct_io) noexcept:
    memset(fi, 0, sizeof(fi[0]))
    fi.fh, fi.direct_io = fh, direct_io


cdef Request accept(Request request, fuse_req_t req):
    """From here on the object owes the kernel an answer."""
    global taken_here
    taken_here = True
    request.req = req
    ctx = fuse_req_ctx(req)
    request.pid, request.uid, request.gid, request.umask = ctx.pid, ctx.uid, ctx.gid, ctx.umask
    return request


cdef Request begun(fuse_req_t req):
    return accept(Request.__new__(Request), req)


cdef void call(method, tuple args) noexcept:
    """One method of a handler for one request, which comes first."""
    try:
        method(*args)
    except BaseException as error:
        refuse(args[0], method, error, args[1:])


cdef void refuse(Request request, method, error, tuple args) noexcept:
    """What a handler raises is its answer, if nothing was answered; the mount goes on."""
    try:
        if request is not None and isinstance(error, FsError):
            request.reply_err(error.errno)
            return
    except BaseException as second:
        error = second
    log.error("a request failed: %s%s", method.__name__, args, exc_info=error)


cdef void op_read(fuse_req_t req, uint64_t ino, size_t size, off_t pos, fuse_file_info *fi) noexcept:
    request = begun(req)
    try:
        data.read(request, ino, fi.fh, pos, size, fi.flags)
    except BaseException as error:
        refuse(request, data.read, error, (ino, fi.fh, pos, size))


cdef void op_write(fuse_req_t req, uint64_t ino, const char *buf, size_t size, off_t pos,
                   fuse_file_info *fi) noexcept:
    cdef Payload payload = None
    request = begun(req)
    try:
        if size >= LENT_MIN and drain_buf.mem <= <void *> buf < drain_buf.mem + drain_buf.size:
            payload = Payload.__new__(Payload)
            payload.buf, payload.size = <char *> buf, <Py_ssize_t> size
            content = PyMemoryView_FromObject(payload)
        else:
            content = PyBytes_FromStringAndSize(buf, <Py_ssize_t> size)
        data.write(request, ino, fi.fh, pos, content, fi.flags, is_writepage(fi))
    except BaseException as error:
        refuse(request, data.write, error, (ino, fi.fh, pos, size))
    content = None
    if payload is not None and Py_REFCNT(payload) > 1:  # still in use: libfuse gets a new buffer
        payload.owned, drain_buf.mem = drain_buf.mem, NULL


cdef void op_fallocate(fuse_req_t req, uint64_t ino, int mode, off_t pos, off_t length,
                       fuse_file_info *fi) noexcept:
    call(data.fallocate, (begun(req), ino, mode, pos, length))


cdef void op_lseek(fuse_req_t req, uint64_t ino, off_t pos, int whence, fuse_file_info *fi) noexcept:
    call(data.lseek, (begun(req), ino, pos, whence))


cdef void op_copy(fuse_req_t req, uint64_t ino_in, off_t pos_in, fuse_file_info *fi_in, uint64_t ino_out,
                  off_t pos_out, fuse_file_info *fi_out, size_t length, int flags) noexcept:
    call(data.copy_file_range, (begun(req), fi_in.fh, pos_in, fi_out.fh, pos_out, length))


cdef void op_lookup(fuse_req_t req, uint64_t parent, const char *name) noexcept:
    call(names.lookup, (begun(req), parent, <bytes> name))


cdef void op_forget(fuse_req_t req, uint64_t ino, uint64_t count) noexcept:
    cdef fuse_forget_data one = fuse_forget_data(ino, count)
    op_forget_multi(req, 1, &one)


cdef void op_forget_multi(fuse_req_t req, size_t count, fuse_forget_data *forgets) noexcept:
    """Nobody waits for an answer to these."""
    global taken_here
    taken_here = True
    for i in range(count):
        try:
            names.forget(forgets[i].ino, forgets[i].nlookup)
        except BaseException as error:
            refuse(None, names.forget, error, (forgets[i].ino, forgets[i].nlookup))
    fuse_reply_none(req)


cdef void op_getattr(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(names.getattr, (begun(req), ino))


cdef void op_setattr(fuse_req_t req, uint64_t ino, stat_t *attr, int to_set, fuse_file_info *fi) noexcept:
    call(names.setattr, (
        begun(req), ino,
        attr.st_mode if to_set & FUSE_SET_ATTR_MODE else None,
        attr.st_uid if to_set & FUSE_SET_ATTR_UID else None,
        attr.st_gid if to_set & FUSE_SET_ATTR_GID else None,
        attr.st_size if to_set & FUSE_SET_ATTR_SIZE else None,
        set_time(attr.st_atim, to_set & FUSE_SET_ATTR_ATIME, to_set & FUSE_SET_ATTR_ATIME_NOW),
        set_time(attr.st_mtim, to_set & FUSE_SET_ATTR_MTIME, to_set & FUSE_SET_ATTR_MTIME_NOW),
    ))


cdef object set_time(timespec given, bint wanted, bint now):
    """In nanoseconds; None to leave it as it is."""
    if wanted:
        return int(given.tv_sec) * SECOND_NS + given.tv_nsec  # Python's int: any time_t fits
    return time.time_ns() if now else None


cdef void op_mknod(fuse_req_t req, uint64_t parent, const char *name, unsigned mode, dev_t rdev) noexcept:
    call(names.mknod, (begun(req), parent, <bytes> name, mode, rdev))


cdef void op_mkdir(fuse_req_t req, uint64_t parent, const char *name, unsigned mode) noexcept:
    call(names.mkdir, (begun(req), parent, <bytes> name, mode))


cdef void op_create(fuse_req_t req, uint64_t parent, const char *name, unsigned mode,
                    fuse_file_info *fi) noexcept:
    call(names.create, (begun(req), parent, <bytes> name, mode, fi.flags))


cdef void op_symlink(fuse_req_t req, const char *target, uint64_t parent, const char *name) noexcept:
    call(names.symlink, (begun(req), parent, <bytes> name, <bytes> target))


cdef void op_link(fuse_req_t req, uint64_t ino, uint64_t parent, const char *name) noexcept:
    call(names.link, (begun(req), ino, parent, <bytes> name))


cdef void op_unlink(fuse_req_t req, uint64_t parent, const char *name) noexcept:
    call(names.unlink, (begun(req), parent, <bytes> name))


cdef void op_rmdir(fuse_req_t req, uint64_t parent, const char *name) noexcept:
    call(names.rmdir, (begun(req), parent, <bytes> name))


cdef void op_open(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(names.open, (begun(req), ino, fi.flags))


cdef void op_release(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(names.release, (begun(req), fi.fh))


cdef void op_opendir(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(names.opendir, (begun(req), ino))


cdef void op_readdirplus(fuse_req_t req, uint64_t ino, size_t size, off_t cookie,
                         fuse_file_info *fi) noexcept:
    cdef Listing listing = Listing.__new__(Listing)
    accept(listing, req)
    listing.buf = <char *> PyMem_Malloc(size)
    listing.size = size if listing.buf is not NULL else 0
    call(names.readdir, (listing, fi.fh, cookie, size))


cdef void op_releasedir(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(names.releasedir, (begun(req), fi.fh))


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
    table.lookup, table.getattr, table.setattr = <void *> op_lookup, <void *> op_getattr, <void *> op_setattr
    table.forget, table.forget_multi = <void *> op_forget, <void *> op_forget_multi
    table.mknod, table.mkdir, table.create = <void *> op_mknod, <void *> op_mkdir, <void *> op_create
    table.symlink, table.link = <void *> op_symlink, <void *> op_link
    table.unlink, table.rmdir = <void *> op_unlink, <void *> op_rmdir
    table.open, table.release = <void *> op_open, <void *> op_release
    table.opendir, table.releasedir = <void *> op_opendir, <void *> op_releasedir
    table.readdirplus = <void *> op_readdirplus
    session_made = True
    return &table


cdef ssize_t device_read(int fd, void *buf, size_t size, void *userdata) noexcept:
    """pyfuse3 takes EINTR for "try later", and any other error for the end."""
    cdef ssize_t count = read(fd, buf, size)
    if count < 0 and errno == EAGAIN:
        set_errno(EINTR)
    return count


cdef ssize_t reply_writev(int fd, iovec *iov, int count, void *userdata) noexcept:
    """Send or hold a reply, with the flags that libfuse cannot express."""
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
    if hold_limit and (length := hold(iov, count)):
        return length
    return writev(fd, iov, count)


cdef ssize_t hold(const iovec *iov, int count) noexcept:
    """Keep a copy of a reply until others go with it; 0 if it is too long to be copied.

    The first of them wakes the client, and the others find it awake: a wakeup for each costs
    more than the copies.
    """
    global held_count
    cdef size_t start = held_ends[held_count - 1] if held_count else 0
    cdef size_t end = start
    if held_count == HELD_MAX:
        return 0
    for i in range(count):
        if iov[i].iov_len > HELD_BYTES_MAX // HELD_MAX:
            return 0
        end += iov[i].iov_len
    if end > HELD_BYTES_MAX:
        return 0
    end = start
    for i in range(count):
        memcpy(held_bytes + end, iov[i].iov_base, iov[i].iov_len)
        end += iov[i].iov_len
    held_ends[held_count] = end
    held_count += 1
    return <ssize_t> (end - start)


cdef void send_held(fuse_session *se) noexcept:
    """An error is of a request that is gone, or of a mount that is."""
    global held_count
    cdef size_t start = 0
    fd = fuse_session_fd(se)
    for i in range(held_count):
        write(fd, held_bytes + start, held_ends[i] - start)
        start = held_ends[i]
    held_count = 0


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


cdef void take_tmpfile(const fuse_buf *buf) noexcept:
    """libfuse before 3.17 has no tmpfile; the kernel's request is that of create."""
    header = <fuse_in_header *> buf.mem
    if buf.size >= sizeof(fuse_in_header) and header.opcode == OPCODE_TMPFILE:
        header.opcode = FUSE_CREATE


cdef public void our_process(fuse_session *se, const fuse_buf *buf) noexcept:
    """Process a request; while they are for the handlers, take the next one at once.

    pyfuse3 holds one coroutine at a time: the first request that goes to it ends this.
    """
    global hold_limit
    cdef const fuse_buf *taken = buf
    cdef int64_t now_ns = monotonic_ns(), end_ns = now_ns + DRAIN_NS, send_ns = now_ns
    cdef int ready = 0  # requests that were there already when the one before was done
    for left in range(DRAIN_MAX, 0, -1):
        idle = process(se, taken)
        now_ns = monotonic_ns()
        if held_count >= hold_limit or not idle or now_ns > send_ns:
            send_held(se)
        if left == 1 or not taken_here or fuse_session_exited(se) or now_ns > end_ns:
            break
        if fuse_session_receive_buf(se, &drain_buf) > 0:
            ready += 1
        else:
            ready = 0
            send_held(se)
            if not idle or not readable_soon(fuse_session_fd(se)):
                break
            if fuse_session_receive_buf(se, &drain_buf) <= 0:
                break
        taken = &drain_buf
        # All that are ready would leave the client idle.  While a conversion is under way none is
        # held: who goes first then is what is studied.
        hold_limit = min(ready * 3 // 4, HELD_MAX) if idle else 0
        if not held_count:
            send_ns = now_ns + HELD_NS
        elif taken.size > HELD_BYTES_MAX:  # a write that takes its time
            send_held(se)
    hold_limit = 0
    send_held(se)


cdef bint process(fuse_session *se, const fuse_buf *buf) noexcept:
    """One request, and whoever is ready after it; true if nobody is under way then."""
    global taken_here, real_process
    if real_process is NULL:
        real_process = <process_t> dlsym(RTLD_NEXT, "fuse_session_process_buf")
    taken_here = False
    take_tmpfile(buf)
    real_process(se, buf)
    try:
        return data.run_ready()
    except BaseException:
        log.exception("the driver failed between two requests")
        return False


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * SECOND_NS + now.tv_nsec


cdef bint readable_soon(int fd) noexcept:
    """A client that got its answer often asks again at once: cheaper than a round of trio.

    And it asks sooner than an idle processor wakes up: that takes some 30 us, and empties its
    caches.  A client on the same processor gets it by sched_yield().
    """
    cdef pollfd one = pollfd(fd, POLLIN, 0)
    cdef timespec none = timespec(0, 0), wait = timespec(0, NEXT_WAIT_NS)
    cdef int64_t end_ns = monotonic_ns() + AWAKE_NS
    with nogil:
        count = ppoll(&one, 1, &none, NULL)
        while not count and monotonic_ns() < end_ns:
            sched_yield()
            count = ppoll(&one, 1, &none, NULL)
        if not count:
            count = ppoll(&one, 1, &wait, NULL)
    return count > 0


def install(data_handler, name_handler):
    global data, names
    data, names = data_handler, name_handler


def interposed():
    return session_made, session_mounted
