"""What stands between pyfuse3 and libfuse: functions of libfuse's names, found before its own.

    our_new, our_new_versioned   fuse_session_new: widens the table, so that all operations go to
                                 the handlers, but flush, access and an fsync of .fusefs, and
                                 takes the umask from the kernel: a default ACL replaces it
    our_mount                    fuse_session_mount: makes /dev/fuse non-blocking, and has libfuse
                                 and the kernel agree on what the session is; leaves no mount if
                                 that fails
    our_receive                  fuse_session_receive_buf: "nothing there" is then "try later" for
                                 pyfuse3, and no error
    rename_unknown               requests that libfuse does not know

fuse_session_process_buf is in _drain.pxi.
"""

cdef int64_t INIT_WAIT_NS = 10 * SECOND_NS  # the kernel's first request is there at once
# What is looked up by name; the rest is linked, and without it the import fails.
cdef tuple NEEDED = (
    b"fuse_session_mount", b"fuse_session_receive_buf", b"fuse_session_process_buf",
)
cdef tuple NEEDED_BEFORE_MMAP = (b"fuse_session_new", b"fuse_session_custom_io")
cdef tuple NEEDED_WITH_MMAP = (b"fuse_session_new_versioned",)

cdef fuse_lowlevel_ops table
cdef init_t pyfuse3_init
cdef fsyncdir_t pyfuse3_fsyncdir
cdef receive_t real_receive = NULL
cdef unsigned read_bytes_max = 0  # of one read request; 0 is the kernel's own limit
cdef bint session_made = False, session_mounted = False, init_patched = False


cdef void op_init(void *userdata, fuse_conn_info *conn) noexcept:
    conn.max_background = conn.congestion_threshold = BACKGROUND_MAX
    conn.max_read = read_bytes_max  # libfuse ends the session if the mount option says otherwise
    conn.want |= (FUSE_CAP_DONT_MASK | DIRECT_IO_ALLOW_MMAP) & conn.capable
    conn.want &= ~OVER_IO_URING  # whatever FUSE_URING_ENABLE says: threads of libfuse's would call
    pyfuse3_init(userdata, conn)


cdef const void *widen(const void *ops, size_t size) noexcept:
    global pyfuse3_init, pyfuse3_fsyncdir, session_made
    memset(&table, 0, sizeof(table))
    memcpy(&table, ops, min(size, sizeof(table)))
    pyfuse3_init, pyfuse3_fsyncdir = <init_t> table.init, <fsyncdir_t> table.fsyncdir
    table.init, table.read, table.write = <void *> op_init, <void *> op_read, <void *> op_write
    table.fallocate, table.lseek = <void *> op_fallocate, <void *> op_lseek
    table.copy_file_range, table.write_buf = <void *> op_copy, NULL
    table.lookup, table.getattr, table.setattr = <void *> op_lookup, <void *> op_getattr, <void *> op_setattr
    table.forget, table.forget_multi = <void *> op_forget, <void *> op_forget_multi
    table.mknod, table.mkdir, table.create = <void *> op_mknod, <void *> op_mkdir, <void *> op_create
    table.symlink, table.link = <void *> op_symlink, <void *> op_link
    table.unlink, table.rmdir = <void *> op_unlink, <void *> op_rmdir
    table.open, table.release, table.fsync = <void *> op_open, <void *> op_release, <void *> op_fsync
    table.opendir, table.releasedir = <void *> op_opendir, <void *> op_releasedir
    table.readdirplus, table.fsyncdir = <void *> op_readdirplus, <void *> op_fsyncdir
    table.rename, table.readlink, table.statfs = <void *> op_rename, <void *> op_readlink, <void *> op_statfs
    table.getxattr, table.setxattr = <void *> op_getxattr, <void *> op_setxattr
    table.listxattr, table.removexattr = <void *> op_listxattr, <void *> op_removexattr
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
