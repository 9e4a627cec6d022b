"""What pyfuse3 does not reach of libfuse; import it with RTLD_GLOBAL before pyfuse3."""

from typing import Protocol

from fusefs.steps import Buffer

class Request:
    """One data request of the kernel; exactly one of its methods is called, once.

    AssertionError if it was answered already.  Dropped without an answer, it gets EIO.
    """

    pid: int
    """Process id of the caller; 0 where the kernel itself asks (readahead of a mapped page)."""

    uid: int
    """Filesystem user id of the caller; 0 where the kernel itself asks."""

    gid: int
    """Filesystem group id of the caller; 0 where the kernel itself asks."""

    def reply_err(self, error: int) -> None:
        """Answer with an errno; 0 is success without data."""

    def reply_buf(self, data: Buffer) -> None:
        """Answer a read with any contiguous buffer; it may change afterwards."""

    def reply_write(self, count: int) -> None:
        """Answer a write or a copy with the number of bytes."""

    def reply_lseek(self, pos: int) -> None:
        """Answer a seek with a position in bytes."""

class Handler(Protocol):
    """Who carries out data requests.  pos, size and length are bytes; flags are open(2)'s.

    An exception is logged, and the request gets EIO.
    """

    def read(
        self, request: Request, ino: int, fh: int, pos: int, size: int, flags: int
    ) -> None: ...
    def write(
        self,
        request: Request,
        ino: int,
        fh: int,
        pos: int,
        data: bytes,
        flags: int,
        writepage: bool,
    ) -> None:
        """writepage: the kernel writes back a mapped page; the handle may be anyone's."""

    def fallocate(self, request: Request, ino: int, mode: int, pos: int, length: int) -> None: ...
    def lseek(self, request: Request, ino: int, pos: int, whence: int) -> None: ...
    def copy_file_range(
        self, request: Request, fh_in: int, pos_in: int, fh_out: int, pos_out: int, length: int
    ) -> None: ...
    def run_ready(self) -> None:
        """Called between two requests: let whoever can go on do so, without blocking."""

def install(data_handler: Handler) -> None:
    """Send data requests to data_handler, from the next session on."""

def interposed() -> tuple[bool, bool]:
    """Whether fuse_session_new and fuse_session_mount were called through this module."""
