"""Names: POSIX's rules for them, over the nodes and the metadata.

A change of a name is in the open transaction at once (dentries.py).  The link counts and times
that go with it are written behind, but before that is committed (inode_rows.py), so that each
commit has whole operations.  An inode whose last name is gone stays stored, with nlink 0: a
crash leaves an orphan, which the next mount removes.

Who changes which time: a directory's mtime and ctime, with each name that comes or goes;
the ctime of what is linked, unlinked, renamed or replaced.

Units: times are nanoseconds since 1970, and always passed in.
Errors: FsError with the errno that Linux's system call returns; FsError(EIO) if what is
stored contradicts itself.
Invariants:
    (J1) nlink of a directory is 2 and one more for each directory in it; of anything else,
         the number of its names;
    (J2) a directory has one name, and is not among its own descendants.
"""

import errno
import stat
from collections.abc import Iterator
from typing import NamedTuple

from fusefs.model.errors import FsError
from fusefs.model.geometry import SECTOR_SIZE
from fusefs.store.dentries import Dentries
from fusefs.store.metadata_file import DOT_COOKIES, ROOT_INO
from fusefs.store.node import Node
from fusefs.store.nodes import NodeTable
from fusefs.store.permissions import Permissions
from fusefs.store.stored import NAME_LENGTH_MAX, Entry

LINK_COUNT_MAX = 65000

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
RENAME_FLAGS = (
    0,
    RENAME_NOREPLACE,
    RENAME_EXCHANGE,
    RENAME_WHITEOUT,
    RENAME_NOREPLACE | RENAME_WHITEOUT,
)

WHITEOUT_MODE = stat.S_IFCHR
"""A character device 0:0 without permissions: an overlay's sign that a name is gone."""


class Place(NamedTuple):
    """Where a name is, or is to be."""

    directory: Node
    name: bytes


class Namespace:
    """The tree of names of one mount."""

    def __init__(self, nodes: NodeTable, permissions: Permissions) -> None:
        self.nodes = nodes
        self.metadata = metadata = nodes.metadata
        self.dentries = Dentries(metadata)
        self._permissions = permissions
        self.inodes_max = metadata.block_count * metadata.block_size // SECTOR_SIZE
        """One for each sector of the image: no small file is without one for want of it."""

    # -- looking -----------------------------------------------------------------------

    def lookup(self, parent: int, name: bytes) -> Node:
        """The node that a name leads to; FsError(ENOENT) if there is no such name."""
        if name == b".":  # of a file, too: open_by_handle_at(2) and NFS ask so
            node = self.nodes.get(parent)
            if not node.nlink and not node.opens:
                raise FsError(errno.ESTALE)  # deleted, but not yet gone
            return node
        self._directory(parent)
        if name == b"..":
            return self.nodes.get(self.dentries.parent(parent))
        return self._named(parent, name)

    def inos(self, *places: tuple[int, bytes]) -> tuple[int, ...]:
        """What names in directories lead to, as far as there are such; nothing is loaded."""
        found = [self.dentries.find(parent, name) for parent, name in places]
        return tuple(ino for ino in found if ino is not None)

    def entries(self, ino: int, after_cookie: int, limit: int) -> list[Entry]:
        """Up to limit entries of a directory, in the order of their cookies; [] at the end.

        after_cookie is the last entry seen, 0 for none.  '.' and '..' come first, with
        cookies 1 and 2.  A name that is there from the first call to the last is
        returned exactly once, whatever comes and goes meanwhile.
        """
        self._directory(ino)
        dots = []
        if after_cookie < DOT_COOKIES:
            dots = [Entry(1, b".", ino), Entry(DOT_COOKIES, b"..", self.dentries.parent(ino))]
            dots = dots[after_cookie:][:limit]
        return dots + self.dentries.entries(ino, after_cookie, limit - len(dots))

    def load(self, parent: int, entries: list[Entry]) -> None:
        """Take into memory what all these names lead to, with one query; FsError(EIO)."""
        if {entry.ino for entry in entries} <= self.nodes.in_memory.keys():
            return
        first, last = entries[0].cookie, entries[-1].cookie
        for attributes in self.nodes.rows.load_named(parent, first, last):
            if attributes.nlink and attributes.ino not in self.nodes.in_memory:
                self.nodes.add(attributes)

    def path(self, ino: int) -> str:
        """From the root, for a reader; '' for what has no name.  Of several names the oldest."""
        names: list[bytes] = []
        seen = {ROOT_INO}
        while ino not in seen and (place := self.dentries.place(ino)) is not None:
            seen.add(ino)
            ino = place[0]
            names.append(place[1])
        if ino != ROOT_INO:
            return ""
        return "/" + b"/".join(reversed(names)).decode(errors="backslashreplace")

    def _directory(self, ino: int) -> Node:
        """The node of a directory that still has a name."""
        node = self.nodes.get(ino)
        if not node.is_directory:
            raise FsError(errno.ENOTDIR)
        if not node.nlink:
            raise FsError(errno.ENOENT)
        return node

    def _find(self, parent: int, name: bytes) -> int | None:
        """The inode of a name, or None; FsError if it cannot be a name at all."""
        if len(name) > NAME_LENGTH_MAX:
            raise FsError(errno.ENAMETOOLONG)
        if not name:
            raise FsError(errno.ENOENT)
        if b"/" in name or b"\0" in name:
            raise FsError(errno.EINVAL)
        return self.dentries.find(parent, name)

    def _named(self, parent: int, name: bytes) -> Node:
        ino = self._find(parent, name)
        if ino is None:
            raise FsError(errno.ENOENT)
        return self._linked(ino)

    def _linked(self, ino: int) -> Node:
        """The node that a stored name leads to; if it is not there, the disk is at fault."""
        try:
            return self.nodes.get(ino)
        except FsError as error:
            raise self.metadata.damaged(f"a name of inode {ino}") from error

    def _ancestors(self, ino: int) -> Iterator[int]:
        """A directory, what holds it, and so on up to the root."""
        seen = set()
        while ino not in seen:
            seen.add(ino)
            yield ino
            if ino == ROOT_INO:
                return
            ino = self.dentries.parent(ino)
        raise self.metadata.damaged(f"the tree above directory {ino}")  # (J2)

    # -- making and removing names -----------------------------------------------------

    def make(
        self,
        parent: int,
        name: bytes | None,
        mode: int,
        uid: int,
        gid: int,
        rdev: int,
        now_ns: int,
        target: bytes | None = None,
        umask: int = 0,
    ) -> Node:
        """A new inode: mknod, create, mkdir, or symlink if target is given.

        Without a name it is a file of O_TMPFILE, to which link() may give one, or a whiteout,
        which rename() names at once; a crash before that removes it.
        mode has the file type; the umask, or a default ACL instead, takes bits from it.
        """
        directory = self._directory(parent)
        is_directory = stat.S_ISDIR(mode)
        if name is not None:
            self._check_free(Place(directory, name))
        if is_directory:
            self._check_room(directory)
        if directory.mode & stat.S_ISGID:
            gid = directory.gid
            if is_directory:
                mode |= stat.S_ISGID
        self._check_inodes()
        ino = self.metadata.new_ino()
        if target is None:
            mode = self._permissions.inherit(directory, ino, mode, umask)
        nlink = 0 if name is None else 2 if is_directory else 1
        if name is not None:
            self.dentries.insert(parent, name, ino)
            self._touch_directory(directory, now_ns, links=int(is_directory))
        node = self.nodes.new(ino, mode, nlink, uid, gid, rdev, now_ns, target)
        node.linkable = name is None
        return node

    def link(self, ino: int, parent: int, name: bytes, now_ns: int) -> Node:
        """Give a file one more name; return its node."""
        place = Place(self._directory(parent), name)
        self._check_free(place)
        node = self.nodes.get(ino)
        if node.is_directory:
            raise FsError(errno.EPERM)
        if not node.nlink and not node.linkable:
            raise FsError(errno.ENOENT)
        if node.nlink >= LINK_COUNT_MAX:
            raise FsError(errno.EMLINK)
        self.dentries.insert(parent, name, ino)
        self._touch_directory(place.directory, now_ns)
        self.nodes.touch(node, now_ns, links=1)
        node.linkable = False
        return node

    def unlink(self, parent: int, name: bytes, now_ns: int) -> Node:
        """Remove a name of what is not a directory; return its node, whose nlink may be 0."""
        place = Place(self._directory(parent), name)
        if name in (b".", b".."):
            raise FsError(errno.EISDIR)
        node = self._named(parent, name)
        if node.is_directory:
            raise FsError(errno.EISDIR)
        self.dentries.delete(parent, name)
        self._touch_directory(place.directory, now_ns)
        self.nodes.touch(node, now_ns, links=-1)
        return node

    def rmdir(self, parent: int, name: bytes, now_ns: int) -> Node:
        """Remove an empty directory; return its node, whose nlink is 0."""
        place = Place(self._directory(parent), name)
        if name == b".":
            raise FsError(errno.EINVAL)
        if name == b"..":
            raise FsError(errno.ENOTEMPTY)
        node = self._named(parent, name)
        if not node.is_directory:
            raise FsError(errno.ENOTDIR)
        self._check_empty(node)
        self.dentries.delete(parent, name)
        self._touch_directory(place.directory, now_ns, links=-1)
        self.nodes.touch(node, now_ns, links=-node.nlink)
        return node

    # -- renaming ----------------------------------------------------------------------

    def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
        now_ns: int,
        uid: int = 0,
        gid: int = 0,
    ) -> Node | None:
        """Move a name, or exchange two; return the node that a move replaced, if any.

        flags is one of RENAME_FLAGS; uid and gid are a whiteout's.  The errors come in the
        order of do_renameat2() and vfs_rename().
        """
        if flags not in RENAME_FLAGS:
            raise FsError(errno.EINVAL)
        old = Place(self._directory(parent), name)
        new = Place(self._directory(new_parent), new_name)
        if {name, new_name} & {b".", b".."}:
            raise FsError(errno.EBUSY)
        source = self._named(parent, name)
        target_ino = self._find(new_parent, new_name)
        if target_ino is None and flags == RENAME_EXCHANGE:
            raise FsError(errno.ENOENT)
        if target_ino is not None and flags & RENAME_NOREPLACE:
            raise FsError(errno.EEXIST)
        target = None if target_ino is None else self._linked(target_ino)
        if old.directory is not new.directory:
            if source.is_directory and source.ino in self._ancestors(new_parent):
                raise FsError(errno.EINVAL)
            if target is not None and target.is_directory and target.ino in self._ancestors(parent):
                raise FsError(errno.EINVAL if flags == RENAME_EXCHANGE else errno.ENOTEMPTY)
        if target is source:
            return None
        if target is not None and flags == RENAME_EXCHANGE:
            self._exchange(old, source, new, target, now_ns)
            return None
        self._check_move(old, source, new, target)
        whiteout = None
        if flags & RENAME_WHITEOUT:
            whiteout = self.make(parent, None, WHITEOUT_MODE, uid, gid, 0, now_ns)
        self._move(old, source, new, target, whiteout, now_ns)
        return target

    def _exchange(self, old: Place, source: Node, new: Place, target: Node, now_ns: int) -> None:
        """Swap what two names lead to; each name keeps its cookie."""
        gained = int(source.is_directory) - int(target.is_directory)
        if gained and old.directory is not new.directory:
            self._check_room(new.directory if gained > 0 else old.directory)
        self.dentries.repoint(old.directory.ino, old.name, target.ino)
        self.dentries.repoint(new.directory.ino, new.name, source.ino)
        self._touch_directory(old.directory, now_ns, links=-gained)
        self._touch_directory(new.directory, now_ns, links=gained)
        self.nodes.touch(source, now_ns)
        self.nodes.touch(target, now_ns)

    def _check_move(self, old: Place, source: Node, new: Place, target: Node | None) -> None:
        """FsError if a name cannot take the new place, or what is there cannot go."""
        if target is None:
            if source.is_directory and old.directory is not new.directory:
                self._check_room(new.directory)
            return
        if source.is_directory != target.is_directory:
            raise FsError(errno.ENOTDIR if source.is_directory else errno.EISDIR)
        self._check_empty(target)

    def _move(
        self,
        old: Place,
        source: Node,
        new: Place,
        target: Node | None,
        whiteout: Node | None,
        now_ns: int,
    ) -> None:
        """Give source the new name in place of the old, and take it from target.

        A name that was there before and still is keeps its cookie, as does one that is moved:
        so no reader of a directory misses it or sees it twice.
        """
        gained = int(source.is_directory)
        if target is not None:
            self.dentries.repoint(new.directory.ino, new.name, source.ino)
            self.nodes.touch(target, now_ns, links=-target.nlink if target.is_directory else -1)
            gained = 0
        if whiteout is not None:
            if target is None:
                self.dentries.insert(new.directory.ino, new.name, source.ino)
            self.dentries.repoint(old.directory.ino, old.name, whiteout.ino)
            self._name_whiteout(whiteout, now_ns)
        elif target is None:
            self.dentries.move(old.directory.ino, old.name, new.directory.ino, new.name, source.ino)
        else:
            self.dentries.delete(old.directory.ino, old.name)
        self._touch_directory(old.directory, now_ns, links=-int(source.is_directory))
        self._touch_directory(new.directory, now_ns, links=gained)
        self.nodes.touch(source, now_ns)

    def _name_whiteout(self, whiteout: Node, now_ns: int) -> None:
        """It has its first name, and the kernel does not know of it."""
        whiteout.linkable = False
        self.nodes.touch(whiteout, now_ns, links=1)
        self.nodes.drop(whiteout.ino)

    # -- what the above share ----------------------------------------------------------

    def _check_free(self, place: Place) -> None:
        """FsError(EEXIST) if the name is taken."""
        if place.name in (b".", b"..") or self._find(place.directory.ino, place.name) is not None:
            raise FsError(errno.EEXIST)

    def _check_inodes(self) -> None:
        """FsError(ENOSPC): else the metadata would grow for ever with empty files.

        What was deleted goes with the next commit, and counts no more.
        """
        limit = self.inodes_max
        if self.metadata.inode_count >= limit and self.nodes.rows.count_linked() >= limit:
            raise FsError(errno.ENOSPC)

    def _check_empty(self, node: Node) -> None:
        """FsError(ENOTEMPTY) for a directory with names in it."""
        if not self.dentries.is_empty(node.ino):
            raise FsError(errno.ENOTEMPTY)

    def _check_room(self, directory: Node) -> None:
        """FsError(EMLINK) if a directory can hold no more directories."""
        if directory.nlink >= LINK_COUNT_MAX:
            raise FsError(errno.EMLINK)

    def _touch_directory(self, directory: Node, now_ns: int, links: int = 0) -> None:
        """A name in the directory came or went."""
        directory.mtime_ns = now_ns
        self.nodes.touch(directory, now_ns, links)
