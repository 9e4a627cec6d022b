"""The programs that mount(8), umount(8), mkfs(8) and fsck(8) look for in /sbin.

    mount.fusefs IMAGE DIR [-sfnv] [-o OPTION,...] [-t TYPE] [-N NAMESPACE]
    umount.fusefs DIR [-nlfvr] [-t TYPE] [-N NAMESPACE]
    mkfs.fusefs [-fqv] [-b SIZE] [-o OPTION,...] IMAGE [SIZE]      -f, -F and --force are one
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

from fusefs.commands import mkfs
from fusefs.commands.errors import UsageError
from fusefs.commands.mount_options import split_options
from fusefs.model.options import OPTIONS, Options, format_size


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

    def __init__(self, name: str, usage: str, flags: str, valued: str, *words: str) -> None:
        super().__init__(prog=name, usage=f"{name} {usage}", add_help=False, allow_abbrev=False)
        self.add_argument("-h", "--help", action="help")
        for flag in flags:
            self.add_argument(f"-{flag}", action="store_true")
        for letter in valued:
            self.add_argument(f"-{letter}", action="append", default=[])
        for word in words:
            self.add_argument(word)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def format_help(self) -> str:
        word = self.prog.partition(".")[0]
        return f"{self.format_usage()}\n'mount_tool.py {word} --help' says more\n"


def _options(texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in ("-o", text)]


def _refuse_namespace(arguments: argparse.Namespace) -> None:
    if arguments.N:
        raise UsageError("-N is not supported; say: nsenter --mount=NAMESPACE mount ...")


def translate_mount(words: Sequence[str]) -> list[str]:
    usage = "IMAGE DIR [-sfnvrw] [-o OPTION,...] [-t TYPE]"
    parser = _Parser("mount.fusefs", usage, "sfnvrw", "otN", "image", "mountpoint")
    arguments = parser.parse_args(words)
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
    usage = "DIR [-nlfvr] [-t TYPE]"
    arguments = _Parser("umount.fusefs", usage, "nlfvr", "tN", "mountpoint").parse_args(words)
    _refuse_namespace(arguments)
    given = [f"-{flag}" for flag in "lfr" if getattr(arguments, flag)]
    return ["umount", *given, arguments.mountpoint]


def translate_mkfs(words: Sequence[str]) -> list[str]:
    """SIZE is a number of blocks, as mkfs(8) has it, or has a unit."""
    usage = "[-f | -F | --force] [-qv] [-b BLOCK_SIZE] [-o OPTION,...] IMAGE [SIZE]"
    parser = _Parser("mkfs.fusefs", usage, "qvV", "bo", "image")
    parser.add_argument("-f", "-F", "--force", action="store_true")
    parser.add_argument("size", nargs="?")
    arguments = parser.parse_args(words)
    options = [*arguments.o, *(f"block_size={size}" for size in arguments.b)]
    if arguments.size is not None:
        options.append(f"size={_size(arguments.size, options)}")
    return ["mkfs", *_options(options), *["--force"] * arguments.force, arguments.image]


def _size(text: str, given: Sequence[str]) -> str:
    from fusefs.store.volume import DEFAULT_BLOCK_SIZE

    ours, _, _ = split_options(given, mkfs.TAKES)
    if "size" in ours:
        raise UsageError(f"the size is given twice: -o size={ours['size']}, and {text}")
    if not text.isdecimal():
        return text
    options = Options().with_all({name: ours[name] for name in ours if name == "block_size"})
    block_size = options.block_size or DEFAULT_BLOCK_SIZE
    size = int(text) * block_size
    try:
        OPTIONS["size"].parse(str(size))
    except ValueError as error:
        blocks = f"{text} blocks of {format_size(block_size)} are {format_size(size)}"
        raise UsageError(f"{blocks}, but an image has {error}") from None
    return str(size)


def translate_fsck(words: Sequence[str]) -> list[str]:
    """fsck(8) says -a at boot and -p, -y or -n for a person; there is nothing to be asked."""
    usage = "[-a | -p | -y | -n] [-fv] [-o metadata=PATH] IMAGE"
    arguments = _Parser("fsck.fusefs", usage, "apynfvV", "oC", "image").parse_args(words)
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
