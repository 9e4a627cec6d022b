"""MOUNTPOINT/.fusefs: the control directory, in the manner of tracefs.

    status       JSON: options, counters, cache, space; read_only says why, if it is
    trace        the last events, one a line; writing anything clears it
    reports      what the coherence checker found, a line of JSON each; writing anything clears it
    log          the daemon's last log lines
    record       every event from the open on, as long as it is open: fusefs/live/recorder.py
    gates        who is held before which step: gate_files.py
    flags        ro, noatime, strictatime, nodiratime: which reads move atime; or rw
    NAME         one file for each option that may change live; reading gives its value

fsync(2) of the directory itself is syncfs(2) of the mount: it tells each open directory, once,
of a writeback that failed since it was opened, or of which nobody was told by then.
It is not listed by readdir of the root, and belongs to the mount's owner alone.
Errors: FsError(EINVAL) for a value that is not allowed; FsError(EACCES); FsError(ENFILE);
FsError(EBUSY) for a second recording.
"""

import errno
import json
import logging
import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from fusefs import compiled
from fusefs.live.coherence import Coherence
from fusefs.live.driver import Driver
from fusefs.live.recorder import Recorder
from fusefs.live.requests.atime import FLAGS, Atime
from fusefs.live.timing import Timing
from fusefs.model.errors import FsError
from fusefs.model.errseq import Position
from fusefs.model.inode import Inode
from fusefs.model.options import OPTIONS, OptionError, format_size
from fusefs.store.stored import INO_END
from fusefs.store.volume import Volume

if TYPE_CHECKING:  # they need the extension
    from fusefs.live.gatekeeper import Gatekeeper
    from fusefs.live.requests.gate_files import GateFile

CONTROL_INO = INO_END
"""The directory; its files follow.  No inode of the image has such a number."""

LOG_LENGTH = 1000
LOG_LINE_LENGTH_MAX = 4096
WRITE_LENGTH_MAX = 4096

CONTENT_BYTES_MAX = 16 << 20
"""Of all open control files together: each keeps what it had to say when it was opened."""


OPERATIONS = {
    1: "lookup",
    2: "forget",
    3: "getattr",
    4: "setattr",
    5: "readlink",
    6: "symlink",
    8: "mknod",
    9: "mkdir",
    10: "unlink",
    11: "rmdir",
    12: "rename",
    13: "link",
    14: "open",
    15: "read",
    16: "write",
    17: "statfs",
    18: "release",
    20: "fsync",
    21: "setxattr",
    22: "getxattr",
    23: "listxattr",
    24: "removexattr",
    25: "flush",
    26: "init",
    27: "opendir",
    28: "readdir",
    29: "releasedir",
    30: "fsyncdir",
    34: "access",
    35: "create",
    36: "interrupt",
    38: "destroy",
    39: "ioctl",
    42: "batch_forget",
    43: "fallocate",
    44: "readdirplus",
    45: "rename2",
    46: "lseek",
    47: "copy_file_range",
    50: "syncfs",
    51: "tmpfile",
    52: "statx",
}
"""What the kernel's numbers of operations stand for: enum fuse_opcode of linux/fuse.h."""


def operations_taken() -> dict[str, int]:
    """How many requests the kernel has sent, by operation; of those that there were."""
    from fusefs.live.extension import _lowlevel  # commands, which know names alone, do without

    return {
        OPERATIONS.get(number, f"opcode{number}"): count
        for number, count in enumerate(_lowlevel.requests_taken())
        if count
    }


class LogRing(logging.Handler):
    """Keeps the last LOG_LENGTH log lines for .fusefs/log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=LOG_LENGTH)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if len(line) > LOG_LINE_LENGTH_MAX:  # its end says which exception it was
            line = f"{line[: LOG_LINE_LENGTH_MAX // 2]} ... {line[-LOG_LINE_LENGTH_MAX // 2 :]}"
        self.lines.append(line)


class Control:
    """The files of .fusefs, by inode number."""

    def __init__(
        self,
        volume: Volume,
        driver: Driver,
        timing: Timing,
        keeper: "Gatekeeper",
        coherence: Coherence,
        log_ring: LogRing,
        atime: Atime,
        mountpoint: str,
        fuse_options: Sequence[str],
    ) -> None:
        self.volume = volume
        self.driver = driver
        self.trace = driver.trace
        self.timing = timing
        self.keeper = keeper
        self.coherence = coherence
        self.log_ring = log_ring
        self.atime = atime
        self.mountpoint = mountpoint
        self.fuse_options = fuse_options
        self.uid, self.gid = os.getuid(), os.getgid()
        live = [name for name, option in OPTIONS.items() if option.live]
        self.names = ["status", "trace", "reports", "log", "record", "flags", "gates", *live]
        self.inos = {name: CONTROL_INO + 1 + i for i, name in enumerate(self.names)}
        self._content_bytes = 0
        self._recorders: dict[int, Recorder] = {}
        self._error_seen: dict[int, Position] = {}
        self._next_directory = CONTROL_INO + len(self.names) + 1

    def owns(self, ino: int) -> bool:
        return ino >= CONTROL_INO

    def lookup(self, name: bytes) -> int:
        """The inode number of a file; FsError(ENOENT)."""
        ino = self.inos.get(os.fsdecode(name))
        if ino is None:
            raise FsError(errno.ENOENT)
        return ino

    def name(self, ino: int) -> str:
        return self.names[ino - CONTROL_INO - 1]

    def mode(self, ino: int) -> int:
        if ino == CONTROL_INO:
            return stat.S_IFDIR | 0o500
        read_only = self.name(ino) in ("status", "log", "record")
        return stat.S_IFREG | (0o400 if read_only else 0o600)

    def open(self, ino: int, flags: int, fh: int) -> bytes:
        """What reading this open file gives until release(); FsError(ENFILE) if it is too much."""
        if self.name(ino) == "record":
            self._record(fh)
            return b""
        content = b"" if flags & os.O_ACCMODE == os.O_WRONLY else self.content(ino)
        self._account(len(content))
        return content

    def _record(self, fh: int) -> None:
        """One at a time: each keeps lines that nobody has taken yet."""
        if self._recorders:
            raise FsError(errno.EBUSY)
        volume = self.volume
        nodes, path_of = volume.nodes.in_memory, volume.namespace.path

        def inode_of(ino: int) -> Inode | None:
            node = nodes.get(ino)
            return None if node is None else node.inode

        self._recorders[fh] = Recorder(volume.fs, self.trace, inode_of, path_of)

    def read(self, fh: int, content: bytes, pos: int, size: int) -> bytes:
        """Of an open file: of a recording what comes next, wherever that is read."""
        recorder = self._recorders.get(fh)
        return content[pos : pos + size] if recorder is None else recorder.take(size)

    def release(self, fh: int, content: bytes) -> None:
        """An open file is closed."""
        self._account(-len(content))
        recorder = self._recorders.pop(fh, None)
        if recorder is not None:
            recorder.close()

    def open_gates(self, ino: int, fh: int, flags: int) -> "GateFile | None":
        """The gates' file, opened as number fh; None if it is another one that is opened."""
        from fusefs.live.requests.gate_files import GateFile

        if ino == CONTROL_INO or self.name(ino) != "gates":
            return None
        return GateFile(self.keeper, fh, flags, self._account)

    def _account(self, count: int) -> None:
        """Open files keep so many bytes more, or fewer; FsError(ENFILE) if that is too much."""
        if count > 0 and self._content_bytes + count > CONTENT_BYTES_MAX:
            raise FsError(errno.ENFILE)
        self._content_bytes += count

    def open_directory(self) -> int:
        """A handle of .fusefs itself, and of nothing else."""
        handle = self._next_directory
        self._next_directory += 1
        self._error_seen[handle] = self.volume.fs.errors.sample()
        return handle

    def release_directory(self, handle: int) -> None:
        del self._error_seen[handle]

    def errors_since_opened(self, handle: int) -> int:
        """The errno of writebacks that this open directory was not told of; 0 if none failed."""
        errors, since = self.volume.fs.errors, self._error_seen[handle]
        error, self._error_seen[handle] = errors.check_and_advance(since)
        return error

    def content(self, ino: int) -> bytes:
        """What reading the file gives, at this moment; of record nothing is kept."""
        name = self.name(ino)
        if name == "status":
            return (json.dumps(self.status(), indent=2) + "\n").encode()
        if name == "trace":
            return self.trace.text().encode()
        if name == "reports":
            return self.coherence.lines().encode()
        if name == "log":
            return "".join(f"{line}\n" for line in self.log_ring.lines).encode(errors="replace")
        if name == "flags":
            return f"{','.join(self.atime.flags) or 'rw'}\n".encode()
        return f"{self.volume.fs.options.formatted()[name]}\n".encode()

    def write(self, ino: int, data: bytes) -> None:
        """Set an option, or clear the trace or the reports; FsError(EINVAL)."""
        name = self.name(ino)
        if name == "trace":
            self.trace.clear()
            return
        if name == "reports":
            self.coherence.checker.clear()
            return
        if name == "flags":
            self._set_flags(data.decode("ascii", "replace").strip().split(","))
            return
        if name not in OPTIONS:
            raise FsError(errno.EACCES)
        if len(data) > WRITE_LENGTH_MAX:
            raise FsError(errno.EINVAL)
        fs = self.volume.fs
        try:
            fs.set_options(fs.options.changed(name, data.decode("ascii", "replace")))
        except OptionError as error:
            logging.getLogger(__name__).warning("%s", error)
            raise FsError(errno.EINVAL) from None
        self.coherence.follow()

    def _set_flags(self, flags: list[str]) -> None:
        """mount -o remount: the kernel does not tell a FUSE daemon what has become of a mount."""
        if not {*flags} <= {"rw", *FLAGS}:
            raise FsError(errno.EINVAL)
        self.atime.set_flags(flags)

    def status(self) -> dict[str, object]:
        """What .fusefs/status says, as one dictionary.

        options are spelled as -o takes them, and so are mount_options, those that are not fusefs's
        own; all other sizes are bytes, and space is blocks.  requests are the model's, but for
        those taken: all that the kernel has sent, by operation.
        """
        volume, fs = self.volume, self.volume.fs
        block = volume.image.superblock
        return {
            "pid": os.getpid(),
            "compiled": compiled.CURRENT,
            "mountpoint": self.mountpoint,
            "mount_options": ",".join(self.fuse_options),
            "image": volume.image.path,
            "metadata": volume.metadata.path,
            "uuid": str(block.uuid),
            "read_only": volume.health.failure or ("ro" in self.atime.flags and "mounted ro"),
            "recording": bool(self._recorders),
            "options": fs.options.formatted()
            | {
                "block_size": format_size(block.block_size),
                "size": format_size(block.block_count * block.block_size),
            },
            "counters": asdict(fs.counters)
            | asdict(self.timing.delays)
            | {"commits": volume.commit_count, "pages_evicted": fs.cache.evicted_count},
            "requests": self.driver.statistics() | {"taken": operations_taken()},
            "check": asdict(self.coherence.checker.counts),
            "gates": self.keeper.statistics(),
            "cache": {
                "pages": len(fs.cache),
                "pages_dirty": fs.cache.dirty_count,
                "page_size": fs.geometry.page_size,
            },
            "space": {
                "block_size": block.block_size,
                "blocks": block.block_count,
                "free": fs.space.free_count,
                "reserved": fs.space.reserved_count,
                "freed_uncommitted": fs.space.freed_count,
            },
            "inodes": {
                "total": volume.metadata.inode_count,
                "in_memory": len(volume.nodes.in_memory),
            },
        }
