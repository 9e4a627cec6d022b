"""Replies to what comes to the handlers, in the kernel's own form, of <linux/fuse.h>.

libfuse could send them, but a reply must say FOPEN_PARALLEL_DIRECT_WRITES, which some versions
cannot express, and some are held for a moment, which none can: through a libfuse that lets
nobody see its writes.  What libfuse keeps of a request it frees when told that there is no reply.

    Shown                                what is told of an inode
    Request, Listing                     one request, and the replies as methods
    show_attr, show_statx, ...           the parts of a reply
    send, send_iov                       a reply: kept for a gate, or posted
    post                                 at once, or with others: see _drain.pxi
"""

cdef enum: PIECES_MAX = 1000  # of one reply; writev(2) takes 1024, and one is the header


@cython.freelist(64)
cdef class Shown:
    """What stat(2) shows of an inode, and for how long the kernel may keep that, and its name."""

    cdef readonly uint64_t ino
    cdef readonly unsigned mode, nlink, uid, gid, rdev
    cdef readonly int64_t size, blocks_512, preferred_size, atime_ns, mtime_ns, ctime_ns
    cdef readonly double attributes_timeout_s, name_timeout_s

    def __cinit__(self, uint64_t ino, unsigned mode, unsigned nlink, unsigned uid, unsigned gid,
                  unsigned rdev, int64_t size, int64_t blocks_512, int64_t preferred_size,
                  int64_t atime_ns, int64_t mtime_ns, int64_t ctime_ns,
                  double attributes_timeout_s, double name_timeout_s):
        self.ino, self.mode, self.nlink, self.uid, self.gid = ino, mode, nlink, uid, gid
        self.rdev, self.size, self.blocks_512 = rdev, size, blocks_512
        self.preferred_size = preferred_size
        self.atime_ns, self.mtime_ns, self.ctime_ns = atime_ns, mtime_ns, ctime_ns
        self.attributes_timeout_s, self.name_timeout_s = attributes_timeout_s, name_timeout_s


@cython.freelist(64)
cdef class Request:
    """One request of the kernel, to be answered once by one of its methods.

    Those that may be the end of a coroutine take what the driver has: a result, or an FsError.
    """

    cdef fuse_req_t req
    cdef uint64_t unique
    cdef readonly int pid
    cdef readonly unsigned uid, gid, umask
    cdef object on_interrupt, on_answer
    cdef bytes kept
    cdef int kept_error

    def when_interrupted(self, call not None):
        if self.req is not NULL:
            self.on_interrupt = call
            fuse_req_interrupt_func(self.req, interrupted, <void *> self)

    def keep_answer(self, call not None):
        self.on_answer = call

    @property
    def kept_errno(self):
        return -self.kept_error

    def send_kept(self, _=None, error=None):
        kept, self.kept, self.on_answer = self.kept, None, None
        if kept is not None:
            send(self, self.kept_error, <const char *> kept, <size_t> len(kept))
        elif not self.fails(error):
            raise AssertionError("a request has no answer")

    cdef bint fails(self, error) except -1:
        """Whether there is an error, which is the answer then."""
        if error is None:
            return False
        send(self, -error.errno, NULL, 0)
        return True

    def reply_done(self, _=None, error=None):
        if not self.fails(error):
            send(self, 0, NULL, 0)

    def reply_buf(self, data):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
        try:
            send(self, 0, view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)

    def reply_pieces(self, list pieces, error=None):
        cdef Py_buffer views[PIECES_MAX]
        cdef iovec iov[PIECES_MAX + 1]
        cdef int count = 0
        if self.fails(error):
            return
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

    def reply_write(self, count, error=None):
        cdef fuse_write_out out
        if self.fails(error):
            return
        memset(&out, 0, sizeof(out))
        out.size = <uint32_t> count
        send(self, 0, &out, sizeof(out))

    def reply_lseek(self, pos, error=None):
        cdef fuse_lseek_out out
        if self.fails(error):
            return
        out.offset = <uint64_t> pos
        send(self, 0, &out, sizeof(out))

    def reply_xattr(self, bytes value not None, size_t size):
        cdef fuse_getxattr_out out
        if not size:
            memset(&out, 0, sizeof(out))
            out.size = <uint32_t> len(value)
            send(self, 0, &out, sizeof(out))
        elif <size_t> len(value) > size:
            send(self, -ERANGE, NULL, 0)
        else:
            self.reply_buf(value)

    def reply_statfs(self, unsigned block_size, uint64_t blocks, uint64_t free, uint64_t files,
                     uint64_t files_free, unsigned name_length):
        cdef fuse_statfs_out out
        memset(&out, 0, sizeof(out))
        out.st.bsize = out.st.frsize = block_size
        out.st.blocks, out.st.bfree, out.st.bavail = blocks, free, free
        out.st.files, out.st.ffree, out.st.namelen = files, files_free, name_length
        send(self, 0, &out, sizeof(out))

    def reply_attr(self, Shown shown, error=None):
        cdef fuse_attr_out out
        if self.fails(error):
            return
        memset(&out, 0, sizeof(out))
        valid = shown.attributes_timeout_s
        out.attr_valid, out.attr_valid_nsec = whole(valid), rest_ns(valid)
        show_attr(&out.attr, shown)
        send(self, 0, &out, sizeof(out))

    def reply_statx(self, Shown shown not None, int64_t birth_ns):
        cdef sx_out out
        show_statx(&out, shown, birth_ns)
        send(self, 0, &out, sizeof(out))

    def reply_entry(self, Shown shown not None):
        cdef fuse_entry_out out
        show_entry(&out, shown)
        send(self, 0, &out, sizeof(out))

    def reply_open(self, fh, error=None):
        cdef fuse_open_out out
        if self.fails(error):
            return
        show_open(&out, fh, OPEN_DIRECT)
        send(self, 0, &out, sizeof(out))

    def reply_stream(self, fh):
        cdef fuse_open_out out
        show_open(&out, fh, OPEN_STREAM)
        send(self, 0, &out, sizeof(out))

    def reply_opendir(self, uint64_t fh, bint cached):
        cdef fuse_open_out out
        show_open(&out, fh, OPEN_CACHED_DIR if cached else 0)
        send(self, 0, &out, sizeof(out))

    def reply_create(self, Shown shown not None, uint64_t fh):
        cdef fuse_entry_out entry_out
        cdef fuse_open_out open_out
        cdef iovec iov[3]
        show_entry(&entry_out, shown)
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
        cdef iovec iov[1]
        if self.req is not NULL:
            post(self, -EIO, iov, 1)


cdef void interrupted(fuse_req_t req, void *data) noexcept:
    """libfuse holds the request's lock: whoever is called must not answer it now."""
    cdef Request request = <Request> data
    call, request.on_interrupt = request.on_interrupt, None
    try:
        if call is not None:
            call()
    except BaseException:
        log.exception("an interrupt failed")


cdef class Listing(Request):
    """A request for a directory's entries: they are added while there is room, then sent."""

    cdef char *buf
    cdef size_t size, used

    def add(self, bytes name, Shown shown not None, off_t cookie):
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


cdef void fill(fuse_entry_param *entry, Shown shown) noexcept:
    """For libfuse, which makes a listing."""
    memset(entry, 0, sizeof(entry[0]))
    attr = &entry.attr
    entry.ino = attr.st_ino = shown.ino
    attr.st_mode, attr.st_nlink, attr.st_rdev = shown.mode, shown.nlink, shown.rdev
    attr.st_uid, attr.st_gid = shown.uid, shown.gid
    attr.st_size, attr.st_blocks, attr.st_blksize = shown.size, shown.blocks_512, shown.preferred_size
    attr.st_atim.tv_sec, attr.st_atim.tv_nsec = sec(shown.atime_ns), nsec(shown.atime_ns)
    attr.st_mtim.tv_sec, attr.st_mtim.tv_nsec = sec(shown.mtime_ns), nsec(shown.mtime_ns)
    attr.st_ctim.tv_sec, attr.st_ctim.tv_nsec = sec(shown.ctime_ns), nsec(shown.ctime_ns)
    entry.attr_timeout, entry.entry_timeout = shown.attributes_timeout_s, shown.name_timeout_s


cdef int64_t sec(int64_t time_ns) noexcept:
    return time_ns // SECOND_NS


cdef uint32_t nsec(int64_t time_ns) noexcept:
    return <uint32_t> (time_ns % SECOND_NS)


cdef uint64_t whole(double seconds) noexcept:
    return <uint64_t> seconds


cdef uint32_t rest_ns(double seconds) noexcept:
    return <uint32_t> ((seconds - <double> whole(seconds)) * SECOND_NS)


cdef void show_attr(fuse_attr *out, Shown shown) noexcept:
    """out is zeroed."""
    out.ino, out.size, out.blocks = shown.ino, <uint64_t> shown.size, <uint64_t> shown.blocks_512
    out.atime, out.atimensec = <uint64_t> sec(shown.atime_ns), nsec(shown.atime_ns)
    out.mtime, out.mtimensec = <uint64_t> sec(shown.mtime_ns), nsec(shown.mtime_ns)
    out.ctime, out.ctimensec = <uint64_t> sec(shown.ctime_ns), nsec(shown.ctime_ns)
    out.mode, out.nlink, out.uid, out.gid = shown.mode, shown.nlink, shown.uid, shown.gid
    out.rdev, out.blksize = shown.rdev, <uint32_t> shown.preferred_size


cdef sx_time show_time(int64_t time_ns) noexcept:
    cdef sx_time out
    memset(&out, 0, sizeof(out))
    out.sec, out.nsec = sec(time_ns), nsec(time_ns)
    return out


cdef void show_statx(sx_out *out, Shown shown, int64_t birth_ns) noexcept:
    """birth_ns 0 is unknown."""
    memset(out, 0, sizeof(out[0]))
    valid = shown.attributes_timeout_s
    out.valid, out.valid_nsec = whole(valid), rest_ns(valid)
    out.mask = SX_BASIC | SX_BTIME if birth_ns else SX_BASIC
    out.ino, out.size, out.blocks = shown.ino, <uint64_t> shown.size, <uint64_t> shown.blocks_512
    out.atime, out.mtime = show_time(shown.atime_ns), show_time(shown.mtime_ns)
    out.ctime, out.btime = show_time(shown.ctime_ns), show_time(birth_ns)
    out.mode, out.nlink = <uint16_t> shown.mode, shown.nlink
    out.uid, out.gid, out.blksize = shown.uid, shown.gid, <uint32_t> shown.preferred_size
    out.rdev_major, out.rdev_minor = major(shown.rdev), minor(shown.rdev)


cdef void show_entry(fuse_entry_out *out, Shown shown) noexcept:
    memset(out, 0, sizeof(out[0]))
    out.nodeid = shown.ino
    valid = shown.name_timeout_s
    out.entry_valid, out.entry_valid_nsec = whole(valid), rest_ns(valid)
    valid = shown.attributes_timeout_s
    out.attr_valid, out.attr_valid_nsec = whole(valid), rest_ns(valid)
    show_attr(&out.attr, shown)


cdef void show_open(fuse_open_out *out, uint64_t fh, uint32_t flags) noexcept:
    memset(out, 0, sizeof(out[0]))
    out.fh, out.open_flags = fh, flags


cdef int send(Request request, int error, const void *payload, size_t length) except -1:
    cdef iovec iov[2]
    iov[1] = iovec(<void *> payload, length)
    return send_iov(request, error, iov, 2 if length else 1)


cdef int send_iov(Request request, int error, iovec *iov, int count) except -1:
    """Answer a request, or keep the answer; iov[0] is for the header.  error is negative, or 0."""
    if request.on_answer is not None:
        return keep(request, error, iov, count)
    return post(request, error, iov, count)


cdef int keep(Request request, int error, const iovec *iov, int count) except -1:
    if request.kept is not None:
        raise AssertionError("a request was answered twice")
    pieces = []
    for i in range(1, count):
        pieces.append(PyBytes_FromStringAndSize(<char *> iov[i].iov_base, <Py_ssize_t> iov[i].iov_len))
    request.kept, request.kept_error = b"".join(pieces), error
    request.on_answer()
    return 0


cdef int post(Request request, int error, iovec *iov, int count) except -1:
    """What writev(2) fails with is of a request that is gone, or of a mount that is."""
    cdef fuse_out_header header
    req = request.taken()
    header.unique, header.error = request.unique, error if -ERROR_END < error <= 0 else -EIO
    header.len = sizeof(header)
    for i in range(1, count):
        header.len += <uint32_t> iov[i].iov_len
    iov[0] = iovec(&header, sizeof(header))
    if not hold_limit or not hold(iov, count):
        writev(device, iov, count)
    fuse_reply_none(req)
    return 0
