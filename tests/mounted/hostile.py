"""A client that means no good: random system calls with random arguments, for a while.

    python hostile.py DIRECTORY SEED CALLS

Every call goes through the C library with what was drawn for it: flags that do not exist,
positions near 2**63, names of any bytes.  What comes back is not looked at, but for how often
each call worked, which is printed as JSON.  An interval timer interrupts calls on the way.
Every file is opened with O_NONBLOCK and every lock asked for without waiting.
"""

import ctypes
import ctypes.util
import json
import mmap
import os
import random
import signal
import stat
import sys
from collections import Counter
from contextlib import suppress

libc = ctypes.CDLL(None, use_errno=True)

BUFFER_LENGTH = 1 << 17
FILES_KEPT = 4
"""Files that stay open, for calls that may work: without O_DIRECT and with it."""

POSITIONS = [
    *(0, 1, 511, 512, 4095, 4096, 4097, 65536, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 32),
    *(1 << 40, (1 << 42) + 512, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, (1 << 63) - 4096),
    *(-1, -4096, -(1 << 63)),
]
OPEN_FLAGS = [
    *(os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND),
    *(os.O_DIRECT, os.O_DSYNC, os.O_SYNC, os.O_NOATIME, os.O_PATH, os.O_TMPFILE, os.O_DIRECTORY),
    *(os.O_NOFOLLOW, os.O_CLOEXEC, 0x80000000, 0x2000, 3),
]
MODES = [0, 0o644, 0o7777, 0o177777, 0xFFFFFFFF, *(stat.S_IFMT(i << 12) | 0o600 for i in range(16))]
FCNTLS = [*range(20), *range(1024, 1042)]  # F_SETOWN and its kin go to this process itself
BLOCKING_FCNTLS = {7, 38}  # F_SETLKW, F_OFD_SETLKW
IOCTLS = [
    *(0, 1, 2, 0xFFFFFFFF, 0x541B, 0x5421, 0x80086601, 0x40086602, 0x801C581F, 0x401C5820),
    *(0xC0045877, 0xC0045878, 0xC0185879, 0x40049409, 0x4020940D, 0xC020660B, 0xC0189436),
    *(0x6601, 0x6602, 0x40305828, 0x4030582A, 0x40305839, 0xC0406619, 0x800C6613),
]
XATTR_SPACES = [b"user.", b"trusted.", b"security.", b"system.", b"", b"user", b".", b"btrfs."]


class Client:
    """Its files, its buffer and its dice."""

    def __init__(self, directory: str, seed: int) -> None:
        self.dice = random.Random(seed)
        self.top = os.fsencode(directory)
        self.fds = [os.open(directory, os.O_RDONLY)]
        for i in range(FILES_KEPT):
            flags = os.O_RDWR | os.O_CREAT | (os.O_DIRECT if i % 2 else 0)
            self.fds.append(os.open(f"{directory}/kept{seed}-{i}", flags))
        self.buffer = mmap.mmap(-1, BUFFER_LENGTH)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))
        self.calls = {
            name[5:]: getattr(self, name) for name in dir(type(self)) if name.startswith("call_")
        }

    # -- what is drawn ---------------------------------------------------------------

    def fd(self) -> ctypes.c_int:
        fds = self.fds[1 : 1 + FILES_KEPT] if self.dice.random() < 0.6 else self.fds
        return ctypes.c_int(self.dice.choice(fds))

    def name(self) -> bytes:
        kind = self.dice.random()
        if kind < 0.8:
            return b"%d" % self.dice.randrange(12)
        if kind < 0.85:
            return self.dice.choice([b".", b"..", b".fusefs", b".fusefs/status", b"/", b""])
        length = self.dice.choice([1, 3, 100, 255, 256, 1000])
        return bytes(self.dice.randrange(1, 256) for _ in range(length))

    def path(self) -> bytes:
        depth = self.dice.choice([1, 1, 1, 2, 3])
        return b"/".join([self.top, *(self.name() for _ in range(depth))])

    def pos(self) -> ctypes.c_int64:
        near = self.dice.randrange(-2, 3) if self.dice.random() < 0.2 else 0
        pos = self.dice.choice([self.dice.randrange(1 << 20), self.dice.choice(POSITIONS)]) + near
        return ctypes.c_int64(pos)

    def count(self) -> ctypes.c_size_t:
        aligned = self.dice.choice([512, 4096, 65536, BUFFER_LENGTH])
        return ctypes.c_size_t(self.dice.choice([aligned, self.dice.randrange(BUFFER_LENGTH)]))

    def bits(self) -> int:
        return self.dice.choice([0, 0, 1 << self.dice.randrange(32), self.dice.getrandbits(32)])

    def data(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.address + self.dice.choice([0, 0, 0, 1, 512]))

    def piece(self) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
        return ctypes.c_void_p(self.address), self.count()

    # -- calls -------------------------------------------------------------------------

    def call_open(self) -> int:
        flags = os.O_NONBLOCK
        for _ in range(self.dice.randrange(1, 5)):
            flags |= self.dice.choice(OPEN_FLAGS)
        fd = int(libc.open(self.path(), ctypes.c_int(flags), self.dice.choice(MODES) & 0o7777))
        if fd >= 0:
            self.fds.append(fd)
            if len(self.fds) > 40:
                os.close(self.fds.pop(self.dice.randrange(1 + FILES_KEPT, len(self.fds))))
        return fd

    def call_read(self) -> int:
        return int(libc.pread(self.fd(), *self.piece(), self.pos()))

    def call_write(self) -> int:
        return int(libc.pwrite(self.fd(), *self.piece(), self.pos()))

    def call_readv_flags(self) -> int:
        vector = (ctypes.c_size_t * 4)(self.address, self.count().value, self.address + 4096, 512)
        return int(libc.preadv2(self.fd(), vector, 2, self.pos(), ctypes.c_int(self.bits())))

    def call_writev_flags(self) -> int:
        vector = (ctypes.c_size_t * 4)(self.address, self.count().value, self.address + 4096, 512)
        return int(libc.pwritev2(self.fd(), vector, 2, self.pos(), ctypes.c_int(self.bits() & 63)))

    def call_fallocate(self) -> int:
        mode = self.dice.choice([0, 1, 2, 3, 8, 16, 17, 32, 64, self.bits()])
        return int(libc.fallocate(self.fd(), ctypes.c_int(mode), self.pos(), self.pos()))

    def call_lseek(self) -> int:
        return int(libc.lseek(self.fd(), self.pos(), ctypes.c_int(self.dice.randrange(-1, 7))))

    def call_copy_file_range(self) -> int:
        ends = [ctypes.byref(self.pos()) if self.dice.random() < 0.8 else None for _ in "io"]
        length = ctypes.c_size_t(self.dice.choice([self.count().value, 1 << 40, (1 << 64) - 1]))
        flags = ctypes.c_uint(self.bits() if self.dice.random() < 0.1 else 0)
        return int(libc.copy_file_range(self.fd(), ends[0], self.fd(), ends[1], length, flags))

    def call_sendfile(self) -> int:
        return int(libc.sendfile(self.fd(), self.fd(), ctypes.byref(self.pos()), self.count()))

    def call_splice(self) -> int:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        try:
            into = libc.splice(self.fd(), ctypes.byref(self.pos()), writing, None, self.count(), 2)
            libc.splice(reading, None, self.fd(), ctypes.byref(self.pos()), self.count(), 2)
            return int(into)
        finally:
            os.close(reading)
            os.close(writing)

    def call_truncate(self) -> int:
        return int(libc.ftruncate(self.fd(), self.pos()))

    def call_mapped(self) -> int:
        """In a process of its own, which SIGBUS may end."""
        pid = os.fork()
        if not pid:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.alarm(10)
            with suppress(OSError, ValueError):
                fd = self.fd().value
                flags = self.dice.choice([mmap.MAP_SHARED, mmap.MAP_PRIVATE])
                area = mmap.mmap(fd, 65536, flags=flags, offset=self.dice.choice([0, 65536]))
                os.ftruncate(fd, self.dice.choice([65536, 100, 1 << 30, 0, 1 << 17]))
                for at in range(0, 65536, 4096):
                    area[at] = area[at] ^ 1
                area.flush()
            os._exit(0)
        return -os.waitpid(pid, 0)[1]

    def call_ioctl(self) -> int:
        command = self.dice.choice([*IOCTLS, self.dice.getrandbits(32)])
        return int(libc.ioctl(self.fd(), ctypes.c_ulong(command), self.data()))

    def call_fcntl(self) -> int:
        command = self.dice.choice([c for c in FCNTLS if c not in BLOCKING_FCNTLS])
        argument = self.dice.choice([0, 1, 2, os.O_DIRECT, os.O_APPEND, self.bits()])
        if command in (5, 6, 36, 37) or command > 1034:  # these take a pointer
            return int(libc.fcntl(self.fd(), command, self.data()))
        if command in (0, 1030, 8, 10):  # duplicates, and signals to others
            return -1
        return int(libc.fcntl(self.fd(), command, ctypes.c_long(argument | os.O_NONBLOCK)))

    def call_lock(self) -> int:
        return int(libc.flock(self.fd(), ctypes.c_int(self.dice.choice([1, 2, 8, 64]) | 4)))

    def call_setxattr(self) -> int:
        name = self.dice.choice(XATTR_SPACES) + self.name()
        size = ctypes.c_size_t(self.dice.choice([0, 1, 100, 65535, 65536, 65537, 1 << 30]))
        flags = ctypes.c_int(self.dice.choice([0, 0, 1, 2, 3, self.bits()]))
        return int(libc.setxattr(self.path(), name, self.data(), size, flags))

    def call_getxattr(self) -> int:
        name = self.dice.choice(XATTR_SPACES) + self.name()
        size = ctypes.c_size_t(self.dice.choice([0, 1, 65536]))
        libc.listxattr(self.path(), self.data(), size)
        libc.removexattr(self.path(), name)
        return int(libc.getxattr(self.path(), name, self.data(), size))

    def call_mknod(self) -> int:
        mode = ctypes.c_uint(self.dice.choice(MODES))
        return int(libc.mknod(self.path(), mode, ctypes.c_ulong(self.dice.getrandbits(20))))

    def call_mkdir(self) -> int:
        return int(libc.mkdir(self.path(), self.dice.choice(MODES)))

    def call_symlink(self) -> int:
        target = self.dice.choice([self.name(), self.path(), b"x" * 4095, b"y" * 5000, b""])
        libc.readlink(self.path(), self.data(), self.count())
        return int(libc.symlink(target, self.path()))

    def call_link(self) -> int:
        flags = self.dice.choice([0, 0x400, 0x1000, self.bits()])
        source = self.dice.choice([b"", self.path()])
        return int(libc.linkat(self.fd(), source, -100, self.path(), flags))

    def call_rename(self) -> int:
        flags = ctypes.c_uint(self.dice.choice([0, 0, 0, 1, 2, 4, 7, self.bits()]))
        return int(libc.renameat2(-100, self.path(), -100, self.path(), flags))

    def call_unlink(self) -> int:
        return int(libc.unlinkat(-100, self.path(), self.dice.choice([0, 0, 0x200, self.bits()])))

    def call_chmod(self) -> int:
        """The directory stays open to its owner: else an ordinary user does nothing more."""
        libc.chown(self.path(), self.bits(), self.bits())
        fd, mode = self.fd(), self.dice.choice(MODES)
        is_top = fd.value == self.fds[0]
        return int(libc.fchmod(fd, mode & 0o7777 | 0o700 if is_top else mode))

    def call_times(self) -> int:
        values = [0, 1, -1, (1 << 30) - 1, (1 << 30) - 2, 10**9 - 1, 10**9, 1 << 33, 1 << 62]
        values += [(1 << 63) - 1, -(1 << 63), -(1 << 31) - 1]
        drawn = (ctypes.c_int64 * 4)(*(self.dice.choice(values) for _ in range(4)))
        flags = self.dice.choice([0, 0x100, 0x1000])
        return int(libc.utimensat(-100, self.path(), drawn, flags))

    def call_stat(self) -> int:
        libc.statvfs(self.path(), self.data())
        flags = ctypes.c_int(self.bits() & 0xFFFF)
        return int(libc.statx(-100, self.path(), flags, ctypes.c_uint(self.bits()), self.data()))

    def call_list(self) -> int:
        with suppress(OSError):
            return len(os.listdir(self.path()))
        with suppress(OSError):
            return len(os.listdir(self.fds[0]))
        return -1

    def call_seekdir(self) -> int:
        fd = self.fd()
        libc.lseek(fd, self.pos(), 0)
        if os.uname().machine != "x86_64":
            return -1
        return int(libc.syscall(217, fd, self.data(), self.count()))  # getdents64

    def call_sync(self) -> int:
        if self.dice.random() < 0.3:
            libc.syncfs(self.fd())
        flags = ctypes.c_uint(self.dice.choice([1, 2, 4, 7, self.bits()]))
        libc.sync_file_range(self.fd(), self.pos(), self.pos(), flags)
        return int(self.dice.choice([libc.fsync, libc.fdatasync])(self.fd()))

    def call_advise(self) -> int:
        libc.readahead(self.fd(), self.pos(), self.count())
        return -int(libc.posix_fadvise(self.fd(), self.pos(), self.pos(), self.dice.randrange(8)))

    def call_handle(self) -> int:
        """A file handle, as NFS has it, whole or with other bits."""
        handle = ctypes.create_string_buffer(136)
        ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
        mount_id = ctypes.c_int()
        found = libc.name_to_handle_at(-100, self.path(), handle, ctypes.byref(mount_id), 0)
        if self.dice.random() < 0.5:
            handle[8 + self.dice.randrange(16)] = self.dice.randrange(256)
        fd = libc.open_by_handle_at(self.fds[0], handle, os.O_NONBLOCK)
        if fd >= 0:
            os.close(fd)
        return int(found)

    def call_watch(self) -> int:
        fd = libc.inotify_init1(os.O_NONBLOCK)
        found = libc.inotify_add_watch(fd, self.path(), ctypes.c_uint(self.bits() or 0xFFF))
        os.close(fd)
        group = libc.fanotify_init(2, 0)
        if group >= 0:
            libc.fanotify_mark(group, 1, ctypes.c_uint64(self.bits() & 0x3B), -100, self.path())
            os.close(group)
        return int(found)

    def call_poll(self) -> int:
        asked = (ctypes.c_int * 2)(self.fd().value, self.bits())
        return int(libc.poll(asked, 1, 0))

    def call_control(self) -> int:
        """The control files, as their owner may: content that is none, in any place."""
        names = [b"invalidate", b"trace", b"jitter", b"status", b"log", b"commit", b"gates"]
        name = self.dice.choice(names)
        path = self.top.split(b"/hostile")[0] + b"/.fusefs/" + name
        flags = self.dice.choice([0, os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_APPEND | 1])
        fd = libc.open(path, flags, 0)
        if fd < 0:
            return int(fd)
        if name != b"commit":
            libc.pwrite(fd, *self.piece(), self.pos())
        libc.ftruncate(fd, self.pos())
        libc.pread(fd, *self.piece(), self.pos())
        libc.fallocate(fd, 0, ctypes.c_int64(0), self.pos())
        libc.copy_file_range(fd, None, self.fd(), None, self.count(), 0)
        libc.copy_file_range(self.fd(), None, fd, None, self.count(), 0)
        libc.fsetxattr(fd, b"user.x", self.data(), ctypes.c_size_t(10), 0)
        libc.fchmod(fd, 0o777)
        os.close(fd)
        return 0


def main() -> None:
    directory, seed, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    client, worked = Client(directory, seed), Counter[str]()
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    for _ in range(calls):
        name = client.dice.choice(list(client.calls))
        with suppress(InterruptedError):
            worked[name] += client.calls[name]() >= 0
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(worked))


if __name__ == "__main__":
    main()
