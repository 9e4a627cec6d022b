"""mount -o remount: what can change while it is mounted.

    flags           the kernel's; atime's and ro are told to the daemon as well
    live options    the daemon's, through .fusefs
    all others      refused by name, unless they say what is so already

What is not named stays as it is.  mount(8) passes on what fstab(5) or /proc/mounts say, so
most of what is named changes nothing.

Read-only is ordered: the options, which are files in the mount; then the kernel, which
refuses if a file is open for writing, and hands its mapped pages to the daemon; then fsync(2)
of the control directory, which returns when all of it is on the disk.

mount(2) is called here, as mount(8) of util-linux 2.39 and later asks another way, by which
FUSE refuses every change.

Errors: OptionError for what cannot change, CommandError for what failed.
"""

import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusefs.commands.control_files import read_control, read_status, sync_control, write_control
from fusefs.commands.errors import CommandError
from fusefs.commands.mount_options import (
    MOUNT_OPTIONS,
    REMOUNT,
    By,
    Word,
    known_words,
    max_read,
    without_contradictions,
)
from fusefs.model.options import OPTIONS, ORDER_OPTIONS, OptionError, Options
from fusefs.store import mount_table
from fusefs.store.mount_table import Mounted

MS_REMOUNT = 32
MS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "nosymfollow": 256,
    "noatime": 1 << 10,
    "nodiratime": 1 << 11,
    "relatime": 1 << 21,
}
"""The kernel's bits, by what /proc/mounts shows for them; all others are zero."""

FLAG_TOPICS = {MOUNT_OPTIONS[name].topic for name in MS}

REASONS = {
    errno.EBUSY: "a file is open for writing",
    errno.EPERM: "only root can",
}

UNSEEN = ("allow_root", "auto_unmount", "context", "fscontext", "defcontext", "rootcontext")
"""/proc/mounts has none of these; the daemon knows what it was started with."""


DAEMON_FLAGS = "ro", "noatime", "strictatime", "nodiratime"
"""What .fusefs/flags may say."""

DAEMON_TOPICS = {MOUNT_OPTIONS[name].topic for name in DAEMON_FLAGS} - {"ro"}


@dataclass(frozen=True, slots=True)
class Change:
    """What a remount comes to.  settings: the files of .fusefs that are to be written.

    settings_before: what is in them now.
    """

    kernel_flags: frozenset[str]
    settings: Mapping[str, str]
    settings_before: Mapping[str, str]


def remount(mountpoint: str, words: Sequence[Word], *, dry_run: bool) -> None:
    """Change the mount as words ask, or nothing of it."""
    mounted = mount_table.find(mountpoint)
    if mounted is None:
        raise CommandError(f"{mountpoint}: not mounted")
    change = _planned(mounted, without_contradictions(words))
    was_read_only, is_read_only = "ro" in _shown(mounted), "ro" in change.kernel_flags
    if was_read_only and is_read_only and change.settings:
        raise _needs_writable(mountpoint, words, change)
    if dry_run:
        return
    if was_read_only:
        _tell_kernel(mounted, change)
        _tell_daemon(mounted, change.settings)
        return
    _tell_daemon(mounted, change.settings)
    try:
        _tell_kernel(mounted, change)
    except CommandError:
        _tell_daemon(mounted, change.settings_before)
        raise
    if is_read_only:
        try:
            sync_control(mounted.mountpoint)
        except CommandError as error:
            raise CommandError(f"{error}; it is read-only now") from None


def _needs_writable(mountpoint: str, words: Sequence[Word], change: Change) -> CommandError:
    """Settings are files in the mount."""
    topics = {*change.settings} | (DAEMON_TOPICS if "flags" in change.settings else set())
    changing = [word for topic, word in without_contradictions(words).items() if topic in topics]
    names = ", ".join(word.name for word in changing)
    also = ",".join(map(str, changing))
    return CommandError(
        f"{mountpoint}: read-only, so {names} cannot change; 'remount,rw,{also}' can"
    )


def _shown(mounted: Mounted) -> frozenset[str]:
    """Of the flags of the mount and of its superblock, those that mount(2) may change."""
    return frozenset(MS).intersection({*mounted.flags, *mounted.superblock_options})


# -- what is to change ---------------------------------------------------------------


def _planned(mounted: Mounted, given: Mapping[str, Word]) -> Change:
    """given: the last word on each topic.  OptionError for what cannot change."""
    status = read_status(mounted.mountpoint)
    now = status["options"]
    assert isinstance(now, dict)
    flags: dict[str, str] = {}
    settings: dict[str, str] = {}
    ordering = {
        word.name: word.value or "" for word in given.values() if word.name in ORDER_OPTIONS
    }
    for topic, word in given.items():
        if word.name in ordering:
            continue
        if word.name in OPTIONS:
            if not _is_same(word, now):
                _check_live(word, now, mounted)
                settings[word.name] = word.value or ""
        elif topic in FLAG_TOPICS:
            flags[topic] = word.name
        elif not _is_so(word, mounted, status):
            raise OptionError(f"{word.name} cannot change while mounted")
    settings |= _ordering(ordering, now)
    told = read_control(mounted.mountpoint, "flags").strip()
    before = {"flags": told, **now}
    if (daemon_flags := _daemon_flags(told, flags)) != told:
        settings["flags"] = daemon_flags
    return Change(
        _kernel_flags(_shown(mounted), flags),
        settings,
        {name: before[name] for name in settings},
    )


def _ordering(given: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What is to be set so that these words count, in their order; all of them, or nothing."""
    names = [name for name in ORDER_OPTIONS if name in now]
    before = Options().with_all({name: now[name] for name in names})
    after = before.with_all(given)
    return {} if after == before else {name: after.formatted()[name] for name in names}


def _is_same(word: Word, now: Mapping[str, str]) -> bool:
    """Both are spelled as they like: 1024k is 1m.  OptionError for a value that is none."""
    before = Options().with_all({word.name: now[word.name]}) if word.name in now else Options()
    return before == Options().with_all({word.name: word.value or ""})


def _check_live(word: Word, now: Mapping[str, str], mounted: Mounted) -> None:
    if not OPTIONS[word.name].live:
        is_now = f" (it is {now[word.name]})" if word.name in now else ""
        live = ", ".join(name for name, option in OPTIONS.items() if option.live)
        raise OptionError(
            f"{word.name} cannot change while mounted{is_now}; these can: {live}, and flags"
        )


def _is_so(word: Word, mounted: Mounted, status: Mapping[str, object]) -> bool:
    """Whether the mount is already as an option says that it cannot change."""
    option, shown = MOUNT_OPTIONS.get(word.name), mounted.superblock_options
    if word.name == "metadata":
        return os.path.realpath(word.value or "") == os.path.realpath(str(status["metadata"]))
    if word.name == "fsname":
        return word.value == mounted.source
    if word.name == "subtype":
        return mounted.type == (f"fuse.{word.value}" if word.value else "fuse")
    if word.name in UNSEEN:
        return word in known_words([str(status["mount_options"])])
    if word == REMOUNT:
        return True
    if option is not None and option.by is By.NOBODY:
        return True
    value = str(max_read(word.value or "")) if word.name == "max_read" else word.value or ""
    return word.name in shown and shown[word.name] == value


def _kernel_flags(shown: frozenset[str], wanted: Mapping[str, str]) -> frozenset[str]:
    """All that mount(2) is to be told: what it is not told it takes away."""
    kept = {name for name in shown if MOUNT_OPTIONS[name].topic not in wanted}
    named = {name for name in wanted.values() if name in MS}
    if "atime" in wanted and "noatime" not in named:
        named.add("relatime")  # any other rule is the daemon's
    return frozenset(kept | named)


def _daemon_flags(told: str, wanted: Mapping[str, str]) -> str:
    kept = {MOUNT_OPTIONS[name].topic: name for name in told.split(",")}
    flags = {**kept, **wanted}.values()
    return ",".join(name for name in DAEMON_FLAGS if name in flags) or "rw"


# -- changing it ---------------------------------------------------------------------


def _tell_daemon(mounted: Mounted, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        write_control(mounted.mountpoint, name, value)


def _tell_kernel(mounted: Mounted, change: Change) -> None:
    if change.kernel_flags == _shown(mounted):
        return
    bits = MS_REMOUNT | sum(MS[name] for name in change.kernel_flags)
    target = os.fsencode(mounted.mountpoint)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", target, None, ctypes.c_ulong(bits), None):
        number = ctypes.get_errno()
        reason = REASONS.get(number, os.strerror(number))
        raise CommandError(f"{mounted.mountpoint}: cannot remount: {reason}")
