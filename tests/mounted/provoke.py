"""A client that invites the bug: O_DIRECT writers, and readers of the same pages.

    python provoke.py FILE BLOCK_SIZE PREPARED      PREPARED: sparse or preallocated

Each writer owns every WRITERS-th block.  It writes one with O_DIRECT, reads it back
through the cache, and compares; while it does, readers read the whole file again and
again through the cache, so that a page is cached while its blocks are being converted.

Output: JSON with the numbers of reads, of reads that saw zeros, and of those that saw
anything else than zeros or what was written.
"""

import json
import mmap
import os
import signal
import sys

WRITERS = 4
READERS = 2
BLOCKS = 64


def write_and_compare(path: str, block_size: int, me: int) -> dict[str, int]:
    written = mmap.mmap(-1, block_size)
    writing = os.open(path, os.O_WRONLY | os.O_DIRECT)
    reading = os.open(path, os.O_RDONLY)
    counts = {"reads": 0, "zeros": 0, "others": 0}
    for block in range(me, BLOCKS, WRITERS):
        written[:] = bytes([1 + block]) * block_size
        assert os.pwrite(writing, written, block * block_size) == block_size
        found = os.pread(reading, block_size, block * block_size)
        counts["reads"] += 1
        if found == bytes(block_size):
            counts["zeros"] += 1
        elif found != written[:]:
            counts["others"] += 1
    return counts


def read_for_ever(path: str, size: int) -> None:
    while True:
        fd = os.open(path, os.O_RDONLY)
        assert len(os.pread(fd, size, 0)) == size
        os.close(fd)


def main(path: str, block_size: int, prepared: str) -> None:
    size = block_size * BLOCKS
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.ftruncate(fd, size)
    if prepared == "preallocated":
        os.posix_fallocate(fd, 0, size)
    pids = []
    for _ in range(READERS):
        if not (pid := os.fork()):
            read_for_ever(path, size)
        pids.append(pid)
    total = {"reads": 0, "zeros": 0, "others": 0}
    receiving, sending = os.pipe()
    writers = []
    for me in range(WRITERS):
        if not (pid := os.fork()):
            os.write(sending, json.dumps(write_and_compare(path, block_size, me)).encode() + b"\n")
            os._exit(0)
        writers.append(pid)
    os.close(sending)
    failures = [pid for pid in writers if os.waitpid(pid, 0)[1]]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with open(receiving) as lines:
        for line in lines:
            for name, count in json.loads(line).items():
                total[name] += count
    print(json.dumps(total))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
