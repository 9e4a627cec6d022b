# cython: language_level=3
"""What _lowlevel.pyx uses of libfuse, and under which C names it exports its own functions.

Only declarations: the fields named are the ones used.
"""

from libc.stdint cimport uint32_t, uint64_t
from posix.types cimport off_t

cdef extern from *:
    """
    #define FUSE_USE_VERSION 314
    #include <dlfcn.h>
    #include <sys/uio.h>
    #include <fuse_lowlevel.h>
    #include <linux/fuse.h>
    #define FOPEN_PARALLEL (1u << 6)           /* four names that older headers lack */
    #define DIRECT_IO_ALLOW_MMAP_2 (1u << 4)   /* bit 36: bit 4 of flags2 */
    #define INIT_EXT (1u << 30)
    #define OPCODE_TMPFILE 51
    typedef void *op;
    /* The symbols are libfuse's; the C names are not, as headers may define those inline. */
    struct fuse_session *our_new(struct fuse_args *, const void *, size_t, void *)
        __asm__("fuse_session_new");
    struct fuse_session *our_new_versioned(struct fuse_args *, const void *, size_t, void *, void *)
        __asm__("fuse_session_new_versioned");
    int our_mount(struct fuse_session *, const char *) __asm__("fuse_session_mount");
    int our_open(fuse_req_t, const struct fuse_file_info *) __asm__("fuse_reply_open");
    int our_create(fuse_req_t, const void *, const struct fuse_file_info *)
        __asm__("fuse_reply_create");
    void our_process(struct fuse_session *, const struct fuse_buf *)
        __asm__("fuse_session_process_buf");
    static int is_direct_io(const struct fuse_file_info *fi) { return fi->direct_io; }
    static int is_writepage(const struct fuse_file_info *fi) { return fi->writepage != 0; }
    static void set_errno(int error) { errno = error; }
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
    cdef struct fuse_file_info:
        int flags
        uint64_t fh
    cdef struct fuse_conn_info:
        unsigned max_background, congestion_threshold, want
    cdef struct fuse_ctx:
        int pid
        unsigned uid, gid
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct fuse_custom_io:
        ssize_t (*writev)(int, iovec *, int, void *)
        ssize_t (*read)(int, void *, size_t, void *)
    cdef struct fuse_init_out:
        uint32_t flags, flags2
    cdef struct fuse_open_out:
        uint32_t open_flags
    cdef struct fuse_lowlevel_ops:
        op init, read, write, write_buf, fallocate, lseek, copy_file_range
    void *dlsym(void *, const char *)
    void *RTLD_NEXT
    ssize_t writev(int, const iovec *, int)
    int is_direct_io(const fuse_file_info *)
    bint is_writepage(const fuse_file_info *)
    void set_errno(int)
    const unsigned FUSE_CAP_DONT_MASK
    const uint32_t FUSE_CREATE, OPCODE_TMPFILE
    const uint32_t FOPEN_PARALLEL, DIRECT_IO_ALLOW_MMAP_2, INIT_EXT
    const fuse_ctx *fuse_req_ctx(fuse_req_t)
    int fuse_reply_err(fuse_req_t, int)
    int fuse_reply_buf(fuse_req_t, const char *, size_t)
    int fuse_reply_write(fuse_req_t, size_t)
    int fuse_reply_lseek(fuse_req_t, off_t)
    int fuse_session_fd(fuse_session *)
    int fuse_session_exited(fuse_session *)
    int fuse_session_receive_buf(fuse_session *, fuse_buf *)
    int fuse_session_custom_io(fuse_session *, const fuse_custom_io *, int)

ctypedef fuse_session *(*new_t)(fuse_args *, const void *, size_t, void *)
ctypedef fuse_session *(*new_v_t)(fuse_args *, const void *, size_t, void *, void *)
ctypedef int (*mount_t)(fuse_session *, const char *)
ctypedef int (*open_t)(fuse_req_t, const fuse_file_info *)
ctypedef int (*create_t)(fuse_req_t, const void *, const fuse_file_info *)
ctypedef void (*process_t)(fuse_session *, const fuse_buf *)
ctypedef void (*init_t)(void *, fuse_conn_info *)
