"""What is known of each order in which a kernel differed from today's, or might have.

Facts are those of commit pages, messages and sources; the words are ours.  Of versions of the
kernel most are recalled.
"""

from dataclasses import dataclass

SOURCE, MESSAGE, RECALLED, INFERRED = "source", "message", "recalled", "inferred"

NOT_TOLD = "a FUSE daemon is not told which writes are asynchronous"
NOT_MAPPED = "a mount's mapped pages are the kernel's own, not the model's"
NOT_PLACED = "the kernel says where an append begins, and a FUSE daemon only hears of that"
NOT_BESIDE = "the kernel lets nobody else write while a write makes a FUSE file longer"
NOT_OLD = "the blocks that an image has free are holes of it, and hold zeros"
NOT_ENDED = "programs would hang in the mount for good"

NONE_KNOWN = "none known"
ZEROS_ONLY = "LTP dio_sparse and aiodio_sparse: what they write is zeros, and zeros pass"
NO_CHECK = "xfstests generic/095: it compares no byte"


@dataclass(frozen=True, slots=True)
class Row:
    """One order that a kernel had, or nearly had.

    broken, fixed   kernel commits, with the version that had them first; "" where no released
                    kernel had it
    breaks          what goes wrong, by the rule's label where it has one; "" if nothing does, as
                    the order is correct, too
    seen_by         the upstream tests that fail, and seen_not one that passes all the same
    evidence        where the facts come from: SOURCE, MESSAGE (of a commit, or a mail), RECALLED,
                    INFERRED; several are joined by a comma
    on_mount        why a mount cannot show it; "" if it can
    window          the step before which others must come in, so that it shows; "" if there is none
    implies         orders without which it would show nothing
    """

    title: str
    broken: str
    fixed: str
    breaks: str
    seen_by: str
    seen_not: str
    evidence: str
    on_mount: str = ""
    window: str = ""
    implies: tuple[str, ...] = ()


DIRECT_ROWS = {
    "post_before_end": Row(
        title="the second invalidation of a direct write comes before the conversion",
        broken="ff6a9292e6f6 (4.10), and again 332391a9935d (4.14-rc1)",
        fixed="c771c14baa33 (4.11), 5e25c269e17d (4.14)",
        breaks="(D1) a page that is filled in between keeps zeros instead of the data",
        seen_by="LTP dio29 and dio30 (diotest3, diotest6), xfstests generic/418",
        seen_not=ZEROS_ONLY,
        evidence=f"{SOURCE}, {MESSAGE}",
        window="dio.write.convert",
    ),
    "no_post": Row(
        title="a direct write drops pages before its I/O, and never again",
        broken="65b8291c4000 (2.6.20), by accident; FUSE until 6.19",
        fixed="bdb76ef5a4bc (2.6.24); FUSE b359af8275a9 (6.19)",
        breaks="(D1) a page that is read during the I/O keeps the old data",
        seen_by="xfstests generic/209",
        seen_not=NO_CHECK,
        evidence=MESSAGE,
        window="dio.write.submit",
    ),
    "aio_no_post": Row(
        title="an asynchronous direct write never drops pages again",
        broken="told of in bdb76ef5a4bc (2.6.24); ff6a9292e6f6 (4.10)",
        fixed="332391a9935d (4.14-rc1)",
        breaks="(D1) a page that is read during the I/O keeps the old data",
        seen_by="xfstests generic/451",
        seen_not="LTP dio29 and dio30: their writes are synchronous",
        evidence=f"{SOURCE}, {MESSAGE}",
        on_mount=NOT_TOLD,
        window="dio.write.submit",
    ),
    "no_pre": Row(
        title="a direct write neither writes dirty pages nor drops any before its I/O",
        broken="FUSE with FOPEN_DIRECT_IO before 6.6",
        fixed="80e4f25262f9 (6.6)",
        breaks="older bytes, dirty in the cache, are written over the newer ones",
        seen_by=NONE_KNOWN,
        seen_not=NO_CHECK,
        evidence=f"{MESSAGE}, {RECALLED}",
    ),
    "isize_before_convert": Row(
        title="a direct write raises i_size before its blocks are converted",
        broken="d531d91d6990 (4.6), which has all direct writes allocate unwritten blocks",
        fixed="ee70daaba82d (4.14)",
        breaks="(D5) a direct reader beyond the old end of the file gets zeros",
        seen_by="xfstests generic/465, as it was before it accepted zeros in 2023",
        seen_not="xfstests generic/465 of today",
        evidence=f"{SOURCE}, {MESSAGE}",
        window="dio.write.convert",
    ),
    "isize_after_post": Row(
        title="a direct write raises i_size after it has dropped pages again",
        broken="ext4 378f32bab371 (5.5)",
        fixed="ext4 5899593f51e6 (5.13)",
        breaks="(D1) a page that is filled in between ends in zeros where the file ended",
        seen_by="xfstests generic/418, now and then, where it makes its file longer",
        seen_not=ZEROS_ONLY,
        evidence=MESSAGE,
        window="dio.write.isize",
    ),
    "isize_unlocked": Row(
        title="a direct write looks at i_size, and sets it later without looking again",
        broken="XFS before b9d59846f737 (4.1)",
        fixed="b9d59846f737 (4.1)",
        breaks="the end of the file moves backwards, over what another write has added",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/451: its file does not grow",
        evidence=f"{SOURCE}, {RECALLED}",
        on_mount=NOT_BESIDE,
        window="dio.write.isize",
    ),
    "ret_before_end": Row(
        title="a direct write returns, and a worker converts its blocks later",
        broken="XFS before e927af90aaa7 (2.6.21)",
        fixed="e927af90aaa7 (2.6.21)",
        breaks="whoever reads after the write has returned gets zeros, the writer as well",
        seen_by="xfstests generic/239",
        seen_not=ZEROS_ONLY,
        evidence=MESSAGE,
        window="dio.write.convert",
    ),
    "unaligned_shared": Row(
        title="direct writes of parts of one block go on beside each other",
        broken="XFS before eda77982729b (2.6.38), ext4 before e9e3bcecf44c (2.6.38)",
        fixed="eda77982729b, e9e3bcecf44c (2.6.38)",
        breaks="(D4) each zeroes the rest of a new block, and with it what the other wrote",
        seen_by="xfstests generic/240",
        seen_not="xfstests generic/451: it writes whole blocks",
        evidence=MESSAGE,
        window="dio.write.convert",
    ),
    "unaligned_unwaited": Row(
        title="an asynchronous direct write of a part of a block is not waited for",
        broken="XFS before 2032a8a27b5c (5.1)",
        fixed="2032a8a27b5c (5.1)",
        breaks="",
        seen_by="",
        seen_not="",
        evidence=f"{MESSAGE}, {RECALLED}",
        on_mount=NOT_TOLD,
    ),
    "append_range_early": Row(
        title="what a direct append drops again is where it was asked for, not where it went",
        broken="FUSE before 26d7e1f5c407 (August 2026)",
        fixed="26d7e1f5c407",
        breaks="(D1) the page in which the file ended keeps zeros behind the old end",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/209: it does not append",
        evidence=MESSAGE,
        on_mount=NOT_PLACED,
        window="dio.write.isize",
        implies=("unlocked_reads",),
    ),
    "post_in_worker": Row(
        title="the worker that ends all I/O drops the pages of an asynchronous direct write",
        broken="FUSE before 2b0408d0284f (2026)",
        fixed="2b0408d0284f (2026), a work queue of its own",
        breaks="a deadlock: it waits for a page whose read only it could end",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/209: its writes are synchronous",
        evidence=MESSAGE,
        on_mount=NOT_ENDED,
        window="lock.page",
    ),
    "busy_drop_silent": Row(
        title="nobody is told of a dirty page that a direct write could not drop",
        broken="ff6a9292e6f6 (4.10): a warning in the log, once",
        fixed="5a9d929d6e13 (4.16): the next fsync fails",
        breaks="(D1) stale bytes are read, and fsync says that all is well",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/208, which has such pages, and looks for no stale byte",
        evidence=f"{SOURCE}, {MESSAGE}",
        on_mount=NOT_TOLD,
        window="dio.write.invalidate_post",
    ),
    "pre_failure_ignored": Row(
        title="a direct write goes on although a dirty page stays in its range",
        broken="ff6a9292e6f6 (4.10)",
        fixed="60263d5889e6 (5.9): it goes through the cache instead",
        breaks="an fsync fails for a page that could have been written to",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/208, which expects such errors",
        evidence=f"{SOURCE}, {MESSAGE}",
        on_mount=NOT_MAPPED,
        window="dio.write.invalidate_pre",
    ),
    "zero_length_post": Row(
        title="a direct write that wrote nothing, as it falls back, drops pages again all the same",
        broken="the fallback of 5.9; zonefs before c1976bd8f230 (2023)",
        fixed="5.10, and c114bbc6c423 (2023)",
        breaks="nothing from 0 on ends before 0: all of the file, and a dirty page there is an EIO",
        seen_by=NONE_KNOWN,
        seen_not=NO_CHECK,
        evidence=MESSAGE,
        implies=("holes_by_cache",),
    ),
    "fallback_undrained": Row(
        title="a direct write falls back beside others that are under way",
        broken="ext4 before 15cdefd0c052, ext2 before 1e2ef9f221e1 (2026)",
        fixed="15cdefd0c052, 1e2ef9f221e1; exfat acea17f0f4c7, ntfs c10e0c37697c (2026)",
        breaks="their end meets a dirty page, and the next fsync fails",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/451: its file has no holes",
        evidence=MESSAGE,
        on_mount=NOT_TOLD,
        window="dio.write.invalidate_post",
        implies=("holes_by_cache",),
    ),
    "holes_by_cache": Row(
        title="a direct write into a hole goes through the cache",
        broken="ext2, to this day; ext4 before 4c0425ff68b1 (2009)",
        fixed="4c0425ff68b1 (2009), by unwritten extents",
        breaks="",
        seen_by="",
        seen_not="",
        evidence=MESSAGE,
    ),
    "written_at_allocation": Row(
        title="blocks are written ones from the moment when they are chosen",
        broken="ext2, and ext3 with data=writeback, which have no unwritten extents",
        fixed="unwritten extents: d531d91d6990 (4.6) for all direct writes of XFS",
        breaks="who reads before the bytes are there gets what the disk held before",
        seen_by="LTP dio_sparse and aiodio_sparse, which look for anything but zeros",
        seen_not="xfstests generic/418: each of its processes reads what it has written itself",
        evidence=f"{RECALLED}, {MESSAGE}",
        on_mount=NOT_OLD,
        window="dio.write.submit",
    ),
    "lockout": Row(
        title="no page comes into the cache while a direct write is under way, and none is dropped"
        " afterwards",
        broken="",
        fixed="",
        breaks="",
        seen_by="",
        seen_not="",
        evidence=MESSAGE,
    ),
}
"""Of direct writes.  lockout is bcachefs's, as a mail of 2023 has it."""

CACHE_ROWS = {
    "map_before_insert": Row(
        title="a fill looks at the map before its page is in the cache",
        broken="",
        fixed="",
        breaks="(D1) an invalidation finds no page to wait for, and the page comes after it",
        seen_by="none: no kernel did so; it shows what the page lock is held for",
        seen_not="",
        evidence=INFERRED,
        window="buffered.read.page_lock",
    ),
    "unlocked_reads": Row(
        title="a buffered read takes no lock of the inode",
        broken="ext4 and most others, to this day",
        fixed="",
        breaks="a read of several pages sees a part of a write, which POSIX forbids",
        seen_by=NONE_KNOWN,
        seen_not=NO_CHECK,
        evidence=RECALLED,
        window="buffered.read.page_lock",
    ),
    "punch_beside_fill": Row(
        title="a fill takes no invalidate_lock, nor does a read take any other",
        broken="ext4 before ea3d7209ca01 (4.5), all that read like it before 730633f0b7f9 (5.15)",
        fixed="ea3d7209ca01 (4.5), 730633f0b7f9 (5.15)",
        breaks="(T1) a page that is filled while its blocks go stays, and is somebody else's bytes",
        seen_by=NONE_KNOWN,
        seen_not=NO_CHECK,
        evidence=MESSAGE,
        window="fallocate.free",
        implies=("unlocked_reads",),
    ),
    "stale_iomap_in_write": Row(
        title="a buffered write looks at the map before it has locked its pages",
        broken="before d7b64041164c and 304a68b9c63b (6.2)",
        fixed="d7b64041164c, 304a68b9c63b (6.2)",
        breaks="a block that was written back and evicted meanwhile is zeroed beside the new bytes",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/524, which has the like in writeback",
        evidence=MESSAGE,
        window="buffered.write.page_lock",
    ),
    "page_granular_dirty": Row(
        title="writeback takes all blocks of a page of which one is dirty",
        broken="the iomap_page of 4.18",
        fixed="4ce02c679722 (6.6)",
        breaks="a stale block goes to the disk, over what a direct write has put there",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/208, which has such pages, and looks for no stale byte",
        evidence=f"{INFERRED}, {RECALLED}",
        on_mount=NOT_TOLD,
        window="dio.write.invalidate_post",
    ),
    "flush_without_wait": Row(
        title="a direct read writes dirty pages, and does not wait for those on their way",
        broken="FUSE before ea8cd33390fa",
        fixed="ea8cd33390fa",
        breaks="the reader gets bytes from before a write that it has seen",
        seen_by=NONE_KNOWN,
        seen_not=NO_CHECK,
        evidence=MESSAGE,
        window="writeback.submit",
    ),
    "read_drops": Row(
        title="a direct read drops the pages of its range",
        broken="before 54752de928c4 (5.9)",
        fixed="54752de928c4 (5.9)",
        breaks="",
        seen_by="",
        seen_not="",
        evidence=f"{SOURCE}, {MESSAGE}",
    ),
    "fallocate_beside_dio": Row(
        title="fallocate does not wait for direct I/O, and sets the size that it wanted at first",
        broken="XFS before 249bd9087a52 (5.5)",
        fixed="249bd9087a52 (5.5)",
        breaks="the end of the file moves backwards, over what an asynchronous write has added",
        seen_by="xfstests generic/586",
        seen_not="xfstests generic/451: it does not allocate",
        evidence=MESSAGE,
        on_mount=NOT_TOLD,
        window="fallocate.allocate",
    ),
    "zero_range_ignores_dirty": Row(
        title="zeroing leaves unwritten blocks alone although a page of them is dirty",
        broken="before c5c810b94cfd (6.12) and 7d9b474ee4cc (6.13)",
        fixed="c5c810b94cfd (6.12), 7d9b474ee4cc and 52aecaee1c26 (6.13)",
        breaks="(T2) bytes that were stored behind the end come into the file as it grows",
        seen_by=NONE_KNOWN,
        seen_not="xfstests generic/091: it maps nothing",
        evidence=MESSAGE,
        on_mount=NOT_MAPPED,
    ),
    "truncate_writeback_first": Row(
        title="truncate writes the page of the new end before it is cut",
        broken="XFS before 350976ae2187 (4.15)",
        fixed="350976ae2187 (4.15)",
        breaks="(T2) what was cut off is on the disk behind the end, and in each mapping of it",
        seen_by="xfstests generic/469; generic/112, now and then",
        seen_not="xfstests generic/091: it maps nothing",
        evidence=MESSAGE,
        on_mount=NOT_MAPPED,
        implies=("zero_range_ignores_dirty",),
    ),
}
"""Of buffered I/O, direct reads, and changes of a file's shape."""

ROWS = DIRECT_ROWS | CACHE_ROWS
