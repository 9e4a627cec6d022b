"""Letters to bytes and back: what a run writes, and how what it read is told.

Each run has its own bytes for the letters, and only some runs later they come again.  So the
bytes that an earlier run left on the disk are nobody's, and told as '?'.

Units: pos is bytes in the file.
"""

from collections.abc import Collection

LETTER_COUNT = 26
ALPHABETS = 255 // LETTER_COUNT

ZEROS = "0"
FOREIGN = "?"
MIXED = "!"
BEYOND = "."


class Alphabet:
    """Which byte each letter is in one run; runs are numbered from 1."""

    def __init__(self, run: int) -> None:
        self._first = 1 + run % ALPHABETS * LETTER_COUNT

    def byte(self, letter: str) -> bytes:
        return bytes([self._first + ord(letter) - ord("a")])

    def letter(self, byte: int, letters: Collection[str]) -> str:
        """Back; letters are those that may be in the file."""
        if not byte:
            return ZEROS
        number = byte - self._first
        letter = chr(ord("a") + number) if 0 <= number < LETTER_COUNT else FOREIGN
        return letter if letter in letters else FOREIGN

    def text(self, data: bytes, pos: int, length: int, block: int, letters: Collection[str]) -> str:
        """One character for each block that a read of length bytes at pos touches.

        data is what the read gave, and may be shorter.  Of the last block of a file those bytes
        count that are there.
        """
        blocks = []
        for start in range(pos - pos % block, pos + length, block):
            part = data[max(start - pos, 0) : start + block - pos]
            found = {self.letter(byte, letters) for byte in set(part)}
            blocks.append(found.pop() if len(found) == 1 else MIXED if found else BEYOND)
        return "".join(blocks)
