"""Any sequence of calls on names, against an oracle of dictionaries."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store.name_trees import (
    DIRECTORY,
    FILE,
    SYMLINK,
    at,
    check_link_counts,
    create,
    make,
    place,
    rename,
    tree_of,
)

from fusefs.model.errors import FsError
from fusefs.store.namespace import (
    RENAME_EXCHANGE,
    RENAME_FLAGS,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
)
from fusefs.store.node import Node


class File:
    """The oracle's file: all that counts is which one it is."""


@dataclass(eq=False, slots=True)
class Directory:
    """The oracle's directory."""

    names: "dict[str, File | Directory]"

    def holds(self, other: "Directory") -> bool:
        """Whether other is this directory or is somewhere below it."""
        inner = [thing for thing in self.names.values() if isinstance(thing, Directory)]
        return other is self or any(directory.holds(other) for directory in inner)


class RefusedError(Exception):
    """The oracle says that the call must raise."""


def refuse_if(condition: bool) -> None:
    if condition:
        raise RefusedError


NAMES = st.sampled_from("abc")
DIRECTORIES = st.sampled_from(["", "a", "b", "a/a", "b/a", "a/b/c"])
FLAGS = st.sampled_from(RENAME_FLAGS)


class NamespaceMachine(RuleBasedStateMachine):
    """Each rule does the same to both: they agree on the paths, or both refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.names = create()
        self.root = Directory({})

    def teardown(self) -> None:
        self.names.metadata.close()

    def both(self, call: Callable[[], Node | None], oracle: Callable[[], None]) -> None:
        """Do call and oracle; both raise or none does.  Delete what lost its last name."""
        try:
            oracle()
        except RefusedError:
            with pytest.raises(FsError):
                call()
            return
        node = call()
        if node is not None and not node.nlink:
            self.names.nodes.evict(node)
            self.names.nodes.rows.delete(node.ino)

    def directory(self, path: str) -> Directory:
        found: File | Directory = self.root
        for name in filter(None, path.split("/")):
            refuse_if(not isinstance(found, Directory) or name not in found.names)
            assert isinstance(found, Directory)
            found = found.names[name]
        if not isinstance(found, Directory):
            raise RefusedError
        return found

    @rule(path=DIRECTORIES, name=NAMES, mode=st.sampled_from([FILE, DIRECTORY, SYMLINK]))
    def make(self, path: str, name: str, mode: int) -> None:
        def oracle() -> None:
            parent = self.directory(path)
            refuse_if(name in parent.names)
            parent.names[name] = Directory({}) if mode == DIRECTORY else File()

        self.both(lambda: make(self.names, f"{path}/{name}", mode), oracle)

    @rule(path=DIRECTORIES, name=NAMES)
    def unlink(self, path: str, name: str) -> None:
        def oracle() -> None:
            parent = self.directory(path)
            refuse_if(not isinstance(parent.names.get(name), File))
            del parent.names[name]

        self.both(
            lambda: self.names.unlink(*place(self.names, f"{path}/{name}"), 20),
            oracle,
        )

    @rule(path=DIRECTORIES, name=NAMES)
    def rmdir(self, path: str, name: str) -> None:
        def oracle() -> None:
            parent = self.directory(path)
            thing = parent.names.get(name)
            refuse_if(not isinstance(thing, Directory) or bool(thing.names))
            del parent.names[name]

        self.both(
            lambda: self.names.rmdir(*place(self.names, f"{path}/{name}"), 20),
            oracle,
        )

    @rule(old=DIRECTORIES, name=NAMES, new=DIRECTORIES, new_name=NAMES)
    def link(self, old: str, name: str, new: str, new_name: str) -> None:
        def oracle() -> None:
            file = self.directory(old).names.get(name)
            parent = self.directory(new)
            refuse_if(new_name in parent.names)
            if not isinstance(file, File):
                raise RefusedError
            parent.names[new_name] = file

        def call() -> Node:
            node = at(self.names, f"{old}/{name}")
            return self.names.link(node.ino, *place(self.names, f"{new}/{new_name}"), 20)

        self.both(call, oracle)

    @rule(old=DIRECTORIES, name=NAMES, new=DIRECTORIES, new_name=NAMES, flags=FLAGS)
    def rename(self, old: str, name: str, new: str, new_name: str, flags: int) -> None:
        def oracle() -> None:
            above, below = self.directory(old), self.directory(new)
            source, target = above.names.get(name), below.names.get(new_name)
            if source is None:
                raise RefusedError
            refuse_if(flags == RENAME_EXCHANGE and target is None)
            refuse_if(bool(flags & RENAME_NOREPLACE) and target is not None)
            refuse_if(isinstance(source, Directory) and source.holds(below))
            refuse_if(isinstance(target, Directory) and target.holds(above))
            if source is target:
                return
            if target is not None and flags == RENAME_EXCHANGE:
                above.names[name] = target
            else:
                refuse_if(target is not None and type(target) is not type(source))
                refuse_if(isinstance(target, Directory) and bool(target.names))
                del above.names[name]
            below.names[new_name] = source
            if flags & RENAME_WHITEOUT:
                above.names[name] = File()

        self.both(lambda: rename(self.names, f"{old}/{name}", f"{new}/{new_name}", flags), oracle)

    @rule()
    def drop_all(self) -> None:
        """What is stored is all there is: nothing depends on a node being in memory."""
        self.names.nodes.save_changed()  # a whiteout was dropped before, and waits for a commit
        for ino in list(self.names.nodes.in_memory):
            assert self.names.nodes.drop(ino)

    @invariant()
    def same_paths(self) -> None:
        found = {path: stat.S_ISDIR(seen.mode) for path, seen in tree_of(self.names).items()}
        assert found == dict(paths_of(self.root))

    @invariant()
    def link_counts_are_right(self) -> None:
        """(J1)"""
        check_link_counts(self.names)
        assert self.names.nodes.rows.orphans() == []


def paths_of(directory: Directory, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every path below a directory, and whether it is one."""
    for name, thing in directory.names.items():
        yield f"{prefix}{name}", isinstance(thing, Directory)
        if isinstance(thing, Directory):
            yield from paths_of(thing, f"{prefix}{name}/")


TestNamespaceMachine = NamespaceMachine.TestCase
TestNamespaceMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, database=None
)
