"""fsck: check an image that is not mounted, and repair it."""

import argparse

from fusefs.commands.errors import CommandError
from fusefs.commands.mount_options import split_options
from fusefs.model.options import OptionError

HELP = "check an image that is not mounted; repair what needs no guess"
EPILOG = "exit status: 0 clean, 1 repaired, 4 something is left, 8 cannot be checked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image")
    parser.add_argument("--repair", action="store_true", help="without it nothing is written")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-o", action="append", default=[], metavar="metadata=PATH", dest="options")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.store import volume
    from fusefs.store.fsck.run import NOT_CHECKED, NotChecked, fsck

    ours, metadata, passed = split_options(arguments.options, ["metadata"])
    if refused := [*ours, *passed]:
        raise OptionError(f"fsck does not take '{refused[0]}'; it takes metadata")
    try:
        return fsck(
            arguments.image,
            volume.metadata_path(arguments.image, metadata),
            repairs=arguments.repair,
            as_json=arguments.json,
            lock_wait_s=volume.LOCK_WAIT_S,
        )
    except NotChecked as error:
        raise CommandError(str(error), NOT_CHECKED) from None
