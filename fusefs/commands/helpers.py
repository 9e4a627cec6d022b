"""The programs that mount(8), umount(8), mkfs(8) and fsck(8) look for in /sbin.

    mount.fusefs IMAGE DIR [-sfnv] [-o OPTION,...] [-t TYPE] [-N NAMESPACE]
    umount.fusefs DIR [-nlfvr] [-t TYPE] [-N NAMESPACE]
    mkfs.fusefs [-fqv] [-b SIZE] [-o OPTION,...] IMAGE [SIZE]
    fsck.fusefs [-apynfv] [-o metadata=PATH] IMAGE

'./dev install' puts them in place; each is this program with its name as the first word.
Here their words become those of our own commands, and our failures' exit status theirs:

    mount, umount    1 usage, 32 failed      mount(8) hands on what its helper ends with
    mkfs             1 usage or failed
    fsck             16 usage, 8 failed; 0, 1 and 4 are its own

mount(8) tells a helper of nosuid and nodev, but not of suid and dev: they are its defaults,
and FUSE has others.  So a helper of root's begins with them, as libfuse's own does.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from fusefs.commands.errors import UsageError
from fusefs.commands.mount_options import split_options
from fusefs.model.options import Options


@dataclass(frozen=True, slots=True)
class Statuses:
    """What a program ends with if its command line is wrong, and if it fails."""

    usage: int
    failed: int


@dataclass(frozen=True, slots=True)
class Helper:
    """translate: its words to ours.  What a command itself returns stays as it is."""

    translate: Callable[[Sequence[str]], list[str]]
    statuses: Statuses


class _Parser(argparse.ArgumentParser):
    """Flags, letters that take a value, and words in their order."""

    def __init__(self, name: str, flags: str, valued: str, *words: str) -> None:
        super().__init__(prog=name, add_help=False, allow_abbrev=False)
        for flag in flags:
            self.add_argument(f"-{flag}", action="store_true")
        for letter in valued:
            self.add_argument(f"-{letter}", action="append", default=[])
        for word in words:
            self.add_argument(word)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _options(texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in ("-o", text)]


def _refuse_namespace(arguments: argparse.Namespace) -> None:
    if arguments.N:
        raise UsageError("-N is not supported; say: nsenter --mount=NAMESPACE mount ...")


def translate_mount(words: Sequence[str]) -> list[str]:
    arguments = _Parser("mount.fusefs", "sfnvrw", "otN", "image", "mountpoint").parse_args(words)
    _refuse_namespace(arguments)
    defaults = ["suid,dev"] if os.getuid() == 0 else []
    flags = ["ro"] * bool(arguments.r) + ["rw"] * bool(arguments.w)
    return [
        "mount",
        *_options([*defaults, *arguments.o, *flags]),
        *["--dry-run"] * bool(arguments.f),
        *["-n"] * bool(arguments.n),
        *["-s"] * bool(arguments.s),
        *(arguments.image, arguments.mountpoint),
    ]


def translate_umount(words: Sequence[str]) -> list[str]:
    arguments = _Parser("umount.fusefs", "nlfvr", "tN", "mountpoint").parse_args(words)
    _refuse_namespace(arguments)
    given = [f"-{flag}" for flag in "lfr" if getattr(arguments, flag)]
    return ["umount", *given, arguments.mountpoint]


def translate_mkfs(words: Sequence[str]) -> list[str]:
    """SIZE is a number of blocks, as mkfs(8) has it, or has a unit."""
    parser = _Parser("mkfs.fusefs", "fFqvV", "bo", "image")
    parser.add_argument("size", nargs="?")
    arguments = parser.parse_args(words)
    options = [*arguments.o, *(f"block_size={size}" for size in arguments.b)]
    if arguments.size is not None:
        options.append(f"size={_size(arguments.size, options)}")
    force = ["--force"] * bool(arguments.f or arguments.F)
    return ["mkfs", *_options(options), *force, arguments.image]


def _size(text: str, given: Sequence[str]) -> str:
    from fusefs.store.volume import DEFAULT_BLOCK_SIZE

    if not text.isdecimal():
        return text
    ours, _, _ = split_options(given)
    options = Options().with_all({name: ours[name] for name in ours if name == "block_size"})
    return str(int(text) * (options.block_size or DEFAULT_BLOCK_SIZE))


def translate_fsck(words: Sequence[str]) -> list[str]:
    """fsck(8) says -a at boot and -p, -y or -n for a person; there is nothing to be asked."""
    arguments = _Parser("fsck.fusefs", "apynfvV", "oC", "image").parse_args(words)
    repairs = arguments.a or arguments.p or arguments.y
    if repairs and arguments.n:
        raise UsageError("only one of -a, -p, -y and -n may be said")
    return ["fsck", *["--repair"] * bool(repairs), *_options(arguments.o), arguments.image]


MOUNT_STATUSES = Statuses(usage=1, failed=32)

HELPERS = {
    "mount.fusefs": Helper(translate_mount, MOUNT_STATUSES),
    "umount.fusefs": Helper(translate_umount, MOUNT_STATUSES),
    "mkfs.fusefs": Helper(translate_mkfs, Statuses(usage=1, failed=1)),
    "fsck.fusefs": Helper(translate_fsck, Statuses(usage=16, failed=8)),
}
