"""A litmus file for each word, which has one outcome on every file system, and that outcome.

B, 2B … are blocks.
"""

from pathlib import Path

from trial.trying import block_of, tried, values

WORDS = {
    "a buffered write is read by both": (
        """file f 2B hole
A:
    n = pwrite f 0 1B a
    r = pread f 0 2B
    d = pread f 0 2B direct
    fsync f
exists A.n = 0 \\/ A.r = 00 \\/ A.d = 00 \\/ disk f = 00 \\/ size f = 0""",
        {"A.n": "1B", "A.r": "a0", "A.d": "a0", "disk f": "a0", "size f": "2B"},
    ),
    "a direct write is read by both": (
        """file f 2B unwritten
A:
    n = pwrite f 1B 1B a direct dsync
    r = pread f 0 2B
    d = pread f 0 2B direct
exists A.n = 0 \\/ A.r = 00 \\/ A.d = 00""",
        {"A.n": "1B", "A.r": "0a", "A.d": "0a"},
    ),
    "append goes to the end, wherever that is": (
        """file f 1B a
A:
    n = pwrite f end 1B b append
    m = pwrite f end 1B c append direct dsync
    r = pread f 0 4B
exists A.n = 0 \\/ A.m = 0 \\/ A.r = 0000 \\/ size f = 0""",
        {"A.n": "1B", "A.m": "1B", "A.r": "abc.", "size f": "3B"},
    ),
    "fallocate keeps what is there, or zeroes it": (
        """file f 4B a
A:
    p = fpunch f 0 1B
    z = fzero f 1B 1B
    g = falloc f 4B 1B
    k = falloc f 5B 1B keep_size
    r = pread f 0 6B
exists A.p = EIO \\/ A.z = EIO \\/ A.g = EIO \\/ A.k = EIO \\/ A.r = aaaaaa \\/ size f = 0""",
        {"A.p": "0", "A.z": "0", "A.g": "0", "A.k": "0", "A.r": "00aa0.", "size f": "5B"},
    ),
    "truncate both ways": (
        """file f 2B a
A:
    t = truncate f 1B
    r = pread f 0 2B
    truncate f 2B
    s = pread f 0 2B
exists A.t = EIO \\/ A.r = 00 \\/ A.s = 00""",
        {"A.t": "0", "A.r": "a.", "A.s": "a0"},
    ),
    "fsync and fdatasync": (
        """file f 1B unwritten
A:
    pwrite f 0 1B a
    s = fsync f
    pwrite f 0 1B b
    d = fdatasync f
exists A.s = EIO \\/ A.d = EIO \\/ disk f = 0""",
        {"A.s": "0", "A.d": "0", "disk f": "b"},
    ),
    "seek finds data and holes": (
        """file f 4B hole a hole a
A:
    d = seek_data f 0
    h = seek_hole f 1B
    e = seek_hole f 3B
    n = seek_data f 4B
exists A.d = 0 \\/ A.h = 0 \\/ A.e = 0 \\/ A.n = 0""",
        {"A.d": "1B", "A.h": "2B", "A.e": "4B", "A.n": "ENXIO"},
    ),
    "copy_range copies, and a letter goes with it": (
        """file f 2B a b
file g 2B c
A:
    n = copy_range f 1B 1B g 0
    r = pread g 0 2B
exists A.n = 0 \\/ A.r = cc""",
        {"A.n": "1B", "A.r": "bc"},
    ),
    "a mapping stores and loads": (
        """file f 1B a
A:
    w = mwrite f 0 1B b
    m = mread f 0 1B
    r = pread f 0 1B
    s = fsync f
exists A.w = EIO \\/ A.m = a \\/ A.r = a \\/ A.s = EIO \\/ disk f = a""",
        {"A.w": "0", "A.m": "b", "A.r": "b", "A.s": "0", "disk f": "b"},
    ),
    "a mapping beyond the end is an errno and no signal": (
        """file f 0
A:
    m = mread f 0 1B
    w = mwrite f 0 1B b
    r = pread f 0 1B
exists A.m = 0 \\/ A.w = EIO \\/ A.r = 0""",
        {"A.m": "EFAULT", "A.w": "EFAULT", "A.r": "."},
    ),
    "a name that goes, and the file that stays open": (
        """file f 1B a
A:
    u = unlink f
    v = unlink f
    r = pread f 0 1B
exists A.u = EIO \\/ A.v = EIO \\/ A.r = 0 \\/ size f = 0 \\/ disk f = 0""",
        {"A.u": "0", "A.v": "ENOENT", "A.r": "a", "size f": "ENOENT", "disk f": "ENOENT"},
    ),
    "rename takes another's place": (
        """file f 1B a
file g 2B b
A:
    n = rename f g
    r = pread g 0 1B
exists A.n = EIO \\/ A.r = 0 \\/ disk g = aa \\/ size f = 0""",
        {"A.n": "0", "A.r": "b", "disk g": "a.", "size f": "ENOENT"},
    ),
    "aio returns at once, and reap has its count": (
        """file f 2B unwritten
A:
    aio x = pwrite f 0 1B a direct
    aio y = pwrite f 1B 1B b direct
    n = reap y
    m = reap x
    r = pread f 0 2B
exists A.n = 0 \\/ A.m = 0 \\/ A.r = 00""",
        {"A.n": "1B", "A.m": "1B", "A.r": "ab"},
    ),
    "what was not reaped has completed at the end": (
        """file f 1B unwritten
A:
    aio x = pwrite f 0 1B a direct
exists disk f = 0""",
        {"disk f": "a"},
    ),
    "wait is for the whole of another task": (
        """file f 1B hole
A:
    wait B
    r = pread f 0 1B
B:
    pwrite f 0 1B a
    pwrite f 0 1B b
    fsync f
exists A.r = 0""",
        {"A.r": "b"},
    ),
    "preallocated behind the end": (
        """file f 1B a unwritten*2
A:
    r = pread f 0 2B
exists A.r = aa \\/ size f = 0""",
        {"A.r": "a.", "size f": "1B"},
    ),
}


def does_what_it_says(name: str, directory: Path) -> None:
    """Three runs: nothing is left of one in the next."""
    text, expected = WORDS[name]
    seen = tried(directory, text, runs=3)
    block = block_of(directory)
    assert values(seen) == {
        subject: str(int(value[0]) * block) if value[1:] == "B" else value
        for subject, value in expected.items()
    }
