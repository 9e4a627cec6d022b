"""mount: an image, at a mountpoint."""

import argparse
import os
import subprocess
from collections.abc import Sequence
from textwrap import fill

from fusefs.commands.errors import CommandError
from fusefs.commands.mount_options import (
    NOFAIL,
    OF_OTHERS,
    REMOUNT,
    Word,
    known_words,
    options_help,
    split_words,
)
from fusefs.commands.remount import remount
from fusefs.model.options import OPTIONS, OptionError, Options
from fusefs.store import mount_table

HELP = "mount an image; with -o size=, a missing one is made"
EPILOG = f"""{options_help([*OPTIONS])}
  {"metadata":17} file for names and maps, IMAGE.meta if not given
  {"remount":17} change a mount, as far as that is possible
{fill(f"and {', '.join(OF_OTHERS)}", 78, initial_indent="  ", subsequent_indent="  ")}"""

UMOUNT_HELPER = "/sbin/umount.fusefs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image")
    parser.add_argument("mountpoint")
    parser.add_argument(
        "-o", action="append", default=[], metavar="OPT[=VALUE],...", dest="options"
    )
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in front")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check command line, image and mountpoint, and mount nothing",
    )
    parser.add_argument("-s", action="store_true", dest="sloppy", help=argparse.SUPPRESS)
    parser.add_argument("-n", action="store_true", dest="no_record", help=argparse.SUPPRESS)
    for flag in ("-v", "-w"):  # habits from mount(8)
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-t", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    words = known_words(arguments.options, sloppy=arguments.sloppy)
    if REMOUNT in words:
        remount(os.path.abspath(arguments.mountpoint), words, dry_run=arguments.dry_run)
    else:
        _mount(arguments, words)
    return 0


def _mount(arguments: argparse.Namespace, words: Sequence[Word]) -> None:
    from fusefs.live.checks import MountError, MountRequest, check, check_image
    from fusefs.live.daemon import mount

    ours, metadata, passed = split_words(words)
    options = _checked(Options().with_all(ours))
    image, mountpoint = os.path.abspath(arguments.image), os.path.abspath(arguments.mountpoint)
    request = MountRequest(
        image, mountpoint, options, metadata and os.path.abspath(metadata), passed
    )
    if NOFAIL in words and options.size is None and not os.path.lexists(image):
        return
    try:
        if arguments.dry_run:
            check(request)
            check_image(request)
        else:
            mount(request, foreground=arguments.foreground)
            if not arguments.foreground:
                _give_back(mountpoint, passed)
    except MountError as error:
        raise CommandError(str(error)) from None
    if not (arguments.dry_run or arguments.foreground or arguments.no_record):
        _record(mountpoint)


def _give_back(mountpoint: str, passed: Sequence[str]) -> None:
    """For auto_unmount libfuse has fusermount3 mount, which takes suid and dev from root, too."""
    words = [Word(name) for name in passed if name in ("suid", "dev")]
    if "auto_unmount" in passed and words and os.getuid() == 0:
        remount(mountpoint, words, dry_run=False)


def _checked(options: Options) -> Options:
    if options.block_size is not None and options.block_size > options.page_size:
        raise OptionError(
            f"block_size {options.block_size} is larger than page_size {options.page_size}"
        )
    return options


def _record(mountpoint: str) -> None:
    """Have umount(8) call our helper, which waits for the daemon.

    umount(8) asks statfs(2) for the type, which is 'fuse' whatever the subtype, so it finds
    no helper by itself; what is noted in its table, /run/mount/utab, it does find.  Without
    it umount(8) unmounts all the same, so nothing is said if it cannot be noted.
    """
    mounted = mount_table.find(mountpoint)
    if os.getuid() or mounted is None or not os.path.exists(UMOUNT_HELPER):
        return
    command = ["mount", "-i", "-f", "-t", mounted.type, "-o", "helper=fusefs"]
    subprocess.run(
        [*command, "--", mounted.source, mounted.mountpoint], capture_output=True, check=False
    )
