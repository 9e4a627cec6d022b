"""A namespace in memory, and its nodes by path: what the tests of names share."""

import stat
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from fusefs.model.geometry import Geometry
from fusefs.store.inode_rows import InodeRows
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import DOT_COOKIES, ROOT_INO
from fusefs.store.namespace import Namespace
from fusefs.store.node import Node
from fusefs.store.nodes import NodeTable
from fusefs.store.permissions import Permissions
from fusefs.store.xattr_table import XattrTable
from fusefs.store.xattrs import Xattrs

UUID_OURS = UUID("6f756f75-0000-4000-8000-000000000001")
FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755
SYMLINK = stat.S_IFLNK | 0o777


SHELF = {
    "f": FILE,
    "g": FILE,
    "empty": DIRECTORY,
    "full": DIRECTORY,
    "full/f": FILE,
    "full/sub": DIRECTORY,
    "full/sub/empty": DIRECTORY,
}
"""What fill() makes, in this order."""


def create(path: Path | str = ":memory:", block_count: int = 100_000) -> Namespace:
    metadata = Metadata.create(path, UUID_OURS, 1024, block_count, 0, 0, 1)
    return over(metadata)


def reopen(names: Namespace) -> Namespace:
    names.metadata.commit(names.nodes.rows.write_named)
    names.metadata.close()
    return over(Metadata.open(names.metadata.path, UUID_OURS))


def over(metadata: Metadata, geometry: Geometry | None = None) -> Namespace:
    """The namespace over metadata, as a volume has it."""
    nodes = NodeTable(InodeRows(metadata), geometry or Geometry())
    return Namespace(nodes, Permissions(nodes, XattrTable(metadata)))


def permissions(names: Namespace) -> Permissions:
    return Permissions(names.nodes, XattrTable(names.metadata))


def xattrs(names: Namespace) -> Xattrs:
    return Xattrs(names.nodes, XattrTable(names.metadata), permissions(names))


def make(names: Namespace, path: str, mode: int = FILE, now_ns: int = 10) -> Node:
    """A new inode at a path such as 'a/b'; whatever comes before the last '/' exists."""
    *parents, name = path.split("/")
    parent = at(names, "/".join(parents)).ino
    return names.make(parent, name.encode(), mode, 1000, 100, 0, now_ns)


def at(names: Namespace, path: str) -> Node:
    node = names.nodes.get(ROOT_INO)
    for name in filter(None, path.split("/")):
        node = names.lookup(node.ino, name.encode())
    return node


def place(names: Namespace, path: str) -> tuple[int, bytes]:
    parent, _, name = path.rpartition("/")
    return at(names, parent).ino, name.encode()


def rename(names: Namespace, old: str, new: str, flags: int = 0, now_ns: int = 20) -> Node | None:
    return names.rename(*place(names, old), *place(names, new), flags, now_ns)


def fill(names: Namespace) -> None:
    """The shelf, and 'hard', which is one more name of f."""
    for path, mode in SHELF.items():
        make(names, path, mode)
    names.link(at(names, "f").ino, ROOT_INO, b"hard", 10)


def times(node: Node) -> tuple[int, int, int]:
    return node.atime_ns, node.mtime_ns, node.ctime_ns


@dataclass(frozen=True)
class Seen:
    """What a path shows."""

    ino: int
    mode: int
    nlink: int
    size: int


def tree_of(names: Namespace, path: str = "") -> dict[str, Seen]:
    """Every path below a directory, without a leading '/'."""
    found = {}
    for entry in names.entries(at(names, path).ino, DOT_COOKIES, 1000):
        node = names.nodes.get(entry.ino)
        inner = f"{path}/{entry.name.decode()}".lstrip("/")
        found[inner] = Seen(node.ino, node.mode, node.nlink, node.size)
        if node.is_directory:
            found |= tree_of(names, inner)
    return found


def check_link_counts(names: Namespace) -> None:
    """(J1)"""
    tree = tree_of(names)
    for path, seen in {"": Seen(ROOT_INO, 0, names.nodes.get(ROOT_INO).nlink, 0), **tree}.items():
        inner = [s for p, s in tree.items() if p.rpartition("/")[0] == path]
        if path == "" or stat.S_ISDIR(seen.mode):
            assert seen.nlink == 2 + sum(stat.S_ISDIR(s.mode) for s in inner), path
        else:
            assert seen.nlink == sum(s.ino == seen.ino for s in tree.values()), path
