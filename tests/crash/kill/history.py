"""What may be found after a crash, by the log of one client: the promises of docs/crashes.md.

    Found     what is there: names with what they lead to, and contents
    look      reads it
    check     replays a client's log over what was found the last time, and compares

Each change of a name is one step.  The steps that survive are the first so many, at least
all that came before any sync that was acknowledged.  Of data, see file_history.py.  What a
call that nobody answered would have done is possible, too.

Units: pos, length and size are bytes in the file.
Errors: Lost, with the path, what is there and what would be right.
"""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from crash.kill.client import REGION_SIZE, content, moved
from crash.kill.file_history import FileHistory, Lost

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10

Line = dict[str, Any]
"""Of a client's log."""


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


def check(base: Found, found: Found, log: list[Line], number: int, block_size: int) -> None:
    """Lost if found is none of what a crash may leave, during this log and after base."""
    replay = Replay(base, number, block_size)
    replay.run(log)
    survived = replay.match_names(found)
    replay = Replay(base, number, block_size, survived)
    replay.run(log)
    replay.check_contents(found)


class Thing:
    """What a name leads to: one object for all names of a file."""

    def __init__(self, kind: str, ino: int, file: FileHistory | None = None) -> None:
        self.kind = kind
        self.ino = ino
        self.file = file
        self.xattrs: dict[str, bytes] = {}


class Replay:
    """names is the tree now; states and things have it after each change of a name.

    names_synced        how many of the changes must be there after a crash
    names_survived      how many are, in a second replay
    """

    def __init__(
        self, base: Found, number: int, block_size: int, names_survived: int | None = None
    ) -> None:
        self.number = number
        self.block_size = block_size
        self.names_survived = names_survived
        self.names_synced = 0
        inos: dict[int, Thing] = {}
        for entry in base.names.values():
            thing = inos[entry.ino] = Thing(entry.kind, entry.ino)
            thing.xattrs = dict(entry.xattrs)
            if entry.kind == "-":
                mode = base.modes[entry.ino]
                thing.file = FileHistory(base.contents[entry.ino], mode, block_size)
        self.names = {path: inos[entry.ino] for path, entry in base.names.items()}
        self.region_start = number * REGION_SIZE
        self.region = FileHistory(base.region, 0, block_size, self.region_start)
        self.states: list[dict[str, Entry]] = []
        self.things: list[dict[str, Thing]] = []
        self._name_changed()

    def run(self, log: list[Line]) -> None:
        """Calls and answers take turns; the last call may have none."""
        for call, answer in zip(log[::2], [*log[1::2], None], strict=False):
            if answer is not None and "failed" in answer:
                raise Lost(f"{call} failed: {answer['failed']}")
            names_before = len(self.states) - 1
            kind, arguments = call["call"], {k: v for k, v in call.items() if k != "call"}
            if kind in ("create", "mkdir", "symlink"):
                arguments["ino"] = answer["done"] if answer else 0
            getattr(self, f"_{kind}")(**arguments)
            if answer is not None and (kind in ("fsync", "fdatasync") or call.get("sync")):
                self.names_synced = names_before
                self._synced(**call)

    # -- names ---------------------------------------------------------------------------

    def _name_changed(self) -> None:
        nlinks = Counter(id(thing) for thing in self.names.values())
        state = {}
        for path, thing in self.names.items():
            nlink = nlinks[id(thing)]
            if thing.kind == "d":
                children = (t for p, t in self.names.items() if os.path.dirname(p) == path)
                nlink = 2 + sum(child.kind == "d" for child in children)
            state[path] = Entry(thing.kind, thing.ino, nlink, tuple(sorted(thing.xattrs.items())))
        self.states.append(state)
        self.things.append(self.names.copy())

    def _create(self, path: str, ino: int) -> None:
        self.names[path] = Thing("-", ino, FileHistory(b"", 0o600, self.block_size))
        self._name_changed()

    def _mkdir(self, path: str, ino: int) -> None:
        self.names[path] = Thing("d", ino)
        self._name_changed()

    def _symlink(self, path: str, target: str, ino: int) -> None:
        self.names[path] = Thing("l", ino)
        self._name_changed()

    def _unlink(self, path: str) -> None:
        del self.names[path]
        self._name_changed()

    _rmdir = _unlink

    def _link(self, path: str, target: str) -> None:
        self.names[target] = self.names[path]
        self._name_changed()

    def _rename(self, path: str, target: str) -> None:
        """A file that took another's name is there whole, as it was when it was renamed."""
        replaces = self.names.pop(target, None) is not None
        self.names = {moved(each, path, target): thing for each, thing in self.names.items()}
        self._name_changed()
        file = self.names[target].file
        survived = self.names_survived is not None and self.names_survived >= len(self.states) - 1
        if replaces and survived and file is not None:
            file.sync()

    def _setxattr(self, path: str, name: str, value: str) -> None:
        self.names[path].xattrs[name] = value.encode()
        self._name_changed()

    def _removexattr(self, path: str, name: str) -> None:
        del self.names[path].xattrs[name]
        self._name_changed()

    # -- data ----------------------------------------------------------------------------

    def _file(self, path: str) -> tuple[FileHistory, int]:
        """The history of a file, or of the client's region, and where that begins."""
        if path == "shared":
            return self.region, self.region_start
        file = self.names[path].file
        assert file is not None
        return file, 0

    def _chmod(self, path: str, mode: int) -> None:
        self._file(path)[0].chmod(mode)

    def _write(
        self, path: str, pos: int, length: int, generation: int, direct: bool, sync: str
    ) -> None:
        file, start = self._file(path)
        file.write(pos - start, content(self.number, generation, pos, length))

    def _truncate(self, path: str, size: int) -> None:
        self._file(path)[0].truncate(size)

    def _fallocate(self, path: str, mode: int, pos: int, length: int) -> None:
        file, _ = self._file(path)
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            file.zero(pos, pos + length)
        if not mode & KEEP_SIZE and pos + length > len(file.data):
            file.truncate(pos + length)

    def _fsync(self, path: str) -> None:
        """Promises nothing before it is answered."""

    _fdatasync = _fsync

    def _synced(self, call: str, path: str, pos: int = 0, length: int = 0, **_: Any) -> None:
        if path != "shared" and (path not in self.names or self.names[path].file is None):
            return  # a directory
        file, start = self._file(path)
        if call == "write":
            file.sync_range(pos - start, pos - start + length)
        else:
            file.sync()
        if call == "fsync":
            file.modes = {file.mode}

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
