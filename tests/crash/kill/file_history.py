"""What one file may be after a crash: all states since its last sync, block by block.

    write, zero, truncate, chmod      what was done to it, or begun
    sync, sync_range                  what was promised
    check                             is this one of those states?

Each block is as it was at the last sync, or as one of the calls since then left it.  The
size is one that the file had since then, or one on the way there: where a write ended, or
a multiple of the block.  What a truncate cut off does not come back with a size from after
it.

Units: pos, end and size are bytes in the file.
Errors: Lost, with what is there and what would be right.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class Lost(AssertionError):
    """A promise is broken; the message says which, and where."""


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
