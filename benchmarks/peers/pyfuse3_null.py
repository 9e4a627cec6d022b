"""The plain engine: what pyfuse3 gives a filesystem that keeps everything in memory.

    python pyfuse3_null.py MOUNTPOINT        stays in front until it is unmounted

Written as pyfuse3's own examples are: coroutines, and one bytearray per file.  There is no
policy, and nothing is done that c_null.c does not do.
"""

import errno
import os
import stat
import sys
from collections.abc import Sequence

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
)

NAME_TIMEOUT_S = 3600


class Node:
    """One file or directory."""

    def __init__(self, ino: int, mode: int) -> None:
        self.ino = ino
        self.mode = mode
        self.linked = True
        self.data = bytearray()
        self.children: dict[bytes, Node] = {}

    def entry(self) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(self.ino)
        entry.st_mode = ModeT(self.mode)
        entry.st_nlink = int(self.linked)
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.st_size = len(self.data)
        entry.entry_timeout, entry.attr_timeout = NAME_TIMEOUT_S, 0
        return entry


class Null(pyfuse3.Operations):
    """A file's handle is its inode number.  pyfuse3 answers ENOSYS to whatever is not here."""

    def __init__(self) -> None:
        super().__init__()
        self.last_ino: int = pyfuse3.ROOT_INODE
        self.nodes = {self.last_ino: Node(self.last_ino, stat.S_IFDIR | 0o755)}
        self.listings: dict[int, list[tuple[bytes, Node]]] = {}
        self.last_listing = 0

    def _make(self, parent: int, name: bytes, mode: int) -> Node:
        self.last_ino += 1
        node = Node(self.last_ino, mode)
        self.nodes[node.ino] = self.nodes[parent].children[name] = node
        return node

    async def lookup(self, parent: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        node = self.nodes[parent].children.get(name)
        if node is None:
            raise FUSEError(errno.ENOENT)
        return node.entry()

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for ino, _ in inode_list:
            if not self.nodes[ino].linked:
                del self.nodes[ino]

    async def getattr(self, ino: InodeT, ctx: RequestContext) -> EntryAttributes:
        return self.nodes[ino].entry()

    async def setattr(
        self,
        ino: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self.nodes[ino]
        if fields.update_size:
            del node.data[attr.st_size :]
            node.data.extend(bytes(attr.st_size - len(node.data)))
        return node.entry()

    async def mkdir(
        self, parent: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        return self._make(parent, name, stat.S_IFDIR | mode & 0o7777).entry()

    async def create(
        self, parent: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        node = self._make(parent, name, stat.S_IFREG | mode & 0o7777)
        return FileInfo(fh=FileHandleT(node.ino), direct_io=True), node.entry()

    async def unlink(self, parent: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self.nodes[parent].children.pop(name).linked = False

    async def open(self, ino: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        return FileInfo(fh=FileHandleT(ino), direct_io=True)

    async def read(self, fh: FileHandleT, pos: int, length: int) -> bytes:
        # Any buffer will do; bytes() would copy again.
        return self.nodes[fh].data[pos : pos + length]  # type: ignore[return-value]

    async def write(self, fh: FileHandleT, pos: int, data: bytes) -> int:
        file = self.nodes[fh].data
        if pos > len(file):
            file.extend(bytes(pos - len(file)))
        file[pos : pos + len(data)] = data
        return len(data)

    async def release(self, fh: FileHandleT) -> None:
        pass

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        pass

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        pass

    async def opendir(self, ino: InodeT, ctx: RequestContext) -> FileHandleT:
        self.last_listing += 1
        self.listings[self.last_listing] = list(self.nodes[ino].children.items())
        return FileHandleT(self.last_listing)

    async def readdir(self, fh: FileHandleT, start: int, token: ReaddirToken) -> None:
        entries = self.listings[fh]
        for i in range(start, len(entries)):
            name, node = entries[i]
            if not pyfuse3.readdir_reply(token, FileNameT(name), node.entry(), i + 1):
                return

    async def releasedir(self, fh: FileHandleT) -> None:
        del self.listings[fh]


def main(mountpoint: str) -> None:
    options = {*pyfuse3.default_options, "fsname=pyfuse3-null"}
    pyfuse3.init(Null(), mountpoint, options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main(sys.argv[1])
