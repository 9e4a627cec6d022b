"""Litmus files that say `crash`, and what a mount may find after them."""

import textwrap

from explore.playing import HEAD

from fusefs.explore.answer import Answer, ask
from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus


def litmus(text: str) -> Litmus:
    """Of a file without its head; it says `crash`."""
    return parse(HEAD + "crash\n" + textwrap.dedent(text).lstrip("\n"), "test.litmus")


def answer(text: str, *orders: str) -> Answer:
    return ask(litmus(text), orders)


def found(text: str, subject: str, *orders: str) -> set[str]:
    """All that a mount may find: 'disk f' or 'size f'."""
    kind, name = subject.split()
    return {dict(values)[kind, name] for values in answer(text, *orders).histogram}


UNSYNCED = """
    file f 512 z
    A:
        r = pwrite f 0 512 a
    exists after crash: A.r = 512 /\\ disk f = z
    """

SYNCED = """
    file f 512 z
    A:
        pwrite f 0 512 a
        r = fsync f
    exists after crash: A.r = 0 /\\ disk f = z
    """

DSYNC = """
    file f 512 unwritten
    A:
        r = pwrite f 0 512 a direct dsync
    exists after crash: A.r = 512 /\\ disk f = 0
    """

BESIDE = """
    file f 512 hole
    A:
        pwrite f 0 512 a direct
    B:
        fsync f
    exists after crash: disk f = ?
    """

PUNCHED = """
    file f 1k z
    A:
        fpunch f 0 512
        fsync f
    exists after crash: disk f = 00
    """
