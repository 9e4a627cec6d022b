"""python -m benchmarks.scale_client MOUNTPOINT KIND COUNT SAMPLES: time a few operations.

Prints one JSON object: medians, and what memory the daemon has at the end.  Everything is
done at places chosen at random, which the daemon has not met since the mount.

    commit_ms       fsync after a write of one block that was written before
    read_us         open and direct read of one block
    lookup_us       stat of a name that the kernel has not seen
    create_us       open with O_CREAT, and close
    unlink_us       of what was created, after the kernel was told about the close
    memory_mib      the daemon's resident memory afterwards
"""

import json
import mmap
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from benchmarks.scale_images import BLOCK_SIZE, NAME_COUNT, extent_block, file_name


def median_s(function: Callable[[int], object], numbers: Iterable[int]) -> float:
    times = []
    for number in numbers:
        start = time.perf_counter()
        function(number)
        times.append(time.perf_counter() - start)
    return median(times)


class Client:
    def __init__(self, mount: Path, kind: str, count: int, samples: int) -> None:
        self.mount, self.kind, self.count = mount, kind, count
        self.names = mount / "names"
        self.samples = samples
        self.buffer = mmap.mmap(-1, BLOCK_SIZE)

    def measure(self) -> dict[str, float]:
        places = random.sample(range(self.count), min(self.samples, self.count))
        commits = random.sample(range(self.count), min(self.samples // 4, self.count))
        names = range(NAME_COUNT if self.kind != "files" else self.count)
        unseen = random.sample(names, min(self.samples, len(names)))
        figures = {
            "lookup_us": 1e6 * median_s(self.lookup, unseen),
            "read_us": 1e6 * median_s(self.read, places),
            "commit_ms": 1e3 * median([self.commit_s(number) for number in commits]),
            "create_us": 1e6 * median_s(self.create, range(self.samples)),
            "unlink_us": 1e6 * median_s(self.unlink, range(self.samples)),
        }
        status = json.loads((self.mount / ".fusefs/status").read_text())
        return figures | {"memory_mib": memory_mib(status["pid"])}

    def lookup(self, number: int) -> None:
        os.stat(self.names / file_name(number))

    def create(self, number: int) -> None:
        os.close(os.open(self.names / f"new-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    def unlink(self, number: int) -> None:
        os.unlink(self.names / f"new-{number}")

    def place(self, number: int) -> tuple[Path, int]:
        """A file, and where in it one of the blocks is."""
        if self.kind == "files":
            return self.names / file_name(number), 0
        return self.mount / "file", extent_block(self.kind, number, self.count) * BLOCK_SIZE

    def read(self, number: int) -> None:
        path, pos = self.place(number)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        assert os.preadv(fd, [self.buffer], pos) == BLOCK_SIZE
        os.close(fd)

    def commit_s(self, number: int) -> float:
        path, pos = self.place(number)
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, self.buffer, pos)
        start = time.perf_counter()
        os.fsync(fd)
        duration_s = time.perf_counter() - start
        os.close(fd)
        return duration_s


def memory_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


if __name__ == "__main__":
    where, kind, count, samples = sys.argv[1:]
    print(json.dumps(Client(Path(where), kind, int(count), int(samples)).measure()))
