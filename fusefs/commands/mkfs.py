"""mkfs: a new image and its metadata."""

import argparse

from fusefs.commands.errors import CommandError
from fusefs.commands.mount_options import options_help, split_options
from fusefs.model.options import OptionError, Options

HELP = "make an image"
TAKES = "size", "block_size", "metadata"
EPILOG = f"""{options_help(["size", "block_size"])}
  {"metadata":17} file for names and maps, IMAGE.meta if not given; a device needs it"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image")
    parser.add_argument("--force", action="store_true", help="even if that destroys what is there")
    parser.add_argument("-o", action="append", default=[], metavar="OPT=VALUE,...", dest="options")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.store.volume import VolumeError, make_image, metadata_path

    ours, metadata, passed = split_options(arguments.options, TAKES)
    refused = sorted({*ours, *passed} - {*TAKES})
    if refused:
        raise OptionError(f"mkfs does not take '{refused[0]}'; it takes {', '.join(TAKES)}")
    options = Options(page_size=1 << 20).with_all(ours)
    try:
        meta = metadata_path(arguments.image, metadata)
        make_image(arguments.image, meta, options, force=arguments.force)
    except VolumeError as error:
        raise CommandError(str(error)) from None
    return 0
