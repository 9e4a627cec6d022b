# cython: language_level=3
"""What _lowlevel.pyx uses of libfuse, and under which C names it exports its own functions.

Only declarations: the fields named are the ones used.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from posix.types cimport off_t

cdef extern from *:
    """
    #define FUSE_USE_VERSION 314
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE  /* ppoll */
    #endif
    #include <dlfcn.h>
    #include <poll.h>
    #include <sched.h>
    #include <time.h>
    #include <sys/sysmacros.h>
    #include <sys/uio.h>
    #include <fuse_lowlevel.h>
    #include <linux/fuse.h>
    #if FUSE_VERSION < 314
    #error "libfuse is older than 3.14, which fusefs needs (Debian: libfuse3-dev)"
    #endif
    /* Names that older headers of the kernel or of libfuse lack. */
    #define OPEN_DIRECT (1u << 0 | 1u << 6)    /* FOPEN_DIRECT_IO, _PARALLEL_DIRECT_WRITES:
        without the latter the kernel holds the inode's lock over each direct write */
    #define OPEN_STREAM (1u << 0 | 1u << 4)    /* FOPEN_DIRECT_IO, _STREAM: it has no position, and
        whoever reads keeps nobody from writing */
    #define OPEN_CACHED_DIR (1u << 1 | 1u << 3)    /* FOPEN_KEEP_CACHE, _CACHE_DIR */
    #define DIRECT_IO_ALLOW_MMAP (1u << 28)    /* libfuse's flag for it, from 3.17 on */
    #define OVER_IO_URING (1u << 31)           /* libfuse's, from 3.18 on */
    #define VERSION_WITH_MMAP 317              /* and with tmpfile */
    #define DIRECT_IO_ALLOW_MMAP_2 (1u << 4)   /* the kernel's: bit 36, bit 4 of flags2 */
    #define INIT_EXT (1u << 30)
    #define OPCODE_TMPFILE 51
    #define OPCODE_STATX 52
    #define SX_BASIC 0x7ffu                    /* STATX_BASIC_STATS */
    #define SX_BTIME 0x800u
    #define ERROR_END 512                      /* the kernel takes no larger errno */
    typedef void *op;
    struct device_io {                         /* how struct fuse_custom_io begins */
        ssize_t (*writev)(int, struct iovec *, int, void *);
        ssize_t (*read)(int, void *, size_t, void *);
        void *splice_receive, *splice_send, *clone_fd;
    };
    struct sx_time {
        int64_t sec;
        uint32_t nsec;
        int32_t unused;
    };
    struct sx_out {                            /* the answer to a STATX, Linux 6.6 */
        uint64_t valid;
        uint32_t valid_nsec, flags;
        uint64_t unused[2];
        uint32_t mask, blksize;
        uint64_t attributes;
        uint32_t nlink, uid, gid;
        uint16_t mode, unused_too;
        uint64_t ino, size, blocks, attributes_mask;
        struct sx_time atime, btime, ctime, mtime;
        uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
        uint64_t unused_at_last[14];
    };
    typedef struct stat stat_t;
    /* The symbols are libfuse's; the C names are not, as headers may define those inline. */
    struct fuse_session *our_new(struct fuse_args *, const void *, size_t, void *)
        __asm__("fuse_session_new");
    struct fuse_session *our_new_versioned(struct fuse_args *, const void *, size_t, void *, void *)
        __asm__("fuse_session_new_versioned");
    int our_mount(struct fuse_session *, const char *) __asm__("fuse_session_mount");
    int our_receive(struct fuse_session *, struct fuse_buf *)
        __asm__("fuse_session_receive_buf");
    void our_process(struct fuse_session *, const struct fuse_buf *)
        __asm__("fuse_session_process_buf");
    #if FUSE_VERSION < VERSION_WITH_MMAP
    static void take_tmpfile(struct fuse_lowlevel_ops *ops, op call) {}
    #else
    static void take_tmpfile(struct fuse_lowlevel_ops *ops, op call) { ops->tmpfile = call; }
    #endif
    static int is_writepage(const struct fuse_file_info *fi) { return fi->writepage != 0; }
    """
    ctypedef void *fuse_req_t
    ctypedef void *op
    cdef struct fuse_args
    cdef struct fuse_session
    cdef struct fuse_buf:
        size_t size
        void *mem
    cdef struct fuse_in_header:
        uint32_t opcode
        uint64_t unique
    cdef struct fuse_out_header:
        uint32_t len
        int error
        uint64_t unique
    cdef struct fuse_attr:
        uint64_t ino, size, blocks, atime, mtime, ctime
        uint32_t atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize
    cdef struct fuse_attr_out:
        uint64_t attr_valid
        uint32_t attr_valid_nsec
        fuse_attr attr
    cdef struct fuse_entry_out:
        uint64_t nodeid, entry_valid, attr_valid
        uint32_t entry_valid_nsec, attr_valid_nsec
        fuse_attr attr
    cdef struct sx_time:
        int64_t sec
        uint32_t nsec
    cdef struct sx_out:
        uint64_t valid, ino, size, blocks
        uint32_t valid_nsec, mask, blksize, nlink, uid, gid, rdev_major, rdev_minor
        uint16_t mode
        sx_time atime, btime, ctime, mtime
    cdef struct fuse_write_out:
        uint32_t size
    cdef struct fuse_lseek_out:
        uint64_t offset
    cdef struct fuse_getxattr_out:
        uint32_t size
    cdef struct fuse_kstatfs:
        uint64_t blocks, bfree, bavail, files, ffree
        uint32_t bsize, namelen, frsize
    cdef struct fuse_statfs_out:
        fuse_kstatfs st
    cdef struct fuse_file_info:
        int flags
        uint64_t fh, lock_owner
    cdef struct fuse_forget_data:
        uint64_t ino, nlookup
    cdef struct timespec:
        int64_t tv_sec, tv_nsec
    ctypedef struct stat_t:
        uint64_t st_ino, st_nlink, st_rdev
        unsigned st_mode, st_uid, st_gid
        int64_t st_size, st_blocks, st_blksize
        timespec st_atim, st_mtim, st_ctim
    cdef struct fuse_entry_param:
        uint64_t ino
        stat_t attr
        double attr_timeout, entry_timeout
    cdef struct fuse_conn_info:
        unsigned max_background, congestion_threshold, max_read, capable, want
    cdef struct fuse_ctx:
        int pid
        unsigned uid, gid, umask
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct device_io:
        ssize_t (*writev)(int, iovec *, int, void *)
        ssize_t (*read)(int, void *, size_t, void *)
    cdef struct fuse_init_out:
        uint32_t flags, flags2
    cdef struct fuse_open_out:
        uint64_t fh
        uint32_t open_flags
    cdef struct fuse_lowlevel_ops:
        op init, read, write, write_buf, fallocate, lseek, copy_file_range
        op lookup, forget, forget_multi, getattr, setattr, mknod, mkdir, create, symlink, link
        op unlink, rmdir, open, release, fsync, opendir, readdirplus, releasedir, fsyncdir
        op rename, readlink, statfs, getxattr, setxattr, listxattr, removexattr
    cdef struct pollfd:
        int fd
        short events, revents
    int ppoll(pollfd *, unsigned long, const timespec *, const void *) nogil
    const short POLLIN
    int clock_gettime(int, timespec *) nogil
    int sched_yield() nogil
    const int CLOCK_MONOTONIC
    void *dlsym(void *, const char *)
    void *RTLD_NEXT
    ssize_t writev(int, const iovec *, int)
    bint is_writepage(const fuse_file_info *)
    void take_tmpfile(fuse_lowlevel_ops *, op)
    const unsigned FUSE_CAP_DONT_MASK
    const uint32_t FUSE_CREATE, FUSE_GETATTR, OPCODE_TMPFILE, OPCODE_STATX, SX_BASIC, SX_BTIME
    unsigned major(uint64_t)
    unsigned minor(uint64_t)
    const int FUSE_SET_ATTR_MODE, FUSE_SET_ATTR_UID, FUSE_SET_ATTR_GID, FUSE_SET_ATTR_SIZE
    const int FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW
    const int FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW
    const uint32_t OPEN_DIRECT, OPEN_STREAM, OPEN_CACHED_DIR
    const uint32_t DIRECT_IO_ALLOW_MMAP, DIRECT_IO_ALLOW_MMAP_2, INIT_EXT, OVER_IO_URING
    const int VERSION_WITH_MMAP, ERROR_END
    const fuse_ctx *fuse_req_ctx(fuse_req_t)
    void fuse_reply_none(fuse_req_t)
    void fuse_req_interrupt_func(fuse_req_t, void (*)(fuse_req_t, void *) noexcept, void *)
    size_t fuse_add_direntry_plus(fuse_req_t, char *, size_t, const char *, const fuse_entry_param *, off_t)
    int fuse_session_fd(fuse_session *)
    int fuse_session_exited(fuse_session *)
    void fuse_session_unmount(fuse_session *)
    int fuse_version()
    const char *fuse_pkgversion()

ctypedef fuse_session *(*new_t)(fuse_args *, const void *, size_t, void *)
ctypedef fuse_session *(*new_v_t)(fuse_args *, const void *, size_t, void *, void *)
ctypedef int (*mount_t)(fuse_session *, const char *)
ctypedef int (*custom_io_t)(fuse_session *, const device_io *, int)
ctypedef int (*receive_t)(fuse_session *, fuse_buf *)
ctypedef void (*process_t)(fuse_session *, const fuse_buf *)
ctypedef void (*init_t)(void *, fuse_conn_info *)
ctypedef void (*fsyncdir_t)(fuse_req_t, uint64_t, int, fuse_file_info *)
