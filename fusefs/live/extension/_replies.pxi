"""Replies in the kernel's own form, of <linux/fuse.h>, and those that leave together.

libfuse could send them, but a reply must say FOPEN_PARALLEL_DIRECT_WRITES, which some versions
cannot express, and some are held for a moment, which none can: through a libfuse that lets
nobody see its writes.  What libfuse keeps of a request it frees when told that there is no reply.

    show_attr, show_statx, ...           the parts of a reply
    send, send_iov                       a reply, at once or held
    hold, send_held                      replies that wait for others
"""


cdef uint64_t whole(double seconds) noexcept:
    return <uint64_t> seconds


cdef uint32_t rest_ns(double seconds) noexcept:
    return <uint32_t> ((seconds - <double> whole(seconds)) * SECOND_NS)


cdef void show_attr(fuse_attr *out, const stat_t *attr) noexcept:
    """out is zeroed."""
    out.ino, out.size, out.blocks = attr.st_ino, <uint64_t> attr.st_size, <uint64_t> attr.st_blocks
    out.atime, out.atimensec = <uint64_t> attr.st_atim.tv_sec, <uint32_t> attr.st_atim.tv_nsec
    out.mtime, out.mtimensec = <uint64_t> attr.st_mtim.tv_sec, <uint32_t> attr.st_mtim.tv_nsec
    out.ctime, out.ctimensec = <uint64_t> attr.st_ctim.tv_sec, <uint32_t> attr.st_ctim.tv_nsec
    out.mode, out.nlink = attr.st_mode, <uint32_t> attr.st_nlink
    out.uid, out.gid = attr.st_uid, attr.st_gid
    out.rdev, out.blksize = <uint32_t> attr.st_rdev, <uint32_t> attr.st_blksize


cdef sx_time show_time(int64_t sec, int64_t nsec) noexcept:
    cdef sx_time out
    memset(&out, 0, sizeof(out))
    out.sec, out.nsec = sec, <uint32_t> nsec
    return out


cdef void show_statx(sx_out *out, const fuse_entry_param *entry, int64_t birth_ns) noexcept:
    """birth_ns 0 is unknown."""
    attr = &entry.attr
    memset(out, 0, sizeof(out[0]))
    out.valid, out.valid_nsec = whole(entry.attr_timeout), rest_ns(entry.attr_timeout)
    out.mask = SX_BASIC | SX_BTIME if birth_ns else SX_BASIC
    out.ino, out.size, out.blocks = attr.st_ino, <uint64_t> attr.st_size, <uint64_t> attr.st_blocks
    out.atime = show_time(attr.st_atim.tv_sec, attr.st_atim.tv_nsec)
    out.mtime = show_time(attr.st_mtim.tv_sec, attr.st_mtim.tv_nsec)
    out.ctime = show_time(attr.st_ctim.tv_sec, attr.st_ctim.tv_nsec)
    out.btime = show_time(birth_ns // SECOND_NS, birth_ns % SECOND_NS)
    out.mode, out.nlink = <uint16_t> attr.st_mode, <uint32_t> attr.st_nlink
    out.uid, out.gid, out.blksize = attr.st_uid, attr.st_gid, <uint32_t> attr.st_blksize
    out.rdev_major, out.rdev_minor = major(attr.st_rdev), minor(attr.st_rdev)


cdef void show_entry(fuse_entry_out *out, const fuse_entry_param *entry) noexcept:
    memset(out, 0, sizeof(out[0]))
    out.nodeid = entry.ino
    out.entry_valid = whole(entry.entry_timeout)
    out.entry_valid_nsec = rest_ns(entry.entry_timeout)
    out.attr_valid, out.attr_valid_nsec = whole(entry.attr_timeout), rest_ns(entry.attr_timeout)
    show_attr(&out.attr, &entry.attr)


cdef void show_open(fuse_open_out *out, uint64_t fh, uint32_t flags) noexcept:
    memset(out, 0, sizeof(out[0]))
    out.fh, out.open_flags = fh, flags


cdef int send(Request request, int error, const void *payload, size_t length) except -1:
    cdef iovec iov[2]
    iov[1] = iovec(<void *> payload, length)
    return send_iov(request, error, iov, 2 if length else 1)


cdef int send_iov(Request request, int error, iovec *iov, int count) except -1:
    """Answer a request; iov[0] is for the header.  error is negative, or 0.

    What writev(2) fails with is of a request that is gone, or of a mount that is.
    """
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
        if iov[i].iov_len > <size_t> (HELD_BYTES_MAX // HELD_MAX):
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


cdef void send_held() noexcept:
    """An error is of a request that is gone, or of a mount that is."""
    global held_count
    cdef size_t start = 0
    for i in range(held_count):
        write(device, held_bytes + start, held_ends[i] - start)
        start = held_ends[i]
    held_count = 0
