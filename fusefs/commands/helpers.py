"""The programs that mount(8), umount(8), mkfs(8) and fsck(8) look for in /sbin.

    mount.fusefs IMAGE DIR [-sfnv] [-o OPTION,...] [-t TYPE] [-N NAMESPACE]
    umount.fusefs DIR [-nlfvr] [-t TYPE] [-N NAMESPACE]
    mkfs.fusefs [-fqv] [-b SIZE] [-o OPTION,...] IMAGE [SIZE]      -f, -F and --force are one
    fsck.fusefs [-apynfv] [--json] [-o metadata=PATH] IMAGE

'./dev install' puts them in place; each is this program with its name as the first word.
Here their words become those of our own commands, and our failures' exit status theirs:

    mount, umount    1 usage, 32 failed      mount(8) hands on what its helper ends with
    mkfs             1 usage or failed
    fsck             16 usage, 8 failed; 0, 1 and 4 are its own

mount(8) tells a helper of nosuid and noexec, but not of suid and exec: they are its defaults, and
what undoes a flag it takes away together with the flag.  So a helper begins with what root's
mounts have if nothing is said: for a mount, as libfuse's own helper, with what FUSE would have
otherwise; for a remount, as the kernel, with all of it but the atime rules, which stay if none
is said.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from fusefs.commands import mkfs
from fusefs.commands.errors import UsageError
from fusefs.commands.mount_options import MOUNT_OPTIONS, REMOUNT, known_words, split_options
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
    """Flags, letters that take a value, each with its help, and words in their order."""

    def __init__(
        self,
        name: str,
        usage: str,
        flags: Mapping[str, str],
        valued: Mapping[str, tuple[str, str]],
        *words: str,
    ) -> None:
        super().__init__(
            prog=name,
            usage=f"{name} {usage}",
            epilog=f"'{os.path.abspath(sys.argv[0])} {name.partition('.')[0]} --help' says more",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for flag, text in flags.items():
            self.add_argument(f"-{flag}", action="store_true", help=text)
        for letter, (value, text) in valued.items():
            self.add_argument(f"-{letter}", action="append", default=[], metavar=value, help=text)
        for word in words:
            self.add_argument(word)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


LOST_IMAGE = " (mkfs(8) loses one before its options: say mkfs -t fusefs -o size=1g IMAGE)"
NO_EFFECT = "taken, and without effect"
NAMESPACE = "NAMESPACE", "refused: say nsenter --mount=NAMESPACE ..."


def _options(texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in ("-o", text)]


def _refuse_namespace(arguments: argparse.Namespace) -> None:
    if arguments.N:
        raise UsageError("-N is not supported; say: nsenter --mount=NAMESPACE mount ...")


def translate_mount(words: Sequence[str]) -> list[str]:
    usage = "IMAGE DIR [-sfnvrw] [-o OPTION,...] [-t TYPE]"
    flags = {
        "s": "leave out options that are not known",
        "f": "check everything, and mount nothing",
        "n": "no note for umount(8), which then does not wait",
        "v": NO_EFFECT,
        "r": "as -o ro",
        "w": "as -o rw",
    }
    valued = {
        "o": ("OPTION,...", "options; of two that contradict each other the last one counts"),
        "t": ("TYPE", NO_EFFECT),
        "N": NAMESPACE,
    }
    parser = _Parser("mount.fusefs", usage, flags, valued, "image", "mountpoint")
    arguments = parser.parse_args(words)
    _refuse_namespace(arguments)
    defaults = _defaults(arguments.o) if os.getuid() == 0 else []
    read_only = ["ro"] * bool(arguments.r) + ["rw"] * bool(arguments.w)
    return [
        "mount",
        *_options([*defaults, *arguments.o, *read_only]),
        *["--dry-run"] * bool(arguments.f),
        *["-n"] * bool(arguments.n),
        *["-s"] * bool(arguments.s),
        *(arguments.image, arguments.mountpoint),
    ]


def _defaults(texts: Sequence[str]) -> list[str]:
    """What root's mounts have if nothing is said; see above."""
    given = known_words(texts, sloppy=True)
    if REMOUNT not in given:
        return ["suid,dev"]
    says_atime = any(
        MOUNT_OPTIONS[word.name].topic == "atime" for word in given if word.name in MOUNT_OPTIONS
    )
    return ["suid,dev,exec,async,symfollow", *["diratime"] * says_atime]


def translate_umount(words: Sequence[str]) -> list[str]:
    usage = "DIR [-nlfvr] [-t TYPE]"
    flags = {
        "n": NO_EFFECT,
        "l": "even if it is in use; nothing is waited for",
        "f": "cut the daemon off first; nothing is waited for",
        "v": NO_EFFECT,
        "r": "read-only, if it cannot be unmounted",
    }
    valued = {"t": ("TYPE", NO_EFFECT), "N": NAMESPACE}
    arguments = _Parser("umount.fusefs", usage, flags, valued, "mountpoint").parse_args(words)
    _refuse_namespace(arguments)
    given = [f"-{flag}" for flag in "lfr" if getattr(arguments, flag)]
    return ["umount", *given, arguments.mountpoint]


def translate_mkfs(words: Sequence[str]) -> list[str]:
    """SIZE is a number of blocks, as mkfs(8) has it, or has a unit."""
    usage = "[-f | -F | --force] [-qv] [-b BLOCK_SIZE] [-o OPTION,...] IMAGE [SIZE]"
    valued = {
        "b": ("BLOCK_SIZE", "size of a block, as 4k or in bytes; 1k if not given"),
        "o": ("OPTION,...", "size=, block_size=, metadata="),
    }
    parser = _Parser("mkfs.fusefs", usage, dict.fromkeys("qvV", NO_EFFECT), valued)
    parser.add_argument(
        "-f", "-F", "--force", action="store_true", help="although that destroys what is there"
    )
    parser.add_argument("image", nargs="?")
    parser.add_argument("size", nargs="?", help="blocks, or with a unit: 64m")
    arguments = parser.parse_args(words)
    if arguments.image is None:
        parser.error(f"the following arguments are required: image{LOST_IMAGE * bool(words)}")
    if arguments.b and "block_size" in split_options(arguments.o, mkfs.TAKES)[0]:
        raise UsageError("the block size is given twice: with -b, and with -o")
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
    usage = "[-a | -p | -y | -n] [-fv] [--json] [-o metadata=PATH] IMAGE"
    flags = {
        **dict.fromkeys("apy", "repair what needs no guess"),
        "n": "write nothing; so it is without any of these",
        **dict.fromkeys("fvV", NO_EFFECT),
    }
    valued = {"o": ("OPTION,...", "metadata="), "C": ("FD", NO_EFFECT)}
    parser = _Parser("fsck.fusefs", usage, flags, valued, "image")
    parser.add_argument(
        "--json", action="store_true", help="say it in JSON, as an array of findings"
    )
    arguments = parser.parse_args(words)
    repairs = arguments.a or arguments.p or arguments.y
    if repairs and arguments.n:
        raise UsageError("only one of -a, -p, -y and -n may be said")
    return [
        "fsck",
        *["--repair"] * bool(repairs),
        *["--json"] * arguments.json,
        *_options(arguments.o),
        arguments.image,
    ]


MOUNT_STATUSES = Statuses(usage=1, failed=32)

HELPERS = {
    "mount.fusefs": Helper(translate_mount, MOUNT_STATUSES),
    "umount.fusefs": Helper(translate_umount, MOUNT_STATUSES),
    "mkfs.fusefs": Helper(translate_mkfs, Statuses(usage=1, failed=1)),
    "fsck.fusefs": Helper(translate_fsck, Statuses(usage=16, failed=8)),
}
