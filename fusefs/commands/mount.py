"""mount: an image, at a mountpoint."""

import argparse
import os

from fusefs.commands.errors import CommandError
from fusefs.commands.mount_options import FUSE_OPTIONS, options_help, split_options
from fusefs.options import OPTIONS, OptionError, Options

NAME = "mount"
HELP = "mount an image; with -o size=, a missing one is made"
EPILOG = f"""{options_help([*OPTIONS])}
  {"metadata":17} file for names and maps, IMAGE.meta if not given
  and {", ".join(sorted(FUSE_OPTIONS))}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image")
    parser.add_argument("mountpoint")
    parser.add_argument(
        "-o", action="append", default=[], metavar="OPT[=VALUE],...", dest="options"
    )
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in front")
    for flag in ("-n", "-s", "-v", "-w"):  # mount(8) may pass these to a helper
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-t", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    from fusefs.live.daemon import MountError, MountRequest, mount

    ours, metadata, passed = split_options(arguments.options)
    options = _checked(Options().with_all(ours))
    image, mountpoint = os.path.abspath(arguments.image), os.path.abspath(arguments.mountpoint)
    request = MountRequest(
        image, mountpoint, options, metadata and os.path.abspath(metadata), passed
    )
    try:
        mount(request, foreground=arguments.foreground)
    except MountError as error:
        raise CommandError(str(error)) from None
    return 0


def _checked(options: Options) -> Options:
    if options.block_size is not None and options.block_size > options.page_size:
        raise OptionError(
            f"block_size {options.block_size} is larger than page_size {options.page_size}"
        )
    return options
