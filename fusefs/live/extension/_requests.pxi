"""Requests: each operation of libfuse's table calls a method of a handler.

A read of the kernel's own is a fill, a getattr may be a statx, and what syncs .fusefs is pyfuse3's.

A Request is answered exactly once: what the method raises is answered as failure.py has it, and
what nobody answered is answered with EIO when it is dropped.

O_TMPFILE is a create() of the name '/', which it is but for its number; a statx is a getattr
that is answered otherwise.
"""

cdef object data = None, files = None, names = None, directories = None, xattrs = None  # the handlers
cdef uint64_t control_ino = 0  # from here on inodes are .fusefs's
cdef set gated = set()  # operations that gates name: while there are some,
cdef object carry_out = None  # this carries out what would be called
cdef bint is_statx = False  # the getattr that is being processed


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
        if gated:
            carry_out(method, args)
        else:
            method(*args)
    except BaseException as error:
        refuse(args[0], method, error, args[1:])


cdef void refuse(Request request, method, error, tuple args) noexcept:
    """What a handler raises is its answer; the mount goes on."""
    try:
        fault = failure(error, "a request failed: %s%s", method.__name__, args)
        if request is not None:
            request.fails(fault)
    except BaseException:
        log.exception("a request failed twice: %s%s", method.__name__, args)


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


cdef void op_rename(fuse_req_t req, uint64_t parent, const char *name, uint64_t new_parent,
                    const char *new_name, unsigned flags) noexcept:
    """It may wait for a commit: see op_fsync()."""
    global taken_here
    call(names.rename, (begun(req), parent, <bytes> name, new_parent, <bytes> new_name, flags))
    taken_here = False


cdef void op_readlink(fuse_req_t req, uint64_t ino) noexcept:
    call(names.readlink, (begun(req), ino))


cdef void op_statfs(fuse_req_t req, uint64_t ino) noexcept:
    call(names.statfs, (begun(req), ino))


cdef void op_getxattr(fuse_req_t req, uint64_t ino, const char *name, size_t size) noexcept:
    call(xattrs.getxattr, (begun(req), ino, <bytes> name, size))


cdef void op_setxattr(fuse_req_t req, uint64_t ino, const char *name, const char *value, size_t size,
                      int flags) noexcept:
    content = PyBytes_FromStringAndSize(value, <Py_ssize_t> size)
    call(xattrs.setxattr, (begun(req), ino, <bytes> name, content, flags))


cdef void op_listxattr(fuse_req_t req, uint64_t ino, size_t size) noexcept:
    call(xattrs.listxattr, (begun(req), ino, size))


cdef void op_removexattr(fuse_req_t req, uint64_t ino, const char *name) noexcept:
    call(xattrs.removexattr, (begun(req), ino, <bytes> name))


cdef void op_open(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(files.open, (begun(req), ino, fi.flags))


cdef void op_release(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(files.release, (begun(req), fi.fh))


cdef void op_fsync(fuse_req_t req, uint64_t ino, int datasync, fuse_file_info *fi) noexcept:
    """It waits for a commit, which is made by a task of trio: that gets its turn at once.

    datasync does not matter: a commit makes everything durable, of all files.
    """
    global taken_here
    call(files.fsync, (begun(req), fi.fh))
    taken_here = False


cdef void op_opendir(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(directories.opendir, (begun(req), ino))


cdef void op_readdirplus(fuse_req_t req, uint64_t ino, size_t size, off_t cookie,
                         fuse_file_info *fi) noexcept:
    cdef Listing listing = Listing.__new__(Listing)
    accept(listing, req)
    listing.buf = <char *> PyMem_Malloc(size)
    listing.size = size if listing.buf is not NULL else 0
    call(directories.readdir, (listing, fi.fh, cookie, size))


cdef void op_releasedir(fuse_req_t req, uint64_t ino, fuse_file_info *fi) noexcept:
    call(directories.releasedir, (begun(req), fi.fh))


cdef void op_fsyncdir(fuse_req_t req, uint64_t ino, int datasync, fuse_file_info *fi) noexcept:
    """Of .fusefs it writes back everything: that is a task of trio's, which pyfuse3 runs."""
    global taken_here
    if ino >= control_ino:
        pyfuse3_fsyncdir(req, ino, datasync, fi)
        return
    call(directories.fsyncdir, (begun(req), fi.fh))
    taken_here = False
