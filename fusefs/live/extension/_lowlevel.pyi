"""What pyfuse3 does not reach of libfuse; import it with RTLD_GLOBAL before pyfuse3."""

from collections.abc import Callable
from typing import Any, Protocol

from fusefs.model.errors import FsError
from fusefs.model.steps import Buffer, PageData, Piece

class Shown:
    """What stat(2) shows of an inode, and for how long the kernel may keep that, and its name.

    Made by position: every request for a name makes one, and keywords would take twice as long.
    OverflowError for a number that struct stat has no room for.
    """

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks_512: int
    preferred_size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    attributes_timeout_s: float
    name_timeout_s: float

    def __init__(
        self,
        ino: int,
        mode: int,
        nlink: int,
        uid: int,
        gid: int,
        rdev: int,
        size: int,
        blocks_512: int,
        preferred_size: int,
        atime_ns: int,
        mtime_ns: int,
        ctime_ns: int,
        attributes_timeout_s: float,
        name_timeout_s: float,
    ) -> None: ...

class Request:
    """One request of the kernel; exactly one of its replies (reply_...) is called, once.

    After keep_answer() the reply is kept, and send_kept() sends it.
    Those that take an error may be the end of a coroutine, as the driver has it: with an error they
    answer that, whatever the result.
    AssertionError if it was answered already.  Dropped without an answer, it gets EIO.
    """

    pid: int
    """The caller's thread; 0 where the kernel itself asks (readahead of a mapped page)."""

    uid: int
    """Filesystem user id of the caller; 0 where the kernel itself asks."""

    gid: int
    """Filesystem group id of the caller; 0 where the kernel itself asks."""

    umask: int
    """Of the caller, where something is made; else 0."""

    def when_interrupted(self, call: Callable[[], object]) -> None:
        """Call it once a signal has come for whoever waits for the answer, or at once if one has.

        It must not answer the request, but see to it that this is done later.
        """

    def keep_answer(self, call: Callable[[], object]) -> None:
        """What it is answered with from now on is kept until send_kept(), and call called."""

    @property
    def kept_errno(self) -> int:
        """Of an answer that is kept: 0 if it is none of an error."""

    def send_kept(self, nothing: None = None, error: FsError | None = None) -> None:
        """Answer with what was kept, or else with the error."""

    def reply_done(self, nothing: None = None, error: FsError | None = None) -> None:
        """Answer success, which has no data."""

    def reply_buf(self, data: Piece) -> None:
        """Answer a read with any contiguous buffer; it may change afterwards."""

    def reply_pieces(self, pieces: list[Piece] | None, error: FsError | None = None) -> None:
        """Answer a read with buffers, one behind the other; they may change afterwards."""

    def reply_write(self, count: int | None, error: FsError | None = None) -> None:
        """Answer a write or a copy with the number of bytes."""

    def reply_lseek(self, pos: int | None, error: FsError | None = None) -> None:
        """Answer a seek with a position in bytes."""

    def reply_xattr(self, value: bytes, size: int) -> None:
        """Answer with a value for which there is room for size bytes, else ERANGE.

        With a size of 0 it is asked for its length alone.
        """

    def reply_statfs(
        self,
        block_size: int,
        blocks: int,
        free: int,
        files: int,
        files_free: int,
        name_length: int,
    ) -> None:
        """Answer with the room in blocks of so many bytes, and in inodes."""

    def reply_attr(self, shown: Shown | None, error: FsError | None = None) -> None:
        """Answer with attributes."""

    def reply_statx(self, shown: Shown, birth_ns: int) -> None:
        """Answer with attributes and the birth time, 0 if it is not known."""

    def reply_entry(self, shown: Shown) -> None:
        """Answer with attributes, and one more reference to the inode."""

    def reply_open(self, fh: int | None, error: FsError | None = None) -> None:
        """Answer with a handle; the kernel's page cache stays out of its way."""

    def reply_stream(self, fh: int) -> None:
        """As reply_open, of a file that has no position: while a read waits, a write can come."""

    def reply_opendir(self, fh: int, cached: bool) -> None:
        """Answer with a directory's handle; cached: the kernel may list it by itself next time."""

    def reply_create(self, shown: Shown, fh: int) -> None:
        """Both: reply_entry() and reply_open()."""

class Listing(Request):
    """A request for a directory's entries: they are added while there is room, then sent."""

    def add(self, name: bytes, shown: Shown, cookie: int) -> bool:
        """One more entry, which is a reference to its inode unless it is '.' or '..'.

        False if there is no room for it.  cookie is what a later request goes on after.
        """

    def reply_entries(self) -> None:
        """Answer with what was added; nothing is the end of the directory."""

class DataHandler(Protocol):
    """Who carries out data requests.  pos, size and length are bytes; flags are open(2)'s.

    What this or any other handler raises is answered as fusefs/live/failure.py has it.
    """

    def read(
        self, request: Request, ino: int, fh: int, pos: int, size: int, flags: int
    ) -> None: ...
    def fill(self, request: Request, ino: int, fh: int, pos: int, size: int, flags: int) -> None:
        """As read, for the kernel's own page cache: a mapping, splice, sendfile or execve."""

    def write(
        self,
        request: Request,
        ino: int,
        fh: int,
        pos: int,
        data: Buffer,
        flags: int,
        writepage: bool,
    ) -> None:
        """data stays as it is for as long as somebody has it.

        writepage: the kernel writes back a mapped page; the handle may be anyone's.
        """

    def fallocate(self, request: Request, ino: int, mode: int, pos: int, length: int) -> None: ...
    def lseek(self, request: Request, ino: int, pos: int, whence: int) -> None: ...
    def copy_file_range(
        self, request: Request, fh_in: int, pos_in: int, fh_out: int, pos_out: int, length: int
    ) -> None: ...

class FileHandler(Protocol):
    """Who opens and closes files; flags are open(2)'s."""

    def open(self, request: Request, ino: int, flags: int) -> None: ...
    def release(self, request: Request, fh: int) -> None: ...
    def fsync(self, request: Request, fh: int) -> None:
        """Also fdatasync(2)."""

class NameHandler(Protocol):
    """Who carries out requests for names and attributes; mode is open(2)'s or mknod(2)'s."""

    def lookup(self, request: Request, parent: int, name: bytes) -> None: ...
    def forget(self, ino: int, count: int) -> None:
        """The kernel gives references back; it waits for no answer."""

    def getattr(self, request: Request, ino: int) -> None: ...
    def statx(self, request: Request, ino: int) -> None:
        """A getattr that wants the birth time, too."""

    def setattr(
        self,
        request: Request,
        ino: int,
        mode: int | None,
        uid: int | None,
        gid: int | None,
        size: int | None,
        atime_ns: int | None,
        mtime_ns: int | None,
        by_handle: bool,
    ) -> None: ...
    def mknod(self, request: Request, parent: int, name: bytes, mode: int, rdev: int) -> None: ...
    def mkdir(self, request: Request, parent: int, name: bytes, mode: int) -> None: ...
    def create(self, request: Request, parent: int, name: bytes, mode: int, flags: int) -> None: ...
    def symlink(self, request: Request, parent: int, name: bytes, target: bytes) -> None: ...
    def link(self, request: Request, ino: int, parent: int, name: bytes) -> None: ...
    def unlink(self, request: Request, parent: int, name: bytes) -> None: ...
    def rmdir(self, request: Request, parent: int, name: bytes) -> None: ...
    def rename(
        self,
        request: Request,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
    ) -> None:
        """flags are renameat2(2)'s."""

    def readlink(self, request: Request, ino: int) -> None: ...
    def statfs(self, request: Request, ino: int) -> None: ...

class XattrHandler(Protocol):
    """Who carries out requests for extended attributes; size is what there is room for, in bytes,
    and 0 asks for the length.
    """

    def getxattr(self, request: Request, ino: int, name: bytes, size: int) -> None: ...
    def setxattr(
        self, request: Request, ino: int, name: bytes, value: bytes, flags: int
    ) -> None: ...
    def listxattr(self, request: Request, ino: int, size: int) -> None: ...
    def removexattr(self, request: Request, ino: int, name: bytes) -> None: ...

class DirectoryHandler(Protocol):
    """Who lists directories."""

    def opendir(self, request: Request, ino: int) -> None: ...
    def readdir(self, request: Listing, fh: int, cookie: int, size: int) -> None:
        """Entries with their attributes, size bytes of them at most: readdirplus."""

    def releasedir(self, request: Request, fh: int) -> None: ...
    def fsyncdir(self, request: Request, fh: int) -> None:
        """Not of .fusefs: that is pyfuse3's."""

class Handlers(Protocol):
    """All of a mount."""

    @property
    def data(self) -> DataHandler: ...
    @property
    def files(self) -> FileHandler: ...
    @property
    def names(self) -> NameHandler: ...
    @property
    def directories(self) -> DirectoryHandler: ...
    @property
    def xattrs(self) -> XattrHandler: ...
    @property
    def control_ino(self) -> int:
        """Inodes from this number on are those of .fusefs."""

    @property
    def gated(self) -> set[str]:
        """While this is not empty, carry_out() is called and not a method of a handler."""

    def carry_out(self, method: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Call a handler's method for a request, which is the first of the arguments, at once or
        later.  Reads and writes do not come here.
        """
    def run_ready(self) -> bool:
        """Called between two requests: let whoever can go on do so, without blocking.

        True if no request is under way: then the next one may be waited for, a millisecond
        at most, before trio's tasks get their turn.
        """

def install(handlers: Handlers, max_read: int = 0) -> None:
    """Send requests to these, from the next session on.

    max_read: bytes of one read request, as the mount option says; 0 without that option.
    """

def requests_taken() -> list[int]:
    """By the kernel's numbers of operations (linux/fuse.h), how many requests there have been."""

def missing() -> list[str]:
    """Functions of the libfuse at hand that the extension calls and cannot find."""

def libfuse_version() -> str:
    """Of the library that is loaded, whatever the extension was built with."""

def device_fd() -> int:
    """/dev/fuse, as the session has it open; -1 before the mount."""

def interposed() -> tuple[bool, bool]:
    """Whether fuse_session_new and fuse_session_mount were called through this module."""

def page_data(page_size: int) -> PageData:
    """Zeros for a new page, in huge pages of memory; MemoryError.  page_size: a power of 2."""
