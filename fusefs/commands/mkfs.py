"""mkfs: a new image and its metadata."""

import argparse

from fusefs.commands.errors import CommandError
from fusefs.commands.mount_options import options_help, split_options
from fusefs.options import OPTIONS, OptionError, Options

NAME = "mkfs"
HELP = "make an image"
EPILOG = options_help([*OPTIONS])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image")
    parser.add_argument("-o", action="append", default=[], metavar="OPT=VALUE,...", dest="options")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.live.volume import VolumeError, make_image, metadata_path

    ours, metadata, passed = split_options(arguments.options)
    refused = sorted({*ours, *passed} - {"size", "block_size"})
    if refused:
        raise OptionError(f"mkfs does not take '{refused[0]}'; it takes size, block_size, metadata")
    options = Options(page_size=1 << 20).with_all(ours)
    try:
        make_image(arguments.image, metadata_path(arguments.image, metadata), options)
    except VolumeError as error:
        raise CommandError(str(error)) from None
    return 0
