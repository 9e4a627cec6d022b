"""Whatever is in the files: one clear line or a working mount, never a traceback or a hang.

Each test draws inputs; the long ones draw many.  What is drawn goes to the code that meets it
first, then, if that takes it, to all that relies on it.
"""

import io
import os
import signal
import sqlite3
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store.damaging import make_image_in_use, use

from fusefs.commands.errors import UsageError
from fusefs.commands.mount_options import split_options
from fusefs.model.chunk import CHUNK_BLOCKS, Chunk
from fusefs.model.options import OPTIONS, OptionError, Options
from fusefs.model.space import GROUP_BYTES, Space, decode_group
from fusefs.store.fsck.run import CLEAN, LEFT, NOT_CHECKED, REPAIRED, NotChecked, fsck
from fusefs.store.image_file import MAGIC, ImageError, ImageFile, Superblock
from fusefs.store.stored import Attributes

HANG_S = 300
"""No input takes a hundredth of this; SIGALRM then shows where it hangs."""


def times(ordinary: int, long: int) -> pytest.MarkDecorator:
    """How many inputs a test draws, without and with --long."""
    return pytest.mark.parametrize(
        "count", [ordinary, pytest.param(long, marks=pytest.mark.long)], ids=["few", "many"]
    )


def draw(figures: Any, count: int, *strategies: Any) -> Callable[[Callable[..., None]], None]:
    """Run a function with count inputs, the same ones each time unless there are many."""

    def run(check: Callable[..., None]) -> None:
        def counted(values: tuple[Any, ...]) -> None:
            figures.add("inputs fuzzed", 1)
            with ended_within(HANG_S):
                check(*values)

        few = count <= 1000
        settings(
            max_examples=count,
            deadline=None,
            derandomize=few,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(given(st.tuples(*strategies))(counted))()

    return run


@contextmanager
def ended_within(seconds: int) -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


# -- the small parts -------------------------------------------------------------------

WORDS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2, 512, 1024, 65536, 2**63, 2**64 - 1])
SUPERBLOCKS = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda magic, version, length, uuid_bytes, block_size, count, cut: struct.pack(
            "<16sII16sIQ", magic, version, length, uuid_bytes, block_size, count
        )[:cut],
        st.just(MAGIC) | st.binary(max_size=16),
        st.just(1) | st.integers(0, 2**32 - 1),
        st.just(52) | st.integers(0, 2**32 - 1),
        st.binary(min_size=16, max_size=16),
        st.sampled_from([0, 256, 512, 1024, 3000, 65536, 131072, 2**31]),
        WORDS,
        st.just(52) | st.integers(0, 60),
    ),
)


@times(300, 20_000)
def test_any_superblock_is_read_or_refused_in_one_line(
    tmp_path: Path, figures: Any, count: int
) -> None:
    path = tmp_path / "image"

    @draw(figures, count, SUPERBLOCKS, st.integers(0, 1 << 21))
    def check(start: bytes, size: int) -> None:
        path.write_bytes(start)
        os.truncate(path, max(size, len(start)))
        try:
            ImageFile.open(str(path)).close()
        except ImageError as error:
            said = str(error)
            assert said.startswith(f"{path}: ")
            assert "\n" not in said
        else:
            assert Superblock.decode(path.read_bytes(), "image").block_count >= 2


@times(300, 40_000)
def test_any_chunk_and_any_group_are_taken_or_refused(figures: Any, count: int) -> None:
    offset = st.integers(0, 5000) | st.integers(0, 0xFFFF)
    runs = st.lists(st.tuples(offset, offset, st.integers(0, 5000) | WORDS), max_size=4).map(
        lambda runs: b"".join(
            struct.pack(f"<{len(runs)}{code}", *(run[i] for run in runs))
            for i, code in enumerate("HHQ")
        )
    )
    bitmap = st.binary(min_size=CHUNK_BLOCKS // 8, max_size=CHUNK_BLOCKS // 8)
    group = st.builds(lambda byte: byte * GROUP_BYTES, st.binary(min_size=1, max_size=1))

    @draw(
        figures,
        count,
        st.integers(-1, 1 << 62),
        runs | st.binary(max_size=50),
        st.just(b"") | bitmap | st.binary(max_size=600),
        group | st.binary(max_size=50),
    )
    def check(number: int, stored: bytes, unwritten: bytes, used: bytes) -> None:
        space = Space(100_000)
        with suppress(ValueError):
            encoded = Chunk.decode(number, stored, unwritten).encode()
            assert encoded == (stored, unwritten if any(unwritten) else b"")
        with suppress(ValueError):
            assert len(decode_group(number, used, 100_000)) == GROUP_BYTES * 8
        with suppress(ValueError):
            space.decode_full(number, used)
            assert number == 0


TEXTS = st.one_of(
    st.text(max_size=20),
    st.builds("{}{}".format, st.integers(), st.sampled_from(["", "k", "m", "t", "us", "ms", "s"])),
    st.builds("{}{}".format, st.floats(), st.sampled_from(["", "us", "ms", "s"])),
    st.sampled_from(["before", "after", "1" * 5000, "9" * 400, "1e5", "0x10", "\udcff", "."]),
)


@times(300, 40_000)
def test_any_option_is_taken_or_refused_in_one_line(figures: Any, count: int) -> None:
    """-o on the command line, and what is written to a control file."""
    names = st.sampled_from([*OPTIONS, "metadata", "ro", "allow_other", "x-y", "bogus"])
    words = st.lists(st.builds("{}={}".format, names, TEXTS) | names | TEXTS, max_size=4)

    @draw(figures, count, words.map(",".join), st.sampled_from([*OPTIONS]), TEXTS)
    def check(line: str, name: str, text: str) -> None:
        with suppress(OptionError, UsageError):
            ours, _, _ = split_options([line])
            options = Options().with_all(ours)
            assert Options().with_all(options.formatted()).formatted() == options.formatted()
        with suppress(OptionError):
            Options().changed(name, text)


# -- metadata ----------------------------------------------------------------------------


class Bench:
    """An image in use that is damaged again and again, each time from the same state."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "image"
        self.meta = folder / "image.meta"
        make_image_in_use(self.image)
        self.good = {path: path.read_bytes() for path in (self.image, self.meta)}

    def reset(self) -> None:
        self.restore(self.good)

    def restore(self, contents: dict[Path, bytes]) -> None:
        for path in self.image.parent.iterdir():
            path.unlink()
        for path, content in contents.items():
            path.write_bytes(content)

    def contents(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.image.parent.iterdir()}

    def sql(self, statements: list[tuple[str, Any]]) -> None:
        with closing(sqlite3.connect(self.meta, isolation_level=None)) as db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            for statement, value in statements:
                with suppress(sqlite3.Error, OverflowError):
                    db.execute(statement, (value,))

    def fsck(self, *, repairs: bool) -> int:
        said, complaint = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(complaint):
            try:
                status = fsck(str(self.image), str(self.meta), repairs=repairs, as_json=False)
            except NotChecked as error:
                status, reason = NOT_CHECKED, str(error)
            else:
                reason = ""
        assert len(reason.splitlines()) == int(status == NOT_CHECKED)
        assert complaint.getvalue() == ""
        assert (said.getvalue() == "") == (status == NOT_CHECKED)
        return status

    def check(self) -> None:
        """A mount refuses it or works, and fsck tells the truth about it."""
        damaged = self.contents()
        opens = use(self.image)
        self.restore(damaged)
        found = self.fsck(repairs=False)
        assert self.contents() == damaged, "fsck has changed something"
        assert found in (CLEAN, LEFT, NOT_CHECKED)
        repaired = self.fsck(repairs=True)
        again = self.fsck(repairs=False)
        expected = {CLEAN: CLEAN, REPAIRED: CLEAN, LEFT: LEFT, NOT_CHECKED: NOT_CHECKED}
        assert again == expected[repaired]
        assert (found == NOT_CHECKED) == (repaired == NOT_CHECKED)
        if found == CLEAN:
            assert repaired == CLEAN
            assert opens
        if repaired in (CLEAN, REPAIRED):
            assert use(self.image), "fsck is content, but it does not open"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """In memory where that is possible: SQLite flushes at each close."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Bench(Path(folder))


PAGE = 4096


@st.composite
def damaged_bytes(draw: Any, size: int) -> list[tuple[str, int, bytes]]:
    position = st.integers(0, size - 1) | st.integers(0, 120)
    kinds = st.sampled_from(["noise", "noise", "swap", "cut", "grow"])
    return [
        (draw(kinds), draw(position), draw(st.binary(min_size=1, max_size=40)))
        for _ in range(draw(st.integers(1, 3)))
    ]


def with_damage(content: bytes, damages: list[tuple[str, int, bytes]]) -> bytes:
    for kind, position, noise in damages:
        if kind == "noise":
            content = content[:position] + noise + content[position + len(noise) :]
        elif kind == "cut":
            content = content[:position]
        elif kind == "grow":
            content += noise * position
        else:  # two pages change places
            pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
            if pages:
                i, j = position // PAGE % len(pages), noise[0] % len(pages)
                pages[i], pages[j] = pages[j], pages[i]
            content = b"".join(pages)
    return content


@times(150, 6_000)
def test_any_bytes_as_metadata(bench: Bench, figures: Any, count: int) -> None:
    @draw(figures, count, damaged_bytes(len(bench.good[bench.meta])))
    def check(damages: list[tuple[str, int, bytes]]) -> None:
        bench.reset()
        bench.meta.write_bytes(with_damage(bench.good[bench.meta], damages))
        bench.check()


@times(50, 2_000)
def test_any_bytes_as_the_log_of_a_crash(bench: Bench, figures: Any, count: int) -> None:
    """IMAGE.meta-wal belongs to the metadata: its checksums say what of it counts."""
    bench.reset()
    db = sqlite3.connect(bench.meta, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("UPDATE inode SET mtime_ns = mtime_ns + 1")
    db.execute("DELETE FROM xattr")
    log = Path(f"{bench.meta}-wal").read_bytes()
    after_crash = {path: path.read_bytes() for path in (bench.image, bench.meta)}
    db.close()

    @draw(figures, count, damaged_bytes(len(log)))
    def check(damages: list[tuple[str, int, bytes]]) -> None:
        bench.restore(after_crash | {Path(f"{bench.meta}-wal"): with_damage(log, damages)})
        bench.check()


COLUMNS = {
    "meta": ["value", "key"],
    "inode": list(Attributes._fields),
    "dentry": ["cookie", "parent", "name", "ino"],
    "xattr": ["ino", "name", "value"],
    "chunk": ["ino", "number", "runs", "unwritten"],
    "space_group": ["number", "used"],
    "sqlite_sequence": ["seq"],
}

NUMBERS = [
    *(0, -1, 1, 2, 3, 7, 255, 4096, 65535, 2**31, 2**32 - 1, 2**32, 2**53),
    *(2**62 - 1, 2**62, 2**63 - 1, -(2**63), 0o40755, 0o100644, 0o120777, 0o160000),
]
VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers(1, 80),
    st.binary(max_size=600),
    st.sampled_from([bytes(4096), bytes(512), b"..", b"a/b", b"a\0b", b"x" * 300]),
    st.sampled_from(["text", str(uuid.UUID(int=1)), None, 1.5]),
)


@st.composite
def damaging_sql(draw: Any) -> tuple[str, Any]:
    table = draw(st.sampled_from([*COLUMNS]))
    column = draw(st.sampled_from(COLUMNS[table]))
    order = draw(st.sampled_from(COLUMNS[table]))
    skipped = draw(st.integers(0, 70))
    where = f"{order} = (SELECT {order} FROM {table} ORDER BY 1 LIMIT 1 OFFSET {skipped})"
    if draw(st.integers(0, 9)) == 0:
        where = "1"
    if draw(st.integers(0, 9)) == 0:
        return f"DELETE FROM {table} WHERE {where} AND ?1 IS ?1", 0
    return f"UPDATE OR REPLACE {table} SET {column} = ?1 WHERE {where}", draw(VALUES)


@times(150, 6_000)
def test_any_rows_as_metadata(bench: Bench, figures: Any, count: int) -> None:
    @draw(figures, count, st.lists(damaging_sql(), min_size=1, max_size=4))
    def check(statements: list[tuple[str, Any]]) -> None:
        bench.reset()
        bench.sql(statements)
        bench.check()


def test_the_check_itself_finds_an_exception_of_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a request raises is logged and answered with EIO: use() must see it all the same."""
    bench.reset()
    assert use(bench.image)
    bench.reset()
    assert bench.fsck(repairs=True) == REPAIRED  # the orphan
    assert bench.fsck(repairs=False) == CLEAN
    monkeypatch.setattr(Chunk, "decode", lambda *_: 1 // 0)
    bench.reset()
    with pytest.raises(ZeroDivisionError):
        use(bench.image)
