"""python -m benchmarks.scale_images KIND COUNT IMAGE: an image with something in it.

    files      COUNT files of one block, in one directory
    extents    one file of 1 TiB with COUNT extents of one block, at even distances
    dense      one file with COUNT extents of one block, each a block from the next
    blocks     one preallocated file of COUNT allocation groups

Made without a mount, by what a mount itself calls; the data blocks are never written, and
read as zeros.  The one file is called 'file'; the directory, 'names', has at least NAME_COUNT
files in every image.

Units: blocks are the image's.
Errors: none are expected; fsck must find nothing.
"""

import os
import stat
import sys

import trio

from fusefs.model.extents import CHUNK_BLOCKS
from fusefs.model.options import Options
from fusefs.model.space import GROUP_BLOCKS
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.node import Node
from fusefs.store.volume import Volume, make_image, metadata_path

BLOCK_SIZE = 1024
IMAGE_SIZE = 1 << 40
BLOCK_COUNT = IMAGE_SIZE // BLOCK_SIZE

NAME_COUNT = 1000

COMMIT_EVERY = 4000
"""Changes in one transaction."""


def file_name(number: int) -> str:
    return f"file-{number:07}"


def extent_block(kind: str, number: int, count: int) -> int:
    """Where in the file one of count extents is; of a preallocated file, a group."""
    if kind == "blocks":
        return number * GROUP_BLOCKS
    return number * (2 if kind == "dense" else BLOCK_COUNT // count)


class Builder:
    """Makes files in an open volume, a commit now and then."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._changes = 0

    def make(self, parent: int, name: bytes, mode: int = stat.S_IFREG | 0o644) -> Node:
        owner = os.getuid(), os.getgid()  # the client's
        return self.volume.namespace.make(parent, name, mode, *owner, 0, 1)

    async def fill(self, node: Node, block: int, count: int) -> None:
        """Give a file written blocks, in one run of the image if there is one."""
        inode = node.inode
        assert inode is not None
        end = block + count
        while block < end:
            limit = min(end - block, CHUNK_BLOCKS - block % CHUNK_BLOCKS)
            physical, got = self.volume.fs.space.allocate(limit)
            inode.extents.allocate(block, got, physical)
            inode.extents.convert(block, block + got)
            inode.size = max(inode.size, (block + got) * BLOCK_SIZE)
            inode.written_to(inode.size)
            inode.changed = True
            block += got
            await self.changed()

    async def changed(self) -> None:
        self._changes += 1
        if self._changes % COMMIT_EVERY == 0:
            await self.volume.commit()


async def names(builder: Builder, count: int) -> None:
    directory = builder.make(ROOT_INO, b"names", stat.S_IFDIR | 0o777)
    for number in range(count):
        node = builder.make(directory.ino, file_name(number).encode())
        await builder.fill(node, 0, 1)  # the commit that stores it lets it go


async def file(builder: Builder, kind: str, count: int) -> None:
    node = builder.make(ROOT_INO, b"file")
    node.opens += 1  # else a commit on the way lets it go
    if kind == "blocks":  # less the superblock and the names', so that the last groups fit
        await builder.fill(node, 0, count * GROUP_BLOCKS - 2 * NAME_COUNT)
        return
    for number in range(count):
        await builder.fill(node, extent_block(kind, number, count), 1)


async def build(kind: str, count: int, path: str) -> None:
    options = Options(size=IMAGE_SIZE, block_size=BLOCK_SIZE)
    make_image(path, metadata_path(path, None), options)
    volume = Volume.open(path, metadata_path(path, None), options)
    try:
        builder = Builder(volume)
        await names(builder, count if kind == "files" else NAME_COUNT)
        if kind != "files":
            await file(builder, kind, count)
        await volume.commit()
    finally:
        volume.close()


if __name__ == "__main__":
    trio.run(build, sys.argv[1], int(sys.argv[2]), sys.argv[3])
