"""One line of a task: text to Operation, and back, out of one table.

USAGE has the words that may follow each operation, in order, and the table FIELDS where each of
them is kept.  What needs more than this line, such as which files there are, is in check.py.

Errors: LitmusError.
"""

import re
from dataclasses import replace
from typing import Final

from fusefs.litmus.source import (
    FILE_NAME,
    LETTER,
    NAME_SHAPE,
    POSITION_MAX,
    SECTOR_SIZE,
    TASK_NAME,
    TASK_SHAPE,
    Line,
    format_size,
    listed,
    parse_size,
)
from fusefs.litmus.test import Operation

USAGE: Final = {
    "pwrite": "FILE POS LEN LETTER [direct] [dsync] [append]",
    "pread": "FILE POS LEN [direct]",
    "falloc": "FILE POS LEN [keep_size]",
    "fpunch": "FILE POS LEN",
    "fzero": "FILE POS LEN [keep_size]",
    "truncate": "FILE SIZE",
    "fsync": "FILE",
    "fdatasync": "FILE",
    "seek_data": "FILE POS",
    "seek_hole": "FILE POS",
    "copy_range": "FILE POS LEN TARGET TARGET_POS",
    "mwrite": "FILE POS LEN LETTER",
    "mread": "FILE POS LEN",
    "unlink": "NAME",
    "rename": "NAME NEW_NAME",
    "reap": "HANDLE",
    "wait": "TASK",
}
"""xfs_io's words, and the kernel's."""

FIELDS: Final = {
    "FILE": "file",
    "NAME": "file",
    "POS": "pos",
    "SIZE": "pos",
    "LEN": "length",
    "LETTER": "value",
    "TARGET": "other",
    "NEW_NAME": "other",
    "HANDLE": "other",
    "TASK": "other",
    "TARGET_POS": "other_pos",
}

END: Final = "end"
"""The position of a write with append."""


# -- text to data ------------------------------------------------------------------------


def parse_operation(line: Line) -> Operation:
    """A line of a task, as far as it can be checked alone."""
    words = line.text.replace("=", " = ").split()
    result = handle = ""
    if words[:1] == ["aio"]:
        if len(words) < 4 or words[2] != "=" or not FILE_NAME.fullmatch(words[1]):
            raise line.error(line.text, "aio NAME = pwrite … is allowed")
        handle, words = words[1], words[3:]
    elif words[1:2] == ["="]:
        if not FILE_NAME.fullmatch(words[0]):
            raise line.error(f"result {words[0]}", NAME_SHAPE)
        result, words = words[0], words[2:]
        if words[:1] == ["aio"]:
            raise line.error(line.text, f"the result is told later: {result} = reap NAME")
    if not words:
        raise line.error(line.text, f"an operation comes after =: {listed(list(USAGE))}")
    if words[0] not in USAGE:
        raise line.error(words[0], f"an operation is {listed(list(USAGE))}")
    operation = replace(_parse_words(line, words), result=result, handle=handle)
    _check(line, operation)
    return operation


def _parse_words(line: Line, words: list[str]) -> Operation:
    """word FILE POS … [flag], by the table."""
    usage = USAGE[words[0]].split()
    wanted = [each for each in usage if not each.startswith("[")]
    flags = [each.strip("[]") for each in usage if each.startswith("[")]
    allowed = f"{words[0]} {USAGE[words[0]]} is allowed"
    if len(words) <= len(wanted):
        raise line.error(line.text, allowed)
    given = words[len(wanted) + 1 :]
    for flag in given:
        if flag not in flags or given.count(flag) > 1:
            raise line.error(f"'{flag}' after {words[0]}", allowed)
    fields: dict[str, str | int] = {}
    for kind, word in zip(wanted, words[1:], strict=False):
        if kind == "POS" and "append" in given:
            if word != END:
                raise line.error(f"position {word}", f"with append it is '{END}'")
            continue
        fields[FIELDS[kind]] = _parse_word(line, kind, word)
    return Operation(words[0], flags=frozenset(given), line=line.number, **fields)  # type: ignore[arg-type]


def _parse_word(line: Line, kind: str, word: str) -> str | int:
    if kind in ("POS", "LEN", "SIZE", "TARGET_POS"):
        size = parse_size(word)
        if word == END:
            raise line.error("position end", "it is of a pwrite with append")
        if size is None:
            raise line.error(f"{kind} {word}", "it is bytes, such as 0, 512 or 4k")
        if size > POSITION_MAX:
            raise line.error(f"{kind} {word}", f"at most {format_size(POSITION_MAX)}")
        return size
    if kind == "LETTER":
        if not LETTER.fullmatch(word):
            raise line.error(f"bytes {word}", "a letter from a to z")
    elif kind == "TASK":
        if not TASK_NAME.fullmatch(word):
            raise line.error(f"task {word}", TASK_SHAPE)
    elif not FILE_NAME.fullmatch(word):
        raise line.error(f"{kind} {word}", NAME_SHAPE)
    return word


def _check(line: Line, operation: Operation) -> None:
    """What the words of one line must fulfil together."""
    word, flags = operation.word, operation.flags
    if operation.handle and (word != "pwrite" or "direct" not in flags):
        raise line.error(line.text, "aio takes a pwrite with direct: others return complete")
    if operation.result and word == "wait":
        raise line.error(line.text, "wait has no result")
    if "LEN" in USAGE[word].split():
        if not operation.length:
            raise line.error("LEN 0", "at least 1")
        if operation.pos + operation.length > POSITION_MAX:
            end = format_size(operation.pos + operation.length)
            raise line.error(f"a range up to {end}", f"at most {format_size(POSITION_MAX)}")
    if "direct" in flags and (operation.pos | operation.length) % SECTOR_SIZE:
        raise line.error(
            f"{word} direct at {operation.pos}, {operation.length} bytes",
            f"position and length are multiples of {SECTOR_SIZE} with direct",
        )
    if word == "rename" and operation.file == operation.other:
        raise line.error(f"rename of {operation.file} to itself", "another name")
    distance = abs(operation.pos - operation.other_pos)
    if operation.file == operation.other and distance < operation.length:
        raise line.error("copy_range onto itself", "ranges of one file that do not overlap")


# -- data to text ------------------------------------------------------------------------


def operation_text(operation: Operation) -> str:
    """A line that parse_operation() makes the same of."""
    words = [operation.word]
    for kind in USAGE[operation.word].split():
        if match := re.fullmatch(r"\[(\w+)\]", kind):
            words += [match[1]] if match[1] in operation.flags else []
            continue
        value: str | int = getattr(operation, FIELDS[kind])
        if kind == "POS" and "append" in operation.flags:
            value = END
        words.append(value if isinstance(value, str) else format_size(value))
    text = " ".join(words)
    if operation.handle:
        return f"aio {operation.handle} = {text}"
    return f"{operation.result} = {text}" if operation.result else text
