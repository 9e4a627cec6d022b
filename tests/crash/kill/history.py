"""What may be found after a crash, by the log of one client: the promises of docs/crashes.md.

    Found           what is there now: names with what they lead to, and contents
    History         replays a log over what was found the last time
    History.check   compares; the first thing that no crash can explain is a Lost

Names: each change of a name is one step, and the steps that survive are the first so many,
at least all that were acknowledged before any sync that was acknowledged.

Data: each block is as it was at the last sync of its file, or as one of the writes since
then left it.  What a call that nobody answered would have done is possible, too.  The size
is one that the file had since then, or a multiple of the block on the way to a larger one.
What was cut off by a truncate does not come back with a size from after it.

Units: pos, length, size and end are bytes in the file.
Errors: Lost, with the path, what is there and what would be right.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from crash.kill.client import REGION_SIZE, content, moved

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10

Call = dict[str, Any]


class Lost(AssertionError):
    """A promise is broken; the message says which, and where."""


class Entry(NamedTuple):
    """What a name leads to; ino is 0 where nobody heard which it is."""

    kind: str
    ino: int
    nlink: int
    xattrs: tuple[tuple[str, bytes], ...]


@dataclass
class Found:
    """The part of the mount that one client changes.  contents and modes are by inode."""

    names: dict[str, Entry] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    modes: dict[int, int] = field(default_factory=dict)
    region: bytes = bytes(REGION_SIZE)


def look(top: Path, number: int) -> Found:
    """Read all that belongs to a client."""
    found = Found()
    own = top / f"c{number}"
    if not own.is_dir():
        raise Lost(f"{own} is gone")
    for path in [own, *own.rglob("*"), *(top / "common").glob(f"c{number}-*")]:
        s = path.lstat()
        kind = stat.filemode(s.st_mode)[0]
        names = sorted(os.listxattr(path, follow_symlinks=False))
        xattrs = tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in names)
        found.names[str(path.relative_to(top))] = Entry(kind, s.st_ino, s.st_nlink, xattrs)
        found.modes[s.st_ino] = stat.S_IMODE(s.st_mode)
        if kind == "-" and s.st_ino not in found.contents:
            data = found.contents[s.st_ino] = path.read_bytes()
            if len(data) != s.st_size:
                raise Lost(f"{path}: {len(data)} bytes can be read, but st_size is {s.st_size}")
    with open(top / "shared", "rb") as file:
        found.region = os.pread(file.fileno(), REGION_SIZE, number * REGION_SIZE)
    return found


# -- one file -----------------------------------------------------------------------------


@dataclass
class Version:
    """One state of a block; cut is the epoch of the truncate that took it away."""

    data: bytes
    cut: int | None = None


class FileHistory:
    """All states that a file may be in: blocks has those that are not only as in data.

    A new epoch begins with each truncate that shortens the file.
    """

    def __init__(self, data: bytes, mode: int, block_size: int, offset: int = 0) -> None:
        self.block_size = block_size
        self.offset = offset % block_size
        """Where data begins within a block: a region of the shared file."""
        self.data = bytearray(data)
        self.sizes = [(len(data), 0)]
        self.ends: list[tuple[int, int]] = []
        self.blocks: dict[int, list[Version]] = {}
        self.mode = mode
        self.modes = {mode}

    @property
    def epoch(self) -> int:
        return self.sizes[-1][1]

    def write(self, pos: int, data: bytes) -> None:
        end = pos + len(data)
        touched = list(self._touch(pos, end))
        if end > len(self.data):
            self._set_size(end)
        elif end > next(size for size, epoch in self.sizes if epoch == self.epoch):
            self.ends.append((end, self.epoch))  # it may be there before what was behind it
        self.data[pos:end] = data
        self._add_versions(touched)

    def zero(self, pos: int, end: int) -> None:
        """Without a change of the size."""
        end = min(end, len(self.data))
        if pos < end:
            self.write(pos, bytes(end - pos))

    def truncate(self, size: int) -> None:
        old = len(self.data)
        if size >= old:
            self._set_size(size)
            return
        cut = self.epoch + 1
        touched = list(self._touch(size, old))
        for block in touched:
            keep = max(size - self._span(block)[0], 0)
            for version in [v for v in self.blocks[block] if v.cut is None]:
                version.cut = cut
                rest = version.data[:keep].ljust(self.block_size, b"\0")
                self.blocks[block].append(Version(rest))
        self._set_size(size, cut)
        self._add_versions(touched)

    def _set_size(self, size: int, epoch: int | None = None) -> None:
        self.data = self.data[:size].ljust(size, b"\0")
        self.sizes.append((size, self.epoch if epoch is None else epoch))

    def sync(self) -> None:
        """Data and size are there; the mode is fsync's, not fdatasync's."""
        self.sizes = [(len(self.data), 0)]
        self.ends.clear()
        self.blocks.clear()

    def sync_range(self, pos: int, end: int) -> None:
        """The bytes of an O_DSYNC write are there, and a size that holds them."""
        self.sizes = [(max(size, end), epoch) for size, epoch in self.sizes]
        for block in self._touch(pos, end):
            start = self._span(block)[0]
            part = slice(max(pos - start, 0), min(end - start, self.block_size))
            now = self._block(block)[part]
            self.blocks[block] = [v for v in self.blocks[block] if v.data[part] == now]

    def chmod(self, mode: int) -> None:
        self.mode = mode
        self.modes.add(mode)

    def _touch(self, pos: int, end: int) -> Iterator[int]:
        """The blocks of a range, each with a list of versions from here on."""
        for block in range(
            (pos + self.offset) // self.block_size, -(-(end + self.offset) // self.block_size)
        ):
            if block not in self.blocks:
                self.blocks[block] = [Version(self._block(block))]
            yield block

    def _add_versions(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            self.blocks[block].append(Version(self._block(block)))

    def _span(self, block: int) -> tuple[int, int]:
        """Where a block begins and ends in data; the first may begin before it."""
        start = block * self.block_size - self.offset
        return start, start + self.block_size

    def _block(self, block: int, data: bytes | bytearray | None = None) -> bytes:
        """A block of the file as it is now, with zeros around what it does not have."""
        data = self.data if data is None else data
        start, end = self._span(block)
        head = bytes(-start if start < 0 else 0)
        return (head + bytes(data[max(start, 0) : end])).ljust(self.block_size, b"\0")

    def check(self, found: bytes, *, sized: bool = True) -> None:
        """Lost if no crash could leave the file so."""
        epoch = self._epoch_of(len(found)) if sized else 0
        for block in range(-(-(len(found) + self.offset) // self.block_size)):
            start, end = self._span(block)
            here = self._block(block, found)
            stop = min(end, len(found)) - start
            versions = self.blocks.get(block) or [Version(self._block(block))]
            if not any(
                v.data[:stop] == here[:stop] and (v.cut is None or v.cut > epoch) for v in versions
            ):
                raise Lost(self._describe(block, here[:stop], [v.data for v in versions]))

    def _epoch_of(self, size: int) -> int:
        """The first epoch in which the file had that size, or grew through it."""
        epochs = [epoch for had, epoch in self.sizes + self.ends if had == size]
        if size % self.block_size == 0:
            pairs = zip(self.sizes, self.sizes[1:], strict=False)
            epochs += [epoch for (a, _), (b, epoch) in pairs if a < size < b]
        if not epochs:
            sizes = [had for had, _ in self.sizes]
            raise Lost(f"its size is {size}, but since the last sync it had {sizes}")
        return min(epochs)

    def _describe(self, block: int, found: bytes, versions: list[bytes]) -> str:
        rights = "\n".join(f"    {say(data[: len(found)])}" for data in versions)
        return (
            f"bytes {self._span(block)[0]} and on, {len(found)} of them, are none that were"
            f" written there:\n    {say(found)}\nThese would be right:\n{rights}"
        )


def say(data: bytes) -> str:
    """Bytes in a line: what repeats is told once."""
    lines: list[str] = []
    for line in data.replace(b"\0" * 32, b"\0\n").splitlines():
        text = "zeros" if line == b"\0" else line.decode("ascii", "backslashreplace")
        if not lines or lines[-1] != text:
            lines.append(text)
    return " | ".join(lines)


# -- one client ---------------------------------------------------------------------------


class History:
    """One client's log, over what was found before it began.

    A thing is what a name leads to: the same object for all its names.
    """

    def __init__(self, base: Found, number: int, block_size: int) -> None:
        self.base = base
        self.number = number
        self.block_size = block_size

    def check(self, found: Found, log: list[Call]) -> None:
        """Lost if what was found is none of what a crash during this log may leave."""
        replay = Replay(self)
        replay.run(log)
        survived = replay.match_names(found)
        replay = Replay(self, survived)
        replay.run(log)
        replay.check_contents(found)


class Thing:
    """A file, directory or symlink."""

    def __init__(self, kind: str, ino: int, file: FileHistory | None = None) -> None:
        self.kind = kind
        self.ino = ino
        self.file = file
        self.xattrs: dict[str, bytes] = {}


class Replay:
    """names is the tree now; states has it before each change of a name, and at the end.

    names_survived is how many of these changes are there after the crash, once known.
    """

    def __init__(self, history: History, names_survived: int | None = None) -> None:
        base = history.base
        self.block_size = history.block_size
        self.names_survived = names_survived
        things: dict[int, Thing] = {}
        for entry in base.names.values():
            thing = things[entry.ino] = Thing(entry.kind, entry.ino)
            thing.xattrs = dict(entry.xattrs)
            if entry.kind == "-":
                mode = base.modes[entry.ino]
                thing.file = FileHistory(base.contents[entry.ino], mode, self.block_size)
        self.names = {path: things[entry.ino] for path, entry in base.names.items()}
        offset = history.number * REGION_SIZE
        self.number, self.region_start = history.number, offset
        self.region = FileHistory(base.region, 0, self.block_size, offset)
        self.states = [self._state()]
        self.things = [self.names.copy()]
        self.names_synced = 0

    def run(self, log: list[Call]) -> None:
        """Calls and answers take turns; the last call may have none."""
        for call, answer in zip(log[::2], [*log[1::2], None], strict=False):
            if answer is not None and "done" not in answer:
                raise Lost(f"{call} failed: {answer['failed']}")
            names_before = len(self.states) - 1
            arguments = {key: value for key, value in call.items() if key != "call"}
            arguments |= {"answered": answer is not None, "result": answer and answer["done"]}
            getattr(self, f"_{call['call']}")(**arguments)
            if answer is not None and self._is_sync(call):
                self.names_synced = names_before

    @staticmethod
    def _is_sync(call: Call) -> bool:
        return call["call"] in ("fsync", "fdatasync") or bool(call.get("sync"))

    # -- names ---------------------------------------------------------------------------

    def _state(self) -> dict[str, Entry]:
        nlinks = Counter(id(thing) for thing in self.names.values())
        state = {}
        for path, thing in self.names.items():
            nlink = nlinks[id(thing)]
            if thing.kind == "d":
                children = (t for p, t in self.names.items() if os.path.dirname(p) == path)
                nlink = 2 + sum(child.kind == "d" for child in children)
            state[path] = Entry(thing.kind, thing.ino, nlink, tuple(sorted(thing.xattrs.items())))
        return state

    def _name_changed(self) -> None:
        self.states.append(self._state())
        self.things.append(self.names.copy())

    def _make(self, kind: str, path: str, result: int | None, file: FileHistory | None) -> None:
        self.names[path] = Thing(kind, result or 0, file)
        self._name_changed()

    def _create(self, path: str, answered: bool, result: int | None) -> None:
        self._make("-", path, result, FileHistory(b"", 0o600, self.block_size))

    def _mkdir(self, path: str, answered: bool, result: int | None) -> None:
        self._make("d", path, result, None)

    def _symlink(self, path: str, target: str, answered: bool, result: int | None) -> None:
        self._make("l", path, result, None)

    def _rmdir(self, path: str, answered: bool, result: None) -> None:
        del self.names[path]
        self._name_changed()

    _unlink = _rmdir

    def _link(self, path: str, target: str, answered: bool, result: None) -> None:
        self.names[target] = self.names[path]
        self._name_changed()

    def _rename(self, path: str, target: str, answered: bool, result: None) -> None:
        """A file that replaced another is whole, as it was when it was renamed."""
        file = self.names[path].file
        replaces = target in self.names
        self.names = {
            moved(each, path, target): thing for each, thing in self.names.items() if each != target
        }
        self._name_changed()
        survived = self.names_survived is not None and self.names_survived >= len(self.states) - 1
        if file is not None and replaces and survived:
            file.sync()

    def _setxattr(self, path: str, name: str, value: str, answered: bool, result: None) -> None:
        self.names[path].xattrs[name] = value.encode()
        self._name_changed()

    def _removexattr(self, path: str, name: str, answered: bool, result: None) -> None:
        del self.names[path].xattrs[name]
        self._name_changed()

    # -- data ----------------------------------------------------------------------------

    def _file(self, path: str) -> FileHistory:
        file = self.names[path].file
        assert file is not None
        return file

    def _chmod(self, path: str, mode: int, answered: bool, result: None) -> None:
        self._file(path).chmod(mode)

    def _write(
        self,
        path: str,
        pos: int,
        length: int,
        generation: int,
        direct: bool,
        sync: str,
        answered: bool,
        result: int | None,
    ) -> None:
        if answered and result != length:
            raise Lost(f"{path}: a write of {length} bytes at {pos} wrote {result}")
        data = content(self.number, generation, pos, length)
        if path == "shared":
            file, pos = self.region, pos - self.region_start
        else:
            file = self._file(path)
        file.write(pos, data)
        if answered and sync:
            file.sync_range(pos, pos + length)

    def _truncate(self, path: str, size: int, answered: bool, result: None) -> None:
        self._file(path).truncate(size)

    def _fallocate(
        self, path: str, mode: int, pos: int, length: int, answered: bool, result: None
    ) -> None:
        file = self._file(path)
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            file.zero(pos, pos + length)
        if not mode & KEEP_SIZE and pos + length > len(file.data):
            file.truncate(pos + length)

    def _fdatasync(self, path: str, answered: bool, result: None) -> None:
        if not answered:
            return
        if path == "shared":
            self.region.sync()
        elif path in self.names and self.names[path].file is not None:
            self._file(path).sync()

    def _fsync(self, path: str, answered: bool, result: None) -> None:
        self._fdatasync(path, answered, result)
        if answered and path in self.names and self.names[path].file is not None:
            self._file(path).modes = {self._file(path).mode}

    # -- what is there now -----------------------------------------------------------------

    def match_names(self, found: Found) -> int:
        """How many changes of names survived, at least; Lost if no number explains it."""
        for survived in range(self.names_synced, len(self.states)):
            if _is_same(self.states[survived], found.names):
                return survived
        right = self.states[self.names_synced]
        raise Lost(
            f"the names are those after none of the changes {self.names_synced} to"
            f" {len(self.states) - 1}.\nOnly there: {_difference(found.names, right)}\n"
            f"Only in state {self.names_synced}: {_difference(right, found.names)}"
        )

    def check_contents(self, found: Found) -> None:
        assert self.names_survived is not None
        for path, thing in self.things[self.names_survived].items():
            if thing.file is None:
                continue
            ino = found.names[path].ino
            try:
                thing.file.check(found.contents[ino])
                if found.modes[ino] not in thing.file.modes:
                    raise Lost(f"its mode is {found.modes[ino]:o}, not in {thing.file.modes}")
            except Lost as lost:
                raise Lost(f"{path}: {lost}") from None
        try:
            self.region.check(found.region, sized=False)
        except Lost as lost:
            raise Lost(f"shared, from {self.region_start}: {lost}") from None


def _is_same(right: dict[str, Entry], found: dict[str, Entry]) -> bool:
    return right.keys() == found.keys() and all(
        entry._replace(ino=entry.ino or found[path].ino) == found[path]
        for path, entry in right.items()
    )


def _difference(some: dict[str, Entry], others: dict[str, Entry]) -> dict[str, Entry]:
    return {path: entry for path, entry in some.items() if others.get(path) != entry}
