"""One process of the oracle run: random calls on a mount, each compared with bytes in memory.

    python -m mounted.oracle.client MOUNTPOINT NUMBER CLIENTS SEED

It reads from stdin how many operations come next, and answers with one line of JSON: what it
did, or the first mismatch.  Between two such lines it has nothing of the mount open.

What belongs to it: the directory NUMBER with the files in it, the names NUMBER-* in the
directory common, and every CLIENTS-th unit of the shared files.  Units of ALIGNED lie four
in a 4 KiB page, those of UNALIGNED begin and end anywhere: what one process writes with
O_DIRECT lies in pages that others write and read through the cache.

All choices come from the seed and from what it did before: the sequence replays exactly,
whatever the others do.

Units: pos and length are bytes in the file.
Errors: Mismatch; any OSError is one, too.
"""

import ctypes
import errno
import json
import mmap
import os
import random
import sys
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECTOR_SIZE = 512
FILE_SIZE_MAX = 96 << 10
FILES = 6
SHARED = {"aligned": 1024, "unaligned": 1500}
"""The shared files, and the sizes of their units."""

SHARED_SIZE = 24_000
LENGTHS = (1, 100, 512, 512, 1024, 4096, 4096, 8192, 32 << 10)
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
FALLOC_MODES = (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE)
RECENT_OPERATIONS = 12

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Mismatch(Exception):
    """What is there is not what was put there; the message says all that is known."""


class File:
    """What a file must be: data, and the names it has.

    Descriptors are opened when they are wanted.
    """

    def __init__(self, top: Path, name: str, data: bytes = b"") -> None:
        self.top = top
        self.names = [name]
        self.data = bytearray(data)
        self.recent: deque[str] = deque(maxlen=RECENT_OPERATIONS)
        self._fds: dict[int, int] = {}

    def fd(self, *, direct: bool = False) -> int:
        flags = os.O_RDWR | (os.O_DIRECT if direct else 0)
        fd = self._fds.get(flags)
        if fd is None:
            fd = self._fds[flags] = os.open(self.top / self.names[0], flags)
        return fd

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def store(self, pos: int, data: bytes) -> None:
        if pos > len(self.data):
            self.data.extend(bytes(pos - len(self.data)))
        self.data[pos : pos + len(data)] = data

    def set_size(self, size: int) -> None:
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))


class Client:
    """counts are the operations by kind; bytes_compared is what they compared."""

    def __init__(self, top: Path, number: int, clients: int, seed: int) -> None:
        self.top = top
        self.number = number
        self.rng = random.Random(f"{seed} {number}")
        self.counts: Counter[str] = Counter()
        self.bytes_compared = 0
        self.files: list[File] = []
        self.places: list[tuple[File, int, int]] = []
        """Units of shared files: (file, begin, end)."""
        for name, unit in SHARED.items():
            file = File(top, name, bytes(SHARED_SIZE))
            for start in range(number * unit, SHARED_SIZE - unit + 1, clients * unit):
                self.places.append((file, start, start + unit))
        self.buffer = mmap.mmap(-1, FILE_SIZE_MAX)
        self.names_made = 0
        self._actions = list(ACTIONS)
        weights = list(ACTIONS.values())
        self._weights = [sum(weights[: i + 1]) for i in range(len(weights))]

    def run(self, count: int) -> None:
        """Everything is looked at first: it may be another mount than the last time."""
        if not self.names_made:
            os.mkdir(self.top / str(self.number))
        for file in self.files:
            self.compare(file, 0, FILE_SIZE_MAX, self.rng.random() < 0.5)
        for file, start, end in self.places:
            self.compare(file, start, end - start, False)
        for action in self.rng.choices(self._actions, cum_weights=self._weights, k=count):
            self.counts[action.__name__] += 1
            action(self)
        for file in {*self.files, *(place[0] for place in self.places)}:
            file.close()

    # -- what an operation works on ---------------------------------------------------

    def a_file(self) -> File:
        while len(self.files) < FILES:
            self.create()
        return self.rng.choice(self.files)

    def a_place(self) -> tuple[File, int, int]:
        """A file of ours as far as it may go, or a unit of a shared file."""
        if self.rng.random() < 0.4:
            return self.rng.choice(self.places)
        return self.a_file(), 0, FILE_SIZE_MAX

    def a_range(self, low: int, high: int, *, direct: bool = False) -> tuple[int, int]:
        """pos and length within bounds, of whole sectors if direct; the length may be 0."""
        random_int = self.rng.randint
        if direct:
            low, high = -(-low // SECTOR_SIZE), high // SECTOR_SIZE
        longest = self.rng.choice(LENGTHS) // (SECTOR_SIZE if direct else 1)
        length = min(random_int(1, max(longest, 1)), high - low)
        pos = random_int(low, high - length)
        return (pos * SECTOR_SIZE, length * SECTOR_SIZE) if direct else (pos, length)

    def a_new_name(self) -> str:
        self.names_made += 1
        if self.rng.random() < 0.3:
            return f"common/{self.number}-{self.names_made}"
        return f"{self.number}/{self.names_made}"

    # -- comparing --------------------------------------------------------------------

    def compare(self, file: File, pos: int, length: int, direct: bool) -> None:
        if direct:
            count = os.preadv(file.fd(direct=True), [memoryview(self.buffer)[:length]], pos)
            found = self.buffer[:count]
        else:
            found = os.pread(file.fd(), length, pos)
        self.check(file, pos, found, file.data[pos : pos + length], direct=direct)

    def check(
        self, file: File, pos: int, found: bytes, right: bytes | bytearray, *, direct: bool = False
    ) -> None:
        self.bytes_compared += len(right)
        if found == right:
            return
        if len(found) != len(right):
            raise self.mismatch(file, f"{len(found)} bytes from {pos}, not {len(right)}")
        at = next(i for i, (a, b) in enumerate(zip(found, right, strict=True)) if a != b)
        wrong = sum(a != b for a, b in zip(found, right, strict=True))
        text = (
            f"{wrong} wrong bytes in {pos}+{len(right)}, the first at {pos + at}:"
            f" found {found[at : at + 16].hex()}, expected {right[at : at + 16].hex()}"
        )
        raise self.mismatch(file, f"{'direct' if direct else 'buffered'} read: {text}")

    def mismatch(self, file: File, text: str) -> Mismatch:
        return Mismatch(
            f"client {self.number}, operation {self.operation}, {file.names[0]}: {text}\n"
            + "\n".join(f"    {line}" for line in file.recent)
        )

    @property
    def operation(self) -> int:
        return self.counts.total()

    def note(self, file: File, text: str) -> None:
        """For whoever reads a mismatch: what was last done to the file."""
        file.recent.append(f"{self.operation} {text}")

    def expect(self, file: File, what: str, found: object, right: object) -> None:
        if found != right:
            raise self.mismatch(file, f"{what}: {found}, not {right}")

    # -- data -------------------------------------------------------------------------

    def read(self) -> None:
        file, low, high = self.a_place()
        self.compare(file, *self.a_range(low, high), False)

    def read_direct(self) -> None:
        file, low, high = self.a_place()
        pos, length = self.a_range(low, high, direct=True)
        if length:
            self.compare(file, pos, length, True)

    def read_all_units(self) -> None:
        """The whole of a shared file in one read; of it, what is ours."""
        file = self.rng.choice(self.places)[0]
        found = os.pread(file.fd(), SHARED_SIZE, 0)
        for each, start, end in self.places:
            if each is file:
                self.check(file, start, found[start:end], file.data[start:end])

    def read_mapped(self) -> None:
        file = self.a_file()
        if not file.data:
            return
        pos, length = self.a_range(0, len(file.data))
        with mmap.mmap(file.fd(), len(file.data), prot=mmap.PROT_READ) as mapped:
            self.check(file, pos, mapped[pos : pos + length], file.data[pos : pos + length])

    def write(self) -> None:
        file, low, high = self.a_place()
        pos, length = self.a_range(low, high)
        self._wrote(file, pos, self.rng.randbytes(length), direct=False)

    def write_direct(self) -> None:
        file, low, high = self.a_place()
        pos, length = self.a_range(low, high, direct=True)
        if length:
            self._wrote(file, pos, self.rng.randbytes(length), direct=True)

    def _wrote(self, file: File, pos: int, data: bytes, *, direct: bool) -> None:
        kind = "write, O_DIRECT," if direct else "write"
        self.note(file, f"{kind} {pos}+{len(data)} {data[:4].hex()}")
        if direct:
            self.buffer[: len(data)] = data
            view = memoryview(self.buffer)[: len(data)]
            written = os.pwrite(file.fd(direct=True), view, pos)
        else:
            written = os.pwrite(file.fd(), data, pos)
        self.expect(file, "bytes written", written, len(data))
        file.store(pos, data)

    def write_mapped(self) -> None:
        file = self.a_file()
        if not file.data:
            return
        pos, length = self.a_range(0, len(file.data))
        data = self.rng.randbytes(length)
        self.note(file, f"mmap store {pos}+{length}")
        with mmap.mmap(file.fd(), len(file.data)) as mapped:
            mapped[pos : pos + length] = data
            mapped.flush()
        file.store(pos, data)

    def truncate(self) -> None:
        file = self.a_file()
        size = self.rng.choice((0, self.rng.randint(0, FILE_SIZE_MAX), len(file.data)))
        self.note(file, f"truncate to {size}")
        os.ftruncate(file.fd(), size)
        file.set_size(size)

    def fallocate(self) -> None:
        file, low, high = self.a_place()
        pos, length = self.a_range(low, high)
        mode = self.rng.choice(FALLOC_MODES)
        self._allocate(file, mode, pos, length)

    def empty_unit(self) -> None:
        """Make a unit of a shared file a hole or unwritten, then write to it with O_DIRECT."""
        file, low, high = self.rng.choice(self.places)
        mode = self.rng.choice((PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE | KEEP_SIZE))
        self._allocate(file, mode, low, high - low)
        pos, end = -(-low // SECTOR_SIZE) * SECTOR_SIZE, high // SECTOR_SIZE * SECTOR_SIZE
        self._wrote(file, pos, self.rng.randbytes(end - pos), direct=True)
        self.compare(file, low, high - low, False)

    def _allocate(self, file: File, mode: int, pos: int, length: int) -> None:
        self.note(file, f"fallocate {mode:#x} {pos}+{length}")
        if _libc.fallocate(file.fd(), mode, pos, length):
            number = ctypes.get_errno()
            raise OSError(number, f"fallocate {mode:#x}: {os.strerror(number)}")
        end = pos + length
        if not mode & KEEP_SIZE:
            file.set_size(max(end, len(file.data)))
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            end = min(end, len(file.data))
            file.data[pos:end] = bytes(max(end - pos, 0))

    def seek(self) -> None:
        """Before the next data is nothing but zeros; a hole begins with one."""
        file = self.a_file()
        if not file.data:
            return
        pos = self.rng.randrange(len(file.data))
        try:
            data = os.lseek(file.fd(), pos, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = len(file.data)
        if any(file.data[pos:data]):
            raise self.mismatch(file, f"SEEK_DATA from {pos} goes past data, to {data}")
        hole = os.lseek(file.fd(), pos, os.SEEK_HOLE)
        if not pos <= hole <= len(file.data) or any(file.data[hole : hole + 1]):
            raise self.mismatch(file, f"SEEK_HOLE from {pos} finds {hole}, which is none")

    def copy(self) -> None:
        source, target = self.a_file(), self.a_file()
        if source is target:
            return
        pos, length = self.a_range(0, FILE_SIZE_MAX)
        to = self.rng.randint(0, FILE_SIZE_MAX - length)
        self.note(target, f"copy_file_range of {length} bytes from {pos} to {to}")
        copied = os.copy_file_range(source.fd(), target.fd(), length, pos, to)
        data = source.data[pos : pos + length]
        self.expect(target, "bytes copied", copied, len(data))
        if data:
            target.store(to, bytes(data))

    def fsync(self) -> None:
        file, _, _ = self.a_place()
        self.rng.choice((os.fsync, os.fdatasync))(file.fd())

    # -- names ------------------------------------------------------------------------

    def create(self) -> None:
        if len(self.files) < FILES:
            name = self.a_new_name()
            os.close(os.open(self.top / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self.files.append(File(self.top, name))

    def link(self) -> None:
        file, name = self.a_file(), self.a_new_name()
        if len(file.names) < 3:
            os.link(self.top / file.names[0], self.top / name)
            file.names.append(name)

    def unlink(self) -> None:
        """What is open can be read on without a name."""
        file = self.a_file()
        name = self.rng.choice(file.names)
        file.fd()
        os.unlink(self.top / name)
        self.compare(file, *self.a_range(0, FILE_SIZE_MAX), False)
        self._lost_name(file, name)

    def rename(self) -> None:
        """To a new name, or over another file."""
        file = self.a_file()
        old, other = self.rng.choice(file.names), self.a_file()
        over = other is not file and self.rng.random() < 0.3
        new = other.names[0] if over else self.a_new_name()
        os.rename(self.top / old, self.top / new)
        file.names[file.names.index(old)] = new
        if over:
            self._lost_name(other, new)

    def _lost_name(self, file: File, name: str) -> None:
        file.names.remove(name)
        if not file.names:
            file.close()
            self.files.remove(file)

    def stat(self) -> None:
        file = self.a_file()
        s = os.stat(self.top / self.rng.choice(file.names))
        self.expect(file, "st_size", s.st_size, len(file.data))
        self.expect(file, "st_nlink", s.st_nlink, len(file.names))

    def readdir(self) -> None:
        """Each of our names once, while others come and go."""
        names = sorted(name for file in self.files for name in file.names)
        found = [f"{self.number}/{name}" for name in os.listdir(self.top / str(self.number))]
        mine = f"{self.number}-"
        found += [f"common/{n}" for n in os.listdir(self.top / "common") if n.startswith(mine)]
        if sorted(found) != names:
            raise Mismatch(f"client {self.number}: the names are {sorted(found)}, not {names}")


ACTIONS: dict[Callable[[Client], None], float] = {
    Client.read: 36,
    Client.read_direct: 12,
    Client.read_all_units: 3,
    Client.read_mapped: 1,
    Client.write: 18,
    Client.write_direct: 12,
    Client.write_mapped: 0.5,
    Client.empty_unit: 3,
    Client.truncate: 1.5,
    Client.fallocate: 4,
    Client.seek: 3,
    Client.copy: 1,
    Client.fsync: 0.2,
    Client.link: 0.5,
    Client.unlink: 0.5,
    Client.rename: 0.7,
    Client.stat: 3,
    Client.readdir: 0.3,
}
"""How often each is chosen, of about a hundred."""


def main(mountpoint: str, number: str, clients: str, seed: str) -> None:
    client = Client(Path(mountpoint), int(number), int(clients), int(seed))
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        try:
            client.run(int(line))
        except (Mismatch, OSError) as error:
            answer["mismatch"] = str(error) if isinstance(error, Mismatch) else repr(error)
        answer |= {"counts": client.counts, "bytes_compared": client.bytes_compared}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
