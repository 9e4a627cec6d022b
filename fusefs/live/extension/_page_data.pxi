"""What the model keeps its pages in: huge pages of memory.

A read of 1 MiB copies out of 256 pages.  Where malloc() puts those, the processor searches for
each in its page tables.  Here they lie in slabs of 2 MiB that the kernel is asked to map as one,
and those that are asked for one after the other lie so: a copy that goes on is faster.

    slabs_with_room   those that have a page to give, the last that got one first

A slab without pages in use goes back to the kernel, unless it is the last with room.
"""

cdef enum:
    SLAB = 2 << 20  # a huge page of x86-64, and of arm64 with pages of 4 KiB
    SIZES = 22  # of pages: the powers of 2 below that
    # Behind each page, or all would begin where a page of memory begins, as clients' buffers do:
    # where both ends of a copy have the same last 12 bits, some processors take twice as long.
    CACHE_LINE = 64

cdef struct Slab:
    char *memory
    void *returned  # pages that were used, linked by their first word, the longest ago first
    void *returned_last
    Py_ssize_t used, untouched, count, page_size  # untouched ones are the last, and zeros
    Slab *before
    Slab *after

cdef Slab *slabs_with_room[SIZES]  # by the logarithm of the pages' size


@cython.final
@cython.freelist(64)
cdef class HugePageData:
    cdef char *buf
    cdef Slab *slab

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.buf, self.slab.page_size, False, flags)

    def __len__(self):
        return self.slab.page_size

    def __setitem__(self, slice where, data):
        cdef Py_ssize_t start, stop, step, length
        cdef Py_buffer view
        PySlice_Unpack(where, &start, &stop, &step)
        length = PySlice_AdjustIndices(self.slab.page_size, &start, &stop, step)
        PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
        try:
            if step != 1 or view.len != length:
                raise ValueError(f"{view.len} bytes for {length} of a page, in steps of {step}")
            memmove(self.buf + start, view.buf, <size_t> length)
        finally:
            PyBuffer_Release(&view)

    def __dealloc__(self):
        if self.slab:
            give_back(self.slab, self.buf)


def page_data(Py_ssize_t page_size):
    cdef int at = logarithm(page_size)
    cdef Slab *slab = slabs_with_room[at]
    cdef HugePageData page = HugePageData.__new__(HugePageData)
    if not slab:
        slab = new_slab(page_size)
        insert(slab, at)
    if slab.returned:
        page.buf = <char *> slab.returned
        slab.returned = (<void **> page.buf)[0]
        memset(page.buf, 0, <size_t> page_size)
    else:
        page.buf = slab.memory + (slab.count - slab.untouched) * (page_size + CACHE_LINE)
        slab.untouched -= 1
    page.slab = slab
    slab.used += 1
    if not has_room(slab):
        remove(slab, at)
    return page


cdef void give_back(Slab *slab, char *page) noexcept:
    cdef int at = logarithm(slab.page_size)
    if not has_room(slab):
        insert(slab, at)
    (<void **> page)[0] = NULL
    if slab.returned:
        (<void **> slab.returned_last)[0] = page
    else:
        slab.returned = page
    slab.returned_last = page
    slab.used -= 1
    if not slab.used and (slab.before or slab.after):
        remove(slab, at)
        munmap(slab.memory, SLAB)
        PyMem_Free(slab)


cdef Slab *new_slab(Py_ssize_t page_size) except NULL:
    """MemoryError."""
    cdef char *memory = <char *> mmap(
        NULL, 2 * SLAB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if memory == <char *> MAP_FAILED:
        raise MemoryError
    cdef Slab *slab = <Slab *> PyMem_Malloc(sizeof(Slab))
    if not slab:
        munmap(memory, 2 * SLAB)
        raise MemoryError
    cdef size_t skipped = SLAB - <size_t> memory % SLAB  # a huge page begins at a multiple of it
    munmap(memory, skipped)
    munmap(memory + skipped + SLAB, SLAB - skipped)
    slab.memory = memory + skipped
    madvise(slab.memory, SLAB, MADV_HUGEPAGE)  # refused by a kernel that has none
    slab.returned, slab.before, slab.after = NULL, NULL, NULL
    slab.page_size, slab.count = page_size, SLAB // (page_size + CACHE_LINE)
    slab.used, slab.untouched = 0, slab.count
    return slab


cdef bint has_room(const Slab *slab) noexcept:
    return slab.returned or slab.untouched


cdef void insert(Slab *slab, int at) noexcept:
    slab.before, slab.after = NULL, slabs_with_room[at]
    if slab.after:
        slab.after.before = slab
    slabs_with_room[at] = slab


cdef void remove(Slab *slab, int at) noexcept:
    if slab.before:
        slab.before.after = slab.after
    else:
        slabs_with_room[at] = slab.after
    if slab.after:
        slab.after.before = slab.before


cdef int logarithm(Py_ssize_t page_size) noexcept:
    cdef int bits = 0
    while page_size >> bits > 1:
        bits += 1
    return bits
