"""The loop that takes requests, and the replies that leave together: the extension's only policy.

    our_process      fuse_session_process_buf: takes further requests while there are some
    process          one request, and whoever is ready after it
    readable_...     whether the next one comes soon
    hold, send_held  replies that wait for others
"""

cdef int DRAIN_MAX = 64  # requests taken in one go,
cdef int64_t DRAIN_NS = 4_000_000  # and how long: then trio's tasks get their turn
cdef int64_t NEXT_WAIT_NS = 1_000_000  # for the next request, while nobody waits for trio,
cdef int64_t AWAKE_NS = 50_000  # and how long of that without sleep
cdef enum: HELD_MAX = 12, HELD_BYTES_MAX = 1 << 17  # replies that are held, and their bytes,
cdef int64_t HELD_NS = 200_000  # and how long
cdef size_t LENT_MIN = 1 << 16  # bytes of a write that are not copied
cdef unsigned BACKGROUND_MAX = 16  # asynchronous requests under way: all others wait behind them

cdef object run_ready = None  # the driver's: let all go on whose wait is over
cdef process_t real_process = NULL
cdef fuse_buf drain_buf
cdef enum: OPCODE_MAX = 64  # the kernel's own numbers of operations are below
cdef uint64_t taken_counts[OPCODE_MAX]  # requests of each
cdef bint taken_here = False  # what is being processed is the handlers', and waits for no commit
cdef uint64_t unique_now = 0  # and its number, which the kernel gave it
cdef char held_bytes[HELD_BYTES_MAX]
cdef size_t held_ends[HELD_MAX]
cdef int held_count = 0, hold_limit = 0  # replies held, and how many may be


cdef public void our_process(fuse_session *se, const fuse_buf *buf) noexcept:
    """Process a request; while they are for the handlers, take the next one at once.

    Two kinds end this, so that trio has its turn: what goes to pyfuse3, which is a task, and what
    may wait for a commit (fsync, fsyncdir, rename), which a task makes.
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
    cdef fuse_in_header *header = <fuse_in_header *> buf.mem
    unique_now = header.unique
    if header.opcode < OPCODE_MAX:
        taken_counts[header.opcode] += 1
    rename_unknown(buf)
    real_process(se, buf)
    try:
        return run_ready()
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
