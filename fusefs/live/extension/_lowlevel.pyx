# cython: language_level=3
"""What pyfuse3 does not reach of libfuse: see docs/design.md, "The extension".

pyfuse3 hands libfuse a table of operations, mounts and replies through functions that the
dynamic linker looks up by name.  This module exports functions of the same names; imported
with RTLD_GLOBAL before pyfuse3, it is found first.  Each does its part and calls libfuse's.

    fuse_session_new             widens the table: frequent operations go to the handlers
                                 and takes the umask from the kernel: a default ACL replaces it
    fuse_session_mount           makes /dev/fuse non-blocking, and has libfuse and the kernel
                                 agree on what the session is; leaves no mount if that fails
    fuse_session_receive_buf     "nothing there" is then "try later" for pyfuse3, and no error
    fuse_session_process_buf     takes further requests while there are some

O_TMPFILE is a create() of the name '/', which it is but for its number; a statx is a getattr
that is answered otherwise.

Replies to what comes to the handlers are written here, in the kernel's own form (_replies.pxi).

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
from fusefs.live.extension._libfuse cimport *
from posix.fcntl cimport F_GETFL, F_SETFL, O_NONBLOCK, fcntl
from posix.types cimport dev_t, off_t
from posix.unistd cimport read, write

import logging
import time

from fusefs.model.errors import FsError

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

cdef int64_t INIT_WAIT_NS = 10 * SECOND_NS  # the kernel's first request is there at once
# What is looked up by name; the rest is linked, and without it the import fails.
cdef tuple NEEDED = (
    b"fuse_session_mount", b"fuse_session_receive_buf", b"fuse_session_process_buf",
)
cdef tuple NEEDED_BEFORE_MMAP = (b"fuse_session_new", b"fuse_session_custom_io")
cdef tuple NEEDED_WITH_MMAP = (b"fuse_session_new_versioned",)

cdef object log = logging.getLogger(__name__)
cdef object data = None, names = None  # the handlers
cdef fuse_lowlevel_ops table
cdef init_t pyfuse3_init
cdef unsigned read_bytes_max = 0  # of one read request; 0 is the kernel's own limit
cdef process_t real_process = NULL
cdef receive_t real_receive = NULL
cdef fuse_buf drain_buf
cdef bint session_made = False, session_mounted = False, init_patched = False
cdef bint taken_here = False
cdef bint is_statx = False  # the getattr that is being processed
cdef int device = -1  # the session's /dev/fuse
cdef uint64_t unique_now = 0  # the kernel's number of the request that is being processed
cdef char held_bytes[HELD_BYTES_MAX]
cdef size_t held_ends[HELD_MAX]
cdef int held_count = 0, hold_limit = 0  # replies held, and how many may be


@cython.freelist(64)
cdef class Request:
    """One request of the kernel, to be answered once by one of its methods."""

    cdef fuse_req_t req
    cdef uint64_t unique
    cdef readonly int pid
    cdef readonly unsigned uid, gid, umask

    def reply_err(self, int error):
        send(self, -error, NULL, 0)

    def reply_buf(self, data):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
        try:
            send(self, 0, view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)

    def reply_pieces(self, list pieces):
        cdef Py_buffer views[PIECES_MAX]
        cdef iovec iov[PIECES_MAX + 1]
        cdef int count = 0
        if len(pieces) == 1:
            self.reply_buf(pieces[0])
            return
        if len(pieces) > PIECES_MAX:
            pieces = [b"".join(pieces)]
        try:
            for piece in pieces:
                PyObject_GetBuffer(piece, &views[count], PyBUF_CONTIG_RO)
                iov[count + 1] = iovec(views[count].buf, <size_t> views[count].len)
                count += 1
            send_iov(self, 0, iov, count + 1)
        finally:
            for i in range(count):
                PyBuffer_Release(&views[i])

    def reply_write(self, size_t count):
        cdef fuse_write_out out
        memset(&out, 0, sizeof(out))
        out.size = <uint32_t> count
        send(self, 0, &out, sizeof(out))

    def reply_lseek(self, off_t pos):
        cdef fuse_lseek_out out
        out.offset = <uint64_t> pos
        send(self, 0, &out, sizeof(out))

    def reply_attr(self, tuple shown):
        cdef fuse_entry_param entry
        cdef fuse_attr_out out
        fill(&entry, shown)
        memset(&out, 0, sizeof(out))
        out.attr_valid, out.attr_valid_nsec = whole(entry.attr_timeout), rest_ns(entry.attr_timeout)
        show_attr(&out.attr, &entry.attr)
        send(self, 0, &out, sizeof(out))

    def reply_statx(self, tuple shown, int64_t birth_ns):
        cdef fuse_entry_param entry
        cdef sx_out out
        fill(&entry, shown)
        show_statx(&out, &entry, birth_ns)
        send(self, 0, &out, sizeof(out))

    def reply_entry(self, tuple shown):
        cdef fuse_entry_param entry
        cdef fuse_entry_out out
        fill(&entry, shown)
        show_entry(&out, &entry)
        send(self, 0, &out, sizeof(out))

    def reply_open(self, uint64_t fh, bint direct_io):
        cdef fuse_open_out out
        show_open(&out, fh, OPEN_DIRECT if direct_io else 0)
        send(self, 0, &out, sizeof(out))

    def reply_opendir(self, uint64_t fh, bint cached):
        cdef fuse_open_out out
        show_open(&out, fh, OPEN_CACHED_DIR if cached else 0)
        send(self, 0, &out, sizeof(out))

    def reply_create(self, tuple shown, uint64_t fh):
        cdef fuse_entry_param entry
        cdef fuse_entry_out entry_out
        cdef fuse_open_out open_out
        cdef iovec iov[3]
        fill(&entry, shown)
        show_entry(&entry_out, &entry)
        show_open(&open_out, fh, OPEN_DIRECT)
        iov[1] = iovec(&entry_out, sizeof(entry_out))
        iov[2] = iovec(&open_out, sizeof(open_out))
        send_iov(self, 0, iov, 3)

    cdef fuse_req_t taken(self) except NULL:
        req = self.req
        if req is NULL:
            raise AssertionError("a request was answered twice")
        self.req = NULL
        return req

    def __dealloc__(self):
        if self.req is not NULL:
            send(self, -EIO, NULL, 0)


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
        send(self, 0, self.buf, self.used)

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


include "_replies.pxi"


cdef Request accept(Request request, fuse_req_t req):
    """From here on the object owes the kernel an answer."""
    global taken_here
    taken_here = True
    request.req, request.unique = req, unique_now
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
    handle = data.read if fi.lock_owner else data.fill  # the kernel's own page cache is nobody
    try:
        handle(request, ino, fi.fh, pos, size, fi.flags)
    except BaseException as error:
        refuse(request, handle, error, (ino, fi.fh, pos, size))


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
    call(names.statx if is_statx else names.getattr, (begun(req), ino))


cdef void op_setattr(fuse_req_t req, uint64_t ino, stat_t *attr, int to_set, fuse_file_info *fi) noexcept:
    call(names.setattr, (
        begun(req), ino,
        attr.st_mode if to_set & FUSE_SET_ATTR_MODE else None,
        attr.st_uid if to_set & FUSE_SET_ATTR_UID else None,
        attr.st_gid if to_set & FUSE_SET_ATTR_GID else None,
        attr.st_size if to_set & FUSE_SET_ATTR_SIZE else None,
        set_time(attr.st_atim, to_set & FUSE_SET_ATTR_ATIME, to_set & FUSE_SET_ATTR_ATIME_NOW),
        set_time(attr.st_mtim, to_set & FUSE_SET_ATTR_MTIME, to_set & FUSE_SET_ATTR_MTIME_NOW),
        fi is not NULL,
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


cdef void op_tmpfile(fuse_req_t req, uint64_t parent, unsigned mode, fuse_file_info *fi) noexcept:
    op_create(req, parent, b"/", mode, fi)


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
    conn.max_read = read_bytes_max  # libfuse ends the session if the mount option says otherwise
    conn.want |= (FUSE_CAP_DONT_MASK | DIRECT_IO_ALLOW_MMAP) & conn.capable
    conn.want &= ~OVER_IO_URING  # whatever FUSE_URING_ENABLE says: threads of libfuse's would call
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
    take_tmpfile(&table, <void *> op_tmpfile)
    session_made = True
    return &table


cdef ssize_t device_read(int fd, void *buf, size_t size, void *userdata) noexcept:
    return read(fd, buf, size)


cdef ssize_t device_writev(int fd, iovec *iov, int count, void *userdata) noexcept:
    """Adds to the INIT reply, the first of all, what a libfuse before 3.17 cannot express."""
    global init_patched
    if count == 2 and not init_patched and iov[1].iov_len >= sizeof(fuse_init_out):
        init = <fuse_init_out *> iov[1].iov_base
        init.flags |= INIT_EXT
        init.flags2 |= DIRECT_IO_ALLOW_MMAP_2
        init_patched = True
    return writev(fd, iov, count)


cdef public fuse_session *our_new(fuse_args *args, const void *ops, size_t size, void *data) noexcept:
    real = <new_t> dlsym(RTLD_NEXT, "fuse_session_new")
    return real(args, widen(ops, size), sizeof(table), data)


cdef public fuse_session *our_new_versioned(
        fuse_args *args, const void *ops, size_t size, void *version, void *data) noexcept:
    real = <new_v_t> dlsym(RTLD_NEXT, "fuse_session_new_versioned")
    return real(args, widen(ops, size), sizeof(table), version, data)


cdef public int our_mount(fuse_session *se, const char *mountpoint) noexcept:
    """pyfuse3 takes -1 for a mount that was not made: then there must be none."""
    global session_mounted, device
    if (<mount_t> dlsym(RTLD_NEXT, "fuse_session_mount"))(se, mountpoint) != 0:
        return -1
    device = fuse_session_fd(se)
    session_mounted = begin(se)
    if session_mounted:
        return 0
    fuse_session_unmount(se)
    return -1


cdef bint begin(fuse_session *se) noexcept:
    """Answer FUSE_INIT, so that a session that libfuse refuses is not reported as a mount."""
    if fcntl(device, F_SETFL, fcntl(device, F_GETFL) | O_NONBLOCK) != 0:
        return False
    if fuse_version() < VERSION_WITH_MMAP and not add_device_io(se):
        return False
    if not readable_within(device, INIT_WAIT_NS) or receive(se, &drain_buf) <= 0:
        return False
    process(se, &drain_buf)
    free(drain_buf.mem)  # its length was agreed on just now
    drain_buf.mem = NULL
    return not fuse_session_exited(se)


cdef bint add_device_io(fuse_session *se) noexcept:
    """The back door of an older libfuse; in a newer one it is shut, or turns io_uring off."""
    cdef custom_io_t custom_io = <custom_io_t> dlsym(RTLD_NEXT, "fuse_session_custom_io")
    cdef device_io io
    memset(&io, 0, sizeof(io))
    io.writev, io.read = device_writev, device_read
    return custom_io is not NULL and custom_io(se, &io, device) == 0


cdef public int our_receive(fuse_session *se, fuse_buf *buf) noexcept:
    """pyfuse3 takes EINTR for "try later", and any other error for the end."""
    count = receive(se, buf)
    return -EINTR if count == -EAGAIN else count


cdef int receive(fuse_session *se, fuse_buf *buf) noexcept:
    global real_receive
    if real_receive is NULL:
        real_receive = <receive_t> dlsym(RTLD_NEXT, "fuse_session_receive_buf")
    return real_receive(se, buf)


cdef void rename_unknown(const fuse_buf *buf) noexcept:
    """What libfuse would answer with ENOSYS is given the number of what it begins like.

    libfuse before 3.17 does not know a tmpfile, see take_tmpfile(), and before 3.18 no statx.
    """
    global is_statx
    header = <fuse_in_header *> buf.mem
    is_statx = header.opcode == OPCODE_STATX
    if is_statx:
        header.opcode = FUSE_GETATTR
    elif header.opcode == OPCODE_TMPFILE and fuse_version() < VERSION_WITH_MMAP:
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
            send_held()
        if left == 1 or not taken_here or fuse_session_exited(se) or now_ns > end_ns:
            break
        if receive(se, &drain_buf) > 0:
            ready += 1
        else:
            ready = 0
            send_held()
            if not idle or not readable_soon(device):
                break
            if receive(se, &drain_buf) <= 0:
                break
        taken = &drain_buf
        # All that are ready would leave the client idle.  While a conversion is under way none is
        # held: who goes first then is what is studied.
        hold_limit = min(ready * 3 // 4, HELD_MAX) if idle else 0
        if not held_count:
            send_ns = now_ns + HELD_NS
        elif taken.size > HELD_BYTES_MAX:  # a write that takes its time
            send_held()
    hold_limit = 0
    send_held()


cdef bint process(fuse_session *se, const fuse_buf *buf) noexcept:
    """One request, and whoever is ready after it; true if nobody is under way then."""
    global taken_here, real_process, unique_now
    if real_process is NULL:
        real_process = <process_t> dlsym(RTLD_NEXT, "fuse_session_process_buf")
    taken_here = False
    unique_now = (<fuse_in_header *> buf.mem).unique
    rename_unknown(buf)
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
    cdef timespec none = timespec(0, 0)
    cdef int64_t end_ns = monotonic_ns() + AWAKE_NS
    with nogil:
        count = ppoll(&one, 1, &none, NULL)
        while not count and monotonic_ns() < end_ns:
            sched_yield()
            count = ppoll(&one, 1, &none, NULL)
    return count > 0 or readable_within(fd, NEXT_WAIT_NS)


cdef bint readable_within(int fd, int64_t wait_ns) noexcept:
    cdef pollfd one = pollfd(fd, POLLIN, 0)
    cdef timespec wait = timespec(wait_ns // SECOND_NS, wait_ns % SECOND_NS)
    with nogil:
        count = ppoll(&one, 1, &wait, NULL)
    return count > 0


def install(data_handler, name_handler, unsigned max_read=0):
    global data, names, read_bytes_max
    data, names, read_bytes_max = data_handler, name_handler, max_read


def device_fd():
    return device


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
