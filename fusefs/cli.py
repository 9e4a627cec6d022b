"""The command line: what each word after mount_tool.py does.

    mount, umount, mkfs       images and mounts
    fsck                      check an image that is not mounted, and repair it
    set, status, trace        a live mount, through its control directory alone
    demo                      both orders, side by side
    explore                   every interleaving of a few model tasks

    mount_tool.py IMAGE MOUNTPOINT [-o ...]     as mount(8) calls a mount.TYPE helper

Exit status: 0 done, 1 failed, 2 usage; fsck has its own.  Errors are one line on stderr.
"""

import argparse
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from fusefs.live.atime import ATIME_OPTIONS
from fusefs.live.control import CONTROL_NAME
from fusefs.live.daemon import LOCK_WAIT_S, MountError, MountRequest, mount
from fusefs.live.fsck import fsck
from fusefs.live.volume import VolumeError, make_image, metadata_path
from fusefs.options import OPTIONS, SHOWN_LENGTH_MAX, OptionError, Options

COMMANDS = ("mount", "umount", "mkfs", "fsck", "set", "status", "trace", "demo", "explore")

FUSE_OPTIONS = frozenset(
    [
        *("allow_other", "allow_root", "auto_unmount", "ro", "rw", "suid", "nosuid"),
        *("dev", "nodev", "exec", "noexec", "atime", "noatime", "sync", "async", "dirsync"),
        *ATIME_OPTIONS,
    ]
)
"""What libfuse, the kernel or the daemon understand; passed on as it is."""

IGNORED_OPTIONS = frozenset(
    ("defaults", "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail", "relatime")
)
"""What fstab(5) may say and mount(8) has dealt with."""

UMOUNT_WAIT_S = 60.0


class UsageError(Exception):
    """The command line is wrong; exit status 2."""


class CommandError(Exception):
    """The command failed; exit status 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] not in COMMANDS and not words[0].startswith("-"):
        words.insert(0, "mount")
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # any path
    arguments = _parser().parse_args(words)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except (OptionError, UsageError) as error:
        return _say(error, 2)
    except (MountError, VolumeError, CommandError) as error:
        return _say(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:  # a full disk under stdout, a lost working directory
        return _say(CommandError(f"{error.filename or 'stdout'}: {error.strerror}"), 1)


def _say(error: Exception, status: int) -> int:
    print(f"mount_tool.py: {error}", file=sys.stderr)
    return status


AddCommand = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mount_tool.py",
        description="A FUSE filesystem that models how Linux's direct I/O meets the page cache.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_option_help(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    _add_image_commands(add)
    _add_live_commands(add)
    _add_showing_commands(add)
    return parser


def _add_image_commands(add: AddCommand) -> None:
    sub = add("mount", _mount, "mount an image; with -o size=, a missing one is made")
    sub.add_argument("image")
    sub.add_argument("mountpoint")
    sub.add_argument("-o", action="append", default=[], metavar="OPT[=VALUE],...", dest="options")
    sub.add_argument("-f", "--foreground", action="store_true", help="stay in front")
    for flag in ("-n", "-s", "-v", "-w"):  # mount(8) may pass these to a helper
        sub.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    sub.add_argument("-t", help=argparse.SUPPRESS)

    sub = add("umount", _umount, "unmount, and wait until everything is on the disk")
    sub.add_argument("mountpoint")

    sub = add("mkfs", _mkfs, "make an image")
    sub.add_argument("image")
    sub.add_argument("-o", action="append", default=[], metavar="OPT=VALUE,...", dest="options")

    sub = add("fsck", _fsck, "check an image that is not mounted; repair what needs no guess")
    sub.add_argument("image")
    sub.add_argument("--repair", action="store_true", help="without it nothing is written")
    sub.add_argument("--json", action="store_true")
    sub.add_argument("-o", action="append", default=[], metavar="metadata=PATH", dest="options")


def _add_live_commands(add: AddCommand) -> None:
    sub = add("set", _set, "change options of a live mount")
    sub.add_argument("mountpoint")
    sub.add_argument("settings", nargs="+", metavar="OPTION=VALUE")

    sub = add("status", _status, "show options and counters of a live mount")
    sub.add_argument("mountpoint")
    sub.add_argument("--json", action="store_true")

    sub = add("trace", _trace, "show the last steps of a live mount's requests")
    sub.add_argument("mountpoint")
    sub.add_argument("--clear", action="store_true", help="forget them afterwards")


def _add_showing_commands(add: AddCommand) -> None:
    sub = add("demo", _demo, "show the bug under invalidate=before, and none under after")
    sub.add_argument("--json", action="store_true")

    sub = add("explore", _explore, "try every interleaving of a few tasks on one page")
    sub.add_argument(
        "tasks",
        nargs="*",
        default=["write0", "write1", "read0"],
        help="writeN, readN, dreadN, storeN, punchN or cut (write0 write1 read0)",
    )
    sub.add_argument("-o", action="append", default=[], metavar="invalidate=...", dest="options")
    sub.add_argument(
        "--replay", metavar="SCHEDULE", help="run one schedule, as a failure printed it"
    )
    sub.add_argument("--json", action="store_true")


def _option_help(command: str) -> str:
    if command == "fsck":
        return "exit status: 0 clean, 1 repaired, 4 something is left, 8 cannot be checked"
    if command not in ("mount", "mkfs", "set"):
        return ""
    lines = [
        f"  {name:17} {option.help}"
        for name, option in OPTIONS.items()
        if command != "set" or option.live
    ]
    if command == "mount":
        lines.append(f"  {'metadata':17} file for names and maps, IMAGE.meta if not given")
        lines.append(f"  and {', '.join(sorted(FUSE_OPTIONS))}")
    return "options:\n" + "\n".join(lines)


# -- mounting ------------------------------------------------------------------------


def split_options(texts: Sequence[str]) -> tuple[dict[str, str], str | None, list[str]]:
    """-o arguments as (our options, metadata path, libfuse's options); OptionError."""
    ours: dict[str, str] = {}
    metadata: str | None = None
    passed: list[str] = []
    for word in (word for text in texts for word in text.split(",") if word):
        name, equals, value = word.partition("=")
        if name == "metadata" and value:
            metadata = value
        elif name in OPTIONS and equals:
            ours[name] = value
        elif name in OPTIONS:
            raise OptionError(f"{name} takes a value: {OPTIONS[name].help}")
        elif name in FUSE_OPTIONS and not equals:
            passed.append(name)
        elif name not in IGNORED_OPTIONS and not name.startswith("x-"):
            known = ", ".join([*OPTIONS, "metadata", *sorted(FUSE_OPTIONS)])
            raise OptionError(f"unknown option {word[:SHOWN_LENGTH_MAX]!r}; known: {known}")
    return ours, metadata, passed


def _checked(options: Options) -> Options:
    if options.block_size is not None and options.block_size > options.page_size:
        raise OptionError(
            f"block_size {options.block_size} is larger than page_size {options.page_size}"
        )
    return options


def _mount(arguments: argparse.Namespace) -> int:
    ours, metadata, passed = split_options(arguments.options)
    options = _checked(Options().with_all(ours))
    image, mountpoint = os.path.abspath(arguments.image), os.path.abspath(arguments.mountpoint)
    request = MountRequest(
        image, mountpoint, options, metadata and os.path.abspath(metadata), passed
    )
    mount(request, foreground=arguments.foreground)
    return 0


def _mkfs(arguments: argparse.Namespace) -> int:
    ours, metadata, passed = split_options(arguments.options)
    refused = sorted({*ours, *passed} - {"size", "block_size"})
    if refused:
        raise OptionError(f"mkfs does not take '{refused[0]}'; it takes size, block_size, metadata")
    options = Options(page_size=1 << 20).with_all(ours)
    make_image(arguments.image, metadata_path(arguments.image, metadata), options)
    return 0


def _fsck(arguments: argparse.Namespace) -> int:
    """Exit status 0 clean, 1 repaired, 4 something is left, 8 cannot be checked."""
    ours, metadata, passed = split_options(arguments.options)
    if refused := [*ours, *passed]:
        raise OptionError(f"fsck does not take '{refused[0]}'; it takes metadata")
    return fsck(
        arguments.image,
        metadata_path(arguments.image, metadata),
        repairs=arguments.repair,
        as_json=arguments.json,
        lock_wait_s=LOCK_WAIT_S,
    )


def _umount(arguments: argparse.Namespace) -> int:
    """A mount whose daemon has died is taken away, too: there is nothing to wait for."""
    pid = None if _is_dead(arguments.mountpoint) else _read_status(arguments.mountpoint)["pid"]
    command = ["umount"] if os.getuid() == 0 else ["fusermount3", "-u"]
    result = subprocess.run(
        [*command, "--", arguments.mountpoint], capture_output=True, text=True, check=False
    )
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"{command[0]} failed"]
        raise CommandError(said[-1])
    deadline = time.monotonic() + UMOUNT_WAIT_S
    while pid is not None and os.path.exists(f"/proc/{pid}") and not _is_zombie(pid):
        if time.monotonic() > deadline:
            raise CommandError(f"unmounted, but the daemon {pid} has not ended yet")
        time.sleep(0.01)
    return 0


def _is_dead(mountpoint: str) -> bool:
    try:
        os.stat(_control_path(mountpoint, ""))  # of the mountpoint itself the kernel knows all
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def _is_zombie(pid: object) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# -- a live mount --------------------------------------------------------------------


def _control_path(mountpoint: str, name: str) -> str:
    return os.path.join(mountpoint, os.fsdecode(CONTROL_NAME), name)


def _read_control(mountpoint: str, name: str) -> str:
    try:
        with open(_control_path(mountpoint, name)) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"{mountpoint}: no fusefs is mounted there") from None
    except OSError as error:
        raise CommandError(f"{mountpoint}: {error.strerror}") from None


def _write_control(mountpoint: str, name: str, value: str) -> None:
    try:
        with open(_control_path(mountpoint, name), "w") as file:
            file.write(value)
    except OSError as error:
        raise CommandError(f"{mountpoint}: {name}: {error.strerror}") from None


def _read_status(mountpoint: str) -> dict[str, object]:
    try:
        status = json.loads(_read_control(mountpoint, "status"))
    except ValueError:
        status = None
    if not isinstance(status, dict) or not isinstance(status.get("pid"), int):
        raise CommandError(f"{mountpoint}: no fusefs is mounted there")
    return status


def _set(arguments: argparse.Namespace) -> int:
    """All settings are checked before the first is made."""
    settings: dict[str, str] = {}
    for word in arguments.settings:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"'{word}': say OPTION=VALUE")
        if name in OPTIONS and not OPTIONS[name].live:
            live = ", ".join(name for name, option in OPTIONS.items() if option.live)
            raise OptionError(f"{name} cannot change while mounted; these can: {live}")
        settings[name] = value
    Options().with_all(settings)
    _read_status(arguments.mountpoint)
    for name, value in settings.items():
        _write_control(arguments.mountpoint, name, value)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    status = _read_status(arguments.mountpoint)
    if arguments.json:
        print(json.dumps(status, indent=2))
        return 0
    for section, value in status.items():
        if not isinstance(value, dict):
            print(f"{section:12} {value}")
            continue
        print(f"{section}:")
        for name, number in value.items():
            print(f"    {name:22} {number}")
    return 0


def _trace(arguments: argparse.Namespace) -> int:
    sys.stdout.write(_read_control(arguments.mountpoint, "trace"))
    if arguments.clear:
        _write_control(arguments.mountpoint, "trace", "clear")
    return 0


# -- showing -------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> int:
    from fusefs.demo.run import run

    return run(json=arguments.json)


def _explore(arguments: argparse.Namespace) -> int:
    from fusefs.explore.command import explore

    ours, _, _ = split_options(arguments.options)
    if set(ours) - {"invalidate"}:
        raise OptionError("explore takes -o invalidate=before or after")
    orders = [Options().with_all(ours).invalidate] if ours else None
    return explore(arguments.tasks, orders, arguments.replay, as_json=arguments.json)
