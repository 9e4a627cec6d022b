"""One mounted image: its file, its metadata, and the commit that keeps them in step.

    commit    1. attributes, maps and groups that changed go into the open transaction,
                 in one piece: nothing runs in between
              2. the image is flushed
              3. the transaction is committed, with all names that came meanwhile
              4. blocks freed before 1 are punched out of the image, then may be used again

A map may name a block as written only if its bytes were on the image before 2; a block is
used again only after 3 of the commit that freed it.  So a crash at any moment leaves the
state of the last 3, and no file ever reads what was another's.

After a failed 1, 2 or 3 there is no further commit: health.py.  What the failed one covered
may be on the disk or not, and a flush that succeeds later does not tell.  Requests that have
begun, and dirty pages, may still reach the image: into blocks that no commit will name.

Units: pos and length are bytes in a file.
Errors: VolumeError, one line, while opening.  FsError from commit().
"""

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fusefs.model.errors import FsError
from fusefs.model.filesystem import Filesystem
from fusefs.model.geometry import Geometry
from fusefs.model.inode import Inode
from fusefs.model.options import Options, format_size
from fusefs.store.deleted import DeletedFiles
from fusefs.store.holders import explained
from fusefs.store.image_file import ImageError, ImageFile, ImageInUse
from fusefs.store.inode_rows import InodeRows
from fusefs.store.metadata import Metadata, MetadataError
from fusefs.store.metadata_file import check_header, remove_file
from fusefs.store.namespace import Namespace
from fusefs.store.new_image import check_metadata_place, take_image, write_new
from fusefs.store.node import Node
from fusefs.store.nodes import NodeTable
from fusefs.store.permissions import Permissions
from fusefs.store.stored_blocks import load_space, save_space
from fusefs.store.xattr_table import XattrTable
from fusefs.store.xattrs import Xattrs

log = logging.getLogger(__name__)

DEFAULT_BLOCK_SIZE = 1024

LOCK_WAIT_S = 2.0
"""How long a command waits for the lock of an image whose daemon is just ending."""


class VolumeError(Exception):
    """The image cannot be made or mounted; one line says why and what to do."""


def metadata_path(image_path: str, given: str | None) -> str:
    """Where the metadata are; not a link to them, as SQLite's log is beside what that leads to.

    Without another name they are beside the image, by the name by which that is given: if that is
    a link, beside the link.
    """
    path = given or f"{image_path}.meta"
    return os.path.realpath(path) if os.path.islink(path) else path


def make_image(image_path: str, meta_path: str, options: Options, *, force: bool = False) -> None:
    """mkfs: a new image and its metadata, or neither; VolumeError.

    With force what both hold is given up, unless it is in use.
    """
    is_new = not os.path.exists(image_path)
    with _one_line_errors():
        check_metadata_place(meta_path, image_path, metadata_path(image_path, None), force=force)
        block_size = options.block_size or DEFAULT_BLOCK_SIZE
        image = take_image(image_path, options.size, block_size, force=force)
        try:
            if force:
                remove_file(meta_path)
            write_new(image)
            block = image.superblock
            Metadata.create(
                meta_path,
                block.uuid,
                block.block_size,
                block.block_count,
                os.getuid(),
                os.getgid(),
                time.time_ns(),
            ).close()
        except BaseException:
            if is_new:
                os.unlink(image_path)
            raise
        finally:
            image.close()


def try_open(image_path: str, meta_path: str, lock_wait_s: float = 0.0) -> None:
    """VolumeError if an image cannot be opened, or its metadata is not there; changes nothing."""
    with _one_line_errors():
        image = ImageFile.open(image_path, lock_wait_s)
        try:
            image.check_writable()
            check_header(meta_path)
        finally:
            image.close()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ImageInUse as error:
        raise VolumeError(explained(error)) from None
    except (ImageError, MetadataError) as error:
        raise VolumeError(str(error)) from None
    except FsError as error:
        raise VolumeError(f"cannot use the metadata: {os.strerror(error.errno)}") from None
    except sqlite3.Error as error:
        raise VolumeError(f"cannot use the metadata: {error}") from None
    except OSError as error:
        what = "cannot use the image" if error.filename is None else error.filename
        raise VolumeError(f"{what}: {error.strerror}") from None


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """In place of a thread, where nobody else has anything to do meanwhile."""
    return function(*arguments)


def _log_failure(reason: str) -> None:
    log.error(
        "%s; the mount is read-only now: unmount, see to the disk, run mount_tool.py fsck", reason
    )


class Volume:
    """An open image with everything that its requests share.

    in_thread runs what blocks: flush, commit and punch.  Others may go on meanwhile.
    """

    def __init__(
        self,
        image: ImageFile,
        metadata: Metadata,
        options: Options,
        in_thread: Callable[..., Awaitable[Any]] = at_once,
    ) -> None:
        block = image.superblock
        self.image = image
        self.metadata = metadata
        self.changing = metadata.changing
        space = load_space(metadata)
        self.fs = Filesystem(Geometry(block.block_size, options.page_size), options, space)
        self.rows = InodeRows(metadata)
        self.nodes = NodeTable(self.rows, self.fs.geometry)
        xattr_table = XattrTable(metadata)
        self.permissions = Permissions(self.nodes, xattr_table)
        self.xattrs = Xattrs(self.nodes, xattr_table, self.permissions)
        self.namespace = Namespace(self.nodes, self.permissions)
        self.deleted = DeletedFiles(self.fs, self.nodes)
        self.commit_count = 0
        self.health = metadata.health
        self.health.watch(_log_failure)
        self._in_thread = in_thread

    @classmethod
    def open(
        cls,
        image_path: str,
        meta_path: str,
        options: Options,
        lock_wait_s: float = 0.0,
        in_thread: Callable[..., Awaitable[Any]] = at_once,
    ) -> "Volume":
        """Open an image and take its lock; VolumeError if anything is not as it must be."""
        with _one_line_errors():
            image = ImageFile.open(image_path, lock_wait_s)
            try:
                image.check_writable()
                size = image.superblock.block_size
                blocks = image.superblock.block_count
                if options.size is not None and options.size // size != blocks:
                    raise VolumeError(
                        f"{image_path}: its size is {format_size(blocks * size)}, not"
                        f" {format_size(options.size)}; it is chosen when the image is made"
                    )
                if options.block_size not in (None, size):
                    raise VolumeError(
                        f"{image_path}: its block_size is {size}, not {options.block_size};"
                        " it is chosen when the image is made"
                    )
                if size > options.page_size:
                    raise VolumeError(
                        f"{image_path}: its block_size {size} is larger than"
                        f" page_size={options.page_size}"
                    )
                metadata = Metadata.open(meta_path, image.superblock.uuid)
            except BaseException:
                image.close()
                raise
            try:
                block = image.superblock
                if (metadata.block_size, metadata.block_count) != (size, block.block_count):
                    raise VolumeError(
                        f"{image_path}: the superblock is damaged: it says {block.block_count}"
                        f" blocks of {size}, but the metadata says {metadata.block_count}"
                        f" of {metadata.block_size}"
                    )
                return cls(image, metadata, options, in_thread)
            except BaseException:
                metadata.close()
                image.close()
                raise

    def replacement(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes
    ) -> Node | None:
        """The regular file that a rename is to put in another's place."""
        self.health.check_writable()
        try:
            source = self.namespace.lookup(parent, name)
            self.namespace.lookup(new_parent, new_name)
        except FsError:
            return None
        return None if source.inode is None else source

    def unsaved_replacement(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes
    ) -> Inode | None:
        """The same, if a crash could shorten it.

        Else the name might lead to neither the old content nor the new; ext4 has
        auto_da_alloc against that.
        """
        source = self.replacement(parent, name, new_parent, new_name)
        return None if source is None or source.data_is_stored else source.inode

    def release(self, node: Node) -> None:
        """A node was forgotten or closed: let it go if nobody can reach it any more.

        The flusher writes dirty pages back, and the commit after that lets it go.
        """
        if node.is_idle and node.nlink:
            if node.inode is None or not node.inode.mapping.pages_dirty:
                self._drop(node)
        else:
            self.deleted.release(node)

    def available_count(self) -> int:
        """Blocks that a write may have, if it waits for a commit, or several: statfs."""
        space = self.fs.space
        later = space.freed_count + space.inactive_count + self.deleted.blocks_unlinked()
        count = space.available_count + later
        return min(max(count, 0), space.block_count - 1)

    def _drop(self, node: Node) -> None:
        """Let a node and its clean pages go, unless something of it is not stored yet (W5)."""
        pages = list(node.inode.mapping.pages.values()) if node.inode is not None else []
        if any(page.locked or page.writeback for page in pages):
            return  # the commit after its writeback comes here again
        if self.nodes.drop(node.ino):
            for page in pages:
                self.fs.cache.remove(page)
            if node.inode is not None:
                self.fs.forget_dirty(node.inode)

    async def commit(self) -> None:
        """Make durable what was written and changed until now; see the module's protocol.

        FsError for what began before it failed, and FsError(EIO) ever after.
        """
        self.health.check_durable()
        try:
            await self._commit()
        except FsError:
            raise  # health has it
        except Exception as error:
            self.health.fail(f"a commit ended half-way: {error!r}")
            raise

    async def _commit(self) -> None:
        space = self.fs.space
        self.deleted.release_evicting()
        self.deleted.free_inactive()
        evicted = self.deleted.take_evicted()
        saved = self.nodes.save_changed()
        for ino in evicted:
            self.rows.delete(ino)
        changed = bool(saved or evicted or space.freed or space.groups_dirty)
        if not changed and not self.metadata.names_changed:
            await self._flush()
            return
        self.metadata.names_changed = False
        space.begin_commit()
        save_space(self.metadata, space)
        await self._flush()
        await self._in_thread(self.metadata.commit, self.rows.write_named)
        self.commit_count += 1
        if space.committing:
            await self._in_thread(self.image.punch, list(space.committing))
        space.end_commit()
        for node in saved:
            if self.nodes.in_memory.get(node.ino) is node and node.is_idle and node.nlink:
                self._drop(node)

    async def _flush(self) -> None:
        """Part 2; it is never tried again: the second time it says nothing about the first."""
        try:
            await self._in_thread(self.image.flush)
        except OSError as error:
            self.health.fail(f"{self.image.path}: the flush failed: {error.strerror}")
            raise FsError(error.errno or errno.EIO) from error

    def close(self) -> None:
        self.metadata.close()
        self.image.close()
