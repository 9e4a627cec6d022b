"""set: change options of a live mount."""

import argparse

from fusefs.commands.control_files import read_status, write_control
from fusefs.commands.errors import UsageError
from fusefs.commands.mount_options import options_help
from fusefs.model.options import OPTIONS, OptionError, Options

HELP = "change options of a live mount"
EPILOG = options_help([name for name, option in OPTIONS.items() if option.live])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("settings", nargs="+", metavar="OPTION=VALUE")


def run(arguments: argparse.Namespace) -> int:
    """All settings are checked before the first is made."""
    settings: dict[str, str] = {}
    for word in arguments.settings:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"'{word}': say OPTION=VALUE")
        if name in OPTIONS and not OPTIONS[name].live:
            live = ", ".join(name for name, option in OPTIONS.items() if option.live)
            raise OptionError(f"{name} cannot change while mounted; these can: {live}")
        settings.pop(name, None)  # its place is that of its last value
        settings[name] = value
    Options().with_all(settings)
    read_status(arguments.mountpoint)
    for name, value in settings.items():
        write_control(arguments.mountpoint, name, value)
    return 0
